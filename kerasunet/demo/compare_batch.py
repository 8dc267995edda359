"""Compare on several images at once: a table of every model on every image, a zip of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from statistics import mean

import gradio as gr

from kerasunet.comparison import Candidate, Choice, compare
from kerasunet.comparison_report import as_csv, mask_files, pack, rows, safe_name
from kerasunet.demo.context import MODEL_QUEUE, Context, Result, SavedModel, note_html, problem_html
from kerasunet.demo.visitors import (
    COLORED,
    MODALITIES,
    InputImage,
    new_file,
    open_image,
    with_truth,
)
from kerasunet.drawing import png

FILE_LIMIT = 100
_MASK_ENDING = "_mask"
_CAPTION = (
    "<caption><span>Scored are images with a mask that the model was neither trained on nor chosen "
    "by.</span></caption>"
)
_HINT = f"<p>Up to {FILE_LIMIT} files. scan_mask.png is the true mask of scan.png.</p>"


@dataclass(frozen=True)
class BatchResults:
    """The results of several files.

    Attributes:
        lines: Rows of the table; an unusable file has one with its error.
        files: Masks, as PNG, by name in the zip.
        warnings: What to know of images that were compared.
    """

    lines: list[dict]
    files: dict[str, bytes]
    warnings: list[str] = field(default_factory=list)

    @property
    def zip(self) -> bytes:
        return pack({**self.files, "table.csv": as_csv(self.lines).encode()})


def pair_masks(paths: list[str]) -> list[tuple[str, str | None]]:
    """Return images with their masks: `NAME_mask` is the mask of `NAME`, whatever the suffixes.

    Raises:
        ValueError: There are too many files, or a mask has no image, or more than one; or two masks
            have one name.
    """
    if len(paths) > FILE_LIMIT:
        raise ValueError(f"{len(paths)} files; at most {FILE_LIMIT} at once")
    stems = {path: Path(path).name.partition(".")[0] for path in paths}
    counts = Counter(stems.values())
    for stem in counts:
        if counts[f"{stem}{_MASK_ENDING}"] * counts[stem] > 1:
            raise ValueError(
                f"{stem}: several images or masks have this name, so they cannot be paired; rename "
                "the files"
            )
    masks = {stem: path for path, stem in stems.items() if stem.endswith(_MASK_ENDING)}
    images = [path for path in paths if path not in masks.values()]
    known = {f"{stems[path]}{_MASK_ENDING}" for path in images}
    if lost := sorted(masks.keys() - known):
        raise ValueError(f"{', '.join(lost)}: no image for this mask among the files")
    return [(path, masks.get(f"{stems[path]}{_MASK_ENDING}")) for path in images]


def run(
    results: BatchResults,
    given: list[tuple[str, str | None]],
    candidates_of: Callable[[str], list[Candidate]],
    *,
    modality: str,
    choice: Choice,
) -> Iterator[str]:
    """Compare on one image after the other.

    Args:
        results: Receives the results of each.
        given: Image files with their mask files.
        candidates_of: The models for a modality.
        modality: A key of `MODALITIES`, or empty to guess for each image.
        choice: Threshold and filter.

    Yields:
        The name of each image when it is done.
    """
    for number, ((image, mask), name) in enumerate(zip(given, _names(given), strict=True), 1):
        try:
            opened = open_image(image).with_modality(modality)
            candidates = candidates_of(opened.modality)
            if mask:
                opened = with_truth(opened, mask, objects_of(candidates))
            opened = replace(opened, name=name)
            if opened.is_colored:
                results.warnings.append(f"{name}: {COLORED}")
            folder = f"{number:03d}_{safe_name(name)}"
            _add(results, folder, opened, candidates=candidates, choice=choice)
        except ValueError as error:
            results.lines.append({"image": name, "error": str(error)})
        yield name


def _names(given: list[tuple[str, str | None]]) -> list[str]:
    """Return the names of the images, with a number from the second of one name on."""
    names = [Path(image).name for image, _ in given]
    counts = [names[:end].count(name) for end, name in enumerate(names, 1)]
    return [f"{n} ({count})" if count > 1 else n for n, count in zip(names, counts, strict=True)]


def _add(
    results: BatchResults, folder: str, image: InputImage, *, candidates: list[Candidate], choice
) -> None:
    whole = Result(image, compare(image.pixels, candidates, image.spacing))
    for name in whole.whole.objects or [""]:
        verdict, scores = replace(whole, object=name).evaluate(choice)
        results.lines.extend(rows(image.name, scores, choice, object_=name))
        masks = {**mask_files(verdict), "consensus": verdict.consensus}
        place = f"{folder}/{safe_name(name)}" if name else folder
        results.files.update({f"{place}/{one}.png": png(mask) for one, mask in masks.items()})


def objects_of(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the objects of the first model that finds several; none if there is no such model."""
    return next((one.objects for one in candidates if len(one.objects) > 1), ())


def build(context: Context, threshold: gr.Slider, smallest: gr.Slider) -> None:
    """Add the part of Compare that takes several files."""
    with gr.Accordion("Several images at once", open=False, elem_id="batch"):
        files = gr.File(
            label="Images and masks",
            file_count="multiple",
            height=140,
            elem_id="batch-files",
        )
        with gr.Row():
            modality = gr.Radio(_modalities(), value="", label="Kind of image", scale=3)
            start = gr.Button("Compare all", variant="primary", elem_id="batch-start")
        note = gr.HTML(_HINT, elem_classes="note", elem_id="batch-note")
        table = gr.HTML(elem_classes="table", elem_id="batch-table")
        archive = gr.File(label="All masks and the table", visible=False, elem_id="batch-zip")
    start.click(
        _runner(context),
        [files, modality, threshold, smallest, context.added],
        [note, table, archive],
        api_visibility="private",
        show_progress_on=note,
        **MODEL_QUEUE,
    )


def _runner(context: Context):
    def compare_all(
        paths, modality, threshold, smallest, added, request: gr.Request, progress=gr.Progress()
    ):
        if not paths:
            return problem_html("Choose some images first."), "", gr.File(visible=False)
        try:
            given = pair_masks(paths)
        except ValueError as error:
            return problem_html(error), "", gr.File(visible=False)
        results, choice = BatchResults([], {}), Choice(threshold, smallest)
        steps = run(results, given, candidates_of(context, added), modality=modality, choice=choice)
        for done, name in enumerate(steps, 1):
            progress((done, len(given)), desc=name)
        path = new_file("kerasunet-batch.zip", results.zip)
        context.files.keep(request, path, *paths)
        note = _summary_html(results, given)
        return note, table_html(results.lines), gr.File(str(path), visible=True)

    return compare_all


def candidates_of(
    context: Context, added: tuple[SavedModel, ...] = ()
) -> Callable[[str], list[Candidate]]:
    """Return a function from a modality to its models, loaded."""
    store = context.models
    return lambda modality: [store.candidate(m) for m in store.for_modality(modality, added)]


def table_html(lines: list[dict]) -> str:
    """Return an HTML table: a row per strategy, averaged over the images."""
    by_strategy: dict[str, list[dict]] = {}
    for line in lines:
        if "strategy" in line:
            told = [line["strategy"], *([line["object"]] if "object" in line else [])]
            by_strategy.setdefault(", ".join(told), []).append(line)
    body = "".join(_strategy_row(strategy, found) for strategy, found in by_strategy.items())
    heads = (
        *("Layers trained", "Images", "Seen in training", "Images scored", "Mean Dice"),
        *("Mean Dice with consensus", "Mean area (px)"),
    )
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    table = f"<table>{_CAPTION}<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
    return table if body else ""


def _strategy_row(strategy: str, lines: list[dict]) -> str:
    new = [line for line in lines if line["seen"] != "yes"]
    dices = [float(line["dice"]) for line in new if line["dice"]]
    values = (
        len(lines),
        len(lines) - len(new),
        len(dices),
        f"{mean(dices):.3f}" if dices else "–",
        f"{mean(float(line['consensus_dice']) for line in lines):.3f}",
        f"{mean(line['area_pixels'] for line in lines):,.0f}",
    )
    cells = "".join(f"<td>{value}</td>" for value in values)
    return f'<tr><th scope="row">{escape(strategy)}</th>{cells}</tr>'


def _summary_html(results: BatchResults, given: list) -> str:
    errors = [line["error"] for line in results.lines if "error" in line]
    note = note_html(f"{len(given) - len(errors)} of {len(given)} images compared.")
    return note + "".join(map(problem_html, [*errors, *results.warnings]))


def _modalities() -> list[tuple[str, str]]:
    return [("Guess each", ""), *((label, key) for key, label in MODALITIES.items())]

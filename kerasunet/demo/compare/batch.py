"""Several files at once: one table of every model on every image, and a zip of all masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean

import gradio as gr

from kerasunet.comparison import Candidate, Choice, as_csv, compare, judge, score
from kerasunet.comparison.report import mask_files, pack, rows, safe_name
from kerasunet.demo.session import (
    MODALITIES,
    MODEL_QUEUE,
    Context,
    Model,
    Subject,
    read_subject,
    read_truth,
)
from kerasunet.demo.visitors import new_file
from kerasunet.drawing import png

FILE_LIMIT = 100
_MASK_ENDING = "_mask"
_HINT = f"<p>Up to {FILE_LIMIT} files. scan_mask.png is taken as the true mask of scan.png.</p>"


@dataclass(frozen=True)
class Batch:
    """What came of several files.

    Attributes:
        lines: Rows of the table; a file that cannot be used has one, with its error.
        files: Masks, as PNG, by their names in the zip.
    """

    lines: list[dict]
    files: dict[str, bytes]

    @property
    def zip(self) -> bytes:
        return pack({**self.files, "table.csv": as_csv(self.lines).encode()})


def pairs(paths: list[str]) -> list[tuple[str, str | None]]:
    """Images with their masks: `NAME_mask.png` is the mask of `NAME.png`, whatever the suffixes.

    Raises:
        ValueError: There are too many files, or a mask has no image.
    """
    if len(paths) > FILE_LIMIT:
        raise ValueError(f"{len(paths)} files; at most {FILE_LIMIT} at once")
    stems = {path: Path(path).name.partition(".")[0] for path in paths}
    masks = {stem: path for path, stem in stems.items() if stem.endswith(_MASK_ENDING)}
    images = [path for path in paths if path not in masks.values()]
    known = {f"{stems[path]}{_MASK_ENDING}" for path in images}
    if lost := sorted(masks.keys() - known):
        raise ValueError(f"{', '.join(lost)}: a mask whose image is not among the files")
    return [(path, masks.get(f"{stems[path]}{_MASK_ENDING}")) for path in images]


def run(
    batch: Batch,
    given: list[tuple[str, str | None]],
    candidates_of: Callable[[str], list[Candidate]],
    modality: str,
    choice: Choice,
) -> Iterator[str]:
    """Compares on one image after the other.

    Args:
        batch: Takes what comes of each.
        given: Image files with their mask files.
        candidates_of: The models for a modality.
        modality: A key of `MODALITIES`, or empty to guess for each image.
        choice: Threshold and filter.

    Yields:
        The name of each image, when it is done.
    """
    for number, (image, mask) in enumerate(given, 1):
        name = Path(image).name
        try:
            subject = read_subject(image).taken_as(modality)
            truth = read_truth(mask, subject.image.shape[:2]) if mask else None
            _add(batch, f"{number:03d}_{safe_name(name)}", subject, truth, candidates_of, choice)
        except ValueError as error:
            batch.lines.append({"image": name, "error": str(error)})
        yield name


def _add(batch: Batch, folder: str, subject: Subject, truth, candidates_of, choice) -> None:
    comparison = compare(subject.image, candidates_of(subject.modality), subject.spacing)
    verdict = judge(comparison, choice)
    batch.lines.extend(rows(subject.name, score(comparison, verdict, truth), choice))
    masks = {**mask_files(verdict), "consensus": verdict.consensus}
    batch.files.update({f"{folder}/{name}.png": png(mask) for name, mask in masks.items()})


def build(context: Context, threshold: gr.Slider, smallest: gr.Slider) -> None:
    """Draws the part of Compare that takes several files."""
    with gr.Accordion("Several images at once", open=False, elem_id="batch"):
        files = gr.File(
            label="Images and masks",
            file_count="multiple",
            height=140,
            elem_id="batch-files",
        )
        with gr.Row():
            modality = gr.Radio(_modalities(), value="", label="What they show", scale=3)
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
            return _problem("Choose some images first."), "", gr.File(visible=False)
        try:
            given = pairs(paths)
        except ValueError as error:
            return _problem(error), "", gr.File(visible=False)
        batch, choice = Batch([], {}), Choice(threshold, smallest)
        steps = run(batch, given, candidates_of(context, added), modality, choice)
        for done, name in enumerate(steps, 1):
            progress((done, len(given)), desc=name)
        path = new_file("kerasunet-batch.zip", batch.zip)
        context.traces.keep(request, path, *paths)
        return _told(batch, given), as_table(batch.lines), gr.File(str(path), visible=True)

    return compare_all


def candidates_of(context: Context, added: tuple[Model, ...] = ()):
    """The ready models for a modality, as `run` asks for them."""
    return lambda modality: [
        context.shelf.candidate(model) for model in context.shelf.of(modality, added)
    ]


def as_table(lines: list[dict]) -> str:
    """HTML table: a row a strategy, averaged over the images."""
    by_strategy: dict[str, list[dict]] = {}
    for line in lines:
        if "strategy" in line:
            by_strategy.setdefault(line["strategy"], []).append(line)
    body = "".join(_summary(strategy, found) for strategy, found in by_strategy.items())
    heads = ("Layers trained", "Images", "Mean Dice", "Mean Dice with consensus", "Mean area (px)")
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>" if body else ""


def _summary(strategy: str, lines: list[dict]) -> str:
    dices = [float(line["dice"]) for line in lines if line["dice"]]
    values = (
        len(lines),
        f"{mean(dices):.3f} ({len(dices)})" if dices else "no masks given",
        f"{mean(float(line['consensus_dice']) for line in lines):.3f}",
        f"{mean(line['area_pixels'] for line in lines):,.0f}",
    )
    cells = "".join(f"<td>{value}</td>" for value in values)
    return f'<tr><th scope="row">{escape(strategy)}</th>{cells}</tr>'


def _told(batch: Batch, given: list) -> str:
    errors = [line["error"] for line in batch.lines if "error" in line]
    words = f'<p role="status">{len(given) - len(errors)} of {len(given)} images compared.</p>'
    return words + "".join(_problem(error) for error in errors)


def _problem(error: object) -> str:
    return f'<p role="alert" class="problem">{escape(str(error))}</p>'


def _modalities() -> list[tuple[str, str]]:
    return [("Guess each", ""), *((label, key) for key, label in MODALITIES.items())]

"""The verbs about trained models: list, share, export and show them; compare runs.

These are `models`, `push`, `export`, `demo` and `compare`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from kerasunet import models
from kerasunet.backend import quiet_start, start_backend, without_collection
from kerasunet.cli import options as shared
from kerasunet.cli.evaluation import held_out_rows, require_same_test, tell_seen
from kerasunet.inference.export_requests import FORMATS, check_request, sidecar_of
from kerasunet.metrics import DETECTION_IOU, WITHOUT_SPACING, bounds_in_words, unit_in_words
from kerasunet.models.model_card import asked_layers
from kerasunet.runs.directory import RECORDS, RunDirectory
from kerasunet.runs.predictions import each_once, labels_of
from kerasunet.schema import TEXT, Option, read_record, read_values

_HEADINGS = ("model", "trained layers", "Dice on held-out cases (95 % interval)", "Dice elsewhere")

_ELSEWHERE = {  # Where results are that compare leaves out.
    "adapt.json": "what it found is in its answer.md",
    "study.json": "kerasunet report compares its runs",
    "predictions.json": "kerasunet evaluate measures a model",
}


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--card", metavar="NAME", help="print the card of one model")
    parser.add_argument("--markdown", action="store_true", help="print the list as Markdown")


def run_models(options: argparse.Namespace) -> int:
    """List the saved models: what trained, on what, and the Dice on held-out cases and elsewhere.

    A start is a model to fine-tune from; the list says which images it is meant for.
    """
    if options.card:
        print(models.card(options.card).to_markdown())
        return 0
    rows = [_row(name) for name in models.list()]
    print("\n".join(_markdown(rows) if options.markdown else _columns(rows)))
    return 0


def _row(name: str) -> tuple[str, ...]:
    """Return what the list says of a model, by the name that loads it, as a copy has its own."""
    try:
        models.digest(name)
    except ValueError:  # What another card says is not said of this file.
        return name, "–", "without a card, or with that of another file", "–"
    card = models.card(name)
    others = [_dice(one, card, card.may_have_seen(one)) for one in card.evaluations]
    elsewhere = "; ".join([*others, *map(_left_out, _unknown(card))])
    held_out = _dice(card.held_out, card, card.start_unknown)
    return name, _trained(card), held_out, elsewhere or "–"


def _trained(card: models.ModelCard) -> str:
    if card.name == models.NATURAL:
        return "start: any"
    return f"start: {card.kind_of_image}" if card.is_start else card.trained_layers


def _unknown(card: models.ModelCard) -> list[models.LeftOut]:
    """Return what was measured at hospitals none of whose images were trained on."""
    return [one for one in card.left_out if one.data not in one.trained_on]


def _left_out(one: models.LeftOut) -> str:
    dice = one.dice
    return f"{one.data} left out {dice['mean']:.3f} ({bounds_in_words(dice['low'], dice['high'])})"


def _dice(evaluation: models.RecordedEvaluation, card: models.ModelCard, may_be_seen: bool) -> str:
    dice = evaluation.dice
    name = evaluation.data.name + evaluation.differences(card.image_size, card.threshold)
    if evaluation.seen:
        name += f", {evaluation.seen} of {evaluation.metrics['n']} cases seen"
    elif may_be_seen:
        name += ", perhaps seen"
    each = evaluation.metrics.get("objects") or {}
    parts = "".join(f", {part} {one['dice']['mean']:.3f}" for part, one in each.items())
    return f"{name} {dice.mean:.3f} ({bounds_in_words(dice.low, dice.high)}){parts}"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    table = [_HEADINGS, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(_HEADINGS))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    named = [(f"`{name}`", f"`{strategy}`", *dice) for name, strategy, *dice in rows]
    return [f"| {' | '.join(row)} |" for row in (_HEADINGS, ("---",) * len(_HEADINGS), *named)]


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file, with its card")
    add("--to", required=True, metavar="PLACE", help="a folder, or hf://owner/name")
    add("--private", action="store_true", help="make a new repository private")
    add(
        "--despite-terms",
        action="store_true",
        help="push even if the terms of the training data forbid redistribution; the README then "
        "warns",
    )


def run_push(options: argparse.Namespace) -> int:
    """Write a model as a Hugging Face Hub repository: to a folder, or to the Hub.

    The repository holds the model file with its card, the same model in the form that Keras opens
    by hf://owner/name, and a README with the terms of the training data.
    """
    place = models.push(
        options.model, options.to, private=options.private, despite_terms=options.despite_terms
    )
    print(f"written: {place}")
    return 0


EXPORT_EPILOG = "formats:\n" + "\n".join(
    f"  {name:<11} {facts.purpose}{'' if facts.any_size else ' (one image size)'}"
    for name, facts in FORMATS.items()
)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    add("--format", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    add("--output", type=Path, metavar="PATH", help="file or folder (default: NAME.SUFFIX here)")
    add(
        "--int8",
        action="store_true",
        help="8-bit weights and activations; uses the images of --data",
    )
    shared.add_shared(parser, "data", "manual_dir", data="simulated-ultrasound:64")
    shared.add_object_choice(parser)
    images = Option("largest number of images to check on", int, 1, maximum=1_000_000)
    shared.add_option(parser, "images", images, default=64)


def run_export(options: argparse.Namespace) -> int:
    """Export a saved model for other runtimes, checked against Keras image by image."""
    from kerasunet.data import load

    models.check(options.model)
    card = models.card(options.model)
    path = options.output or _default_path(card.name, options.format)
    check_request(options.format, path, options.int8)
    sidecar_of(path, options.format, options.int8, source=models.digest(options.model))
    data = load(options.data, options.manual_dir, **shared.object_choice(options, card))
    print(shared.describe_data(data), flush=True)

    start_backend()
    from kerasunet.inference.export import Images, export

    images = Images.of(
        data,
        size=card.image_size,
        channels=card.architecture.channels,
        count=options.images,
        calibrate=options.int8,
    )
    with quiet_start():  # Converters, too, write notes past `sys.stderr`.
        done = export(options.model, options.format, path, images=images, int8=options.int8)
    print(_summary(done.comparison, images.data))
    print(f"written: {done.path}, {done.sidecar}")
    return 0


def _default_path(name: str, format: str) -> Path:
    return Path(name + (FORMATS[format].suffix if format in FORMATS else ""))


def _summary(comparison: dict, data: str) -> str:
    loss = comparison["dice_loss"]
    against = "" if comparison["truth"] == "masks" else f" against Keras ({data} marks others)"
    return (
        f"compared with Keras on {comparison['images']} images of {data}: probabilities differ by "
        f"at most {comparison['max_abs_delta']:.2g}; {comparison['changed_pixels']:.3%} of the "
        f"pixels cross the threshold\nDice{against} {comparison['dice_keras']:.4f} before, "
        f"{comparison['dice_exported']:.4f} after; loss {loss['mean']:.4f} "
        f"({bounds_in_words(loss['low'], loss['high'], '.4f')})"
    )


_EXTRA = ("gradio", "plotly")
"""What the extra `demo` installs."""


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="address to listen on, 0.0.0.0 for all (default: this machine only)")
    port = Option("port (default: the first free one from 7860)", int, 1, maximum=65535)
    shared.add_option(parser, "port", port)
    add("--open", action="store_true", help="open the page in the browser")
    add(
        "--allow-training",
        action="store_true",
        help="let visitors from other machines fine-tune on this one",
    )


def run_demo(options: argparse.Namespace) -> int:
    """Open the demo in the browser: compare every strategy on your own image, offline."""
    try:
        with without_collection():
            from kerasunet.demo.server import launch
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise ValueError(
            f'the demo needs {error.name}, which is not installed: pip install "kerasunet[demo]"'
        ) from None
    launch(
        options.host,
        options.port,
        open_browser=options.open,
        allow_training=options.allow_training,
    )
    return 0


_SHOWN_OF_DIGEST, _USUAL_THRESHOLD = 8, 0.5


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")


def run_compare(options: argparse.Namespace) -> int:
    """Compare finished fine-tuning runs in one Markdown table, best Dice first.

    Runs are comparable only on the same held-out cases, so they must share data and test fold.
    """
    summaries = []
    directories = [path for path in each_once(options.runs) if not _is_left_out(path)]
    if not directories:
        raise ValueError("there is no fine-tuning run among these; give the folders of some")
    for directory in directories:
        files = RunDirectory(directory)
        if not files.summary.is_file():
            raise FileNotFoundError(
                f"{directory}: has no summary.json, so it is not a finished run; finish it "
                "first, or leave it out"
            )
        what, remedy = "the summary of a fine-tuning", "leave it out"
        read_record(files.summary, ("after",), what, remedy=remedy)
        summaries.append(files.read_summary(remedy))
    tables = [held_out_rows(*one) for one in zip(directories, summaries, strict=True)]
    require_same_test(directories, summaries, tables)
    named = zip(_starts(directories, summaries), labels_of(directories), strict=True)
    each = zip(directories, summaries, named, tables, strict=True)
    runs = [
        _RunRow.of(directory, summary, name, named=names, cases=cases)
        for directory, summary, names, cases in each
        for name in ["", *(summary["after"].get("objects") or {})]
    ]
    print(_runs_table(sorted(runs, key=lambda row: (row.name, -row.dice["mean"])), summaries))
    print(f"Intervals are over {_groups_in_words(tables[0])}.")
    for directory, summary in zip(directories, summaries, strict=True):
        tell_seen(directory, summary["settings"]["init"])
    return 0


def _is_left_out(directory: Path) -> bool:
    """Return whether a folder holds something else than a run; if so, say what it is."""
    is_run = RunDirectory(directory).summary.is_file()  # Other files in it may be the user's own.
    for record, where in _ELSEWHERE.items():
        if not is_run and (directory / record).is_file():
            print(f"left out    {directory}: {RECORDS[record]}; {where}", file=sys.stderr)
            return True
    return False


def _starts(directories: list[Path], summaries: list[dict]) -> list[str]:
    """Return the start of each run; of different files of one name, with their digests."""
    names = [summary["settings"]["init"] for summary in summaries]
    records = [RunDirectory(directory).config for directory in directories]
    digests = [_digest(record) if record.is_file() else "" for record in records]
    files = {name: {d for n, d in zip(names, digests, strict=True) if n == name} for name in names}
    return [
        f"{name} {digest[:_SHOWN_OF_DIGEST]}".strip() if len(files[name]) > 1 else name
        for name, digest in zip(names, digests, strict=True)
    ]


def _digest(record: Path) -> str:
    """Return the digest of a run's start, as its `config.json` has it."""
    wanted = {"digests": {"init": TEXT}}
    return read_values(record, wanted, "the record of a run", remedy="leave it out")["digests"][
        "init"
    ]


def _groups_in_words(rows: list[dict[str, str]]) -> str:
    """Return what the intervals of a run are over."""
    from kerasunet.data.splits import GroupedKey, groups_in_words

    keys = {GroupedKey(row["key"], row["group"]) for row in rows}
    return groups_in_words(keys) if keys else "groups of held-out images"


@dataclass(frozen=True)
class _RunRow:
    """What one run is, and how good it is: at one of several objects, or at all.

    Attributes:
        name: Of the object; empty for the mean of all.
    """

    name: str
    what: tuple[str, ...]
    dice: dict[str, float]
    hd95: float
    missed: int
    side: int

    @classmethod
    def of(
        cls,
        directory: Path,
        summary: dict,
        name: str,
        *,
        named: tuple[str, str],
        cases: list[dict[str, str]],
    ) -> _RunRow:
        """Read a run; `named` is what to call its start and the run itself."""
        from kerasunet.training.evaluation import stopped_at

        start, label = named
        settings, after = summary["settings"], summary["after"]
        after = after["objects"][name] if name else after
        asked, chosen = asked_layers(settings), summary["chosen"]
        side, untouched = settings["image_size"], not summary["trained"]
        planned = settings["optimization"]["steps"]
        taken = stopped_at(RunDirectory(directory).history, planned)
        steps = f"{taken:,} of {planned:,}" if taken else f"{planned:,}"
        steps = "none" if untouched else steps
        layers = f"{asked}: {chosen}" if asked.startswith("auto") else asked
        at = settings.get("threshold", _USUAL_THRESHOLD)
        size = f"{side}×{side}" + f", threshold {at}" * (at != _USUAL_THRESHOLD)
        what = (f"`{layers}`", f"`{start}`", steps, size)
        missed = after["missed"]
        if "objects" not in summary["after"] and cases:
            missed = _missed(cases)
        return cls(
            name,
            (*what, f"{summary['trained']:,}", f"`{label}`"),
            after["dice"],
            after["hd95"]["mean"],
            missed=missed,
            side=side,
        )


def _missed(cases: list[dict[str, str]]) -> int:
    """Count the missed objects again: version 0.1.0 called any touching pixel a detection."""
    rows = [row for row in cases if float(row["truth_area"])]
    return sum(float(row["iou"]) < DETECTION_IOU for row in rows)


def _runs_table(rows: list[_RunRow], summaries: list[dict]) -> str:
    first = summaries[0]
    unit, several = first["after"]["unit"], "objects" in first["after"]
    lines = [
        "| object "
        * several
        + "| layers | start | steps | image size | weights trained | run | Dice (95 % interval) "
        f"| HD95 ({unit}) | missed (IoU below {DETECTION_IOU}) |",
        "|---" * several + "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        dice = row.dice
        lines.append(
            f"| {row.name or 'mean of all'} " * several + f"| {' | '.join(row.what)} "
            f"| {dice['mean']:.3f} ({bounds_in_words(dice['low'], dice['high'])}) "
            f"| {row.hd95:.1f} | {row.missed} |"
        )
    split, name = first["split"], first["data"]["name"]
    if labels := first["settings"].get("labels"):
        name += f", only {' '.join(labels)}"
    lines.append(f"\n{name}: {split['train']} training images, {split['test']} held-out images.")
    if WITHOUT_SPACING in first["after"]:
        lines.append(f"Distances are in {unit_in_words(first['after'])}.")
    if unit == "px" and len({row.side for row in rows}) > 1:
        lines.append("Pixels of different image sizes are not the same: do not compare HD95.")
    return "\n".join(lines)

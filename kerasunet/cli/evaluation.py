"""The verbs that measure saved models on images: `evaluate` and `panel`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from kerasunet import models
from kerasunet.backend import cheap_start, start_backend
from kerasunet.cli import options as shared
from kerasunet.files import is_marked, read_json, require_replaceable
from kerasunet.metrics import DETECTION_IOU, bounds_in_words
from kerasunet.models.card_fields import MAY_HAVE_SEEN
from kerasunet.runs.directory import RunDirectory
from kerasunet.schema import Option, read_rows
from kerasunet.training.settings import LARGEST_SIDE

if TYPE_CHECKING:
    import numpy as np

    from kerasunet.data.cases import DataSet
    from kerasunet.data.decoding import DecodedCases


_PANEL_TITLE, _ROUNDED = b"What the models find", 1e-4
_THRESHOLD = Option(
    "probability of foreground (default: the model card's)", float, minimum=0, maximum=1
)
_IMAGE_SIZE = Option("height and width (default: the model card's)", int, 1, maximum=LARGEST_SIDE)


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    shared.add_shared(parser, "data", required=True)
    shared.add_shared(parser, "manual_dir")
    shared.add_object_choice(parser)
    shared.add_option(parser, "threshold", _THRESHOLD)
    shared.add_option(parser, "image_size", _IMAGE_SIZE)
    shared.add_shared(parser, "labels", labels=())
    shared.add_shared(parser, "group_pattern")
    add(
        "--groups",
        metavar="CSV",
        help="table of the groups (patients) of the images, such as the one that the model was "
        "fine-tuned with",
    )
    add(
        "--include-seen",
        action="store_true",
        help="also count cases that the model was trained on or chosen by",
    )
    add("--engine", default="auto", help="auto, openvino, onnx, litert or keras (auto)")
    add("--mirror", action="store_true", help="average with the prediction for the mirror image")
    add("--csv", type=Path, metavar="FILE", help="write one row per case")
    add("--record", action="store_true", help="add the result to the model's card")


def evaluate_marks() -> dict[str, bytes]:
    from kerasunet.metrics import case_metrics

    return {"csv": ",".join(case_metrics([[0]], [[0.0]])).encode() + b"\n"}


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure a saved model on image/mask pairs: overlap, distances and calibration, case by case.

    Cases that the model was trained on or chosen by, and others of the same patients, are left out.
    """
    from kerasunet.data.decoding import decode
    from kerasunet.data.loading import require_objects
    from kerasunet.inference.engines import chosen_engine
    from kerasunet.training.evaluation import CONSTANT, evaluate_probabilities

    models.check(options.model)
    card = models.card(options.model)
    if options.record:
        models.check_record(options.model)
    chosen_engine(options.engine)
    side = _side(options, card)
    data = _data(options, card, side)
    print(shared.describe_data(data), flush=True)
    counted, seen = _counted(options, card, data)

    threshold = card.threshold if options.threshold is None else options.threshold
    cases = decode(counted.cases, (side, side), card.architecture.channels)
    require_objects(counted.cases, cases, none_allowed=True)
    evaluation = evaluate_probabilities(_predicted(options, cases), cases, threshold)
    print(_metrics_table(options, counted, evaluation.summary))
    if evaluation.constant:
        print(CONSTANT)
    if options.csv:
        evaluation.write_csv(options.csv)
    if options.record:
        recorded = models.RecordedEvaluation(
            data=replace(models.DataNote.of(counted), cases=len(data)),
            image_size=side,
            threshold=threshold,
            mirrored=options.mirror,
            seen=seen,
            labels=tuple(dict.fromkeys(options.labels)),
            metrics=evaluation.summary,
        )
        print(f"recorded in {models.record(options.model, recorded)}")
    return 0


def _side(options: argparse.Namespace, card: models.ModelCard) -> int:
    """Return the height and width of images.

    Raises:
        ValueError: The network cannot halve them as often as it has to.
    """
    side, multiple = options.image_size or card.image_size, card.architecture.size_multiple
    if side % multiple:
        raise ValueError(
            f"--image-size {side}: give a multiple of {multiple}; {options.model} halves images "
            f"{card.architecture.depth} times"
        )
    return side


def _predicted(options: argparse.Namespace, cases: DecodedCases) -> np.ndarray:
    """Return the probabilities of cases; for one object, without an axis for objects."""
    from kerasunet.data.augmentation import with_flip
    from kerasunet.inference.engines import open_engine

    with cheap_start():
        engine = open_engine(options.model, cases.images.shape[1:3], options.engine)
    found = (with_flip(engine) if options.mirror else engine)(cases.images)
    return found if found.shape[-1] > 1 else found[..., 0]


def _counted(
    options: argparse.Namespace, card: models.ModelCard, data: DataSet
) -> tuple[DataSet, int | None]:
    """Return the cases that count, and how many of them the model has seen, `None` if unknown."""
    from kerasunet.runs.preparation import seen_cases

    sources = {"data": options.data, "manual_dir": options.manual_dir, "groups": options.groups}
    seen = seen_cases(card, data, **sources)
    if not seen.is_known:
        print(
            f"WARNING: the card of {card.name} does not say which of these cases it was trained on"
        )
    count = len(seen.keys)
    if count and options.include_seen:
        told = f"{count} cases count although the model was trained on or chosen by them, or others"
        print(f"seen        {told} of the same patients")
        return data, count if seen.is_known else None
    cases = tuple(case for case in data.cases if case.key not in seen.keys)
    if not cases:
        raise ValueError(
            f"{options.data}: {options.model} was trained on or chosen by all {count} cases, or "
            "others of their patients; give other data, or --include-seen to count them anyway"
        )
    if count:
        print(
            f"seen        {count} cases are left out: the model was trained on or chosen by them, "
            f"or others of the same patients (--include-seen counts them); {len(cases)} are held "
            "out"
        )
    return replace(data, cases=cases), 0 if seen.is_known else None


def _data(options: argparse.Namespace, card: models.ModelCard, side: int) -> DataSet:
    from kerasunet.data import load
    from kerasunet.data.groups import regroup, with_group_pattern
    from kerasunet.data.loading import require_one_code

    data = load(options.data, options.manual_dir, side, **shared.object_choice(options, card))
    shared.require_same_objects(card, data)
    if options.labels:
        data = data.with_labels(options.labels)
    require_one_code(data.cases)
    groups, pattern = options.groups, options.group_pattern
    if groups is not None and pattern is not None:
        raise ValueError(
            f"groups {groups} and group pattern {pattern} both say which images belong together; "
            "give one of them"
        )
    if groups is not None:
        return regroup(data, groups)
    return data if pattern is None else with_group_pattern(data, pattern)


def _metrics_table(options: argparse.Namespace, data: DataSet, summary: dict) -> str:
    from kerasunet.data.splits import groups_in_words
    from kerasunet.metrics import METRICS, WITHOUT_SPACING, unit_in_words

    name, groups = data.name + ", mirrored" * options.mirror, groups_in_words(data.cases)
    what = f"{options.model} on {name}, {summary['n']} cases"
    lines = [f"{what} (mean, 95 % interval over {groups})"]
    parts = summary.get("objects") or {}
    for title, part in [*parts.items(), ("mean of all" if parts else "", summary)]:
        lines += [title] if title else []
        for metric_name, metric in METRICS.items():
            interval = part[metric_name]
            unit = f" {part['unit']}" if metric.is_distance else ""
            lines.append(
                f"  {metric.label + unit:<12} {interval['mean']:8.3f}  "
                f"({bounds_in_words(interval['low'], interval['high'])})"
            )
        lines.append(
            f"  missed {part['missed']} (IoU below {DETECTION_IOU}), false alarms "
            f"{part['false_alarm']}, without an object {part['empty_truth']}"
        )
    if WITHOUT_SPACING in summary:
        lines.append(f"  distances are in {unit_in_words(summary)}")
    return "\n".join(lines)


def add_panel_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_shared(parser, "data", required=True)
    shared.add_shared(parser, "manual_dir")
    shared.add_object_choice(parser)
    add(
        "--models",
        nargs="+",
        required=True,
        metavar="[HEADING=]MODEL",
        help="saved models, by name or .keras file; the default headings say what was trained and "
        "how the models differ",
    )
    add("--by", metavar="HEADING", help="model whose Dice picks the cases (default: the last one)")
    add("--groups", metavar="CSV", help="table of the groups that the models were fine-tuned with")
    add(
        "--output",
        type=Path,
        default=Path("panel.png"),
        help="PNG file; an SVG file is written beside it (panel.png)",
    )


def panel_marks() -> dict[str, bytes]:
    return {"output": _PANEL_TITLE}


def run_panel(options: argparse.Namespace) -> int:
    """Draw predictions of saved models on typical, best and worst cases, beside image and truth.

    If a model was fine-tuned on the same data, only cases of its test fold are used.
    """
    from kerasunet.data import load
    from kerasunet.data.loading import require_one_code

    models = _headed(options.models)
    if options.output.suffix != ".png":  # Of `.PNG`, another file would be written.
        raise ValueError(f"{options.output}: give the name of a PNG file, which ends in .png")
    drawn = options.output.with_suffix(".svg")
    require_replaceable(drawn)
    if drawn.exists() and not is_marked(drawn, _PANEL_TITLE):
        raise FileExistsError(
            f"{drawn}: would be replaced, too, but is not such a drawing; give another --output"
        )
    shared.require_as_written(drawn)
    chosen = shared.object_choice(options)
    data = load(options.data, options.manual_dir, **chosen)
    print(shared.describe_data(data), flush=True)
    require_one_code(data.cases)
    start_backend()
    from kerasunet.study.figures.mask_panel import draw_models

    drawing = draw_models(
        models,
        options.data,
        name=options.output.stem,
        by=options.by,
        manual_dir=options.manual_dir,
        groups=options.groups,
        **chosen,
    )
    for path in drawing.write(options.output.parent):
        print(path)
    print(drawing.caption)
    return 0


def _headed(texts: list[str]) -> dict[str, str]:
    """Heading to model, in order; a heading that is not given says what the model is."""
    given = [text.rpartition("=") for text in texts]
    for _, _, model in given:
        models.check(model)
    cards = [models.card(model) for _, _, model in given]
    tuned = [known.origin for known in cards if known.is_fine_tuned]
    differing = [part for part in cards[0].origin if len({origin[part] for origin in tuned}) > 1]
    named: dict[str, str] = {}
    for (heading, sign, model), known in zip(given, cards, strict=True):
        heading = heading if sign else _heading(known, differing)
        if heading in named:
            raise ValueError(f"{model}: there is already a column {heading}; write HEADING={model}")
        named[heading] = model
    return named


def _heading(card: models.ModelCard, differing: list[str]) -> str:
    if not card.is_fine_tuned:
        return f"{card.init if 'layers' in card.settings else card.name}, not fine-tuned"
    return ", ".join([card.trained_layers, *(card.origin[part] for part in differing)])


def held_out_rows(directory: Path, summary: dict) -> list[dict[str, str]]:
    """Return the rows of a run's table of cases; none if the table is gone.

    Raises:
        ValueError: It is not the whole table.
    """
    path, after = RunDirectory(directory).cases, summary["after"]
    if not path.is_file():
        return []
    columns = {"key": str, "group": str, "truth_area": float, "iou": float, "dice": float}
    rows = read_rows(path, columns, remedy="leave the run out")
    wanted = summary["split"]["test"] * max(len(after.get("objects") or ()), 1)
    if len(rows) != wanted:
        told = f"has {len(rows)} rows, but the run was measured on {wanted} cases and objects"
        raise ValueError(f"{path}: {told}, so a part is missing; leave the run out")
    if abs(mean(float(row["dice"]) for row in rows) - after["dice"]["mean"]) > _ROUNDED:
        raise ValueError(f"{path}: has another mean Dice than summary.json; leave the run out")
    return rows


def tell_seen(directory: Path, start: str) -> None:
    """Say how many held-out cases the start of a run has seen, or that this is not known.

    Args:
        directory: Of the run; the card of its model says it, which compact runs lack.
        start: What the run started from.
    """
    files, told = RunDirectory(directory), ""
    if not files.model.with_suffix(".json").is_file():
        told = "may have seen held-out cases: without model.json, that is not known"
    elif (card := models.card(files.model)).start_unknown:
        told = MAY_HAVE_SEEN
    elif card.start_saw:
        told = models.seen_in_words(card.start_saw, card.metrics["n"])
    if told and start != "scratch":
        print(f"{directory}: its start, {start}, {told}")


def require_same_test(
    directories: list[Path], summaries: list[dict], tables: list[list[dict[str, str]]]
) -> None:
    """Refuse runs that were not trained and measured on the same images and masks.

    Raises:
        ValueError: Their data, split or, at one image size, pixels or areas of masks differ.
    """
    truths: dict[int, tuple[Path, list[tuple[str, str, float]]]] = {}
    contents: dict[tuple[int, int], tuple[Path, str]] = {}
    for directory, summary, rows in zip(directories, summaries, tables, strict=True):
        differs, other = "", directories[0]
        for what in ("data", "split"):
            if summary[what]["digest"] != summaries[0][what]["digest"]:
                differs = differs or what
        truth = [(row["key"], row.get("object", ""), float(row["truth_area"])) for row in rows]
        if truth and not differs:  # Masks are redrawn or exchanged without another name.
            other, known = truths.setdefault(summary["settings"]["image_size"], (directory, truth))
            differs = "" if truth == known else "area of the held-out masks"
        if not differs and (found := _content(directory, summary)):
            other, content = contents.setdefault(found[0], (directory, found[1]))
            differs = "" if found[1] == content else "content of images or masks"
        if differs:
            raise ValueError(
                f"{directory}: has a different {differs} from {other}, so their numbers cannot be "
                "compared"
            )


def _content(directory: Path, summary: dict) -> tuple[tuple[int, int], str] | None:
    """Return how a run read its images, size and channels, and the digest of their pixels.

    Digests of pixels that were read in different ways cannot be compared; `None` without a digest.
    """
    files, channels = RunDirectory(directory), 1
    with suppress(FileNotFoundError):
        channels = models.card(files.model).architecture.channels
    known = files.config.is_file() and read_json(files.config).get("digests", {})
    digest = known and known.get("images and masks")
    return ((summary["settings"]["image_size"], channels), digest) if digest else None

"""Measure a saved model on image/mask pairs: overlap, distances and calibration, case by case.

Cases that the model was trained on or chosen by, and others of the same patients, do not count.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet import models
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.options import Option
from kerasunet.training.settings import LARGEST_SIDE

if TYPE_CHECKING:
    from kerasunet.data.cases import DataSet

_THRESHOLD = Option(
    "probability of foreground (default: the model card's)", float, minimum=0, maximum=1
)
_IMAGE_SIZE = Option("height and width (default: the model card's)", int, 1, maximum=LARGEST_SIDE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    shared.add_shared(parser, "data", required=True)
    shared.add_shared(parser, "manual_dir")
    shared.add_object_choice(parser)
    shared.add_option(parser, "threshold", _THRESHOLD)
    shared.add_option(parser, "image_size", _IMAGE_SIZE)
    shared.add_shared(parser, "labels", labels=())
    shared.add_shared(parser, "group_pattern")
    add("--groups", metavar="CSV", help="table of the groups that the model was fine-tuned with")
    add(
        "--include-seen",
        action="store_true",
        help="also count cases that the model was trained on or chosen by",
    )
    add("--mirror", action="store_true", help="average with the prediction for the mirror image")
    add("--csv", type=Path, metavar="FILE", help="write one row per case")
    add("--record", action="store_true", help="add the result to the model's card")


def marks() -> dict[str, bytes]:
    from kerasunet.metrics import case_metrics

    return {"csv": ",".join(case_metrics([[0]], [[0.0]])).encode() + b"\n"}


def run(options: argparse.Namespace) -> int:
    from kerasunet.data.decoding import decode
    from kerasunet.data.loading import require_objects

    models.check(options.model)
    card = models.card(options.model)
    side = options.image_size or card.image_size
    data = _data(options, card, side)
    print(shared.describe_data(data), flush=True)
    counted, seen = _counted(options, card, data)

    start_backend()
    from kerasunet.training.evaluation import CONSTANT, evaluate

    threshold = card.threshold if options.threshold is None else options.threshold
    model = models.load(options.model)
    cases = decode(counted.cases, (side, side), model.input_shape[-1])
    require_objects(counted.cases, cases, none_allowed=True)
    evaluation = evaluate(model, cases, threshold, flip=options.mirror)
    if options.csv:
        evaluation.write_csv(options.csv)
    print(_table(options, counted, evaluation.summary))
    if evaluation.constant:
        print(CONSTANT)
    if options.record:
        recorded = models.RecordedEvaluation(
            data=models.DataNote.of(counted),
            image_size=side,
            threshold=threshold,
            mirrored=options.mirror,
            seen=seen,
            metrics=evaluation.summary,
        )
        print(f"recorded in {models.record(options.model, recorded)}")
    return 0


def _counted(
    options: argparse.Namespace, card: models.ModelCard, data: DataSet
) -> tuple[DataSet, int | None]:
    """Return the cases that count, and how many of them the model has seen, `None` if unknown."""
    from kerasunet.runs.preparation import seen_cases

    sources = {"data": options.data, "manual_dir": options.manual_dir, "groups": options.groups}
    seen = seen_cases(card, data, **sources)
    if not seen.is_known:
        print(f"WARNING: {card.name}'s card does not tell which of these cases it was trained on")
        return data, None
    count = len(seen.keys)
    if count and options.include_seen:
        print(f"seen        {count} cases that the model was trained on or chosen by also count")
        return data, count
    cases = tuple(case for case in data.cases if case.key not in seen.keys)
    if not cases:
        raise ValueError(
            f"{options.data}: {options.model} was trained on or chosen by all {count} cases, or "
            "others of their patients; give other data, or --include-seen to count them anyway"
        )
    if count:
        print(
            f"seen        {count} cases that the model was trained on or chosen by, or of the same "
            f"patients, do not count (--include-seen counts them); {len(cases)} are held out"
        )
    return replace(data, cases=cases), 0


def _data(options: argparse.Namespace, card: models.ModelCard, side: int) -> DataSet:
    from kerasunet.data import load
    from kerasunet.data.groups import with_group_pattern
    from kerasunet.data.loading import require_one_code

    data = load(options.data, options.manual_dir, side, **shared.object_choice(options, card))
    shared.require_same_objects(card, data)
    if options.labels:
        data = data.with_labels(options.labels)
    require_one_code(data.cases)
    pattern = options.group_pattern
    return data if pattern is None else with_group_pattern(data, pattern)


def _table(options: argparse.Namespace, data: DataSet, summary: dict) -> str:
    from kerasunet.data.splits import groups_in_words
    from kerasunet.metrics import DETECTION_IOU, METRICS

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
                f"({interval['low']:.3f} to {interval['high']:.3f})"
            )
        lines.append(
            f"  missed {part['missed']} (IoU below {DETECTION_IOU}), false alarms "
            f"{part['false_alarm']}, without an object {part['empty_truth']}"
        )
    return "\n".join(lines)

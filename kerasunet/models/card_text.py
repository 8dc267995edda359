"""A model card as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kerasunet.metrics import METRICS, POLICY, with_unknown_bounds
from kerasunet.objects import Objects

if TYPE_CHECKING:
    from kerasunet.models.json_fields import LeftOut, RecordedEvaluation
    from kerasunet.models.model_card import ModelCard


def lines_of(card: ModelCard) -> list[str]:
    """Return the lines of a card."""
    channels, multiple = card.architecture.channels, card.architecture.size_multiple
    return [
        f"# {card.name}: {card.title}",
        "",
        "Research use only; not a medical device.",
        "",
        *_use(card),
        "```python",
        "import keras",
        f'model = keras.models.load_model("saved_models/{card.weights_of or card.name}.keras")',
        "```",
        "",
        f"Input: gray levels 0 to 255, `(batch, height, width, {channels})`, any float or "
        f"uint8, height and width multiples of {multiple}. Standardization is inside. "
        f"Output: {output_in_words(card.marked)} of the same height and width.",
        "",
        *_overview(card),
        "",
        f"## {_judges(card)}",
        "",
        *metrics_table(card.metrics),
        "",
        *_other_evaluations(card),
        *_left_out(card),
        POLICY,
        "",
        "## Data",
        "",
        *_data_notes(card),
        "",
    ]


def _overview(card: ModelCard) -> list[str]:
    rows = {
        "trained layers": f"`{' '.join(card.settings.get('unfreeze', ())) or card.strategy}`",
        "initial weights": f"`{card.init}`",
        "training cases": card.training_cases,
        "image size": _sizes(card),
        "threshold": card.threshold,
        "parameters": f"{card.parameters:,}",
        "split (SHA-256)": f"`{card.split[:16]}`" if card.split else "whole data sets",
        "file (SHA-256)": f"`{card.sha256}`",
        "storage": card.storage,
        "versions": ", ".join(f"{name} {number}" for name, number in card.versions.items()),
    }
    return ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows.items()]


def _use(card: ModelCard) -> list[str]:
    return [card.use, ""] if card.use else []


def _sizes(card: ModelCard) -> str:
    smallest, largest = card.trained_sizes
    size = f"{card.image_size}×{card.image_size}"
    return size if smallest == largest else f"{size}; trained from {smallest} to {largest}"


def _left_out(card: ModelCard) -> list[str]:
    """Return the table of hospitals that the same recipe was not shown."""
    if not card.left_out:
        return []
    lines = [
        "## On a hospital that was left out",
        "",
        "Measured once, with networks made in the same way from the other data. `NAME/choose` and "
        "`NAME/read` are halves of a data set, split by patients or groups of near-duplicates.",
        "",
        "| trained on | measured on | size | Dice | 95 % interval | by part | empty ones marked |",
        "|---|---|---|---|---|---|---|",
    ]
    return [*lines, *map(_left_out_row, card.left_out), ""]


def _left_out_row(one: LeftOut) -> str:
    dice = one.dice
    parts = ", ".join(f"{name} {value:.3f}" for name, value in one.parts.items())
    marked = "–" if one.marked is None else f"{one.marked:.0%} of {one.empty}"
    return (
        f"| `{one.trained_on}` | `{one.data}`, {one.cases} cases | {one.image_size} | "
        f"{dice['mean']:.3f} | {dice['low']:.3f} to {dice['high']:.3f} | {parts} | {marked} |"
    )


def _judges(card: ModelCard) -> str:
    """Return what the cases are that the metrics were measured on."""
    how = card.settings.get("optimization", {})
    if "layers" in card.settings or how.get("keep") != "best" and how.get("patience") is None:
        return "Held-out cases"
    return "Validation cases, by which the weights were chosen"


def _other_evaluations(card: ModelCard) -> list[str]:
    lines: list[str] = []
    for one in card.evaluations:
        views = ", with mirror images" if one.mirrored else ""
        lines += [f"## On `{one.data.name}`, {_seen_of(one, card)}{views}", ""]
        lines += [*metrics_table(one.metrics), ""]
        lines += [f"At {one.image_size}×{one.image_size} pixels, threshold {one.threshold}.", ""]
    return lines


def _seen_of(one: RecordedEvaluation, card: ModelCard) -> str:
    if one.seen:
        return f"{one.seen} of {one.metrics['n']} cases trained on or chosen by"
    if one.seen is None and one.data.name in (card.data.name, *card.start_data):
        return "not known which of it was trained on"
    return "none of which was trained on"


def _data_notes(card: ModelCard) -> list[str]:
    notes = [("Trained on", card.data), ("Evaluated on", card.evaluation_data)]
    others = {one.data.name: one.data for one in card.evaluations}
    notes += [("Evaluated on", data) for data in others.values()]
    return [
        f"- {role} `{note.name}` ({note.cases} cases in the set). Terms: {note.terms}. "
        f"{note.citation}".rstrip()
        for role, note in notes
    ]


def metrics_table(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of metrics, one for each object where there are several."""
    summary = with_unknown_bounds(summary)
    each = summary.get("objects") or {}
    lines = ["| metric | mean | 95 % interval |", "|---|---|---|"]
    if each:
        lines = ["| object | metric | mean | 95 % interval |", "|---|---|---|---|"]
    parts = [*(("| " + name + " ", one) for name, one in each.items())]
    for start, part in [*parts, ("| mean of all " if each else "", summary)]:
        lines += [f"{start}{line}" for line in _metric_rows(part)]
    lowest = summary.get("detection_iou")
    how = "no pixel found" if lowest is None else f"IoU below {lowest:g}"
    counts = (
        f"{summary['n']} cases; {summary['missed']} objects missed ({how}), "
        f"{summary['false_alarm']} false alarms, {summary['empty_truth']} cases without an object."
    )
    return [*lines, "", counts]


def _metric_rows(summary: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in METRICS.items():
        interval = summary[name]
        unit = f" ({summary['unit']})" if metric.is_distance else ""
        yield (
            f"| {metric.label}{unit} | {interval['mean']:.3f} | "
            f"{interval['low']:.3f} to {interval['high']:.3f} |"
        )


def output_in_words(objects: Objects) -> str:
    """Say what a model of these objects puts out."""
    if not objects.several:
        return "foreground probability"
    names = [*(["background"] if objects.exclusive else []), *objects.names]
    channels = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    return f"{len(names)} channels, the probabilities of {channels},"

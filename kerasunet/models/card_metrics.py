"""What a model card says of the output and of metrics, as Markdown, object by object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kerasunet.metrics import METRICS, with_unknown_bounds
from kerasunet.objects import Objects


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
    how = "not a pixel of them found" if lowest is None else f"IoU below {lowest:g}"
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

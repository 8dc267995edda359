"""Many cases to one summary: the mean of every metric with its interval, and the failures."""

from collections.abc import Hashable, Mapping, Sequence

from kerasunet.metrics.bootstrap import Interval, bootstrap_interval
from kerasunet.metrics.policy import METRICS

_COLUMNS = (*METRICS, "truth_area", "outcome", "unit")


def summarize(
    rows: Sequence[Mapping[str, float | int | str]],
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval | int | str]:
    """Average the rows of `case_metrics`, with bootstrap intervals, and count the failures.

    Args:
        rows: one row a case, as `case_metrics` returns it; further columns are ignored.
        groups: group (patient) of each row; None takes each case as its own group.
        confidence, resamples, seed: as in `bootstrap_interval`.

    Returns:
        An `Interval` for every name in `METRICS`; the counts `n` (cases), `missed` (lesions
        without a predicted pixel on them), `false_alarm` (something predicted, no lesion) and
        `empty_truth` (cases without a lesion); and the `unit` of the distances.

    Raises:
        ValueError: no rows, a column missing, or rows in px mixed with rows in mm.
    """
    _require_columns(rows)
    outcomes = [row["outcome"] for row in rows]
    intervals = {
        name: bootstrap_interval(
            [row[name] for row in rows], confidence, resamples, seed, groups=groups
        )
        for name in METRICS
    }
    return {
        **intervals,
        "n": len(rows),
        "missed": outcomes.count("missed"),
        "false_alarm": outcomes.count("false_alarm"),
        "empty_truth": sum(row["truth_area"] == 0 for row in rows),
        "unit": _only_unit(rows),
    }


def _require_columns(rows: Sequence[Mapping[str, float | int | str]]) -> None:
    if not rows:
        raise ValueError("rows must hold at least one case, got none")
    for position, row in enumerate(rows):
        if missing := [column for column in _COLUMNS if column not in row]:
            raise ValueError(f"rows[{position}] lacks {', '.join(missing)}")


def _only_unit(rows: Sequence[Mapping[str, float | int | str]]) -> str:
    units = [row["unit"] for row in rows]
    if len(set(units)) > 1:
        counts = ", ".join(f"{units.count(unit)} in {unit}" for unit in sorted(set(units)))
        raise ValueError(
            f"distances cannot be averaged over mixed units ({counts}): "
            "give a spacing for every case or for none"
        )
    return units[0]

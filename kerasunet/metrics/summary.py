"""All metrics of one case in a row, and their averages over cases with bootstrap intervals."""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasunet.metrics import DETECTION_IOU, METRICS, Interval
from kerasunet.metrics.measures import (
    as_mask,
    as_probability,
    dice,
    expected_calibration_error,
    iou,
    precision,
    require_fraction,
    require_same_shape,
    sensitivity,
    surface_distances,
)
from kerasunet.schema import typed

_FEWEST_RESAMPLES = 100
_RESAMPLES_AT_ONCE = 250
_COLUMNS = (*METRICS, "truth_area", "outcome", "unit")
_Row = tuple[Mapping[str, float | int | str], Hashable]
"""A row and its group."""


def case_metrics(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    threshold: float = 0.5,
    spacing: tuple[float, float] | None = None,
    prediction: ArrayLike | None = None,
) -> dict[str, float | int | str]:
    """Compare one predicted probability map with the true mask.

    Args:
        truth: True mask, bool or {0, 1}, (H, W); may be empty (no lesion).
        probability: Probability of lesion, in [0, 1], (H, W).
        threshold: A pixel is predicted where its probability is at or above this; between 0 and 1.
        spacing: Pixel size (row, column) in mm; None measures distances in pixels.
        prediction: Predicted mask, bool or {0, 1}, (H, W), where it does not follow from the
            threshold, as of an object that is the most probable one of several.

    Returns:
        A flat row of plain Python numbers and strings: `dice`, `iou`, `sensitivity`, `precision`,
        `hd95`, `assd` and `ece` (all finite, see `kerasunet.metrics.POLICY`); `truth_area` and
        `predicted_area` in pixels; `outcome`, one of "detected", "missed", "false_alarm" and
        "true_negative"; `unit` of `hd95` and `assd`, "px" or "mm".

    Raises:
        ValueError: An image is not 2-D, the shapes differ, `truth` is not binary, `probability` is
            NaN or out of [0, 1], or `threshold` or `spacing` is out of range.
    """
    mask, chance = as_mask(truth, "truth"), as_probability(probability, "probability")
    require_same_shape(mask, chance, "probability")
    require_fraction(threshold, "threshold")
    # A plain float takes the image's precision: float32 0.7 is at the threshold 0.7.
    if prediction is None:
        prediction = chance >= float(threshold)
    prediction = as_mask(prediction, "prediction")
    distances = surface_distances(mask, prediction, spacing)
    return {
        "dice": dice(mask, prediction),
        "iou": iou(mask, prediction),
        "sensitivity": sensitivity(mask, prediction),
        "precision": precision(mask, prediction),
        "hd95": distances.hd95,
        "assd": distances.assd,
        "ece": expected_calibration_error(mask, chance),
        "truth_area": int(np.count_nonzero(mask)),
        "predicted_area": int(np.count_nonzero(prediction)),
        "outcome": _outcome(mask, prediction),
        "unit": "px" if spacing is None else "mm",
    }


def summarize(
    rows: Sequence[Mapping[str, float | int | str]],
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval | float | str]:
    """Average the rows of `case_metrics`, with bootstrap intervals, and count the failures.

    Args:
        rows: One row per case, as `case_metrics` returns it; further columns are ignored.
        groups: Group (patient) of each row; None takes each case as its own group.
        confidence: Coverage aimed at, between 0 and 1.
        resamples: Number of bootstrap samples, at least 100.
        seed: The same seed gives the same intervals.

    Returns:
        An `Interval` for every name in `METRICS`; the counts `n` (cases), `missed` (lesions whose
        IoU with the prediction is below `detection_iou`), `false_alarm` (something predicted, no
        lesion) and `empty_truth` (cases without a lesion); and the `unit` of the distances.

    Raises:
        TypeError: The rows are no list, or the groups have no order.
        ValueError: No rows, a column missing, or rows in px mixed with rows in mm.
    """
    _require_columns(rows)
    outcomes = [row["outcome"] for row in rows]
    intervals = {
        name: bootstrap_interval(
            [row[name] for row in rows],
            confidence=confidence,
            resamples=resamples,
            seed=seed,
            groups=groups,
        )
        for name in METRICS
    }
    return {
        **intervals,
        "n": len(rows),
        "missed": outcomes.count("missed"),
        "false_alarm": outcomes.count("false_alarm"),
        "empty_truth": sum(float(row["truth_area"]) == 0 for row in rows),  # Perhaps text.
        "detection_iou": DETECTION_IOU,
        "unit": _only_unit(rows),
    }


def summarize_objects(
    rows: Sequence[Mapping[str, float | int | str]],
    groups: Sequence[Hashable] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Average the rows of several objects: in the mean over objects, and object by object.

    Args:
        rows: One row per case and object, as `case_metrics` returns it, with the columns `key` and
            `object`, in any order; every case has the same objects. Rows of a case that was
            measured several times belong together in their order.
        groups: Group (patient) of each row, as in `summarize`.
        options: `confidence`, `resamples` and `seed`, as in `summarize`.

    Returns:
        What `summarize` returns of the mean over the objects of each case, `missed`,
        `false_alarm` and `empty_truth` counting objects; and `objects`, the summary of each by
        name.

    Raises:
        ValueError: As `summarize`, or a case lacks an object or is in several groups.
    """
    _require_columns(rows)
    groups = [row["key"] for row in rows] if groups is None else groups
    _require_order(groups)
    if len(groups) != len(rows):
        raise ValueError(f"groups must name one group per row: {len(groups)} for {len(rows)} rows")
    names = list(dict.fromkeys(str(row["object"]) for row in rows))
    parts: dict[str, dict[tuple[str, int], _Row]] = {name: {} for name in names}
    times: Counter[tuple[str, str]] = Counter()
    for row, group in zip(rows, groups, strict=True):
        found = str(row["object"]), str(row["key"])
        parts[found[0]][found[1], times[found]] = row, group
        times[found] += 1
    first = parts[names[0]]
    for name, part in parts.items():
        if lacking := sorted(first.keys() ^ part.keys()):
            raise ValueError(f"{lacking[0][0]}: has no row of {names[0]}, or none of {name}")
    for case in first:
        if len(named := {part[case][1] for part in parts.values()}) > 1:
            raise ValueError(f"{case[0]}: its rows name several groups, {_listed(named)}")
    each: dict[str, dict[str, Any]] = {
        name: summarize([part[n][0] for n in first], [part[n][1] for n in first], **options)
        for name, part in parts.items()
    }
    of_case = [[part[case][0] for part in parts.values()] for case in first]
    means = [{**some[0], **mean_over_objects(some)} for some in of_case]
    whole = summarize(means, [group for _, group in first.values()], **options)
    counts = {
        name: sum(summary[name] for summary in each.values())
        for name in ("missed", "false_alarm", "empty_truth")
    }
    return {**whole, **counts, "objects": each}


def _listed(groups: Set[Hashable]) -> str:
    return " and ".join(sorted(map(str, groups)))


def mean_over_objects(
    rows: Sequence[Mapping[str, float | int | str]],
) -> dict[str, float]:
    """Average the metrics of one case over its objects."""
    return {name: float(np.mean([float(row[name]) for row in rows])) for name in METRICS}


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Return the mean of the values with a bias-corrected and accelerated (BCa) bootstrap interval.

    Cases of one patient are not independent: with `groups`, whole groups are resampled and the
    mean stays that over cases (cluster bootstrap; Davison and Hinkley, "Bootstrap methods and
    their application", 1997, section 3.8). BCa: Efron, "Better bootstrap confidence intervals",
    JASA 1987. Like every bootstrap it is too narrow for few cases (below about 20), and it cannot
    know of a failure so rare that no case shows it.

    Args:
        values: One finite number per case, (n,), n ≥ 1.
        confidence: Coverage aimed at, between 0 and 1.
        resamples: Number of bootstrap samples, at least 100.
        seed: The same seed gives the same interval.
        groups: Group (patient) of each case, (n,); None takes each case as its own group.

    Returns:
        The interval. Its bounds are NaN for a single case or group, where nothing is known of the
        spread, and the mean itself where all groups have the same mean.

    Raises:
        TypeError: The groups have no order, or are a mapping.
        ValueError: No values, a value not finite, a group missing, or a setting out of range.
    """
    cases = _as_values(values)
    require_fraction(confidence, "confidence")
    resamples = typed("resamples", "int", resamples) or 0
    if resamples < _FEWEST_RESAMPLES:
        raise ValueError(f"resamples must be at least {_FEWEST_RESAMPLES}, got {resamples}")
    sums, counts = _by_group(cases, groups)
    mean = float(cases.mean())
    if len(sums) == 1:
        return Interval(mean, math.nan, math.nan, n=cases.size)
    if _all_equal(sums / counts):
        return Interval(mean, mean, mean, n=cases.size)
    low, high = _bca(sums, counts, confidence=confidence, resamples=resamples, seed=seed)
    return Interval(mean, low, high, n=cases.size)


def _outcome(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> str:
    if truth.any():
        return "detected" if iou(truth, prediction) >= DETECTION_IOU else "missed"
    return "false_alarm" if prediction.any() else "true_negative"


def _require_columns(rows: Sequence[Mapping[str, float | int | str]]) -> None:
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise TypeError(
            "rows must be a list of mappings, one for each case, as "
            f'table.to_dict("records") makes of a data frame, not a {type(rows).__name__}'
        )
    if not rows:
        raise ValueError("rows must hold at least one case, got none")
    for position, row in enumerate(rows):
        if missing := [column for column in _COLUMNS if column not in row]:
            raise ValueError(f"rows[{position}] lacks {', '.join(missing)}")


def _only_unit(rows: Sequence[Mapping[str, float | int | str]]) -> str:
    units = [str(row["unit"]) for row in rows]
    if len(set(units)) > 1:
        counts = ", ".join(f"{units.count(unit)} in {unit}" for unit in sorted(set(units)))
        raise ValueError(
            f"distances cannot be averaged over mixed units ({counts}): "
            "give a spacing for every case or for none"
        )
    return units[0]


def _as_values(values: ArrayLike) -> NDArray[np.float64]:
    cases = np.asarray(values, dtype=np.float64)
    if cases.ndim != 1 or cases.size == 0:
        raise ValueError(f"values must be one number per case, (n,) with n ≥ 1, got {cases.shape}")
    if not np.isfinite(cases).all():
        first = int(np.argmin(np.isfinite(cases)))
        raise ValueError(f"values must be finite, values[{first}] is {cases[first]}")
    return cases


def _by_group(
    cases: NDArray[np.float64], groups: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if groups is None:
        return cases, np.ones_like(cases)
    _require_order(groups)
    if len(groups) != cases.size:
        raise ValueError(
            f"groups must name one group per case: {len(groups)} for {cases.size} cases"
        )
    index = _group_index(groups)
    sums: NDArray[np.float64] = np.bincount(index, weights=cases).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _require_order(groups: Sequence[Hashable]) -> None:
    """Refuse what has no order, and what would yield keys, columns or letters for the groups."""
    is_list = isinstance(groups, Collection) and getattr(groups, "ndim", 1) == 1
    if not is_list or isinstance(groups, Set | Mapping | str | bytes):
        raise TypeError(
            "groups must name one group per case, in the order of the cases, such as a list, not "
            f"a {type(groups).__name__}"
        )


def _group_index(groups: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    for position, group in enumerate(groups):
        if _is_missing(group):
            raise ValueError(
                f"groups[{position}] is {group}: a case on its own needs its own group"
            )
        numbers.setdefault(group, len(numbers))
    return [numbers[group] for group in groups]


def _is_missing(group: Hashable) -> bool:
    """Return whether a group is `None`, NaN or what pandas has in place of them."""
    try:
        return group is None or bool(group != group)
    except TypeError:  # `pandas.NA` is neither equal to itself nor different.
        return True


def _all_equal(means: NDArray[np.float64]) -> bool:
    return bool(np.ptp(means) <= 1e-12 * np.abs(means).max())


def _bca(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    from scipy.stats import bootstrap

    result = bootstrap(
        (sums, counts),
        _mean_over_cases,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=_RESAMPLES_AT_ONCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _mean_over_cases(
    sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    return sums.sum(axis=axis) / counts.sum(axis=axis)

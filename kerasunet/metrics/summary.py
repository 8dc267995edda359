"""What each metric means, the policy for empty masks, and averages over cases with intervals."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasunet.metrics.measures import DETECTION_IOU, require_fraction

_FEWEST_RESAMPLES = 100
_RESAMPLES_AT_ONCE = 250


@dataclass(frozen=True)
class Metric:
    """How one metric is named, read and defined.

    Attributes:
        label: the name for tables and axes.
        higher_is_better: the direction of improvement.
        is_distance: whether the value has a unit (px, or mm where the spacing is known).
        definition: the definition in one Markdown sentence.
    """

    label: str
    higher_is_better: bool
    is_distance: bool
    definition: str


METRICS: dict[str, Metric] = {
    "dice": Metric(
        "Dice",
        higher_is_better=True,
        is_distance=False,
        definition="2·|T∩P| / (|T| + |P|) over the pixels of the true mask T and of the "
        "predicted mask P (Dice, Ecology 1945).",
    ),
    "iou": Metric(
        "IoU",
        higher_is_better=True,
        is_distance=False,
        definition="|T∩P| / |T∪P|, the Jaccard index; equal to dice / (2 − dice).",
    ),
    "sensitivity": Metric(
        "Sensitivity",
        higher_is_better=True,
        is_distance=False,
        definition="|T∩P| / |T|, the share of lesion pixels that were found.",
    ),
    "precision": Metric(
        "Precision",
        higher_is_better=True,
        is_distance=False,
        definition="|T∩P| / |P|, the share of predicted pixels that are lesion.",
    ),
    "hd95": Metric(
        "HD95",
        higher_is_better=False,
        is_distance=True,
        definition="the larger of the two directed 95th percentiles of the surface distances (as "
        "in Metrics Reloaded and MONAI; MedPy takes one percentile of both directions pooled), "
        "linearly interpolated.",
    ),
    "assd": Metric(
        "ASSD",
        higher_is_better=False,
        is_distance=True,
        definition="the mean of the surface distances of both directions, pooled.",
    ),
    "ece": Metric(
        "ECE",
        higher_is_better=False,
        is_distance=False,
        definition="the expected calibration error of the foreground probability over all pixels "
        "of the image, in 15 bins of equal width (Naeini et al., AAAI 2015): the mean over pixels "
        "of |mean probability − share of lesion| of the pixel's bin. Most pixels of a medical "
        "image are sure background, so values are small and compare only between models on the "
        "same images.",
    ),
}
_COLUMNS = (*METRICS, "truth_area", "outcome", "unit")
_EMPTY_MASKS = """\
Metrics are computed per case and then averaged over all cases. No case is dropped: every metric is
finite for every case, and which cases are averaged never depends on the prediction.

| true mask | predicted mask | outcome | dice, iou | sensitivity | precision | hd95, assd |
|---|---|---|---|---|---|---|
| empty | empty | true_negative | 1 | 1 | 1 | 0 |
| empty | not empty | false_alarm | 0 | 1 | 0 | image diagonal |
| lesion | empty | missed | 0 | 0 | 0 | image diagonal |
| lesion | elsewhere, no overlap | missed | 0 | 0 | 0 | measured |
| lesion | overlaps, IoU below 0.1 | missed | measured | measured | measured | measured |
| lesion | overlaps, IoU 0.1 or more | detected | measured | measured | measured | measured |

- A pixel is predicted where its probability is at or above the threshold.
- **Missed** means that the IoU of prediction and lesion is below 0.1, the overlap from
  which nnDetection (Baumgartner et al., MICCAI 2021) counts an object in a medical image as found:
  one touching pixel finds nothing. Measurements by version 0.1.0 counted it as found. With nothing
  predicted, HD95 and ASSD are the image diagonal √((height·row spacing)² + (width·column
  spacing)²), which is longer than any distance inside the image: on an image with a lesion,
  removing the prediction never improves them. A prediction that lies elsewhere has a distance,
  which is reported as measured; the lesion still counts as missed.
- **Sensitivity without a lesion** is 0/0. It is set to 1, whatever was predicted: no lesion pixel
  was missed. Left undefined, as in the Metrics Reloaded code, it would drop every case without a
  lesion from the average. A false alarm is charged in all other overlap and distance metrics.
- **Precision without a prediction** is 0/0 too. It is 0 where a lesion was there to find, for 1
  would reward predicting nothing, and 1 where there was none.
- **Surface distances** run from the center of each border pixel of one mask to the nearest border
  pixel center of the other. Border pixels are those removed by an erosion with the 4-neighbor
  cross; outside the image counts as background, so a lesion cut by the image edge has a border
  there. Spacing may differ between rows and columns.

Sources: Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 2024; Reinke et al.,
"Understanding metric-related pitfalls in image analysis validation", Nature Methods 2024 (empty
masks: Extended Data Fig. 2b).
"""


def _definitions() -> str:
    return "\n".join(f"- **{metric.label}**: {metric.definition}" for metric in METRICS.values())


POLICY: str = f"{_EMPTY_MASKS}\n{_definitions()}\n"


def with_unknown_bounds(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary as JSON has it, with NaN for bounds and means that JSON calls null."""
    return {
        name: {n: _with_unknown(v) for n, v in value.items()}
        if isinstance(value, Mapping)
        else value
        for name, value in summary.items()
    }


def _with_unknown(value: Any) -> Any:
    if isinstance(value, Mapping):  # The summary of one of several objects.
        return with_unknown_bounds(value)
    return math.nan if value is None else value


@dataclass(frozen=True)
class Interval:
    """A mean over cases with its confidence interval.

    Attributes:
        mean: mean over all cases.
        low: lower bound; NaN where a single case (or group) leaves it unknown.
        high: upper bound; NaN likewise.
        n: number of cases.
    """

    mean: float
    low: float
    high: float
    n: int


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
        rows: one row a case, as `case_metrics` returns it; further columns are ignored.
        groups: group (patient) of each row; None takes each case as its own group.
        confidence: coverage aimed at, between 0 and 1.
        resamples: number of bootstrap samples, at least 100.
        seed: the same seed gives the same intervals.

    Returns:
        An `Interval` for every name in `METRICS`; the counts `n` (cases), `missed` (lesions whose
        IoU with the prediction is below `detection_iou`), `false_alarm` (something predicted, no
        lesion) and `empty_truth` (cases without a lesion); and the `unit` of the distances.

    Raises:
        ValueError: no rows, a column missing, or rows in px mixed with rows in mm.
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
        "empty_truth": sum(row["truth_area"] == 0 for row in rows),
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
        rows: one row a case and object, as `case_metrics` returns it, with the columns `key` and
            `object`; every case has the same objects.
        groups: group (patient) of each row, as in `summarize`.
        options: `confidence`, `resamples` and `seed`, as in `summarize`.

    Returns:
        What `summarize` returns of the mean over the objects of each case, `missed`,
        `false_alarm` and `empty_truth` counting objects; and `objects`, the summary of each by
        name.

    Raises:
        ValueError: as `summarize`.
    """
    _require_columns(rows)
    groups = [row["key"] for row in rows] if groups is None else groups
    names = list(dict.fromkeys(str(row["object"]) for row in rows))
    parts = {
        name: [
            (row, group) for row, group in zip(rows, groups, strict=True) if row["object"] == name
        ]
        for name in names
    }
    each: dict[str, dict[str, Any]] = {
        name: summarize([row for row, _ in part], [group for _, group in part], **options)
        for name, part in parts.items()
    }
    of_case = zip(*([row for row, _ in part] for part in parts.values()), strict=True)
    means = [{**first[0], **mean_over_objects(first)} for first in of_case]
    first = next(iter(parts.values()))
    whole = summarize(means, [group for _, group in first], **options)
    counts = {
        name: sum(summary[name] for summary in each.values())
        for name in ("missed", "false_alarm", "empty_truth")
    }
    return {**whole, **counts, "objects": each}


def mean_over_objects(
    rows: Sequence[Mapping[str, float | int | str]],
) -> dict[str, float]:
    """Average the metrics of one case over its objects."""
    return {name: float(np.mean([row[name] for row in rows])) for name in METRICS}


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
        values: one finite number a case, (n,), n ≥ 1.
        confidence: coverage aimed at, between 0 and 1.
        resamples: number of bootstrap samples, at least 100.
        seed: the same seed gives the same interval.
        groups: group (patient) of each case, (n,); None takes each case as its own group.

    Returns:
        The interval. Its bounds are NaN for a single case or group, where nothing is known of the
        spread, and the mean itself where all groups have the same mean.

    Raises:
        ValueError: no values, a value not finite, a group missing, or a setting out of range.
    """
    cases = _as_values(values)
    require_fraction(confidence, "confidence")
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


def _require_columns(rows: Sequence[Mapping[str, float | int | str]]) -> None:
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
        raise ValueError(f"values must be one number a case, (n,) with n ≥ 1, got {cases.shape}")
    if not np.isfinite(cases).all():
        first = int(np.argmin(np.isfinite(cases)))
        raise ValueError(f"values must be finite, values[{first}] is {cases[first]}")
    return cases


def _by_group(
    cases: NDArray[np.float64], groups: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if groups is None:
        return cases, np.ones_like(cases)
    if len(groups) != cases.size:
        raise ValueError(f"groups must name one group a case: {len(groups)} for {cases.size} cases")
    index = _group_index(groups)
    sums: NDArray[np.float64] = np.bincount(index, weights=cases).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _group_index(groups: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    for position, group in enumerate(groups):
        if group is None or group != group:
            raise ValueError(
                f"groups[{position}] is {group}: a case on its own needs a group of its own"
            )
        numbers.setdefault(group, len(numbers))
    return [numbers[group] for group in groups]


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

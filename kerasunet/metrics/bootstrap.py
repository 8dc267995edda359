"""Bootstrap intervals of a mean over cases, resampling patients where cases share one."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasunet.metrics.validation import require_fraction

_FEWEST_RESAMPLES = 100
_RESAMPLES_AT_ONCE = 250


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


def bootstrap_interval(
    values: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Mean of the values with a bias-corrected and accelerated (BCa) bootstrap interval.

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
        return Interval(mean, math.nan, math.nan, cases.size)
    if _all_equal(sums / counts):
        return Interval(mean, mean, mean, cases.size)
    low, high = _bca(sums, counts, confidence, resamples, seed)
    return Interval(mean, low, high, cases.size)


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
    return np.bincount(index, weights=cases), np.bincount(index).astype(np.float64)


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

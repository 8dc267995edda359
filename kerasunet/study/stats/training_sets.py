"""Comparisons over training sets that share no patient: the unit of inference is the training set.

A strategy's lead depends on which images happened to be annotated and on which patients it is
tested on. Both are resampled, crossed, as each training set is tested on nearly the same patients:
the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007, which
shows that it never understates the variance by much; with few sets it overstates it). As training
sets are few, one fewer is drawn than there are, weighted accordingly (Rao, Wu and Yue, Survey
Methodology 1992), and the bootstrap gives the standard error only; intervals and tests are those of
Student's distribution with one degree of freedom fewer than there are sets.

Equivalence is tested beside difference: two one-sided tests (Schuirmann, Journal of
Pharmacokinetics and Biopharmaceutics 1987) against the smallest difference that matters.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

RESAMPLES = 10_000
_LEVEL = 0.05
Verdict = Literal["better", "worse", "equivalent", "undecided"]
Floats = NDArray[np.float64]


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values so that the chance of any false alarm among them stays at the level.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979.

    Args:
        p_values: One per test, (n,), 0 to 1.

    Returns:
        Adjusted p-values in the same order, (n,).
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


@dataclass(frozen=True)
class SetComparison:
    """One strategy minus another over training sets that share no patient.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        first: The one strategy, as the study names it.
        second: The other.
        sets: Training sets that both have a run of.
        ahead: In how many of them the first has the better mean.
        groups: Patients that the test cases come from.
        difference: Mean over sets of the mean over test cases, first minus second, in units of the
            metric.
        error: Its standard error.
        low: Lower bound of the 95 % interval.
        high: Upper bound.
        p_value: Two-sided, of no difference.
        p_adjusted: After Holm's correction over the comparisons made together.
        margin: The smallest difference that matters.
        p_equivalence: Of a difference beyond the margin: the larger of two one-sided tests.
        verdict: `"better"` or `"worse"` where the adjusted p-value is below 0.05; else
            `"equivalent"` where `p_equivalence` is; else `"undecided"`.
    """

    data: str
    train_size: int
    first: str
    second: str
    sets: int
    ahead: int
    groups: int
    difference: float
    error: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    margin: float
    p_equivalence: float
    verdict: Verdict = "undecided"

    @property
    def matters(self) -> bool:
        """Whether it is decided, and all of the interval beyond the smallest such difference."""
        is_decided = self.verdict in ("better", "worse")
        return is_decided and (self.low > self.margin or self.high < -self.margin)


def compare_over_sets(
    cases: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *,
    margin: float,
    metric: str = "dice",
    resamples: int = RESAMPLES,
) -> tuple[SetComparison, ...]:
    """Compare pairs of strategies in one data set at one training size.

    Args:
        cases: Rows of a study's table of cases, of one data set and training size, whose folds are
            disjoint training sets.
        pairs: Strategy texts, first and second; pairs that lack runs are left out.
        margin: The smallest difference that matters, above 0, in units of the metric.
        metric: Name of a column; larger is better.
        resamples: Number of draws.

    Returns:
        The comparisons in the order of the pairs; p-values are adjusted by Holm's method over them.

    Raises:
        ValueError: The cases are of several data sets or sizes, or the margin is not positive.
    """
    scenarios = cases[["data", "train_size"]].drop_duplicates()
    if len(scenarios) != 1:
        raise ValueError(f"cases must be of one data set and training size, not {len(scenarios)}")
    if not margin > 0:
        raise ValueError(f"margin must be above 0, not {margin}")
    values = cases.pivot(index=["fold", "group", "key"], columns="strategy", values=metric)
    data, size = scenarios.iloc[0]
    compared = [
        _compared(
            values[first] - values[second],
            names=(str(data), int(size), first, second),
            margin=margin,
            resamples=resamples,
        )
        for first, second in pairs
        if first in values and second in values and _shared_sets(values, first, second) > 1
    ]
    adjusted = holm([one.p_value for one in compared])
    return tuple(_judged(one, float(p)) for one, p in zip(compared, adjusted, strict=True))


def _shared_sets(values: pd.DataFrame, first: str, second: str) -> int:
    both = values[[first, second]].dropna()
    return both.index.get_level_values("fold").nunique()


@dataclass(frozen=True, eq=False)
class SetDifference:
    """Sums and counts of a difference by training set and patient.

    Attributes:
        sums: (sets, groups), over the cases of a group.
        counts: (sets, groups), cases with a value; 0 for the patients of the set itself.
    """

    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, differences: pd.Series) -> SetDifference:
        """Add up differences with the index fold, group, key; NaN where there is none."""
        grouped = differences.dropna().groupby(level=["fold", "group"])
        sums, counts = grouped.sum().unstack(), grouped.count().unstack()
        return cls(np.nan_to_num(sums.to_numpy(float)), np.nan_to_num(counts.to_numpy(float)))

    @property
    def by_set(self) -> Floats:
        """Mean over the test cases of each set, (sets,)."""
        return self.sums.sum(1) / self.counts.sum(1)

    def standard_error(self, resamples: int, seed: int) -> float:
        """Return the spread of the mean over sets when sets and patients are resampled."""
        drawn, patients = _weights(*self.sums.shape, resamples, seed=seed)
        means = (patients @ self.sums.T) / np.maximum(patients @ self.counts.T, 1)
        return float(((drawn * means).sum(1) / len(self.sums)).std(ddof=1))


@lru_cache(maxsize=2)
def _weights(sets: int, groups: int, resamples: int, *, seed: int) -> tuple[Floats, Floats]:
    """Return how often each set and each group is drawn, (resamples, sets or groups)."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(sets - 1, np.full(sets, 1 / sets), resamples)
    patients = rng.multinomial(groups, np.full(groups, 1 / groups), resamples)
    return drawn * np.float64(sets / (sets - 1)), patients.astype(np.float64)


@dataclass(frozen=True, eq=False)
class MeansOverSets:
    """Means over training sets of the means over test cases, k of them at once.

    Attributes:
        means: (k,).
        errors: Their standard errors, (k,); NaN where there are fewer than two sets.
        freedom: Degrees of freedom of these errors, (k,).
    """

    means: Floats
    errors: Floats
    freedom: Floats

    @classmethod
    def of(cls, per_case: pd.DataFrame, data: str, resamples: int = RESAMPLES) -> MeansOverSets:
        """Average columns of one number per case; NaN where there is none.

        Args:
            per_case: Index fold, group, key.
            data: Name of the data set, which seeds the draws.
            resamples: Number of draws.

        Raises:
            ValueError: A column has no value.
        """
        differences = [SetDifference.of(per_case[name]) for name in per_case]
        return cls.of_differences(differences, data, resamples)

    @classmethod
    def of_differences(
        cls, differences: Sequence[SetDifference], data: str, resamples: int
    ) -> MeansOverSets:
        """Average what is added up already; arguments and errors are those of `of`."""
        seed = zlib.crc32(data.encode())
        found = [_mean_and_error(one, resamples, seed) for one in differences]
        return cls(*np.array(found, float).reshape(-1, 3).T)

    def minus(self, other: MeansOverSets) -> MeansOverSets:
        """Return the difference to means over other, independent sets and patients (Welch)."""
        parts = self.errors**2, other.errors**2
        spread = parts[0] ** 2 / self.freedom + parts[1] ** 2 / other.freedom
        freedom = np.divide(sum(parts) ** 2, spread, out=self.freedom + 0, where=spread > 0)
        return MeansOverSets(self.means - other.means, np.sqrt(sum(parts)), freedom)

    def intervals(self) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of the 95 % intervals, (k,) each; NaN where unknown."""
        reach = stdtrit(np.maximum(self.freedom, 1), 1 - _LEVEL / 2) * self.errors
        return self.means - reach, self.means + reach

    def interval(self) -> tuple[float, float]:
        """Return the bounds of a single mean."""
        low, high = self.intervals()
        return float(low[0]), float(high[0])

    def p_value(self, column: int = 0) -> float:
        """Return the two-sided p-value of no effect; 1, which decides nothing, for a single set."""
        mean, error = float(self.means[column]), float(self.errors[column])
        if math.isnan(error):
            return 1.0
        above = _tail(mean, error, float(self.freedom[column]))
        return 2 * min(above, 1 - above)


def _mean_and_error(
    difference: SetDifference, resamples: int, seed: int
) -> tuple[float, float, float]:
    if not difference.sums.size:
        raise ValueError("no case to average")
    sets = len(difference.sums)
    error = difference.standard_error(resamples, seed) if sets > 1 else math.nan
    return float(difference.by_set.mean()), error, sets - 1


def _compared(
    values: pd.Series,
    *,
    names: tuple[str, int, str, str],
    margin: float,
    resamples: int,
) -> SetComparison:
    data, train_size, first, second = names
    difference = SetDifference.of(values)
    estimate = MeansOverSets.of_differences([difference], data, resamples)
    (mean,), (error,), (freedom,) = estimate.means, estimate.errors, estimate.freedom
    low, high = estimate.interval()
    below, above = (_tail(mean + side * margin, error, freedom) for side in (1, -1))
    return SetComparison(
        data,
        train_size,
        first,
        second=second,
        sets=len(difference.sums),
        ahead=int((difference.by_set > 0).sum()),
        groups=difference.sums.shape[1],
        difference=float(mean),
        error=float(error),
        low=low,
        high=high,
        p_value=estimate.p_value(),
        p_adjusted=1.0,
        margin=margin,
        p_equivalence=max(below, 1 - above),
    )


def _tail(value: float, error: float, freedom: float) -> float:
    """Return the chance of a value as large, were the true one 0; all or nothing without error."""
    if error == 0:
        return 0.5 if value == 0 else float(value < 0)
    return float(stdtr(freedom, -value / error))


def _judged(comparison: SetComparison, p_adjusted: float) -> SetComparison:
    verdict: Verdict = "undecided"
    if p_adjusted < _LEVEL:
        verdict = "better" if comparison.difference > 0 else "worse"
    elif comparison.p_equivalence < _LEVEL:
        verdict = "equivalent"
    return replace(comparison, p_adjusted=p_adjusted, verdict=verdict)

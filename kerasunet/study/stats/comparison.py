"""Correction of p-values for how many questions were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, wilcoxon

from kerasunet.metrics import METRICS
from kerasunet.strategies import NetworkLayout
from kerasunet.study.stats.grid import DEPTH, Grid, find, grid_of, grids
from kerasunet.study.stats.resampling import resample


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusts p-values so that the chance of any false alarm among them stays at the level.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979.

    Args:
        p_values: One a test, (n,), 0 to 1.

    Returns:
        Adjusted p-values in the same order, (n,).
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def signed_rank(differences: ArrayLike) -> tuple[float, float]:
    """Tests paired differences with Wilcoxon's signed-rank test, two-sided.

    Zeros are left out (Wilcoxon, Biometrics Bulletin 1945). The effect size is the matched-pairs
    rank-biserial correlation (Kerby, "The simple difference formula", 2014): the share of rank
    sums in favour of the first minus the share against it.

    Args:
        differences: First minus second, one an independent pair, (n,).

    Returns:
        p-value and effect size, -1 to 1; 1 and 0 where all differences are zero.
    """
    d = np.asarray(differences, dtype=float)
    d = d[d != 0]
    if d.size == 0:
        return 1.0, 0.0
    ranks = rankdata(np.abs(d))
    return float(wilcoxon(d).pvalue), float((ranks * np.sign(d)).sum() / ranks.sum())


Verdict = Literal["supported", "contradicted", "undecided"]
LEVEL = 0.05


def verdict(low: float, high: float, p_adjusted: float | None = None) -> Verdict:
    """Judges an effect that is claimed to be above zero.

    Args:
        low: Lower bound of the 95 % interval of the effect; NaN where it is unknown.
        high: Upper bound.
        p_adjusted: p-value of the test after Holm's correction, where the claim has a test.

    Returns:
        `"supported"` where the interval lies above 0 and the test, if any, is below 0.05;
        `"contradicted"` where it lies below 0, the test likewise; else `"undecided"`.
    """
    if p_adjusted is not None and not p_adjusted < LEVEL:
        return "undecided"
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


Pair = tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """One strategy minus another, paired over cases and seeds.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        first: The one strategy, as the study names it.
        second: The other.
        cases: Cases that both were tested on.
        difference: Mean over cases, first minus second, in units of the metric.
        low: Lower bound of the 95 % interval of the difference.
        high: Upper bound.
        p_value: Of Wilcoxon's signed-rank test.
        p_adjusted: After Holm's correction over the comparisons made together.
        effect_size: Matched-pairs rank-biserial correlation, -1 to 1; above 0 where the first has
            the larger values.
        wins: Cases on which the first is better, whichever direction is better in the metric.
        losses: Cases on which the second is better.
        ties: Cases on which they are equal.
        groups: Patients that the cases come from.
    """

    data: str
    train_size: int
    first: str
    second: str
    cases: int
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    effect_size: float
    wins: int
    losses: int
    ties: int
    groups: int


def compare(
    cases: pd.DataFrame,
    first: str,
    second: str,
    train_size: int,
    data: str,
    metric: str = "dice",
    depth: int = DEPTH,
) -> Comparison:
    """Compares two strategies on the cases that both were tested on.

    The interval is a bootstrap over patients within folds. The test is Wilcoxon's signed-rank
    test on one difference a patient, the mean over the patient's cases: several images of one
    patient are not independent, and a test that takes them as such finds differences too easily.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        first: Strategy text; one that the study runs under an equal name is found.
        second: Likewise.
        train_size: Number of training images.
        data: Name of the data set.
        metric: A name of `kerasunet.metrics.METRICS`.
        depth: Number of resolution halvings of the network, to know equal strategies by.

    Returns:
        The comparison; its adjusted p-value is the p-value, for it was made alone.

    Raises:
        ValueError: A strategy has no run there, or they share no case.
    """
    grid = grid_of(cases, data, train_size, metric, depth)
    found = [grid.find(text) for text in (first, second)]
    if None in found:
        missing = " and ".join(t for t, f in zip((first, second), found, strict=True) if f is None)
        raise ValueError(
            f"{grid.where}: no finished run of {missing}; there are {', '.join(grid.strategies)}"
        )
    compared = _compare(grid, [tuple(found)], metric)
    if not compared:
        raise ValueError(f"{grid.where}: no case was tested with both {first} and {second}")
    return compared[0]


def compare_all(
    cases: pd.DataFrame,
    pairs: Sequence[Pair] | None = None,
    metric: str = "dice",
    depth: int = DEPTH,
) -> tuple[Comparison, ...]:
    """Compares pairs of strategies on every data set at every training size.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        pairs: Pairs of strategy texts; those that lack runs are left out. `None` takes
            `planned_pairs`; for all pairs there are, give `itertools.combinations` of them.
        metric: A name of `kerasunet.metrics.METRICS`.
        depth: Number of resolution halvings of the network, to know equal strategies by.

    Returns:
        Comparisons in order of data set, training size and pair; p-values are adjusted by Holm's
        method within each data set and training size.
    """
    return tuple(
        comparison
        for grid in grids(cases, metric, depth)
        for comparison in _adjusted(_compare(grid, _available(grid, pairs), metric))
    )


def planned_pairs(strategies: Sequence[str], depth: int = DEPTH) -> tuple[Pair, ...]:
    """The questions that a study is made for.

    Contracting against expanding; the first K blocks against the last K; every strategy against
    training everything.

    Args:
        strategies: Strategies that were run.
        depth: Number of resolution halvings of the network.

    Returns:
        Pairs of those strategies, each once.
    """
    counts = range(1, len(NetworkLayout.unet(depth).blocks))
    wanted = [("contracting", "expanding")]
    wanted += [(f"shallow:{count}", f"deep:{count}") for count in counts]
    wanted += [(strategy, "all") for strategy in strategies]
    found = ((find(a, strategies, depth), find(b, strategies, depth)) for a, b in wanted)
    return tuple(dict.fromkeys((a, b) for a, b in found if a and b and a != b))


def _available(grid: Grid, pairs: Sequence[Pair] | None) -> list[Pair]:
    if pairs is None:
        return list(planned_pairs(grid.strategies, grid.depth))
    found = [(grid.find(first), grid.find(second)) for first, second in pairs]
    return [(first, second) for first, second in found if first and second]


def _compare(grid: Grid, pairs: Sequence[Pair], metric: str) -> list[Comparison]:
    """Compares pairs on what they share; those that share no case are left out."""
    differences = grid.per_case([_contrast(*pair) for pair in pairs]) if pairs else pd.DataFrame()
    differences = differences.dropna(axis="columns", how="all")
    if differences.empty:
        return []
    drawn = resample(differences, grid.data)
    bounds = zip(drawn.means, *drawn.intervals(), strict=True)
    return [
        _comparison(grid, pairs[column], differences[column].dropna(), bound, metric)
        for column, bound in zip(differences.columns, bounds, strict=True)
    ]


def _contrast(first: str, second: str) -> dict[str, float]:
    return {first: 1.0, second: -1.0} if first != second else {first: 0.0}


def _comparison(
    grid: Grid, pair: Pair, difference: pd.Series, bound: tuple[float, ...], metric: str
) -> Comparison:
    mean, low, high = map(float, bound)
    by_group = difference.groupby(level="group").mean()
    p_value, effect_size = signed_rank(by_group.round(10))
    better = difference if METRICS[metric].higher_is_better else -difference
    return Comparison(
        grid.data,
        grid.train_size,
        *pair,
        cases=len(difference),
        difference=mean,
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=p_value,
        effect_size=effect_size,
        wins=int(np.sum(better > 0)),
        losses=int(np.sum(better < 0)),
        ties=int(np.sum(better == 0)),
        groups=len(by_group),
    )


def _adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    adjusted = holm([comparison.p_value for comparison in comparisons])
    return [
        replace(comparison, p_adjusted=float(p))
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]

"""What was measured in one scenario, contrasts between its strategies, and their intervals.

A study runs strategies that train the same weights only once, so a strategy is looked up by what
it trains, not by its text alone.

Every interval of a study is a bootstrap over groups within folds. Groups of each fold (patients, or
images where nobody has named any) are resampled with replacement, all cases of a group together,
and the mean over cases is taken again: a cluster bootstrap stratified by fold (Davison and Hinkley,
"Bootstrap methods and their application", 1997, sections 3.2 and 3.8). All columns of a table see
the same draws, so that paired differences stay paired. Intervals are bias-corrected and accelerated
(Efron, "Better bootstrap confidence intervals", JASA 1987), as those of
`kerasunet.metrics.bootstrap_interval`, which knows one column and no folds.

With few patients per fold, such intervals would be too narrow. Hence a fold is drawn one group
short and weighted accordingly (Rao, Wu and Yue, "Some recent work on resampling methods for complex
surveys", Survey Methodology 1992), and quantiles are those of Student's distribution (Hesterberg,
"What teachers should know about the bootstrap", The American Statistician 2015, section 5.3).

These intervals state how far a mean may move with other test patients and take the networks as
given. Disjoint training sets are resampled, too (`kerasunet.study.stats.training_sets`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from kerasunet.strategies import find, what_trains
from kerasunet.study.results import USUAL_DEPTH, Scenario, StudyResults, points
from kerasunet.study.stats.training_sets import MeansOverSets

Floats = NDArray[np.float64]
RESAMPLES = 2000
CONFIDENCE = 0.95
CASE = ["fold", "group", "key"]
_IDENTITY = ["data", "strategy", "fold", "train_size", "seed", "key"]
Contrast = Mapping[str, float]
"""Strategy text to its weight in a weighted sum of means, as the analysis of variance calls it."""


@dataclass(frozen=True, eq=False)
class ContrastEstimate:
    """A contrast as measured in one scenario.

    Attributes:
        per_case: The contrast on each case, index fold, group, key.
        means: Its mean with what is known of its scatter.
    """

    per_case: pd.Series
    means: BootstrapMeans | MeansOverSets

    @property
    def mean(self) -> float:
        """Mean over cases."""
        return float(self.means.means[0])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean; NaN where it is unknown."""
        return self.means.interval()

    @property
    def groups(self) -> int:
        """Number of patients."""
        return self.per_case.index.get_level_values("group").nunique()

    @property
    def fold_means(self) -> pd.Series:
        """Mean over the cases of each fold."""
        return self.per_case.groupby(level="fold").mean()


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured in one scenario.

    Attributes:
        scenario: Data set and training size.
        values: Index fold, group, key, seed; one column per strategy; NaN where a run is missing.
        depth: Depth of the U-Net, to know equal strategies by.
        disjoint: Whether each fold is a training set that shares no patient with the others.
    """

    scenario: Scenario
    values: pd.DataFrame
    depth: int = USUAL_DEPTH
    disjoint: bool = False

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies that any run was finished for."""
        return tuple(self.values.columns)

    def find(self, strategy: str) -> str | None:
        """Return the name under which a strategy was run here, `None` if it was not."""
        return find(strategy, self.strategies, self.depth)

    def per_case(self, contrasts: Sequence[Contrast]) -> pd.DataFrame:
        """Compute contrasts for every case, averaged over seeds.

        Strategies are contrasted within a case and seed, so a missing run removes its partners and
        does not upset the balance.

        Args:
            contrasts: Each gives weights to strategies as they are named here.

        Returns:
            Index fold, group, key; one column per contrast; NaN for cases that lack a strategy.
        """
        columns = [self._weighted(contrast) for contrast in contrasts]
        frame = pd.concat(columns, axis=1, keys=range(len(columns)))
        # Dice has five decimals in the tables: what is left beyond ten is rounding of sums.
        return frame.groupby(level=CASE, sort=True).mean().round(10)

    def missing(self, contrast: Contrast) -> tuple[str, ...]:
        """Return the strategies that a contrast needs and no finished run has."""
        return tuple(strategy for strategy in contrast if self.find(strategy) is None)

    def estimate(self, contrast: Contrast) -> ContrastEstimate | None:
        """Measure a contrast on the cases tested with every strategy it needs, if there are any."""
        names = {s: name for s in contrast if (name := self.find(s)) is not None}
        if len(names) < len(contrast):
            return None
        named = {names[strategy]: weight for strategy, weight in contrast.items()}
        per_case = self.per_case([named]).dropna()
        if per_case.empty:
            return None
        return ContrastEstimate(per_case[0], self.means(per_case))

    def means(self, per_case: pd.DataFrame) -> BootstrapMeans | MeansOverSets:
        """Average columns that `per_case` returned, by what the study resamples.

        Patients within folds; training sets and patients together where these sets are disjoint.
        """
        average = MeansOverSets.of if self.disjoint else bootstrap_means
        return average(per_case, self.scenario.data)

    def _weighted(self, contrast: Contrast) -> pd.Series:
        return sum(weight * self.values[strategy] for strategy, weight in contrast.items())


def scores_of(results: StudyResults, metric: str = "dice") -> tuple[Scores, ...]:
    """Divide the cases of studies into scenarios.

    Args:
        results: Results of one or several studies.
        metric: The column of cases that is measured.

    Returns:
        Scores in order of data set and training size.

    Raises:
        ValueError: A column is missing, a value is not finite, or a case appears twice.
    """
    _check(results.cases, metric)
    return tuple(
        Scores(
            Scenario(str(data), int(size)),
            _wide(rows, metric),
            results.depth,
            disjoint=results.is_disjoint(str(data)),
        )
        for (data, size), rows in results.cases.groupby(["data", "train_size"], sort=True)
    )


def scores_at(results: StudyResults, scenario: Scenario, metric: str = "dice") -> Scores:
    """Return the scores of one scenario.

    Raises:
        ValueError: As `scores_of`; or there are no results for this data set and training size.
    """
    found = scores_of(results.at(scenario), metric)
    if not found:
        listing = ", ".join(f"{data} at {size}" for data, size in sorted(results.scenarios))
        raise ValueError(
            f"{scenario.data} at {scenario.train_size}: no such case; there are {listing or 'none'}"
        )
    return found[0]


def curve_contrast(first: str, second: str, depth: int = USUAL_DEPTH) -> Contrast:
    """Return the mean height of one curve above another, over the share of blocks that train.

    Both curves are interpolated linearly between their points (trapezoidal rule), from no block to
    all blocks. Where they meet by definition, as in `none` and `all`, no run is needed.

    Args:
        first: A direction of `kerasunet.study.results.DIRECTIONS`.
        second: Likewise.
        depth: Depth of the U-Net.

    Returns:
        Weights of the strategies, without those that cancel out.
    """
    summed: dict[object, float] = {}
    texts: dict[object, str] = {}
    for sign, direction in ((1.0, first), (-1.0, second)):
        for strategy, weight in _heights(direction, depth).items():
            trains = what_trains(strategy, depth)
            texts.setdefault(trains, strategy)
            summed[trains] = summed.get(trains, 0.0) + sign * weight
    return {texts[trains]: weight for trains, weight in summed.items() if abs(weight) > 1e-12}


def _heights(direction: str, depth: int) -> dict[str, float]:
    """Return the trapezoidal weights of the points of a curve; they sum to 1."""
    curve = points(direction, depth)
    gaps = np.diff([point.blocks for point in curve]) / curve[-1].blocks
    weights = (np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2
    return {point.strategy: float(w) for point, w in zip(curve, weights, strict=True)}


def _check(cases: pd.DataFrame, metric: str) -> None:
    missing = [name for name in (*_IDENTITY, "group", metric) if name not in cases.columns]
    if missing:
        raise ValueError(f"the table of cases has no column {', '.join(missing)}")
    values = cases[metric]
    if not (finite := pd.to_numeric(values, errors="coerce").between(-1e300, 1e300)).all():
        bad = [*cases[~finite]["key"], "some"][0]
        raise ValueError(f"{metric}: every case needs a finite number, and {bad} has none")
    twice = cases[cases.duplicated(_IDENTITY)]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"{row['data']}: case {row['key']} of {row['strategy']} at {row['train_size']} "
            f"images, fold {row['fold']}, seed {row['seed']} appears twice; two studies of one "
            "data set cannot be combined"
        )


def _wide(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    alone = rows["group"].isna()
    rows = rows.assign(group=rows["group"].where(~alone, rows["key"]).astype(str))
    wide = rows.pivot(index=[*CASE, "seed"], columns="strategy", values=metric)
    return wide[list(rows["strategy"].unique())].astype(float)


@dataclass(frozen=True, eq=False)
class BootstrapMeans:
    """Means with their bootstrap distribution, k of them at once.

    Attributes:
        means: Means over cases, (k,).
        draws: The same means over resampled cases, (resamples, k).
        influence: How much each group moves each mean, (groups, k).
        degrees_of_freedom: Of each spread: groups beyond the first of each fold, (k,).
    """

    means: Floats
    draws: Floats
    influence: Floats
    degrees_of_freedom: Floats

    def minus(self, other: BootstrapMeans) -> BootstrapMeans:
        """Return the difference to means over other, independent patients."""
        return BootstrapMeans(
            self.means - other.means,
            self.draws - other.draws,
            np.concatenate([self.influence, -other.influence]),
            degrees_of_freedom=self.degrees_of_freedom + other.degrees_of_freedom,
        )

    def intervals(self, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
        """Return lower and upper bounds, (k,) each; NaN where no fold has two groups."""
        tail = (1 - confidence) / 2
        low = self._quantiles(self._levels(tail))
        high = self._quantiles(self._levels(1 - tail))
        unknown = self.degrees_of_freedom == 0
        return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)

    def interval(self) -> tuple[float, float]:
        """Return the bounds of a single mean."""
        low, high = self.intervals()
        return float(low[0]), float(high[0])

    def _levels(self, level: float) -> Floats:
        """Return the levels of the bootstrap distribution for one of a confidence interval."""
        count = len(self.draws)
        below = (self.draws < self.means).sum(0) + 0.5 * (self.draws == self.means).sum(0)
        bias = ndtri(np.clip(below, 0.5, count - 0.5) / count)
        shifted = bias + stdtrit(np.maximum(self.degrees_of_freedom, 1), level)
        # With few skewed groups the correction has a pole; beyond it lies the extreme draw.
        stretch = np.maximum(1 - self._acceleration() * shifted, 1e-9)
        return ndtr(bias + shifted / stretch)

    def _acceleration(self) -> Floats:
        spread = (self.influence**2).sum(0) ** 1.5
        skew = (self.influence**3).sum(0)
        return np.divide(skew, 6 * spread, out=np.zeros_like(skew), where=spread > 0)

    def _quantiles(self, levels: Floats) -> Floats:
        columns = np.sort(self.draws, axis=0).T
        pairs = zip(columns, levels, strict=True)
        return np.array([np.quantile(column, level) for column, level in pairs])


def bootstrap_means(
    per_case: pd.DataFrame, data: str, resamples: int = RESAMPLES
) -> BootstrapMeans:
    """Resample patients, and average every column over their cases.

    Args:
        per_case: Index fold, group, key; one number per case in every column, NaN where there is
            none.
        data: Name of the data set; its draws are independent of those of another data set, and
            the same in every call.
        resamples: Number of draws.

    Returns:
        The means and their distribution.

    Raises:
        ValueError: A column has no value.
    """
    sums, counts, folds = _by_group(per_case)
    total = counts.sum(0)
    if not total.all():
        raise ValueError(f"{data}: no case to average in column {int(np.argmin(total > 0))}")
    means = sums.sum(0) / total
    weights = _weights(folds.tobytes(), resamples, zlib.crc32(data.encode()))
    drawn = weights @ counts
    # A fold's groups can miss all cases of a column only where hardly any group has one.
    draws = np.divide(weights @ sums, drawn, out=np.tile(means, (resamples, 1)), where=drawn > 0)
    influence = _influence(sums, counts, folds, means=means)
    return BootstrapMeans(
        means, draws, influence, degrees_of_freedom=_degrees_of_freedom(counts > 0, folds)
    )


def _by_group(per_case: pd.DataFrame) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return sums and counts of each group, and its fold (the first, if it has several)."""
    values = per_case.to_numpy(float)
    group, names = pd.factorize(per_case.index.get_level_values("group"))
    fold, _ = pd.factorize(per_case.index.get_level_values("fold"))
    known = np.isfinite(values)
    sums = np.zeros((len(names), values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, group, np.where(known, values, 0.0))
    np.add.at(counts, group, known.astype(float))
    first = np.unique(group, return_index=True)[1]
    return sums, counts, fold[first].astype(np.int64)


@lru_cache(maxsize=4)
def _weights(fold_bytes: bytes, resamples: int, seed: int) -> Floats:
    """Return how often each group is drawn in each resample, (resamples, groups)."""
    folds = np.frombuffer(fold_bytes, np.int64)
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, len(folds)))
    for fold in np.unique(folds):
        members = np.flatnonzero(folds == fold)
        share = np.full(len(members), 1 / len(members))
        # One draw fewer, scaled up: the spread of small folds would come out too small otherwise.
        drawn = max(len(members) - 1, 1)
        counts = rng.multinomial(drawn, share, size=resamples)
        weights[:, members] = counts * (len(members) / drawn)
    weights.flags.writeable = False
    return weights


def _influence(sums: Floats, counts: Floats, folds: NDArray[np.int64], *, means: Floats) -> Floats:
    """Return the change of each mean with the weight of each group, centered within folds."""
    change = (sums - counts * means) / counts.sum(0)
    for fold in np.unique(folds):
        members = folds == fold
        change[members] -= change[members].mean(0)
    return change


def _degrees_of_freedom(known: NDArray[np.bool_], folds: NDArray[np.int64]) -> Floats:
    """Count the groups with a value beyond the first of each fold."""
    taken = [known[folds == fold].any(0) for fold in np.unique(folds)]
    return known.sum(0) - np.sum(taken, axis=0, dtype=float)

"""Bootstrap over groups within folds: how every interval of a study is computed.

Groups of each fold (patients, or images where nobody has named any) are resampled with replacement,
all cases of a group together, and the mean over cases is taken again: a cluster bootstrap
stratified by fold (Davison and Hinkley, "Bootstrap methods and their application", 1997, sections
3.2 and 3.8). All columns of a table see the same draws, so that paired differences stay paired.
Intervals are bias-corrected and accelerated (Efron, "Better bootstrap confidence intervals", JASA
1987), as those of `kerasunet.metrics.bootstrap_interval`, which knows one column and no folds.

With few patients per fold, such intervals would be too narrow. Hence a fold is drawn one group
short and weighted accordingly (Rao, Wu and Yue, "Some recent work on resampling methods for complex
surveys", Survey Methodology 1992), and quantiles are those of Student's distribution (Hesterberg,
"What teachers should know about the bootstrap", The American Statistician 2015, section 5.3).

The intervals state how far a mean may move with other test patients. The fine-tuned networks are
taken as given: how much other training images would change them shows only in the folds, whose
agreement the claims report beside the interval.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

Floats = NDArray[np.float64]
RESAMPLES = 2000
CONFIDENCE = 0.95


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

"""Evidence: what the published studies say, what trials say, and both weighed."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kerasunet.objects import Modality, modality_of
from kerasunet.strategies import parse

Nearness = Literal["close", "far"]
"""A start is close if it was trained on images of the same kind, and finds their objects."""
START_WORDS: dict[Nearness, str] = {
    "far": "photographs",
    "close": "another hospital's images of this kind",
}
QUESTIONS: tuple[tuple[Modality, int, Nearness], ...] = (
    ("ultrasound", 20, "far"), ("ultrasound", 80, "far"), ("ultrasound", 20, "close"),
    ("ultrasound", 80, "close"), ("xray", 5, "far"), ("xray", 20, "far"), ("xray", 80, "far"),
    ("xray", 20, "close"), ("xray", 80, "close"),
)  # fmt: skip
"""What the studies answer: kinds of image, numbers of training images, and starts."""

_FILE = Path(__file__).with_name("evidence.csv")
_COLUMNS: dict[str, Callable[[str], Any]] = {
    **{"data": str, "start": str, "images": int, "sets": int},
    **{"strategy": lambda text: str(parse(text))},
    **dict.fromkeys(("dice", "lowest", "highest", "behind", "error"), float),
}
_OTHER_MODALITY = 0.1
"""What a study of another kind of image counts, against 1."""
_ONE_STUDY = 0.01
"""Standard deviation, in Dice, of what one study says about another data set, at least."""
_OTHER_SIZE = 0.01
"""The same of what a study says about twice or half as many images."""
_FEW_SETS = 0.001
"""The least standard error, in Dice: the best strategy of a cell has none of its own."""
_STARTS = 0.03
"""The same of the difference between starts, which data sets agree on less."""


class Belief(NamedTuple):
    """How far something is behind the best, in Dice: the mean, and its standard deviation."""

    behind: float
    error: float


@dataclass(frozen=True)
class Finding:
    """One strategy in one cell of a study.

    Attributes:
        data: Name of the data set.
        start: How near the start was.
        images: Training images.
        strategy: Text of the strategy; factors are of the learning rate 1e-3.
        dice: Mean Dice over training sets, 0 to 1.
        behind: How far it was behind the best strategy of the cell, in Dice.
        error: Standard error of `behind` over training sets.
        sets: Training sets, at least 2.
        lowest, highest: Mean Dice after the worst and after the best of them.
    """

    data: str
    start: Nearness
    images: int
    strategy: str
    dice: float
    behind: float
    error: float
    sets: int
    lowest: float = math.nan
    highest: float = math.nan

    def likeness(self, modality: Modality | None, images: int) -> float:
        """Return how near this is to a kind of image and a number of images, above 0 to 1."""
        same = modality is None or modality_of(self.data) == modality
        return 2.0 ** (-_doublings(images, self.images) / 2) * (1.0 if same else _OTHER_MODALITY)

    def variance(self, images: int) -> float:
        """Return the variance of `behind` for the same data set with a number of images."""
        return self.error**2 + _FEW_SETS**2 + _OTHER_SIZE**2 * _doublings(images, self.images)


class Advice(NamedTuple):
    """What to tune, by what studies found.

    Attributes:
        strategy: Text of the strategy; factors are of the learning rate 1e-3.
        belief: How far it is expected to be behind the best strategy.
        seen: What it reached on each data set of that kind, in the study most like the question.
    """

    strategy: str
    belief: Belief
    seen: tuple[Finding, ...]


@dataclass(frozen=True)
class Evidence:
    """Findings of studies.

    Attributes:
        findings: In no particular order.
    """

    findings: tuple[Finding, ...]

    @staticmethod
    def published() -> Evidence:
        """Return the findings of the second study, `docs/second-study/`."""
        return Evidence(_read(_FILE))

    def without(self, data: Collection[str]) -> Evidence:
        """Return the findings on other data sets than the named ones."""
        return Evidence(tuple(one for one in self.findings if one.data not in data))

    def strategies(
        self, nearness: Nearness, modality: Modality | None, images: int
    ) -> dict[str, Belief]:
        """Tell how far strategies are expected to be behind the best one.

        What studies found with about as many images counts more than with far fewer or more, and
        data sets of the same kind of image more than others. Beyond the numbers of images that
        were studied for this kind, the nearest of them is taken.

        Args:
            nearness: How near the start is.
            modality: The kind of image; `None` where it is not known.
            images: Number of training images.

        Returns:
            By text of the strategy, best first; empty if no study had such a start.
        """
        known = [one for one in self.findings if one.start == nearness]
        sizes = [one.images for one in known if modality in (None, modality_of(one.data))]
        sizes = sizes or [one.images for one in known] or [images]
        asked = min(max(images, min(sizes)), max(sizes))
        found: dict[str, list[Finding]] = defaultdict(list)
        for one in known:
            found[one.strategy].append(one)
        beliefs = {text: _pooled(some, modality, asked) for text, some in found.items()}
        return dict(sorted(beliefs.items(), key=lambda item: item[1].behind))

    def advice(self, modality: Modality, images: int, nearness: Nearness) -> Advice | None:
        """Tell what to tune, and what that reached; `None` if no study had such a start."""
        beliefs = self.strategies(nearness, modality, images)
        if not beliefs:
            return None
        text, belief = next(iter(beliefs.items()))
        seen: dict[str, Finding] = {}
        for one in sorted(self.findings, key=lambda o: (o.likeness(modality, images), o.sets)):
            if (one.start, one.strategy) == (nearness, text) and modality_of(one.data) == modality:
                seen[one.data] = one
        return Advice(text, belief, tuple(sorted(seen.values(), key=lambda one: one.data)))

    def far_starts(self, modality: Modality | None, images: int) -> Belief:
        """Tell how far the best strategy from a far start is behind the best from a close one."""
        cells = defaultdict(list)
        for one in self.findings:
            cells[one.data, one.images, one.start].append(one)
        gaps, weights = [], []
        for (data, size, start), some in cells.items():
            if start == "close" and (others := cells.get((data, size, "far"))):
                gaps.append(max(o.dice for o in some) - max(o.dice for o in others))
                weights.append(some[0].likeness(modality, images))
        mean, spread = _mean_and_spread(gaps, weights) if gaps else (0.0, 0.0)
        return Belief(mean, math.hypot(spread, _STARTS))


def _doublings(images: int, others: int) -> float:
    return abs(math.log2(max(images, 1) / others))


def _pooled(findings: Iterable[Finding], modality: Modality | None, images: int) -> Belief:
    """Pool the findings on one strategy, first by data set, then over data sets.

    Each counts by the inverse of its variance, to which other numbers of images add within a data
    set, and other hospitals and kinds of image between data sets.
    """
    by_data: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        by_data[one.data].append(one)
    means, weights = [], []
    for some in by_data.values():
        own = [1 / one.variance(images) for one in some]
        between = _ONE_STUDY**2 / some[0].likeness(modality, some[0].images)
        means.append(_mean([one.behind for one in some], own))
        weights.append(1 / (1 / sum(own) + between))
    mean, spread = _mean_and_spread(means, weights)
    return Belief(mean, math.hypot(sum(weights) ** -0.5, spread))


def _mean(values: list[float], weights: list[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _mean_and_spread(values: list[float], weights: list[float]) -> tuple[float, float]:
    mean = _mean(values, weights)
    return mean, math.sqrt(_mean([(value - mean) ** 2 for value in values], weights))


@cache
def _read(path: Path) -> tuple[Finding, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    return tuple(Finding(**{name: of(row[name]) for name, of in _COLUMNS.items()}) for row in rows)


Key = TypeVar("Key", bound=Hashable)
CONFIDENCE = 0.95
_LEAST_ERROR = 1e-3
"""Equal scores in every trial say that candidates are alike, not that it is certain."""
_UNKNOWN_SHIFT = 100.0
"""Variance, in Dice squared: any."""
_RESAMPLES, _LEAST_SHARE = 4000, 0.05
"""The latter is a share of the error: resamples of nearly equal groups have none."""


@dataclass(frozen=True)
class GroupedMean:
    """A mean over cases whose groups, such as patients, were drawn independently.

    Attributes:
        mean: Of the values.
        error: Its standard error; infinite for a single group.
        freedom: Degrees of freedom, the number of groups less one.
    """

    mean: float
    error: float
    freedom: int

    @staticmethod
    def of(values: ArrayLike, groups: Sequence[str], folds: int | None = None) -> GroupedMean:
        """Measure a mean and its error.

        Args:
            values: One per case.
            groups: The group of each case.
            folds: Number of folds if each value comes from a model that was trained on the other
                folds. Such models share images, so their scores vary together; the variance is
                taken 1 + 1 / (folds - 1) times as large, the ratio of test to training images by
                which Nadeau and Bengio (Machine Learning 52, 2003, section 3) correct it.
        """
        array = np.asarray(values, float)
        names, index = np.unique(np.asarray(groups, str), return_inverse=True)
        count, mean = len(names), float(array.mean())
        if count < 2:
            return GroupedMean(mean, math.inf, 0)
        sums = np.bincount(index, array - mean, minlength=count)
        variance = float((sums**2).sum()) / len(array) ** 2 * count / (count - 1)
        shared = 1 + 1 / (folds - 1) if folds and folds > 1 else 1.0
        return GroupedMean(mean, math.sqrt(variance * shared), count - 1)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return an interval by Student's t, within 0 to 1; all of it for a single group."""
        if not self.freedom:
            return 0.0, 1.0
        half = float(stats.t.ppf(0.5 + confidence / 2, self.freedom)) * self.error
        return max(0.0, self.mean - half), min(1.0, self.mean + half)


def studentized_interval(
    mean: GroupedMean, scores: Sequence[float], groups: Sequence[str], *, most: float = 1.0
) -> tuple[float, float]:
    """Return a 95 % interval of a mean Dice, or other metric, by the bootstrap-t.

    Few cases that fail make Dice skew, and an interval by Student's t then misses low means too
    often. The bootstrap-t (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section
    12.5) resamples groups and takes the quantiles of the studentized mean instead.

    Args:
        mean: The mean and its error.
        scores: Dice of each case.
        groups: The group of each case.
        most: The largest value that there can be; the least is 0.
    """
    if mean.freedom < 1 or mean.error == 0:
        return (0.0, most) if mean.error else (mean.mean, mean.mean)
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    sizes, sums = np.bincount(index).astype(float), np.bincount(index, scores)
    drawn = np.random.default_rng(0).integers(0, len(names), (_RESAMPLES, len(names)))
    cases, totals = sizes[drawn].sum(1), sums[drawn].sum(1)
    means = totals / cases
    squares = ((sums[drawn] - means[:, None] * sizes[drawn]) ** 2).sum(1)
    errors = np.sqrt(squares / cases**2 * len(names) / (len(names) - 1))
    naive = math.sqrt(((sums - mean.mean * sizes) ** 2).sum() * len(names) / (len(names) - 1))
    spread = (means - mean.mean) / np.maximum(errors, _LEAST_SHARE * naive / sizes.sum())
    low, high = np.quantile(spread, [0.025, 0.975]) * mean.error
    return max(0.0, float(mean.mean - high)), min(most, float(mean.mean - low))


@dataclass(frozen=True)
class Weighed(Generic[Key]):
    """A candidate, and how far it is behind the best one, in Dice.

    Attributes:
        candidate: What was weighed.
        evidence: What studies say.
        trial: How far it was behind the best one in the trials, on the same cases, with the error
            of that difference; `None` without trials.
        behind: Both together; 0 for the best one.
        error: Standard deviation of `behind`; 0 for the best one.
        dice: Mean Dice in the trials; NaN without trials.
    """

    candidate: Key
    evidence: Belief
    trial: Belief | None
    behind: float
    error: float
    dice: float = math.nan


def weigh(
    priors: Mapping[Key, Belief],
    scores: Mapping[Key, ArrayLike] | None = None,
    groups: Sequence[str] = (),
    *,
    folds: int | None = None,
) -> tuple[Weighed[Key], ...]:
    """Weigh candidates: what studies say is the prior, what trials say the likelihood.

    Both are taken to be normally distributed. The trials have all candidates on the same cases, and
    their covariance over groups counts: a case that is hard for all says nothing about their order.

    Args:
        priors: What studies say about each candidate, at least one.
        scores: Dice of the same cases by candidate; `None` without trials.
        groups: The group of each case.
        folds: Number of folds of the trials.

    Returns:
        The candidates, best first.
    """
    mean = np.array([belief.behind for belief in priors.values()])
    covariance = np.diag([max(belief.error, _LEAST_ERROR) ** 2 for belief in priors.values()])
    trial_mean = trial_covariance = None
    if scores:
        values = np.array([np.asarray(scores[one], float) for one in priors])
        trial_mean = -values.mean(1)
        trial_covariance = _covariance(values, groups, folds)
        mean, covariance = _posterior(mean, covariance, (trial_mean, trial_covariance))
    best = int(np.argmin(mean))
    found = []
    for row, (one, prior) in enumerate(priors.items()):
        behind, error = _difference(mean, covariance, row, best=best)
        trial, dice = None, math.nan
        if trial_mean is not None and trial_covariance is not None:
            trial = Belief(*_difference(trial_mean, trial_covariance, row, best=best))
            dice = float(-trial_mean[row])
        found.append(Weighed(one, prior, trial, behind=behind, error=error, dice=dice))
    return tuple(sorted(found, key=lambda one: one.behind))


def _difference(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], row: int, *, best: int
) -> tuple[float, float]:
    """Return how far one is behind another, and the standard deviation of that."""
    variance = covariance[row, row] + covariance[best, best] - 2 * covariance[row, best]
    return float(mean[row] - mean[best]), float(max(variance, 0.0)) ** 0.5


def _covariance(
    values: NDArray[np.float64], groups: Sequence[str], folds: int | None
) -> NDArray[np.float64]:
    """Return the covariance of the means of several candidates over the same grouped cases."""
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    count, cases = len(names), values.shape[1]
    least = np.diag(np.full(len(values), _LEAST_ERROR**2))
    if count < 2:
        return least + np.eye(len(values))
    deviations = values - values.mean(1, keepdims=True)
    sums = np.array([np.bincount(index, row, minlength=count) for row in deviations])
    shared = 1 + 1 / (folds - 1) if folds and folds > 1 else 1.0
    return least + shared * (sums @ sums.T) / cases**2 * count / (count - 1)


def _posterior(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    trial: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # How hard the cases are for all is unknown: a common shift of any size is as likely.
    likelihood = np.linalg.inv(trial[1] + _UNKNOWN_SHIFT)
    prior = np.linalg.inv(covariance)
    together = np.linalg.inv(prior + likelihood)
    return together @ (prior @ mean + likelihood @ trial[0]), together

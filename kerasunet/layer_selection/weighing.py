"""Weighing what studies say against what trials on the images at hand say."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from scipy import stats

from kerasunet.layer_selection.evidence import Belief

Key = TypeVar("Key", bound=Hashable)
CONFIDENCE = 0.95


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
    def of(values: Sequence[float], groups: Sequence[str], folds: int | None = None) -> GroupedMean:
        """Measure a mean and its error.

        Args:
            values: One a case.
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


@dataclass(frozen=True)
class Weighed(Generic[Key]):
    """A candidate, and how far it is behind the best one, in Dice.

    Attributes:
        candidate: What was weighed.
        evidence: What studies say.
        trial: What the trials say; `None` without trials.
        behind: Both together, each by the inverse of its variance; 0 for the chosen one.
        error: Standard deviation of `behind`.
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
    scores: Mapping[Key, Sequence[float]] | None = None,
    groups: Sequence[str] = (),
    *,
    folds: int | None = None,
) -> tuple[Weighed[Key], ...]:
    """Weigh candidates.

    Both sources are compared with the mean of all candidates: an image that is hard for all says
    nothing about their order.

    Args:
        priors: What studies say about each candidate, at least one.
        scores: Dice of the same cases by candidate; `None` without trials.
        groups: The group of each case.
        folds: Number of folds of the trials.

    Returns:
        The candidates, best first.
    """
    center = sum(belief.behind for belief in priors.values()) / len(priors)
    trials = _trials(scores, groups, folds) if scores else {}
    found = {}
    for candidate, prior in priors.items():
        trial = trials.get(candidate)
        parts = [Belief(prior.behind - center, prior.error), *([trial] if trial else [])]
        found[candidate] = _together(parts)
    least = min(belief.behind for belief in found.values())
    nearest = min((trial.behind for trial in trials.values()), default=0.0)
    weighed = [
        Weighed(
            candidate,
            prior,
            Belief(t.behind - nearest, t.error) if (t := trials.get(candidate)) else None,
            found[candidate].behind - least,
            found[candidate].error,
            float(np.mean(scores[candidate])) if scores else math.nan,
        )
        for candidate, prior in priors.items()
    ]
    return tuple(sorted(weighed, key=lambda one: one.behind))


def _trials(
    scores: Mapping[Key, Sequence[float]], groups: Sequence[str], folds: int | None
) -> dict[Key, Belief]:
    common = np.mean([np.asarray(values, float) for values in scores.values()], axis=0)
    found = {}
    for candidate, values in scores.items():
        behind = GroupedMean.of(common - np.asarray(values, float), groups, folds)
        # Equal scores in every trial say that candidates are alike, not that it is certain.
        found[candidate] = Belief(behind.mean, max(behind.error, 1e-3))
    return found


def _together(beliefs: Sequence[Belief]) -> Belief:
    weights = [1 / belief.error**2 if math.isfinite(belief.error) else 0.0 for belief in beliefs]
    total = sum(weights)
    mean = sum(w * belief.behind for w, belief in zip(weights, beliefs, strict=True)) / total
    return Belief(mean, total**-0.5)

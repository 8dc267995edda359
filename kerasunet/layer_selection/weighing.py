"""Weighing what studies say and what trials on the images at hand say."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kerasunet.layer_selection.evidence import Belief

Key = TypeVar("Key", bound=Hashable)
CONFIDENCE = 0.95
_LEAST_ERROR = 1e-3
"""Equal scores in every trial say that candidates are alike, not that it is certain."""
_UNKNOWN_SHIFT = 100.0
"""Variance, in Dice squared: any."""


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
        mean, covariance = _posterior(mean, covariance, trial_mean, trial_covariance)
    best = int(np.argmin(mean))
    found = []
    for row, (one, prior) in enumerate(priors.items()):
        behind, error = _difference(mean, covariance, row, best)
        trial, dice = None, math.nan
        if trial_mean is not None and trial_covariance is not None:
            trial = Belief(*_difference(trial_mean, trial_covariance, row, best))
            dice = float(-trial_mean[row])
        found.append(Weighed(one, prior, trial, behind, error, dice))
    return tuple(sorted(found, key=lambda one: one.behind))


def _difference(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], row: int, best: int
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
    trial_mean: NDArray[np.float64],
    trial_covariance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # How hard the cases are for all is unknown: a common shift of any size is as likely.
    likelihood = np.linalg.inv(trial_covariance + _UNKNOWN_SHIFT)
    prior = np.linalg.inv(covariance)
    together = np.linalg.inv(prior + likelihood)
    return together @ (prior @ mean + likelihood @ trial_mean), together

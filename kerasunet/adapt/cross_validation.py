"""The choice, and an estimate of what it is worth: both by cross-validation, one in the other.

With K folds, every pair of them is left out once, and a candidate trained on the others. What it
finds in the one helps to choose for models that never see the other, and the other way round. So
the choice for a fold has seen nothing of it, and a candidate takes K(K - 1)/2 trainings instead of
K(K - 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from kerasunet.adapt.candidates import Candidate, Contenders
from kerasunet.adapt.fits import Fits
from kerasunet.adapt.settings import FOLDS
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import split_cases
from kerasunet.layer_selection.evidence import GroupedMean, Weighed, weigh
from kerasunet.layer_selection.selection import Member
from kerasunet.metrics.measures import dice_of_each
from kerasunet.training.evaluation import Evaluation, evaluate_probabilities, evaluation_of

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
USUAL_THRESHOLD = 0.5
_CLEARLY = 2.0
"""Standard errors by which another threshold must be better than the usual one."""
_RESAMPLES = 4000
_LEAST_ERROR = 0.05
"""Of the error, as a share: resamples of nearly equal groups have none."""

Folds = tuple[tuple[str, ...], ...]


def deal(cases: DecodedCases, earlier: Mapping[str, int], seed: int) -> Folds:
    """Deal cases out to folds in whole groups.

    Args:
        cases: The annotated cases.
        earlier: Fold of each group in an earlier adaptation of the same data; they stay there, and
            new groups go where there are fewest cases, so that little has to be trained anew.
        seed: Of the order.

    Returns:
        The keys of each fold, sorted: 4 folds, or as many as there are groups.
    """
    groups = dict(zip(cases.keys, cases.groups, strict=True))
    names = list(dict.fromkeys(cases.groups))
    number = min(FOLDS, len(names))
    if number < 2:
        return (tuple(sorted(cases.keys)),)
    known = {name: earlier[name] for name in names if earlier.get(name, number) < number}
    if len(set(known.values())) < number:
        members = [Member(*pair) for pair in groups.items()]
        tests = [split_cases(members, fold=n, folds=number, seed=seed).test for n in range(number)]
        known = {groups[key]: n for n, test in enumerate(tests) for key in test}
    sizes = [sum(known.get(group) == n for group in cases.groups) for n in range(number)]
    for name in names:
        if name not in known:
            known[name] = int(np.argmin(sizes))
            sizes[known[name]] += cases.groups.count(name)
    return tuple(
        tuple(sorted(key for key, group in groups.items() if known[group] == n))
        for n in range(number)
    )


@dataclass(frozen=True, eq=False)
class Chosen:
    """A candidate that was chosen, and why.

    Attributes:
        candidate: The candidate.
        threshold: Probability from which a pixel counts as foreground.
        weighed: What was weighed, best first.
    """

    candidate: Candidate
    threshold: float
    weighed: tuple[Weighed[Candidate], ...]

    @property
    def is_decided(self) -> bool:
        """Whether its lead over the next candidate is more than chance."""
        if len(self.weighed) < 2:
            return False
        second = self.weighed[1]
        return second.behind > 1.96 * second.error


@dataclass(eq=False)
class CrossValidation:
    """Candidates in cross-validation.

    Attributes:
        folds: The keys of each fold.
        contenders: Who may be tried.
        fits: Trains.
        trained: How many candidates are trained, at most.
    """

    folds: Folds
    contenders: Contenders
    fits: Fits
    trained: int
    _pairs: dict = field(default_factory=dict)

    def choose(self, folds: Sequence[int]) -> Chosen:
        """Choose by the cases of some folds, with models that saw nothing of the other folds.

        Where all folds are given, each case is scored by the models of all pairs that it is in.
        Where less than 3 folds exist, evidence and what starts find untouched have to do.
        """
        keys = [key for fold in folds for key in self.folds[fold]]
        priors = self.contenders.shortlist(keys, self.trained)
        if len(self.folds) < 3:
            weighed = weigh(priors)
            return Chosen(weighed[0].candidate, USUAL_THRESHOLD, weighed)
        scores = {one: self._scores(one, folds) for one in priors}
        groups = [self._group_of(key) for key in keys]
        weighed = weigh(priors, scores, groups, folds=len(folds))
        best = weighed[0].candidate
        return Chosen(best, self._threshold(best, folds, groups), weighed)

    def outside(self, fold: int) -> tuple[int, ...]:
        """Return all folds but one."""
        return tuple(n for n in range(len(self.folds)) if n != fold)

    def keys(self, folds: Sequence[int]) -> list[str]:
        """Return the keys of some folds."""
        return [key for fold in folds for key in self.folds[fold]]

    def predictions(self, candidate: Candidate, fold: int) -> np.ndarray:
        """Predict the cases of a fold after training on all others."""
        if candidate.is_untouched:
            return self._untouched(candidate, fold)
        return self.fits.probabilities(candidate, self.keys(self.outside(fold)), self.folds[fold])

    def masks(self, candidate: Candidate, fold: int) -> np.ndarray:
        """Return the true masks of a fold at the image size of a candidate."""
        return self.fits.pictures.at(candidate.image_size).select(self.folds[fold]).masks

    def _scores(self, one: Candidate, folds: Sequence[int]) -> np.ndarray:
        return np.concatenate([self._dice(one, fold, folds, USUAL_THRESHOLD) for fold in folds])

    def _dice(
        self, one: Candidate, fold: int, folds: Sequence[int], threshold: float
    ) -> np.ndarray:
        """Return the Dice of the cases of a fold, by the models that may judge it.

        These saw neither the fold nor any fold that is not given; if all are given, each is left
        out in turn.
        """
        masks = self.masks(one, fold)
        unseen = [n for n in range(len(self.folds)) if n not in folds] or self.outside(fold)
        found = [self._pair(one, fold, other) for other in unseen]
        return np.mean([dice_of_each(masks, p >= threshold) for p in found], axis=0)

    def _pair(self, one: Candidate, fold: int, other: int) -> np.ndarray:
        """Predict the cases of a fold by a model that saw neither it nor another one."""
        if one.is_untouched:
            return self._untouched(one, fold)
        if (one, fold, other) not in self._pairs:
            self._train_pair(one, *sorted((fold, other)))
        return self._pairs[one, fold, other].astype(np.float32)

    def _train_pair(self, one: Candidate, fold: int, other: int) -> None:
        kept = [n for n in range(len(self.folds)) if n not in (fold, other)]
        wanted = self.keys([fold, other])
        found = self.fits.probabilities(one, self.keys(kept), wanted).astype(np.float16)
        count = len(self.folds[fold])
        self._pairs[one, fold, other] = found[:count]
        self._pairs[one, other, fold] = found[count:]

    def _untouched(self, one: Candidate, fold: int) -> np.ndarray:
        cases = self.fits.pictures.at(one.image_size)
        rows = [cases.keys.index(key) for key in self.folds[fold]]
        for known in self.contenders.untouched:
            if (known.start, known.image_size) == (one.start, one.image_size):
                return known.probabilities[rows].astype(np.float32)
        raise KeyError(one)

    def _threshold(self, one: Candidate, folds: Sequence[int], groups: Sequence[str]) -> float:
        """Return the threshold with the best Dice, if it is better than 0.5 beyond noise."""
        means = {
            threshold: np.concatenate([self._dice(one, n, folds, threshold) for n in folds])
            for threshold in THRESHOLDS
        }
        best = max(THRESHOLDS, key=lambda threshold: means[threshold].mean())
        gain = GroupedMean.of(means[best] - means[USUAL_THRESHOLD], groups, len(folds))
        return best if gain.mean > _CLEARLY * gain.error else USUAL_THRESHOLD

    def _group_of(self, key: str) -> str:
        return self.groups[key]

    @property
    def groups(self) -> dict[str, str]:
        """The group of each case."""
        cases = self.fits.pictures.at(self.contenders.untouched[0].image_size)
        return dict(zip(cases.keys, cases.groups, strict=True))

    def pair_dice(self, one: Candidate, threshold: float) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each fold with the Dice of its cases by models trained on two folds less."""
        every = range(len(self.folds))
        for fold in every:
            yield fold, self._dice(one, fold, list(every), threshold)


class Case(NamedTuple):
    """One case as a model saw it that was neither trained on it nor chosen by it.

    Attributes:
        row: Key, group, fold, what was chosen for the fold, and the metrics.
        image: Uint8, `(height, width)`.
        truth: Bool, `(height, width)`.
        found: Bool, `(height, width)`.
    """

    row: dict[str, Any]
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the whole procedure, choice included, reaches on cases that it never saw.

    Attributes:
        cases: Every annotated case.
        by_fold: What was chosen for each fold, from all others.
        dice: Mean Dice, with its error over groups.
        interval: 95 % interval of the mean Dice on new groups of this kind, 0 to 1.
        is_nested: Whether everything was chosen anew for each fold.
    """

    cases: tuple[Case, ...]
    by_fold: tuple[Chosen, ...]
    dice: GroupedMean
    interval: tuple[float, float]
    is_nested: bool

    @property
    def evaluation(self) -> Evaluation:
        """All cases together, as evaluations of a single model are told."""
        return evaluation_of([case.row for case in self.cases])


def estimate(validation: CrossValidation, progress: Callable[[int], None]) -> Estimate:
    """Choose for each fold from the others, train on these, and test on it.

    Args:
        validation: The folds and what may be tried, at least 2 folds.
        progress: Called with the number of a fold, from 1, when it is done.
    """
    cases: list[Case] = []
    chosen_by_fold: list[Chosen] = []
    for fold in range(len(validation.folds)):
        chosen = validation.choose(validation.outside(fold))
        chosen_by_fold.append(chosen)
        cases += _tested(validation, chosen, fold)
        progress(fold + 1)
    scores = [case.row["dice"] for case in cases]
    groups = [case.row["group"] for case in cases]
    mean = GroupedMean.of(scores, groups, len(validation.folds))
    return Estimate(
        cases=tuple(cases),
        by_fold=tuple(chosen_by_fold),
        dice=mean,
        interval=studentized_interval(mean, scores, groups),
        is_nested=len(validation.folds) > 2,
    )


def studentized_interval(
    mean: GroupedMean, scores: Sequence[float], groups: Sequence[str]
) -> tuple[float, float]:
    """Return a 95 % interval of a mean Dice by the bootstrap-t, within 0 to 1.

    Few cases that fail make Dice skew, and an interval by Student's t then misses low means too
    often. The bootstrap-t (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section
    12.5) resamples groups and takes the quantiles of the studentized mean instead.

    Args:
        mean: The mean and its error.
        scores: Dice of each case.
        groups: The group of each case.
    """
    if mean.freedom < 1 or mean.error == 0:
        return mean.interval()
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    sizes, sums = np.bincount(index).astype(float), np.bincount(index, scores)
    drawn = np.random.default_rng(0).integers(0, len(names), (_RESAMPLES, len(names)))
    cases, totals = sizes[drawn].sum(1), sums[drawn].sum(1)
    means = totals / cases
    squares = ((sums[drawn] - means[:, None] * sizes[drawn]) ** 2).sum(1)
    errors = np.sqrt(squares / cases**2 * len(names) / (len(names) - 1))
    naive = float(np.sqrt(((sums - mean.mean * sizes) ** 2).sum() / sizes.sum() ** 2))
    naive *= (len(names) / (len(names) - 1)) ** 0.5
    spread = (means - mean.mean) / np.maximum(errors, _LEAST_ERROR * naive)
    low, high = np.quantile(spread, [0.025, 0.975]) * mean.error
    return max(0.0, float(mean.mean - high)), min(1.0, float(mean.mean - low))


def _tested(validation: CrossValidation, chosen: Chosen, fold: int) -> list[Case]:
    cases = validation.fits.pictures.at(chosen.candidate.image_size)
    known = all(spacing is not None for spacing in cases.spacings)
    tested = cases.select(validation.folds[fold])
    if not known:  # Millimeters in one fold and pixels in another could not be averaged.
        tested = replace(tested, spacings=(None,) * len(tested))
    probabilities = validation.predictions(chosen.candidate, fold)
    measured = evaluate_probabilities(probabilities, tested, chosen.threshold)
    found = probabilities >= chosen.threshold
    facts = {"fold": fold + 1, "chosen": str(chosen.candidate)}
    return [
        Case({**row, **facts}, image[..., 0], truth, mask)
        for row, image, truth, mask in zip(
            measured.rows, tested.images, tested.masks, found, strict=True
        )
    ]


class LearningCurve(NamedTuple):
    """What more annotated images bring.

    Attributes:
        sizes: Mean numbers of training images, two.
        dice: Mean Dice with them, on the same cases.
        per_doubling: Dice that twice as many images bring, with its error.
    """

    sizes: tuple[float, float]
    dice: tuple[float, float]
    per_doubling: GroupedMean


def learning_curve(validation: CrossValidation, chosen: Chosen) -> LearningCurve | None:
    """Compare models that lack two folds with models that lack one, on the same cases.

    Returns:
        The curve; `None` where nothing is trained, or there are fewer than 3 folds.
    """
    folds = len(validation.folds)
    if folds < 3 or chosen.candidate.is_untouched:
        return None
    few, many, groups = [], [], []
    for fold, dice in validation.pair_dice(chosen.candidate, chosen.threshold):
        found = validation.predictions(chosen.candidate, fold) >= chosen.threshold
        many += dice_of_each(validation.masks(chosen.candidate, fold), found).tolist()
        few += dice.tolist()
        groups += [validation.groups[key] for key in validation.folds[fold]]
    doublings = math.log2((folds - 1) / (folds - 2))
    gain = (np.subtract(many, few) / doublings).tolist()
    count = len(groups)
    return LearningCurve(
        sizes=(count * (folds - 2) / folds, count * (folds - 1) / folds),
        dice=(float(np.mean(few)), float(np.mean(many))),
        per_doubling=GroupedMean.of(gain, groups, folds),
    )

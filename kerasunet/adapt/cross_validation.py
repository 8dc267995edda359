"""The choice by cross-validation, which knows nothing of a fold that is left to test it on.

With K folds, every pair of them is left out once, and a candidate trained on the others. What it
finds in the one helps to choose for models that never see the other, and the other way round. So
the choice for a fold has seen nothing of it, and a candidate takes K(K - 1)/2 trainings instead of
K(K - 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kerasunet.adapt.candidates import Candidate, Contenders
from kerasunet.adapt.fits import Fits
from kerasunet.adapt.settings import FOLDS
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import split_cases
from kerasunet.layer_selection.evidence import GroupedMean, Weighed, weigh
from kerasunet.layer_selection.selection import Member
from kerasunet.training.evaluation import dice_of_masks

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
USUAL_THRESHOLD = 0.5
_CLEARLY = 2.0
"""Standard errors by which another threshold must be better than the usual one."""

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
        groups = [self.groups[key] for key in keys]
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
        """Return the Dice of the cases of a fold, the mean over objects, by those who may judge it.

        These saw neither the fold nor any fold that is not given; if all are given, each is left
        out in turn.
        """
        masks, objects = self.masks(one, fold), self.fits.pictures.objects
        unseen = [n for n in range(len(self.folds)) if n not in folds] or self.outside(fold)
        found = [self._pair(one, fold, other) for other in unseen]
        masks_found = [objects.decide(one, threshold) for one in found]
        return np.mean([dice_of_masks(masks, one, objects) for one in masks_found], axis=0)

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
        """Return the threshold with the best Dice, if it is better than 0.5 beyond noise.

        Where objects exclude each other the most probable one counts, and there is no threshold.
        """
        if self.fits.pictures.objects.exclusive:
            return USUAL_THRESHOLD
        means = {
            threshold: np.concatenate([self._dice(one, n, folds, threshold) for n in folds])
            for threshold in THRESHOLDS
        }
        best = max(THRESHOLDS, key=lambda threshold: means[threshold].mean())
        gain = GroupedMean.of(means[best] - means[USUAL_THRESHOLD], groups, len(folds))
        return best if gain.mean > _CLEARLY * gain.error else USUAL_THRESHOLD

    @property
    def groups(self) -> dict[str, str]:
        """The group of each case."""
        return self.fits.pictures.groups

    def pair_dice(self, one: Candidate, threshold: float) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each fold with the Dice of its cases by models trained on two folds less."""
        every = range(len(self.folds))
        for fold in every:
            yield fold, self._dice(one, fold, list(every), threshold)

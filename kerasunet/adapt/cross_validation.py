"""Choose a candidate and estimate how well the choice does, by nested cross-validation.

With K folds, each candidate is trained once for every pair of folds, on all other folds. Its result
on one fold of the pair is used to choose for the other, and vice versa. So the choice for a fold
has seen nothing of it, and a candidate takes K(K - 1)/2 trainings instead of K(K - 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from kerasunet.adapt.candidates import Candidate, Contenders, Fits
from kerasunet.adapt.settings import FOLDS
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import split_cases
from kerasunet.layer_selection.evidence import GroupedMean, Weighed, studentized_interval, weigh
from kerasunet.layer_selection.selection import Member
from kerasunet.metrics import METRICS, mean_over_objects
from kerasunet.training.evaluation import (
    Evaluation,
    dice_of_masks,
    evaluate_probabilities,
    evaluation_of,
    without_spacing,
)

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
            new groups go where there are fewest cases, so that little has to be trained again.
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
        With fewer than 3 folds, evidence and what starts find untouched must suffice.
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
        return np.concatenate(
            [self._dice(one, fold, folds, threshold=USUAL_THRESHOLD) for fold in folds]
        )

    def _dice(
        self, one: Candidate, fold: int, folds: Sequence[int], *, threshold: float
    ) -> np.ndarray:
        """Return the Dice of the cases of a fold, the mean over objects, by those who may judge it.

        These saw neither the fold nor any fold that is not given; if all are given, each is left
        out in turn.
        """
        masks, objects = self.masks(one, fold), self.fits.pictures.objects
        unseen = [n for n in range(len(self.folds)) if n not in folds] or self.outside(fold)
        found = [objects.decide(self._pair(one, fold, other), threshold) for other in unseen]
        return np.mean([dice_of_masks(masks, each, objects) for each in found], axis=0)

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
            level: np.concatenate([self._dice(one, n, folds, threshold=level) for n in folds])
            for level in THRESHOLDS
        }
        best = max(THRESHOLDS, key=lambda level: means[level].mean())
        gain = GroupedMean.of(means[best] - means[USUAL_THRESHOLD], groups, len(folds))
        return best if gain.mean > _CLEARLY * gain.error else USUAL_THRESHOLD

    @property
    def groups(self) -> dict[str, str]:
        """The group of each case."""
        return self.fits.pictures.groups

    def pair_dice(self, one: Candidate, threshold: float) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each fold with the Dice of its cases by models trained on two folds fewer."""
        every = range(len(self.folds))
        for fold in every:
            yield fold, self._dice(one, fold, list(every), threshold=threshold)


class Case(NamedTuple):
    """One case, as seen by a model that was neither trained on it nor chosen by it.

    Attributes:
        rows: One per object: key, group, `object` if there are several, the metrics, fold, and what
            was chosen for the fold.
        image: Uint8, `(height, width)`.
        truth: The true mask, as `Objects.encode` gives it.
        found: What was found, likewise.
    """

    rows: tuple[dict[str, Any], ...]
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray

    @property
    def key(self) -> str:
        """The key of the case."""
        return self.rows[0]["key"]

    @property
    def dice(self) -> float:
        """The Dice, 0 to 1, the mean over objects."""
        return float(np.mean([row["dice"] for row in self.rows]))

    @property
    def worst(self) -> float:
        """The Dice of the object that was found worst, 0 to 1."""
        return min(row["dice"] for row in self.rows)


class Expected(NamedTuple):
    """What to expect on new patients.

    Attributes:
        dice: Mean Dice, with its error over groups.
        interval: 95 % interval of the mean Dice on new groups of this kind, 0 to 1.
    """

    dice: GroupedMean
    interval: tuple[float, float]

    @staticmethod
    def of(scores: Sequence[float], groups: Sequence[str], folds: int) -> Expected:
        """Measure what to expect, from the Dice and the group of each case."""
        mean = GroupedMean.of(scores, groups, folds)
        return Expected(mean, studentized_interval(mean, scores, groups))


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the whole procedure, choice included, reaches on cases that it never saw.

    Attributes:
        cases: Every annotated case.
        by_fold: What was chosen for each fold, from all others.
        expected: For a case, the mean over its objects.
        is_nested: Whether everything was chosen again for each fold.
        objects: The same for each of several objects, by name.
        facts: Further entries of a summary.
    """

    cases: tuple[Case, ...]
    by_fold: tuple[Chosen, ...]
    expected: Expected
    is_nested: bool
    objects: Mapping[str, Expected] = field(default_factory=dict)
    facts: Mapping[str, int] = field(default_factory=dict)

    @property
    def dice(self) -> GroupedMean:
        """Mean Dice, with its error over groups."""
        return self.expected.dice

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean Dice on new groups of this kind, 0 to 1."""
        return self.expected.interval

    @property
    def evaluation(self) -> Evaluation:
        """All cases together, as if of a single model; intervals are like that of Dice."""
        found = evaluation_of([row for case in self.cases for row in case.rows])
        means = [mean_over_objects(case.rows) for case in self.cases]
        summary = {**found.summary, **self._bounded(found.summary, means), **self.facts}
        for number, name in enumerate(self.objects):
            one, rows = summary["objects"][name], [case.rows[number] for case in self.cases]
            summary["objects"] |= {name: {**one, **self._bounded(one, rows)}}
        return replace(found, summary=summary)

    def _bounded(self, summary: Mapping[str, Any], rows: Sequence[Mapping]) -> dict[str, Any]:
        groups, bounded = [case.rows[0]["group"] for case in self.cases], dict[str, Any]()
        for name, metric in METRICS.items():
            scores, most = [row[name] for row in rows], math.inf if metric.is_distance else 1.0
            mean = GroupedMean.of(scores, groups, len(self.by_fold))
            low, high = studentized_interval(mean, scores, groups, most=most)
            bounded[name] = {**summary[name], "low": low, "high": high}
        if summary["unit"] == "px" and len({one.candidate.image_size for one in self.by_fold}) > 1:
            bounded["unit"] = "px of several image sizes"
        return bounded


def estimate(validation: CrossValidation, progress: Callable[[int], None]) -> Estimate:
    """Choose for each fold from the others, train on these, and test on it.

    Args:
        validation: The folds and what may be tried, at least 2 folds.
        progress: Called with the number of a fold, from 1, when it is done.
    """
    cases: list[Case] = []
    chosen_by_fold: list[Chosen] = []
    for fold in range(len(validation.folds)):
        chosen_by_fold.append(chosen := validation.choose(validation.outside(fold)))
        cases += _tested(validation, chosen, fold)
        progress(fold + 1)
    groups = [case.rows[0]["group"] for case in cases]
    objects, folds = validation.fits.pictures.objects, len(validation.folds)
    return Estimate(
        cases=tuple(cases),
        by_fold=tuple(chosen_by_fold),
        expected=Expected.of([case.dice for case in cases], groups, folds),
        is_nested=folds > 2,
        objects={
            name: Expected.of([case.rows[number]["dice"] for case in cases], groups, folds)
            for number, name in enumerate(objects.names if objects.several else ())
        },
        facts=without_spacing(validation.fits.pictures.at(chosen.candidate.image_size)),
    )


def _tested(validation: CrossValidation, chosen: Chosen, fold: int) -> list[Case]:
    cases = validation.fits.pictures.at(chosen.candidate.image_size)
    known = all(spacing is not None for spacing in cases.spacings)
    tested = cases.select(validation.folds[fold])
    if not known:  # Millimeters in one fold and pixels in another could not be averaged.
        tested = replace(tested, spacings=(None,) * len(tested))
    probabilities = validation.predictions(chosen.candidate, fold)
    measured = evaluate_probabilities(probabilities, tested, chosen.threshold)
    found = tested.objects.decide(probabilities, chosen.threshold)
    facts = {"fold": fold + 1, "chosen": str(chosen.candidate)}
    rows = [{**row, **facts} for row in measured.rows]
    by_case = zip(*[iter(rows)] * len(tested.objects), strict=True)
    parts = zip(by_case, tested.images, tested.masks, found, strict=True)
    return [Case(some, image[..., 0], truth, found=mask) for some, image, truth, mask in parts]


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
    few, many, groups, objects = [], [], [], validation.fits.pictures.objects
    for fold, dice in validation.pair_dice(chosen.candidate, chosen.threshold):
        outputs = validation.predictions(chosen.candidate, fold)
        found = objects.decide(outputs, chosen.threshold)
        masks = validation.masks(chosen.candidate, fold)
        many += dice_of_masks(masks, found, objects).tolist()
        few += dice.tolist()
        groups += [validation.groups[key] for key in validation.folds[fold]]
    doublings, count = math.log2((folds - 1) / (folds - 2)), len(groups)
    return LearningCurve(
        sizes=(count * (folds - 2) / folds, count * (folds - 1) / folds),
        dice=(float(np.mean(few)), float(np.mean(many))),
        per_doubling=GroupedMean.of(np.subtract(many, few) / doublings, groups, folds),
    )

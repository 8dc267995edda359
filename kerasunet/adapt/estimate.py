"""What the whole procedure reaches on cases that it never saw, and what more images would bring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from kerasunet.adapt.cross_validation import Chosen, CrossValidation
from kerasunet.layer_selection.evidence import GroupedMean
from kerasunet.training.evaluation import (
    Evaluation,
    dice_of_masks,
    evaluate_probabilities,
    evaluation_of,
)

_RESAMPLES = 4000
_LEAST_ERROR = 0.05
"""Of the error, as a share: resamples of nearly equal groups have none."""


class Case(NamedTuple):
    """One case as a model saw it that was neither trained on it nor chosen by it.

    Attributes:
        rows: One an object: key, group, of several objects `object`, the metrics, fold, and what
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
        expected: Of a case, the mean over its objects.
        is_nested: Whether everything was chosen anew for each fold.
        objects: The same of each of several objects, by name.
    """

    cases: tuple[Case, ...]
    by_fold: tuple[Chosen, ...]
    expected: Expected
    is_nested: bool
    objects: Mapping[str, Expected] = field(default_factory=dict)

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
        """All cases together, as evaluations of a single model are told."""
        return evaluation_of([row for case in self.cases for row in case.rows])


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
    found = tested.objects.decide(probabilities, chosen.threshold)
    facts = {"fold": fold + 1, "chosen": str(chosen.candidate)}
    rows = [{**row, **facts} for row in measured.rows]
    by_case = zip(*[iter(rows)] * len(tested.objects), strict=True)
    return [
        Case(some, image[..., 0], truth, mask)
        for some, image, truth, mask in zip(
            by_case, tested.images, tested.masks, found, strict=True
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
    objects = validation.fits.pictures.objects
    for fold, dice in validation.pair_dice(chosen.candidate, chosen.threshold):
        outputs = validation.predictions(chosen.candidate, fold)
        found = objects.decide(outputs, chosen.threshold)
        masks = validation.masks(chosen.candidate, fold)
        many += dice_of_masks(masks, found, objects).tolist()
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

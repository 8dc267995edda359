"""What to expect on new patients, and from more annotations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from kerasunet.adapt.cross_validation import Chosen, CrossValidation
from kerasunet.layer_selection.evidence import GroupedMean
from kerasunet.metrics.measures import dice_of_each
from kerasunet.training.evaluation import Evaluation, evaluate_probabilities, evaluation_of


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
        is_nested: Whether everything was chosen anew for each fold.
    """

    cases: tuple[Case, ...]
    by_fold: tuple[Chosen, ...]
    dice: GroupedMean
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
    return Estimate(
        cases=tuple(cases),
        by_fold=tuple(chosen_by_fold),
        dice=GroupedMean.of(scores, groups, len(validation.folds)),
        is_nested=len(validation.folds) > 2,
    )


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

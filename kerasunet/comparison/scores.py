"""How good each mask is: against the true mask, or else how near it is to the consensus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasunet.comparison.comparing import Answer, Comparison
from kerasunet.comparison.masks import Verdict
from kerasunet.metrics import dice, hd95, iou


@dataclass(frozen=True)
class Score:
    """One line of the table.

    Attributes:
        name, strategy, trained: As in `Candidate`.
        dice, iou: Overlap with the true mask, 0 to 1, `None` without one.
        hd95: 95 % Hausdorff distance to it, in `unit`, `None` without one.
        unit: `"mm"` where the spacing is known, else `"px"`.
        consensus_dice: Dice with the consensus mask, 0 to 1.
        area_pixels: Size of the mask.
        area_mm2: The same in square millimetres, `None` where the spacing is unknown.
        seconds: How long the model took.
        best: Whether no other line is better.
    """

    name: str
    strategy: str
    trained: int | None
    dice: float | None
    iou: float | None
    hd95: float | None
    unit: str
    consensus_dice: float
    area_pixels: int
    area_mm2: float | None
    seconds: float
    best: bool


def score(
    comparison: Comparison, verdict: Verdict, truth: np.ndarray | None = None
) -> tuple[Score, ...]:
    """Measures every chosen mask.

    Args:
        comparison: What was compared.
        verdict: Its masks.
        truth: True mask, bool, `(height, width)` of the image, or `None`.

    Returns:
        The best first: by Dice with the true mask, or with the consensus where there is none.

    Raises:
        ValueError: The true mask has another size than the image.
    """
    if truth is not None and truth.shape != comparison.shape:
        raise ValueError(
            f"the mask has {truth.shape[1]}×{truth.shape[0]} pixels, the image "
            f"{comparison.shape[1]}×{comparison.shape[0]}; give the mask of this image"
        )
    reference = verdict.consensus if truth is None else truth
    ranks = {name: dice(reference, mask) for name, mask in verdict.masks.items()}
    top = max(ranks.values(), default=0.0)
    ordered = sorted(verdict.answers, key=lambda answer: -ranks[answer.candidate.name])
    return tuple(
        _score(answer, comparison, verdict, truth, ranks[answer.candidate.name] == top)
        for answer in ordered
    )


def _score(
    answer: Answer, comparison: Comparison, verdict: Verdict, truth: np.ndarray | None, best: bool
) -> Score:
    candidate, spacing = answer.candidate, comparison.spacing
    mask = verdict.masks[candidate.name]
    area = int(np.count_nonzero(mask))
    return Score(
        name=candidate.name,
        strategy=candidate.strategy,
        trained=candidate.trained,
        dice=None if truth is None else dice(truth, mask),
        iou=None if truth is None else iou(truth, mask),
        hd95=None if truth is None else hd95(truth, mask, spacing),
        unit="px" if spacing is None else "mm",
        consensus_dice=dice(verdict.consensus, mask),
        area_pixels=area,
        area_mm2=None if spacing is None else area * spacing[0] * spacing[1],
        seconds=answer.seconds,
        best=best,
    )

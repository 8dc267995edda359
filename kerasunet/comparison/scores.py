"""From probabilities to masks, without running a model: threshold, region filter, votes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.comparison.candidates import Answer, Comparison
from kerasunet.metrics import dice, hd95, iou


@dataclass(frozen=True)
class Choice:
    """What counts as foreground, and whose answer counts.

    Attributes:
        threshold: Probability from which a pixel counts as foreground, 0 to 1.
        smallest: Regions smaller than this many percent of the image are dropped, 0 to 100.
        names: Candidates to take; `None` takes all.

    Raises:
        ValueError: A number is out of range.
    """

    threshold: float = 0.5
    smallest: float = 0.0
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is 0 to 1, not {self.threshold}")
        if not 0 <= self.smallest <= 100:
            raise ValueError(f"smallest is 0 to 100 percent of the image, not {self.smallest}")


@dataclass(frozen=True, eq=False)
class Verdict:
    """The masks that follow from a choice.

    Attributes:
        choice: The choice.
        answers: The chosen answers.
        masks: Name to mask, bool, `(height, width)`.
        votes: How many voting masks mark each pixel, uint8, `(height, width)`.
        voters: How many masks voted.
        consensus: Where more than half of them do, bool, `(height, width)`.
    """

    choice: Choice
    answers: tuple[Answer, ...]
    masks: dict[str, np.ndarray]
    votes: np.ndarray
    voters: int
    consensus: np.ndarray


def judge(comparison: Comparison, choice: Choice = Choice()) -> Verdict:
    """Threshold and filter the chosen answers and count their votes.

    Where no chosen candidate has a vote, all of them do.

    Raises:
        ValueError: A name is not that of a candidate.
    """
    answers = _chosen(comparison, choice)
    smallest = smallest_area(comparison.shape, choice.smallest)
    masks = {
        answer.candidate.name: without_small_regions(
            answer.probability >= float(choice.threshold), smallest
        )
        for answer in answers
    }
    voting = [a.candidate.name for a in answers if a.candidate.votes] or list(masks)
    votes = np.zeros(comparison.shape, np.uint8)
    for name in voting:
        votes += masks[name]
    consensus = votes > len(voting) // 2
    return Verdict(choice, answers, masks, votes, len(voting), consensus)


def smallest_area(shape: tuple[int, int], percent: float) -> int:
    """Return how many pixels a region needs to be at least so many percent of the image."""
    return math.ceil(percent / 100 * shape[0] * shape[1] - 1e-9)  # Rounding adds no pixel.


def without_small_regions(mask: np.ndarray, smallest: int) -> np.ndarray:
    """Drop regions of fewer than `smallest` pixels; pixels that touch at a corner are one region.

    Args:
        mask: Bool, `(height, width)`.
        smallest: In pixels.

    Returns:
        Bool, `(height, width)`.
    """
    if smallest <= 1:
        return mask
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), None, 8)
    large = statistics[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False
    return large[labels]


def _chosen(comparison: Comparison, choice: Choice) -> tuple[Answer, ...]:
    if choice.names is None:
        return comparison.answers
    known = {answer.candidate.name: answer for answer in comparison.answers}
    if unknown := [name for name in choice.names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: not compared; there are {', '.join(known)}")
    return tuple(answer for name, answer in known.items() if name in choice.names)


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
    """Measure every chosen mask.

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

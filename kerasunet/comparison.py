"""Several models on one image: probabilities, masks, where they agree, how good each is.

NumPy in, NumPy out. Models run once, in `compare`. `judge` turns probabilities into masks
(threshold, region filter, votes) and `score` measures them; neither runs a model.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from kerasunet.data.identification import image_identity, known_images
from kerasunet.metrics import area_mm2, dice, hd95, iou
from kerasunet.objects import ONE_OBJECT, Objects

if TYPE_CHECKING:
    from kerasunet.inference.segmenter import Segmentation


@dataclass(frozen=True)
class Candidate:
    """A model that takes part.

    Attributes:
        name: Unique; becomes part of file names.
        strategy: Which weights were trained, as text to show.
        trained: How many, `None` where unknown.
        origin: Start, steps and image size, as text to show; empty where unknown.
        objects: Names of what it finds; empty where that has no name, so that it may be anything.
        votes: Whether it counts in the agreement map and the consensus; a model that never saw
            such images should not.
        seen: Identities of the images that it was trained on or chosen by, as
            `kerasunet.data.identification` gives them.
        lists_all: Whether these are all; if not, it may have seen any other.
        segment: A `kerasunet.Segmenter`, or anything that is called like one.
    """

    name: str
    strategy: str
    trained: int | None
    votes: bool
    segment: Callable[[np.ndarray], Segmentation]
    origin: str = ""
    objects: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()
    lists_all: bool = True


@dataclass(frozen=True, eq=False)
class Answer:
    """What a candidate predicts for the image.

    Attributes:
        candidate: The model that answers.
        probability: Foreground probability, float32, `(height, width)`, 0 to 1; for several
            objects, that of each, `(objects, height, width)`.
        seconds: How long the model took, reading the file not counted.
        mask: The mask where no threshold decides it, because the most probable of several objects
            does: of all as `Objects.encode` gives it, of one bool, `(height, width)`.
        found: What the model finds.
        seen: Whether it was trained on this image or chosen by it; `None` where unknown.
        lacks: The object that is compared, if it was not trained to mark that.
    """

    candidate: Candidate
    probability: np.ndarray
    seconds: float
    mask: np.ndarray | None = None
    found: Objects = ONE_OBJECT
    seen: bool | None = False
    lacks: str = ""

    @property
    def can_win(self) -> bool:
        """Whether its Dice counts: it marks what is compared, and has not seen the image."""
        return not (self.seen or self.lacks)

    def of(self, name: str) -> Answer | None:
        """Return what is said about one object; `None` if the model finds only others.

        A model of which nobody said what it finds is shown, but neither votes nor wins.
        """
        if not self.found.several:
            if self.candidate.objects:
                return self if name in self.candidate.objects else None
            return replace(self, candidate=replace(self.candidate, votes=False), lacks=name)
        if name not in self.found.names:
            return None
        number = self.found.names.index(name)
        mask = None if self.mask is None else self.found.planes(self.mask)[number]
        return replace(
            self, probability=self.probability[number], mask=mask, found=Objects((name,))
        )

    def masked(self, threshold: float) -> np.ndarray:
        """Return the mask of one object, bool, `(height, width)`."""
        return self.probability >= float(threshold) if self.mask is None else self.mask


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answers of several models on one image.

    Attributes:
        image: Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        spacing: Millimeters per pixel, (row, column), or `None` where unknown.
        answers: One for each candidate, in the order given.
    """

    image: np.ndarray
    spacing: tuple[float, float] | None
    answers: tuple[Answer, ...]

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the objects to choose among; none unless a model finds several."""
        several = [answer.found.names for answer in self.answers if answer.found.several]
        if not several:
            return ()
        single = [a.candidate.objects for a in self.answers if not a.found.several]
        return tuple(dict.fromkeys(name for names in (*several, *single) for name in names))

    def of(self, name: str) -> Comparison:
        """Return the comparison of one object, by the models that find it.

        Args:
            name: One of `objects`; empty for the first of them.
        """
        if not self.objects:
            return self
        told = (answer.of(name or self.objects[0]) for answer in self.answers)
        return replace(self, answers=tuple(answer for answer in told if answer is not None))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[:2]


def compare(
    image: np.ndarray, candidates: Iterable[Candidate], spacing: tuple[float, float] | None = None
) -> Comparison:
    """Run every candidate on an image.

    Args:
        image: Gray levels 0 to 255, `(height, width)` or RGB `(height, width, 3)`.
        candidates: The models.
        spacing: Millimeters per pixel, (row, column), `None` where unknown.

    Returns:
        The comparison.

    Raises:
        ValueError: There is no candidate, two have one name, or the array is not an image.
    """
    candidates = tuple(candidates)
    names = [candidate.name for candidate in candidates]
    if not names:
        raise ValueError("nothing to compare: give at least one model")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(repeated)}: named more than once; names must differ")
    lists = _lists_with(image, candidates)
    answers = tuple(_answer(one, image, one.seen in lists) for one in _told_apart(candidates))
    return Comparison(image.astype(np.float32, copy=False), spacing, answers)


def _told_apart(candidates: tuple[Candidate, ...]) -> Iterator[Candidate]:
    """Add the name to a strategy that several candidates have."""
    counts = Counter(candidate.strategy for candidate in candidates)
    for one in candidates:
        alike = counts[one.strategy] > 1
        yield replace(one, strategy=f"{one.strategy} ({one.name})") if alike else one


@dataclass(frozen=True)
class Choice:
    """What counts as foreground, and which answers count.

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
            raise ValueError(f"threshold must be 0 to 1, not {self.threshold}")
        if not 0 <= self.smallest <= 100:
            raise ValueError(f"smallest must be 0 to 100 percent of the image, not {self.smallest}")


@dataclass(frozen=True, eq=False)
class Verdict:
    """The masks that follow from a choice.

    Attributes:
        choice: The choice.
        answers: The chosen answers.
        masks: Name to mask, bool, `(height, width)`.
        votes: How many voting masks contain each pixel, uint8, `(height, width)`.
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

    If no chosen candidate has a vote, all of them do. Where models find several objects, only one
    at a time can be judged: that of `Comparison.of`, or the first.

    Raises:
        ValueError: A name is not that of a candidate.
    """
    comparison = comparison.of("")
    answers = _chosen(comparison, choice)
    smallest = smallest_area(comparison.shape, choice.smallest)
    masks = {
        answer.candidate.name: without_small_regions(answer.masked(choice.threshold), smallest)
        for answer in answers
    }
    voting = [a.candidate.name for a in answers if a.candidate.votes] or list(masks)
    votes = np.zeros(comparison.shape, np.uint8)
    for name in voting:
        votes += masks[name]
    consensus = votes > len(voting) // 2
    return Verdict(choice, answers, masks, votes=votes, voters=len(voting), consensus=consensus)


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
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    large = statistics[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False
    return large[labels]


@dataclass(frozen=True)
class Score:
    """How good one mask is: a row of the table.

    Attributes:
        name, strategy, trained, origin: As in `Candidate`.
        dice, iou: Overlap with the true mask, 0 to 1, `None` without one.
        hd95: 95 % Hausdorff distance to it, in `unit`, `None` without one.
        unit: `"mm"` where the spacing is known, else `"px"`.
        consensus_dice: Dice with the consensus mask, 0 to 1.
        area_pixels: Size of the mask.
        area_mm2: The same in square millimeters, `None` where the spacing is unknown.
        seconds: How long the model took.
        best: Whether no other score is better, of the models that mark this object and have not
            seen the image; nothing is if no mask has a true pixel, or without a true mask, because
            agreement with the consensus is not quality.
        seen, lacks: As in `Answer`.
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
    origin: str = ""
    seen: bool | None = False
    lacks: str = ""


def score(
    comparison: Comparison, verdict: Verdict, truth: np.ndarray | None = None
) -> tuple[Score, ...]:
    """Measure every chosen mask.

    Args:
        comparison: What was compared.
        verdict: Its masks.
        truth: True mask, bool, `(height, width)` of the image, or `None`.

    Returns:
        Sorted by Dice with the true mask, the best first and those that cannot win last, or with
        the consensus where there is none.

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
    rivals = [] if truth is None else [a for a in verdict.answers if a.can_win]
    top = max((ranks[answer.candidate.name] for answer in rivals), default=0.0) or None
    best = [answer for answer in rivals if ranks[answer.candidate.name] == top]
    ordered = sorted(
        verdict.answers,
        key=lambda a: (truth is not None and not a.can_win, -ranks[a.candidate.name]),
    )
    return tuple(
        _score(answer, comparison, verdict, truth=truth, best=answer in best) for answer in ordered
    )


def _lists_with(image: np.ndarray, candidates: Iterable[Candidate]) -> set[frozenset[str]]:
    """Return those lists of seen images, which models may share, that hold an image."""
    identity, lists = image_identity(image), {candidate.seen for candidate in candidates}
    return {one for one in lists if known_images([identity], one)[0]}


def _answer(candidate: Candidate, image: np.ndarray, is_listed: bool) -> Answer:
    start = time.perf_counter()
    found = candidate.segment(image)
    seconds = time.perf_counter() - start
    objects = getattr(found, "objects", ONE_OBJECT)
    mask = found.mask if objects.exclusive else None
    seen = is_listed or (False if candidate.lists_all else None)
    return Answer(candidate, found.probability, seconds, mask=mask, found=objects, seen=seen)


def _chosen(comparison: Comparison, choice: Choice) -> tuple[Answer, ...]:
    if choice.names is None:
        return comparison.answers
    known = {answer.candidate.name: answer for answer in comparison.answers}
    if unknown := [name for name in choice.names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: not compared; choose from {', '.join(known)}")
    return tuple(answer for name, answer in known.items() if name in choice.names)


def _score(
    answer: Answer,
    comparison: Comparison,
    verdict: Verdict,
    *,
    truth: np.ndarray | None,
    best: bool,
) -> Score:
    candidate, spacing = answer.candidate, comparison.spacing
    mask = verdict.masks[candidate.name]
    return Score(
        name=candidate.name,
        strategy=candidate.strategy,
        trained=candidate.trained,
        dice=None if truth is None else dice(truth, mask),
        iou=None if truth is None else iou(truth, mask),
        hd95=None if truth is None else hd95(truth, mask, spacing),
        unit="px" if spacing is None else "mm",
        consensus_dice=dice(verdict.consensus, mask),
        area_pixels=int(np.count_nonzero(mask)),
        area_mm2=area_mm2(mask, spacing),
        seconds=answer.seconds,
        best=best,
        origin=candidate.origin,
        seen=answer.seen,
        lacks=answer.lacks,
    )

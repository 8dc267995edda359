"""How many weights a saved model's strategy trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.cost import Network
from kerasunet.strategies import parse

if TYPE_CHECKING:
    from kerasunet.inference.segmenter import Segmentation
    from kerasunet.models import ModelCard


def trained_parameters(card: ModelCard) -> int:
    """Counts the weights that were trained, from a model's card.

    Args:
        card: The card.

    Returns:
        Number of weights; 0 for `none`.

    Raises:
        ValueError: The strategy does not fit the architecture.
    """
    layout = card.architecture.layout()
    network = Network(
        layout,
        base_filters=card.architecture.base_filters,
        image_size=card.image_size,
        channels=card.architecture.channels,
        classes=card.classes,
    )
    return network.parameters(parse(card.strategy).select(layout))


@dataclass(frozen=True)
class Candidate:
    """A model that takes part.

    Attributes:
        name: Unique; becomes part of file names.
        strategy: Which weights were trained, as text to show.
        trained: How many, `None` where unknown.
        votes: Whether it counts in the agreement map and the consensus; a model that never saw
            such images should not.
        segment: A `kerasunet.Segmenter`, or anything that is called like one.
    """

    name: str
    strategy: str
    trained: int | None
    votes: bool
    segment: Callable[[np.ndarray], Segmentation]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a candidate makes of the image.

    Attributes:
        candidate: Who answers.
        probability: Foreground probability, float32, `(height, width)`, 0 to 1.
        seconds: How long the model took, reading the file not counted.
    """

    candidate: Candidate
    probability: np.ndarray
    seconds: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answers of several models on one image.

    Attributes:
        image: Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        spacing: Millimetres per pixel, (row, column), or `None` where unknown.
        answers: One for each candidate, in the order given.
    """

    image: np.ndarray
    spacing: tuple[float, float] | None
    answers: tuple[Answer, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[:2]


def compare(
    image: np.ndarray, candidates: Iterable[Candidate], spacing: tuple[float, float] | None = None
) -> Comparison:
    """Runs every candidate on an image.

    Args:
        image: Grey levels 0 to 255, `(height, width)` or RGB `(height, width, 3)`.
        candidates: The models.
        spacing: Millimetres per pixel, (row, column), `None` where unknown.

    Returns:
        The comparison.

    Raises:
        ValueError: There is no candidate, two have one name, or the array is no image.
    """
    candidates = tuple(candidates)
    names = [candidate.name for candidate in candidates]
    if not names:
        raise ValueError("nothing to compare: give at least one model")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(repeated)}: named more than once; names must differ")
    answers = tuple(_answer(candidate, image) for candidate in candidates)
    return Comparison(image.astype(np.float32, copy=False), spacing, answers)


def _answer(candidate: Candidate, image: np.ndarray) -> Answer:
    start = time.perf_counter()
    probability = candidate.segment(image).probability
    return Answer(candidate, probability, time.perf_counter() - start)

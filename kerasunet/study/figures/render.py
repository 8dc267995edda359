"""All figures of a study, and the reasons for those that cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib

from kerasunet.study.figures import (
    block_gains,
    contracting_expanding,
    cost,
    forest,
    training_images,
    tuned_blocks,
)
from kerasunet.study.figures.style import RC, Drawing, NotDrawnError
from kerasunet.study.stats import StudyStatistics

_FIGURES = (tuned_blocks, contracting_expanding, training_images, block_gains, cost, forest)
TITLES = {module.NAME: module.TITLE for module in _FIGURES}
"""By name of the file, without suffix, the title of each figure."""


@dataclass(frozen=True)
class Omission:
    """A figure that is left out, and why."""

    title: str
    reason: str


def draw_all(statistics: StudyStatistics) -> tuple[tuple[Drawing, ...], tuple[Omission, ...]]:
    """Draw every figure for which there are enough results.

    Returns:
        The figures, and those that had to be left out.
    """
    drawings, omissions = [], []
    with matplotlib.rc_context(RC):
        for module in _FIGURES:
            try:
                drawings.append(module.draw(statistics))
            except NotDrawnError as error:
                omissions.append(Omission(module.TITLE, str(error)))
    return tuple(drawings), tuple(omissions)

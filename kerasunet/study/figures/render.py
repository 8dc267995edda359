"""All figures of a study, and the reasons for those that cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib

from kerasunet.study.figures.block_gains import BLOCK_GAINS, draw_block_gains
from kerasunet.study.figures.comparisons import FOREST, PATHS, draw_forest, draw_paths
from kerasunet.study.figures.dice_against import (
    COST,
    TRAINING_IMAGES,
    TUNED_BLOCKS,
    draw_cost,
    draw_training_images,
    draw_tuned_blocks,
)
from kerasunet.study.figures.style import RC, Drawing, NotDrawnError
from kerasunet.study.stats import StudyStatistics

_FIGURES = {
    TUNED_BLOCKS: draw_tuned_blocks,
    PATHS: draw_paths,
    TRAINING_IMAGES: draw_training_images,
    BLOCK_GAINS: draw_block_gains,
    COST: draw_cost,
    FOREST: draw_forest,
}
TITLES = dict(_FIGURES.keys())
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
        for (_, title), draw in _FIGURES.items():
            try:
                drawings.append(draw(statistics))
            except NotDrawnError as error:
                omissions.append(Omission(title, str(error)))
    return tuple(drawings), tuple(omissions)

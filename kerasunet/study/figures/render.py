"""All figures of a study, and the reasons for those that cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib

from kerasunet.study.figures import blocks, cost, forest, network, paths, sizes
from kerasunet.study.figures.results import Results
from kerasunet.study.figures.style import RC, Drawing, NotDrawnError

_FIGURES = (blocks, paths, sizes, network, cost, forest)


@dataclass(frozen=True)
class Omission:
    """A figure that is left out, and why."""

    title: str
    reason: str


def draw_all(results: Results) -> tuple[tuple[Drawing, ...], tuple[Omission, ...]]:
    """Draws every figure that the results suffice for.

    Returns:
        The figures, and those that had to be left out.
    """
    drawings, omissions = [], []
    with matplotlib.rc_context(RC):
        for module in _FIGURES:
            try:
                drawings.append(module.draw(results))
            except NotDrawnError as error:
                omissions.append(Omission(module.TITLE, str(error)))
    return tuple(drawings), tuple(omissions)

"""Labels that stand beside what they name without covering each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from kerasunet.study.figures.style import note

_LINE = 8.5
"""Points from one label to the next."""


def spread(places: Sequence[float], gap: float) -> np.ndarray:
    """Moves places apart as little as possible, in least squares, keeping their order.

    Args:
        places: Where the labels would like to stand, in any order.
        gap: Least distance of two neighbours.

    Returns:
        The places found, in the order given.
    """
    wanted = np.asarray(places, float)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    found = np.empty_like(wanted)
    found[order] = _rising(wanted[order] - steps) + steps
    return found


def _rising(values: np.ndarray) -> np.ndarray:
    """Isotonic regression: pools neighbours that violate the order."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, count = pools.pop()
            total = pools[-1][1] + count
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * count) / total, total]
    return np.repeat([mean for mean, _ in pools], [count for _, count in pools])


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Names lines at their right ends: by name, the end's x and y and the line's colour.

    Call it when the limits are set and the figure has its size.
    """
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    low, high = axes.get_ylim()
    points_per_unit = height / (high - low)
    wanted = [y * points_per_unit for _, y, _ in ends.values()]
    for (text, (x, y, colour)), place in zip(ends.items(), spread(wanted, _LINE), strict=True):
        offset = (7, place - y * points_per_unit)
        note(axes, text, x, y, offset=offset, color=colour, fontsize=7)

"""Names of lines and points, placed where they cover nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from kerasunet.study.figures.style import FAINT, INK, note

_LINE = 8.5
"""Points from one label to the next."""
_CHARACTER = 4.1
"""Points that a character is wide, on average."""
_CLEARANCE = 4.5
"""Points that a label keeps from the centre of a marker."""
_RADII = (7, 12, 18, 26, 36)
_DIRECTIONS = ((-1, 1), (1, 1), (-1, -1), (1, -1), (0, 1), (0, -1), (-1, 0), (1, 0))


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Move labels apart as little as possible, in least squares, keeping their order.

    Args:
        wanted: Where the labels would best stand, in any order.
        gap: Least distance of two neighbours.

    Returns:
        Where they stand, in the order given.
    """
    wanted = np.asarray(wanted, float)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    found = np.empty_like(wanted)
    found[order] = _rising(wanted[order] - steps) + steps
    return found


def _rising(values: np.ndarray) -> np.ndarray:
    """Return the isotonic regression: neighbours that violate the order are pooled."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, count = pools.pop()
            total = pools[-1][1] + count
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * count) / total, total]
    return np.repeat([mean for mean, _ in pools], [count for _, count in pools])


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Name lines at their right ends: by name, the end's x and y and the line's colour.

    Call it when everything else is drawn and `figure.draw_without_rendering()` has laid it out.
    """
    low, high = axes.get_ylim()
    points_per_unit = axes.get_window_extent().height * 72 / axes.figure.dpi / (high - low)
    wanted = [y * points_per_unit for _, y, _ in ends.values()]
    for (text, (x, y, colour)), height in zip(ends.items(), spread(wanted, _LINE), strict=True):
        offset = (7, height - y * points_per_unit)
        note(axes, text, (x, y), offset=offset, color=colour, fontsize=7)


def label_points(
    axes: Axes, points: Mapping[str, tuple[float, float]], names: Sequence[str]
) -> None:
    """Write the names of points where they cover no marker and no other name.

    Call it when everything else is drawn and `figure.draw_without_rendering()` has laid it out. A
    name that had to stand apart is tied to its point.

    Args:
        axes: Where the points are drawn.
        points: All points, by name, in units of the data.
        names: Those to label, the most important first.
    """
    centres = axes.transData.transform(list(points.values())) * 72 / axes.figure.dpi
    frame = np.array(axes.get_window_extent().extents) * 72 / axes.figure.dpi
    taken = [np.concatenate([p - _CLEARANCE, p + _CLEARANCE]) for p in centres]
    for name in names:
        middle = centres[list(points).index(name)]
        offset, radius = _free_offset(middle, len(name) * _CHARACTER, frame, taken)
        taken.append(_box(middle + offset, len(name) * _CHARACTER))
        tie = {"arrowstyle": "-", "color": FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
        far = {"arrowprops": tie} if radius > _RADII[0] else {}
        note(axes, name, points[name], offset=tuple(offset), ha="center", color=INK, **far)


def _free_offset(
    middle: np.ndarray, width: float, frame: np.ndarray, taken: Sequence[np.ndarray]
) -> tuple[np.ndarray, float]:
    """Return the nearest offset that is free, or the first if none is, and its distance."""
    offsets = [
        (np.array([x * (radius + width / 2 - 3 * (y != 0)), y * radius]), radius)
        for radius in _RADII
        for x, y in _DIRECTIONS
    ]
    for offset, radius in offsets:
        box = _box(middle + offset, width)
        inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
        if inside and not any(_overlap(box, other) for other in taken):
            return offset, radius
    return offsets[0]


def _box(middle: np.ndarray, width: float) -> np.ndarray:
    """Return left, bottom, right and top of a label, in points."""
    half = np.array([width, _LINE - 1]) / 2
    return np.concatenate([middle - half, middle + half])


def _overlap(box: np.ndarray, other: np.ndarray) -> bool:
    return bool((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all())

"""Bones of the chest as outlines: ribs, clavicles, scapulae, spine."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from kerasunet.data.simulation.shapes import Curves, band, ellipse, spline
from kerasunet.data.simulation.thorax import LEFT_SIDE

RIBS = 11
RIB_SPACING = 0.074
VERTEBRA = (0.041, 0.062)  # half width, height
LEVELS = np.arange(-0.75, 0.75, VERTEBRA[1])
CLAVICLE = spline([
    (0.03, -0.285), (0.09, -0.305), (0.17, -0.345), (0.27, -0.375), (0.36, -0.37), (0.45, -0.355),
])  # fmt: skip
SCAPULA = spline([
    (0.30, -0.345), (0.36, -0.31), (0.40, -0.22), (0.42, -0.1), (0.425, 0.02), (0.46, 0.06),
    (0.56, -0.12), (0.56, -0.3), (0.46, -0.345), (0.36, -0.365), (0.30, -0.345),
])  # fmt: skip

HUMERUS = np.array(
    [(0.485, -0.31), (0.495, -0.295), (0.515, -0.275), (0.55, -0.23), (0.6, -0.165), (0.7, -0.03)]
)


@lru_cache(maxsize=16)
def ribs(posterior: bool, slope: float, half_width: float) -> tuple[Curves, Curves]:
    """Outlines of one half of every rib and of the marrow inside, both sides.

    A rib runs round the chest: seen from the front its posterior half goes out from the spine and
    down, its anterior half back towards the sternum and further down.

    Args:
        posterior: Which half.
        slope: How far a rib descends from back to front.
        half_width: Half the height of a rib.
    """
    numbers = range(RIBS) if posterior else range(1, 8)
    lines = [_centreline(number, posterior, slope) for number in numbers]
    taper = np.linspace(1, 0.85 if posterior else 1.15, len(lines[0]))
    outer = [band(line, half_width * taper) for line in lines]
    marrow = [band(line - (0, 0.1 * half_width), 0.6 * half_width * taper) for line in lines]
    return both_sides(outer), both_sides(marrow)


def _centreline(number: int, posterior: bool, slope: float) -> np.ndarray:
    turn = np.linspace(0.12, 1.72, 14) if posterior else np.linspace(1.45, 2.5, 14)
    start = -0.435 + RIB_SPACING * number
    drop = slope * min(1.0, 0.45 + 0.14 * number)
    reach = np.interp(start + 0.45 * drop, LEFT_SIDE[:, 1], LEFT_SIDE[:, 0]) + 0.006
    x = reach * np.sin(turn) ** 0.9
    y = start + drop * (1 - np.cos(turn)) / 2 - 0.022 * np.sin(2 * turn)
    return np.stack([x, y], axis=1)


def both_sides(outlines: Curves) -> list[np.ndarray]:
    """Outlines of one side and their mirror images."""
    return [*outlines, *(outline * (-1, 1) for outline in outlines)]


def _vertebrae() -> list[np.ndarray]:
    """Vertebral bodies, with discs left free between them."""
    w, h = VERTEBRA
    right = np.array([(0, 0.07), (1, 0.1), (0.86, 0.5), (1, 0.9), (0, 0.93)])
    body = np.concatenate([right, right[3:0:-1] * (-1, 1)]) * (w, h)
    return [body + (0, level) for level in LEVELS]


def _processes() -> list[np.ndarray]:
    """Pedicles and spinous processes: three bright spots on each vertebra."""
    w, h = VERTEBRA
    spots = ((-0.62, 0.4, 0.17, 0.1), (0.62, 0.4, 0.17, 0.1), (0, 0.75, 0.1, 0.14))
    return [
        ellipse((x * w, level + y * h), (rx * w, ry * h), samples=12)
        for level in LEVELS
        for x, y, rx, ry in spots
    ]


CLAVICLES = both_sides([band(CLAVICLE, np.linspace(-0.075, 0.075, len(CLAVICLE)) ** 2 + 0.0125)])
HUMERI = both_sides([band(HUMERUS, np.array([0.018, 0.03, 0.033, 0.024, 0.02, 0.02]))])
SCAPULAE = both_sides([SCAPULA])
VERTEBRAE = _vertebrae()
PROCESSES = _processes()

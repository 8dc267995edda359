"""The chest seen from the front: its shape, its bones, and how it varies between people.

Coordinates are shares of the shorter side of the image, `(x, y)` from its center, y down. The
viewer's left is the patient's right, as on every chest radiograph. One smooth deformation carries
the typical chest to a person's, and all organs and bones with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kerasunet.data.simulation.shapes import Curves, Grid, band, ellipse, rotate, spline

# A typical adult in full inspiration. Walls run down from the apex, medial borders up from the
# diaphragm; only the corners between the three parts of an outline are sharp.
RIGHT_WALL = spline([
    (-0.095, -0.405), (-0.15, -0.43), (-0.215, -0.39), (-0.275, -0.30), (-0.32, -0.18),
    (-0.348, -0.04), (-0.366, 0.12), (-0.378, 0.27), (-0.38, 0.35),
])  # fmt: skip
RIGHT_DOME = spline([
    (-0.38, 0.35), (-0.335, 0.26), (-0.25, 0.21), (-0.16, 0.205), (-0.085, 0.235),
])  # fmt: skip
RIGHT_MEDIAL = spline([
    (-0.085, 0.235), (-0.103, 0.17), (-0.1, 0.09), (-0.078, 0.01), (-0.062, -0.08),
    (-0.058, -0.18), (-0.055, -0.28), (-0.06, -0.36), (-0.095, -0.405),
])  # fmt: skip
LEFT_WALL = spline([
    (0.095, -0.40), (0.155, -0.43), (0.22, -0.39), (0.28, -0.30), (0.325, -0.18),
    (0.355, -0.04), (0.375, 0.12), (0.388, 0.27), (0.39, 0.36),
])  # fmt: skip
LEFT_DOME = spline([(0.39, 0.36), (0.355, 0.28), (0.30, 0.235), (0.235, 0.22)])
LEFT_MEDIAL = spline([
    (0.235, 0.22), (0.243, 0.17), (0.215, 0.1), (0.165, 0.02), (0.112, -0.06),
    (0.085, -0.125), (0.098, -0.19), (0.085, -0.235), (0.057, -0.255), (0.055, -0.34),
    (0.095, -0.40),
])  # fmt: skip
RIGHT_SIDE, LEFT_SIDE = (wall[wall[:, 1].argmin() :] for wall in (RIGHT_WALL, LEFT_WALL))
RIGHT_LUNG = np.concatenate([RIGHT_WALL, RIGHT_DOME, RIGHT_MEDIAL])
LEFT_LUNG = np.concatenate([LEFT_WALL, LEFT_DOME, LEFT_MEDIAL])
# The heart lies between the lungs: their medial borders are its sides. Its base crosses the
# mediastinum below the carina, and it rests on the diaphragm.
HEART = np.concatenate([
    spline([(-0.078, 0.01), (-0.045, -0.045), (0.03, -0.09), (0.112, -0.06)]),
    spline([(0.112, -0.06), (0.165, 0.02), (0.215, 0.1), (0.243, 0.17), (0.235, 0.22)]),
    spline([(0.235, 0.22), (0.12, 0.255), (0.0, 0.255), (-0.085, 0.235)]),
    spline([(-0.085, 0.235), (-0.103, 0.17), (-0.1, 0.09), (-0.078, 0.01)]),
])  # fmt: skip
LEFT_TRUNK = spline([
    (0.08, -0.75), (0.085, -0.5), (0.13, -0.455), (0.3, -0.41), (0.46, -0.36), (0.6, -0.26),
    (0.9, -0.1), (0.9, 0.03), (0.56, -0.02), (0.475, 0.06), (0.455, 0.2), (0.45, 0.4),
    (0.46, 1.2),
], samples=4)  # fmt: skip
TRUNK = np.concatenate([LEFT_TRUNK, LEFT_TRUNK[::-1] * (-1, 1)])
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


@dataclass(frozen=True)
class Build:
    """One person's chest, relative to the typical one.

    Attributes:
        scale: Width and height.
        shift: Position in the image.
        tilt: Rotation in the image plane, in radians.
        heart: How far the left heart border lies outside the typical one.
        domes: How far the right and left diaphragm lie below the typical ones.
        waves: Amplitude, frequency vector and phase of small smooth deviations, `(n, 5)`:
            `(dx, dy, fx, fy, phase)`.
        depth: Distance from front to back of the trunk in cm.
        breast: Thickness of the breasts in cm; 0 for none.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    tilt: float
    heart: float
    domes: tuple[float, float]
    waves: np.ndarray
    depth: float
    breast: float

    def transform(self, points: np.ndarray) -> np.ndarray:
        """Carry points of the typical chest, `(n, 2)`, to this person's."""
        x, y = points[:, 0], points[:, 1]
        heart = self.heart * _bump(x, y, center=(0.2, 0.11), reach=(0.13, 0.13))
        heart -= 0.4 * self.heart * _bump(x, y, center=(-0.1, 0.11), reach=(0.06, 0.1))
        right = self.domes[0] * _bump(x, y, center=(-0.2, 0.24), reach=(0.2, 0.12))
        left = self.domes[1] * _bump(x, y, center=(0.25, 0.25), reach=(0.18, 0.12))
        moved = points + np.stack([heart, right + left], axis=1)
        phases = points @ self.waves[:, 2:4].T + self.waves[:, 4]
        moved = moved + np.sin(phases) @ self.waves[:, :2]
        return rotate(moved * self.scale, self.tilt) + self.shift


@dataclass(frozen=True)
class ChestGrid(Grid):
    """A pixel grid that shows a person; drawing takes curves of the typical chest."""

    build: Build

    def transform(self, points: np.ndarray) -> np.ndarray:
        """Carry points of the typical chest to this person's."""
        return self.build.transform(points)


def draw_build(rng: np.random.Generator) -> Build:
    """Draw a person."""
    width = rng.uniform(0.88, 1.06)
    return Build(
        scale=(width, rng.uniform(0.9, 1.05) * width**0.3),
        shift=(rng.normal(0, 0.012), rng.normal(0.0, 0.015)),
        tilt=rng.normal(0, 0.022),
        heart=rng.normal(0, 0.02),
        domes=tuple(rng.normal(0, 0.015) + rng.normal(0, 0.01, 2)),
        waves=np.column_stack(
            [rng.normal(0, 0.005, (4, 2)), rng.normal(0, 7, (4, 2)), rng.uniform(0, 6.28, 4)]
        ),
        depth=rng.uniform(17, 21),
        breast=float(rng.integers(2)) * rng.uniform(1.0, 3.5),
    )


def _bump(
    x: np.ndarray, y: np.ndarray, *, center: tuple[float, float], reach: tuple[float, float]
) -> np.ndarray:
    return np.exp(-(((x - center[0]) / reach[0]) ** 2) - ((y - center[1]) / reach[1]) ** 2)


@lru_cache(maxsize=16)
def ribs(posterior: bool, slope: float, half_width: float) -> tuple[Curves, Curves]:
    """Return the outlines of one half of every rib and of the marrow inside, both sides.

    A rib runs round the chest: seen from the front its posterior half goes out from the spine and
    down, its anterior half back toward the sternum and further down.

    Args:
        posterior: Which half.
        slope: How far a rib descends from back to front.
        half_width: Half the height of a rib.
    """
    numbers = range(RIBS) if posterior else range(1, 8)
    lines = [_centerline(number, posterior, slope) for number in numbers]
    taper = np.linspace(1, 0.85 if posterior else 1.15, len(lines[0]))
    outer = [band(line, half_width * taper) for line in lines]
    marrow = [band(line - (0, 0.1 * half_width), 0.6 * half_width * taper) for line in lines]
    return both_sides(outer), both_sides(marrow)


def _centerline(number: int, posterior: bool, slope: float) -> np.ndarray:
    turn = np.linspace(0.12, 1.72, 14) if posterior else np.linspace(1.45, 2.5, 14)
    start = -0.435 + RIB_SPACING * number
    drop = slope * min(1.0, 0.45 + 0.14 * number)
    reach = np.interp(start + 0.45 * drop, LEFT_SIDE[:, 1], LEFT_SIDE[:, 0]) + 0.006
    x = reach * np.sin(turn) ** 0.9
    y = start + drop * (1 - np.cos(turn)) / 2 - 0.022 * np.sin(2 * turn)
    return np.stack([x, y], axis=1)


def both_sides(outlines: Curves) -> list[np.ndarray]:
    """Return the outlines of one side and their mirror images."""
    return [*outlines, *(outline * (-1, 1) for outline in outlines)]


def _vertebrae() -> list[np.ndarray]:
    """Return the outlines of vertebral bodies, with discs left free between them."""
    w, h = VERTEBRA
    right = np.array([(0, 0.07), (1, 0.1), (0.86, 0.5), (1, 0.9), (0, 0.93)])
    body = np.concatenate([right, right[3:0:-1] * (-1, 1)]) * (w, h)
    return [body + (0, level) for level in LEVELS]


def _processes() -> list[np.ndarray]:
    """Return pedicles and spinous processes: three bright spots on each vertebra."""
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

"""Shape of a chest seen from the front, and how it varies between people.

Coordinates are shares of the shorter side of the image, `(x, y)` from its centre, y down. The
viewer's left is the patient's right, as on every chest radiograph. One smooth deformation carries
the typical chest to a person's, and all organs and bones with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasunet.data.simulation.grid import Grid
from kerasunet.data.simulation.shapes import rotate, spline

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
LEFT_TRUNK = spline([
    (0.08, -0.75), (0.085, -0.5), (0.13, -0.455), (0.3, -0.41), (0.46, -0.36), (0.6, -0.26),
    (0.9, -0.1), (0.9, 0.03), (0.56, -0.02), (0.475, 0.06), (0.455, 0.2), (0.45, 0.4),
    (0.46, 1.2),
], samples=4)  # fmt: skip
TRUNK = np.concatenate([LEFT_TRUNK, LEFT_TRUNK[::-1] * (-1, 1)])


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

    def place(self, points: np.ndarray) -> np.ndarray:
        """Carries points of the typical chest, `(n, 2)`, to this person's."""
        x, y = points[:, 0], points[:, 1]
        heart = self.heart * _bump(x, y, (0.2, 0.11), (0.13, 0.13))
        heart -= 0.4 * self.heart * _bump(x, y, (-0.1, 0.11), (0.06, 0.1))
        right = self.domes[0] * _bump(x, y, (-0.2, 0.24), (0.2, 0.12))
        left = self.domes[1] * _bump(x, y, (0.25, 0.25), (0.18, 0.12))
        moved = points + np.stack([heart, right + left], axis=1)
        phases = points @ self.waves[:, 2:4].T + self.waves[:, 4]
        moved = moved + np.sin(phases) @ self.waves[:, :2]
        return rotate(moved * self.scale, self.tilt) + self.shift


@dataclass(frozen=True)
class ChestGrid(Grid):
    """A pixel grid that shows a person; drawing takes curves of the typical chest."""

    build: Build

    def place(self, points: np.ndarray) -> np.ndarray:
        """Carries points of the typical chest to this person's."""
        return self.build.place(points)


def draw_build(rng: np.random.Generator) -> Build:
    """Draws a person."""
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
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], reach: tuple[float, float]
) -> np.ndarray:
    return np.exp(-(((x - centre[0]) / reach[0]) ** 2) - ((y - centre[1]) / reach[1]) ** 2)

"""Chest X-rays: the chest seen from the front, attenuation by tissue, air and bone, the film.

Coordinates are shares of the shorter side of the image, `(x, y)` from its center, y down. The
viewer's left is the patient's right, as on every chest radiograph. One smooth deformation carries
the typical chest to a person's, and all organs and bones with it. Pulmonary vessels are trees that
branch out from the hila and thin toward the periphery.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from kerasunet.data.simulation import shapes
from kerasunet.data.simulation.shapes import Curves, Grid, band, both_sides, ellipse, spline

TRUNKS = 7
VESSEL_WIDTHS = (0.011, 0.009, 0.007, 0.0055, 0.0045)  # of each generation
HILUM = (0.07, -0.01)
SIMULATOR = 2
TISSUE, BONE, LEAD = 0.2, 0.5, 60.0  # attenuation per cm
LUNG_AIR = 0.75  # share of the lung that is air
CHEST_WALL = 5.0  # front and back together, cm
DOSE = 8000.0  # typical number of photons per square millimeter
FILM_SIDE = 350.0  # mm, shorter side of the film
RENDER_SIDE = 256  # least resolution of the projection, pixels
NODULE_SHARE, MARKER_SHARE, GAS_SHARE = 0.3, 0.6, 0.7
RIB_SLOPES, RIB_HALF_WIDTHS = (0.22, 0.24, 0.26, 0.28), (0.012, 0.0135)  # few: ribs are cached
TRACHEA = band(spline([(0.0, -0.8), (0.0, -0.5), (0.002, -0.3), (0.006, -0.14)]), 0.02)
BRONCHI = [
    band(spline([(0.006, -0.15), (0.035, -0.11), (0.07, -0.085)]), 0.013),
    band(spline([(0.006, -0.15), (-0.02, -0.11), (-0.05, -0.075)]), 0.013),
]
MARKER = np.array([[0.40, -0.475], [0.40, -0.415], [0.435, -0.415]])
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
RIBS, RIB_SPACING = 11, 0.074
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
        heart = self.heart * shapes.bump(x, y, center=(0.2, 0.11), reach=(0.13, 0.13))
        heart -= 0.4 * self.heart * shapes.bump(x, y, center=(-0.1, 0.11), reach=(0.06, 0.1))
        right = self.domes[0] * shapes.bump(x, y, center=(-0.2, 0.24), reach=(0.2, 0.12))
        left = self.domes[1] * shapes.bump(x, y, center=(0.25, 0.25), reach=(0.18, 0.12))
        moved = points + np.stack([heart, right + left], axis=1)
        phases = points @ self.waves[:, 2:4].T + self.waves[:, 4]
        moved = moved + np.sin(phases) @ self.waves[:, :2]
        return shapes.rotate(moved * self.scale, self.tilt) + self.shift


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
VERTEBRAE, PROCESSES = _vertebrae(), _processes()


def simulate_chest_xray(
    seed: int, index: int, size: int | tuple[int, int] = 128
) -> shapes.SimulatedSample:
    """Simulate one posterior-anterior chest radiograph.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        The image, dense parts white; the mask is both lung fields without heart and mediastinum
        (as in the SCR annotations: van Ginneken et al., Medical Image Analysis 10, 2006), the
        label `"normal"` or `"nodule"`. The parts are both lungs and each of them, and the heart
        as these annotations outline it.
    """
    shape = shapes.as_shape(size)
    body, tissue, photons = shapes.generators(seed, index, SIMULATOR, count=3)
    build = draw_build(body)
    has_nodule = bool(body.random() < NODULE_SHARE)
    grid = ChestGrid(shapes.enlarged(shape, RENDER_SIDE), build)
    path = TISSUE * _soft_tissue(grid, tissue, has_nodule) + BONE * _bone(grid, tissue)
    path += LEAD * _marker(grid, body)
    path = shapes.resample(grid.blur(path, 0.002), shape)
    spacing = FILM_SIDE / min(shape)
    dose = DOSE * np.exp(body.uniform(-1, 1)) * spacing**2
    image = shapes.to_uint8(_film(count_photons(path, dose, photons), body))
    parts = _parts(ChestGrid(shape, build))
    label = "nodule" if has_nodule else "normal"
    return shapes.SimulatedSample(
        image, parts["lungs"], label, spacing=(spacing, spacing), parts=parts
    )


def _parts(grid: ChestGrid) -> dict[str, np.ndarray]:
    """Return the masks of lungs and heart; the lungs lie before it where both reach a pixel."""
    lungs = grid.mask([RIGHT_LUNG, LEFT_LUNG])
    right = grid.mask([RIGHT_LUNG]) & lungs
    return {
        "lungs": lungs,
        "heart": grid.mask([HEART]) & ~lungs,
        "right_lung": right,
        "left_lung": lungs & ~right,
    }


def _soft_tissue(grid: ChestGrid, rng: np.random.Generator, has_nodule: bool) -> np.ndarray:
    """Return the water-equivalent thickness in cm."""
    lungs = grid.cover([RIGHT_LUNG, LEFT_LUNG])
    cavity = _cavity_depth(grid)
    around = grid.blur(lungs, 0.03) * (1 - lungs)  # lung before and behind heart and diaphragm
    air = LUNG_AIR * cavity * (lungs + 0.6 * around)
    inside = _vessels(grid, rng) + 0.35 * shapes.lattice_noise(rng, grid.shape, (8, 8), octaves=5)
    inside += _nodule(grid, rng) if has_nodule else 0
    return _trunk(grid) - air + lungs * inside + _breasts(grid) + _hila(grid) - _gas(grid, rng)


def _trunk(grid: ChestGrid) -> np.ndarray:
    """Return the thickness of the body in cm as if it were solid, rounded at its sides."""
    solid = grid.cover([TRUNK])
    rounding = np.maximum(2 * grid.blur(solid, 0.05) - 1, 0.04)
    return _body_depth(grid) * cv2.sqrt(rounding) * solid


def _body_depth(grid: ChestGrid) -> np.ndarray:
    """Return the depth of the trunk from front to back in cm at each row, `(rows, 1)`."""
    share = np.interp(grid.axes[1], [-0.5, -0.3, -0.05, 0.25], [0.55, 0.75, 0.95, 1.15])
    return (grid.build.depth * share).astype(np.float32)


def _cavity_depth(grid: ChestGrid) -> np.ndarray:
    """Return the inner depth of the rib cage in cm: a rounded box between the walls in each row."""
    x, y = grid.axes
    left, right = (grid.transform(wall) for wall in (LEFT_SIDE, RIGHT_SIDE))
    outer_left = np.interp(y, left[:, 1], left[:, 0])
    outer_right = np.interp(y, right[:, 1], right[:, 0])
    half = (outer_left - outer_right) / 2
    off_center = ((x - (outer_left + outer_right) / 2) / half).astype(np.float32)
    profile = cv2.sqrt(np.maximum(1 - np.square(np.square(off_center)), 0))
    return profile * (_body_depth(grid) - CHEST_WALL)


def _vessels(grid: ChestGrid, rng: np.random.Generator) -> np.ndarray:
    """Return the thickness of the pulmonary vessels in cm."""
    canvas = grid.canvas()
    generations = zip(draw_vessels(rng), VESSEL_WIDTHS, strict=True)
    for curves, width in reversed(list(generations)):
        grid.stroke(canvas, curves, value=min(1.0, width / 0.012), width=width)
    return 1.5 * grid.blur(canvas.astype(np.float32) / 255, 0.003)


def draw_vessels(rng: np.random.Generator) -> list[np.ndarray]:
    """Draw the vessel trees of both lungs, in the typical chest.

    Returns:
        For each generation, thick to thin, curves `(branches, 3, 2)`.
    """
    sides = np.repeat([-1, 1], TRUNKS)
    angles = np.tile(np.linspace(-1.25, 1.45, TRUNKS), 2) + rng.normal(0, 0.25, 2 * TRUNKS)
    starts = HILUM + np.outer(np.tile(np.linspace(-1, 1, TRUNKS), 2), (0.0, 0.06))
    starts += rng.normal(0, 0.008, starts.shape)
    length, generations = 0.08, []
    for _ in VESSEL_WIDTHS:
        lengths = length * rng.uniform(0.5, 1.4, len(angles))
        bends = angles + rng.normal(0, 0.35, len(angles))
        middles = starts + shapes.polar(lengths / 2, angles)
        ends = middles + shapes.polar(lengths / 2, bends)
        flips = np.column_stack([sides, np.ones(len(sides))])[:, None]
        generations.append(np.stack([starts, middles, ends], axis=1) * flips)
        fork = rng.uniform(0.15, 0.5, len(angles))
        angles = np.concatenate([bends - fork, bends + 0.8 * fork])
        starts, sides = np.tile(ends, (2, 1)), np.tile(sides, 2)
        length *= 0.8
    return generations


def _nodule(grid: ChestGrid, rng: np.random.Generator) -> np.ndarray:
    """Return the thickness in cm of a ball in one of the lungs."""
    radius = rng.uniform(0.014, 0.035)
    center = (rng.choice([-1, 1]) * rng.uniform(0.17, 0.25), rng.uniform(-0.27, 0.02))
    x, y = grid.transform(np.array([center]))[0].tolist()
    columns, rows = grid.axes
    squared = np.square(columns - x) + np.square(rows - y)
    return 2 * cv2.sqrt(np.maximum(radius**2 - squared, 0)) * np.float32(FILM_SIDE / 10)


def _breasts(grid: ChestGrid) -> np.ndarray:
    if not grid.build.breast:
        return np.zeros((), np.float32)
    both = [ellipse((side * 0.23, 0.17), (0.2, 0.2), side * 0.15) for side in (-1, 1)]
    fullness = np.clip((grid.axes[1] + 0.1) / 0.4, 0, 1)
    return grid.build.breast * fullness * grid.blur(grid.cover(both), 0.015)


def _hila(grid: ChestGrid) -> np.ndarray:
    both = [ellipse((side * 0.085, -0.015), (0.025, 0.055), side * -0.35) for side in (-1, 1)]
    return 2.2 * grid.blur(grid.cover(both), 0.018)


def _gas(grid: ChestGrid, rng: np.random.Generator) -> np.ndarray:
    """Return the air in trachea, main bronchi and, usually, the stomach, in cm."""
    air = 2.0 * grid.cover([TRACHEA]) + 0.9 * grid.cover(BRONCHI)
    radii = (rng.uniform(0.03, 0.07), rng.uniform(0.015, 0.035))
    center = (rng.uniform(0.18, 0.28), 0.255 + radii[1] + rng.uniform(0.0, 0.02))
    bubble = ellipse(center, radii, rng.normal(0, 0.2))
    depth = rng.uniform(2, 6) * (rng.random() < GAS_SHARE)
    return grid.blur(air + np.float32(depth) * grid.cover([bubble]), 0.005)


def _bone(grid: ChestGrid, rng: np.random.Generator) -> np.ndarray:
    """Return the thickness of bone in cm."""
    slope, width = rng.choice(RIB_SLOPES), rng.choice(RIB_HALF_WIDTHS)
    bone = 0.4 * grid.cover(VERTEBRAE) + 0.3 * grid.cover(PROCESSES)
    for posterior, outer_cm, marrow_cm in ((True, 0.38, 0.14), (False, 0.2, 0.06)):
        outer, marrow = ribs(posterior, slope, width)
        bone += outer_cm * grid.cover(outer) - marrow_cm * grid.cover(marrow)
    bone += 0.6 * grid.cover(CLAVICLES) + 0.2 * grid.cover(SCAPULAE)
    return bone + 0.6 * grid.cover(HUMERI)


def _marker(grid: ChestGrid, rng: np.random.Generator) -> np.ndarray:
    """Draw the lead letter that marks the patient's left side."""
    film, canvas = Grid(grid.shape), grid.canvas()
    if rng.random() < MARKER_SHARE:
        film.stroke(canvas, [MARKER], value=1.0, width=0.006)
    return canvas.astype(np.float32) / 255


def count_photons(path: np.ndarray, dose: float, rng: np.random.Generator) -> np.ndarray:
    """Measure attenuation by counting the photons that pass (Beer-Lambert law, Poisson noise).

    Args:
        path: Attenuation summed along each ray, float32, dimensionless.
        dose: Photons that a pixel would get without a body.
        rng: Source of randomness.

    Returns:
        The path as measured, float32; its standard deviation is about 1 / sqrt(photons counted).
    """
    counts = rng.poisson(dose * cv2.exp(-path)).astype(np.float32)
    return np.float32(np.log(dose)) - cv2.log(np.maximum(counts, 1))


def _film(path: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Develop the film: float32 gray levels 0 to 255, dense parts white."""
    middle, latitude = rng.normal(2.35, 0.12), rng.uniform(0.62, 0.8)
    return 255 / (1 + cv2.exp((middle - path) / np.float32(latitude)))

"""Chest X-rays: attenuation by soft tissue, air and bone, photon noise, and the film.

Pulmonary vessels are trees that branch out from the hila and thin toward the periphery.
"""

from __future__ import annotations

import cv2
import numpy as np

from kerasunet.data.simulation import thorax
from kerasunet.data.simulation.shapes import (
    Grid,
    SimulatedSample,
    as_shape,
    band,
    ellipse,
    enlarged,
    generators,
    lattice_noise,
    resample,
    spline,
    to_uint8,
)
from kerasunet.data.simulation.thorax import ChestGrid, draw_build

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


def simulate_chest_xray(
    seed: int, index: int, size: int | tuple[int, int] = 128
) -> SimulatedSample:
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
    shape = as_shape(size)
    body, tissue, photons = generators(seed, index, SIMULATOR, count=3)
    build = draw_build(body)
    has_nodule = bool(body.random() < NODULE_SHARE)
    grid = ChestGrid(enlarged(shape, RENDER_SIDE), build)
    path = TISSUE * _soft_tissue(grid, tissue, has_nodule) + BONE * _bone(grid, tissue)
    path += LEAD * _marker(grid, body)
    path = resample(grid.blur(path, 0.002), shape)
    spacing = FILM_SIDE / min(shape)
    dose = DOSE * np.exp(body.uniform(-1, 1)) * spacing**2
    image = to_uint8(_film(count_photons(path, dose, photons), body))
    parts = _parts(ChestGrid(shape, build))
    label = "nodule" if has_nodule else "normal"
    return SimulatedSample(image, parts["lungs"], label, spacing=(spacing, spacing), parts=parts)


def _parts(grid: ChestGrid) -> dict[str, np.ndarray]:
    """Return the masks of lungs and heart; the lungs lie before it where both reach a pixel."""
    lungs = grid.mask([thorax.RIGHT_LUNG, thorax.LEFT_LUNG])
    right = grid.mask([thorax.RIGHT_LUNG]) & lungs
    return {
        "lungs": lungs,
        "heart": grid.mask([thorax.HEART]) & ~lungs,
        "right_lung": right,
        "left_lung": lungs & ~right,
    }


def _soft_tissue(grid: ChestGrid, rng: np.random.Generator, has_nodule: bool) -> np.ndarray:
    """Return the water-equivalent thickness in cm."""
    lungs = grid.cover([thorax.RIGHT_LUNG, thorax.LEFT_LUNG])
    cavity = _cavity_depth(grid)
    around = grid.blur(lungs, 0.03) * (1 - lungs)  # lung before and behind heart and diaphragm
    air = LUNG_AIR * cavity * (lungs + 0.6 * around)
    inside = _vessels(grid, rng) + 0.35 * lattice_noise(rng, grid.shape, (8, 8), octaves=5)
    inside += _nodule(grid, rng) if has_nodule else 0
    return _trunk(grid) - air + lungs * inside + _breasts(grid) + _hila(grid) - _gas(grid, rng)


def _trunk(grid: ChestGrid) -> np.ndarray:
    """Return the thickness of the body in cm as if it were solid, rounded at its sides."""
    solid = grid.cover([thorax.TRUNK])
    rounding = np.maximum(2 * grid.blur(solid, 0.05) - 1, 0.04)
    return _body_depth(grid) * cv2.sqrt(rounding) * solid


def _body_depth(grid: ChestGrid) -> np.ndarray:
    """Return the depth of the trunk from front to back in cm at each row, `(rows, 1)`."""
    share = np.interp(grid.axes[1], [-0.5, -0.3, -0.05, 0.25], [0.55, 0.75, 0.95, 1.15])
    return (grid.build.depth * share).astype(np.float32)


def _cavity_depth(grid: ChestGrid) -> np.ndarray:
    """Return the inner depth of the rib cage in cm: a rounded box between the walls in each row."""
    x, y = grid.axes
    left, right = (grid.transform(wall) for wall in (thorax.LEFT_SIDE, thorax.RIGHT_SIDE))
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
    """Draw the vessel trees of both lungs.

    Args:
        rng: Source of randomness.

    Returns:
        For each generation, thick to thin, curves `(branches, 3, 2)` of the typical chest.
    """
    sides = np.repeat([-1, 1], TRUNKS)
    angles = np.tile(np.linspace(-1.25, 1.45, TRUNKS), 2) + rng.normal(0, 0.25, 2 * TRUNKS)
    starts = HILUM + np.outer(np.tile(np.linspace(-1, 1, TRUNKS), 2), (0.0, 0.06))
    starts += rng.normal(0, 0.008, starts.shape)
    length, generations = 0.08, []
    for _ in VESSEL_WIDTHS:
        lengths = length * rng.uniform(0.5, 1.4, len(angles))
        bends = angles + rng.normal(0, 0.35, len(angles))
        middles = starts + _polar(lengths / 2, angles)
        ends = middles + _polar(lengths / 2, bends)
        flips = np.column_stack([sides, np.ones(len(sides))])[:, None]
        generations.append(np.stack([starts, middles, ends], axis=1) * flips)
        fork = rng.uniform(0.15, 0.5, len(angles))
        angles = np.concatenate([bends - fork, bends + 0.8 * fork])
        starts, sides = np.tile(ends, (2, 1)), np.tile(sides, 2)
        length *= 0.8
    return generations


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


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
    shapes = [ellipse((side * 0.23, 0.17), (0.2, 0.2), side * 0.15) for side in (-1, 1)]
    fullness = np.clip((grid.axes[1] + 0.1) / 0.4, 0, 1)
    return grid.build.breast * fullness * grid.blur(grid.cover(shapes), 0.015)


def _hila(grid: ChestGrid) -> np.ndarray:
    shapes = [ellipse((side * 0.085, -0.015), (0.025, 0.055), side * -0.35) for side in (-1, 1)]
    return 2.2 * grid.blur(grid.cover(shapes), 0.018)


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
    bone = 0.4 * grid.cover(thorax.VERTEBRAE) + 0.3 * grid.cover(thorax.PROCESSES)
    for posterior, outer_cm, marrow_cm in ((True, 0.38, 0.14), (False, 0.2, 0.06)):
        outer, marrow = thorax.ribs(posterior, slope, width)
        bone += outer_cm * grid.cover(outer) - marrow_cm * grid.cover(marrow)
    bone += 0.6 * grid.cover(thorax.CLAVICLES) + 0.2 * grid.cover(thorax.SCAPULAE)
    return bone + 0.6 * grid.cover(thorax.HUMERI)


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

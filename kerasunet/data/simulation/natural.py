"""Simulated photographs with one salient object, for pre-training without a download.

The background follows the dead leaves model: opaque shapes whose sizes obey a power law cover each
other, which gives the edges, occlusions and the 1/f spectrum of natural images (Lee, Mumford and
Huang, International Journal of Computer Vision 41, 2001). The object stands before it, lit from
one side, and throws a shadow.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from kerasunet.data.simulation.grid import Grid, enlarged
from kerasunet.data.simulation.objects import draw_object
from kerasunet.data.simulation.raster import resample
from kerasunet.data.simulation.sample import SimulatedSample, as_shape, generators, to_grey
from kerasunet.data.simulation.shapes import blobs
from kerasunet.data.simulation.surfaces import draw_surfaces, paint, relief
from kerasunet.data.simulation.texture import lattice_noise

SIMULATOR = 3
RENDER_SIDE = 256  # least resolution of the scene, pixels
LEAVES = (10, 60, 150, 240)
LEAF_RADII = (0.015, 0.4)  # of the shorter side, as all lengths here
HABITS = (  # elongation (log of height over width), disorder of directions, exponent of the shape
    (0.0, 3.0, 1.0),  # pebbles
    (0.6, 3.0, 1.0),  # leaves
    (1.5, 0.15, 1.0),  # grass and trunks
    (0.2, 0.03, 0.35),  # buildings
)
OBJECT_AREA = (0.05, 0.3)
DEFOCUS = (0.0, 0.0, 0.0, 0.006, 0.02)  # blur of the background

Fields = tuple[np.ndarray, np.ndarray]


def simulate_natural(seed: int, index: int, size: int | tuple[int, int] = 128) -> SimulatedSample:
    """Simulates one photograph-like image with one salient object.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        The image; the mask is the object without its shadow. There is no label and no spacing.
    """
    shape = as_shape(size)
    scene, texture, sensor = generators(seed, index, SIMULATOR, 3)
    grid = Grid(enlarged(shape, RENDER_SIDE))
    noise = tuple(lattice_noise(texture, grid.shape, (4, 4), 7, 1.0) for _ in range(2))
    parts = _place(scene, draw_object(scene), grid)
    picture = _background(scene, grid, noise)
    angle = scene.uniform(-0.9, 0.9)
    light = (math.sin(angle), -math.cos(angle))
    picture = _add_object(scene, picture, parts, grid, noise, light)
    picture = resample(picture, shape)
    return SimulatedSample(_expose(picture, sensor), Grid(shape).mask(parts), "", None)


def _place(rng: np.random.Generator, parts: list[np.ndarray], grid: Grid) -> list[np.ndarray]:
    """Scales an object to a share of the image and moves it somewhere inside."""
    points = np.concatenate(parts)
    low, high = points.min(axis=0), points.max(axis=0)
    image = np.array(grid.shape[::-1]) / grid.unit
    extent, middle = high - low, (low + high) / 2
    fitted = [(part - middle) / extent.max() for part in parts]
    area = Grid((64, 64)).cover(fitted).mean() * extent.max() ** 2
    share = np.exp(rng.uniform(*np.log(OBJECT_AREA)))
    scale = min(np.sqrt(share * image.prod() / area), *(0.94 * image / extent))
    room = (image - scale * extent) / 2
    centre = 0.75 * rng.uniform(-room, room)
    return [(part - middle) * scale + centre for part in parts]


def _background(rng: np.random.Generator, grid: Grid, noise: Fields) -> np.ndarray:
    count = rng.choice(LEAVES)
    labels = grid.label([_ground(rng, grid), *_leaves(rng, count, grid)])
    mean, spread = rng.uniform(65, 160), rng.uniform(30, 60)
    levels = np.clip(rng.normal(mean, spread, count + 2), 10, 220)
    surfaces = draw_surfaces(rng, levels, contrast=65, striped=0.1)
    painted = paint(labels, surfaces, noise, grid.axes)
    defocus = rng.choice(DEFOCUS)
    return grid.blur(painted, defocus) if defocus else painted


def _ground(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Everything below a slightly tilted, uneven horizon."""
    right, bottom = np.array(grid.shape[::-1]) / grid.unit
    x = np.linspace(-right, right, 9)
    y = rng.uniform(-0.25, 0.45) + rng.normal(0, 0.05) * x + rng.normal(0, 0.012, 9)
    skyline = np.column_stack([x, y])
    return np.concatenate([skyline, [(right, bottom), (-right, bottom)]])


def _leaves(rng: np.random.Generator, count: int, grid: Grid) -> np.ndarray:
    """Outlines `(count, 32, 2)` with radii r distributed as r ** -3, anywhere in the image."""
    near, far = (radius**-2.0 for radius in LEAF_RADII)
    radii = (near + rng.random(count) * (far - near)) ** -0.5
    bias, disorder, squareness = HABITS[rng.integers(len(HABITS))]
    stretch = np.exp(rng.normal(bias, 0.3, count) / 2)
    outlines = blobs(rng, count, 0.1)
    outlines = np.sign(outlines) * np.abs(outlines) ** squareness
    outlines *= (radii[:, None] * np.column_stack([1 / stretch, stretch]))[:, None]
    turn = np.exp(1j * (rng.normal(0, 0.4) + rng.normal(0, disorder, (count, 1))))
    turned = (outlines[..., 0] + 1j * outlines[..., 1]) * turn
    edge = np.array(grid.shape[::-1]) / grid.unit / 2 + 0.05
    centres = rng.uniform(-edge, edge, (count, 2))
    return np.stack([turned.real, turned.imag], axis=-1) + centres[:, None]


def _add_object(
    rng: np.random.Generator,
    background: np.ndarray,
    parts: list[np.ndarray],
    grid: Grid,
    noise: Fields,
    light: tuple[float, float],
) -> np.ndarray:
    """Puts the object before the background, brighter or darker than what it covers."""
    coverage = grid.cover(parts)
    around = cv2.mean(background, (coverage > 0).astype(np.uint8))[0]
    darker = rng.random() < (around - 50) / 155  # a dark place leaves no room for a darker thing
    level = around + rng.uniform(45, 120) * (-1 if darker else 1)
    levels = level + rng.normal(0, 18, len(parts) + 1)
    surfaces = draw_surfaces(rng, np.clip(levels, 15, 225), contrast=65, striped=0.2)
    painted = paint(grid.label(parts), surfaces, noise, grid.axes)
    painted += rng.uniform(40, 90) * relief(coverage, grid, 0.07, light)
    shadow = grid.blur(grid.cover(_cast(parts, light)), rng.uniform(0.01, 0.03))
    shaded = background * (1 - rng.uniform(0, 0.6) * shadow)
    return shaded + coverage * (painted - shaded)


def _cast(parts: list[np.ndarray], light: tuple[float, float]) -> list[np.ndarray]:
    """Shadow of upright parts on the ground, away from the light."""
    foot = max(part[:, 1].max() for part in parts)
    lean = np.array([[1, 0], [light[0], 0.22]])
    return [(part - (0, foot)) @ lean + (0, foot) for part in parts]


def _expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tone curve and sensor noise."""
    tone = np.clip(picture, 0, 255) / 255
    tone = 255 * cv2.pow(tone, np.exp(rng.normal(0, 0.25)))
    tone += rng.uniform(0.5, 4) * rng.standard_normal(tone.shape, dtype=np.float32)
    return to_grey(tone)

"""Photograph-like scenes: a made-up object, such as a vase, in front of a background.

Objects are unions of smooth parts. Backgrounds follow the dead-leaves model: shapes of a power law
of sizes that hide each other, each with its own surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from kerasunet.data.simulation.shapes import (
    Grid,
    SimulatedSample,
    as_shape,
    band,
    blobs,
    ellipse,
    enlarged,
    generators,
    lattice_noise,
    resample,
    rotate,
    spline,
    to_uint8,
)

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
    """Simulate one photograph-like image with one salient object.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        The image; the mask is the object without its shadow. There is no label and no spacing.
    """
    shape = as_shape(size)
    scene, texture, sensor = generators(seed, index, SIMULATOR, count=3)
    grid = Grid(enlarged(shape, RENDER_SIDE))
    noise = (
        lattice_noise(texture, grid.shape, (4, 4), octaves=7, gain=1.0),
        lattice_noise(texture, grid.shape, (4, 4), octaves=7, gain=1.0),
    )
    parts = _position(scene, draw_object(scene), grid)
    picture = _background(scene, grid, noise)
    angle = scene.uniform(-0.9, 0.9)
    light = (math.sin(angle), -math.cos(angle))
    picture = _add_object(scene, picture, parts, grid=grid, noise=noise, light=light)
    picture = resample(picture, shape)
    return SimulatedSample(_expose(picture, sensor), Grid(shape).mask(parts), "", spacing=None)


def _position(rng: np.random.Generator, parts: list[np.ndarray], grid: Grid) -> list[np.ndarray]:
    """Scale an object to a share of the image and move it somewhere inside."""
    points = np.concatenate(parts)
    low, high = points.min(axis=0), points.max(axis=0)
    image = np.array(grid.shape[::-1]) / grid.unit
    extent, middle = high - low, (low + high) / 2
    fitted = [(part - middle) / extent.max() for part in parts]
    area = Grid((64, 64)).cover(fitted).mean() * extent.max() ** 2
    share = np.exp(rng.uniform(*np.log(OBJECT_AREA)))
    scale = min(np.sqrt(share * image.prod() / area), *(0.94 * image / extent))
    room = (image - scale * extent) / 2
    center = 0.75 * rng.uniform(-room, room)
    return [(part - middle) * scale + center for part in parts]


def _background(rng: np.random.Generator, grid: Grid, noise: Fields) -> np.ndarray:
    count = rng.choice(LEAVES)
    labels = grid.label([_ground(rng, grid), *_leaves(rng, count, grid)])
    mean, spread = rng.uniform(65, 160), rng.uniform(30, 60)
    levels = np.clip(rng.normal(mean, spread, count + 2), 10, 220)
    surfaces = draw_surfaces(rng, levels, contrast=65, striped=0.1)
    painted = paint(labels, surfaces, noise, grid=grid.axes)
    defocus = rng.choice(DEFOCUS)
    return grid.blur(painted, defocus) if defocus else painted


def _ground(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Return the outline of all below a slightly tilted, uneven horizon."""
    right, bottom = np.array(grid.shape[::-1]) / grid.unit
    x = np.linspace(-right, right, 9)
    y = rng.uniform(-0.25, 0.45) + rng.normal(0, 0.05) * x + rng.normal(0, 0.012, 9)
    skyline = np.column_stack([x, y])
    return np.concatenate([skyline, [(right, bottom), (-right, bottom)]])


def _leaves(rng: np.random.Generator, count: int, grid: Grid) -> np.ndarray:
    """Draw outlines `(count, 32, 2)` with radii r distributed as r ** -3, anywhere."""
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
    centers = rng.uniform(-edge, edge, (count, 2))
    return np.stack([turned.real, turned.imag], axis=-1) + centers[:, None]


def _add_object(
    rng: np.random.Generator,
    background: np.ndarray,
    parts: list[np.ndarray],
    *,
    grid: Grid,
    noise: Fields,
    light: tuple[float, float],
) -> np.ndarray:
    """Put the object in front of the background, brighter or darker than what it covers."""
    coverage = grid.cover(parts)
    around = cv2.mean(background, (coverage > 0).astype(np.uint8))[0]
    darker = rng.random() < (around - 50) / 155  # nothing much darker fits on a dark background
    level = around + rng.uniform(45, 120) * (-1 if darker else 1)
    levels = level + rng.normal(0, 18, len(parts) + 1)
    surfaces = draw_surfaces(rng, np.clip(levels, 15, 225), contrast=65, striped=0.2)
    painted = paint(grid.label(parts), surfaces, noise, grid=grid.axes)
    painted += rng.uniform(40, 90) * relief(coverage, grid, radius=0.07, light=light)
    shadow = grid.blur(grid.cover(_cast(parts, light)), rng.uniform(0.01, 0.03))
    shaded = background * (1 - rng.uniform(0, 0.6) * shadow)
    return shaded + coverage * (painted - shaded)


def _cast(parts: list[np.ndarray], light: tuple[float, float]) -> list[np.ndarray]:
    """Return the shadow of upright parts on the ground, away from the light."""
    foot = max(part[:, 1].max() for part in parts)
    lean = np.array([[1, 0], [light[0], 0.22]])
    return [(part - (0, foot)) @ lean + (0, foot) for part in parts]


def _expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a tone curve and add sensor noise."""
    tone = np.clip(picture, 0, 255) / 255
    tone = 255 * cv2.pow(tone, np.exp(rng.normal(0, 0.25)))
    tone += rng.uniform(0.5, 4) * rng.standard_normal(tone.shape, dtype=np.float32)
    return to_uint8(tone)


def draw_object(rng: np.random.Generator) -> list[np.ndarray]:
    """Draw one thing.

    Args:
        rng: Source of randomness.

    Returns:
        Outlines of its parts, back to front, `(n, 2)` as `(x, y)`, about 1 in size, y down.
    """
    recipe = RECIPES[rng.integers(len(RECIPES))]
    parts = recipe(rng)
    flip = np.array([rng.choice([-1.0, 1.0]), 1.0])
    angle = rng.normal(0, 0.1)
    return [rotate(part * flip, angle) for part in parts]


def _fruit(rng: np.random.Generator) -> list[np.ndarray]:
    count = int(rng.integers(1, 4))
    centers = np.column_stack([0.55 * np.arange(count), rng.normal(0, 0.06, count)])
    bodies = (
        blobs(rng, count, 0.07, samples=72) * rng.uniform(0.32, 0.45, (count, 1, 1))
        + centers[:, None]
    )
    stem = spline([(0, -0.1), (0.02, -0.4), (rng.normal(0.06, 0.05), -0.56)])
    return [band(stem, 0.03), *bodies]


def _creature(rng: np.random.Generator) -> list[np.ndarray]:
    length, height = rng.uniform(0.38, 0.52), rng.uniform(0.16, 0.28)
    body = blobs(rng, 1, 0.05, samples=72)[0] * (length, height)
    hips = np.array([-0.8, -0.45, 0.45, 0.75])[:: rng.integers(1, 3)] * length
    feet = height + rng.uniform(0.2, 0.5)
    legs = [_limb(rng, (hip, 0.3 * height), (hip, feet), thick=0.06, thin=0.035) for hip in hips]
    head = np.array([length + rng.uniform(0.05, 0.25), -height - rng.uniform(0.05, 0.35)])
    neck = _limb(rng, (0.7 * length, -0.2 * height), head, thick=0.13, thin=0.08)
    skull = blobs(rng, 1, 0.06, samples=48)[0] * (0.17, 0.13) + head
    tail_end = (-length - rng.uniform(0.1, 0.35), rng.uniform(-0.35, 0.2))
    return [
        *legs,
        _limb(rng, (-0.8 * length, -0.05), tail_end, thick=0.05, thin=0.02),
        body,
        neck,
        skull,
    ]


def _vase(rng: np.random.Generator) -> list[np.ndarray]:
    knots = np.column_stack([rng.uniform(0.12, 0.4, 5), np.linspace(-0.5, 0.5, 5)])
    knots[-1, 0] = max(knots[-1, 0], 0.2)
    widths, heights = spline(knots, samples=14).T
    body = band(np.column_stack([np.zeros_like(heights), heights]), widths)
    rim = ellipse((0, -0.5), (widths[0] + 0.01, 0.05))
    if rng.random() < 0.5:
        return [body, rim]
    ear = widths[len(widths) // 3] + rng.uniform(0.1, 0.2)
    handle = spline([(0.08, -0.35), (ear, -0.3), (ear, 0.0), (0.08, 0.12)])
    return [band(handle, 0.035), body, rim]


def _vehicle(rng: np.random.Generator) -> list[np.ndarray]:
    length, height = rng.uniform(0.5, 0.7), rng.uniform(0.13, 0.22)
    chassis = _box((0, 0), (length, height))
    cabin = _box((rng.uniform(-0.2, 0.2), -1.5 * height), (length * rng.uniform(0.45, 0.8), height))
    wheels = [
        ellipse((x * length, height), (0.13, 0.13), samples=48)
        for x in (-rng.uniform(0.5, 0.7), rng.uniform(0.5, 0.7))
    ]
    return [cabin, chassis, *wheels]


def _limb(
    rng: np.random.Generator,
    start: tuple[float, float],
    end: ArrayLike,
    *,
    thick: float,
    thin: float,
) -> np.ndarray:
    middle = (np.array(start) + np.array(end)) / 2 + rng.normal(0, 0.04, 2)
    line = spline(np.array([start, middle, end]))
    return band(line, np.linspace(thick, thin, len(line)))


def _box(center: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Return a rectangle with rounded corners (a superellipse of order 5)."""
    circle = ellipse((0, 0), (1, 1), samples=48)
    return np.sign(circle) * np.abs(circle) ** 0.4 * radii + center


RECIPES = (_fruit, _creature, _vase, _vehicle)


@dataclass(frozen=True)
class Surfaces:
    """Appearance of n surfaces; arrays are float32 `(n,)` or `(n, 2)`.

    Attributes:
        level: Mean gray level.
        slope: Change of gray level over the shorter side of the image, `(x, y)`.
        grain: Contrast of two fields of 1/f noise; other mixtures are other textures.
        stripes: Contrast of a sine grating; 0 for most.
        wave: Its angular frequency per shorter side of the image, `(x, y)`.
    """

    level: np.ndarray
    slope: np.ndarray
    grain: np.ndarray
    stripes: np.ndarray
    wave: np.ndarray


def draw_surfaces(
    rng: np.random.Generator, levels: np.ndarray, *, contrast: float, striped: float
) -> Surfaces:
    """Draw surfaces.

    Args:
        rng: Source of randomness.
        levels: Mean gray levels, `(n,)`.
        contrast: Largest contrast of the textures in gray levels.
        striped: Share of striped surfaces.
    """
    count = len(levels)
    strength = contrast * rng.beta(1.2, 2.5, (count, 1))
    mixture = rng.uniform(0, 2 * np.pi, (count, 1))
    grain = strength * np.hstack([np.cos(mixture), np.sin(mixture)])
    has_stripes = rng.random(count) < striped
    frequency = 2 * np.pi * np.exp(rng.uniform(np.log(5), np.log(28), (count, 1)))
    direction = rng.uniform(0, np.pi, (count, 1))
    wave = frequency * np.hstack([np.cos(direction), np.sin(direction)])
    stripes = has_stripes * rng.uniform(0.15, 0.7, count) * contrast
    fields = (levels, rng.normal(0, 25, (count, 2)), grain, stripes, wave)
    return Surfaces(*(field.astype(np.float32) for field in fields))


def paint(
    labels: np.ndarray,
    surfaces: Surfaces,
    noise: tuple[np.ndarray, np.ndarray],
    *,
    grid: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Paint each pixel with the surface it belongs to.

    Args:
        labels: Uint8, `(rows, columns)`: indices of surfaces.
        surfaces: What they look like.
        noise: Two fields of 1/f noise, float32 `(rows, columns)`.
        grid: Coordinates `(x, y)` of the pixels, float32, `(columns,)` and `(rows, 1)`.

    Returns:
        Gray levels, float32 `(rows, columns)`, unclipped.
    """
    x, y = grid
    picture = surfaces.level[labels]
    picture += surfaces.slope[:, 0][labels] * x + surfaces.slope[:, 1][labels] * y
    picture += surfaces.grain[:, 0][labels] * noise[0] + surfaces.grain[:, 1][labels] * noise[1]
    if surfaces.stripes.any():
        phase = surfaces.wave[:, 0][labels] * x + surfaces.wave[:, 1][labels] * y
        picture += surfaces.stripes[labels] * np.sin(phase + 0.5 * noise[0])
    return picture


def relief(
    coverage: np.ndarray, grid: Grid, *, radius: float, light: tuple[float, float]
) -> np.ndarray:
    """Return the shading of a rounded body: bright where its outline faces the light.

    Args:
        coverage: Float32, `(rows, columns)`, 0 to 1.
        grid: The grid of the coverage.
        radius: Radius of the rounding in coordinate units.
        light: Direction toward the light, `(x, y)`, of length 1.

    Returns:
        Float32 `(rows, columns)`, about -1 to 1 inside the body.
    """
    height = grid.blur(coverage, radius)
    gradient = light[0] * cv2.Sobel(height, cv2.CV_32F, 1, 0)
    gradient += light[1] * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    return gradient * np.float32(-0.3 * radius * grid.unit)

"""What the simulators share: call, sample, seeded generators, curves, drawing, grids, noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import ArrayLike

from kerasunet.data import simulation

MIN_SIDE, MAX_SIDE, MAX_ASPECT = 32, 2048, 4
Curves = Sequence[np.ndarray]
SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
FINE_SIDE = 512  # masks smaller than this are drawn finer and averaged
COARSE = 4  # wide blurs run on a grid coarser by this factor


@dataclass(frozen=True)
class SimulatedSample:
    """One simulated image with its exact mask.

    Attributes:
        image: Uint8, `(height, width)`, gray levels 0 to 255.
        mask: Bool, `(height, width)`.
        label: Class of the image, such as `"benign"`; empty where there are no classes.
        spacing: Millimeters per pixel, `(row, column)`, or None where they have no meaning.
        parts: Masks of what can be chosen as an object, by the names in
            `kerasunet.data.simulation.PARTS`; none where there is one object only.
    """

    image: np.ndarray
    mask: np.ndarray
    label: str
    spacing: tuple[float, float] | None
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)


def simulate(
    name: str, seed: int, index: int, *, size: int | tuple[int, int] = 128
) -> SimulatedSample:
    """Simulate one image with its mask.

    Args:
        name: A key of `kerasunet.data.simulation.SIMULATORS`.
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels, 32 to 2048. The same scene appears
            at every size of one aspect ratio.

    Returns:
        Image, mask, label and pixel spacing. Equal arguments give equal bytes wherever the same
        versions of NumPy, SciPy and OpenCV run on the same kind of CPU; elsewhere rounding
        may change a gray level by one.

    Raises:
        ValueError: The name is unknown, the size out of range, or the seed or index negative.
    """
    known = simulation.SIMULATORS
    if name not in known:
        raise ValueError(f"{name!r}: no such simulator; choose from {', '.join(known)}")
    return getattr(simulation, known[name])(seed, index, size)


def as_shape(size: int | tuple[int, int]) -> tuple[int, int]:
    """Check an image size.

    Args:
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        `(height, width)`.

    Raises:
        ValueError: A side is not 32 to 2048, or the image is longer than 4:1.
    """
    sides = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) for side in sides):
        raise ValueError(f"size must be one integer or (height, width), not {size!r}")
    height, width = (int(side) for side in sides)
    if not MIN_SIDE <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ValueError(f"size must be {MIN_SIDE} to {MAX_SIDE} pixels per side, not {size!r}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(f"size must be at most {MAX_ASPECT} times as long as wide, not {size!r}")
    return height, width


def generators(seed: int, index: int, simulator: int, *, count: int) -> list[np.random.Generator]:
    """Make independent generators, one for each part of a picture.

    A part whose number of draws depends on the image size (noise) cannot then disturb another
    whose draws do not (anatomy): the same picture appears at every size.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the picture in the data set, 0 or more.
        simulator: A constant that differs between simulators.
        count: How many generators.

    Raises:
        ValueError: The seed or the index is negative.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be 0 or more, not {seed} and {index}")
    children = np.random.SeedSequence([seed, index, simulator]).spawn(count)
    return [np.random.Generator(np.random.PCG64(child)) for child in children]


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Round float gray levels to uint8 and clip them to 0 to 255."""
    return cv2.convertScaleAbs(np.maximum(picture, 0))


def split_like(joined: np.ndarray, curves: Curves) -> list[np.ndarray]:
    """Undo `np.concatenate(curves)` for an array of the same length."""
    ends = list(accumulate(len(curve) for curve in curves))
    return [joined[end - len(curve) : end] for curve, end in zip(curves, ends, strict=True)]


def spline(points: ArrayLike, samples: int = 6) -> np.ndarray:
    """Draw a smooth open curve through the points (Catmull-Rom).

    Args:
        points: Float, `(n, 2)`, at least two points.
        samples: Points returned for each given one.

    Returns:
        `((n - 1) * samples + 1, 2)`, ends included.
    """
    points = np.asarray(points, float)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    windows = np.stack([padded[k : len(points) - 1 + k] for k in range(4)])
    curve = np.einsum("sk,knd->nsd", _catmull_rom(samples), windows).reshape(-1, 2)
    return np.concatenate([curve, points[-1:]])


def band(centerline: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """Return the outline of a strip about a curve: `(2 n, 2)` for a centerline of n points."""
    tangent = np.gradient(centerline, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    offset = normal * np.broadcast_to(half_width, len(centerline))[:, None]
    return np.concatenate([centerline + offset, (centerline - offset)[::-1]])


def both_sides(outlines: Curves) -> list[np.ndarray]:
    """Return the outlines of one side and their mirror images."""
    return [*outlines, *(outline * (-1, 1) for outline in outlines)]


def ellipse(
    center: tuple[float, float],
    radii: tuple[float, float],
    angle: float = 0.0,
    *,
    samples: int = 32,
) -> np.ndarray:
    """Return the outline of an ellipse, turned by `angle` in radians: `(samples, 2)`."""
    turn = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    points = np.stack([radii[0] * np.cos(turn), radii[1] * np.sin(turn)], axis=1)
    return rotate(points, angle) + center


def blobs(
    rng: np.random.Generator, count: int, roughness: float, *, samples: int = 32
) -> np.ndarray:
    """Draw smooth random outlines about the origin with a mean radius of 1.

    Args:
        rng: Source of randomness.
        count: How many.
        roughness: Standard deviation of the second harmonic of the radius; higher ones fall off.
        samples: Points of an outline.

    Returns:
        `(count, samples, 2)`.
    """
    turn = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    orders = np.arange(2, 7)[:, None]
    waves = np.concatenate([np.cos(orders * turn), np.sin(orders * turn)])
    falloff = np.tile(2 / orders[:, 0], 2) ** 1.5
    radii = 1 + (rng.normal(0, roughness, (count, 10)) * falloff) @ waves
    return np.maximum(radii, 0.2)[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def area(outline: np.ndarray) -> float:
    """Return the area that an outline, `(n, 2)`, encloses."""
    x, y = outline.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Turn points about the origin by `angle` in radians."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return points, `(n, 2)`, by their distance and direction from the origin."""
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def bump(
    x: np.ndarray, y: np.ndarray, *, center: tuple[float, float], reach: tuple[float, float]
) -> np.ndarray:
    """Return a smooth hill, 1 at its center."""
    return np.exp(-(((x - center[0]) / reach[0]) ** 2) - ((y - center[1]) / reach[1]) ** 2)


@lru_cache(maxsize=8)
def _catmull_rom(samples: int) -> np.ndarray:
    t = np.arange(samples)[:, None] / samples
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    return t ** np.arange(4) @ basis


def resample(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize each axis by itself: average where it shrinks, interpolate where it grows."""
    rows, columns = image.shape
    rows_first = cv2.resize(image, (columns, shape[0]), interpolation=_filter(rows, shape[0]))
    return cv2.resize(rows_first, shape[::-1], interpolation=_filter(columns, shape[1]))


def fill(canvas: np.ndarray, outlines: Curves, value: float, *, smooth: bool = True) -> None:
    """Fill polygons one by one, so that they may overlap.

    Args:
        canvas: Uint8, `(rows, columns)`, changed in place.
        outlines: Each float, `(n, 2)`, as `(x, y)` in pixels; (0, 0) is the center of the first
            pixel.
        value: What the covered pixels become.
        smooth: Whether edge pixels are blended by coverage.
    """
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    for outline in _fixed_point(outlines):
        cv2.fillPoly(canvas, [outline], value, line, SHIFT)


def inside(shape: tuple[int, int], outlines: Curves) -> np.ndarray:
    """Return the pixels that lie at least half inside the outlines.

    OpenCV also fills the pixels that a border touches; a finer canvas keeps that from enlarging
    small masks.

    Args:
        shape: `(rows, columns)` of the mask.
        outlines: As for `fill`.

    Returns:
        Bool, of the shape.
    """
    times = max(1, FINE_SIDE // max(shape))
    canvas = np.zeros((times * shape[0], times * shape[1]), np.uint8)
    fill(canvas, [times * (outline + 0.5) - 0.5 for outline in outlines], 255, smooth=False)
    return cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA) > 127


def stroke(canvas: np.ndarray, curves: Curves, *, value: float, width: float) -> None:
    """Draw open curves, each `(n, 2)` as `(x, y)`, in place; the width is at least a pixel."""
    thickness = max(1, round(width))
    cv2.polylines(canvas, _fixed_point(curves), False, value, thickness, cv2.LINE_AA, SHIFT)


def _fixed_point(curves: Curves) -> list[np.ndarray]:
    joined = np.rint(np.concatenate(curves) * (1 << SHIFT)).astype(np.int32)
    return split_like(joined, curves)


def _filter(source: int, target: int) -> int:
    return cv2.INTER_AREA if target < source else cv2.INTER_CUBIC


@dataclass(frozen=True)
class Grid:
    """A pixel grid.

    Attributes:
        shape: `(height, width)` in pixels.
    """

    shape: tuple[int, int]

    @property
    def unit(self) -> int:
        """Pixels in one unit of coordinates."""
        return min(self.shape)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of pixel centers: x `(1, columns)` and y `(rows, 1)`, float32."""
        height, width = self.shape
        x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / self.unit
        y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / self.unit
        return x[None], y[:, None]

    def transform(self, points: np.ndarray) -> np.ndarray:
        """Move points before they are drawn; here, leave them where they are."""
        return points

    def locate(self, curves: Curves) -> list[np.ndarray]:
        """Return the pixel coordinates of curves."""
        center = (np.array(self.shape[::-1]) - 1) / 2
        return split_like(self.transform(np.concatenate(curves)) * self.unit + center, curves)

    def canvas(self) -> np.ndarray:
        """Return an empty uint8 canvas."""
        return np.zeros(self.shape, np.uint8)

    def mask(self, outlines: Curves) -> np.ndarray:
        """Return the pixels inside any of the outlines: bool."""
        return inside(self.shape, self.locate(outlines))

    def cover(self, outlines: Curves) -> np.ndarray:
        """Return the coverage of each pixel by the outlines: float32, 0 to 1."""
        canvas = self.canvas()
        fill(canvas, self.locate(outlines), 255)
        return canvas * np.float32(1 / 255)

    def label(self, outlines: Curves) -> np.ndarray:
        """Number each pixel by the last outline that covers it, from 1 up; 0 for none: uint8."""
        canvas = self.canvas()
        for number, outline in enumerate(self.locate(outlines), 1):
            fill(canvas, [outline], number, smooth=False)
        return canvas

    def stroke(self, canvas: np.ndarray, curves: Curves, *, value: float, width: float) -> None:
        """Draw curves; the value is a share of 255, the width in coordinate units."""
        stroke(canvas, self.locate(curves), value=255 * value, width=width * self.unit)

    def blur(self, image: np.ndarray, deviation: float) -> np.ndarray:
        """Blur by a Gaussian, coarser if it is wide; the deviation is in coordinate units."""
        pixels = deviation * self.unit
        if pixels < COARSE:
            return cv2.GaussianBlur(image, (0, 0), pixels)
        coarse = cv2.resize(image, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
        coarse = cv2.GaussianBlur(coarse, (0, 0), pixels / COARSE)
        return cv2.resize(coarse, self.shape[::-1])


def enlarged(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the smallest multiple of a shape whose shorter side has at least `side` pixels."""
    times = -(-side // min(shape))
    return times * shape[0], times * shape[1]


def lattice_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[int, int],
    *,
    octaves: int = 1,
    gain: float = 1.0,
) -> np.ndarray:
    """Sum lattices of normal noise, each twice as fine as the one before ("value noise").

    In two dimensions a gain of 1 gives a 1/f amplitude spectrum: equal power in each octave.

    Args:
        rng: A child of it draws, so what it draws next does not depend on the shape.
        shape: `(rows, columns)` of the field.
        cells: `(rows, columns)` of the coarsest lattice; unequal cells make streaks.
        octaves: Number of lattices; those finer than the shape are left out.
        gain: Standard deviation of a lattice relative to the one before it.

    Returns:
        Float32 field of the shape, mean about 0, standard deviation at most about 1.
    """
    rng = rng.spawn(1)[0]
    amplitude = 1 / np.sqrt(sum(gain ** (2 * octave) for octave in range(octaves)))
    field = np.zeros(0, np.float32)
    for octave in range(octaves):
        grid = (cells[0] << octave, cells[1] << octave)
        if octave and (grid[0] > shape[0] or grid[1] > shape[1]):
            break
        layer = rng.standard_normal(grid, dtype=np.float32) * np.float32(amplitude)
        field = layer + cv2.resize(field, grid[::-1]) if octave else layer
        amplitude *= gain
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)


def smooth_curve(rng: np.random.Generator, length: int, knots: int) -> np.ndarray:
    """Interpolate normal random knots: float32 `(length,)`, standard deviation about 1."""
    values = rng.standard_normal((1, knots), dtype=np.float32)
    return cv2.resize(values, (length, 1), interpolation=cv2.INTER_CUBIC)[0]


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise smoothly (cubic) from 0 at `low` to 1 at `high`."""
    ramp = np.clip((values - low) / (high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)

"""Curves and outlines as arrays of points, `(n, 2)` as `(x, y)`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

Curves = Sequence[np.ndarray]


def split_like(joined: np.ndarray, curves: Curves) -> list[np.ndarray]:
    """Undoes `np.concatenate(curves)` for an array of the same length."""
    ends = list(accumulate(len(curve) for curve in curves))
    return [joined[end - len(curve) : end] for curve, end in zip(curves, ends, strict=True)]


def spline(points: np.ndarray, samples: int = 6) -> np.ndarray:
    """Draws a smooth open curve through the points (Catmull-Rom).

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


def band(centreline: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """Outline of a strip about a curve: `(2 n, 2)` for a centreline of n points."""
    tangent = np.gradient(centreline, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    offset = normal * np.broadcast_to(half_width, len(centreline))[:, None]
    return np.concatenate([centreline + offset, (centreline - offset)[::-1]])


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, samples: int = 32
) -> np.ndarray:
    """Outline of an ellipse, turned by `angle` in radians: `(samples, 2)`."""
    turn = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    points = np.stack([radii[0] * np.cos(turn), radii[1] * np.sin(turn)], axis=1)
    return rotate(points, angle) + centre


def blobs(rng: np.random.Generator, count: int, roughness: float, samples: int = 32) -> np.ndarray:
    """Draws smooth random outlines about the origin with a mean radius of 1.

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


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Turns points about the origin by `angle` in radians."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


@lru_cache(maxsize=8)
def _catmull_rom(samples: int) -> np.ndarray:
    t = np.arange(samples)[:, None] / samples
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    return t ** np.arange(4) @ basis

"""Smooth random fields and curves that look the same at every resolution.

Noise is drawn on coarse lattices and interpolated, never per pixel: a field sampled more finely is
the same field with more detail.
"""

from __future__ import annotations

import cv2
import numpy as np


def lattice_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[int, int],
    octaves: int = 1,
    gain: float = 1.0,
) -> np.ndarray:
    """Sums lattices of normal noise, each twice as fine as the one before ("value noise").

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
    field = None
    for octave in range(octaves):
        grid = (cells[0] << octave, cells[1] << octave)
        if field is not None and (grid[0] > shape[0] or grid[1] > shape[1]):
            break
        layer = rng.standard_normal(grid, dtype=np.float32) * np.float32(amplitude)
        field = layer if field is None else layer + cv2.resize(field, grid[::-1])
        amplitude *= gain
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)


def smooth_curve(rng: np.random.Generator, length: int, knots: int) -> np.ndarray:
    """Interpolates normal random knots: float32 `(length,)`, standard deviation about 1."""
    values = rng.standard_normal((1, knots), dtype=np.float32)
    return cv2.resize(values, (length, 1), interpolation=cv2.INTER_CUBIC)[0]


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rises smoothly (cubic) from 0 at `low` to 1 at `high`."""
    ramp = np.clip((values - low) / (high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)

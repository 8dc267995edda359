"""Materials: brightness, shading, grain and stripes of many surfaces at once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.simulation.grid import Grid


@dataclass(frozen=True)
class Surfaces:
    """Appearance of n surfaces; arrays are float32 `(n,)` or `(n, 2)`.

    Attributes:
        level: Mean grey level.
        slope: Change of grey level over the shorter side of the image, `(x, y)`.
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
    rng: np.random.Generator, levels: np.ndarray, contrast: float, striped: float
) -> Surfaces:
    """Draws surfaces.

    Args:
        rng: Source of randomness.
        levels: Mean grey levels, `(n,)`.
        contrast: Largest contrast of the textures in grey levels.
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
    grid: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Paints each pixel with the surface it belongs to.

    Args:
        labels: Uint8, `(rows, columns)`: indices of surfaces.
        surfaces: What they look like.
        noise: Two fields of 1/f noise, float32 `(rows, columns)`.
        grid: Coordinates `(x, y)` of the pixels, float32, `(columns,)` and `(rows, 1)`.

    Returns:
        Grey levels, float32 `(rows, columns)`, unclipped.
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
    coverage: np.ndarray, grid: Grid, radius: float, light: tuple[float, float]
) -> np.ndarray:
    """Shading of a rounded body: bright where its outline faces the light.

    Args:
        coverage: Float32, `(rows, columns)`, 0 to 1.
        grid: The grid of the coverage.
        radius: Radius of the rounding in coordinate units.
        light: Direction towards the light, `(x, y)`, of length 1.

    Returns:
        Float32 `(rows, columns)`, about -1 to 1 inside the body.
    """
    height = grid.blur(coverage, radius)
    gradient = light[0] * cv2.Sobel(height, cv2.CV_32F, 1, 0)
    gradient += light[1] * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    return gradient * np.float32(-0.3 * radius * grid.unit)

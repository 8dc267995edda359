"""What every simulator returns, and how it turns (seed, index, size) into randomness and pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MIN_SIDE, MAX_SIDE, MAX_ASPECT = 32, 2048, 4


@dataclass(frozen=True)
class SimulatedSample:
    """One simulated image with its exact mask.

    Attributes:
        image: Uint8, `(height, width)`, grey levels 0 to 255.
        mask: Bool, `(height, width)`.
        label: Class of the image, such as `"benign"`; empty where there are no classes.
        spacing: Millimetres per pixel, `(row, column)`, or None where they have no meaning.
    """

    image: np.ndarray
    mask: np.ndarray
    label: str
    spacing: tuple[float, float] | None


def as_shape(size: int | tuple[int, int]) -> tuple[int, int]:
    """Checks an image size.

    Args:
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        `(height, width)`.

    Raises:
        ValueError: A side is not 32 to 2048, or the image is longer than 4:1.
    """
    sides = (size, size) if np.isscalar(size) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) for side in sides):
        raise ValueError(f"size is one integer or (height, width), not {size!r}")
    height, width = map(int, sides)
    if not MIN_SIDE <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ValueError(f"size is {MIN_SIDE} to {MAX_SIDE} pixels a side, not {size!r}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(f"size is at most {MAX_ASPECT} times as long as wide, not {size!r}")
    return height, width


def generators(seed: int, index: int, simulator: int, count: int) -> list[np.random.Generator]:
    """Makes independent generators, one for each part of a picture.

    A part whose number of draws depends on the image size (noise) cannot then disturb another
    whose draws do not (anatomy): the same picture appears at every size.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the picture in the data set, 0 or more.
        simulator: Constant that tells the simulators apart.
        count: How many generators.

    Raises:
        ValueError: The seed or the index is negative.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index are 0 or more, not {seed} and {index}")
    children = np.random.SeedSequence([seed, index, simulator]).spawn(count)
    return [np.random.Generator(np.random.PCG64(child)) for child in children]


def to_grey(picture: np.ndarray) -> np.ndarray:
    """Rounds float grey levels to uint8 and clips them to 0 to 255."""
    return cv2.convertScaleAbs(np.maximum(picture, 0))

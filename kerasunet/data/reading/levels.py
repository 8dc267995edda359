"""Pixel values of any type to grey levels 0 to 255, and to the values of a mask."""

from __future__ import annotations

import cv2
import numpy as np

from kerasunet.data.reading.source import Unusable

_OUTER_PERCENTILES = (0.1, 99.9)


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """Maps pixel values to grey levels: 8 bits as they are, all else by the image's own range.

    Args:
        pixels: `(height, width)` or `(height, width, 3)`, bool, integer or float.

    Returns:
        Float32 of the same shape, 0 to 255.

    Raises:
        Unusable: There are NaN or infinite values.
    """
    if pixels.dtype == bool:
        return pixels * np.float32(255)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32)
    return stretch(pixels, *own_range(pixels))


def own_range(pixels: np.ndarray) -> tuple[float, float]:
    """Returns the values that become black and white in an image without a stated window.

    They are the 0.1th and 99.9th percentile: the few dead pixels, burnt-in markers and pieces of
    metal of a radiograph would otherwise squeeze the anatomy into a fraction of the range. Where
    less than that share of the pixels differs from the rest, they are the smallest and largest.
    """
    low, high = np.percentile(pixels, _OUTER_PERCENTILES, method="nearest").tolist()
    return (low, high) if low < high else (pixels.min().item(), pixels.max().item())


def stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps `low` and what is below to 0, `high` and what is above to 255, linearly between them.

    Where both are one value, only what is above it is white: a constant image becomes black.
    """
    _check_finite(pixels)
    if not low < high:
        return np.where(pixels > low, np.float32(255), np.float32(0))
    scale = 255 / (high - low)
    if not 0 < scale < np.inf:
        raise Unusable("its values span more, or less, than floating point holds; rescale them")
    exact = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    levels = np.clip(pixels.astype(exact), low, high)
    levels -= low
    levels *= scale
    return np.minimum(levels, 255).astype(np.float32, copy=False)  # Products are rounded, too.


def to_mask_values(pixels: np.ndarray) -> np.ndarray:
    """Turns pixel values into unsigned integers; of colours the brightest channel counts.

    Args:
        pixels: `(height, width)` or `(height, width, channels)`; bool counts as 0 and 255.

    Returns:
        Unsigned integers, `(height, width)`.

    Raises:
        Unusable: There are negative or fractional values.
    """
    if pixels.dtype == bool:
        return pixels * np.uint8(255)
    values = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    if values.dtype.kind == "u":
        return values.astype(values.dtype.newbyteorder("="))
    _check_finite(values)
    if values.min() < 0 or (values.dtype.kind == "f" and np.any(values % 1)):
        raise Unusable("a mask holds whole numbers from 0; this one has others; export it again")
    return values.astype(np.min_scalar_type(int(values.max())))


def without_equal_channels(image: np.ndarray) -> np.ndarray:
    """Turns colour whose channels all agree into grey, `(height, width)`."""
    if image.ndim == 2:
        return image
    red, green, blue = np.moveaxis(image, 2, 0)
    agree = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red if agree else image)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Turns an RGB image, float32 `(height, width, 3)`, into luminance; grey passes through."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _check_finite(pixels: np.ndarray) -> None:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Unusable("holds NaN or infinite values; replace them by numbers")

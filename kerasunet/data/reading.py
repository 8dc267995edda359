"""Image files to arrays: float32, 0 to 255, upright; nothing else of the file is kept."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_image(
    path: str | os.PathLike,
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Reads a PNG, JPEG, BMP or TIFF image of 8 or 16 bits.

    Sixteen-bit images are stretched so that their own darkest and brightest pixels become 0 and
    255: medical devices seldom use the full range. EXIF orientation is honoured.

    Args:
        path: The image file.

    Returns:
        The image, float32, `(height, width)` when all channels agree, else
        `(height, width, 3)` in RGB order, 0 to 255; and the pixel spacing in millimetres,
        (row, column), `None` where the file does not tell.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a readable image.
    """
    pixels = _decode(Path(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    image = _to_8_bit_range(pixels)
    if image.ndim == 2:
        return image, None
    if np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2]):
        return np.ascontiguousarray(image[..., 0]), None
    return np.ascontiguousarray(image[..., ::-1]), None


def read_mask_values(path: str | os.PathLike) -> np.ndarray:
    """Reads the values of a mask file as they are.

    Args:
        path: The mask file; of a colour image the brightest channel counts.

    Returns:
        Unsigned integers, `(height, width)`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a readable image.
    """
    values = _decode(Path(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    return values if values.ndim == 2 else values.max(axis=2)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Turns an RGB image, float32 `(height, width, 3)`, into luminance; grey passes through."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _decode(path: Path, flags: int) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    content = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(content, flags) if content.size else None
    if pixels is None:
        raise ValueError(
            f"{path}: not a readable image; supported are {', '.join(IMAGE_SUFFIXES)}"
        )
    return pixels


def _to_8_bit_range(pixels: np.ndarray) -> np.ndarray:
    image = pixels.astype(np.float32)
    if pixels.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return (image - low) * (255.0 / (high - low)) if high > low else np.zeros_like(image)

"""Drawing with sub-pixel precision, and resampling without aliasing."""

from __future__ import annotations

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates


def resample(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes each axis for itself: averages where it shrinks, interpolates where it grows."""
    rows, columns = image.shape
    rows_first = cv2.resize(image, (columns, shape[0]), interpolation=_filter(rows, shape[0]))
    return cv2.resize(rows_first, shape[::-1], interpolation=_filter(columns, shape[1]))


def fill(canvas: np.ndarray, points: np.ndarray, value: float, smooth: bool = True) -> None:
    """Fills a polygon.

    Args:
        canvas: Uint8 or float32, `(rows, columns)`, changed in place.
        points: Float, `(n, 2)`, as `(x, y)` in pixels; (0, 0) is the centre of the first pixel.
        value: What the covered pixels become.
        smooth: Whether edge pixels are blended by coverage (uint8 canvases only).
    """
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(canvas, [_fixed_point(points)], value, line, SHIFT)


def stroke(canvas: np.ndarray, curves: list[np.ndarray], value: float, thickness: float) -> None:
    """Draws smooth open curves, each `(n, 2)` as `(x, y)`, on a uint8 canvas in place."""
    width = max(1, round(thickness))
    fixed = [_fixed_point(curve) for curve in curves]
    cv2.polylines(canvas, fixed, False, value, width, cv2.LINE_AA, SHIFT)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points) * (1 << SHIFT)).astype(np.int32)


def _filter(source: int, target: int) -> int:
    return cv2.INTER_AREA if target < source else cv2.INTER_CUBIC

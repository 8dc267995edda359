"""Drawing with sub-pixel precision, and resampling without aliasing."""

from __future__ import annotations

import cv2
import numpy as np

from kerasunet.data.simulation.shapes import Curves, split_like

SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
FINE_SIDE = 512  # masks smaller than this are drawn finer and averaged


def resample(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes each axis for itself: averages where it shrinks, interpolates where it grows."""
    rows, columns = image.shape
    rows_first = cv2.resize(image, (columns, shape[0]), interpolation=_filter(rows, shape[0]))
    return cv2.resize(rows_first, shape[::-1], interpolation=_filter(columns, shape[1]))


def fill(canvas: np.ndarray, outlines: Curves, value: float, smooth: bool = True) -> None:
    """Fills polygons, each for itself, so that they may overlap.

    Args:
        canvas: Uint8, `(rows, columns)`, changed in place.
        outlines: Each float, `(n, 2)`, as `(x, y)` in pixels; (0, 0) is the centre of the first
            pixel.
        value: What the covered pixels become.
        smooth: Whether edge pixels are blended by coverage.
    """
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    for outline in _fixed_point(outlines):
        cv2.fillPoly(canvas, [outline], value, line, SHIFT)


def inside(shape: tuple[int, int], outlines: Curves) -> np.ndarray:
    """Pixels that lie at least half inside the outlines.

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


def stroke(canvas: np.ndarray, curves: Curves, value: float, width: float) -> None:
    """Draws open curves, each `(n, 2)` as `(x, y)`, in place; the width is at least a pixel."""
    thickness = max(1, round(width))
    cv2.polylines(canvas, _fixed_point(curves), False, value, thickness, cv2.LINE_AA, SHIFT)


def _fixed_point(curves: Curves) -> list[np.ndarray]:
    joined = np.rint(np.concatenate(curves) * (1 << SHIFT)).astype(np.int32)
    return split_like(joined, curves)


def _filter(source: int, target: int) -> int:
    return cv2.INTER_AREA if target < source else cv2.INTER_CUBIC

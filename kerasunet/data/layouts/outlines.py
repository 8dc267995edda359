"""Shapes to bool masks: a pixel is set if its centre lies inside.

Coordinates are pixels from the top left corner of the image, (x, y), so that the first pixel
reaches from 0 to 1 and its centre is at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What drawing from JSON of a wrong structure raises."""

_FARTHEST = 10_000_000


def polygon_mask(points: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """Fills a polygon by the even-odd rule.

    Args:
        points: Corners, (corners, 2), at least three, in order; the last is joined to the first.
        shape: Height and width in pixels.

    Returns:
        Bool, `(height, width)`. Polygons with a common edge neither overlap nor leave a gap.

    Raises:
        ValueError: These are not three or more points, or not finite.
    """
    corners = np.asarray(points, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ValueError(f"a polygon has at least three points (x, y), not {len(points)}")
    if not (np.abs(corners) <= _FARTHEST).all():
        raise ValueError(f"the points of a polygon are finite numbers, at most {_FARTHEST:,}")
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    for ends in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        # Always from the top, so that both polygons at an edge round its crossings alike.
        (x0, y0), (x1, y1) = sorted(ends, key=lambda end: end[1])
        rows = np.arange(_first_centre(y0, shape[0]), _first_centre(y1, shape[0]))
        if len(rows):
            columns = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            crossings[rows, np.clip(np.ceil(columns - 0.5), 0, shape[1]).astype(int)] += 1
    return np.cumsum(crossings[:, :-1], axis=1) % 2 == 1


def _first_centre(y: float, height: int) -> int:
    """The first row whose centre is at `y` or below."""
    return min(max(math.ceil(y - 0.5), 0), height)


def circle_mask(centre: Sequence[float], radius: float, shape: tuple[int, int]) -> np.ndarray:
    """Fills a circle; bool, `(height, width)`."""
    x = np.arange(shape[1]) + 0.5 - centre[0]
    y = np.arange(shape[0]) + 0.5 - centre[1]
    return x[None, :] ** 2 + y[:, None] ** 2 <= radius**2


def run_length_mask(counts: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Expands run lengths as COCO has them: column by column, background first.

    Args:
        counts: Lengths of the runs, in pixels.
        shape: Height and width in pixels.

    Returns:
        Bool, `(height, width)`.

    Raises:
        ValueError: The runs do not fill the image exactly.
    """
    if any(count < 0 for count in counts) or sum(counts) != shape[0] * shape[1]:
        raise ValueError(
            f"the run lengths cover {sum(counts)} pixels, the image has {shape[0] * shape[1]}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape[::-1]).T


def decode_run_lengths(text: str) -> list[int]:
    """Decodes COCO's compressed run lengths.

    Each number is a signed chain of 5-bit digits, lowest first, in characters from `0` on; from
    the third run on, it is the difference to the run before the last.

    Args:
        text: The compressed `counts`.

    Returns:
        Lengths of the runs, in pixels.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts

"""Large images in overlapping tiles, blended; memory grows with the image alone, not the network.

Each tile is standardised by itself, as every image is. The weights of a tile fall linearly towards
its edges and sum to one in every pixel, so no second array is needed to divide by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    Attributes:
        side: Height and width of a tile in pixels.
        overlap: Pixels that neighbouring tiles share at least, less than `side`.
    """

    side: int
    overlap: int

    def __post_init__(self):
        if not 0 <= self.overlap < self.side:
            raise ValueError(
                f"overlap must be 0 to {self.side - 1} with tiles of {self.side}, "
                f"not {self.overlap}"
            )

    def starts(self, length: int) -> list[int]:
        """Returns where tiles begin along an axis: evenly spread, the last ends at the border."""
        if length <= self.side:
            return [0]
        count = -(-(length - self.overlap) // (self.side - self.overlap))
        return np.linspace(0, length - self.side, count).round().astype(int).tolist()


def predict_tiles(
    image: np.ndarray, tiling: Tiling, predict: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Predicts an image tile by tile.

    Args:
        image: `(height, width)` or `(height, width, 3)`, 0 to 255. One that is smaller than a tile
            is mirrored at its lower and right border.
        tiling: Tiles and their overlap.
        predict: Maps one tile, `(side, side)` or `(side, side, 3)`, to probabilities,
            `(side, side)`.

    Returns:
        Float32, `(height, width)`, 0 to 1.
    """
    height, width = image.shape[:2]
    image = _filled_up(image, tiling.side)
    rows, columns = (_ramps(length, tiling) for length in image.shape[:2])
    probability = np.zeros(image.shape[:2], np.float32)
    for top, row_weights in rows.items():
        for left, column_weights in columns.items():
            area = np.s_[top : top + tiling.side, left : left + tiling.side]
            weights = row_weights[:, None] * column_weights
            probability[area] += weights * predict(image[area])
    return np.clip(probability, 0, 1, out=probability)[:height, :width]


def _filled_up(image: np.ndarray, side: int) -> np.ndarray:
    below, right = (max(0, side - length) for length in image.shape[:2])
    if not below and not right:
        return image
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT)


def _ramps(length: int, tiling: Tiling) -> dict[int, np.ndarray]:
    """By start of a tile along an axis, its weights, `(side,)`; those of a pixel sum to one."""
    ends = np.minimum(np.arange(tiling.side) + 1, np.arange(tiling.side, 0, -1))
    ramp = np.minimum(ends, tiling.overlap + 1).astype(np.float32)
    starts = tiling.starts(length)
    total = np.zeros(length, np.float32)
    for start in starts:
        total[start : start + tiling.side] += ramp
    return {start: ramp / total[start : start + tiling.side] for start in starts}

"""Large images in overlapping tiles, blended; memory grows with the image alone, not the network.

Each tile is standardised by itself, as every image is. The weights of a tile fall linearly towards
its edges and sum to one in every pixel, so no second array is needed to divide by.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from kerasunet import models
from kerasunet.data.augmentation import with_flip
from kerasunet.data.decoding import resize_image
from kerasunet.data.readers import read_image
from kerasunet.inference.engines import open_engine
from kerasunet.inference.engines.opening import chosen_engine


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


@dataclass(frozen=True)
class Segmentation:
    """What a model makes of one image.

    Attributes:
        image: The image, float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        probability: Foreground probability, float32, `(height, width)`, 0 to 1.
        mask: Where the probability reaches the threshold, bool, `(height, width)`.
        spacing: Millimetres per pixel, (row, column), or `None` where unknown.
    """

    image: np.ndarray
    probability: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float] | None

    @property
    def area_pixels(self) -> int:
        """Number of foreground pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def area_mm2(self) -> float | None:
        """Foreground area in square millimetres, `None` where the spacing is unknown."""
        if self.spacing is None:
            return None
        return self.area_pixels * self.spacing[0] * self.spacing[1]


class Segmenter:
    """Segments images of any size with a saved model.

    An image is stretched to the size that the model was trained at. With `tile` it is left as it
    is, and cut instead: for images much larger than that size whose objects are as large in pixels
    as they were in training.

    Args:
        model: Name of a registered model or path of a `.keras` file.
        threshold: Probability from which a pixel counts as foreground; `None` takes the card's.
        engine: `"auto"` for the fastest engine that is installed, or one of
            `kerasunet.inference.engines.ENGINES`.
        tile: Height and width of tiles in pixels, a multiple of `2**depth`; `None` for the whole
            image at once.
        overlap: Pixels that neighbouring tiles share; `None` takes a quarter of a tile.
        mirror: Average with the prediction of the mirror image; it takes twice as long.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The model file cannot be trusted or loaded, there is no such engine or it is not
            installed, or the tiles do not fit the model.
    """

    def __init__(
        self,
        model: str | os.PathLike,
        threshold: float | None = None,
        *,
        engine: str = "auto",
        tile: int | None = None,
        overlap: int | None = None,
        mirror: bool = False,
    ):
        card = models.card(model)
        self.threshold = _threshold(card["threshold"] if threshold is None else threshold)
        self._tiling = _tiling(tile, overlap, 2 ** card["architecture"]["depth"])
        side = tile or card["image_size"]
        self._engine = open_engine(model, (side, side), engine)
        self._network = with_flip(self._engine) if mirror else self._engine

    @property
    def engine(self) -> str:
        """Name of the engine in use."""
        return self._engine.name

    def __call__(self, image: str | os.PathLike | np.ndarray) -> Segmentation:
        """Segments one image; may be called from several threads.

        Args:
            image: Path of an image file, or grey levels 0 to 255, `(height, width)` or RGB
                `(height, width, 3)`, any float dtype or uint8.

        Returns:
            The segmentation at the size of the image.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a readable image, or the array not of such a shape.
        """
        pixels, spacing = pixels_of(image)
        if self._tiling:
            probability = predict_tiles(pixels, self._tiling, self._predict)
        else:
            probability = at_size(self._predict(pixels), pixels.shape[:2])
        return Segmentation(pixels, probability, probability >= self.threshold, spacing)

    def _predict(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities of pixels that are stretched to the engine's size, `(height, width)`."""
        height, width, channels = self._engine.shape
        return self._network(resize_image(pixels, (height, width), channels)[None])[0, ..., 0]


def pixels_of(
    image: str | os.PathLike | np.ndarray,
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Returns the grey levels, float32, and the pixel spacing of an image in a file or in memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a readable image, or the array has another shape than
            `(height, width)` and `(height, width, 3)`, or values that are no finite numbers.
    """
    if not isinstance(image, np.ndarray):
        return read_image(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise ValueError(
            f"an image has the shape (height, width) or (height, width, 3), not {image.shape}"
        )
    if image.dtype.kind not in "buif":
        raise ValueError(f"an image holds numbers, grey levels 0 to 255, not {image.dtype}")
    pixels = image.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError("an image holds NaN or infinite values; replace them by numbers")
    return pixels, None


def check_request(
    card: Mapping[str, Any], engine: str, tile: int | None, overlap: int | None
) -> None:
    """Checks what can be checked of a `Segmenter`'s arguments before anything heavy is imported.

    Raises:
        ValueError: There is no such engine, it is not installed, or the tiles do not fit the model.
    """
    chosen_engine(engine)
    _tiling(tile, overlap, 2 ** card["architecture"]["depth"])


def at_size(probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretches probabilities, `(height, width)`, to another height and width."""
    return cv2.resize(probability, size[::-1], interpolation=cv2.INTER_LINEAR)


def _threshold(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"threshold must be between 0 and 1, not {value}")
    return value


def _tiling(tile: int | None, overlap: int | None, multiple: int) -> Tiling | None:
    if tile is None:
        if overlap is not None:
            raise ValueError(f"overlap {overlap} needs tiles: give tile, their height and width")
        return None
    if tile < 1 or tile % multiple:
        raise ValueError(f"tile must be a multiple of {multiple} for this model, not {tile}")
    return Tiling(tile, tile // 4 if overlap is None else overlap)

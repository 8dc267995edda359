"""Segmenting images of any size with saved models, one or several side by side, whole or in tiles.

Tiles overlap and are blended: memory grows with the image alone, not with the network. Each tile is
standardized by itself, as every image is. The weights of a tile fall linearly toward its edges and
sum to one in every pixel, so no second array is needed to divide by.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet import models as saved_models
from kerasunet.data.augmentation import with_flip
from kerasunet.data.decoding import resize_image
from kerasunet.data.readers import gray_levels, read_image
from kerasunet.inference.engines import NetworkSource, chosen_engine, open_engine
from kerasunet.inference.segmentation import Segmentation, segmentation
from kerasunet.objects import Objects
from kerasunet.schema import text_of, typed


class Segmenter:
    """Segments images of any size with a saved model.

    An image is stretched to the size that the model was trained at. With `tile` it is cut into
    tiles at its own size instead. That is for much larger images in which objects are as large, in
    pixels, as in training.

    Args:
        model: Name of a registered model or path of a `.keras` file.
        threshold: Probability from which a pixel counts as foreground; `None` takes the card's.
            There is none for several objects that exclude each other.
        engine: `"auto"` for the fastest engine that is installed, or one of
            `kerasunet.inference.engines.ENGINES`.
        tile: Height and width of tiles in pixels, a multiple of `2**depth`; `None` for the whole
            image at once.
        overlap: Pixels that neighboring tiles share; `None` takes a quarter of a tile.
        flip: Average with the prediction of the image flipped left to right (test-time
            augmentation); it takes twice as long.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        TypeError: The model is a list or the like, not one name or path.
        ValueError: The model file cannot be trusted or loaded, there is no such engine or it is not
            installed, the tiles do not fit the model, or a threshold is given where there is none.
    """

    def __init__(
        self,
        model: str | os.PathLike,
        threshold: float | None = None,
        *,
        engine: str = "auto",
        tile: int | None = None,
        overlap: int | None = None,
        flip: bool = False,
    ):
        card = saved_models.card(model)
        self.objects = card.marked
        threshold = _checked_threshold(threshold, self.objects)
        self.threshold = card.threshold if threshold is None else threshold
        self._tiling = _tiling(tile, overlap, card.architecture.size_multiple)
        side = self._tiling.side if self._tiling else card.image_size
        self._engine = open_engine(model, (side, side), engine)
        self._network = with_flip(self._engine) if typed("flip", "bool", flip) else self._engine

    @property
    def engine(self) -> str:
        """Name of the engine in use."""
        return self._engine.name

    def __call__(
        self, image: str | os.PathLike | np.ndarray, *, frame: int | None = None
    ) -> Segmentation:
        """Segment one image; may be called from several threads.

        Args:
            image: Path of an image file, or an array of numbers, `(height, width)` or RGB
                `(height, width, 3)`, scaled as `kerasunet.data.gray_levels` does: 0 to 255 as it
                is, floats of 0 to 1 and what exceeds 255 to 0 to 255.
            frame: Which frame of a file that has several, from 0
                (`kerasunet.data.count_frames` counts them).

        Returns:
            The segmentation at the size of the image.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a readable image, or has several frames and none was named;
                or the array is not of such a shape or type.
        """
        pixels, spacing = pixels_of(image, frame)
        if self._tiling:
            outputs = predict_tiles(pixels, self._tiling, self._predict)
        else:
            outputs = _resized(self._predict(pixels), pixels.shape[:2])
        return segmentation(pixels, outputs, self.threshold, spacing=spacing, objects=self.objects)

    def _predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probabilities of an image that is stretched to the engine's size."""
        height, width, channels = self._engine.shape
        return self._network(resize_image(pixels, (height, width), channels)[None])[0]


class SideBySide:
    """Segments an image with several saved models, such as every strategy of a comparison.

    What the models share is computed once: blocks that stayed frozen since the same pre-trained
    model are equal to the last bit. Models of different image sizes run one after the other.

    Args:
        models: Names of registered models or paths of `.keras` files, each once.
        engine: As in `kerasunet.Segmenter`.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        TypeError: The models are not a list of names or paths.
        ValueError: A model file cannot be trusted or loaded, no model is given, or the engine is
            unknown or not installed.
    """

    def __init__(self, models: Sequence[str | os.PathLike], engine: str = "auto"):
        if isinstance(models, (str, os.PathLike)):
            raise TypeError(f"give a list of models, not {models} alone, which a Segmenter takes")
        self._models = [text_of(model, "each model") for model in models]
        if not self._models:
            raise ValueError("give at least one model to compare")
        cards = {model: saved_models.card(model) for model in self._models}
        self.thresholds = {model: card.threshold for model, card in cards.items()}
        self.objects = {model: card.marked for model, card in cards.items()}
        self._groups = [
            (
                group,
                open_engine(
                    NetworkSource.of_many(map(NetworkSource.saved, group)), (side, side), engine
                ),
            )
            for (side, _), group in _by_shape(cards).items()
        ]

    def __call__(
        self, image: str | os.PathLike | np.ndarray, *, frame: int | None = None
    ) -> dict[str, Segmentation]:
        """Segment one image with every model.

        Args:
            image: As in `kerasunet.Segmenter`.
            frame: As in `kerasunet.Segmenter`.

        Returns:
            By model, in the given order, its segmentation at the size of the image.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: As in `kerasunet.Segmenter`.
        """
        pixels, spacing = pixels_of(image, frame)
        found = {}
        for group, engine in self._groups:
            height, width, channels = engine.shape
            output = engine(resize_image(pixels, (height, width), channels)[None])[0]
            classes = output.shape[-1] // len(group)
            for index, model in enumerate(group):
                own = np.ascontiguousarray(output[..., index * classes : (index + 1) * classes])
                found[model] = segmentation(
                    pixels,
                    _resized(own, pixels.shape[:2]),
                    self.thresholds[model],
                    spacing=spacing,
                    objects=self.objects[model],
                )
        return {model: found[model] for model in self._models}


def require_same_objects(models: Sequence[str | os.PathLike]) -> None:
    """Refuse saved models of different objects: their probabilities have no mean in common.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: One of them finds others than the first.
    """
    marked = [saved_models.card(model).marked for model in models]
    for model, found in zip(models, marked, strict=True):
        if found != marked[0] and (found.several or marked[0].several):
            raise ValueError(f"{model}: finds {found}, but {models[0]} {marked[0]}")


def pixels_of(
    image: str | os.PathLike | np.ndarray, frame: int | None = None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return the gray levels, float32 0 to 255, and the pixel spacing of an image.

    It may be in a file or in memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a readable image, or has several frames and none was named; or
            the array has a shape other than `(height, width)` and `(height, width, 3)`, or values
            that are not finite; or a frame of an array was asked for.
    """
    frame = typed("frame", "int", frame)
    if not isinstance(image, np.ndarray):
        return read_image(text_of(image, "one image, as an array of NumPy or else"), frame=frame)
    if frame is not None:
        raise ValueError(f"frame {frame} of an array: give the array of that frame")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise ValueError(
            f"an image must have the shape (height, width) or (height, width, 3), not {image.shape}"
        )
    return gray_levels(image), None


def check_request(
    card: saved_models.ModelCard,
    engine: str,
    *,
    tile: int | None,
    overlap: int | None,
    threshold: float | None = None,
) -> None:
    """Check a `Segmenter`'s arguments as far as possible before anything heavy is imported.

    Raises:
        ValueError: There is no such engine, it is not installed, the tiles do not fit the model, or
            it has no threshold.
    """
    chosen_engine(engine)
    _checked_threshold(threshold, card.marked)
    _tiling(tile, overlap, card.architecture.size_multiple)


def _resized(probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize probabilities, `(height, width, channels)`, to another height and width."""
    channels = [
        cv2.resize(np.ascontiguousarray(channel), size[::-1], interpolation=cv2.INTER_LINEAR)
        for channel in np.moveaxis(probability, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def _checked_threshold(given: float | None, objects: Objects) -> float | None:
    value = typed("threshold", "float", given)
    if value is None:
        return None
    if objects.exclusive:
        raise ValueError(
            f"threshold {value:g}: {objects} exclude each other and have no threshold, because a "
            "pixel belongs to the most probable one; leave it out"
        )
    if not 0 <= value <= 1:
        raise ValueError(f"threshold must be between 0 and 1, not {value}")
    return value


def _tiling(tile: int | None, overlap: int | None, multiple: int) -> Tiling | None:
    tile, overlap = typed("tile", "int", tile), typed("overlap", "int", overlap)
    if tile is None:
        if overlap is not None:
            raise ValueError(f"overlap {overlap} needs tiles: give tile, their height and width")
        return None
    if tile < 1 or tile % multiple:
        raise ValueError(f"tile must be a multiple of {multiple} for this model, not {tile}")
    return Tiling(tile, tile // 4 if overlap is None else overlap)


def _by_shape(cards: dict[str, saved_models.ModelCard]) -> dict[tuple[int, tuple], list[str]]:
    """Group models by image size and by the channels of input and output."""
    groups: dict[tuple[int, tuple], list[str]] = {}
    for model, known in cards.items():
        shape = (known.architecture.channels, known.classes)
        groups.setdefault((known.image_size, shape), []).append(model)
    return groups


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Attributes:
        side: Height and width of a tile in pixels.
        overlap: Least number of pixels that neighboring tiles share, less than `side`.
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
        """Return where tiles begin along an axis: evenly spaced, the last ending at the border."""
        if length <= self.side:
            return [0]
        count = -(-(length - self.overlap) // (self.side - self.overlap))
        return np.linspace(0, length - self.side, count).round().astype(int).tolist()


def predict_tiles(
    image: np.ndarray, tiling: Tiling, predict: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Predict an image tile by tile.

    Args:
        image: `(height, width)` or `(height, width, 3)`, 0 to 255. One that is smaller than a tile
            is extended by reflection at its lower and right border.
        tiling: Tiles and their overlap.
        predict: Maps one tile, `(side, side)` or `(side, side, 3)`, to probabilities,
            `(side, side)` or `(side, side, channels)`.

    Returns:
        Float32, `(height, width)` or `(height, width, channels)`, 0 to 1.
    """
    height, width = image.shape[:2]
    image = _padded(image, tiling.side)
    rows, columns = (_ramps(length, tiling) for length in image.shape[:2])
    probability = np.zeros(0, np.float32)
    for top, row_weights in rows.items():
        for left, column_weights in columns.items():
            area = np.s_[top : top + tiling.side, left : left + tiling.side]
            found = predict(image[area])
            if not probability.size:
                probability = np.zeros((*image.shape[:2], *found.shape[2:]), np.float32)
            weights = row_weights[:, None] * column_weights
            probability[area] += weights.reshape(weights.shape + (1,) * (found.ndim - 2)) * found
    return np.clip(probability, 0, 1, out=probability)[:height, :width]


def _padded(image: np.ndarray, side: int) -> np.ndarray:
    below, right = (max(0, side - length) for length in image.shape[:2])
    if not below and not right:
        return image
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT)


def _ramps(length: int, tiling: Tiling) -> dict[int, np.ndarray]:
    """Return the weights of tiles, `(side,)`, by their start; those of a pixel sum to one."""
    ends = np.minimum(np.arange(tiling.side) + 1, np.arange(tiling.side, 0, -1))
    ramp = np.minimum(ends, tiling.overlap + 1).astype(np.float32)
    starts = tiling.starts(length)
    total = np.zeros(length, np.float32)
    for start in starts:
        total[start : start + tiling.side] += ramp
    return {start: ramp / total[start : start + tiling.side] for start in starts}

"""From an image, in a file or in memory, to a mask of the same size."""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import keras
import numpy as np

from kerasunet import zoo
from kerasunet.data.decoding import resize_image
from kerasunet.data.reading import read_image


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

    Args:
        model: Name of a registered model or path of a `.keras` file.
        threshold: Probability from which a pixel counts as foreground; `None` takes the card's.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The model file cannot be trusted or loaded.
    """

    def __init__(self, model: str | os.PathLike, threshold: float | None = None):
        card = zoo.card(model)
        self.threshold = card["threshold"] if threshold is None else threshold
        self._size = (card["image_size"], card["image_size"])
        self._model = zoo.load(model)

    def __call__(self, image: str | os.PathLike | np.ndarray) -> Segmentation:
        """Segments one image.

        Args:
            image: Path of an image file, or grey levels 0 to 255, `(height, width)` or RGB
                `(height, width, 3)`, any float dtype or uint8.

        Returns:
            The segmentation at the size of the image.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a readable image, or the array not of such a shape.
        """
        pixels, spacing = self._pixels(image)
        network_input = resize_image(pixels, self._size, self._model.input_shape[-1])
        output = keras.ops.convert_to_numpy(self._model.predict_on_batch(network_input[None]))
        height, width = pixels.shape[:2]
        probability = cv2.resize(output[0, ..., 0], (width, height), interpolation=cv2.INTER_LINEAR)
        return Segmentation(pixels, probability, probability >= self.threshold, spacing)

    @staticmethod
    def _pixels(image) -> tuple[np.ndarray, tuple[float, float] | None]:
        if not isinstance(image, np.ndarray):
            return read_image(image)
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ValueError(
                f"an image has the shape (height, width) or (height, width, 3), not {image.shape}"
            )
        return image.astype(np.float32), None

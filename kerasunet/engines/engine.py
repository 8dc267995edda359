"""What every engine looks like from outside: arrays in, probabilities out."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np


class Engine:
    """A network compiled for images of one size; may be called from several threads.

    Args:
        name: Which engine it is, such as `"openvino"`.
        shape: Height, width and channels of an image.
        run: Maps one image, float32, `(1, height, width, channels)`, to its probabilities,
            float32, `(1, height, width, outputs)`.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        run: Callable[[np.ndarray], np.ndarray],
    ):
        self.name = name
        self.shape = shape
        self._run = run
        self._lock = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes probabilities, one image after the other.

        Args:
            images: Grey levels 0 to 255, uint8 or any float, `(count, height, width, channels)`,
                at least one.

        Returns:
            Float32, `(count, height, width, outputs)`, 0 to 1.

        Raises:
            ValueError: The images have another size or number of channels.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape or not len(images):
            raise ValueError(
                f"this engine takes images of shape (count, {', '.join(map(str, self.shape))}), "
                f"not {images.shape}"
            )
        images = np.ascontiguousarray(images, np.float32)
        with self._lock:
            return np.concatenate([self._run(image[None]) for image in images])

"""Grey levels and aspect of the images of a data set: a few numbers that tell hospitals apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kerasunet.data.cache import PutRow, cached_rows
from kerasunet.data.cases import Case, Sample
from kerasunet.data.decoding import load_each, resize_image

_SIDE = 64
_NUMBERS = 3
_ROW = (1, 1, _NUMBERS * np.dtype(np.float64).itemsize)  # Kept like an image.


class ImageStatistics(NamedTuple):
    """What each image is like, float64, `(cases,)`.

    Attributes:
        brightness: Mean grey level, 0 to 255.
        contrast: Standard deviation of the grey levels of the image at 64×64 pixels.
        aspect: Width divided by height.
    """

    brightness: np.ndarray
    contrast: np.ndarray
    aspect: np.ndarray

    @property
    def all_square(self) -> bool:
        """Whether somebody cut or stretched all images: nobody knows what they were before."""
        return bool((self.aspect == 1).all())


def image_statistics(cases: Sequence[Case]) -> ImageStatistics:
    """Measure images, or take it from the cache.

    Args:
        cases: What to read, at least one.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """

    def measure(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, sample: Sample) -> None:
            height, width = sample.image.shape[:2]
            grey = resize_image(sample.image, (_SIDE, _SIDE))
            row = np.array([grey.mean(), grey.std(), width / height])
            put(index, row.view(np.uint8).reshape(_ROW), np.zeros(_ROW[:2], bool), None)

        load_each(cases, indices, keep)

    rows = cached_rows(cases, _ROW, measure).images
    return ImageStatistics(*np.frombuffer(rows.tobytes()).reshape(-1, _NUMBERS).T)

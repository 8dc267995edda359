"""Rows: what decoding fills, one for each case, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Spacing = tuple[float, float] | None
PutRow = Callable[[int, np.ndarray, np.ndarray, Spacing], None]
"""Takes the index of a case, its image, its mask and its spacing; threads may call it at once."""
DecodeRows = Callable[[Sequence[int], PutRow], None]
"""Decodes the cases of these indices and hands on each of them."""


class Rows(NamedTuple):
    """Decoded cases, row i of each belonging to case i.

    Attributes:
        images: Uint8, `(cases, height, width, channels)`, 0 to 255.
        masks: Bool, `(cases, height, width)`.
        spacings: Millimetres per pixel, (row, column), `None` where unknown.
    """

    images: np.ndarray
    masks: np.ndarray
    spacings: tuple[Spacing, ...]


def rows_in_memory(count: int, shape: tuple[int, int, int], decode_rows: DecodeRows) -> Rows:
    """Decodes cases into ordinary arrays.

    Args:
        count: Number of cases.
        shape: Height, width and channels.
        decode_rows: Decodes the cases of given indices.

    Returns:
        The rows.
    """
    images = np.empty((count, *shape), np.uint8)
    masks = np.empty((count, *shape[:2]), bool)
    spacings: list[Spacing] = [None] * count

    def put(index: int, image: np.ndarray, mask: np.ndarray, spacing: Spacing) -> None:
        images[index], masks[index], spacings[index] = image, mask, spacing

    decode_rows(range(count), put)
    return Rows(images, masks, tuple(spacings))

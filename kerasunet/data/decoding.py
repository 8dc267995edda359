"""Cases to arrays of one size, in memory: what training and evaluation work on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.cases import Case
from kerasunet.data.reading import to_grey

_THREADS = 4


@dataclass(frozen=True)
class DecodedCases:
    """Cases at one size, row i of each array belonging to case i.

    Attributes:
        keys: The keys, in order.
        groups: The groups, in order.
        images: Uint8, `(cases, height, width, channels)`, grey levels 0 to 255.
        masks: Bool, `(cases, height, width)`.
        spacings: Millimetres per pixel after resizing, (row, column), `None` where unknown.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    spacings: tuple[tuple[float, float] | None, ...]

    def __len__(self) -> int:
        return len(self.keys)


def decode(cases: Sequence[Case], size: tuple[int, int], channels: int = 1) -> DecodedCases:
    """Reads cases and stretches them to one size.

    Args:
        cases: What to read.
        size: Height and width in pixels.
        channels: 1 turns colour into luminance; 3 repeats grey.

    Returns:
        The decoded cases, in the given order.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """
    images = np.empty((len(cases), *size, channels), np.uint8)
    masks = np.empty((len(cases), *size), bool)
    spacings: list[tuple[float, float] | None] = [None] * len(cases)
    problems: list[tuple[int, str]] = []

    def decode_one(index: int) -> None:
        try:
            sample = cases[index].load()
        except (OSError, ValueError) as error:
            problems.append((index, str(error)))
            return
        images[index] = resize_image(sample.image, size, channels)
        masks[index] = resize_mask(sample.mask, size)
        spacings[index] = resized_spacing(sample.spacing, sample.mask.shape, size)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(decode_one, range(len(cases))))
    if problems:
        listing = "\n".join(f"  {message}" for _, message in sorted(problems))
        raise ValueError(f"{len(problems)} of {len(cases)} cases cannot be used:\n{listing}")
    return DecodedCases(
        tuple(case.key for case in cases),
        tuple(case.group for case in cases),
        images,
        masks,
        tuple(spacings),
    )


def resize_image(image: np.ndarray, size: tuple[int, int], channels: int = 1) -> np.ndarray:
    """Stretches an image to a size: by area when shrinking, bilinearly when growing.

    Args:
        image: `(height, width)` or `(height, width, 3)`, 0 to 255.
        size: Height and width in pixels.
        channels: 1 or 3.

    Returns:
        Uint8, `(height, width, channels)`, 0 to 255.
    """
    image = image.astype(np.float32, copy=False)
    if channels == 1:
        image = to_grey(image)
    shrinks = size[0] < image.shape[0] and size[1] < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = np.clip(np.rint(cv2.resize(image, size[::-1], interpolation=method)), 0, 255)
    resized = resized.astype(np.uint8).reshape(*size, -1)
    return np.repeat(resized, 3, axis=2) if resized.shape[2] < channels else resized


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretches a bool mask to a size, (height, width); a pixel is set if half of it is."""
    coverage = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return coverage >= 0.5


def resized_spacing(
    spacing: tuple[float, float] | None, old: tuple[int, int], new: tuple[int, int]
) -> tuple[float, float] | None:
    """Pixel spacing, (row, column) in millimetres, after an image of `old` size became `new`."""
    if spacing is None:
        return None
    return spacing[0] * old[0] / new[0], spacing[1] * old[1] / new[1]

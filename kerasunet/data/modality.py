"""Modality: what kind of image a data set holds, by its name or guessed from its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import cv2
import numpy as np

from kerasunet.data.decoding import to_grey
from kerasunet.data.modality_names import Modality

_SIDE = 256
_GRAIN, _GRAIN_OF_SYMMETRIC = 0.02, 0.03
_COLOR, _COLORED = 16, 0.2
"""Grey levels between channels that make a color, and the share of an image that has one."""


def guess_modality(image: np.ndarray) -> Modality:
    """Guess whether an image is an ultrasound image or a chest X-ray.

    Speckle is grainy; a radiograph is smooth, and a chest is nearly symmetric. There is no third
    answer, so let the person who gives the image confirm it.

    Args:
        image: Grey levels 0 to 255, `(height, width)` or RGB `(height, width, 3)`.

    Returns:
        `"ultrasound"` or `"xray"`.
    """
    grey = to_grey(image.astype(np.float32, copy=False))
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    contrast = float(small.std())
    if contrast == 0:
        return "ultrasound"
    grain = float(np.median(np.abs(small - cv2.GaussianBlur(small, (0, 0), 1.5)))) / contrast
    symmetry = float(np.corrcoef(small.ravel(), small[:, ::-1].ravel())[0, 1])
    return "ultrasound" if grain > _GRAIN + _GRAIN_OF_SYMMETRIC * symmetry else "xray"


def guess_of_all(images: Iterable[np.ndarray]) -> Modality | None:
    """Guess what kind of images a data set holds from some of them.

    Args:
        images: Grey levels 0 to 255, `(height, width)` or RGB `(height, width, 3)`.

    Returns:
        What most of them look like: `"photograph"` if they have colors, otherwise as
        `guess_modality`; `None` without any image.
    """
    guesses = Counter("photograph" if _has_colors(i) else guess_modality(i) for i in images)
    return guesses.most_common(1)[0][0] if guesses else None


def _has_colors(image: np.ndarray) -> bool:
    """Whether more than a mark or a color bar has a color."""
    if image.ndim == 2:
        return False
    levels = image.astype(np.float32, copy=False)
    return bool((np.ptp(levels, axis=2) > _COLOR).mean() > _COLORED)

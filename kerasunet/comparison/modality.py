"""A guess at what kind of image this is, from its grain and its symmetry."""

from __future__ import annotations

import cv2
import numpy as np

from kerasunet.data.reading import to_grey

_SIDE = 256
_GRAIN, _GRAIN_OF_SYMMETRIC = 0.02, 0.03


def guess_modality(image: np.ndarray) -> str:
    """Guesses whether an image is an ultrasound image or a chest X-ray.

    Speckle is grainy; a radiograph is smooth, and a chest is much like its mirror image. It is a
    guess between these two and knows no third; ask the person who gives the image.

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

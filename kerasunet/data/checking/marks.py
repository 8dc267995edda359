"""Suspicion of marks burnt into an image, such as callipers, arrows, letters.

A simple test that neither finds all marks nor only marks: colour in an image that is else grey, and
thin pure white lines.
"""

from __future__ import annotations

import cv2
import numpy as np

from kerasunet.data.reading import to_grey

_COLOURED, _GREY = 64, 12
_MOST_COLOUR, _MOST_TINGED = 0.05, 0.1
_WHITE, _ABOVE_SURROUNDINGS = 250, 150
_THIN = np.ones((5, 5), np.uint8)
_LEAST_PIXELS, _MOST_WHITE = 12, 0.01


def describe_marks(image: np.ndarray) -> str:
    """Says what in an image looks like marks.

    Args:
        image: Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.

    Returns:
        A few words; empty where nothing looks like a mark.
    """
    counts = {
        "coloured pixels in a grey image": _coloured(image),
        "pixels of thin white lines, as of letters or callipers": _white(image),
    }
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count)


def _coloured(image: np.ndarray) -> int:
    """Pixels of strong colour, if nearly all others have none."""
    if image.ndim == 2:
        return 0
    spread = image.max(axis=2) - image.min(axis=2)
    strong = spread > _COLOURED
    tinged = (spread > _GREY).mean()
    count = int(np.count_nonzero(strong))
    otherwise_grey = strong.mean() < _MOST_COLOUR and tinged < _MOST_TINGED
    return count if otherwise_grey and count >= _LEAST_PIXELS else 0


def _white(image: np.ndarray) -> int:
    """Pixels of saturated structures that are thinner than 5 pixels, if they are few."""
    grey = np.ascontiguousarray(to_grey(image))
    raised = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, _THIN)
    thin = (grey >= _WHITE) & (raised >= _ABOVE_SURROUNDINGS)
    count = int(np.count_nonzero(thin))
    return count if count >= _LEAST_PIXELS and thin.mean() < _MOST_WHITE else 0

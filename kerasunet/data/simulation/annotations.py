"""Marks that a sonographer burns into the image: calipers, depth scale, focus.

They are no part of the mask; a network has to learn to ignore them.
"""

from __future__ import annotations

import numpy as np

from kerasunet.data.simulation.raster import fill, stroke
from kerasunet.data.simulation.speckle import Probe

CALIPERS, SECOND_CALIPERS, SCALE = 0.4, 0.6, 0.35  # probabilities
WHITE = 225


def annotate(
    image: np.ndarray,
    rng: np.random.Generator,
    outline: np.ndarray,
    probe: Probe,
    spacing: float,
) -> None:
    """Draws the marks of one frame, if any.

    Args:
        image: Uint8, `(height, width)`, changed in place.
        rng: Decides what is drawn.
        outline: Outline of the lesion in pixels, `(n, 2)`, as `(x, y)`.
        probe: Where the focus is.
        spacing: Millimetres per pixel.
    """
    with_calipers, with_second, with_scale = rng.random(3) < (CALIPERS, SECOND_CALIPERS, SCALE)
    if with_calipers:
        _draw_calipers(image, outline, with_second)
    if with_scale:
        _draw_scale(image, probe, spacing)


def _draw_calipers(image: np.ndarray, outline: np.ndarray, both_axes: bool) -> None:
    """Crosses at the ends of the longest diameter and of the one across it."""
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    longest = int(np.ptp(outline @ directions, axis=0).argmax())
    for direction in (longest, (longest + 18) % 36)[: 1 + both_axes]:
        along = outline @ directions[:, direction]
        _draw_cross(image, outline[along.argmin()])
        _draw_cross(image, outline[along.argmax()])


def _draw_cross(image: np.ndarray, centre: np.ndarray) -> None:
    unit = min(image.shape) / 128
    arm = max(2.0, 2.5 * unit)
    bars = [centre + np.array([[-arm, 0], [arm, 0]]), centre + np.array([[0, -arm], [0, arm]])]
    stroke(image, bars, WHITE, 0.8 * unit)


def _draw_scale(image: np.ndarray, probe: Probe, spacing: float) -> None:
    """A tick each 5 mm, longer each 10 mm, on the right; a triangle at the focus."""
    unit = min(image.shape) / 128
    right = image.shape[1] - 1
    for number in range(1, int(probe.depth / 5) + 1):
        y = 5 * number / spacing - 0.5
        length = (4 if number % 2 == 0 else 2) * unit
        stroke(image, [np.array([[right - length, y], [right, y]])], WHITE, 0.8 * unit)
    focus = np.array([right - 5 * unit, probe.focus / spacing - 0.5])
    triangle = focus + unit * np.array([[0, 0], [3.5, -2.5], [3.5, 2.5]])
    fill(image, [triangle], WHITE)

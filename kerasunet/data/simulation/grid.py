"""A pixel grid with its own coordinates, and drawing on it.

Coordinates are shares of the shorter side of the image, `(x, y)` from its centre, y down, so that
a picture is described once and rendered at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.simulation.raster import fill, inside, stroke
from kerasunet.data.simulation.shapes import Curves, split_like

COARSE = 4  # wide blurs run on a grid coarser by this factor


@dataclass(frozen=True)
class Grid:
    """A pixel grid.

    Attributes:
        shape: `(height, width)` in pixels.
    """

    shape: tuple[int, int]

    @property
    def unit(self) -> int:
        """Pixels in one unit of coordinates."""
        return min(self.shape)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of pixel centres: x `(1, columns)` and y `(rows, 1)`, float32."""
        height, width = self.shape
        x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / self.unit
        y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / self.unit
        return x[None], y[:, None]

    def place(self, points: np.ndarray) -> np.ndarray:
        """Moves points before they are drawn; here not at all."""
        return points

    def locate(self, curves: Curves) -> list[np.ndarray]:
        """Pixel coordinates of curves."""
        centre = (np.array(self.shape[::-1]) - 1) / 2
        return split_like(self.place(np.concatenate(curves)) * self.unit + centre, curves)

    def canvas(self) -> np.ndarray:
        """An empty uint8 canvas."""
        return np.zeros(self.shape, np.uint8)

    def mask(self, outlines: Curves) -> np.ndarray:
        """Pixels inside any of the outlines: bool."""
        return inside(self.shape, self.locate(outlines))

    def cover(self, outlines: Curves) -> np.ndarray:
        """Coverage of each pixel by the outlines: float32, 0 to 1."""
        canvas = self.canvas()
        fill(canvas, self.locate(outlines), 255)
        return canvas * np.float32(1 / 255)

    def label(self, outlines: Curves) -> np.ndarray:
        """Numbers each pixel by the last outline that covers it, from 1 up; 0 for none: uint8."""
        canvas = self.canvas()
        for number, outline in enumerate(self.locate(outlines), 1):
            fill(canvas, [outline], number, smooth=False)
        return canvas

    def stroke(self, canvas: np.ndarray, curves: Curves, value: float, width: float) -> None:
        """Draws curves; the value is a share of 255, the width in coordinate units."""
        stroke(canvas, self.locate(curves), 255 * value, width * self.unit)

    def blur(self, image: np.ndarray, deviation: float) -> np.ndarray:
        """Gaussian blur, on a coarser grid if it is wide; the deviation is in coordinate units."""
        pixels = deviation * self.unit
        if pixels < COARSE:
            return cv2.GaussianBlur(image, (0, 0), pixels)
        coarse = cv2.resize(image, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
        coarse = cv2.GaussianBlur(coarse, (0, 0), pixels / COARSE)
        return cv2.resize(coarse, self.shape[::-1])


def enlarged(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """The smallest whole multiple of a shape whose shorter side has `side` pixels or more."""
    times = -(-side // min(shape))
    return times * shape[0], times * shape[1]

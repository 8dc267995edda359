"""Outlines: the polygons of a mask, with few corners, so that people can drag them.

Corners are pixels from the top left corner of the image, (x, y), as in `data.layouts.annotations`:
the first pixel reaches from 0 to 1. Before they are simplified, outlines run along the edges of
pixels and are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.layouts.annotations import polygon_mask

_TOLERANCES = (1.0, 0.5)  # Pixels; half of one turns stairs into a straight line.
_MOST_CHANGED = 0.01
_FINER = 3


@dataclass(frozen=True, eq=False)
class Region:
    """A connected part of a mask.

    Attributes:
        outline: Corners, float64, `(corners, 2)`, (x, y).
        holes: Corners of each hole in it, in the same form.
    """

    outline: np.ndarray
    holes: tuple[np.ndarray, ...] = ()

    def joined(self) -> np.ndarray:
        """Return outline and holes as one polygon, for formats that know no holes.

        A seam leads to each hole and back the same way, so it encloses nothing.
        """
        ring = self.outline
        for hole in self.holes:
            ring = _seamed(ring, hole)
        return ring

    @property
    def area(self) -> float:
        """Square pixels."""
        return ring_area(self.outline) - sum(map(ring_area, self.holes))

    def moved(self, by: Sequence[float] | np.ndarray) -> Region:
        """Return the region at another place, (x, y) pixels from here."""
        return Region(self.outline + by, tuple(hole + by for hole in self.holes))

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the region; bool, `(height, width)`."""
        drawn = polygon_mask(self.outline, shape)
        for hole in self.holes:
            drawn &= ~polygon_mask(hole, shape)
        return drawn


def regions(mask: np.ndarray) -> list[Region]:
    """Return the connected parts of a mask, pixels that touch at a corner connected.

    Simplifying changes at most one percent of the pixels of each part.

    Args:
        mask: Bool, `(height, width)`.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    inner = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return [_simplified(region).moved((left, top)) for region in _exact(inner)]


def ring_area(ring: np.ndarray) -> float:
    """Return the area that corners, `(corners, 2)`, enclose, in square pixels."""
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _exact(mask: np.ndarray) -> list[Region]:
    """Follow the edges of pixels.

    OpenCV follows the centers of the outermost pixels. In a picture three times as fine, these lie
    a sixth of a pixel inside the edges, and no corner is nearer to another edge.
    """
    fine = np.pad(mask.repeat(_FINER, axis=0).repeat(_FINER, axis=1).astype(np.uint8), 1)
    rings, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    corners = [_on_edges(ring) for ring in rings]
    holes: dict[int, list[np.ndarray]] = {}
    for ring, (*_, parent) in zip(corners, hierarchy[0].tolist(), strict=True):
        holes.setdefault(parent, []).append(ring)
    outer = [n for n, (*_, parent) in enumerate(hierarchy[0].tolist()) if parent < 0]
    return [Region(corners[number], tuple(holes.get(number, ()))) for number in outer]


def _on_edges(ring: np.ndarray) -> np.ndarray:
    """Return the corners of pixels that a ring of a three times finer, padded picture is about."""
    snapped = np.rint((ring[:, 0].astype(float) - 0.5) / _FINER)
    repeated = (snapped == np.roll(snapped, 1, axis=0)).all(axis=1)
    return snapped[~repeated]


def _simplified(exact: Region) -> Region:
    """Leave out corners, as far as the region stays what it was."""
    low, high = exact.outline.min(axis=0), exact.outline.max(axis=0)
    shape = (int(high[1] - low[1]), int(high[0] - low[0]))
    wanted = exact.moved(-low).mask(shape)
    most = _MOST_CHANGED * np.count_nonzero(wanted)
    for tolerance in _TOLERANCES:
        simpler = Region(
            _with_fewer_corners(exact.outline, tolerance),
            tuple(_with_fewer_corners(hole, tolerance) for hole in exact.holes),
        )
        rings = (simpler.outline, *simpler.holes)
        if min(map(len, rings)) < 3:
            continue
        if np.count_nonzero(simpler.moved(-low).mask(shape) != wanted) <= most:
            return simpler
    return exact


def _with_fewer_corners(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Simplify a ring (Douglas and Peucker, 1973)."""
    return cv2.approxPolyDP(ring.astype(np.float32), tolerance, True)[:, 0].astype(float)


def _seamed(ring: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Join a hole to a ring where their corners are nearest."""
    distances = np.linalg.norm(ring[:, None] - hole[None], axis=2)
    at, entry = np.unravel_index(int(distances.argmin()), distances.shape)
    around = np.roll(hole, -int(entry), axis=0)
    return np.vstack([ring[: at + 1], around, around[:1], ring[at:]])

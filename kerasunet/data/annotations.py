"""Annotations to masks, and back: polygons, circles, run lengths; files for labelme and COCO.

A pixel is set if its center lies inside a shape. Coordinates are pixels from the top left corner of
the image, (x, y), so that the first pixel reaches from 0 to 1 and its center is at 0.5.

Outlines of masks have few corners, so that people can drag them; before they are simplified, they
run along the edges of pixels and are exact. Neither format has polygons with holes. In labelme, a
hole is a shape labeled `_background_`, which cuts what stands before it in the file, as in its own
export. In COCO, a seam joins a hole to its outline, so that one polygon says both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

ENCODINGS = ("utf-8-sig", "gb18030", "utf-16")
"""Encodings of annotation files; some programs write the one of their Windows."""
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What drawing raises if the JSON has a wrong structure."""
NO_OBJECT = ("_background_", "__background__", "background", "__ignore__", "_ignore_")
"""Labels of shapes that are no object, but cut holes into those below."""
FARTHEST = 10_000_000
"""Pixels; no coordinate is larger."""
Points = Sequence[Sequence[float]] | np.ndarray
_BEYOND = 0.1  # A share of a side.
_TOLERANCES = (1.0, 0.5)  # Pixels; half of one turns stairs into a straight line.
_MOST_CHANGED, _FINER = 0.01, 3
_HOLE = NO_OBJECT[0]
_VERSION = "5.5.0"  # Of the format; labelme warns of another first number.


class Outlines(NamedTuple):
    """What an image has: polygons by name, owner and corners; other shapes; what its box denies."""

    source: Path
    size: tuple[int, int] | None
    polygons: tuple[tuple[str, str, np.ndarray], ...]
    others: int
    elsewhere: tuple[str, ...] = ()


def polygon_mask(points: Points, shape: tuple[int, int]) -> np.ndarray:
    """Fill a polygon by the even-odd rule.

    Args:
        points: Corners, (corners, 2), at least three, in order; the last is joined to the first.
        shape: Height and width in pixels.

    Returns:
        Bool, `(height, width)`. Polygons with a common edge neither overlap nor leave a gap.

    Raises:
        ValueError: These are not three or more points, or not finite.
    """
    corners = check_polygon(points)
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    for ends in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        # Always from the top, so that both polygons at an edge round its crossings alike.
        (x0, y0), (x1, y1) = sorted(ends, key=lambda end: end[1])
        rows = np.arange(_first_center(y0, shape[0]), _first_center(y1, shape[0]))
        if len(rows):
            columns = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            crossings[rows, np.clip(np.ceil(columns - 0.5), 0, shape[1]).astype(int)] += 1
    return np.cumsum(crossings[:, :-1], axis=1) % 2 == 1


def check_polygon(points: Points) -> np.ndarray:
    """Return the corners of a polygon as float64, (corners, 2).

    Raises:
        ValueError: These are not three or more points, or not finite.
    """
    if len(points) < 3:
        raise ValueError(f"a polygon has at least three points (x, y), not {len(points)}")
    return check_points(points)


def check_area(points: Points, size: tuple[int, int] | None, center: Points | None = None) -> None:
    """Refuse a polygon that covers nothing, or is of another image.

    Args:
        points: Corners, (corners, 2).
        size: Height and width of the image in pixels; `None` if they are not known.
        center: That of a circle or turned box, whose corners may lie far beyond the image.

    Raises:
        ValueError: It has no area, is smaller than a pixel, or lies or reaches far outside.
    """
    corners = check_points(points)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high - low < 1).all() or (high == low).any():
        raise ValueError("covers no pixel; coordinates count pixels, not shares of the image")
    if size and ((high <= 0).any() or (low >= size[::-1]).any()):
        raise ValueError(f"lies outside the image of {size[1]}×{size[0]} pixels")
    low, high = (low, high) if center is None else np.array([center, center])
    if size and (np.maximum(-low, high - size[::-1]) > _BEYOND * np.array(size[::-1])).any():
        what = f"reaches far beyond the image of {size[1]}×{size[0]} pixels"
        raise ValueError(f"{what}, which is of another size, or x and y are exchanged")


def check_points(points: Points) -> np.ndarray:
    """Return points as float64, (points, 2).

    Raises:
        ValueError: They are no points of two finite numbers each.
    """
    try:
        found = np.asarray(points, dtype=np.float64)
    except TypeError:
        raise ValueError("a point has two coordinates, (x, y)") from None
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError("a point has two coordinates, (x, y)")
    if not (np.abs(found) <= FARTHEST).all():
        raise ValueError(
            f"the points of a polygon or circle are finite numbers, at most {FARTHEST:,}"
        )
    return found


def _first_center(y: float, height: int) -> int:
    """Return the first row whose center is at `y` or below."""
    return min(max(math.ceil(y - 0.5), 0), height)


def circle_mask(center: Sequence[float], radius: float, shape: tuple[int, int]) -> np.ndarray:
    """Fill a circle; bool, `(height, width)`."""
    y, x = (np.arange(side) + 0.5 for side in shape)
    return (x - center[0])[None, :] ** 2 + (y - center[1])[:, None] ** 2 <= radius**2


def run_length_mask(counts: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Expand COCO run lengths: column by column, background first.

    Args:
        counts: Lengths of the runs, in pixels.
        shape: Height and width in pixels.

    Returns:
        Bool, `(height, width)`.

    Raises:
        ValueError: The runs do not fill the image exactly.
    """
    found, wanted = sum(counts), shape[0] * shape[1]
    if any(count < 0 for count in counts) or found != wanted:
        raise ValueError(f"the run lengths cover {found} of {wanted} pixels; export them again")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape[::-1]).T


def decode_run_lengths(text: str) -> list[int]:
    """Decode COCO's compressed `counts` to the lengths of runs, in pixels.

    Each number is a signed chain of 5-bit digits, lowest first, in characters from `0` on; from
    the third run on, it is the difference to the run before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


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


def labelme_content(labels: np.ndarray, objects: Sequence[str], image: str) -> dict[str, Any]:
    """Return the content of a labelme file.

    Args:
        labels: Uint8, `(height, width)`: 0 for the background, N for the N-th object.
        objects: Names of the objects, which become the labels of shapes.
        image: Path of the image file, relative to the JSON file.
    """
    rings = [
        ring for number, name in enumerate(objects, 1) for ring in _rings(labels, number, name)
    ]
    # What lies inside comes later; a hole comes before the object that fills it.
    rings.sort(key=lambda ring: (-ring_area(ring[1]), ring[0] != _HOLE))
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": [_shape(name, ring) for name, ring in rings],
        "imagePath": image,
        "imageData": None,
        "imageHeight": labels.shape[0],
        "imageWidth": labels.shape[1],
    }


def _rings(labels: np.ndarray, number: int, name: str) -> Iterator[tuple[str, np.ndarray]]:
    for region in regions(labels == number):
        yield name, region.outline
        for hole in region.holes:
            yield _HOLE, hole


def _shape(label: str, ring: np.ndarray) -> dict[str, Any]:
    return {
        "label": label,
        "points": ring.tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }


@dataclass(frozen=True)
class CocoImage:
    """An image and what was found in it, before numbers are given.

    Attributes:
        name: Path of the image file, relative to the folder of the JSON file.
        size: Height and width in pixels.
        annotations: What COCO calls annotations, without `id` and `image_id`.
    """

    name: str
    size: tuple[int, int]
    annotations: tuple[dict[str, Any], ...]


def coco_image(labels: np.ndarray, objects: Sequence[str], name: str) -> CocoImage:
    """Return an image of a COCO file.

    Args:
        labels: Uint8, `(height, width)`: 0 for the background, N for the N-th object.
        objects: Names of the objects.
        name: Path of the image file, relative to the folder of the JSON file.
    """
    annotations = [
        _annotation(region, number)
        for number, _ in enumerate(objects, 1)
        for region in regions(labels == number)
    ]
    height, width = labels.shape
    return CocoImage(name, (height, width), tuple(annotations))


def _annotation(region: Region, category: int) -> dict[str, Any]:
    low, high = region.outline.min(axis=0), region.outline.max(axis=0)
    return {
        "category_id": category,
        "segmentation": [region.joined().ravel().tolist()],
        "area": region.area,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "iscrowd": 0,
    }


def coco_content(images: Iterable[CocoImage], objects: Sequence[str]) -> dict[str, Any]:
    """Return the content of a COCO file; images and annotations are numbered from 1."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(objects, 1)
        ],
    }
    for number, image in enumerate(images, 1):
        height, width = image.size
        content["images"].append(
            {"id": number, "file_name": image.name, "height": height, "width": width}
        )
        for annotation in image.annotations:
            numbered = {"id": len(content["annotations"]) + 1, "image_id": number, **annotation}
            content["annotations"].append(numbered)
    return content

"""Annotations drawn into masks: polygons, circles, run lengths; which programs' files are not read.

A pixel is set if its center lies inside a shape. Coordinates are pixels from the top left corner of
the image, (x, y), so that the first pixel reaches from 0 to 1 and its center is at 0.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data.layouts.pairing import subfolders
from kerasunet.files import read_json

ENCODINGS = ("utf-8-sig", "gb18030")
"""Encodings of annotation files; some programs write the one of their Windows."""
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What drawing raises if the JSON has a wrong structure."""
NO_OBJECT = ("_background_", "__background__", "background", "__ignore__", "_ignore_")
"""Labels of shapes that are no object, but cut holes into those below."""
Points = Sequence[Sequence[float]] | np.ndarray
_FARTHEST = 10_000_000


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
        rows = np.arange(_first_centre(y0, shape[0]), _first_centre(y1, shape[0]))
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


def check_area(points: Points, size: tuple[int, int] | None) -> None:
    """Refuse a polygon that covers nothing.

    Args:
        points: Corners, (corners, 2).
        size: Height and width of the image in pixels; `None` if they are not known.

    Raises:
        ValueError: It has no area, is smaller than a pixel, or lies outside the image.
    """
    corners = check_points(points)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high - low < 1).all() or (high == low).any():
        raise ValueError("covers no pixel; coordinates count pixels, not shares of the image")
    if size and ((high <= 0).any() or (low >= size[::-1]).any()):
        raise ValueError(f"lies outside the image of {size[1]}×{size[0]} pixels")


def check_points(points: Points) -> np.ndarray:
    """Return points as float64, (points, 2).

    Raises:
        ValueError: They are no points of two finite numbers each.
    """
    found = np.asarray(points, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError("a point has two coordinates, (x, y)")
    if not (np.abs(found) <= _FARTHEST).all():
        raise ValueError(
            f"the points of a polygon or circle are finite numbers, at most {_FARTHEST:,}"
        )
    return found


def _first_centre(y: float, height: int) -> int:
    """Return the first row whose center is at `y` or below."""
    return min(max(math.ceil(y - 0.5), 0), height)


def circle_mask(centre: Sequence[float], radius: float, shape: tuple[int, int]) -> np.ndarray:
    """Fill a circle; bool, `(height, width)`."""
    x = np.arange(shape[1]) + 0.5 - centre[0]
    y = np.arange(shape[0]) + 0.5 - centre[1]
    return x[None, :] ** 2 + y[:, None] ** 2 <= radius**2


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
    if any(count < 0 for count in counts) or sum(counts) != shape[0] * shape[1]:
        raise ValueError(
            f"the run lengths cover {sum(counts)} pixels, the image has {shape[0] * shape[1]}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape[::-1]).T


def decode_run_lengths(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is a signed chain of 5-bit digits, lowest first, in characters from `0` on; from
    the third run on, it is the difference to the run before the last.

    Args:
        text: The compressed `counts`.

    Returns:
        Lengths of the runs, in pixels.
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


def foreign_in(folder: Path, depth: int = 2) -> str:
    """Say which annotations a folder or one below it holds that are not read; empty for none."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and (found := _foreign_file(path)):
            return f"{path}: {found}"
    inner = (foreign_in(path, depth - 1) for path in subfolders(folder) if depth)
    return next(filter(None, inner), "")


def _foreign_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".json", ".geojson"):
        content = read_json(path, ENCODINGS)
        return next((words for is_it, words in _FOREIGN if is_it(content)), "")
    head = _head(path)
    if suffix == ".xml" and b"<annotation" in head:
        return "annotations in XML, which are not read; export as COCO or as masks"
    if (suffix == ".txt" and _YOLO.match(head)) or path.name.lower() == "data.yaml":
        return "outlines or boxes of YOLO, which are not read; export as COCO or as masks"
    if suffix == ".roi" or path.name == "RoiSet.zip":
        return (
            "regions of ImageJ, which are not read; export masks (Edit > Selection > Create Mask)"
        )
    return ""


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)


def foreign(content: Any) -> str:
    """Say what JSON is that is not what was expected, and how it becomes something that is read."""
    known = (words for is_it, words in _FOREIGN if is_it(content))
    return next(known, "it has neither images and annotations nor shapes; export COCO or labelme")


def _has(content: Any, *names: str) -> bool:
    return isinstance(content, dict) and all(name in content for name in names)


def _is_via(content: Any) -> bool:
    images = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
    entries = list(images.values()) if isinstance(images, dict) else []
    return bool(entries) and all(_has(one, "filename", "regions") for one in entries)


def _is_tasks(content: Any) -> bool:
    tasks = content if isinstance(content, list) else []
    return any(_has(one, name) for one in tasks for name in ("annotations", "data", "image"))


def _is_geojson(content: Any) -> bool:
    features = content if isinstance(content, list) else [content]
    kinds = {one["type"] for one in features if _has(one, "type") and isinstance(one["type"], str)}
    return bool(kinds) and kinds <= {"FeatureCollection", "Feature"}


_YOLO = re.compile(rb"\d+( \d*\.\d+){4,}\s")
_HEAD_BYTES = 4096
_FOREIGN: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (_is_via, "a project of the VGG Image Annotator, which is not read; export it as COCO"),
    (
        _is_geojson,
        "GeoJSON, as QuPath writes it, which is not read; export labeled images from QuPath",
    ),
    (
        _is_tasks,
        "tasks of Label Studio, which are not read; export as COCO, or brushes as PNG masks",
    ),
    (
        lambda content: _has(content, "objects", "size"),
        "an annotation of Supervisely, which is not read; export as COCO or as machine masks",
    ),
    (
        lambda content: _has(content, "items", "categories"),
        "a data set of Datumaro, which is not read; export as COCO or as segmentation masks",
    ),
)

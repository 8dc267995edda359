"""labelme and COCO annotations, and the masks that are drawn from their polygons and run lengths.

A pixel is set if its center lies inside a shape. Coordinates are pixels from the top left corner of
the image, (x, y), so that the first pixel reaches from 0 to 1 and its center is at 0.5.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from kerasunet.data import readers
from kerasunet.data.cases import AnnotatedCase, Case
from kerasunet.data.layouts.pairing import (
    Files,
    doubled,
    image_files,
    image_stem,
    json_files,
    keys_of,
)
from kerasunet.files import raise_all, read_json, report_all, wrong_size

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What drawing raises if the JSON has a wrong structure."""
_FARTHEST = 10_000_000
_FOLDER = "annotations"


def labelme(folder: Path) -> Sequence[Case] | None:
    """Read `x.json` beside `x.jpg`; an image without an object has a file without shapes."""
    images = image_files(folder)
    files = json_files(folder)
    if not images.keys() & files.keys():
        return None
    problems = [*doubled(images), *_alone(images, files)]
    report_all(problems, f"{len(problems)} files cannot be paired:")
    return [
        AnnotatedCase(key, key, paths[0], annotation=LabelmeFile(files[key], paths[0]))
        for key, paths in sorted(images.items())
        if key in files
    ]


def _alone(images: Files, files: Mapping[str, Path]) -> Iterator[str]:
    for key in sorted(images.keys() - files.keys()):
        yield f"{images[key][0]}: has no {key}.json"
    for key in sorted(files.keys() - images.keys()):
        if _is_labelme(read_json(files[key])):
            yield f"{files[key]}: has no image"


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


@dataclass(frozen=True)
class LabelmeFile:
    """A labelme annotation; all its shapes, whatever their labels, are united.

    Attributes:
        path: The JSON file.
        image: The image that it describes.
    """

    path: Path
    image: Path

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the bool mask, (height, width)."""
        content = read_json(self.path)
        if not _is_labelme(content):
            raise ValueError(f"{self.path}: not a labelme file: it has no list of shapes")
        self._require_same_image(content, shape)
        mask = np.zeros(shape, bool)
        for number, drawn in enumerate(content["shapes"], start=1):
            try:
                mask |= _draw_shape(drawn, shape)
            except MALFORMED as error:
                raise ValueError(f"{self.path}: shape {number}: {error}") from error
        return mask

    def _require_same_image(self, content: Mapping[str, Any], shape: tuple[int, int]) -> None:
        name = PureWindowsPath(content.get("imagePath") or "").name
        if name and image_stem(name) != image_stem(self.image.name):
            raise ValueError(f"{self.path}: was drawn on {name}, not on {self.image.name}")
        size = (content.get("imageHeight") or shape[0], content.get("imageWidth") or shape[1])
        if size != shape:
            raise ValueError(wrong_size(self.path, size, shape, image=self.image.name))


def _draw_shape(drawn: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    kind, points = drawn.get("shape_type") or "polygon", drawn.get("points", ())
    if kind == "polygon":
        return polygon_mask(points, shape)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = np.min(points, axis=0), np.max(points, axis=0)
        return polygon_mask([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], shape)
    if kind == "circle":
        centre, edge = points
        return circle_mask(centre, math.dist(centre, edge), shape)
    if kind == "mask":
        return _embedded_mask(drawn["mask"], points[0], shape)
    raise ValueError(f"{kind!r} has no area; polygon, rectangle, circle and mask have one")


def _embedded_mask(text: str, corner: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Draw a small PNG image, given in base64, with its top left pixel at the corner."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"its mask is not in base64 ({error})") from error
    pixels = readers.read_png(content, shape[0] * shape[1])
    left, top = (round(value) for value in corner)
    bottom, right = top + pixels.shape[0], left + pixels.shape[1]
    if min(top, left) < 0 or bottom > shape[0] or right > shape[1]:
        raise ValueError("its mask reaches beyond the image")
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = pixels > 0
    return mask


def coco(folder: Path) -> Sequence[Case] | None:
    """Read the one COCO file in a folder or its `annotations/`; `None` if there is none.

    Raises:
        ValueError: There are several.
    """
    images = image_files(folder)
    files = [path for stem, path in json_files(folder).items() if stem not in images]
    if (folder / _FOLDER).is_dir():
        files += json_files(folder / _FOLDER).values()
    found = [path for path in files if _is_coco(read_json(path))]
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise ValueError(f"{folder}: has several COCO files, give the path of one: {names}")
    return read_coco(found[0]) if found else None


def read_coco(path: Path) -> Sequence[Case]:
    """Read a COCO file; all annotations of an image, whatever their category, are united.

    Image files are searched for in the folder of the JSON file and its `images/`, or, where that
    folder is `annotations/`, beside it. An image without annotations has no object.

    Args:
        path: The JSON file.

    Returns:
        The cases.

    Raises:
        ValueError: It is not a COCO file, or images are missing; the message lists every one.
    """
    content = read_json(path)
    if not _is_coco(content):
        raise ValueError(f"{path}: not a COCO file: it has no lists of images and annotations")
    try:
        return _cases(path, content["images"], content["annotations"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: an image or annotation is incomplete: {error}") from error


def image_root(path: Path) -> Path:
    """Return the folder that is searched for the images of a COCO file, with its subfolders."""
    return path.parent.parent if path.parent.name == _FOLDER else path.parent


def _cases(path: Path, images: list[Mapping], annotations: list[Mapping]) -> list[AnnotatedCase]:
    found = {image["id"]: _image_file(image_root(path), image["file_name"]) for image in images}
    files = {number: file for number, file in found.items() if file}
    drawn: dict[Any, list[Mapping]] = {image: [] for image in found}
    problems = [f"{path}: {problem}" for problem in _missing(images, found)]
    for annotation in annotations:
        if annotation["image_id"] in drawn:
            drawn[annotation["image_id"]].append(annotation)
        else:
            problems.append(f"{path}: annotation {annotation['id']}: there is no such image")
    raise_all(problems, f"{len(problems)} faults in a COCO file:")
    keys = keys_of(list(files.values()))
    return [
        _case(path, image, files[image["id"]], keys=keys, annotations=drawn[image["id"]])
        for image in images
    ]


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    )


def _image_file(root: Path, name: str) -> Path | None:
    """Return the file of an image below the folder; `None` if it is missing or outside."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts:
        return None
    places = (root / relative, root / "images" / relative)
    # `Path.is_file` fails on names that are too long.
    return next((path for path in places if os.path.isfile(path)), None)


def _missing(images: list[Mapping], files: Mapping[Any, Path | None]) -> Iterator[str]:
    for image in images:
        if files[image["id"]] is None:
            yield f"image {image['file_name']}: no such file in this folder or its images/"
    if len(files) < len(images):
        yield "several images have the same id"


def _case(
    path: Path,
    image: Mapping,
    file: Path,
    *,
    keys: Mapping[Path, str],
    annotations: list[Mapping],
) -> AnnotatedCase:
    outlines = CocoOutlines(path, (image["height"], image["width"]), tuple(annotations))
    return AnnotatedCase(keys[file], keys[file], file, annotation=outlines)


@dataclass(frozen=True)
class CocoOutlines:
    """The annotations of one image: polygons or run lengths.

    Attributes:
        path: The COCO file, for messages.
        size: Height and width of the image according to the file.
        annotations: The annotations of this image, as the file has them.
    """

    path: Path
    size: tuple[int, int]
    annotations: tuple[Mapping[str, Any], ...] = field(hash=False)

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the bool mask, (height, width)."""
        if self.size != shape:
            raise ValueError(wrong_size(self.path, self.size, shape))
        mask = np.zeros(shape, bool)
        for annotation in self.annotations:
            try:
                mask |= _draw_segmentation(annotation.get("segmentation"), shape)
            except MALFORMED as error:
                where = f"{self.path}: annotation {annotation.get('id')}"
                raise ValueError(f"{where}: {error}") from error
        return mask


def _draw_segmentation(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    if not segmentation:
        raise ValueError("has no segmentation; a bounding box is not enough")
    if isinstance(segmentation, list):
        parts = [polygon_mask(list(zip(p[::2], p[1::2], strict=True)), shape) for p in segmentation]
        return np.logical_or.reduce(parts)
    counts = segmentation["counts"]
    return run_length_mask(decode_run_lengths(counts) if isinstance(counts, str) else counts, shape)


def polygon_mask(points: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """Fill a polygon by the even-odd rule.

    Args:
        points: Corners, (corners, 2), at least three, in order; the last is joined to the first.
        shape: Height and width in pixels.

    Returns:
        Bool, `(height, width)`. Polygons with a common edge neither overlap nor leave a gap.

    Raises:
        ValueError: These are not three or more points, or not finite.
    """
    corners = np.asarray(points, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ValueError(f"a polygon has at least three points (x, y), not {len(points)}")
    if not (np.abs(corners) <= _FARTHEST).all():
        raise ValueError(f"the points of a polygon are finite numbers, at most {_FARTHEST:,}")
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    for ends in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        # Always from the top, so that both polygons at an edge round its crossings alike.
        (x0, y0), (x1, y1) = sorted(ends, key=lambda end: end[1])
        rows = np.arange(_first_centre(y0, shape[0]), _first_centre(y1, shape[0]))
        if len(rows):
            columns = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            crossings[rows, np.clip(np.ceil(columns - 0.5), 0, shape[1]).astype(int)] += 1
    return np.cumsum(crossings[:, :-1], axis=1) % 2 == 1


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

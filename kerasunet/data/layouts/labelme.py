"""Polygons drawn with labelme: `x.json` beside `x.jpg`."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from kerasunet.data.cases import AnnotatedCase, Case
from kerasunet.data.layouts.listing import Files, image_files, image_stem, json_files
from kerasunet.data.layouts.outlines import MALFORMED, circle_mask, polygon_mask
from kerasunet.data.layouts.pairing import doubled
from kerasunet.data.problems import report_all, wrong_size
from kerasunet.data.reading.embedded import read_png
from kerasunet.files import read_json


def labelme(folder: Path) -> list[Case] | None:
    """Reads `x.json` beside `x.jpg`; an image without an object has a file without shapes."""
    images = image_files(folder)
    files = json_files(folder)
    if not images.keys() & files.keys():
        return None
    problems = [*doubled(images), *_alone(images, files)]
    report_all(problems, f"{len(problems)} files cannot be paired:")
    return [
        AnnotatedCase(key, key, paths[0], LabelmeFile(files[key], paths[0]))
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
        image: The image that it is about.
    """

    path: Path
    image: Path

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draws the bool mask, (height, width)."""
        content = read_json(self.path)
        if not _is_labelme(content):
            raise ValueError(f"{self.path}: not a labelme file, it has no list of shapes")
        self._require_same_image(content, shape)
        mask = np.zeros(shape, bool)
        for number, drawn in enumerate(content["shapes"], start=1):
            try:
                mask |= _draw(drawn, shape)
            except MALFORMED as error:
                raise ValueError(f"{self.path}: shape {number}: {error}") from error
        return mask

    def _require_same_image(self, content: Mapping[str, Any], shape: tuple[int, int]) -> None:
        name = PureWindowsPath(content.get("imagePath") or "").name
        if name and image_stem(name) != image_stem(self.image.name):
            raise ValueError(f"{self.path}: was drawn on {name}, not on {self.image.name}")
        size = (content.get("imageHeight") or shape[0], content.get("imageWidth") or shape[1])
        if size != shape:
            raise ValueError(wrong_size(self.path, size, shape, self.image.name))


def _draw(drawn: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
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
    """A small PNG image, in base64, whose top left pixel belongs at the corner."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"its mask is not in base64 ({error})") from error
    pixels = read_png(content, shape[0] * shape[1])
    left, top = (round(value) for value in corner)
    bottom, right = top + pixels.shape[0], left + pixels.shape[1]
    if min(top, left) < 0 or bottom > shape[0] or right > shape[1]:
        raise ValueError("its mask reaches beyond the image")
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = pixels > 0
    return mask

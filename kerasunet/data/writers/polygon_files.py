"""Files of polygons for programs in which people correct them: labelme and COCO.

Neither has polygons with holes. In labelme, a hole is a shape labeled `_background_`, which cuts
what stands before it in the file, in labelme's own export as in `data.layouts.labelme`. In COCO, a
seam joins a hole to its outline, so that one polygon says both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data.layouts.annotations import NO_OBJECT
from kerasunet.data.writers.outlines import Region, regions, ring_area
from kerasunet.files import read_record

_HOLE = NO_OBJECT[0]
_VERSION = "5.5.0"  # Of the format; labelme warns of another first number.
_PARTS = ("images", "annotations", "categories")


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


def read_coco_images(path: Path) -> dict[str, CocoImage]:
    """Return, by name, the images of a file that `coco_content` made, to write it with others.

    Raises:
        ValueError: It is another file.
    """
    content = read_record(path, _PARTS, "a COCO file")
    found: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        kept = {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
        found[annotation["image_id"]].append(kept)
    return {
        image["file_name"]: CocoImage(
            image["file_name"], (image["height"], image["width"]), tuple(found[image["id"]])
        )
        for image in content["images"]
    }

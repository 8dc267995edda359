"""COCO: the polygons of all images in one JSON file, an annotation for each connected part.

COCO has no polygons with holes. A seam joins a hole to its outline, so that one polygon says both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data.writers.outlines import Region, regions
from kerasunet.files import read_record

_PARTS = ("images", "annotations", "categories")


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

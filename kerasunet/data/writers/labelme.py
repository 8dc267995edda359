"""labelme: a JSON file for each image, to be opened and corrected there.

labelme has no polygons with holes. A hole is a shape labeled `_background_`, which cuts what stands
before it in the file, in labelme's own export as in `data.layouts.labelme`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasunet.data.layouts.annotations import NO_OBJECT
from kerasunet.data.writers.outlines import regions, ring_area

_HOLE = NO_OBJECT[0]
_VERSION = "5.5.0"  # Of the format; labelme warns of another first number.


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

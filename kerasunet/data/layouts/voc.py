"""Pascal VOC: `JPEGImages/` and `SegmentationClass/` (Everingham et al., IJCV 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasunet.data.cases import AnnotatedCase, Case
from kerasunet.data.layouts.listing import image_files
from kerasunet.data.layouts.pairing import pair
from kerasunet.data.problems import wrong_size
from kerasunet.data.reading import read_image

_VOID = (224, 224, 192)


def pascal_voc(folder: Path) -> list[Case] | None:
    """Reads `JPEGImages/` with `SegmentationClass/`; an image without a mask is left out.

    The format shares its images with other tasks, so that most have no mask.
    """
    if not all((folder / name).is_dir() for name in ("JPEGImages", "SegmentationClass")):
        return None
    masks = image_files(folder / "SegmentationClass")
    images = image_files(folder / "JPEGImages")
    cases = pair({key: images[key] for key in images if key in masks}, masks)
    return [AnnotatedCase(c.key, c.group, c.image, VocMask(c.masks[0])) for c in cases]


@dataclass(frozen=True)
class VocMask:
    """A class mask, coloured or as class numbers.

    Every class counts as the object; the void outline between object and background does not.
    """

    path: Path

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Reads the bool mask, (height, width)."""
        values, _ = read_image(self.path)
        if values.shape[:2] != shape:
            raise ValueError(wrong_size(self.path, values.shape, shape))
        if values.ndim == 3:
            return values.any(axis=2) & (values != _VOID).any(axis=2)
        several_classes = ((values > 0) & (values < 255)).any()
        return (values > 0) & ~((values == 255) & several_classes)

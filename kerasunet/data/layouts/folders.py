"""One's own images and mask files: in two folders, or side by side."""

from __future__ import annotations

from pathlib import Path

from kerasunet.data.cases import Case
from kerasunet.data.layouts.listing import Files, image_files, nested_image_files, subfolder
from kerasunet.data.layouts.pairing import by_image, images_beside_masks, pair

IMAGE_FOLDERS = ("images", "imgs", "image")
MASK_FOLDERS = ("masks", "labels", "mask", "label")


def images_and_masks(folder: Path) -> list[Case] | None:
    """Reads `images/x.jpg` with `masks/x.png`, or with `masks/x_mask.png`, `masks/x_seg_1.png` …

    Both folders may have subfolders of equal names.
    """
    found = _image_and_mask_files(folder)
    if found is None:
        return None
    images, masks = found
    return pair(images, by_image(masks, images))


def _image_and_mask_files(folder: Path) -> tuple[Files, Files] | None:
    image_folder, mask_folder = subfolder(folder, *IMAGE_FOLDERS), subfolder(folder, *MASK_FOLDERS)
    if image_folder is None or mask_folder is None:
        return None
    masks = nested_image_files(mask_folder)
    return (nested_image_files(image_folder), masks) if masks else None


def masks_beside_images(folder: Path) -> list[Case] | None:
    """Reads `x.png` with `x_mask.png`, `x_mask_1.png` …, all in one folder."""
    images, masks = images_beside_masks(image_files(folder))
    return pair(images, masks) if masks else None

"""Images that are drawn in a moment, with their masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kerasunet.data.readers import read_image


def disc_images(count: int, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on noise: uint8 images and bool masks, `(count, size, size)`."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images, masks = [], []
    for _ in range(count):
        row, column = rng.uniform(size * 0.3, size * 0.7, 2)
        mask = (rows - row) ** 2 + (columns - column) ** 2 < (size * 0.2) ** 2
        images.append(np.clip(rng.normal(80, 20, (size, size)) + 100 * mask, 0, 255))
        masks.append(mask)
    return np.array(images).astype(np.uint8), np.array(masks)


def write_disc_pairs(folder: Path, count: int) -> Path:
    """Write discs of 40×40 pixels and their masks as `images/` and `masks/`; return the folder."""
    images, masks = disc_images(count, size=40)
    for name, pictures in (("images", images), ("masks", masks.astype(np.uint8) * 255)):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(folder / name / f"case{number}.png"), picture)
    return folder


def read_levels(path: Path, **options) -> np.ndarray:
    """Read an image as `read_image` does, and check dtype and range of what every image is."""
    image, _ = read_image(path, **options)
    assert image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 255
    return image

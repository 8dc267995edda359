"""Images that are drawn in a moment, with their masks."""

from __future__ import annotations

import numpy as np


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

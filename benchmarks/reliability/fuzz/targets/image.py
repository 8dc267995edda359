"""PNG, JPEG, BMP and TIFF files, as image and as mask."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from kerasunet.data.readers import count_frames, raster, read_image, read_mask_values  # noqa: F401
from targets._refusals import reading

LONGEST = 1024
_PIXELS = 1 << 16


def seeds() -> Iterable[bytes]:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    color = np.stack([gray, gray[::-1], gray[:, ::-1]], axis=-1)
    pictures = [gray, color, gray > 20, gray.astype(np.uint16) * 300]
    made = [
        _encoded(picture, kind)
        for kind in ("PNG", "BMP", "TIFF", "JPEG")
        for picture in pictures
        if not (kind in ("BMP", "JPEG") and picture.dtype != np.uint8)
    ]
    made += [_encoded(gray, "TIFF", compression=f"tiff_{how}") for how in ("lzw", "adobe_deflate")]
    made += [
        _encoded(gray.astype(np.float32), "TIFF"),
        _encoded(gray > 20, "TIFF", compression="group4"),
    ]
    made += [_encoded(color, "JPEG", progressive=True, quality=20)]
    return made


def read(path: Path) -> None:
    """Has one of the three readers read the file; its length says which."""
    (_read_image, _read_mask, count_frames)[path.stat().st_size % 3](path)


def _read_image(path: Path) -> None:
    image, spacing = read_image(path, size_limit=_PIXELS)
    assert image.dtype == np.float32 and image.shape[2:] in ((), (3,)), image.shape
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 255
    assert spacing is None or min(spacing) > 0


def _read_mask(path: Path) -> None:
    mask = read_mask_values(path, size_limit=_PIXELS)
    assert mask.dtype.kind == "u" and mask.ndim == 2, (mask.dtype, mask.shape)


def checker(folder: Path) -> Callable[[bytes], None]:
    return reading(folder / "picture", read)


def _encoded(pixels: np.ndarray, kind: str, **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()

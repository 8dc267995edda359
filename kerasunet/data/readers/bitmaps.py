"""What PNG and BMP files say that Pillow does not do: deep opacity and transparency, few grays."""

from __future__ import annotations

import struct

import numpy as np
from PIL.Image import Image, frombytes
from PIL.ImageFile import ImageFile

from kerasunet.data.readers.source import Source, Unusable

DEEP_GRAY = "LA;16B"
"""Pillow's name for gray levels of 16 bits with an opacity, of which it keeps the upper bytes."""
_FOUR_BYTES = "RGBA"
_SCALES = {"L;2": 85, "L;4": 17}
_DEEP_PIXELS = ("RGB;16B", "I;16B")
_CORE_HEADER = 12
_BITS_AT, _BITS_OF_CORE_AT = 28, 24


def scale_transparency(picture: ImageFile, raw_mode: str) -> None:
    """Scale the transparent level of a PNG of 2 or 4 bits as Pillow scales its pixels."""
    level = picture.info.get("transparency")
    if isinstance(level, int) and raw_mode in _SCALES:
        picture.info["transparency"] = level * _SCALES[raw_mode]


def take_transparency(picture: ImageFile, raw_mode: str) -> int | tuple[int, ...] | None:
    """Remove and return the transparent level or color of 16 bits, which Pillow looks for in 8."""
    return picture.info.pop("transparency", None) if raw_mode in _DEEP_PIXELS else None


def with_opacity(pixels: np.ndarray, transparent: int | tuple[int, ...]) -> np.ndarray:
    """Add a channel of opacity to gray levels or colors: 0 where they are transparent.

    Args:
        pixels: Uint16, `(height, width)` or `(height, width, 3)`.
        transparent: The level, or the color.
    """
    channels = pixels if pixels.ndim == 3 else pixels[..., None]
    opaque = (channels != np.asarray(transparent)).any(axis=2, keepdims=True)
    return np.concatenate([channels, opaque * np.uint16(np.iinfo(np.uint16).max)], axis=2)


def split_bytes(picture: ImageFile) -> None:
    """Make gray levels and opacity of 16 bits, not yet decoded, decode to their four bytes."""
    picture._mode = _FOUR_BYTES
    picture.tile = [tile._replace(args=_FOUR_BYTES) for tile in picture.tile]


def joined_bytes(split: np.ndarray) -> np.ndarray:
    """Join the bytes that `split_bytes` parted: uint16, `(height, width, 2)`."""
    return np.ascontiguousarray(split).view(">u2").astype(np.uint16)


def bmp_levels(picture: ImageFile, source: Source) -> np.ndarray | None:
    """Return the gray levels of a BMP whose number of bits Pillow takes for another.

    It judges by the palette alone: black and white is one bit, a ramp of gray eight.

    Returns:
        Uint8, `(height, width)`; `None` if Pillow is right.
    """
    usual = {"1": 1, "L": 8}.get(picture.mode)
    bits = _bits_of(source)
    if usual in (None, bits):
        return None
    codec, _, offset, arguments = picture.tile[0]
    if codec != "raw":
        raise Unusable("a compressed BMP file with a short palette of gray; save it as PNG")
    assert isinstance(arguments, tuple)
    _, stride, direction = arguments
    source.file.seek(offset)
    content = source.file.read(stride * picture.height)
    raw_mode = {4: "P;4", 8: "P"}[bits]
    numbers: Image = frombytes("P", picture.size, content, "raw", raw_mode, stride, direction)
    values = np.asarray(numbers)
    return (values == 1) * np.uint8(255) if usual == 1 else values


def _bits_of(source: Source) -> int:
    """Return the bits of a pixel that a BMP file states."""
    source.file.seek(0)
    head = source.file.read(_BITS_AT + 2)
    (size,) = struct.unpack_from("<I", head, 14)
    return int(
        struct.unpack_from("<H", head, _BITS_OF_CORE_AT if size == _CORE_HEADER else _BITS_AT)[0]
    )

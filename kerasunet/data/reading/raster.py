"""PNG, JPEG, BMP and TIFF, read by Pillow.

The classes of the four formats are used directly: `PIL.Image.open` would try dozens of formats,
and apply Pillow's process-wide limit of pixels instead of the one asked for.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress

import numpy as np
from PIL import BmpImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL.Image import Image
from PIL.ImageFile import ImageFile

from kerasunet.data.reading import tiff
from kerasunet.data.reading.deep_colour import is_deep_colour, take_lower_bytes
from kerasunet.data.reading.levels import to_levels, to_mask_values, without_equal_channels
from kerasunet.data.reading.quiet import quiet, quiet_native_code
from kerasunet.data.reading.source import Source

_FORMATS = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_ARRAY_MODES = ("1", "L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_NOISY_METADATA = (b"Exif", b"eXIf", b"acTL")


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Reads float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with _silence(source):
        picture = _open(source)
        pixels = without_equal_channels(_pixels(picture, source))
        if source.kind != "TIFF":
            return to_levels(pixels), None
        levels = to_levels(pixels)
        return 255 - levels if tiff.shows_zero_as_white(picture) else levels, tiff.spacing(picture)


def read_mask(source: Source) -> np.ndarray:
    """Reads unsigned integers, `(height, width)`."""
    with _silence(source):
        picture = _open(source)
        if picture.mode == "P" and not _has_grey_palette(picture):
            return np.array(_upright(picture))
        return to_mask_values(_pixels(picture, source))


def count_frames(source: Source) -> int:
    """Returns the number of pages of a TIFF; all else has one."""
    with _silence(source):
        return _open(source).n_frames if source.kind == "TIFF" else 1


def _silence(source: Source) -> AbstractContextManager[None]:
    """Silence where Pillow may warn; the common files do without, for threads wait for it."""
    head = source.file.peek()
    noisy = source.kind == "TIFF" or any(mark in head for mark in _NOISY_METADATA)
    return quiet("PIL") if noisy else nullcontext()


def _open(source: Source) -> ImageFile:
    """The wanted page, of which only the header has been read."""
    source.file.seek(0)
    picture = _FORMATS[source.kind](source.file)
    if source.frame:
        source.check_frame(picture.n_frames if source.kind == "TIFF" else 1)
        picture.seek(source.frame)
    source.check_size(*picture.size)
    if source.kind == "TIFF":
        tiff.check_planes(picture)
    return picture


def _pixels(picture: ImageFile, source: Source) -> np.ndarray:
    """Decodes to `(height, width)` of any type or RGB `(height, width, 3)`, upright and opaque."""
    deep = is_deep_colour(picture)
    pixels = _array(_upright(picture))
    if deep:
        lower = _open(source)
        take_lower_bytes(lower)
        pixels = pixels.astype(np.uint16) << 8 | _array(_upright(lower))
    return _over_black(pixels) if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else pixels


def _upright(picture: ImageFile) -> Image:
    """The same picture, decoded and turned as its EXIF orientation says."""
    by_libtiff = any(tile[0] == "libtiff" for tile in picture.tile)
    with quiet_native_code() if by_libtiff else nullcontext():
        picture.load()
    with suppress(Exception):  # Broken metadata is no reason to refuse good pixels.
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _array(picture: Image) -> np.ndarray:
    """Values of all channels; those of a palette, of CMYK and the like are turned into RGB."""
    if picture.mode not in _ARRAY_MODES:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return np.asarray(picture)


def _over_black(pixels: np.ndarray) -> np.ndarray:
    """Puts translucent pixels, whose last channel is the opacity, on black.

    Where nothing at all is opaque, the writer left that channel unset, and it is ignored.
    """
    colour, opacity = pixels[..., :-1], pixels[..., -1:]
    opaque = np.iinfo(pixels.dtype).max
    if opacity.any() and opacity.min() < opaque:
        colour = np.rint(colour * (opacity / np.float32(opaque))).astype(pixels.dtype)
    return colour[..., 0] if colour.shape[2] == 1 else colour


def _has_grey_palette(picture: ImageFile) -> bool:
    colours = np.reshape(picture.getpalette("RGB"), (-1, 3))
    return bool((colours == colours[:, :1]).all())

"""PNG, JPEG, BMP, GIF, WebP and TIFF files, decoded by Pillow.

Of colors with 16 bits per channel Pillow keeps only the upper byte, which it finds by the byte
order in a tile's raw mode (`RGB;16B`). Decoded once more with the opposite order, the same tile
yields the lower byte.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    TiffImagePlugin as tags,
    WebPImagePlugin,
)
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kerasunet.data.readers.files import SIZE_LIMIT
from kerasunet.data.readers.imagej import has_regions, spacing_of, step_of
from kerasunet.data.readers.levels import to_levels
from kerasunet.data.readers.masks import MaskValues, indexed, stored
from kerasunet.data.readers.pillow_gaps import (
    DEEP_GRAY,
    ON_THEIR_SIDE,
    bmp_levels,
    check_canvas,
    check_numbers,
    check_stack,
    check_storage,
    check_whole,
    counts_from_white,
    exif_orientation,
    full_pages,
    joined_bytes,
    mend_palette,
    rare_numbers,
    scale_transparency,
    shows_zero_as_white,
    split_bytes,
    take_transparency,
    typed,
    with_opacity,
)
from kerasunet.data.readers.source import (
    Partner,
    Source,
    Unusable,
    check_order,
    heard_native_code,
    quiet,
    rare_jpeg,
    without_equal_channels,
)

_DEEP = re.compile("(RGB|RGBA|RGBX);16[BLN]")
_IN_FILE_ORDER = re.compile(r"([IF];\d+)B([SF])\Z")  # As Pillow takes what libtiff has turned.
_OPPOSITE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_FORMATS = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_MARKS = {"JPEG": (b"\xff\xd8\xff",), "BMP": (b"BM",), "TIFF": (b"II", b"MM")}
_ARRAY_MODES = ("1", "L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_DOWN = np.arange(256, dtype=np.uint8)[::-1]
_FROM_WHITE = "its values count from white down; save it with 0 as black"
_LOSSY = ("jpeg", "tiff_jpeg", "webp")  # Compressions inside TIFF.
_ANIMATED, _WEBP_HEADER = ("GIF", "WebP", "PNG"), 4096  # Bytes.
_LIBTIFF = re.compile(  # Its functions, codecs and what Pillow calls the file.
    r"(tempfile\.tif|_?TIFF\w+|O?JPEG\w+|(Fax|LZW|ZIP|ZSTD|LZMA|PackBits|WebP|LERC|LogL|PixarLog|"
    r"ThunderDecode|NeXTDecode|DumpMode|Predictor)\w*): "
)
_NOISY_METADATA = (b"Exif", b"eXIf", b"acTL")


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with _silence(source):
        picture = _open(source)
        if isinstance(picture, JpegImagePlugin.JpegImageFile) and _is_multi_picture(picture):
            source.remarks.append("its further pictures, such as a preview or depth, were left out")
        check_whole(picture, source, exact=False)
        is_tiff = isinstance(picture, TiffImageFile)
        on_side = is_tiff and exif_orientation(picture, source) in ON_THEIR_SIDE
        levels = to_levels(without_equal_channels(_pixels(picture, source)))
        if not isinstance(picture, TiffImageFile):
            return levels, None
        spacing = spacing_of(picture, on_side=on_side)
        return 255 - levels if shows_zero_as_white(picture) else levels, spacing


def read_mask(source: Source) -> MaskValues:
    """Read values, `(height, width)`, and their colors if there are any."""
    with _silence(source):
        picture = _open(source)
        if source.partner is not None:
            _check_turn(picture, source, source.partner)
        if isinstance(picture, TiffImageFile) and counts_from_white(picture):
            raise Unusable(_FROM_WHITE)
        check_whole(picture, source, exact=True)
        if picture.mode == "P":
            found = _indexed(picture)
        else:
            found = stored(_channels(picture, source), lossy=_is_lossy(picture, source))
        if not found.values.any() and has_regions(picture):
            raise Unusable("black, with ImageJ regions, which are not read; flatten or fill them")
        return found


def _is_multi_picture(picture: JpegImagePlugin.JpegImageFile) -> bool:
    """Return whether a JPEG file holds other pictures after the first (CIPA DC-007, MPF)."""
    return any(name == "APP2" and part[:4] == b"MPF\0" for name, part in picture.applist)


def _is_lossy(picture: ImageFile, source: Source) -> bool:
    """Return whether the compression changed values; WebP has both kinds, told by its chunks."""
    if source.kind != "WebP":
        return source.kind == "JPEG" or picture.info.get("compression") in _LOSSY
    source.file.seek(0)
    return b"VP8L" not in source.file.read(_WEBP_HEADER)


def _indexed(picture: ImageFile) -> MaskValues:
    """Read indices and their palette; ImageJ writes one from white down, and means the object."""
    palette = _palette(picture)
    if np.array_equal(palette[:, :3], np.repeat(_DOWN[:, None], 3, axis=1)):
        raise Unusable(_FROM_WHITE)
    return indexed(np.array(_upright(picture)), palette)


def _palette(picture: Image) -> np.ndarray:
    """Return 256 entries, uint8, `(256, 4)`; those that the file lacks are opaque black."""
    palette = np.zeros((256, 4), np.uint8)
    colors = np.reshape(picture.getpalette("RGB") or [], (-1, 3))
    palette[: len(colors), :3], palette[:, 3] = colors, 255
    transparency = picture.info.get("transparency", b"")
    if isinstance(transparency, int):
        palette[transparency, 3] = 0
    else:
        palette[: len(transparency), 3] = list(transparency)
    return palette


def count_frames(source: Source) -> int:
    """Return the number of pages of a TIFF; other files have one."""
    with _silence(source):
        return len(_pages(_open(source)))


def read_embedded(content: bytes, size_limit: int = SIZE_LIMIT) -> np.ndarray:
    """Read an image in memory, as `read_image` reads it from a file.

    Args:
        content: The bytes of a PNG, JPEG, BMP or TIFF file.
        size_limit: Largest height times width; checked before pixels are decoded.

    Returns:
        Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.

    Raises:
        ValueError: It is none of these, damaged or larger.
    """
    try:
        return read_image(_in_memory(content, size_limit))[0]
    except Exception:  # Decoders answer broken bytes with exceptions of every type.
        raise ValueError(
            "its image is not PNG, JPEG, BMP or TIFF, or damaged, or too large"
        ) from None


def embedded_size(content: bytes) -> tuple[int, int]:
    """Return height and width of an image in memory, by its header.

    Raises:
        ValueError: It is none that is read.
    """
    source = _in_memory(content, SIZE_LIMIT)
    try:
        picture = _open(source)
        width, height = picture.size
        on_side = exif_orientation(picture, source) in ON_THEIR_SIDE
    except Exception:  # As above.
        raise ValueError("its image is damaged") from None
    return (width, height) if on_side else (height, width)


def _in_memory(content: bytes, size_limit: int) -> Source:
    kind = next((kind for kind, marks in _MARKS.items() if content.startswith(marks)), "PNG")
    return Source(io.BufferedReader(io.BytesIO(content)), kind, 0, size_limit=size_limit)


def step(source: Source) -> float | None:
    """Return millimeters from a page to the next; `None` if that is not known."""
    with _silence(source):
        return step_of(_open(source))


def locate(source: Source) -> Partner:
    """Return the page as the partner of a mask; it has no place in the patient."""
    with _silence(source):
        picture = _open(source)
        width, height = picture.size
        if isinstance(picture, TiffImageFile):  # Pillow may have exchanged them already.
            width, height = (picture.tag_v2[tag] for tag in (tags.IMAGEWIDTH, tags.IMAGELENGTH))
        exif = exif_orientation(picture, source)
        if exif in ON_THEIR_SIDE:
            width, height = height, width
        order = "turned" if exif != 1 else "stored"
        return Partner(
            source.name,
            source.frame,
            len(_pages(picture)),
            shape=(height, width),
            order="unknown" if exif in ON_THEIR_SIDE else order,
            exif=exif,
        )


def _check_turn(picture: ImageFile, source: Source, image: Partner) -> None:
    """Refuse a mask if only one of it and its image is turned by EXIF, unless the shape decides.

    It may have been drawn on the picture as it is shown, or as it is stored.
    """
    if image.exif == 1 and image.order != "stored":
        check_order(image)
    own = exif_orientation(picture, source)
    height, width = image.shape
    on_side = [turn in ON_THEIR_SIDE for turn in (own, image.exif)]
    if own != image.exif and (on_side[0] == on_side[1] or height == width):
        raise Unusable(
            f"the mask and {image.name} have different EXIF orientations, so it is unknown which "
            "view the mask was drawn on; save both without an EXIF orientation, so that they match"
        )


def read_png(content: bytes, size_limit: int) -> np.ndarray:
    """Read a PNG image in memory as a mask: unsigned integers, `(height, width)`.

    Raises:
        ValueError: It is no PNG image, damaged, or has more pixels than the limit.
    """
    source = Source(io.BufferedReader(io.BytesIO(content)), "PNG", 0, size_limit=size_limit)
    try:
        return read_mask(source).numbers()
    except Exception:  # Decoders answer broken bytes with exceptions of every type.
        raise ValueError("its mask is not a PNG image, or larger than its image") from None


def _silence(source: Source) -> AbstractContextManager[None]:
    """Silence Pillow where it may warn; not for common files, because threads wait for it."""
    head = source.file.peek()
    noisy = source.kind == "TIFF" or any(mark in head for mark in _NOISY_METADATA)
    return quiet("PIL") if noisy else nullcontext()


def _open(source: Source) -> ImageFile:
    """Open the wanted page; only its header is read."""
    source.file.seek(0)
    try:
        picture = _FORMATS[source.kind](source.file)
    except SyntaxError:
        rare = {"TIFF": rare_numbers, "JPEG": rare_jpeg}.get(source.kind)
        if rare and (found := rare(source)):
            raise Unusable(found) from None
        raise
    if isinstance(picture, TiffImageFile):
        check_stack(picture, source)
    if source.frame:
        source.check_frame(len(_pages(picture)))
    if isinstance(picture, TiffImageFile):
        picture.seek(_pages(picture)[source.frame])
    source.check_size(*picture.size)
    if isinstance(picture, TiffImageFile):
        mend_palette(picture)
        check_storage(picture)
    if source.kind in _ANIMATED and (count := getattr(picture, "n_frames", 1)) > 1:
        raise Unusable(f"an animation of {count:,} pictures; export what was outlined as PNG")
    if source.kind == "GIF":
        check_canvas(picture)
    if source.kind == "PNG":
        scale_transparency(picture, _raw_mode_of(picture))
    return picture


def _pages(picture: ImageFile) -> Sequence[int]:
    return full_pages(picture) if isinstance(picture, TiffImageFile) else (0,)


def _pixels(picture: ImageFile, source: Source) -> np.ndarray:
    """Decode to `(height, width)` of any type or RGB `(height, width, 3)`, upright and opaque."""
    pixels = _channels(picture, source)
    return _over_black(pixels) if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else pixels


def _channels(picture: ImageFile, source: Source) -> np.ndarray:
    """Decode to `(height, width)` or `(height, width, 2 to 4)`, any type, upright."""
    if source.kind == "BMP" and (levels := bmp_levels(picture, source)) is not None:
        return levels
    if source.kind == "PNG":
        return _png_channels(picture, source)
    deep = _is_deep_color(picture)
    pixels = _array(_upright(picture))
    if isinstance(picture, TiffImageFile):
        pixels = typed(pixels, picture)
    return _with_lower_bytes(pixels, source) if deep else pixels


def _png_channels(picture: ImageFile, source: Source) -> np.ndarray:
    """Decode a PNG as `_channels` does; of 16 bits, Pillow knows neither opacity nor color."""
    raw_mode = _raw_mode_of(picture)
    if raw_mode == DEEP_GRAY:
        split_bytes(picture)
        return joined_bytes(np.asarray(_upright(picture)))
    transparent = take_transparency(picture, raw_mode)
    pixels = _array(_upright(picture))
    if _DEEP.fullmatch(raw_mode):
        pixels = _with_lower_bytes(pixels, source)
    return pixels if transparent is None else with_opacity(pixels, transparent)


def _with_lower_bytes(upper: np.ndarray, source: Source) -> np.ndarray:
    """Add the lower bytes to the upper ones of 16-bit colors, of as many channels."""
    lower = _open(source)
    lower.info.pop("transparency", None)
    _take_as(lower, lambda mode: mode[:-1] + _OPPOSITE[mode[-1]])
    return upper.astype(np.uint16) << 8 | _array(_upright(lower))


def _upright(picture: ImageFile) -> Image:
    """Decode a picture and turn it as its EXIF orientation says."""
    by_libtiff = any(tile[0] == "libtiff" for tile in picture.tile)
    if by_libtiff:
        _take_as(picture, lambda mode: _IN_FILE_ORDER.sub(r"\1N\2", mode))
    with heard_native_code(_LIBTIFF) if by_libtiff else nullcontext():
        picture.load()
    if picture.mode == "P":
        check_numbers(picture)
    with suppress(Exception):  # Broken metadata is no reason to refuse good pixels.
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _array(picture: Image) -> np.ndarray:
    """Return the values of all channels; palettes, CMYK and the like become RGB.

    One gray level or color may be declared transparent, which gives a channel of opacity.
    """
    declared = picture.mode in ("1", "L", "RGB") and picture.has_transparency_data
    if picture.mode not in _ARRAY_MODES or declared:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return np.asarray(picture)


def _over_black(pixels: np.ndarray) -> np.ndarray:
    """Put translucent pixels, whose last channel is the opacity, on black.

    Where nothing at all is opaque, the writer left that channel unset, and it is ignored.
    """
    color, opacity, opaque = pixels[..., :-1], pixels[..., -1:], np.iinfo(pixels.dtype).max
    if opacity.any() and opacity.min() < opaque:
        color = np.rint(color * (opacity / np.float32(opaque))).astype(pixels.dtype)
    return color[..., 0] if color.shape[2] == 1 else color


def _is_deep_color(picture: ImageFile) -> bool:
    """Return whether the file, not yet decoded, has colors of 16 bits."""
    return _DEEP.fullmatch(_raw_mode_of(picture)) is not None


def _take_as(picture: ImageFile, change: Callable[[str], str]) -> None:
    """Make Pillow take the pixels of a picture, not yet decoded, as stored in another way."""
    for number, tile in enumerate(picture.tile):
        mode, rest = change(_raw_mode(tile.args)), tile.args[1:] if tile.args else ""
        arguments = (mode, *rest) if isinstance(tile.args, tuple) else mode
        picture.tile[number] = tile._replace(args=arguments)


def _raw_mode_of(picture: ImageFile) -> str:
    """Return how the pixels of a file, not yet decoded, are stored."""
    return _raw_mode(picture.tile[0].args) if picture.tile else ""


def _raw_mode(arguments: str | tuple | None) -> str:
    return str(arguments[0]) if isinstance(arguments, tuple) else arguments or ""

"""What image files say that Pillow does not do.

Of TIFF: what stands beside the pixels; of PNG: opacity and transparency of few and of 16 bits; of
BMP: gray palettes and run lengths; of all: EXIF without decoding, and damage.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import ImagePalette, TiffImagePlugin as tags
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image, frombytes
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kerasunet.data.readers.source import Source, Unusable, chunks, heard_native_code

_IMAGEJ_STACK = re.compile(r"\AImageJ=.*?^images=(\d+)$", re.MULTILINE | re.DOTALL)
_CHANNELS = re.compile(r'(?ms)\AImageJ=.*?^channels=(\d+)$|<Pixels\b[^>]*\bSizeC="(\d+)"')
_OME = re.compile(r"(?s)<(?:\w+:)?Pixels\b(.*?)</(?:\w+:)?Pixels>")
_OME_PAGES, _STATED = re.compile(r"<(?:\w+:)?TiffData\b"), re.compile(r'(\w+)="(\w+)"')
_CUT_STACK = re.compile(r'\A\{.*"shape": \[(\d+), .*"truncated": true')
_BIG, _DEPTH, _PLANES = b"+", 32997, 33629  # BigTIFF's version; slices in one directory, two ways.
_MOST_CHANNELS, _MOST_SHOWN = 4, 7  # ImageJ shows seven together; more are slices.
_NEW_SUBFILE_TYPE, _REDUCED, _MOST_PAGES, _YCBCR = 254, 1, 16, 6
_FAX, _DEFLATED = ("tiff_ccitt", "group3", "group4"), ("tiff_adobe_deflate", "tiff_deflate")
_SAMPLE_KINDS = {1: "integers", 2: "signed integers", 3: "floats", 5: "complex integers"}
DEEP_GRAY = "LA;16B"
"""Pillow's name for gray levels of 16 bits with an opacity, of which it keeps the upper bytes."""
_FOUR_BYTES, _THREE_OF_FOUR = "RGBA", "BGRX"
_SCALES, _DEEP_PIXELS = {"L;2": 85, "L;4": 17}, ("RGB;16B", "I;16B")
_CORE_HEADER, _BITS_AT, _BITS_OF_CORE_AT = 12, 28, 24
_STRIPS = ((tags.STRIPOFFSETS, tags.STRIPBYTECOUNTS), (tags.TILEOFFSETS, tags.TILEBYTECOUNTS))
_COLORS, _ORIENTATION, _PIECE, _MOST_UNPACKED = 256, 0x0112, 1 << 20, 4
_SURPLUS = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker")
_BROKEN = re.compile(r"(Corrupt JPEG data|Premature end of JPEG|Inconsistent progression)")
_DAMAGED = (
    "damaged: {}, so part of its pixels may be wrong; copy or export it again, or, if it looks "
    "whole in a viewer, save it as PNG"
)
ON_THEIR_SIDE = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""


def rare_numbers(source: Source) -> str:
    """Describe the numbers of a TIFF file that Pillow does not open; empty if that is damaged."""
    source.file.seek(0)
    with suppress(Exception):  # Whatever broken bytes raise, the file is damaged then.
        head = source.file.read(8)
        is_big = _BIG in head[2:4]
        header = tags.ImageFileDirectory_v2(head + source.file.read(8) if is_big else head)
        source.file.seek(header.next)
        header.load(source.file)
        bits = {*header[tags.BITSPERSAMPLE]}
        kind = _SAMPLE_KINDS.get(header.get(tags.SAMPLEFORMAT, (1,))[0], "numbers of a rare kind")
        channels = header.get(tags.SAMPLESPERPIXEL, 1)
        return (
            f"a TIFF file of {channels} channel{'s' * (channels > 1)} of {max(bits)}-bit {kind}, "
            "which is not read; save gray levels as integers of 8 or 16 bits or floats of 32, "
            "colors with 8 or 16 bits"
        )
    return ""


def shows_zero_as_white(picture: TiffImageFile) -> bool:
    """Return whether values are still to be inverted, which Pillow does only up to 8 bits."""
    return picture.mode[0] in "IF" and picture.tag_v2.get(tags.PHOTOMETRIC_INTERPRETATION) == 0


def counts_from_white(picture: TiffImageFile) -> bool:
    """Return whether a mask may be inverted by what is seen, for 0 is shown white.

    ImageJ and tifffile mean the object by what they show black then; fax programs do not.
    """
    is_fax = picture.info.get("compression") in _FAX
    return not is_fax and picture.tag_v2.get(tags.PHOTOMETRIC_INTERPRETATION) == 0


def typed(pixels: np.ndarray, picture: TiffImageFile) -> np.ndarray:
    """Return values of the type that the file states.

    Pillow takes signed bytes for unsigned ones, and unsigned values of 32 bits for signed ones.
    """
    signed = picture.tag_v2.get(tags.SAMPLEFORMAT, (1,))[0] == 2
    bits = picture.tag_v2.get(tags.BITSPERSAMPLE, (1,))[0]
    if picture.mode == "L" and signed and bits == 8:
        return pixels.view(np.int8)
    return pixels.view(np.uint32) if picture.mode == "I" and not signed and bits == 32 else pixels


def check_stack(picture: TiffImageFile, source: Source) -> None:
    """Refuse a stack of which only the first picture is listed, channels as pages, another order.

    ImageJ writes stacks of 4 GB and more so, and tifffile on request: the others follow the first
    without a directory. The first page alone says what the pages are.
    """
    if (depth := picture.tag_v2.get(_DEPTH, 1)) > 1:
        raise Unusable(f"a volume of {depth:,} slices in one picture; save each slice as a page")
    description = str(picture.tag_v2.get(tags.IMAGEDESCRIPTION, ""))
    if _PLANES in picture.tag_v2 and isinstance(picture.tag_v2[_PLANES], tuple):
        raise Unusable("a stack of MetaMorph, which lists only its first picture; save each alone")
    if cut := _CUT_STACK.match(description):
        raise Unusable(
            f"a stack of {cut[1]} pictures that lists only the first; save it without `truncate`"
        )
    if (found := _CHANNELS.search(description)) and picture.n_frames > 1:
        channels = int(found[1] or found[2]) // picture.tag_v2.get(tags.SAMPLESPERPIXEL, 1)
        if 1 < channels <= _MOST_SHOWN:
            raise Unusable(f"{channels} channels as pages; save one, or RGB, or call them slices")
    if image := _OME.search(description):
        _check_order(picture, image[1])
    stated = _IMAGEJ_STACK.match(description)
    if stated is None or int(stated[1]) <= picture.n_frames:
        return
    width, height = picture.size
    bits = width * height * sum(picture.tag_v2.get(tags.BITSPERSAMPLE, (1,)))
    if source.file.seek(0, os.SEEK_END) >= int(stated[1]) * bits / 8:
        raise Unusable(
            f"a stack of {int(stated[1]):,} pictures that lists {picture.n_frames:,} of them, as "
            "ImageJ writes large ones; save it in parts, or as an image sequence"
        )


def full_pages(picture: TiffImageFile) -> Sequence[int]:
    """Return the numbers of the pages, without reduced copies of others, such as thumbnails.

    Files of many pages are stacks, which have none.
    """
    if not 1 < picture.n_frames <= _MOST_PAGES:
        return range(picture.n_frames)
    here, found = picture.tell(), []
    for page in range(picture.n_frames):
        picture.seek(page)
        if not picture.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & _REDUCED:
            found.append(page)
    picture.seek(here)
    return found or range(picture.n_frames)


def _check_order(picture: TiffImageFile, stated: str) -> None:
    """Refuse pages in another order than slices, then points in time, as OME-XML may state it."""
    image, *parts = [dict(_STATED.findall(part)) for part in _OME_PAGES.split(stated)]
    axes = [axis for axis in image.get("DimensionOrder", "ZT") if axis in "ZT"]
    inner, outer = (int(image.get(f"Size{axis}", "1")) for axis in axes)
    order = np.full((outer, inner), -1)
    for part in parts:
        first, above = (int(part.get(f"First{axis}", "0")) for axis in axes)
        planes = order.reshape(-1)[first + above * inner :]
        count = int(part.get("PlaneCount", "1" if "IFD" in part else planes.size))
        planes[:count] = np.arange(planes[:count].size) + int(part.get("IFD", "0"))
    pages = (order if axes[0] == "Z" else order.T).ravel().tolist()
    if sorted(pages) == list(range(picture.n_frames)) != pages:
        raise Unusable("pages in another order than slices, then points in time; save it by ImageJ")


def check_storage(picture: TiffImageFile) -> None:
    """Refuse pixels that Pillow drops, or decodes wrongly, because of how they are stored."""
    said = picture.tag_v2
    if (count := said.get(tags.SAMPLESPERPIXEL, 1)) > _MOST_CHANNELS:
        raise Unusable(f"{count} channels; save gray levels, or red, green and blue")
    if said.get(tags.PHOTOMETRIC_INTERPRETATION) == _YCBCR and said.get(tags.COMPRESSION, 1) == 1:
        raise Unusable("uncompressed YCbCr colors; save it as RGB, or as PNG")
    if said.get(tags.PLANAR_CONFIGURATION, 1) == 2 and max(said.get(tags.BITSPERSAMPLE, (1,))) > 8:
        raise Unusable("16-bit colors stored plane by plane; save them interleaved, or as PNG")
    if any(0 in said.get(offsets, ()) for offsets, _ in _STRIPS):
        raise Unusable("empty parts are left out, as by GDAL's SPARSE_OK; save it in full")


def check_numbers(picture: Image) -> None:
    """Refuse numbers that the palette lacks: some programs show them black, others white."""
    count, highest = len(picture.getpalette("RGB") or []) // 3, np.asarray(picture).max()
    if highest >= count:
        raise Unusable(f"has number {highest}, but a palette of {count}; save it as gray or RGB")


def mend_palette(picture: TiffImageFile) -> None:
    """Take a palette of 16 bits that fills 8 of them by those; Pillow keeps the upper ones."""
    levels = picture.tag_v2.get(tags.COLORMAP) if picture.mode == "P" else None
    if levels and max(levels) < _COLORS:
        picture.palette = ImagePalette.raw("RGB;L", bytes(levels))


def exif_orientation(picture: ImageFile, source: Source) -> int:
    """Return how a picture, not yet decoded, is to be turned: 1 for not at all, to 8."""
    if source.kind == "PNG" and _has_late_exif(source):
        picture.load()
    with suppress(Exception):  # Broken metadata turn nothing.
        # PNG's own method would decode the whole picture first.
        found = Image.getexif(picture).get(_ORIENTATION, 1)
        return found if found in range(1, 9) else 1
    return 1


def _has_late_exif(source: Source) -> bool:
    """Return whether a PNG file has EXIF after its pixels."""
    start = source.file.tell()
    kinds = [kind for kind, _ in chunks(source)]
    source.file.seek(start)
    return b"eXIf" in kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else False


def check_whole(picture: ImageFile, source: Source, *, exact: bool) -> None:
    """Refuse damage that Pillow decodes without a word, where a file lets it be told.

    Args:
        picture: The picture, not yet decoded.
        source: Its file.
        exact: Whether each pixel matters, as in a mask, so that what may be damage is refused, too.

    Raises:
        Unusable: A checksum does not fit the pixels (PNG, deflated TIFF), or JPEG's codes do not.
    """
    start = source.file.tell()
    if source.kind == "PNG":
        _check_chunks(source)
    elif isinstance(picture, TiffImageFile) and picture.info.get("compression") in _DEFLATED:
        _check_strips(picture, source)
    elif source.kind == "BMP":
        _check_bytes(picture, source, exact=exact)
    elif source.kind == "JPEG":
        source.file.seek(0)
        if remark := check_codes(source.file.read()):
            if exact:
                raise Unusable(_DAMAGED.format("its JPEG data do not fit together"))
            source.remarks.append(remark)
    source.file.seek(start)


def _check_chunks(source: Source) -> None:
    """Compare the checksums of the parts of a PNG that say what is seen (ISO 15948, 5.3)."""
    for kind, length in chunks(source):
        if kind == b"IEND":
            return
        content, end = source.file.read(length), source.file.read(4)
        matters = kind[:1].isupper() or kind == b"tRNS" or not kind.isalpha()
        if len(end) == 4 and matters and zlib.crc32(kind + content) != int.from_bytes(end, "big"):
            raise Unusable(_DAMAGED.format("a checksum does not fit"))


def _check_strips(picture: TiffImageFile, source: Source) -> None:
    """Unpack the strips or tiles of a deflated page, whose checksums libtiff does not compare."""
    width, height = picture.size
    most = _MOST_UNPACKED * (_PIECE + width * height * len(picture.getbands()))
    listed = ([picture.tag_v2.get(tag, ()) for tag in pair] for pair in _STRIPS)
    for at, size in (strip for found in listed for strip in zip(*found, strict=False)):
        source.file.seek(at)
        packed, unpacker, count = source.file.read(size), zlib.decompressobj(), 0
        try:
            while packed and count < most:
                count += len(unpacker.decompress(packed, _PIECE))
                packed = unpacker.unconsumed_tail
        except zlib.error:
            raise Unusable(_DAMAGED.format("a checksum does not fit")) from None


def check_codes(content: bytes) -> str:
    """Decode JPEG once more, by a library that says what does not fit.

    Args:
        content: The JPEG stream.

    Returns:
        What may be damage, as a remark; empty if there is nothing.

    Raises:
        Unusable: The codes of some pixels are missing or wrong.
    """
    import cv2  # Only here, because most files are read without it.

    with heard_native_code(_BROKEN) as heard:
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    if any(map(_SURPLUS.match, heard)):
        return "its JPEG data hold more than its pixels, so it may be damaged"
    if heard:
        raise Unusable(_DAMAGED.format("its JPEG data break off or do not fit together"))
    return ""


def scale_transparency(picture: ImageFile, raw_mode: str) -> None:
    """Scale the transparent level of a PNG of 2 or 4 bits as Pillow scales its pixels."""
    level = picture.info.get("transparency")
    if isinstance(level, int) and raw_mode in _SCALES:
        picture.info["transparency"] = level * _SCALES[raw_mode]


def take_transparency(picture: ImageFile, raw_mode: str) -> int | tuple[int, ...] | None:
    """Remove and return the transparent level or color of 16 bits, which Pillow looks for in 8."""
    return picture.info.pop("transparency", None) if raw_mode in _DEEP_PIXELS else None


def with_opacity(pixels: np.ndarray, transparent: int | tuple[int, ...]) -> np.ndarray:
    """Add a channel of opacity to uint16 levels or colors: 0 where they are the transparent one."""
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


def check_canvas(picture: ImageFile) -> None:
    """Refuse a GIF that fills only a part of its canvas; around it Pillow sees the first color."""
    fills = getattr(picture, "dispose_extent", None) in (None, (0, 0, *picture.size))
    if not fills and "transparency" not in picture.info and picture.info.get("background"):
        raise Unusable("a GIF whose picture fills only a part of its canvas; save it as PNG")


def bmp_levels(picture: ImageFile, source: Source) -> np.ndarray | None:
    """Return the gray levels of a BMP of whose bits Pillow is wrong, uint8, `(height, width)`.

    It judges by the palette alone: black and white is one bit, a ramp of gray eight.
    """
    usual, bits = {"1": 1, "L": 8}.get(picture.mode), _bits_of(source)
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


def _check_bytes(picture: ImageFile, source: Source, *, exact: bool) -> None:
    """Refuse a BMP whose run lengths OpenCV decodes otherwise, and a mask that may have opacity.

    Pillow is wrong of pixels that are skipped; OpenCV 4 wrote opacity into a byte that is no color.
    """
    codec, _, offset, arguments = picture.tile[0]
    if codec == "bmp_rle":
        import cv2  # As above.

        source.file.seek(0)
        content = source.file.read()
        known = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        decoded = np.asarray(BmpImageFile(BytesIO(content)).convert("RGB"))
        if known is None or not np.array_equal(known, decoded):
            raise Unusable("a compressed BMP file of a rare kind; save it as PNG")
    elif exact and isinstance(arguments, tuple) and arguments[0] == _THREE_OF_FOUR:
        source.file.seek(offset)
        content = source.file.read(4 * picture.width * picture.height)
        if np.ptp(np.frombuffer(content, np.uint8)[3::4]):
            raise Unusable("a BMP file that may have an opacity, or not; save it as PNG")


def _bits_of(source: Source) -> int:
    """Return the bits of a pixel that a BMP file states."""
    source.file.seek(0)
    head = source.file.read(_BITS_AT + 2)
    (size,) = struct.unpack_from("<I", head, 14)
    at = _BITS_OF_CORE_AT if size == _CORE_HEADER else _BITS_AT
    return int(struct.unpack_from("<H", head, at)[0])

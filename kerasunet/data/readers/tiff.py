"""What TIFF files say beside their pixels, and what Pillow does not do with it."""

from __future__ import annotations

import os
import re
from contextlib import suppress

import numpy as np
from PIL import ImagePalette, TiffImagePlugin as tags
from PIL.TiffImagePlugin import TiffImageFile

from kerasunet.data.readers.source import Source, Unusable, millimeters

_IMAGEJ_UNIT = re.compile(r"\AImageJ=.*?^unit=(mm|cm|micron)$", re.MULTILINE | re.DOTALL)
_IMAGEJ_STACK = re.compile(r"\AImageJ=.*?^images=(\d+)$", re.MULTILINE | re.DOTALL)
_CUT_STACK = re.compile(r'\A\{.*"shape": \[(\d+), .*"truncated": true')
_BIG, _DEPTH = b"+", 32997  # BigTIFF's version; the number of slices in one directory.
_MOST_CHANNELS = 4
_UNIT_MM = {"mm": 1.0, "cm": 10.0, "micron": 0.001}
_FAX = ("tiff_ccitt", "group3", "group4")
_SAMPLE_KINDS = {1: "integers", 2: "signed integers", 3: "floats", 5: "complex integers"}
_COLORS = 256


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
    """Refuse a stack of which only the first picture is listed.

    ImageJ writes stacks of 4 GB and more so, and tifffile on request: the others follow the first
    without a directory.
    """
    if (depth := picture.tag_v2.get(_DEPTH, 1)) > 1:
        raise Unusable(f"a volume of {depth:,} slices in one picture; save each slice as a page")
    description = str(picture.tag_v2.get(tags.IMAGEDESCRIPTION, ""))
    if cut := _CUT_STACK.match(description):
        raise Unusable(
            f"a stack of {cut[1]} pictures that lists only the first; save it without `truncate`"
        )
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


def check_planes(picture: TiffImageFile) -> None:
    """Refuse 16-bit color that is stored plane by plane, which Pillow decodes wrongly."""
    planar = picture.tag_v2.get(tags.PLANAR_CONFIGURATION, 1) == 2
    if planar and max(picture.tag_v2.get(tags.BITSPERSAMPLE, (1,))) > 8:
        raise Unusable("16-bit colors stored plane by plane; save them interleaved, or as PNG")


def check_samples(picture: TiffImageFile) -> None:
    """Refuse more channels than color and opacity have; Pillow drops the others."""
    count = picture.tag_v2.get(tags.SAMPLESPERPIXEL, 1)
    if count > _MOST_CHANNELS:
        raise Unusable(f"{count} channels; save gray levels, or red, green and blue")


def mend_palette(picture: TiffImageFile) -> None:
    """Take a palette of 16 bits that fills 8 of them by those; Pillow keeps the upper ones."""
    levels = picture.tag_v2.get(tags.COLORMAP) if picture.mode == "P" else None
    if levels and max(levels) < _COLORS:
        picture.palette = ImagePalette.raw("RGB;L", bytes(levels))


def spacing_of(picture: TiffImageFile) -> tuple[float, float] | None:
    """Return the spacing in millimeters, (row, column), of a file that ImageJ calibrated.

    ImageJ writes its unit of length into the description and pixels per unit into the resolution.
    Elsewhere the resolution is that of a print, which says nothing about the patient.
    """
    unit = _IMAGEJ_UNIT.match(str(picture.tag_v2.get(tags.IMAGEDESCRIPTION, "")))
    per_unit = [picture.tag_v2.get(tag) for tag in (tags.Y_RESOLUTION, tags.X_RESOLUTION)]
    if not unit:
        return None
    known = [float(resolution) for resolution in per_unit if resolution]
    return millimeters(*(_UNIT_MM[unit[1]] / each for each in known)) if len(known) == 2 else None

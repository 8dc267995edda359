"""What TIFF leaves to its readers: the meaning of zero, of planes, and of the resolution."""

from __future__ import annotations

import re

from PIL import TiffImagePlugin as tags
from PIL.TiffImagePlugin import TiffImageFile

from kerasunet.data.reading.source import Unusable, millimetres

_IMAGEJ_UNIT = re.compile(r"\AImageJ=.*?^unit=(mm|cm|micron)$", re.MULTILINE | re.DOTALL)
_UNIT_MM = {"mm": 1.0, "cm": 10.0, "micron": 0.001}


def shows_zero_as_white(picture: TiffImageFile) -> bool:
    """Whether the values are still to be inverted: Pillow does so up to 8 bits, but not beyond."""
    return picture.mode[0] in "IF" and picture.tag_v2.get(tags.PHOTOMETRIC_INTERPRETATION) == 0


def check_planes(picture: TiffImageFile) -> None:
    """Refuses 16-bit colour that is stored plane by plane, which Pillow decodes wrongly."""
    planar = picture.tag_v2.get(tags.PLANAR_CONFIGURATION, 1) == 2
    if planar and max(picture.tag_v2.get(tags.BITSPERSAMPLE, (1,))) > 8:
        raise Unusable("16-bit colours stored plane by plane; save them interleaved, or as PNG")


def spacing(picture: TiffImageFile) -> tuple[float, float] | None:
    """Spacing in millimetres, (row, column), of a file that ImageJ calibrated.

    ImageJ writes its unit of length into the description and pixels per unit into the resolution.
    Elsewhere the resolution is that of a print, which says nothing about the patient.
    """
    unit = _IMAGEJ_UNIT.match(str(picture.tag_v2.get(tags.IMAGEDESCRIPTION, "")))
    per_unit = [picture.tag_v2.get(tag) for tag in (tags.Y_RESOLUTION, tags.X_RESOLUTION)]
    if not unit or not all(per_unit):
        return None
    return millimetres(*(_UNIT_MM[unit[1]] / float(resolution) for resolution in per_unit))

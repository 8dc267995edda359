"""What ImageJ writes into TIFF files: the size of a pixel, the distance of slices, regions.

It writes its unit of length, and that of rows if it is another, into the description, of a stack
into that of the first page, and pixels per unit into the resolution. Elsewhere the resolution is
that of a print, which says nothing about the patient.
"""

from __future__ import annotations

import re

from PIL import TiffImagePlugin as tags
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kerasunet.data.readers.source import millimeters

_UNIT = re.compile(r"(?m)^(y?)unit=(.*)$")
_STEP = re.compile(r"(?m)^spacing=([\d.eE+-]+)$")
_SLICES = re.compile(r"(?m)^slices=\d+$")
_FRAMES = re.compile(r"(?m)^frames=(?!1$)\d+$")
_UNIT_MM = {"mm": 1.0, "cm": 10.0, "micron": 0.001}
_REGIONS = 50839


def spacing_of(picture: TiffImageFile, *, on_side: bool = False) -> tuple[float, float] | None:
    """Return the spacing in millimeters, (row, column), of a file that ImageJ calibrated.

    Args:
        picture: The file.
        on_side: Whether the picture is seen with rows and columns exchanged.
    """
    units = _units(_description(picture))
    per_unit = [picture.tag_v2.get(tag) for tag in (tags.Y_RESOLUTION, tags.X_RESOLUTION)]
    known = [mm / float(of) for mm, of in zip(units, per_unit, strict=True) if mm and of]
    return millimeters(*(known[::-1] if on_side else known)) if len(known) == 2 else None


def step_of(picture: ImageFile) -> float | None:
    """Return millimeters from a slice to the next; `None` if not known, or of points in time."""
    description = _description(picture) if isinstance(picture, TiffImageFile) else ""
    (_, unit), step = _units(description), _STEP.search(description)
    if not unit or not step or not _SLICES.search(description) or _FRAMES.search(description):
        return None
    size = unit * float(step[1])
    sides = millimeters(size, size)
    return None if sides is None else sides[0]


def has_regions(picture: ImageFile) -> bool:
    """Return whether ImageJ has left regions in the first page, which may be of any of a stack."""
    if isinstance(picture, TiffImageFile):
        picture.seek(0)
    tag = picture.tag_v2.get(_REGIONS) if isinstance(picture, TiffImageFile) else None
    return isinstance(tag, bytes) and re.search(b"over|revo|roi | ior", tag[:64]) is not None


def _units(description: str) -> tuple[float | None, float | None]:
    """Return the millimeters in the units of rows and of columns, where they are known."""
    found = dict(_UNIT.findall(description)) if description.startswith("ImageJ=") else {}
    columns = found.get("", "")
    return _UNIT_MM.get(found.get("y") or columns), _UNIT_MM.get(columns)


def _description(picture: TiffImageFile) -> str:
    if picture.tell() and tags.IMAGEDESCRIPTION not in picture.tag_v2:
        picture.seek(0)
    return str(picture.tag_v2.get(tags.IMAGEDESCRIPTION, ""))

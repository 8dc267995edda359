"""Pixel spacing out of the places where DICOM keeps it."""

from __future__ import annotations

from pydicom import Dataset

from kerasunet.data.reading.source import millimetres

_PIXEL_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_CENTIMETRES = 3

SPACING_ELEMENTS = ("SequenceOfUltrasoundRegions", *_PIXEL_SPACINGS)


def spacing(header: Dataset) -> tuple[float, float] | None:
    """Returns the spacing in millimetres, (row, column), `None` where the file does not tell.

    Calibrated ultrasound regions come first; where regions differ in scale, there is no one
    spacing of the image. `PixelSpacing` is preferred to that of the detector and of a film's scan.

    Args:
        header: The elements named in `SPACING_ELEMENTS`, as far as the file has them.
    """
    scales = {
        millimetres(10 * region.PhysicalDeltaY, 10 * region.PhysicalDeltaX)
        for region in header.get("SequenceOfUltrasoundRegions", [])
        if _is_tissue(region)
    }
    if scales:
        return scales.pop() if len(scales) == 1 else None
    for name in _PIXEL_SPACINGS:
        if name in header:
            return millimetres(*header[name].value)
    return None


def _is_tissue(region: Dataset) -> bool:
    """Whether both axes of an ultrasound region are lengths, unlike in M-mode and Doppler."""
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    return units == (_CENTIMETRES, _CENTIMETRES)

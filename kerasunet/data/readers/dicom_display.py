"""From stored DICOM values to grey levels or colours, after part 3 of the standard."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut
from scipy.special import expit

from kerasunet.data.readers.files import Unusable, own_range, stretch

DISPLAY_ELEMENTS = (
    "PhotometricInterpretation",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    *(
        f"{segmented}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)
_WINDOW = ("WindowCenter", "WindowWidth")
_RGB = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def levels(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Map stored values to what a viewer shows first.

    Args:
        stored: `(height, width)`, or RGB `(height, width, 3)`, as pydicom decodes them.
        header: The elements named in `DISPLAY_ELEMENTS`, as far as the file has them.

    Returns:
        Float32, `(height, width)` or RGB `(height, width, 3)`, 0 to 255.

    Raises:
        Unusable: The photometric interpretation is not supported.
    """
    interpretation = header.PhotometricInterpretation
    if interpretation == "MONOCHROME1":
        return 255 - _grey(stored, header)
    if interpretation == "MONOCHROME2":
        return _grey(stored, header)
    if interpretation == "PALETTE COLOR":
        return _palette(stored, header)
    if interpretation in _RGB:
        return stretch(stored, 0, 2**header.BitsStored - 1)
    raise Unusable("DICOM of a rare photometric interpretation; convert it to PNG")


def _grey(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Apply the modality LUT, then VOI LUT or window; else keep 8 bits, else use the own range."""
    values = apply_modality_lut(stored, header)
    if "VOILUTSequence" in header:
        return _looked_up(values, header.VOILUTSequence[0])
    windowed = _windowed(values, header)
    if windowed is not None:
        return windowed
    if header.BitsStored <= 8 and stored.dtype == np.uint8 and np.array_equal(values, stored):
        return stretch(stored, 0, 2**header.BitsStored - 1)
    return stretch(values, *own_range(values))


def _looked_up(values: np.ndarray, table: Dataset) -> np.ndarray:
    """Apply a VOI LUT (C.11.2.1.1).

    pydicom's `apply_voi` counts in the type of the entries, and so wraps around in a table of more
    than 256 entries of 8 bits.
    """
    count, first, bits = table.LUTDescriptor
    entries = table.LUTData
    if isinstance(entries, bytes):
        entries = np.frombuffer(entries, "<u2")
    indices = np.clip(np.rint(values).astype(np.int64) - first, 0, (count or 2**16) - 1)
    return stretch(np.asarray(entries)[indices], 0, 2**bits - 1)


def _windowed(values: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Apply the first window (C.11.2.1.2); `None` if there is no sensible one."""
    if not all(name in header for name in _WINDOW):
        return None
    center, width = (float(np.ravel(header[name].value)[0]) for name in _WINDOW)
    function = header.get("VOILUTFunction", "LINEAR")
    if width < 1 if function == "LINEAR" else width <= 0:
        return None
    if function == "SIGMOID":
        return np.float32(255) * expit(4 * (values - center) / width).astype(np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return stretch(values, center - width / 2, center + width / 2)


def _palette(stored: np.ndarray, header: Dataset) -> np.ndarray:
    # pydicom counts the entries in the type of the colours: eight bits overflow, or wrap around.
    too_many = "DICOM with a palette of more than 256 8-bit colours; convert it to PNG"
    try:
        colours = apply_color_lut(stored, header)[..., :3]
    except OverflowError as error:
        raise Unusable(too_many) from error
    if colours.dtype == np.uint8 and stored.max() > 255:
        raise Unusable(too_many)
    return stretch(colours, 0, np.iinfo(colours.dtype).max)

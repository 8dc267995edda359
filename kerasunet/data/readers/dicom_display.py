"""DICOM's stored values to what a viewer shows first: tables, windows, padding, palettes.

Stored values become gray levels or colors as part 3 of the standard says. Tables are read here and
not by pydicom, which counts in the type of the entries, takes their declared bits for granted and
mistakes the byte order of some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.pixels import apply_color_lut
from scipy.special import expit

from kerasunet.data.readers.dicom_frames import numbers
from kerasunet.data.readers.dicom_pixels import MORE_BITS, Pixels, need_more_bits
from kerasunet.data.readers.levels import own_range, stretch
from kerasunet.data.readers.source import Unusable

_COLORS = ("Red", "Green", "Blue")
_PALETTES = tuple(
    f"{segmented}{color}PaletteColorLookupTable{part}"
    for color in _COLORS
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
_EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)
_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_FLOAT_PADDING = tuple(f"{size}Float{name}" for size in ("", "Double") for name in _PADDING)
ELEMENTS = (
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "PresentationLUTSequence",
    "PixelPresentation",
    *_PADDING,
    *_FLOAT_PADDING,
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    *_PALETTES,
    "ShutterShape",
    "ShutterPresentationValue",
    *_EDGES,
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)
"""The elements of display, beside those that describe the pixels."""
_RGB = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
_USUAL_BITS = (8, 10, 12)
_WHITE_OF_SHUTTERS = 0xFFFF


def shown(pixels: Pixels, header: Dataset, remarks: list[str]) -> np.ndarray:
    """Map stored values to what a viewer shows first.

    Args:
        pixels: The values.
        header: The elements named in `ELEMENTS`, as far as the file has them.
        remarks: Receives a line for each element that makes no sense and is ignored.

    Returns:
        Float32, `(height, width)` or RGB `(height, width, 3)`, 0 to 255.

    Raises:
        Unusable: The photometric interpretation is contradicted.
    """
    hidden = _hidden(header, remarks)
    levels = _unshuttered(pixels, header, remarks, hidden=hidden)
    if hidden is not None:
        cover = numbers(header, "ShutterPresentationValue") or [0]
        levels[hidden] = 255 * cover[0] / _WHITE_OF_SHUTTERS
    return levels


def _unshuttered(
    pixels: Pixels, header: Dataset, remarks: list[str], *, hidden: np.ndarray | None
) -> np.ndarray:
    """Map stored values to levels; what a shutter hides has no influence on those of others."""
    interpretation = header.PhotometricInterpretation
    if interpretation in _SHAPES:
        _check_shape(interpretation, header)
        if header.get("PresentationLUTSequence"):
            raise Unusable("a presentation table is not read; convert it to PNG as it should look")
        _check_colored(pixels.stored, header)
        padded = _padded(pixels, header)
        if hidden is not None:
            padded = padded | hidden if padded.size else hidden
        inverted = interpretation == "MONOCHROME1"
        return _monochrome(pixels, header, remarks, padded=padded, inverted=inverted)
    if interpretation == "PALETTE COLOR":
        return _palette(pixels.stored, header)
    return stretch(pixels.stored, 0, 2**header.BitsStored - 1)


def check_interpretation(name: str) -> None:
    """Refuse a photometric interpretation that is not read."""
    if name not in (*_SHAPES, "PALETTE COLOR", *_RGB):
        raise Unusable("DICOM of a rare photometric interpretation; convert it to PNG")


def _check_shape(interpretation: str, header: Dataset) -> None:
    shape = header.get("PresentationLUTShape", "")
    if shape in _SHAPES.values() and shape != _SHAPES[interpretation]:
        raise Unusable(
            f"{interpretation} with a PresentationLUTShape of {shape}, which contradicts it; "
            "convert it to PNG as it should look"
        )


def _check_colored(stored: np.ndarray, header: Dataset) -> None:
    """Refuse gray values of which the upper ones stand for colors, such as flow (C.7.6.19)."""
    descriptor = header.get("RedPaletteColorLookupTableDescriptor")
    if descriptor is None or header.get("PixelPresentation") not in ("COLOR", "MIXED"):
        return
    if stored.max() >= int(descriptor[1]):
        raise Unusable(
            "gray levels with colors in a supplemental palette, such as those of flow; convert it "
            "to PNG as it should look"
        )


def _hidden(header: Dataset, remarks: list[str]) -> np.ndarray | None:
    """Return what display shutters hide (C.7.6.11), bool, `(height, width)`; `None` for nothing.

    Rows and columns count from 1, and edges belong to what is seen. Of several shutters, each
    hides its part.
    """
    shape = (int(header.Rows), int(header.Columns))
    shapes = np.ravel(header.get("ShutterShape") or []).tolist()
    seen = np.ones(shape, bool)
    try:
        for name in shapes:
            seen &= _SEEN_THROUGH[name](header, shape)
    except (LookupError, ValueError):  # Another shape, or too few numbers.
        seen[:] = False
    if shapes and not seen.any():
        remarks.append("its display shutter makes no sense and was ignored")
        return None
    return None if seen.all() else ~seen


def _rectangle(header: Dataset, shape: tuple[int, int]) -> np.ndarray:
    top, bottom, left, right = (numbers(header, name)[0] for name in _EDGES)
    rows, columns = _counted(shape)
    return (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right)


def _circle(header: Dataset, shape: tuple[int, int]) -> np.ndarray:
    row, column = numbers(header, "CenterOfCircularShutter")
    (radius,) = numbers(header, "RadiusOfCircularShutter")
    rows, columns = _counted(shape)
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def _polygon(header: Dataset, shape: tuple[int, int]) -> np.ndarray:
    """Fill a polygon by the even-odd rule."""
    corners = np.reshape(numbers(header, "VerticesOfThePolygonalShutter"), (-1, 2))
    rows, columns = _counted(shape)
    inside = np.zeros(shape, bool)
    for (top, left), (bottom, right) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if top != bottom:
            crossing = left + (rows - top) * (right - left) / (bottom - top)
            inside ^= ((top > rows) != (bottom > rows)) & (columns <= crossing)
    return inside


def _counted(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of rows, `(height, 1)`, and columns, `(1, width)`, from 1 on."""
    return np.arange(1, shape[0] + 1)[:, None], np.arange(1, shape[1] + 1)[None]


_SEEN_THROUGH = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}


def _monochrome(
    pixels: Pixels, header: Dataset, remarks: list[str], *, padded: np.ndarray, inverted: bool
) -> np.ndarray:
    """Show gray values, and padding as background: black."""
    seen = [values[~padded] if padded.any() else values for values in pixels]
    if seen[0].size and need_more_bits(Pixels(*seen), header):
        remarks.append(
            f"its gray levels need {MORE_BITS}, which were ignored, so they may be wrong"
        )
    if not padded.any():
        levels = _gray(pixels.stored, header, remarks)
        return 255 - levels if inverted else levels
    shown = np.zeros(padded.shape, np.float32)
    if not padded.all():
        levels = _gray(pixels.stored[~padded], header, remarks)
        shown[~padded] = 255 - levels if inverted else levels
    return shown


def _padded(pixels: Pixels, header: Dataset) -> np.ndarray:
    """Return where the file was padded to a rectangle (C.7.5.1.1.2), bool; no pixel if nowhere.

    The value may be written as signed or not, and may need more bits than the image stores.
    """
    if pixels.raw.dtype.kind == "f":
        stated = [value for name in _FLOAT_PADDING for value in numbers(header, name)]
        inside = np.array(stated or [np.nan]).astype(pixels.raw.dtype)
        return (pixels.raw >= inside.min()) & (pixels.raw <= inside.max())
    ends = [header.get(name) for name in _PADDING]
    if not isinstance(ends[0], int):
        return np.zeros(0, bool)
    known = _alike([end for end in ends if isinstance(end, int)], pixels.raw.dtype)
    low, high = min(known), max(known)
    least, most = _stored_range(pixels.stored.dtype, header)
    values = pixels.stored if least <= low and high <= most else pixels.raw
    return (values >= low) & (values <= high)


def _stored_range(dtype: np.dtype, header: Dataset) -> tuple[int, int]:
    """Return the least and the largest value that the stored bits can hold."""
    bits = header.get("BitsStored", 8 * dtype.itemsize)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.kind == "i" else (0, 2**bits - 1)


def _alike(values: list[int], dtype: np.dtype) -> list[int]:
    """Return values with the sign that these bits have in the pixels."""
    bits = 8 * dtype.itemsize
    unsigned = [value % 2**bits for value in values]
    signed = [value - 2**bits if value >= 2 ** (bits - 1) else value for value in unsigned]
    return signed if dtype.kind == "i" else unsigned


def _gray(stored: np.ndarray, header: Dataset, remarks: list[str]) -> np.ndarray:
    """Apply the modality LUT, then VOI LUT or window; else keep 8 bits, else use the own range.

    Args:
        stored: Values without padding, of any shape.
    """
    values = _rescaled(stored, header, remarks)
    signed = stored.dtype.kind == "i" or values.min() < 0 or _shift(header) < 0
    for item in header.get("VOILUTSequence", []):
        table = _sensible(item, signed, "VOILUTSequence", header=header, remarks=remarks)
        if table is not None:
            return stretch(table.look_up(values), 0, table.top)
    windowed = _windowed(values, header, remarks)
    if windowed is not None:
        return windowed
    bits = header.get("BitsStored", 16)
    is_plain = stored.dtype.kind == "u" and np.array_equal(values, stored)
    if bits <= 8 and is_plain and stored.max() < 2**bits:
        return stretch(stored, 0, 2**bits - 1)
    return stretch(values, *own_range(values))


def _rescaled(stored: np.ndarray, header: Dataset, remarks: list[str]) -> np.ndarray:
    """Apply the modality LUT or the rescaling (C.11.1)."""
    signed = stored.dtype.kind == "i"
    for item in header.get("ModalityLUTSequence", []):
        table = _sensible(item, signed, "ModalityLUTSequence", header=header, remarks=remarks)
        if table is not None:
            return table.look_up(stored)
    slope, shift = numbers(header, "RescaleSlope"), _shift(header)
    if slope and slope[0] == 0:
        remarks.append("its RescaleSlope is 0 and was ignored")
        return stored
    factor = slope[0] if slope else 1.0
    return stored * np.float64(factor) + shift if slope or shift else stored


def _shift(header: Dataset) -> float:
    return next(iter(numbers(header, "RescaleIntercept")), 0.0)


def _sensible(
    item: Dataset, signed: bool, name: str, *, header: Dataset, remarks: list[str]
) -> _Table | None:
    """Read a table; `None` if it makes no sense."""
    try:
        return _table(item.LUTDescriptor, item["LUTData"], signed, header=header)
    except Exception:  # Broken elements raise exceptions of every type.
        remarks.append(f"its {name} makes no sense and was ignored")
        return None


@dataclass(frozen=True)
class _Table:
    """A lookup table: entries from the value `first` on, and what stands for white."""

    first: int
    entries: np.ndarray
    top: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        whole = np.rint(values) if values.dtype.kind == "f" else values
        indices = whole.astype(np.int64) - self.first
        return self.entries[np.clip(indices, 0, len(self.entries) - 1)]


def _table(descriptor: Any, data: DataElement, signed: bool, *, header: Dataset) -> _Table:
    """Read a table from its descriptor and its data element (C.11.1.1.1, C.11.2.1.1)."""
    count, first, bits = (int(value) for value in descriptor)
    entries = _entries(_words(data, header), count % 2**16 or 2**16)
    (start,) = _alike([first], np.dtype("i2" if signed else "u2"))
    return _Table(start, entries, _top(entries, bits, _USUAL_BITS))


def _words(data: DataElement, header: Dataset) -> np.ndarray:
    """Return the 16-bit words of a table, in the byte order of the file."""
    value = data.value
    if not isinstance(value, bytes):
        return (np.ravel(value).astype(np.int64) % 2**16).astype(np.uint16)
    _, little = header.original_encoding
    order = "<u2" if little or data.VR == "OB" else ">u2"
    return np.frombuffer(value[: len(value) // 2 * 2], order).astype(np.uint16)


def _entries(words: np.ndarray, count: int) -> np.ndarray:
    """Return the entries: one in each word or, where these are too few, in each byte."""
    if len(words) >= count:
        return words[:count]
    if 2 * len(words) < count:
        raise Unusable("a lookup table shorter than it states; export it again")
    return words.astype("<u2").view(np.uint8)[:count].astype(np.uint16)


def _top(entries: np.ndarray, bits: int, usual: Sequence[int]) -> int:
    """Return the entry that stands for white.

    Many tables declare 16 bits, as the standard long asked for, and fill 12 or 8 of them; some
    fill more than they declare. Both show in the largest entry.
    """
    used = int(entries.max()).bit_length()
    narrow = next((known for known in usual if used <= known), bits) if bits == 16 else bits
    return 2 ** max(used, narrow) - 1


def _windowed(values: np.ndarray, header: Dataset, remarks: list[str]) -> np.ndarray | None:
    """Apply the first sensible window (C.11.2.1.2); `None` if there is none."""
    function = str(header.get("VOILUTFunction", "LINEAR")).strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        remarks.append("its VOILUTFunction is not in the standard and was taken for LINEAR")
        function = "LINEAR"
    window = next(_windows(header, 1.0 if function == "LINEAR" else np.nextafter(0, 1)), None)
    if window is None:
        return None
    center, width = window
    if function == "SIGMOID":
        return np.float32(255) * expit(4 * (values - center) / width).astype(np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return stretch(values, center - width / 2, center + width / 2)


def _windows(header: Dataset, least: float) -> Iterator[tuple[float, float]]:
    pairs = zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False)
    return ((c, w) for c, w in pairs if w >= least and np.isfinite((c, w)).all())


def palette(count: int, header: Dataset) -> np.ndarray:
    """Return the colors of the values from 0 on, uint8, `(count, 4)`, as in `MaskValues`."""
    kind = np.int32 if header.PixelRepresentation else np.uint32
    shown = np.rint(_palette(np.arange(count, dtype=kind), header)).astype(np.uint8)
    return np.concatenate([shown, np.full((count, 1), 255, np.uint8)], axis=1)


def _palette(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Look up colors (C.7.6.3.1.5); of a palette of 16 bits that fills 8, these count."""
    if "SegmentedRedPaletteColorLookupTableData" in header:
        return _segmented_palette(stored, header)
    descriptors = [header[f"{color}PaletteColorLookupTableDescriptor"].value for color in _COLORS]
    data = [header[f"{color}PaletteColorLookupTableData"] for color in _COLORS]
    signed = stored.dtype.kind == "i"
    tables = [
        _table(known, element, signed, header=header)
        for known, element in zip(descriptors, data, strict=True)
    ]
    top = _top(np.concatenate([table.entries for table in tables]), descriptors[0][2], (8,))
    shown = [replace(table, entries=stretch(table.entries, 0, top)) for table in tables]
    return np.stack([table.look_up(stored) for table in shown], axis=-1)


def _segmented_palette(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Look up colors in tables of segments, which pydicom expands if they are little endian."""
    plain = Dataset()
    plain.update(header)
    for color in _COLORS:
        name = f"Segmented{color}PaletteColorLookupTableData"
        plain.add_new(name, "OW", _words(header[name], header).astype("<u2").tobytes())
    plain.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    colors = apply_color_lut(stored, plain)[..., :3]
    return stretch(colors, 0, np.iinfo(colors.dtype).max)

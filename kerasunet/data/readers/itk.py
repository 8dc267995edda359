"""NRRD (.nrrd) and MetaImage (.mha), by SimpleITK, which the extra `kerasunet[itk]` installs.

Segmentations of 3D Slicer (.seg.nrrd) are NRRD files whose header names segments: each is a value
of a layer, and layers, of which each voxel has one number, may overlap. They are cut to the part of
the image that has segments.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from kerasunet.data.readers import volumes
from kerasunet.data.readers.levels import to_levels
from kerasunet.data.readers.masks import MaskValues, stored
from kerasunet.data.readers.source import (
    TURN,
    Partner,
    Source,
    Unusable,
    heard_native_code,
    without_equal_channels,
)
from kerasunet.data.readers.volumes import Volume

_READERS = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
_HEADER_BYTES = 1 << 18  # A segmentation has some 500 for each of its segments.
_DETACHED = {
    "NRRD": re.compile(rb"^data ?file\s*:", re.IGNORECASE | re.MULTILINE),
    "MetaImage": re.compile(rb"^\s*ElementDataFile\s*=(?!\s*LOCAL\s)", re.MULTILINE),
}
_COMPRESSED = re.compile(rb"^\s*CompressedData\s*=\s*True", re.MULTILINE | re.IGNORECASE)
_LOCAL = re.compile(rb"^\s*ElementDataFile\s*=\s*LOCAL\s*?\n", re.MULTILINE)
_TYPE = re.compile(rb"^ElementType *= *MET_U?(CHAR|SHORT|INT|FLOAT|DOUBLE)\s", re.MULTILINE)
"""Types of the same size on all machines."""
_BINARY = re.compile(rb"^BinaryData *= *True\s", re.MULTILINE)
_SKIPPED = re.compile(rb"^\s*HeaderSize\s*=\s*[1-9]", re.MULTILINE)
_SPACINGS = re.compile(rb"^spacings:(.*)$", re.MULTILINE)
_UNITS = re.compile(rb"^(?:space )?units:(.*)$", re.MULTILINE)
_QUOTED = re.compile(rb'"([^"]*)"')
_UNIT_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "\u00b5m": 0.001, "\u03bcm": 0.001}
_UNIT_MM |= {"millimeter": 1.0, "millimeters": 1.0, "micron": 0.001, "microns": 0.001}
_NO_LENGTHS = {"", "none", "s", "ms", "sec", "ppm", "hz"}  # Those of time and the like.
_BZIP2 = re.compile(rb"^encoding:\s*(bz2|bzip2)\s*$", re.MULTILINE | re.IGNORECASE)
_ENDIAN = re.compile(rb"^endian:", re.MULTILINE | re.IGNORECASE)
_TEXT = re.compile(rb"^encoding:\s*(txt|text|ascii|hex)\s*$", re.MULTILINE | re.IGNORECASE)
_ONE_BYTE = re.compile(
    rb"^type:\s*(u?int8(_t)?|((un)?signed )?char|uchar|block)\s*$", re.MULTILINE | re.IGNORECASE
)
_SEQUENCE = re.compile(rb"^kinds:.*\blist\b", re.MULTILINE)
_SEGMENT = re.compile(rb"^Segment(\d+)_(Name|LabelValue|Layer|Tags):=(.*)$", re.MULTILINE)
_SIZES = (b"space directions:", b"spacings:", b"ElementSpacing", b"ElementSize")
_PLACES = (b"space directions:", b"TransformMatrix", b"Orientation", b"Rotation")
_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_VOXELS = 1 << 29
_PRINTED = re.compile(  # What MetaIO prints, and ITK itself.
    r"(Meta\w+|M(ET)?_\w+): |   ideal = \d+ : actual = |\w+ required and not defined"
    r"|WARNING: In .*, line \d+$|\w+ImageIO \(0x"
)


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    if _segments(source):
        raise Unusable("a segmentation of 3D Slicer, so a mask; give the image it was drawn on")
    with TURN:
        volume = _open(source)
        pixels = without_equal_channels(volumes.displayed(volume, source))
        return to_levels(pixels), volume.spacing()


def read_mask(source: Source) -> MaskValues:
    """Read values, `(height, width)`, and their colors if any; unite the segments that count."""
    segments = _segments(source)
    with TURN:
        pixels = volumes.laid_on(_open(source), source, padded=bool(segments))
    return MaskValues(_united(pixels, segments, source.segments)) if segments else stored(pixels)


def count_frames(source: Source) -> int | None:
    """Return the number of slices, through all points in time; `None` for a segmentation."""
    with TURN:
        volume = _open(source)
        return None if _segments(source) else volume.count


def segments(source: Source) -> tuple[tuple[str, str], ...]:
    """Return name and type of a segmentation's segments; none of other files."""
    return tuple((segment.name, segment.type) for segment in _segments(source))


class _Segment(NamedTuple):
    """A segment of a segmentation: its name, its value in a layer, from 0, and what it is."""

    name: str
    value: int
    layer: int
    type: str


def _segments(source: Source) -> list[_Segment]:
    """Return the segments that the header names; none if it is no segmentation."""
    found: dict[int, dict[str, str]] = {}
    for number, field, text in _SEGMENT.findall(_header(source)) if source.kind == "NRRD" else ():
        fields = found.setdefault(int(number), {})
        fields[field.decode()] = text.decode(errors="replace").strip()
    return [
        _Segment(
            known.get("Name", f"Segment_{number + 1}"),
            int(known.get("LabelValue", 1)),
            layer=int(known.get("Layer", 0)),
            type=_type_in(known.get("Tags", "")),
        )
        for number, known in sorted(found.items())
    ]


def _type_in(tags: str) -> str:
    """Return what 3D Slicer's terminology calls a segment, in words; empty if it does not."""
    entry = re.search(r"TerminologyEntry:([^|]*)", tags)
    codes = entry[1].split("~")[2:4] if entry else []  # After context and category.
    return ", ".join(filter(None, (code.rpartition("^")[2] for code in codes)))


def _united(pixels: np.ndarray, segments: Sequence[_Segment], wanted: Sequence[str]) -> np.ndarray:
    """Unite segments to uint8 of 0 and 1: those of these names or values, or all."""
    layers = pixels if pixels.ndim == 3 else pixels[..., None]
    counted = [one for one in segments if not wanted or {one.name, str(one.value)} & {*wanted}]
    for one in counted:
        if one.layer >= layers.shape[2]:
            raise Unusable(
                f"its segment {one.name} is in layer {one.layer}, and it has {layers.shape[2]} "
                "from 0 on; save it again"
            )
    known = {(one.layer, one.value) for one in segments}
    if len(known) < len(segments):
        raise Unusable("a segmentation with segments of the same value; save it again")
    for layer in range(layers.shape[2]):
        found = {(layer, value) for value in np.unique(layers[..., layer]).tolist() if value}
        if unlisted := found - known:
            raise Unusable(f"its value {min(unlisted)[1]} is of no segment; save it again")
    inside = [layers[..., one.layer] == one.value for one in counted]
    return np.logical_or.reduce([np.zeros(layers.shape[:2], bool), *inside]).astype(np.uint8)


def step(source: Source) -> float | None:
    """Return millimeters from a slice to the next; `None` if that is not known."""
    with TURN:
        return _open(source).step()


def locate(source: Source) -> Partner:
    """Return the slice as the partner of a mask."""
    with TURN:
        return volumes.partner_of(_open(source), source)


def _open(source: Source) -> Volume:
    """Read the header."""
    _check_header(source)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[source.kind])
    reader.SetFileName(str(source.file.name))
    with heard_native_code(_PRINTED):
        reader.ReadImageInformation()
    size, channels = reader.GetSize(), reader.GetNumberOfComponents()
    if channels not in (1, 3) and not _segments(source):
        raise Unusable(f"voxels of {channels} numbers; save one of them, or color")
    count = int(np.prod(size, dtype=object)) * channels
    if count > _MOST_VOXELS:
        raise Unusable(f"{count:,} voxels, too many to unpack at once; cut the volume")

    def read(index: tuple[int | slice, ...]) -> np.ndarray:
        one = sitk.Image([1] * len(size), reader.GetPixelID(), channels)
        nbytes = count * one.GetSizeOfPixelComponent()
        voxels = volumes.kept(source, nbytes, lambda: _voxels(reader, source, nbytes))
        return voxels[index[: len(size)]]

    padded = (*size, 1)[: max(3, len(size))]
    unit = _unit_mm(_header(source))
    sizes = unit * np.array((*reader.GetSpacing(), 1.0)[:3])
    for axis in _unknown_sizes(_header(source), len(size)):
        sizes[axis] = np.nan
    return Volume(
        padded,
        _affine(reader, unit) if _states(source, *_PLACES) else None,
        tuple(sizes.tolist()) if _states(source, *_SIZES) else None,
        read=read,
    )


def _unit_mm(header: bytes) -> float:
    """Return the millimeters in the unit of length that NRRD states; without any, it is 1.

    Raises:
        Unusable: It is another unit, or there are several.
    """
    stated = (text for line in _UNITS.findall(header) for text in _QUOTED.findall(line))
    units = {text.decode(errors="replace").strip().lower() for text in stated} - _NO_LENGTHS
    if len(units) > 1 or not units <= _UNIT_MM.keys():
        raise Unusable("its unit of length is not known; save it in millimeters")
    return _UNIT_MM[units.pop()] if units else 1.0


def _unknown_sizes(header: bytes, axes: int) -> list[int]:
    """Return the axes of which NRRD says that the size of a voxel is not known; ITK takes 1."""
    stated = _SPACINGS.search(header)
    last = stated[1].split()[-axes:] if stated else []
    return [axis for axis, text in enumerate(last) if text.lower() == b"nan"]


def _check_header(source: Source) -> None:
    """Refuse what the library reads as something else, or from a file that anybody may name."""
    header = _header(source)
    if _DETACHED[source.kind].search(header):
        raise Unusable("a header whose pixels are in another file; save both as .nrrd or .mha")
    is_unsized = _COMPRESSED.search(header) and b"CompressedDataSize" not in header
    if source.kind == "MetaImage" and (is_unsized or _SKIPPED.search(header)):
        raise Unusable("a header that does not say where its pixels are; save it again")
    if source.kind == "NRRD" and _BZIP2.search(header):
        raise Unusable("NRRD compressed by bzip2, which is not read; save it with gzip, or raw")
    if source.kind == "NRRD" and not _is_clear(header):
        raise Unusable("NRRD that does not say the order of its bytes; save it again")
    if source.kind == "NRRD" and _SEQUENCE.search(header) and not _segments(source):
        raise Unusable("a sequence or several layers, not one volume; save each as a file")


def _is_clear(header: bytes) -> bool:
    """Return whether numbers of several bytes, if they are not text, have their order stated."""
    if _ENDIAN.search(header) or _TEXT.search(header):
        return True
    return _ONE_BYTE.search(header) is not None


def _header(source: Source) -> bytes:
    """Return the text before the voxels, perhaps with some of them."""
    source.file.seek(0)
    head = source.file.read(_HEADER_BYTES).replace(b"\r", b"")
    return head.split(b"\n\n")[0] if source.kind == "NRRD" else head


def _states(source: Source, *words: bytes) -> bool:
    """Return whether the header has a field that the library takes for 1 or for the identity."""
    header = _header(source)
    return any(word in header for word in words)


def _voxels(reader: sitk.ImageFileReader, source: Source, nbytes: int) -> np.ndarray:
    """Return all voxels, the axes in stored order, color in a last axis.

    The library does not compare the checksum of what MetaImage has compressed. Of a file that
    breaks off it prints in pieces, between which other threads may print.

    Raises:
        zlib.error: It is not that of the voxels, so these are damaged.
        EOFError: There are fewer voxels than the header states.
    """
    if source.kind == "MetaImage":
        source.file.seek(0)
        rest = _LOCAL.split(source.file.read(), 1)[1]
        if _COMPRESSED.search(_header(source)):
            rest = zlib.decompress(rest)
        is_sized = all(pattern.search(_header(source)) for pattern in (_TYPE, _BINARY))
        if is_sized and len(rest) < nbytes:
            raise EOFError(f"{len(rest):,} of {nbytes:,} bytes of voxels")
    with heard_native_code(_PRINTED):
        image = reader.Execute()
    voxels = sitk.GetArrayFromImage(image)
    color = 1 if image.GetNumberOfComponentsPerPixel() > 1 else 0
    axes = range(voxels.ndim - color)
    return voxels.transpose(*reversed(axes), *([voxels.ndim - 1] if color else []))


def _affine(reader: sitk.ImageFileReader, unit: float) -> np.ndarray:
    """Return the orientation of the first three axes, to the right, anterior and superior.

    Args:
        reader: The file.
        unit: Millimeters in its unit of length.
    """
    axes = reader.GetDimension()
    directions = np.reshape(reader.GetDirection(), (axes, axes))
    place = np.eye(4)
    used = min(axes, 3)
    place[:used, :used] = directions[:used, :used] * reader.GetSpacing()[:used]
    place[:used, 3] = reader.GetOrigin()[:used]
    place[:3] *= unit
    return _FROM_LPS @ place

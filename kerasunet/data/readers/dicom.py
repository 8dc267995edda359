"""DICOM files, decoded by pydicom: headers, pixel data, frames, and where they lie.

Files may lack preamble and file meta information, and single elements may be broken: these are
ignored, with a remark. How values are displayed is in `dicom_display`, where frames lie and what a
segmentation's belong to in `dicom_frames`.

The size and the completeness of JPEG and JPEG-LS frames are checked here: the decoder of their
rarer kinds trusts the header and does not notice a missing end.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.encaps import get_frame, parse_basic_offsets
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from kerasunet.data.readers import dicom_display, dicom_frames
from kerasunet.data.readers.dicom_display import Pixels, numbers
from kerasunet.data.readers.files import to_mask_values, without_equal_channels
from kerasunet.data.readers.quiet import quiet
from kerasunet.data.readers.source import Partner, Source, Unusable, millimetres
from kerasunet.data.readers.space import matching_frame

# Start-of-frame markers: C0 to CF but for the tables C4, C8 and CC; F7 in JPEG-LS.
_START_OF_FRAME = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}
_FILL = 0xFFFF
_END_OF_IMAGE = b"\xff\xd9"
_PADDING = b"\x00\xff"
_PREAMBLE_BYTES = 132
_FILE_META = 0x0002
_PIXEL_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_CENTIMETRES = 3
_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
_ELEMENTS = [
    *_NEEDED,
    "SOPClassUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PlanarConfiguration",
    "HighBit",
    "NumberOfFrames",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "SequenceOfUltrasoundRegions",
    *_PIXEL_SPACINGS,
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *dicom_frames.ELEMENTS,
    *dicom_display.ELEMENTS,
]
# Where there is a choice, the decoder that copes best with damage: Pillow refuses a frame whose own
# header promises gigabytes, and pylibjpeg's run-length decoder can end in a Rust panic.
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    JPEG2000: "pillow",
    JPEG2000Lossless: "pillow",
    RLELossless: "pydicom",
}
_RARE_JPEG = (
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)
_PIXEL_DATA = {
    0x7FE00010: "PixelData",
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LEAST_EXCESS = 64  # Bytes; writers pad.


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with quiet("pydicom"):
        header = _header(source)
        if dicom_frames.is_segmentation(header):
            raise Unusable("a DICOM segmentation, so a mask; give the image that it was drawn on")
        levels = dicom_display.shown(_pixels(source, header), header, source.remarks)
        return without_equal_channels(levels), spacing(header)


def read_mask(source: Source) -> np.ndarray:
    """Read the stored values, unsigned integers, `(height, width)`; unite a segmentation's."""
    with quiet("pydicom"):
        if dicom_frames.is_segmentation(_header(replace(source, frame=0))):
            return _segmented(source)
        frame = _frame_at(source)
        return to_mask_values(_pixels(frame, _header(frame)).stored)


def count_frames(source: Source) -> int | None:
    """Return the number of frames; `None` for a segmentation, whose frames name their image's."""
    with quiet("pydicom"):
        header = _header(source)
        return None if dicom_frames.is_segmentation(header) else _frame_count(header)


def locate(source: Source) -> Partner:
    """Return the frame as the partner of a mask."""
    with quiet("pydicom"):
        header = _header(source)
        return Partner(
            source.name,
            source.frame,
            _frame_count(header),
            (header.Rows, header.Columns),
            dicom_frames.plane(header),
            uid=str(header.get("SOPInstanceUID", "")),
            space=str(header.get("FrameOfReferenceUID", "")),
        )


def _segmented(source: Source) -> np.ndarray:
    first = replace(source, frame=0)
    header = _header(first)
    chosen = dicom_frames.frames_about(header, _frame_count(header), source)
    dicom_frames.check_aligned(header, chosen, source.partner)
    stored = [_pixels(replace(source, frame=index), header).stored for index in chosen]
    return dicom_frames.united(stored, header)


def _frame_at(source: Source) -> Source:
    """Return the mask's frame that lies where the image's does, if both say where they lie."""
    if source.partner is None:
        return source
    header = _header(replace(source, frame=0))
    planes = dicom_frames.planes(header, _frame_count(header))
    return replace(source, frame=matching_frame(source.partner, planes, source.frame))


def _frame_count(header: Dataset) -> int:
    return max(int(header.get("NumberOfFrames", 1)), 1)


def _header(source: Source) -> Dataset:
    """Read the elements for display and spacing, those of the frame merged in, none empty."""
    syntax = _transfer_syntax(source)
    if syntax is not None and syntax not in (*_NATIVE, *_DECODERS, *_RARE_JPEG):
        # Among them is deflate, whose header can be inflated only with the pixels, to any size.
        raise Unusable("DICOM with video or a rare compression; convert it to PNG")
    source.file.seek(0)
    header = dcmread(source.file, stop_before_pixels=True, specific_tags=_ELEMENTS, force=True)
    header.file_meta.TransferSyntaxUID = syntax or _encoding(header)
    _clean(header, source.remarks)
    if "Rows" not in header or "Columns" not in header:
        raise Unusable("a DICOM file without an image; give one that has pixels")
    source.check_size(header.Columns, header.Rows)
    source.check_frame(_frame_count(header))
    _merge_functional_groups(header, source)
    _complete(header, source.remarks)
    return header


def _transfer_syntax(source: Source) -> UID | None:
    """Return what the file meta information says; `None` if it does not."""
    source.file.seek(0)
    head = source.file.read(_PREAMBLE_BYTES)
    source.file.seek(_PREAMBLE_BYTES if head.endswith(b"DICM") else 0)
    meta = read_dataset(
        source.file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag.group != _FILE_META,
    )
    return meta.get("TransferSyntaxUID") or None


def _encoding(header: Dataset) -> UID:
    """Return the transfer syntax of an uncompressed file, by how its elements are written."""
    implicit, little = header.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _clean(header: Dataset, remarks: list[str]) -> None:
    """Remove empty elements, mend or remove broken ones."""
    for tag in list(header.keys()):
        name = keyword_for_tag(tag)
        try:
            element = header[tag]
            if element.is_empty:
                del header[tag]
            elif element.VR in ("DS", "IS"):
                numbers(header, name)
        except Exception:  # pydicom raises exceptions of every type for broken elements.
            if name in _NEEDED:
                raise
            _mend(header, tag, remarks)


def _mend(header: Dataset, tag: Any, remarks: list[str]) -> None:
    """Read decimal commas as points; remove what is broken in another way."""
    raw = header.get_item(tag)
    name = keyword_for_tag(tag)
    del header[tag]
    try:
        if dictionary_VR(tag) != "DS":
            raise ValueError
        texts = raw.value.decode("ascii").split("\\") if isinstance(raw.value, bytes) else raw.value
        values = [float(str(text).strip(" \0").replace(",", ".")) for text in np.ravel(texts)]
    except Exception:  # Whatever the element holds, the image does without it.
        remarks.append(f"its {name} is broken and was ignored")
    else:
        header[tag] = DataElement(tag, "FD", values)
        remarks.append(f"the decimal commas of its {name} were read as points")


def _merge_functional_groups(header: Dataset, source: Source) -> None:
    """Move what enhanced multi-frame objects say of one frame to where others say it of all."""
    if _frame_count(header) > 1 and "ImagePositionPatient" in header:
        del header.ImagePositionPatient  # That of the first frame alone.
    header.update(dicom_frames.of_frame(header, source.frame))
    _clean(header, source.remarks)


def _complete(header: Dataset, remarks: list[str]) -> None:
    """Add what a file should say of its pixels, where there is no doubt."""
    samples = int(header.get("SamplesPerPixel", 1))
    header.SamplesPerPixel = samples
    if "PhotometricInterpretation" not in header and samples == 1:
        header.PhotometricInterpretation = "MONOCHROME2"
        remarks.append("it lacks a PhotometricInterpretation; MONOCHROME2 was assumed")
    if "PixelRepresentation" not in header:
        header.PixelRepresentation = 0


def _pixels(source: Source, header: Dataset) -> Pixels:
    """Decode a frame."""
    syntax = header.file_meta.TransferSyntaxUID
    if not get_decoder(syntax).is_available:
        raise Unusable(f'{syntax.name} needs an extra: pip install "kerasunet[dicom-lossless]"')
    keyword, vr, length = _pixel_element(source, syntax)
    start = source.file.tell()
    if syntax in _NATIVE:
        _check_length(header, length)
        if header.get("BitsAllocated") == 1:
            return _bits(source, header, start)
    else:
        _check_fragments(source, header)
        if syntax in _RARE_JPEG:
            source.file.seek(start)
            _check_jpeg(source, header)
        source.file.seek(start)
    options = as_pixel_options(
        header, transfer_syntax_uid=syntax, pixel_keyword=keyword, correct_unused_bits=False
    )
    options |= {"pixel_vr": vr} if vr else {}
    raw, _ = get_decoder(syntax).as_array(
        source.file, index=source.frame, decoding_plugin=_plugin(syntax), **options
    )
    return Pixels(raw, _significant(raw, header))


def _plugin(syntax: UID) -> str:
    return _DECODERS.get(syntax, "")


def _pixel_element(source: Source, syntax: UID) -> tuple[str, str, int]:
    """Go to the pixel data; return the name, representation and length of their element."""
    source.file.seek(0)
    dcmread(source.file, stop_before_pixels=True, specific_tags=["Rows"], force=True)
    order = "<" if syntax.is_little_endian else ">"
    group, element, length = struct.unpack(f"{order}HHL", source.file.read(8))
    if (group << 16 | element) not in _PIXEL_DATA:
        raise Unusable("a DICOM file without an image; give one that has pixels")
    vr = ""
    if not syntax.is_implicit_VR:
        vr = struct.pack(f"{order}L", length)[:2].decode("ascii")
        (length,) = struct.unpack(f"{order}L", source.file.read(4))
    return _PIXEL_DATA[group << 16 | element], vr, length


def _check_length(header: Dataset, length: int) -> None:
    """Refuse pixels of more frames than the header states, which would be dropped."""
    if length == _UNDEFINED_LENGTH:
        raise Unusable("compressed pixels, and it does not say how; export it again")
    bits = header.Rows * header.Columns * header.SamplesPerPixel * header.BitsAllocated
    if header.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    stated = _frame_count(header)
    if length - stated * bits / 8 >= max(bits / 8, _LEAST_EXCESS):
        raise Unusable(_more_frames(8 * length // bits, stated))


def _check_fragments(source: Source, header: Dataset) -> None:
    """Refuse compressed frames, by the table of their offsets, that the header does not state."""
    count, stated = len(parse_basic_offsets(source.file)), _frame_count(header)
    if count > stated:
        raise Unusable(_more_frames(count, stated))


def _more_frames(count: int, stated: int) -> str:
    return f"its pixel data hold {count:,} frames, its header states {stated:,}; export it again"


def _bits(source: Source, header: Dataset, start: int) -> Pixels:
    """Unpack a frame of single bits, which need not start at a byte."""
    size = header.Rows * header.Columns
    first, last = source.frame * size // 8, -(-(source.frame + 1) * size // 8)
    source.file.seek(start + first)
    packed = np.frombuffer(source.file.read(last - first), np.uint8)
    skipped = source.frame * size - 8 * first
    bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + size]
    frame = bits.reshape(header.Rows, header.Columns)
    return Pixels(frame, frame)


def _significant(raw: np.ndarray, header: Dataset) -> np.ndarray:
    """Return the values without the bits around the stored ones, which may hold anything."""
    syntax = header.file_meta.TransferSyntaxUID
    bits, stored = 8 * raw.dtype.itemsize, header.get("BitsStored", 0)
    own = syntax not in (*_NATIVE, RLELossless, *_RARE_JPEG[:3], JPEGBaseline8Bit)
    if own or raw.dtype.kind == "f" or not 0 < stored < bits:
        return raw  # JPEG 2000 and JPEG-LS say themselves how many bits there are.
    below = max(int(header.get("HighBit", stored - 1)) + 1 - stored, 0)
    if syntax not in (*_NATIVE, RLELossless) or (raw >> stored == 0).all():
        below = 0  # The high bit is that of uncompressed values, and wrong where none is so high.
    return (raw << (bits - stored - below)) >> (bits - stored)


def _check_jpeg(source: Source, header: Dataset) -> None:
    """Refuse a frame that is larger than the header says, or cut off."""
    frame = get_frame(source.file, source.frame, number_of_frames=_frame_count(header))
    if coded_size(frame) != (header.Rows, header.Columns):
        raise Unusable("its pixel data are not of the size that its header states; export it again")
    if not is_complete(frame):
        raise Unusable("its pixel data are cut off; copy or export it again")


def coded_size(frame: bytes) -> tuple[int, int]:
    """Return the rows and columns of a frame (ITU-T T.81, B.2.2; T.87, C.2.2).

    Args:
        frame: A JPEG or JPEG-LS interchange stream.

    Raises:
        struct.error: The stream ends before it tells.
    """
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker in _START_OF_FRAME:
            return struct.unpack_from(">HH", frame, at + 5)
        at += 1 if marker == _FILL else 2 + length


def is_complete(frame: bytes) -> bool:
    """Return whether the stream has its end marker, which a truncated one lacks."""
    return frame.rstrip(_PADDING).endswith(_END_OF_IMAGE)


def spacing(header: Dataset) -> tuple[float, float] | None:
    """Return the spacing in millimeters, (row, column), `None` where the file does not say.

    Calibrated ultrasound regions come first; where regions differ in scale, there is no one
    spacing of the image. `PixelSpacing` is preferred to that of the detector and of a film's scan;
    one that makes no sense, such as 0, is passed over.

    Args:
        header: The elements for display and spacing, as far as the file has them.
    """
    scales = {
        millimetres(10 * region.PhysicalDeltaY, 10 * region.PhysicalDeltaX)
        for region in header.get("SequenceOfUltrasoundRegions", [])
        if _is_tissue(region)
    } - {None}
    if scales:
        return scales.pop() if len(scales) == 1 else None
    stated = (_two_sides(numbers(header, name)) for name in _PIXEL_SPACINGS)
    return next((found for found in stated if found), None)


def _two_sides(values: list[float]) -> tuple[float, float] | None:
    """Return a spacing; one that repeats a single number counts, others have two numbers."""
    if len(values) > 2 and len(set(values)) == 1:
        values = values[:2]
    return millimetres(*values) if len(values) == 2 else None


def _is_tissue(region: Dataset) -> bool:
    """Return whether both axes of an ultrasound region are lengths, unlike M-mode and Doppler."""
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    return units == (_CENTIMETRES, _CENTIMETRES)

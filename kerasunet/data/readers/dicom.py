"""DICOM files, decoded by pydicom: headers, pixel data, frames, and where they lie.

Files may lack preamble and file meta information, and single elements may be broken: these are
ignored, with a remark. Pixels are decoded in `dicom_pixels` and displayed in `dicom_display`; where
frames lie, and what a segmentation's belong to, is in `dicom_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kerasunet.data.readers import dicom_display, dicom_frames, dicom_pixels
from kerasunet.data.readers.dicom_frames import frame_count, numbers
from kerasunet.data.readers.dicom_pixels import SYNTAXES
from kerasunet.data.readers.masks import (
    MaskValues,
    indexed,
    stored,
    to_mask_values,
)
from kerasunet.data.readers.source import (
    Partner,
    Source,
    Unusable,
    check_order,
    elsewhere,
    frames_at,
    millimeters,
    quiet,
    without_equal_channels,
)

_PREAMBLE_BYTES = 132
_FILE_META = 0x0002
_PIXEL_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
_CENTIMETERS = 3
_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
_NAMES = (
    *_NEEDED,
    "SOPClassUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    *_PLACE,
    "SamplesPerPixel",
    "PlanarConfiguration",
    "HighBit",
    "NumberOfFrames",
    "LossyImageCompression",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "SequenceOfUltrasoundRegions",
    *_PIXEL_SPACINGS,
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *dicom_frames.ELEMENTS,
    *dicom_display.ELEMENTS,
)
_ELEMENTS: list[BaseTag] = [*map(Tag, _NAMES), *dicom_pixels.OVERLAYS]


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with quiet("pydicom"):
        header = _header(source)
        if dicom_frames.is_segmentation(header):
            raise Unusable("a DICOM segmentation, so a mask; give the image that it was drawn on")
        levels = dicom_display.shown(dicom_pixels.decoded(source, header), header, source.remarks)
        return without_equal_channels(levels), spacing(header)


def read_mask(source: Source) -> MaskValues:
    """Read stored values, `(height, width)`, and their colors if any; unite a segmentation's."""
    with quiet("pydicom"):
        if dicom_frames.is_segmentation(_header(replace(source, frame=0))):
            return MaskValues(_segmented(source))
        frame = _frame_at(source)
        header = _header(frame)
        is_inverse = header.get("PresentationLUTShape") == "INVERSE"
        if header.PhotometricInterpretation == "MONOCHROME1" or is_inverse:
            name = "an INVERSE shape" if is_inverse else "MONOCHROME1"
            raise Unusable(
                f"a mask in {name}, which shows 0 as white, so object and background may be "
                "swapped; save it as MONOCHROME2 or PNG, the object brighter than the background"
            )
        pixels = dicom_pixels.decoded(frame, header)
        values = pixels.stored
        if np.any(pixels.raw != values) and len(np.unique(pixels.raw)) > len(np.unique(values)):
            raise Unusable(f"its values need {dicom_pixels.MORE_BITS}; export it again")
        if not values.any() and any(tag in header for tag in dicom_pixels.OVERLAYS):
            raise Unusable("black, with an overlay, which is not read; save its object as pixels")
        if header.PhotometricInterpretation == "PALETTE COLOR":
            numbers = to_mask_values(values)
            return indexed(numbers, dicom_display.palette(int(numbers.max()) + 1, header))
        lossy = dicom_pixels.is_lossy(header)
        return stored(without_equal_channels(values), lossy=lossy)


def count_frames(source: Source) -> int | None:
    """Return the number of frames; `None` for a segmentation, whose frames name their image's."""
    with quiet("pydicom"):
        header = _header(source)
        return None if dicom_frames.is_segmentation(header) else frame_count(header)


def segments(source: Source) -> tuple[tuple[str, str], ...]:
    """Return label and type of a segmentation's segments; none of other files."""
    with quiet("pydicom"):
        header = _header(source)
        return (
            dicom_frames.objects_and_types(header) if dicom_frames.is_segmentation(header) else ()
        )


def step(source: Source) -> float | None:
    """Return millimeters from a frame to the next, or through a single one, if that is stated."""
    with quiet("pydicom"):
        header = _header(source)
        names = ("SpacingBetweenSlices", "SliceThickness")[: 2 if frame_count(header) == 1 else 1]
        stated = (_two_sides(2 * numbers(header, name)) for name in names)
        return next((sides[0] for sides in stated if sides), None)


def locate(source: Source) -> Partner:
    """Return the frame as the partner of a mask."""
    with quiet("pydicom"):
        header = _header(source)
        number, time, times = dicom_frames.moment(header, source.frame)
        return Partner(
            source.name,
            source.frame,
            frame_count(header),
            shape=(header.Rows, header.Columns),
            plane=dicom_frames.plane(header),
            uid=str(header.get("SOPInstanceUID", "")),
            space=str(header.get("FrameOfReferenceUID", "")),
            times=times,
            time=time,
            number=number,
        )


def _segmented(source: Source) -> np.ndarray:
    first = replace(source, frame=0)
    header = _header(first)
    chosen = dicom_frames.frames_about(header, frame_count(header), source)
    segments = source.segments or dicom_frames.beside_background(header)
    chosen = dicom_frames.of_segments(header, chosen, segments)
    dicom_frames.check_aligned(header, chosen, source.partner)
    stored = [dicom_pixels.decoded(replace(source, frame=index), header).stored for index in chosen]
    return _united(stored, header, segments)


def _united(frames: list[np.ndarray], header: Dataset, segments: Sequence[str] = ()) -> np.ndarray:
    """Unite frames to uint8 of 0 and 1; fractions count from one half on.

    Args:
        frames: Stored values.
        header: The segmentation's elements.
        segments: Which values of a label map count, by label or number of the segment; all but 0
            and the padding if there are none.

    Raises:
        Unusable: Fractions do not say of what they are, or values of a label map are of no segment.
    """
    shape = (header.Rows, header.Columns)
    if dicom_frames.is_label_map(header):
        listed, padding = dicom_frames.segment_labels(header), header.get("PixelPaddingValue")
        values = {int(value) for frame in frames for value in np.unique(frame)} - {0, padding}
        if listed and (unlisted := values - {*listed}):
            raise Unusable(f"its value {min(unlisted)} is of no segment; export it again")
        counted = dicom_frames.numbers_of(header, segments) if segments else values
        frames = [np.isin(frame, [*counted]) for frame in frames]
    inside = [frame >= _least(frame, header) for frame in frames]
    return np.logical_or.reduce([np.zeros(shape, bool), *inside]).astype(np.uint8)


def _least(frame: np.ndarray, header: Dataset) -> float:
    """Return the value from which a pixel counts."""
    kind = header.get("SegmentationType")
    if kind == "FRACTIONAL" and "MaximumFractionalValue" in header:
        return header.MaximumFractionalValue / 2
    if kind != "LABELMAP" and len(np.unique(frame)) > 2:
        raise Unusable(
            "a segmentation of many values that does not say what they mean; export it again"
        )
    return 1


def _frame_at(source: Source) -> Source:
    """Return the mask's frame that lies where the image's does, if both say where they lie."""
    if source.partner is None:
        return source
    header = _header(replace(source, frame=0))
    return replace(source, frame=_matching_frame(source.partner, header, source.frame))


def patient_and_study(source: Source) -> tuple[str, str]:
    """Return PatientID, or else PatientName, and StudyInstanceUID; empty if they cannot be read."""
    with quiet("pydicom"):
        if _transfer_syntax(source) not in (None, *SYNTAXES):
            return "", ""
        source.file.seek(0)
        names = ["PatientID", "PatientName", "StudyInstanceUID"]
        header = dcmread(source.file, stop_before_pixels=True, force=True, specific_tags=names)
        patient, name, study = (str(header.get(name) or "").strip() for name in names)
        return patient or name, study


def _header(source: Source) -> Dataset:
    """Read the elements for display and spacing, those of the frame merged in, none empty."""
    syntax = _transfer_syntax(source)
    if syntax is not None and syntax not in SYNTAXES:
        # Among them is deflate, whose header can be inflated only with the pixels, to any size.
        name = f" ({syntax.name})" if syntax.name != str(syntax) else ""
        raise Unusable(f"DICOM with video or a rare compression{name}; convert it to PNG")
    source.file.seek(0)
    header = dcmread(source.file, stop_before_pixels=True, specific_tags=_ELEMENTS, force=True)
    header.pixel_element_at = source.file.tell()
    header.file_meta.TransferSyntaxUID = syntax or _encoding(header)
    _clean(header, source.remarks)
    if "Rows" not in header or "Columns" not in header:
        raise Unusable(f"a DICOM file without an image{_kind(header)}; give one that has pixels")
    source.check_size(header.Columns, header.Rows)
    source.check_frame(frame_count(header))
    _merge_functional_groups(header, source)
    _complete(header, source.remarks)
    return header


def _kind(header: Dataset) -> str:
    """Return what a file is by the standard, such as `: RT Structure Set Storage`, or nothing."""
    named = (header.file_meta.get("MediaStorageSOPClassUID"), header.get("SOPClassUID"))
    kinds = (uid.name for uid in named if uid and not uid.is_private and uid.name != str(uid))
    return next((f": {kind}" for kind in kinds), "")


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
    if frame_count(header) > 1 and "ImagePositionPatient" in header:
        if "DetectorInformationSequence" not in header:
            first = Dataset()
            first.update({tag: header[tag] for tag in map(Tag, _PLACE) if tag in header})
            header.DetectorInformationSequence = [first]
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
    elif "PhotometricInterpretation" in header:
        header.PhotometricInterpretation = str(header.PhotometricInterpretation).strip().upper()
        dicom_display.check_interpretation(header.PhotometricInterpretation)
    if "PlanarConfiguration" not in header and samples > 1:
        header.PlanarConfiguration = 0
        remarks.append("it lacks a PlanarConfiguration; 0 was assumed, colors pixel by pixel")
    if "PixelRepresentation" not in header:
        header.PixelRepresentation = 0


def spacing(header: Dataset) -> tuple[float, float] | None:
    """Return the spacing in millimeters, (row, column), `None` where the file does not say.

    Calibrated ultrasound regions come first; where regions differ in scale, there is no one
    spacing of the image. `PixelSpacing` is preferred to that of the detector and of a film's scan;
    one that makes no sense, such as 0, is passed over.

    Args:
        header: The elements for display and spacing, as far as the file has them.
    """
    scales = {
        millimeters(10 * region.PhysicalDeltaY, 10 * region.PhysicalDeltaX)
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
    return millimeters(*values) if len(values) == 2 else None


def _is_tissue(region: Dataset) -> bool:
    """Return whether both axes of an ultrasound region are lengths, unlike M-mode and Doppler."""
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    return units == (_CENTIMETERS, _CENTIMETERS)


def _matching_frame(partner: Partner, header: Dataset, frame: int) -> int:
    """Return the mask's frame for an image's: by position if both have one, else of equal number.

    Of several frames at one position it is that of the same time if both files state times, and
    else the one of equal order.

    Raises:
        Unusable: None of them lies where the image does, or the order of axes or of points in time
            is not known.
    """
    planes = dicom_frames.planes(header, frame_count(header))
    if partner.plane is None or all(plane is None for plane in planes):
        check_order(partner)
        return frame
    found = frames_at(partner, planes)
    if len(found) != partner.times:
        raise Unusable(elsewhere(partner))
    timed = dicom_frames.in_time(header, found)
    if timed and partner.time is not None:
        return timed[partner.time]
    if timed and timed != found:
        raise Unusable(
            f"its frames are not in the order of time, and {partner.name} states no times, so "
            "nothing tells which belong together; save the image with its TemporalPositionIndex"
        )
    return found[partner.number]

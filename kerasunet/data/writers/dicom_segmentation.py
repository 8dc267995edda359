"""Masks as DICOM segmentations, by highdicom, which refer to the frames of their image.

As DICOM demands, patient and study are those of the image: the file identifies the patient if the
image does. The library is imported where it is used, as it does not have to be installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kerasunet.data import readers
from kerasunet.data.readers.source import quiet
from kerasunet.files import write_atomically

if TYPE_CHECKING:
    from pydicom import Dataset

_IDENTITY = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
_SPACE = "FrameOfReferenceUID"
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "SliceThickness",
)  # fmt: skip
_SERIES, _INSTANCE = 900, 1
_LONGEST = 64  # Characters of a DICOM label.


@dataclass(frozen=True)
class Algorithm:
    """Who made a segmentation.

    Attributes:
        name: Of the model.
        version: Tells this model from others of the name, such as the digest of its file.
        software: Version of this package.
        parameters: What else masks depend on, such as the threshold.
    """

    name: str
    version: str
    software: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class _Meaning(NamedTuple):
    """Codes of SNOMED CT for a category and a type: number, words."""

    category: tuple[str, str]
    type: tuple[str, str]


_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
_ANATOMICAL = ("91723000", "Anatomical Structure")
_TISSUE = ("85756007", "Tissue")
_MEANINGS = {
    "lesion": _Meaning(_ABNORMAL, ("52988006", "Lesion")),
    "tumor": _Meaning(_ABNORMAL, ("108369006", "Neoplasm")),
    "mass": _Meaning(_ABNORMAL, ("4147007", "Mass")),
    "nodule": _Meaning(_ABNORMAL, ("27925004", "Nodule")),
    "lung": _Meaning(_ANATOMICAL, ("39607008", "Lung")),
    "lungs": _Meaning(_ANATOMICAL, ("39607008", "Lung")),
    "heart": _Meaning(_ANATOMICAL, ("80891009", "Heart")),
}
_UNKNOWN = _Meaning(_TISSUE, _TISSUE)


def check_source(source: Path) -> None:
    """Refuse an image that a segmentation cannot refer to.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not DICOM, or does not say which image of which study it is; or highdicom
            is not installed.
    """
    kind = readers.kind(source)
    if kind != "DICOM":
        raise ValueError(
            f"{source}: a {kind} file, and a DICOM segmentation refers to a DICOM image; leave out "
            "dicom-seg"
        )
    _header(source)


def write_dicom_seg(
    path: Path,
    labels: np.ndarray,
    objects: Sequence[str],
    *,
    source: Path,
    algorithm: Algorithm,
    frames: Sequence[int] | None = None,
) -> None:
    """Write the masks of an image as a binary DICOM segmentation, atomically.

    Args:
        path: The `.dcm` file.
        labels: Uint8, `(frames, height, width)`: 0 for the background, N for the N-th object.
        objects: Names of the objects, which become the labels of segments.
        source: The DICOM image, of one frame or several.
        algorithm: Who made the masks.
        frames: Which frames of the image these are, from 0; all if not given.

    Raises:
        FileNotFoundError: The image is gone.
        ValueError: The image cannot be referred to, or highdicom is not installed.
    """
    header = _header(source)
    count = int(header.get("NumberOfFrames") or 1)
    stack = np.zeros((count, *labels.shape[1:]), np.uint8)
    stack[list(range(count) if frames is None else frames)] = labels
    with quiet("highdicom"):  # Of values in the image that are not quite standard.
        make = _of_loop if _is_loop(header, source) else _segmentation
        made = make(header, stack, objects, source=source, algorithm=algorithm)
        write_atomically(path, lambda temporary: made.save_as(temporary))


def _header(source: Path) -> Dataset:
    """Return the elements of an image, those that may be empty filled in."""
    try:
        import highdicom  # noqa: F401
        from pydicom import dcmread
    except ImportError:
        raise ValueError(
            f'{source}: writing DICOM needs an extra: pip install "kerasunet[dicom-seg]"'
        ) from None
    with quiet("pydicom"):
        header = dcmread(source, stop_before_pixels=True, force=True)
        missing = [name for name in _IDENTITY if not header.get(name)]
        if missing:
            raise ValueError(
                f"{source}: has no {', '.join(missing)}, so a segmentation cannot refer to it; "
                "leave out dicom-seg"
            )
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
        header.StudyTime = str(header.StudyTime or "").replace(":", "")  # As ACR-NEMA wrote it.
        if not header.get("Modality"):
            header.Modality = "OT"
    return header


def _is_loop(header: Dataset, source: Path) -> bool:
    """Return whether frames are told apart by their numbers alone, or highdicom cannot tell them.

    It knows the place of a frame by functional groups, and one frame at each place.
    """
    image = readers.locate(source)
    is_told = "PerFrameFunctionalGroupsSequence" in header and image.times == 1
    return "NumberOfFrames" in header and (image.plane is None or not is_told)


def _of_loop(
    header: Dataset,
    stack: np.ndarray,
    objects: Sequence[str],
    *,
    source: Path,
    algorithm: Algorithm,
) -> Dataset:
    """Make the segmentation of frames that highdicom does not tell apart, such as those of a loop.

    It makes that of one such frame; the others are put beside it, each at its place, if it has one.
    """
    from pydicom.pixels import pack_bits

    places = [readers.locate(source, number).plane for number in range(len(stack))]
    still = _still(header, any(place is None for place in places))
    empty = np.zeros((1, *stack.shape[1:]), np.uint8)
    made = _segmentation(still, empty, objects, source=source, algorithm=algorithm)
    groups = made.PerFrameFunctionalGroupsSequence
    found = [
        (number, segment)
        for segment, _ in enumerate(objects, 1)
        for number, labels in enumerate(stack)
        if (labels == segment).any()
    ] or [(0, 1)]
    pixels = np.array([stack[number] == segment for number, segment in found])
    made.PerFrameFunctionalGroupsSequence = [
        _at_time(groups[segment - 1], segment, number + 1, place=places[number])
        for number, segment in found
    ]
    segments = made.DimensionIndexSequence[0]
    made.DimensionIndexSequence = [segments, _time_axis(segments)]
    made.NumberOfFrames = len(found)
    made.PixelData = pack_bits(pixels.astype(np.uint8).ravel())
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = header.SOPClassUID
    return made


def _still(header: Dataset, is_placeless: bool) -> Dataset:
    """Return a header as of an image with a single frame, if need be without a place."""
    from pydicom.uid import SecondaryCaptureImageStorage

    still = copy(header)
    for name in ("NumberOfFrames", *_FUNCTIONAL_GROUPS, *(_PLACE if is_placeless else ())):
        if name in still:
            del still[name]
    still.SOPClassUID = SecondaryCaptureImageStorage  # One that has a single frame.
    return still


def _at_time(group: Dataset, segment: int, frame: int, *, place: np.ndarray | None) -> Dataset:
    """Return the groups of a segment in one frame, from 1, that lies where `Partner.plane` says."""
    from pydicom.valuerep import DSfloat

    own = deepcopy(group)
    if place is not None and "PlanePositionSequence" in own:
        corner = [DSfloat(number, auto_format=True) for number in place[:, 2].tolist()]
        own.PlanePositionSequence[0].ImagePositionPatient = corner
    content = own.FrameContentSequence[0]
    content.TemporalPositionIndex, content.DimensionIndexValues = frame, [segment, frame]
    own.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = frame
    return own


def _time_axis(segments: Dataset) -> Dataset:
    """Return the second dimension, beside that of the segments."""
    from pydicom.tag import Tag

    axis = deepcopy(segments)
    axis.DimensionIndexPointer = Tag("TemporalPositionIndex")
    axis.FunctionalGroupPointer = Tag("FrameContentSequence")
    axis.DimensionDescriptionLabel = "Temporal Position Index"
    return axis


def _segmentation(
    header: Dataset,
    stack: np.ndarray,
    objects: Sequence[str],
    *,
    source: Path,
    algorithm: Algorithm,
) -> Dataset:
    import highdicom as hd

    try:
        return hd.seg.Segmentation(
            [header],
            stack if len(stack) > 1 else stack[0],
            hd.seg.SegmentationTypeValues.BINARY,
            [_described(number, name, algorithm) for number, name in enumerate(objects, 1)],
            series_instance_uid=hd.UID(),
            series_number=_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=_INSTANCE,
            manufacturer="kerasunet",
            manufacturer_model_name=algorithm.name[:_LONGEST],
            software_versions=algorithm.software,
            device_serial_number=algorithm.version[:_LONGEST],
            content_label="SEGMENTATION",
            content_description="Automatic; research use only",
            omit_empty_frames=bool(stack.any()),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        lacks = getattr(error, "name", None) or f"something ({type(error).__name__})"
        if not header.get(_SPACE) and "Frame Of Reference" in str(error):
            lacks = _SPACE
        raise ValueError(
            f"{source}: lacks {lacks}, or has it in a rare form, which a segmentation takes over "
            "from its image; leave out dicom-seg"
        ) from error


def _described(number: int, name: str, algorithm: Algorithm):
    import highdicom as hd
    from pydicom.sr.coding import Code

    meaning = _MEANINGS.get(name.casefold(), _UNKNOWN)
    category, kind = (Code(value, "SCT", words) for value, words in meaning)
    return hd.seg.SegmentDescription(
        number,
        name[:_LONGEST],
        category,
        kind,
        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        hd.AlgorithmIdentificationSequence(
            algorithm.name[:_LONGEST],
            Code("123110", "DCM", "Artificial Intelligence"),
            algorithm.version[:_LONGEST],
            source="kerasunet",
            parameters=dict(algorithm.parameters),
        ),
    )

"""Masks to files of other programs: DICOM segmentations, by highdicom, and NIfTI, by nibabel.

A DICOM segmentation refers to the frames of its image. As DICOM demands, patient and study are
those of the image: the file identifies the patient if the image does.

NIfTI files hold masks, or maps of numbers, in the space of their image. Of a NIfTI image, shape,
orientation matrix and units are kept, and each slice is turned back to the way it is stored. Of
others, slices are stored as pictures are, the first axis along a row, where the image lies in the
patient if it says so.

Each library is imported where it is used, as neither has to be installed.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kerasunet.data import readers
from kerasunet.data.readers.source import quiet
from kerasunet.files import write_atomically

if TYPE_CHECKING:
    from nibabel import Nifti1Header, Nifti1Image
    from pydicom import Dataset

_IDENTITY = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
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
    """Make the segmentation of a loop, whose frames have a place in time and none in the patient.

    highdicom makes that of one such frame; the others are put beside it.
    """
    from pydicom.pixels import pack_bits
    from pydicom.uid import SecondaryCaptureImageStorage

    still = copy(header)
    for name in ("NumberOfFrames", *_FUNCTIONAL_GROUPS):
        if name in still:
            del still[name]
    still.SOPClassUID = SecondaryCaptureImageStorage  # One that has a single frame.
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
        _at_time(groups[segment - 1], segment, number + 1) for number, segment in found
    ]
    made.DimensionIndexSequence.append(_time_axis(made.DimensionIndexSequence[0]))
    made.NumberOfFrames = len(found)
    made.PixelData = pack_bits(pixels.astype(np.uint8).ravel())
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = header.SOPClassUID
    return made


def _at_time(group: Dataset, segment: int, frame: int) -> Dataset:
    """Return the groups of a segment in one frame of the loop, from 1."""
    own = deepcopy(group)
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
        raise ValueError(
            f"{source}: lacks what a segmentation takes over from its image "
            f"({type(error).__name__}); leave out dicom-seg"
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


_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # From LPS, and back.
_SAME_STEP = 0.01
_SCANNER = 1  # The code of coordinates in the patient.
_TEXTS = ("descrip", "aux_file", "intent_name", "db_name")  # They may name a patient.


def write_nifti(
    path: Path,
    frames: np.ndarray,
    *,
    source: Path,
    spacing: tuple[float, float] | None = None,
) -> None:
    """Write the masks or maps of all frames of an image, atomically and compressed.

    Args:
        path: The `.nii.gz` file.
        frames: Uint8 or float32, `(frames, height, width)`, as the frames are displayed.
        source: The image file.
        spacing: Millimeters per pixel, (row, column), for an image that does not say where it lies.

    Raises:
        FileNotFoundError: The image is gone.
        ValueError: The image is unreadable, has other frames, or has frames in the patient that
            are no evenly spaced stack.
    """
    from nibabel import Nifti1Image

    if readers.kind(source) == "NIfTI":
        made = _in_grid(frames, source)
    else:
        made = Nifti1Image(_stored(frames), _affine(source, len(frames), spacing))
        made.header.set_xyzt_units("mm" if _is_known(source, spacing) else "unknown")
        for code in ("sform_code", "qform_code"):
            made.header[code] = _SCANNER
    content = gzip.compress(made.to_bytes(), mtime=0)  # The same masks make the same file.
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _in_grid(frames: np.ndarray, source: Path) -> Nifti1Image:
    """Lay frames on the grid of a NIfTI image."""
    from nibabel import Nifti1Image, Nifti2Header, Nifti2Image

    header, volume = readers.grid(source)
    if len(frames) != volume.count:
        raise ValueError(f"{source}: has {volume.count:,} slices, not {len(frames):,}")
    voxels = np.zeros(volume.shape, frames.dtype)
    views = replace(volume, read=voxels.__getitem__)
    for number, frame in enumerate(frames):
        views.turn.apply(views.slice(number))[...] = frame
    own = _without_values(header)
    kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    with quiet("nibabel"):
        return kind(voxels.reshape(header.get_data_shape()), None, own, dtype=frames.dtype)


def _without_values(header: Nifti1Header) -> Nifti1Header:
    """Return the header with its grid, but without anything about values or people."""
    own = header.copy()
    for name in _TEXTS:
        if name in own:
            own[name] = b""
    own["cal_min"] = own["cal_max"] = own["intent_code"] = 0
    own.set_slope_inter(1, 0)
    return own


def _stored(frames: np.ndarray) -> np.ndarray:
    """Return `(width, height, frames)`, or `(width, height)` of one alone."""
    voxels = frames.transpose(2, 1, 0)
    return voxels[..., 0] if len(frames) == 1 else voxels


def _is_known(source: Path, spacing: tuple[float, float] | None) -> bool:
    return spacing is not None or readers.locate(source).plane is not None


def _affine(source: Path, count: int, spacing: tuple[float, float] | None) -> np.ndarray:
    """Return the orientation matrix of a stack of frames."""
    planes = [readers.locate(source, frame).plane for frame in range(count)]
    first = planes[0]
    if first is None:
        row, column = spacing or (1.0, 1.0)
        return _TO_RAS @ np.diag([column, row, 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, [0, 1, 3]] = first
    matrix[:3, 2] = _step(source, planes)
    return _TO_RAS @ matrix


def _step(source: Path, planes: list[np.ndarray | None]) -> np.ndarray:
    """Return the step from a frame to the next."""
    known = [plane for plane in planes if plane is not None]
    if len(known) == 1:
        across = np.cross(known[0][:, 0], known[0][:, 1])
        return across / np.linalg.norm(across)
    steps = np.diff([plane[:, 2] for plane in known], axis=0)
    alike = np.abs(steps - steps[0]).max() <= _SAME_STEP * float(np.linalg.norm(steps[0]))
    turned = any(np.abs(plane[:, :2] - known[0][:, :2]).max() > 1e-6 for plane in known)
    if len(known) < len(planes) or not alike or not steps[0].any() or turned:
        raise ValueError(
            f"{source}: its frames are no evenly spaced stack, which a NIfTI file is; choose "
            "another format, such as dicom-seg"
        )
    return steps[0]

"""Masks to files of other programs: NIfTI by nibabel, DICOM segmentations by highdicom.

Of a NIfTI image, shape, orientation matrix and units are kept, and each slice is turned back to the
way it is stored; of others, slices are stored as pictures are, the first axis along a row, where
the image lies in the patient if it says so. A DICOM segmentation refers to the frames of its image
and is of the same patient and study, as DICOM demands: it identifies the patient if the image does.
The libraries are imported where they are used, as they do not have to be installed.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.data import readers
from kerasunet.data.readers.source import quiet
from kerasunet.files import write_atomically

if TYPE_CHECKING:
    from nibabel import Nifti1Header, Nifti1Image
    from pydicom import Dataset

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # From LPS, and back.
_SAME_STEP = 0.01
_SCANNER = 1  # NIfTI's code of coordinates in the patient.
_WORDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type", "unused_str")
"""What may name a patient."""
_IDENTITY = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
_SPACE = "FrameOfReferenceUID"
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "SliceThickness",
)  # fmt: skip
_SERIES, _INSTANCE, _LONGEST = 900, 1, 64  # Characters of a DICOM label.


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


_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
_ANATOMICAL = ("91723000", "Anatomical Structure")
_TISSUE = ("85756007", "Tissue")
_MEANINGS = {
    "lesion": (_ABNORMAL, ("52988006", "Lesion")),
    "tumor": (_ABNORMAL, ("108369006", "Neoplasm")),
    "mass": (_ABNORMAL, ("4147007", "Mass")),
    "nodule": (_ABNORMAL, ("27925004", "Nodule")),
    "lung": (_ANATOMICAL, ("39607008", "Lung")),
    "lungs": (_ANATOMICAL, ("39607008", "Lung")),
    "heart": (_ANATOMICAL, ("80891009", "Heart")),
}
_UNKNOWN = (_TISSUE, _TISSUE)
"""Category and type of an object, each as number and words of SNOMED CT."""


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
        planes = [readers.locate(source, frame).plane for frame in range(len(frames))]
        matrix = _TO_RAS @ _place(source, planes, spacing)
        made = Nifti1Image(_stored(frames, source, planes[0]), matrix)
        is_known = spacing is not None or planes[0] is not None
        made.header.set_xyzt_units("mm" if is_known else "unknown")
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
        axes = len(header.get_data_shape())  # Beyond the fourth there may be color.
        return kind(voxels.reshape(volume.shape[:axes]), None, own, dtype=frames.dtype)


def _without_values(header: Nifti1Header) -> Nifti1Header:
    """Return the header with its grid, but without anything about values or people."""
    own = header.copy()
    for name in _WORDS:
        if name in own:
            own[name] = b""
    own["cal_min"] = own["cal_max"] = own["intent_code"] = 0
    own.set_slope_inter(1, 0)
    return own


def _stored(frames: np.ndarray, source: Path, plane: np.ndarray | None) -> np.ndarray:
    """Return `(width, height, frames)`, or `(width, height)` of one alone that two axes place.

    ITK takes no place from a third of those.
    """
    is_picture = plane is None or readers.kind(source) != "DICOM"
    is_flat = is_picture and (plane is None or not plane[2].any())
    voxels = frames.transpose(2, 1, 0)
    return voxels[..., 0] if len(frames) == 1 and is_flat else voxels


def _place(
    source: Path, planes: list[np.ndarray | None], spacing: tuple[float, float] | None
) -> np.ndarray:
    """Return the matrix from voxels to millimeters to the left, posterior and superior.

    Where nothing states the step from a frame to the next, as of points in time, it is 1.
    """
    first, across = planes[0], readers.step(source) or 1.0
    if first is None:
        row, column = spacing or (1.0, 1.0)
        return np.diag([column, row, across, 1.0])
    matrix = np.eye(4)
    matrix[:3, [0, 1, 3]] = first
    matrix[:3, 2] = _step(source, planes, across)
    return matrix


def _step(source: Path, planes: list[np.ndarray | None], across: float) -> np.ndarray:
    """Return the step from a frame to the next; through a single one it is as long as given."""
    known = [plane for plane in planes if plane is not None]
    if len(known) == 1:
        normal = np.cross(known[0][:, 0], known[0][:, 1])
        return across * normal / np.linalg.norm(normal)
    steps = np.diff([plane[:, 2] for plane in known], axis=0)
    alike = np.abs(steps - steps[0]).max() <= _SAME_STEP * float(np.linalg.norm(steps[0]))
    turned = any(np.abs(plane[:, :2] - known[0][:, :2]).max() > 1e-6 for plane in known)
    if len(known) < len(planes) or not alike or not steps[0].any() or turned:
        other = "dicom-seg" if readers.kind(source) == "DICOM" else "png"
        raise ValueError(
            f"{source}: its frames are no evenly spaced stack, which a NIfTI file is; choose "
            f"another format, such as {other}"
        )
    return steps[0]


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
    """Return whether highdicom, which knows frames by functional groups, cannot tell them apart."""
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
    from pydicom.tag import Tag

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
    times = deepcopy(segments)
    times.DimensionIndexPointer = Tag("TemporalPositionIndex")
    times.FunctionalGroupPointer = Tag("FrameContentSequence")
    times.DimensionDescriptionLabel = "Temporal Position Index"
    made.DimensionIndexSequence = [segments, times]
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

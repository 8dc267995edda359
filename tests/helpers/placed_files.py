"""Slices, volumes and segmentations that say where they lie in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from helpers.dicom_files import dicom, item, save

SPACE = "1.2.3.9"
ORIGIN, ROW, COLUMN = (-10.0, -20.0, 30.0), 0.5, 0.4  # Millimeters; between rows, between columns.
STEP = 2.0
AXIAL = (1, 0, 0, 0, 1, 0)


def slices(count: int = 3, height: int = 51, width: int = 63) -> np.ndarray:
    """Return pixels, uint16, `(count, height, width)`."""
    return np.random.default_rng(3).integers(0, 2000, (count, height, width), dtype=np.uint16)


def objects(count: int = 3, height: int = 51, width: int = 63) -> np.ndarray:
    """Return masks without any symmetry, bool, of the same shape."""
    masks = np.zeros((count, height, width), bool)
    for number in range(count):
        masks[number, 4 + 3 * number : 30, 5 : 20 + 9 * number] = True
        masks[number, 30:40, 5:8] = True
    return masks


def at(number: float) -> list[float]:
    """Return the position of a slice."""
    return [ORIGIN[0], ORIGIN[1], ORIGIN[2] + STEP * number]


def slice_of(pixels: np.ndarray, number: float = 0) -> Dataset:
    """Return a CT slice, with what highdicom asks of a source image."""
    ds = dicom(pixels, ImagePositionPatient=at(number), ImageOrientationPatient=list(AXIAL))
    ds.PixelSpacing, ds.FrameOfReferenceUID, ds.SliceThickness = [ROW, COLUMN], SPACE, STEP
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    ds.PatientID, ds.PatientName, ds.StudyID = "X", "X^", "X"
    ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.StudyDate, ds.StudyTime, ds.Modality = "20200101", "000000", "CT"
    ds.SeriesNumber = ds.InstanceNumber = 1
    return ds


def enhanced(path: Path, pixels: np.ndarray, order: Sequence[int] | None = None) -> Path:
    """Write a volume in one DICOM file, its slices in any order."""
    order = range(len(pixels)) if order is None else order
    ds = dicom(np.stack([pixels[number] for number in order]), FrameOfReferenceUID=SPACE)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[ROW, COLUMN], SliceThickness=STEP)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=at(number))]) for number in order
    ]
    return save(ds, path)


def segmentation(
    images: Sequence[Dataset], pixels: np.ndarray, kind: str = "BINARY", **options
) -> Dataset:
    """Return a segmentation by highdicom; pixels are `(images, height, width[, segments])`."""
    import highdicom
    from pydicom.sr.codedict import codes

    segments = pixels.shape[3] if pixels.ndim == 4 else max(int(pixels.max()), 1)
    described = [
        highdicom.seg.SegmentDescription(
            number + 1, f"s{number}", codes.SCT.Organ, codes.SCT.Liver, "MANUAL"
        )
        for number in range(segments)
    ]
    return highdicom.seg.Segmentation(
        images, pixels, kind, described, series_instance_uid=generate_uid(), series_number=2,
        sop_instance_uid=generate_uid(), instance_number=1, manufacturer="m",
        manufacturer_model_name="m", software_versions="1", device_serial_number="1", **options,
    )  # fmt: skip


def unreferenced_segmentation(images: Sequence[Dataset], pixels: np.ndarray) -> Dataset:
    """Return a segmentation whose frames have a place, but do not say which images they are of."""
    made = segmentation(images, pixels.astype(np.uint8))
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    return made


def affine() -> np.ndarray:
    """Return NIfTI's matrix for voxels in the order of the slices' pixels."""
    x, y, z = ORIGIN
    place = np.diag([-COLUMN, -ROW, STEP, 1])
    place[:3, 3] = -x, -y, z
    return place


def nifti(path: Path, pixels: np.ndarray, place: np.ndarray | None = None) -> Path:
    """Write a volume, `(slices, height, width)`, with the slices' place unless told otherwise."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.ascontiguousarray(pixels.transpose(2, 1, 0))
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, affine() if place is None else place), path)
    return path

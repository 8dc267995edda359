"""Own data in DICOM, NIfTI and TIFF: stills, loops, volumes and DICOM segmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.layout_makers import image_of, mask_of, paired, write, write_rows
from PIL import Image

from kerasunet.data import load
from kerasunet.data.checking import check
from kerasunet.data.readers import count_frames, read_mask_values

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRLittleEndian,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

SCENES = 3
MASKS = np.stack([mask_of(number) for number in range(SCENES)])
IMAGES = np.stack([image_of(mask) for mask in MASKS])


def dataset(storage) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = storage
    ds.SOPInstanceUID = generate_uid()
    ds.PatientName = "PLANTED^NAME"
    return ds


def save(path: Path, ds: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_dicom(path: Path, pixels: np.ndarray, uid: str = "1.2.3") -> Path:
    ds = dataset(UltrasoundMultiFrameImageStorage)
    ds.set_pixel_data(pixels, "MONOCHROME2", 8)
    ds.SOPInstanceUID = uid
    return save(path, ds)


def item(**elements) -> Dataset:
    ds = Dataset()
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def about(frame: int | None, uid: str, segment: int) -> Dataset:
    """Functional groups of a segmentation's frame; `frame` of the image counts from 0."""
    source = item(ReferencedSOPInstanceUID=uid)
    if frame is not None:
        source.ReferencedFrameNumber = frame + 1
    return item(
        DerivationImageSequence=[item(SourceImageSequence=[source])],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=segment)],
    )


def write_segmentation(path: Path, frames, groups, fractional: bool = False) -> Path:
    """A DICOM segmentation: bits, or fractions of 200."""
    frames = np.stack(frames)
    ds = dataset(SegmentationStorage)
    ds.SegmentationType = "FRACTIONAL" if fractional else "BINARY"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 8 if fractional else 1
    ds.HighBit = ds.BitsStored - 1
    if fractional:
        ds.MaximumFractionalValue = 200
        ds.PixelData = frames.astype(np.uint8).tobytes()
    else:
        packed = np.packbits(frames.astype(np.uint8).ravel(), bitorder="little").tobytes()
        ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds["PixelData"].VR = "OB"
    ds.PerFrameFunctionalGroupsSequence = groups
    return save(path, ds)


def write_nifti(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = np.ascontiguousarray(np.transpose(frames, (2, 1, 0)).astype(np.uint8))
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-0.2, -0.2, 1, 1])), path)
    return path


def write_tiff(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others)
    return path


def test_dicom_stills_with_png_masks(tmp_path):
    for number in range(SCENES):
        write_dicom(tmp_path / "images" / f"s{number}.dcm", IMAGES[number])
        write(tmp_path / "masks" / f"s{number}.png", MASKS[number])
    data = load(tmp_path)
    assert data.layout == "images/ and masks/"
    assert [case.key for case in data.cases] == ["s0", "s1", "s2"]
    assert all(map(paired, data.cases))


def test_dicom_exports_without_a_suffix(tmp_path):
    for number, name in enumerate(("IM000001", "1.2.840.10008.5")):
        write_dicom(tmp_path / "images" / name, IMAGES[number])
        write(tmp_path / "masks" / f"{name}.png", MASKS[number])
    write_dicom(tmp_path / "images" / "DICOMDIR", IMAGES[2])
    (tmp_path / "images" / "NOTES").write_text("not an image")
    data = load(tmp_path)
    assert [case.key for case in data.cases] == ["1.2.840.10008.5", "IM000001"]
    assert all(map(paired, data.cases))


def test_dicom_segmentation_unites_segments_and_may_leave_frames_out(tmp_path):
    write_dicom(tmp_path / "images" / "loop.dcm", IMAGES[[0, 1, 2]])
    left, right = MASKS[2].copy(), MASKS[2].copy()
    left[:, 9:] = right[:, :9] = False
    groups = [about(2, "1.2.3", 1), about(0, "1.2.3", 1), about(2, "1.2.3", 2)]
    write_segmentation(tmp_path / "masks" / "loop.dcm", [left, MASKS[0], right], groups)
    first, second, third = load(tmp_path).cases
    assert paired(first) and paired(third)
    assert not second.load().mask.any()
    assert count_frames(tmp_path / "masks" / "loop.dcm") is None


def test_dicom_segmentation_of_a_still(tmp_path):
    write_dicom(tmp_path / "images" / "x.dcm", IMAGES[1])
    upper, lower = MASKS[1].copy(), MASKS[1].copy()
    upper[5:] = lower[:5] = False
    groups = [about(None, "1.2.3", 1), about(None, "1.2.3", 2)]
    write_segmentation(tmp_path / "masks" / "x.dcm", [upper, lower], groups)
    (case,) = load(tmp_path).cases
    assert case.key == "x" and paired(case)


def test_fractions_are_cut_at_one_half(tmp_path):
    frame = np.where(MASKS[0], 100, 99)
    path = write_segmentation(tmp_path / "x.dcm", [frame], [about(None, "1.2", 1)], fractional=True)
    assert np.array_equal(read_mask_values(path), MASKS[0])


def test_one_segmentation_of_several_slices_is_no_shared_mask(tmp_path):
    names = [f"s{number}.dcm" for number in range(SCENES)]
    for number, name in enumerate(names):
        write_dicom(tmp_path / name, IMAGES[number], uid=f"1.2.{number + 1}")
    groups = [about(None, f"1.2.{number + 1}", 1) for number in range(SCENES)]
    write_segmentation(tmp_path / "seg.dcm", MASKS, groups)
    write_rows(tmp_path / "manifest.csv", "image,mask", *(f"{name},seg.dcm" for name in names))
    assert all(map(paired, load(tmp_path).cases))
    assert "shared-mask" not in check(tmp_path).by_kind()


def test_a_segmentation_of_several_images_is_refused(tmp_path):
    groups = [about(None, "1.2.3", 1), about(None, "1.2.4", 1)]
    path = write_segmentation(tmp_path / "x.dcm", MASKS[:2], groups)
    with pytest.raises(ValueError, match="x.dcm: a segmentation of 2 images; export one for each"):
        read_mask_values(path)


@pytest.mark.parametrize(
    ("make", "suffix"), [(write_nifti, ".nii.gz"), (write_tiff, ".tif"), (write_dicom, ".dcm")]
)
def test_every_frame_is_a_case_and_a_file_is_a_group(tmp_path, make, suffix):
    for name in ("a", "b"):
        make(tmp_path / "images" / f"{name}{suffix}", IMAGES)
        make(tmp_path / "masks" / f"{name}{suffix}", MASKS.astype(np.uint8))
    data = load(tmp_path)
    assert [case.key for case in data.cases] == [f"{n}-frame000{i}" for n in "ab" for i in range(3)]
    assert [case.group for case in data.cases] == ["a"] * 3 + ["b"] * 3
    assert all(map(paired, data.cases))


def test_frames_of_a_patient_stay_in_the_patients_group_and_part(tmp_path):
    rows = []
    for name, group, split in (("a", "p1", "train"), ("b", "p1", "train"), ("c", "p2", "test")):
        write_tiff(tmp_path / f"{name}.tif", IMAGES)
        write_tiff(tmp_path / f"{name}_m.tif", MASKS.astype(np.uint8))
        rows.append(f"{name}.tif,{name}_m.tif,{group},{split}")
    write_rows(tmp_path / "manifest.csv", "image,mask,group,split", *rows)
    data = load(tmp_path)
    assert [case.group for case in data.cases] == ["p1"] * 6 + ["p2"] * 3
    parts = data.official["manifest"]
    assert [parts[case.key] for case in data.cases] == ["train"] * 6 + ["test"] * 3


def test_a_mask_without_the_frames_of_its_image_is_named(tmp_path):
    write_dicom(tmp_path / "images" / "loop.dcm", IMAGES)
    write(tmp_path / "masks" / "loop.png", MASKS[0])
    write_nifti(tmp_path / "images" / "volume.nii", IMAGES)
    write_nifti(tmp_path / "masks" / "volume.nii", MASKS[:2])
    with pytest.raises(
        ValueError, match="loop.png: its number of frames is 1, that of loop"
    ) as caught:
        load(tmp_path)
    assert "volume.nii: its number of frames is 2, that of volume.nii is 3" in str(caught.value)
    assert [problem.kind for problem in check(tmp_path).problems] == ["pairing"] * 2


def test_a_segmentation_without_its_image_is_not_called_unreadable(tmp_path):
    write_dicom(tmp_path / "images" / "loop.dcm", IMAGES)
    write_segmentation(tmp_path / "masks" / "loop2.dcm", MASKS[:1], [about(0, "1.2.3", 1)])
    assert {problem.kind for problem in check(tmp_path).problems} == {"pairing"}


def test_check_names_the_frame(tmp_path):
    frames = IMAGES.copy()
    frames[2] = 7
    write_dicom(tmp_path / "images" / "loop.dcm", frames)
    write_dicom(tmp_path / "masks" / "loop.dcm", MASKS.astype(np.uint8))
    (problem,) = check(tmp_path).problems
    assert problem.message.endswith("loop.dcm frame 2: every pixel has the gray level 7")
    assert "PLANTED" not in str(check(tmp_path))

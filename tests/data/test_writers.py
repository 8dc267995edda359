"""Masks written for other programs: read by independent readers, they are the masks that were."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.dicom_files import dicom, item, save
from helpers.placed_files import (
    AXIAL,
    COLUMN,
    ROW,
    STEP,
    affine,
    at,
    enhanced,
    nifti,
    objects,
    slice_of,
    slices,
)
from PIL import Image
from pydicom import dcmread

from kerasunet.data import load, readers, writers
from kerasunet.data.annotations import (
    coco_content,
    coco_image,
    labelme_content,
    regions,
)
from kerasunet.files import write_json
from kerasunet.runs.prediction_files import read_coco_images

MADE_BY = writers.Algorithm("tiny", "0" * 64, "1.0", {"threshold": "0.5"})


def blobs(seed: int, shape: tuple[int, int] = (97, 131)) -> np.ndarray:
    """A mask of several parts with holes, and islands in them."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), rng.uniform(1, 10))
    return field > np.quantile(field, rng.uniform(0.3, 0.95))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def two_objects() -> np.ndarray:
    """A ring of the first object, filled by the second, which has a hole with an island."""
    labels = np.zeros((80, 100), np.uint8)
    for value, radius in ((1, 36), (2, 28), (0, 16), (1, 8)):
        cv2.circle(labels, (50, 40), radius, value, -1)
    labels[2, 2] = 2
    return labels


# Polygons


@pytest.mark.parametrize("seed", range(8))
def test_coco_polygons_are_the_masks_to_pycocotools(seed, tmp_path):
    from pycocotools.coco import COCO

    masks = {f"{number}.png": blobs(seed + 20 * number) for number in range(3)}
    images = [coco_image(mask.astype(np.uint8), ("mass",), n) for n, mask in masks.items()]
    write_json(tmp_path / "all.json", coco_content(images, ("mass",)))
    read = COCO(tmp_path / "all.json")
    for number, (name, mask) in enumerate(masks.items(), 1):
        assert read.imgs[number]["file_name"] == name
        parts = [read.annToMask(one) for one in read.imgToAnns[number]]
        assert overlap(np.logical_or.reduce(parts), mask) >= 0.98
        for one, part in zip(read.imgToAnns[number], parts, strict=True):
            assert abs(one["area"] - part.sum()) <= max(0.05 * part.sum(), 3)
    assert read_coco_images(tmp_path / "all.json") == {one.name: one for one in images}


@pytest.mark.parametrize("seed", range(8))
def test_polygons_are_the_masks_to_this_package(seed, tmp_path):
    mask = blobs(seed)
    Image.fromarray(np.zeros(mask.shape, np.uint8)).save(tmp_path / "x.png")
    content = labelme_content(mask.astype(np.uint8), ("mass",), "x.png")
    write_json(tmp_path / "x.json", content)
    (case,) = load(tmp_path).cases
    assert overlap(case.load().mask, mask) >= 0.98


def test_a_smooth_outline_has_corners_that_people_can_drag():
    mask = cv2.circle(np.zeros((200, 200), np.uint8), (99, 99), 70, 1, -1) > 0
    (region,) = regions(mask)
    assert len(region.outline) < 60


def test_outlines_of_straight_edges_are_exact():
    mask = np.zeros((9, 12), bool)
    mask[1:8, 2:11], mask[3:5, 4:7], mask[0, 0] = True, False, True
    found = regions(mask)
    assert sum(region.area for region in found) == mask.sum()
    drawn = [region.mask(mask.shape) for region in found]
    np.testing.assert_array_equal(np.logical_or.reduce(drawn), mask)
    assert regions(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_as_thin_as_a_pixel_stays_whole(seed):
    mask = blobs(seed)
    thin = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
    drawn = [region.mask(thin.shape) for region in regions(thin)]
    assert overlap(np.logical_or.reduce(drawn), thin) >= 0.98


@pytest.mark.parametrize("form", ["labelme", "coco"])
def test_several_objects_one_inside_the_other(form, tmp_path):
    labels, names = two_objects(), ("rim", "core")
    Image.fromarray(np.zeros(labels.shape, np.uint8)).save(tmp_path / "x.png")
    if form == "labelme":
        write_json(tmp_path / "x.json", labelme_content(labels, names, "x.png"))
    else:
        image = coco_image(labels, names, "x.png")
        write_json(tmp_path / "all.json", coco_content([image], names))
    (united,) = load(tmp_path, objects=("rim,core",)).cases
    assert overlap(united.load().mask, labels > 0) >= 0.98
    if form == "coco":  # In labelme, a hole cuts whatever stands before it, of any label.
        for number, name in enumerate(names, 1):
            (one,) = load(tmp_path, objects=(name,)).cases
            assert overlap(one.load().mask, labels == number) >= 0.98


def test_labelme_draws_what_was_found(tmp_path):
    utils = pytest.importorskip("labelme.utils")
    labels = two_objects()
    content = labelme_content(labels, ("rim", "core"), "x.png")
    names = {"_background_": 0, "rim": 1, "core": 2}
    drawn, _ = utils.shapes_to_label((*labels.shape, 3), content["shapes"], names)
    assert (drawn == labels).mean() > 0.97


# NIfTI


def independent(path: Path):
    import nibabel

    return nibabel.load(path)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PIR", "SAL"])
def test_nifti_keeps_the_space_of_its_image(codes, tmp_path):
    """A mask drawn on the displayed slices marks the same voxels of the image."""
    import nibabel
    from nibabel import orientations

    rng = np.random.default_rng(0)
    plain = nibabel.Nifti1Image(rng.integers(0, 200, (7, 9, 11), np.uint8), np.diag([2, 3, 4, 1]))
    plain.header["descrip"] = b"John Doe"
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes)
    )
    image = plain.as_reoriented(turn)
    nibabel.save(image, tmp_path / "x.nii.gz")
    count = readers.count_frames(tmp_path / "x.nii.gz")
    shown = [readers.read_image(tmp_path / "x.nii.gz", frame=n)[0] for n in range(count)]
    masks = np.array([frame > 128 for frame in shown]).astype(np.uint8)
    writers.write_nifti(tmp_path / "m.nii.gz", masks, source=tmp_path / "x.nii.gz")
    mask = independent(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.shape == image.shape and mask.get_data_dtype() == np.uint8
    assert mask.header.get_xyzt_units() == image.header.get_xyzt_units()
    assert b"John" not in mask.header.binaryblock
    values = np.asarray(image.dataobj, float)
    inside = np.asarray(mask.dataobj) > 0
    assert values[inside].min() > values[~inside].max() > 0
    for number in range(count):
        laid = readers.read_mask_values(
            tmp_path / "m.nii.gz", frame=number, image=tmp_path / "x.nii.gz"
        )
        np.testing.assert_array_equal(laid, masks[number])


def test_nifti_of_a_picture_has_its_spacing_and_is_read_as_its_mask(tmp_path):
    mask = blobs(1, (40, 40)).astype(np.uint8)
    Image.fromarray(mask * 100).save(tmp_path / "x.png")
    writers.write_nifti(tmp_path / "m.nii.gz", mask[None], source=tmp_path / "x.png",
                        spacing=(0.2, 0.1))  # fmt: skip
    read = independent(tmp_path / "m.nii.gz")
    assert read.header.get_zooms() == pytest.approx((0.1, 0.2))
    np.testing.assert_array_equal(np.asarray(read.dataobj), mask.T)
    laid = readers.read_mask_values(tmp_path / "m.nii.gz", image=tmp_path / "x.png")
    np.testing.assert_array_equal(laid, mask)


def test_nifti_of_dicom_lies_where_the_image_does(tmp_path):
    source = enhanced(tmp_path / "x.dcm", slices())
    masks = objects().astype(np.uint8)
    writers.write_nifti(tmp_path / "m.nii.gz", masks, source=source)
    read = independent(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(read.affine, affine(), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(read.dataobj), masks.transpose(2, 1, 0))
    uneven = enhanced(tmp_path / "uneven.dcm", slices(), [0, 2, 1])
    with pytest.raises(ValueError, match="uneven.dcm: its frames are no evenly spaced stack"):
        writers.write_nifti(tmp_path / "n.nii.gz", masks, source=uneven)
    assert not (tmp_path / "n.nii.gz").exists()


@pytest.mark.parametrize("axes", [list(AXIAL), [0.8, 0.6, 0, 0, 0, -1]], ids=["axial", "oblique"])
def test_nifti_of_a_single_slice_lies_where_it_does_to_itk(axes, tmp_path):
    """ITK takes only a part of the place of a file with two axes."""
    import SimpleITK as sitk

    pixels = objects(1)[0].astype(np.uint16) * 900
    ds = slice_of(pixels)
    ds.ImageOrientationPatient = axes
    source = save(ds, tmp_path / "x.dcm")
    writers.write_nifti(tmp_path / "m.nii.gz", objects(1).astype(np.uint8), source=source)
    mask, image = (sitk.ReadImage(str(tmp_path / name)) for name in ("m.nii.gz", "x.dcm"))
    assert mask.GetSize() == image.GetSize() == (63, 51, 1)
    for voxel in ((0, 0, 0), (62, 0, 0), (62, 50, 0)):
        there = image.TransformIndexToPhysicalPoint(voxel)
        assert mask.TransformIndexToPhysicalPoint(voxel) == pytest.approx(there, abs=1e-4)
    assert mask.GetSpacing()[2] == pytest.approx(STEP)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask)[0] > 0, pixels > 0)
    laid = readers.read_mask_values(tmp_path / "m.nii.gz", image=source)
    np.testing.assert_array_equal(laid > 0, pixels > 0)


@pytest.mark.parametrize("kind", ["mha", "nrrd", "tif", "dcm"])
def test_nifti_has_the_distance_of_slices_without_a_place(kind, tmp_path):
    source, pixels = tmp_path / f"x.{kind}", slices()
    if kind == "tif":
        metadata = {"unit": "mm", "spacing": 3.5, "axes": "ZYX"}
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(source, pixels, imagej=True, resolution=(4, 2), metadata=metadata)
    elif kind == "dcm":
        ds = dicom(pixels)
        ds.PixelSpacing, ds.SpacingBetweenSlices = [0.5, 0.25], 3.5
        save(ds, source)
    else:
        head = {
            "mha": "ObjectType = Image\nNDims = 3\nBinaryData = True\n"
            "BinaryDataByteOrderMSB = False\nElementSpacing = 0.25 0.5 3.5\n"
            "DimSize = 63 51 3\nElementType = MET_USHORT\n"
            "ElementDataFile = LOCAL\n",
            "nrrd": "NRRD0004\ntype: ushort\ndimension: 3\nsizes: 63 51 3\nspacings: 0.25 0.5 3.5\n"
            "endian: little\nencoding: raw\n\n",
        }[kind]
        source.write_bytes(head.encode() + pixels.astype("<u2").tobytes())
    spacing = readers.read_image(source, frame=0)[1]
    assert spacing == pytest.approx((0.5, 0.25))
    masks = objects().astype(np.uint8)
    writers.write_nifti(tmp_path / "m.nii.gz", masks, source=source, spacing=spacing)
    assert independent(tmp_path / "m.nii.gz").header.get_zooms() == pytest.approx((0.25, 0.5, 3.5))


def test_points_in_time_are_no_distance(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    metadata = {"unit": "mm", "spacing": 3.5, "axes": "TYX"}
    for name, pixels in (("t.tif", slices()), ("z.png", None)):
        if pixels is None:
            Image.fromarray(slices(1)[0].astype(np.uint8)).save(tmp_path / name)
        else:
            tifffile.imwrite(
                tmp_path / name, pixels, imagej=True, resolution=(4, 2), metadata=metadata
            )
        assert readers.step(tmp_path / name) is None


@pytest.mark.parametrize("length", [10, 150, 5000])
def test_nifti_takes_over_the_grid_and_no_words(length, tmp_path):
    """Extensions of a header may be long, and hold whatever a scanner or a person wrote."""
    import gzip

    import nibabel

    image = nibabel.load(nifti(tmp_path / "plain.nii", slices(), affine()))
    secret = b"DOE^JOHN"
    for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        image.header[name] = secret
    words = b"x" * length + secret
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", words))
    nibabel.save(image, tmp_path / "x.nii")
    np.testing.assert_array_equal(
        *(readers.read_image(tmp_path / name, frame=1)[0] for name in ("x.nii", "plain.nii"))
    )
    masks = objects().astype(np.uint8)
    writers.write_nifti(tmp_path / "m.nii.gz", masks, source=tmp_path / "x.nii")
    assert secret not in gzip.decompress((tmp_path / "m.nii.gz").read_bytes())
    read = independent(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(read.dataobj), masks.transpose(2, 1, 0))
    np.testing.assert_allclose(read.affine, affine(), atol=1e-5)


def test_nifti_of_colors_has_one_number_for_each_voxel(tmp_path):
    import nibabel

    colors = np.random.default_rng(0).integers(0, 255, (63, 51, 3, 1, 3), np.uint8)
    nibabel.save(nibabel.Nifti1Image(colors, affine()), tmp_path / "x.nii")
    masks = objects().astype(np.uint8)
    writers.write_nifti(tmp_path / "m.nii.gz", masks, source=tmp_path / "x.nii")
    read = independent(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.squeeze(read.dataobj), masks.transpose(2, 1, 0))
    np.testing.assert_allclose(read.affine, affine(), atol=1e-5)


def test_volumes_over_time_are_named_with_a_format_that_they_allow(tmp_path):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ones((2, 3, 5, 7), np.uint8), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "x.mha"))
    with pytest.raises(ValueError, match="x.mha: its frames are no evenly spaced .* such as png"):
        writers.write_nifti(
            tmp_path / "m.nii.gz", np.ones((6, 5, 7), np.uint8), source=tmp_path / "x.mha"
        )


def test_nifti_of_maps_keeps_fractions(tmp_path):
    source = nifti(tmp_path / "x.nii.gz", slices(), affine())
    maps = np.random.default_rng(0).random((3, 51, 63)).astype(np.float32)
    writers.write_nifti(tmp_path / "m.nii.gz", maps, source=source)
    read = np.asarray(independent(tmp_path / "m.nii.gz").dataobj)
    np.testing.assert_array_equal(read, maps.transpose(2, 1, 0))


# DICOM segmentations


def loop(path: Path, count: int = 3) -> Path:
    """An ultrasound loop, which has no place in the patient."""
    ds = dicom(slices(count).astype(np.uint8) if count > 1 else slices(1)[0].astype(np.uint8))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.3.1" if count > 1 else "1.2.840.10008.5.1.4.1.1.6.1"
    )
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3.1", "1.2.3.2", "US"
    return save(ds, path)


def volume(path: Path) -> Path:
    """An enhanced object, whose frames have a place."""
    ds = dcmread(enhanced(path, slices()))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3.1", "1.2.3.2", "MR"
    return save(ds, path)


def cine(path: Path) -> Path:
    """An enhanced object, whose frames all lie at one place."""
    ds = dcmread(volume(path))
    for frame in ds.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient = at(0)
    return save(ds, path)


def stack(path: Path) -> Path:
    """Slices that have a place by the place of the first alone, as in nuclear medicine."""
    ds = dcmread(loop(path))
    ds.DetectorInformationSequence = [
        item(ImagePositionPatient=at(0), ImageOrientationPatient=list(AXIAL))
    ]
    ds.PixelSpacing, ds.SpacingBetweenSlices, ds.SliceThickness = [ROW, COLUMN], -STEP, STEP
    return save(ds, path)


def single(path: Path) -> Path:
    return save(slice_of(slices(1)[0]), path)


def one_frame(path: Path) -> Path:
    """A slice that states its number of frames, and a time as older programs write it."""
    ds = slice_of(slices(1)[0])
    ds.NumberOfFrames, ds.StudyTime = 1, "15:18:59"
    del ds.SliceThickness
    return save(ds, path)


def placed_loop(path: Path) -> Path:
    """A loop that states one place, but not whether it is that of all frames."""
    ds = dcmread(loop(path))
    ds.ImagePositionPatient, ds.ImageOrientationPatient = at(0), list(AXIAL)
    ds.PixelSpacing, ds.FrameOfReferenceUID = [ROW, COLUMN], "1.2.3.9"
    return save(ds, path)


def dose(path: Path) -> Path:
    """Slices that have a place by that of the first and the steps from it, uneven ones."""
    ds = dcmread(placed_loop(path))
    ds.GridFrameOffsetVector, ds.FrameIncrementPointer = [0, STEP, 3.5 * STEP], 0x3004000C
    return save(ds, path)


@pytest.mark.parametrize(
    ("make", "placed"), [(dose, True), (placed_loop, False), (one_frame, True)]
)
def test_frames_of_a_dicom_seg_lie_where_those_of_the_image_do(make, placed, tmp_path):
    source = make(tmp_path / "x.dcm")
    masks = objects(readers.count_frames(source)).astype(np.uint8)
    writers.write_dicom_seg(tmp_path / "m.dcm", masks, ("mass",), source=source, algorithm=MADE_BY)
    for number, group in enumerate(dcmread(tmp_path / "m.dcm").PerFrameFunctionalGroupsSequence):
        assert ("PlanePositionSequence" in group) == placed
        if placed:
            corner = readers.locate(source, number).plane[:, 2]
            assert group.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(corner)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (single, 1),
        (one_frame, 1),
        (volume, 3),
        (loop, 3),
        (placed_loop, 3),
        (cine, 3),
        (stack, 3),
        (dose, 3),
        (lambda path: loop(path, 1), 1),
    ],
    ids=["slice", "frame", "volume", "loop", "placed", "cine", "stack", "dose", "still"],
)
def test_dicom_seg_is_the_mask_to_highdicom(make, count, tmp_path):
    import highdicom

    source = make(tmp_path / "x.dcm")
    labels = objects(count).astype(np.uint8)
    labels[:, 30:40, 5:8] *= 2
    if count > 1:
        labels[1] = 0
    writers.write_dicom_seg(
        tmp_path / "m.dcm", labels, ("nodule", "vessel"), source=source, algorithm=MADE_BY
    )
    read, image = highdicom.seg.segread(tmp_path / "m.dcm"), dcmread(source)
    assert read.SOPClassUID.name == "Segmentation Storage"
    assert read.StudyInstanceUID == image.StudyInstanceUID
    found = read.get_pixels_by_source_frame(
        image.SOPInstanceUID, list(range(1, count + 1)), combine_segments=True
    ) if count > 1 else read.get_pixels_by_source_instance(
        [image.SOPInstanceUID], combine_segments=True
    )  # fmt: skip
    np.testing.assert_array_equal(found, labels)
    assert [one.SegmentLabel for one in read.SegmentSequence] == ["nodule", "vessel"]
    assert read.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Nodule"
    made_by = read.SegmentSequence[1].SegmentationAlgorithmIdentificationSequence[0]
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("tiny", "0" * 64)
    for number in range(count):  # This package finds the frame by the same references.
        laid = readers.read_mask_values(tmp_path / "m.dcm", frame=number, image=source)
        np.testing.assert_array_equal(laid, labels[number] > 0)


def test_dicom_seg_may_be_about_one_frame(tmp_path):
    import highdicom

    source = loop(tmp_path / "x.dcm")
    labels = objects()[1:2].astype(np.uint8)
    writers.write_dicom_seg(
        tmp_path / "m.dcm", labels, ("mass",), source=source, algorithm=MADE_BY, frames=[1]
    )
    read = highdicom.seg.segread(tmp_path / "m.dcm")
    (about,) = read.PerFrameFunctionalGroupsSequence
    origin = about.DerivationImageSequence[0].SourceImageSequence[0]
    assert origin.ReferencedFrameNumber == 2


def test_what_a_segmentation_cannot_refer_to_is_refused(tmp_path):
    save(dicom(slices(1)[0]), tmp_path / "x.dcm")
    with pytest.raises(ValueError, match="has no StudyInstanceUID, SeriesInstanceUID"):
        writers.check_source(tmp_path / "x.dcm")
    ds = slice_of(slices(1)[0])
    del ds.FrameOfReferenceUID
    save(ds, tmp_path / "y.dcm")
    with pytest.raises(
        ValueError, match=r"y\.dcm: lacks FrameOfReferenceUID, .* leave out dicom-s"
    ):
        writers.write_dicom_seg(
            tmp_path / "m.dcm", objects(1), ("a",), source=tmp_path / "y.dcm", algorithm=MADE_BY
        )
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="x.png: a PNG file, and a DICOM segmentation refers"):
        writers.check_source(tmp_path / "x.png")

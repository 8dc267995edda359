"""Masks laid on their image in space and time: DICOM, segmentations, volumes, plain pictures."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from kerasunet.data import load
from kerasunet.data.checking import check
from kerasunet.data.readers import count_frames, read_image, read_mask_values

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

from helpers.dicom_files import dicom, item, save  # noqa: E402
from helpers.layout_makers import write_rows  # noqa: E402
from helpers.placed_files import (  # noqa: E402
    COLUMN,
    ROW,
    STEP,
    affine,
    at,
    enhanced,
    nifti,
    objects,
    segmentation,
    slice_of,
    slices,
    unreferenced_segmentation,
)
from pydicom.data import get_testdata_file  # noqa: E402

PIXELS, MASKS = slices(), objects()
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path, image, frame=0):
    return read_mask_values(path, image=image, frame=frame) > 0


def series(folder):
    """Three CT slices, one in each file."""
    images = [slice_of(PIXELS[number], number) for number in range(3)]
    return images, [save(ds, folder / f"ct{number}.dcm") for number, ds in enumerate(images)]


# -- segmentations --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segmentations_by_highdicom_of_a_series(tmp_path, kind):
    """51 × 63 pixels: frames of single bits do not start at a byte. The second slice is empty."""
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    truth = np.stack([MASKS, MASKS[:, ::-1, ::-1] & ~MASKS], axis=-1)
    truth[1] = False
    if kind == "LABELMAP":
        given = (truth[..., 0] + 2 * truth[..., 1]).astype(np.uint8)
    else:
        given = truth.astype(np.uint8 if kind == "BINARY" else float)
    path = save(segmentation(images, given, kind), tmp_path / "seg.dcm")
    for number, image in enumerate(paths):
        np.testing.assert_array_equal(read(path, image), truth[number].any(axis=-1))


def test_frames_that_do_not_say_of_which_segment_they_are_are_refused(tmp_path):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    rows = [f"{path.name},seg.dcm" for path in paths]
    write_rows(tmp_path / "manifest.csv", "image,mask", *rows)
    both = np.stack([MASKS, MASKS[:, ::-1, ::-1] & ~MASKS], axis=-1).astype(np.uint8)
    made = segmentation(images, both)
    for groups in made.PerFrameFunctionalGroupsSequence:
        del groups.SegmentIdentificationSequence
    save(made, tmp_path / "seg.dcm")
    with pytest.raises(ValueError, match=r"seg\.dcm: frames do not say which of its"):
        load(tmp_path, objects=["s1"]).cases[0].load()
    made = segmentation(images, both[..., 0])
    for groups in (made.SharedFunctionalGroupsSequence[0], *made.PerFrameFunctionalGroupsSequence):
        groups.pop("SegmentIdentificationSequence", None)
    save(made, tmp_path / "seg.dcm")
    for chosen in ((), ["s0"]):
        for case, mask in zip(load(tmp_path, objects=chosen).cases, MASKS, strict=True):
            np.testing.assert_array_equal(case.load().mask, mask)


@pytest.mark.parametrize("edit", ["missing", "empty", "without sources"])
@pytest.mark.parametrize("placed", [True, False])
def test_frames_that_refer_to_no_image_are_laid_by_their_place(tmp_path, edit, placed):
    """So dcmqi writes those of which it finds no image."""
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    made = segmentation(images, MASKS.astype(np.uint8))
    groups = made.PerFrameFunctionalGroupsSequence
    if edit == "without sources":
        del groups[1].DerivationImageSequence[0].SourceImageSequence
    else:
        groups[1].DerivationImageSequence = []
    if edit == "missing":
        del groups[1].DerivationImageSequence
    for frame in () if placed else groups:
        del frame.PlanePositionSequence
    save(made, tmp_path / "seg.dcm")
    for path, mask in zip(paths, MASKS, strict=True):
        if placed:
            np.testing.assert_array_equal(read(tmp_path / "seg.dcm", path), mask)
        else:
            with pytest.raises(ValueError, match="frames that do not say which image they are"):
                read(tmp_path / "seg.dcm", path)


def _same_number(made):
    made.SegmentSequence[1].SegmentNumber = 1


def _without_the_second(made):
    del made.SegmentSequence[-1]


def _without_labels(made):
    for segment in made.SegmentSequence:
        del segment.SegmentLabel


@pytest.mark.parametrize(
    ("kind", "edit", "told"),
    [
        ("BINARY", _same_number, "a segmentation with segments of the same number; export it"),
        ("BINARY", _without_the_second, "frames do not say which of its segments they show"),
        ("LABELMAP", _without_the_second, "its value 2 is of no segment; export it again"),
        ("BINARY", _without_labels, "has several objects, 1 .*, 2 .*; say which is meant"),
    ],
)
def test_segments_that_nothing_tells_apart_are_not_united(tmp_path, kind, edit, told):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    write_rows(tmp_path / "manifest.csv", "image,mask", f"{paths[0].name},seg.dcm")
    other = MASKS[:, ::-1, ::-1] & ~MASKS
    pixels = MASKS + 2 * other if kind == "LABELMAP" else np.stack([MASKS, other], axis=-1)
    made = segmentation(images, pixels.astype(np.uint8), kind)
    edit(made)
    save(made, tmp_path / "seg.dcm")
    with pytest.raises(ValueError, match=told):
        load(tmp_path).cases[0].load()
    if edit is _without_labels:
        (case,) = load(tmp_path, objects=["2"]).cases
        np.testing.assert_array_equal(case.load().mask, other[0])


def test_a_segment_that_is_empty_in_a_whole_series_is_a_finding_of_check(tmp_path):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    rows = [f"{path.name},seg.dcm" for path in paths]
    write_rows(tmp_path / "manifest.csv", "image,mask", *rows)
    made = segmentation(images, np.stack([MASKS, MASKS & False], axis=-1).astype(np.uint8))
    save(made, tmp_path / "seg.dcm")
    told = [problem.message for problem in check(tmp_path, objects=["s1"]).problems]
    assert any("none of 3 masks has an object" in message for message in told)


def test_a_segmentation_of_another_image_is_refused(tmp_path):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    path = save(segmentation(images[:1], MASKS[:1].astype(np.uint8)), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read(path, paths[0]), MASKS[0])
    with pytest.raises(ValueError, match=r"seg\.dcm: a segmentation of another image than ct2"):
        read(path, paths[2])


def frames_without_references(path, masks, numbers=(1, 1, 1), **elements):
    """A segmentation that says of its frames only which segment they are."""
    ds = dicom(masks.astype(np.uint8), **elements)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    ds.SegmentationType = "FRACTIONAL"
    ds.MaximumFractionalValue = 1
    ds.PerFrameFunctionalGroupsSequence = [
        item(SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)])
        for number in numbers
    ]
    return save(ds, path)


def test_a_segmentation_that_does_not_name_frames_is_refused_for_a_loop(tmp_path):
    loop = save(dicom(PIXELS), tmp_path / "loop.dcm")
    path = frames_without_references(tmp_path / "seg.dcm", MASKS)
    for frame in range(3):
        with pytest.raises(ValueError, match="does not say which of them are about which frame"):
            read(path, loop, frame)
    still = save(dicom(PIXELS[0]), tmp_path / "still.dcm")
    with pytest.raises(ValueError, match="does not say which of them are about which frame"):
        read(path, still)
    several = frames_without_references(tmp_path / "parts.dcm", MASKS, numbers=(1, 2, 3))
    np.testing.assert_array_equal(read(several, still), MASKS.any(axis=0))


def test_references_to_a_loop_without_numbers_are_refused(tmp_path):
    loop = dicom(PIXELS)
    source = item(ReferencedSOPInstanceUID=loop.SOPInstanceUID)
    groups = [item(DerivationImageSequence=[item(SourceImageSequence=[source])])] * 3
    path = frames_without_references(tmp_path / "seg.dcm", MASKS)
    ds = pydicom.dcmread(path)
    ds.PerFrameFunctionalGroupsSequence = groups
    save(ds, path)
    with pytest.raises(ValueError, match="does not say which of them"):
        read(path, save(loop, tmp_path / "loop.dcm"))


def test_references_to_more_frames_than_the_image_has_are_refused(tmp_path):
    """Programs split a loop into files that keep its name, or leave frames out."""
    whole = dicom(PIXELS)
    path = frames_without_references(tmp_path / "seg.dcm", MASKS)
    ds = pydicom.dcmread(path)
    for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        source = item(ReferencedSOPInstanceUID=whole.SOPInstanceUID, ReferencedFrameNumber=number)
        frame.DerivationImageSequence = [item(SourceImageSequence=[source])]
    save(ds, path)
    np.testing.assert_array_equal(read(path, save(whole, tmp_path / "x.dcm"), 2), MASKS[2])
    for part in (PIXELS[2], PIXELS[[0, 2]]):
        image = dicom(part, SOPInstanceUID=whole.SOPInstanceUID)
        with pytest.raises(ValueError, match="a segmentation of more frames than part.dcm has"):
            read(path, save(image, tmp_path / "part.dcm"))


def test_a_segmentation_matched_by_position_alone(tmp_path):
    """Its frames are in another order, one is missing, and the images' names are not known."""
    pytest.importorskip("highdicom")
    images, _ = series(tmp_path)
    seg = unreferenced_segmentation(images, MASKS)
    path = save(seg, tmp_path / "seg.dcm")
    volume = enhanced(tmp_path / "volume.dcm", PIXELS, order=[2, 0, 1])
    for frame, number in enumerate([2, 0, 1]):
        np.testing.assert_array_equal(read(path, volume, frame), MASKS[number])
    as_nifti = nifti(tmp_path / "volume.nii.gz", PIXELS)
    for frame in range(3):
        np.testing.assert_array_equal(read(path, as_nifti, frame), MASKS[frame])


def test_a_segmentation_by_position_is_refused_for_frames_at_one_position(tmp_path):
    """Such as those of a cine loop, unless it refers to their numbers; by masks in DICOM, too."""
    pytest.importorskip("highdicom")
    ds = pydicom.dcmread(enhanced(tmp_path / "x.dcm", PIXELS))
    for frame in ds.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient = at(1)
    loop = save(ds, tmp_path / "x.dcm")
    seg = unreferenced_segmentation(series(tmp_path)[0], MASKS)
    numbers = []
    for frame in seg.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        numbers.append(1 + [at(n)[2] for n in range(3)].index(place.ImagePositionPatient[2]))
        place.ImagePositionPatient = at(1)
    with pytest.raises(ValueError, match="does not say which of them are about which frame"):
        read(save(seg, tmp_path / "seg.dcm"), loop, 1)
    for number, frame in zip(numbers, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = item(ReferencedSOPInstanceUID=ds.SOPInstanceUID, ReferencedFrameNumber=number)
        frame.DerivationImageSequence = [item(SourceImageSequence=[source])]
    path = save(seg, tmp_path / "seg.dcm")
    ds.set_pixel_data(MASKS.astype(np.uint8), "MONOCHROME2", 8)
    masks = save(ds, tmp_path / "masks.dcm")
    for frame in range(3):
        np.testing.assert_array_equal(read(path, loop, frame), MASKS[frame])
        np.testing.assert_array_equal(read(masks, loop, frame), MASKS[frame])


def test_a_converted_image_is_matched_by_place_before_numbers(tmp_path):
    """The segmentation names frames of a DICOM volume; NIfTI has its slices the other way round."""
    pytest.importorskip("highdicom")
    volume = pydicom.dcmread(enhanced(tmp_path / "v.dcm", PIXELS))
    drawn = MASKS.astype(np.uint8)
    drawn[1] = 0
    seg = segmentation(series(tmp_path)[0], drawn)
    for group in seg.PerFrameFunctionalGroupsSequence:
        height = group.PlanePositionSequence[0].ImagePositionPatient[2]
        source = item(ReferencedSOPInstanceUID=volume.SOPInstanceUID)
        source.ReferencedFrameNumber = 1 + [at(n)[2] for n in range(3)].index(height)
        group.DerivationImageSequence[0].SourceImageSequence = [source]
    path = save(seg, tmp_path / "seg.dcm")
    place = affine() @ np.diag([1, 1, -1, 1])
    place[2, 3] += 4
    converted = nifti(tmp_path / "v.nii", PIXELS[::-1], place)
    for frame, number in enumerate([2, 1, 0]):
        np.testing.assert_array_equal(read(path, converted, frame), drawn[number])
        np.testing.assert_array_equal(read(path, tmp_path / "v.dcm", number), drawn[number])


def test_a_segmentation_that_is_turned_against_its_image_is_refused(tmp_path):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    seg = segmentation(images, MASKS.astype(np.uint8))
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
    with pytest.raises(ValueError, match=r"seg\.dcm: its pixels lie elsewhere .* those of ct0"):
        read(save(seg, tmp_path / "seg.dcm"), paths[0])


@pytest.mark.parametrize("placed", [True, False])
def test_frames_that_refer_to_all_slices_are_told_apart_by_their_place(tmp_path, placed):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    seg = segmentation(images, MASKS.astype(np.uint8))
    groups = seg.PerFrameFunctionalGroupsSequence
    sources = [
        source
        for group in groups
        for source in group.DerivationImageSequence[0].SourceImageSequence
    ]
    for group in groups:
        group.DerivationImageSequence[0].SourceImageSequence = sources
        if not placed:
            del group.PlanePositionSequence
    path = save(seg, tmp_path / "seg.dcm")
    for number, image in enumerate(paths):
        if placed:
            np.testing.assert_array_equal(read(path, image), MASKS[number])
            continue
        with pytest.raises(ValueError, match=r"seg\.dcm: a segmentation of 3 images; export one"):
            read(path, image)


def test_a_real_segmentation_is_laid_on_the_slices_it_names(tmp_path):
    """`liver.dcm` of pydicom: a frame for each of three slices, by pydicom's own decoding."""
    pytest.importorskip("data_store")
    path = get_testdata_file("liver.dcm", download=False)
    seg = pydicom.dcmread(path)
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        image = dicom(np.zeros(frame.shape, np.uint8), FrameOfReferenceUID=seg.FrameOfReferenceUID)
        image.SOPInstanceUID = source.ReferencedSOPInstanceUID
        assert frame.any()
        np.testing.assert_array_equal(read(path, save(image, tmp_path / "x.dcm")), frame > 0)


def test_a_segmentation_in_another_frame_of_reference_is_refused(tmp_path):
    pytest.importorskip("highdicom")
    images, paths = series(tmp_path)
    seg = unreferenced_segmentation(images, MASKS)
    seg.FrameOfReferenceUID = "1.2.3.4.5"
    with pytest.raises(ValueError, match="in another frame of reference than ct0"):
        read(save(seg, tmp_path / "seg.dcm"), paths[0])


@pytest.mark.parametrize("kind", ["FRACTIONAL", "BINARY", None])
def test_a_segmentation_of_unexplained_values_is_refused(tmp_path, kind):
    values = np.arange(63 * 51).reshape(1, 51, 63) % 200
    path = frames_without_references(tmp_path / "seg.dcm", values, numbers=(1,))
    ds = pydicom.dcmread(path)
    del ds.MaximumFractionalValue
    if kind:
        ds.SegmentationType = kind
    else:
        del ds.SegmentationType
    with pytest.raises(ValueError, match="many values that does not say what they mean; export"):
        read_mask_values(save(ds, path))


def test_a_segmentation_is_no_image(tmp_path):
    path = frames_without_references(tmp_path / "seg.dcm", MASKS)
    with pytest.raises(ValueError, match="a DICOM segmentation, so a mask; give the image"):
        read_image(path)


# -- volumes --------------------------------------------------------------------------------------


def flipped(axes):
    """Voxels and matrix of the masks with some axes stored the other way round."""
    place, masks = affine(), MASKS
    for axis in axes:
        steps = masks.shape[2 - axis] - 1
        place[:3, 3] += place[:3, axis] * steps
        place[:3, axis] *= -1
        masks = np.flip(masks, 2 - axis)
    return masks, place


@pytest.mark.parametrize("axes", [(), (1,), (0, 1), (2,), (0, 1, 2)])
@pytest.mark.parametrize("image", ["dicom", "nifti", "slice"])
def test_nifti_masks_are_laid_on_the_image_however_they_are_stored(tmp_path, axes, image):
    """As converters and viewers write them: rows, columns and slices in either direction."""
    masks, place = flipped(axes)
    path = nifti(tmp_path / "mask.nii.gz", masks, place)
    if image == "slice":
        for number, ct in enumerate(series(tmp_path)[1]):
            np.testing.assert_array_equal(read(path, ct), MASKS[number])
        return
    make = enhanced if image == "dicom" else nifti
    volume = make(tmp_path / ("volume.dcm" if image == "dicom" else "volume.nii"), PIXELS)
    for frame in range(3):
        np.testing.assert_array_equal(read(path, volume, frame), MASKS[frame])


@pytest.mark.parametrize("seed", range(5))
def test_oblique_volumes_of_any_order_of_axes(tmp_path, seed):
    """The same voxels, axes exchanged and reversed, with a matrix that says so."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 256, rng.integers(4, 9, 3), dtype=np.uint8)
    place = np.eye(4)
    place[:3, :3] = Rotation.random(random_state=seed).as_matrix() * rng.uniform(0.3, 3, 3)
    place[:3, 3] = rng.uniform(-50, 50, 3)
    nibabel.save(nibabel.Nifti1Image(voxels, place), tmp_path / "x.nii")
    turn = np.stack([rng.permutation(3), rng.choice([-1, 1], 3)], axis=1)
    other = nibabel.Nifti1Image(voxels, place).as_reoriented(turn)
    nibabel.save(other, tmp_path / "y.nii")
    for frame in range(count_frames(tmp_path / "x.nii")):
        image = read_image(tmp_path / "x.nii", frame=frame)[0]
        laid = read_mask_values(tmp_path / "y.nii", image=tmp_path / "x.nii", frame=frame)
        np.testing.assert_array_equal(laid, image)


def test_points_in_time_keep_their_order(tmp_path):
    voxels = np.random.default_rng(4).integers(0, 256, (6, 7, 3, 4), dtype=np.uint8)
    place = np.diag([-1.0, -1, 2, 1])
    place[:3, 3] = 3, 4, 5
    image = nibabel.Nifti1Image(voxels, place)
    nibabel.save(image, tmp_path / "x.nii.gz")
    nibabel.save(image.as_reoriented([[0, 1], [1, 1], [2, -1]]), tmp_path / "y.nii.gz")
    for frame in range(12):
        expected = voxels[:, :, frame % 3, frame // 3].T
        laid = read_mask_values(tmp_path / "y.nii.gz", image=tmp_path / "x.nii.gz", frame=frame)
        np.testing.assert_array_equal(laid, expected)


@pytest.mark.parametrize("slices_first", [True, False])
def test_slices_and_points_in_time_of_dicom_in_either_order(tmp_path, slices_first):
    """Two slices at three points in time; the mask has them point by point."""
    pixels, masks = np.concatenate([PIXELS] * 2), np.concatenate([MASKS, ~MASKS])
    order = range(6) if slices_first else [0, 2, 4, 1, 3, 5]
    image = enhanced(tmp_path / "x.dcm", pixels[list(order)])
    ds = pydicom.dcmread(image)
    for number, frame in zip(order, ds.PerFrameFunctionalGroupsSequence, strict=True):
        frame.PlanePositionSequence[0].ImagePositionPatient = at(number % 2)
    save(ds, image)
    voxels = masks.reshape(3, 2, *masks.shape[1:]).transpose(3, 2, 1, 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, affine()), tmp_path / "m.nii")
    for frame, number in enumerate(order):
        np.testing.assert_array_equal(read(tmp_path / "m.nii", image, frame), masks[number])


@pytest.mark.parametrize("mask", ["nifti", "dicom with times", "dicom"])
def test_points_in_time_are_those_that_the_file_states(tmp_path, mask):
    """Two slices at three points in time, stored in any order, as by a parallel reconstruction."""
    times, places = (3, 1, 1, 2, 3, 2), (0, 1, 0, 1, 1, 0)
    pixels, masks = np.concatenate([PIXELS] * 2), np.concatenate([MASKS, ~MASKS])

    def stored(path, frames, *, timed=True):
        ds = pydicom.dcmread(enhanced(path, frames))
        groups = ds.PerFrameFunctionalGroupsSequence
        for time, place, frame in zip(times, places, groups, strict=True):
            frame.PlanePositionSequence[0].ImagePositionPatient = at(place)
            if timed:
                frame.FrameContentSequence = [item(TemporalPositionIndex=time)]
        return save(ds, path)

    image, path = stored(tmp_path / "x.dcm", pixels), tmp_path / "m.dcm"
    if mask == "nifti":
        path = tmp_path / "m.nii"
        voxels = np.zeros((*masks.shape[:0:-1], 2, 3), np.uint8)
        for time, place, one in zip(times, places, masks, strict=True):
            voxels[:, :, place, time - 1] = one.T
        nibabel.save(nibabel.Nifti1Image(voxels, affine()), path)
    else:
        stored(path, masks.astype(np.uint16), timed=mask != "dicom")
    for frame, expected in enumerate(masks):
        np.testing.assert_array_equal(read(path, image, frame), expected)


@pytest.mark.parametrize("times", [(1, 2, 3), (2, 3, 1)], ids=["in order", "out of order"])
def test_times_that_the_mask_alone_states_are_those_of_its_frames(tmp_path, times):
    """In the order of the file they are the image's, else nothing tells which they are of."""

    def at_one_place(name, frames, stated):
        ds = pydicom.dcmread(enhanced(tmp_path / name, frames))
        for time, frame in zip(stated, ds.PerFrameFunctionalGroupsSequence, strict=True):
            frame.PlanePositionSequence[0].ImagePositionPatient = at(0)
            if time:
                frame.FrameContentSequence = [item(TemporalPositionIndex=time)]
        return save(ds, tmp_path / name)

    image = at_one_place("x.dcm", PIXELS, (None, None, None))
    mask = at_one_place("m.dcm", MASKS.astype(np.uint16), times)
    if times == (1, 2, 3):
        for frame in range(3):
            np.testing.assert_array_equal(read(mask, image, frame), MASKS[frame])
    else:
        with pytest.raises(ValueError, match=r"x\.dcm states no times, so nothing tells which"):
            read(mask, image, 0)


@pytest.mark.parametrize("step", [STEP, -STEP])
@pytest.mark.parametrize("kind", ["NM", "secondary capture", "RT Dose"])
def test_stacks_that_state_the_place_of_the_first_slice_and_the_steps(tmp_path, kind, step):
    """As SimpleITK reads NM: a negative step leads to the front."""
    first = item(ImagePositionPatient=at(0), ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ds = dicom(PIXELS, PixelSpacing=[ROW, COLUMN])
    if kind == "NM":
        ds.DetectorInformationSequence, ds.SliceVector = [first], [1, 2, 3]
        ds.SliceThickness = STEP  # Some have no other step, if it is positive.
    else:
        ds.update(first)
    if kind == "RT Dose":
        ds.GridFrameOffsetVector = [0, step, 2 * step]
    elif kind != "NM" or step < 0:
        ds.SpacingBetweenSlices = step
    image = save(ds, tmp_path / "x.dcm")
    place, drawn = affine(), MASKS if step > 0 else MASKS[::-1]
    place[2, 3] += min(0, 2 * step)
    mask = nifti(tmp_path / "m.nii.gz", drawn, place)
    for frame in range(3):
        np.testing.assert_array_equal(read(mask, image, frame), MASKS[frame])


def test_an_image_volume_that_is_turned_turns_its_mask_alike(tmp_path):
    """A sagittal volume, checked voxel by voxel against nibabel's canonical order."""
    rng = np.random.default_rng(1)
    voxels = rng.integers(0, 256, (7, 8, 9), dtype=np.uint8)
    place = np.array([[0, 0, 2.0, -5], [-0.5, 0, 0, 3], [0, 0.7, 0, 1], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, place), tmp_path / "x.nii")
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, place))
    nibabel.save(canonical, tmp_path / "y.nii")
    for frame in range(9):
        image = read_image(tmp_path / "x.nii", frame=frame)[0]
        expected = np.asarray(canonical.dataobj)[frame, ::-1, ::-1].T
        np.testing.assert_array_equal(image, expected)
        laid = read_mask_values(tmp_path / "y.nii", image=tmp_path / "x.nii", frame=frame)
        np.testing.assert_array_equal(laid, expected)


@pytest.mark.parametrize("change", ["moved", "coarser", "identity", "half a slice"])
def test_a_mask_that_lies_elsewhere_is_refused(tmp_path, change):
    place = affine()
    if change == "moved":
        place[0, 3] += 3
    elif change == "coarser":
        place[:3, :3] *= 1.1
    elif change == "half a slice":
        place[2, 3] += 1
    else:
        place = np.eye(4)
    path = nifti(tmp_path / "mask.nii", MASKS, place)
    for image in (enhanced(tmp_path / "v.dcm", PIXELS), nifti(tmp_path / "v.nii", PIXELS)):
        with pytest.raises(
            ValueError, match=rf"mask\.nii: its pixels lie elsewhere .*{image.name}"
        ):
            read(path, image)


@pytest.mark.parametrize("name", ["anatomical.nii", "functional.nii", "example4d.nii.gz"])
def test_real_volumes_are_shown_as_itk_orients_them(name):
    """nibabel's test files, turned to left, posterior, superior by ITK."""
    sitk = pytest.importorskip("SimpleITK")
    path = Path(nibabel.__file__).parent / "tests" / "data" / name
    first = sitk.ReadImage(str(path))
    if first.GetDimension() == 4:
        first = first[..., 0]
    across = nibabel.io_orientation(nibabel.load(path).affine)[2]
    oriented = sitk.GetArrayFromImage(sitk.DICOMOrient(first, "LPS")).astype(float)
    assert across[0] == 2
    for frame in range(0, len(oriented), 5):
        expected = oriented[frame if across[1] > 0 else -1 - frame]
        low, high = np.percentile(expected, (0.1, 99.9), method="nearest")
        levels = np.clip((expected - low) / (high - low), 0, 1) * 255
        np.testing.assert_allclose(read_image(path, frame=frame)[0], levels, atol=0.1)


def test_a_case_of_volumes_loads_by_position(tmp_path):
    masks, place = flipped((0, 1, 2))
    enhanced(tmp_path / "images" / "a.dcm", PIXELS)
    nifti(tmp_path / "masks" / "a.nii.gz", masks, place)
    cases = load(tmp_path).cases
    assert [case.key for case in cases] == ["a-frame0000", "a-frame0001", "a-frame0002"]
    for number, case in enumerate(cases):
        sample = case.load()
        np.testing.assert_array_equal(sample.mask, MASKS[number])
        assert sample.spacing == pytest.approx((0.5, 0.4))


def test_a_mask_whose_slices_lie_across_those_of_its_image_is_laid_on_it(tmp_path):
    """A sagittal volume, the mask of which was saved again in the order of the patient's axes."""
    across = np.array([[0, 0, 1.2, -3], [-1, 0, 0, 5], [0, -1, 0, 9], [0, 0, 0, 1]])
    nifti(tmp_path / "images" / "a.nii.gz", PIXELS, across)
    drawn = nibabel.load(nifti(tmp_path / "mask.nii.gz", MASKS, across))
    (tmp_path / "masks").mkdir()
    nibabel.save(nibabel.as_closest_canonical(drawn), tmp_path / "masks" / "a.nii.gz")
    cases = load(tmp_path).cases
    assert count_frames(tmp_path / "masks" / "a.nii.gz") > len(cases) == 3
    for number, case in enumerate(cases):
        sample = case.load()
        np.testing.assert_array_equal(sample.image, read_image(case.image, frame=number)[0])
        np.testing.assert_array_equal(sample.mask, read(drawn.get_filename(), case.image, number))


def test_slices_in_files_of_their_own_share_the_mask_of_the_volume(tmp_path):
    """As a converter leaves a series, with one mask for all of it; there is a slice too many."""
    masks, place = flipped((1, 2))
    nifti(tmp_path / "volume.nii.gz", masks, place)
    series(tmp_path)
    rows = [f"ct{number}.dcm,volume.nii.gz,patient" for number in range(3)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,mask,group", *rows]))
    for number, case in enumerate(load(tmp_path).cases):
        np.testing.assert_array_equal(case.load().mask, MASKS[number])
    save(slice_of(PIXELS[0], 3), tmp_path / "ct2.dcm")
    with pytest.raises(ValueError, match=r"volume\.nii\.gz: its pixels lie elsewhere .* ct2\.dcm"):
        load(tmp_path).cases[2].load()


@pytest.mark.parametrize("across", [0, 1])
def test_a_volume_one_voxel_thick_is_one_slice(tmp_path, across):
    picture = np.random.default_rng(2).integers(0, 256, (19, 28), dtype=np.uint8)
    voxels = np.expand_dims(picture, across)
    place = np.diag([0.5, 0.6, 0.7, 1])
    nibabel.save(nibabel.Nifti1Image(voxels, place), tmp_path / "x.nii.gz")
    assert count_frames(tmp_path / "x.nii.gz") == 1
    image, spacing = read_image(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(image, picture[::-1, ::-1].T)
    sides = [side for axis, side in enumerate((0.5, 0.6, 0.7)) if axis != across]
    assert spacing == pytest.approx(tuple(reversed(sides)))


def test_a_packed_volume_is_unpacked_once(tmp_path, monkeypatch):
    path = nifti(tmp_path / "x.nii.gz", slices(20))
    unpacked = []
    read_part = gzip.GzipFile.read

    def counting(file, size=-1):
        part = read_part(file, size)
        unpacked.append(len(part))
        return part

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    frames = [read_image(path, frame=frame)[0] for frame in range(20)]
    assert len({frame.tobytes() for frame in frames}) == 20
    assert sum(unpacked) < 2 * slices(20).nbytes
    changed = slices(20)[::-1]
    nifti(path, changed)
    np.testing.assert_array_equal(read_image(path, frame=0)[0], frames[19])


def test_a_packed_volume_with_a_wrong_checksum_is_refused(tmp_path):
    path = nifti(tmp_path / "x.nii.gz", PIXELS)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.nii\.gz: damaged, cut off"):
        read_image(path, frame=0)


@pytest.mark.parametrize(
    "sizes, code, expected",
    [((0, 0), 2, (0.5, 0.4)), ((0.4, 0.5), 2, (0.5, 0.4)), ((3, 3), 2, None), ((3, 3), 4, (3, 3))],
    ids=["missing", "equal", "contradictory", "standard brain"],
)
def test_sizes_of_voxels_come_from_both_places(tmp_path, sizes, code, expected):
    path = nifti(tmp_path / "x.nii", PIXELS)
    content = bytearray(path.read_bytes())
    content[80:88] = np.float32(sizes).tobytes()
    content[254:256] = np.int16(code).tobytes()
    path.write_bytes(content)
    spacing = read_image(path, frame=0)[1]
    assert spacing == (None if expected is None else pytest.approx(expected))


# -- plain pictures -------------------------------------------------------------------------------


def picture(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("place", [np.eye(4), np.diag([0.2, 0.2, 1, 1]), None])
@pytest.mark.parametrize("rows_first", [False, True])
def test_a_nifti_mask_without_orientation_is_not_turned(tmp_path, place, rows_first):
    """The shape of the image tells which axis runs along a row."""
    mask = MASKS[1]
    voxels = (mask if rows_first else mask.T).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, place), tmp_path / "m.nii.gz")
    image = picture(tmp_path / "x.png", np.zeros(mask.shape, np.uint8))
    np.testing.assert_array_equal(read(tmp_path / "m.nii.gz", image), mask)


def test_a_square_one_is_refused_because_nothing_tells(tmp_path):
    mask = MASKS[1, :40, :40].astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "m.nii")
    image = picture(tmp_path / "x.png", mask)
    with pytest.raises(ValueError, match=r"m\.nii: it has no orientation, .* save the mask as PNG"):
        read(tmp_path / "m.nii", image)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_slices_of_a_mask_are_not_taken_for_points_in_time_of_its_image(tmp_path, kind):
    """All frames of a loop lie where the mask's first slice does."""
    if kind == "dicom":
        image = enhanced(tmp_path / "loop.dcm", PIXELS)
        ds = pydicom.dcmread(image)
        for frame in ds.PerFrameFunctionalGroupsSequence:
            frame.PlanePositionSequence[0].ImagePositionPatient = at(0)
        save(ds, image)
    else:
        voxels = PIXELS.transpose(2, 1, 0)[:, :, None]
        image = tmp_path / "loop.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, affine()), image)
    mask = nifti(tmp_path / "mask.nii.gz", MASKS)
    for frame in range(3):
        with pytest.raises(ValueError, match="3 points in time, and this 1.*the axes of its image"):
            read(mask, image, frame)
    same = tmp_path / "same.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(MASKS.transpose(2, 1, 0)[:, :, None].astype("u1"), affine()), same
    )
    for frame in range(3):
        np.testing.assert_array_equal(read(same, image, frame), MASKS[frame])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_masks_of_plain_pictures_as_itk_writes_them(tmp_path, suffix):
    sitk = pytest.importorskip("SimpleITK")
    mask = MASKS[2, :40, :40].astype(np.uint8)
    image = picture(tmp_path / "x.png", mask * 200)
    drawn = sitk.ReadImage(str(image)) > 0
    sitk.WriteImage(drawn, str(tmp_path / f"m{suffix}"))
    np.testing.assert_array_equal(read(tmp_path / f"m{suffix}", image), mask > 0)


def test_a_picture_and_a_volume_that_is_turned_are_refused_together(tmp_path):
    turned = nifti(tmp_path / "v.nii", MASKS[:1], LPS @ affine())
    plain = picture(tmp_path / "x.png", MASKS[0].astype(np.uint8))
    with pytest.raises(ValueError, match=r"x\.png: it does not say where it lies, and v\.nii"):
        read(plain, turned)
    with pytest.raises(ValueError, match=r"v\.nii: it is turned by its orientation, and x\.png"):
        read(turned, plain)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_tiff_that_lies_on_its_side_has_the_shape_that_is_seen(tmp_path, orientation):
    mask = MASKS[1]
    stored = {1: mask, 6: np.rot90(mask), 8: np.rot90(mask, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored.astype(np.uint8)).save(tmp_path / "x.tif", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[0], mask)
    nibabel.save(nibabel.Nifti1Image(mask.T.astype(np.uint8), np.eye(4)), tmp_path / "m.nii")
    np.testing.assert_array_equal(read(tmp_path / "m.nii", tmp_path / "x.tif"), mask)


def test_a_mask_of_one_volume_for_each_label_is_refused(tmp_path):
    """The first of them would pass for the whole mask."""
    image, _ = (nifti(tmp_path / folder / "x.nii", MASKS[:1], affine()) for folder in "im")
    labels = np.stack([MASKS[0].T, MASKS[1].T], axis=-1)[:, :, None].astype(np.uint8)
    place = nibabel.load(image).affine
    nibabel.save(nibabel.Nifti1Image(labels, place), tmp_path / "m" / "x.nii")
    with pytest.raises(ValueError, match="it has 2 volumes, .* one per label, unlike x.nii"):
        read(tmp_path / "m" / "x.nii", image)


# -- NRRD and MetaImage ---------------------------------------------------------------------------


def itk_volume(path, pixels, direction=None):
    """Write a volume by SimpleITK, where the slices lie."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(pixels.astype(np.uint8) if pixels.dtype == bool else pixels)
    image.SetSpacing((0.4, 0.5, 2.0))
    image.SetOrigin((-10.0, -20.0, 30.0))
    if direction:
        image = sitk.DICOMOrient(image, direction)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("direction", ["LPS", "RAS", "ASL"])
def test_itk_volumes_are_laid_on_images_of_other_formats(tmp_path, suffix, direction):
    path = itk_volume(tmp_path / f"m{suffix}", MASKS, direction)
    images = [
        enhanced(tmp_path / "v.dcm", PIXELS),
        nifti(tmp_path / "v.nii", PIXELS),
        itk_volume(tmp_path / f"v{suffix}", PIXELS),
    ]
    for image in images:
        for frame in range(3):
            np.testing.assert_array_equal(read(path, image, frame), MASKS[frame])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_images(tmp_path, suffix):
    path = itk_volume(tmp_path / f"x{suffix}", PIXELS)
    assert count_frames(path) == 3
    image, spacing = read_image(path, frame=1)
    expected = read_image(nifti(tmp_path / "x.nii", PIXELS), frame=1)
    np.testing.assert_array_equal(image, expected[0])
    assert spacing == pytest.approx((0.5, 0.4))
    assert expected[1] == pytest.approx((0.5, 0.4))
    with pytest.raises(ValueError, match="it has 3 frames; say which: frame 0 to 2"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_colors_and_damage(tmp_path, suffix):
    sitk = pytest.importorskip("SimpleITK")
    colors = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(colors, isVector=True), str(path))
    np.testing.assert_array_equal(read_image(path)[0], colors)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"x\{suffix}: damaged, cut off"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("damage", ["one bit", "zeros at the end"])
def test_damage_of_what_is_packed_is_found_by_its_checksum(tmp_path, suffix, damage):
    sitk = pytest.importorskip("SimpleITK")
    noise = np.random.default_rng(1).integers(0, 256, (1, 40, 50), dtype=np.uint8)
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=True)
    np.testing.assert_array_equal(read_image(path)[0], noise[0])
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-900] ^= 16
    else:
        content[-300:] = bytes(300)
    (tmp_path / f"y{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match="damaged, cut off"):
        read_image(tmp_path / f"y{suffix}")


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_headers_that_name_another_file_are_refused(tmp_path, suffix):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(PIXELS), str(tmp_path / f"x{suffix}"))
    with pytest.raises(ValueError, match="a header whose pixels are in another file; save both"):
        read_image(tmp_path / f"x{suffix}", frame=0)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.mha", "x.nrrd"])
@pytest.mark.parametrize("across", [1, 999])
def test_a_picture_that_itk_converted_has_no_size(tmp_path, name, across):
    """ITK writes 1 mm where nobody has said a size, and nnU-Net's first version 999 mm across."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(1, 3, 4))
    image.SetSpacing((1, 1, across))
    sitk.WriteImage(image, tmp_path / name)
    assert read_image(tmp_path / name)[1] is None
    image.SetOrigin((0, 0, 30))
    sitk.WriteImage(image, tmp_path / name)
    assert read_image(tmp_path / name)[1] == (1, 1)


@pytest.mark.parametrize(
    ("field", "spacing"),
    [
        ("spacings: 0.2 0.3", (0.3, 0.2)),
        ('spacings: 0.2 0.3\nunits: "cm" "cm"', (3, 2)),
        ('spacings: 200 300\nunits: "um" "um"', (0.3, 0.2)),
        ("spacings: nan 0.3", None),
        ("spacings: 0.2 NaN", None),
    ],
)
def test_spacing_of_nrrd_in_its_unit(tmp_path, field, spacing):
    """ITK takes every unit for millimeters, and a size that is not known for 1."""
    pytest.importorskip("SimpleITK")
    head = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 3\nencoding: raw\n{field}\n\n"
    (tmp_path / "x.nrrd").write_bytes(head.encode() + bytes(12))
    assert read_image(tmp_path / "x.nrrd")[1] == (spacing and pytest.approx(spacing))


def test_nrrd_in_a_unit_that_is_not_known_is_refused(tmp_path):
    pytest.importorskip("SimpleITK")
    head = 'NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 3\nencoding: raw\nunits: "in" "in"\n\n'
    (tmp_path / "x.nrrd").write_bytes(head.encode() + bytes(12))
    with pytest.raises(ValueError, match="its unit of length is not known"):
        read_image(tmp_path / "x.nrrd")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("type: uint8\nencoding: bzip2", "compressed by bzip2.*save it with gzip"),
        ("type: uint16\nencoding: raw", "does not say the order of its bytes; save it again"),
    ],
)
def test_nrrd_that_cannot_be_unpacked_says_why(tmp_path, fields, words):
    head = f"NRRD0004\ndimension: 2\nsizes: 4 3\n{fields}\n\n"
    (tmp_path / "x.nrrd").write_bytes(head.encode() + bytes(24))
    with pytest.raises(ValueError, match=words):
        read_image(tmp_path / "x.nrrd")


def test_position_of_nrrd_in_its_unit(tmp_path):
    pytest.importorskip("SimpleITK")
    places = {"mm": "(1,0,0) (0,1,0) (0,0,2)", "cm": "(0.1,0,0) (0,0.1,0) (0,0,0.2)"}
    for unit, directions in places.items():
        head = (
            f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 3 1\nencoding: raw\n"
            f"space: left-posterior-superior\nspace directions: {directions}\n"
            f"space origin: (0,0,{5 if unit == 'mm' else 0.5})\n"
            f'space units: "{unit}" "{unit}" "{unit}"\n\n'
        )
        (tmp_path / f"{unit}.nrrd").write_bytes(head.encode() + bytes(range(12)))
    found = read(tmp_path / "cm.nrrd", tmp_path / "mm.nrrd")
    np.testing.assert_array_equal(found, np.arange(12).reshape(3, 4) > 0)


@pytest.mark.parametrize("field", ["CompressedData = True", "HeaderSize = 4"])
def test_metaimage_that_does_not_say_where_its_pixels_are_is_refused(tmp_path, field):
    """ITK reads other bytes then, without a word."""
    pytest.importorskip("SimpleITK")
    head = f"NDims = 2\nDimSize = 4 3\n{field}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "x.mha").write_bytes(head.encode() + bytes(40))
    with pytest.raises(ValueError, match="does not say where its pixels are"):
        read_image(tmp_path / "x.mha")


@pytest.mark.parametrize("rows_first", [False, True])
def test_nrrd_without_orientation_is_laid_by_its_shape(tmp_path, rows_first):
    """As pynrrd writes arrays, the first axis first."""
    mask = MASKS[1]
    stored = mask if rows_first else mask.T
    sizes = f"sizes: {stored.shape[0]} {stored.shape[1]}".encode()
    head = b"NRRD0004\ntype: uint8\ndimension: 2\n" + sizes + b"\nencoding: raw\n\n"
    (tmp_path / "m.nrrd").write_bytes(head + stored.astype(np.uint8).tobytes(order="F"))
    pytest.importorskip("SimpleITK")
    image = picture(tmp_path / "x.png", np.zeros(mask.shape, np.uint8))
    np.testing.assert_array_equal(read(tmp_path / "m.nrrd", image), mask)
    assert read_image(tmp_path / "m.nrrd")[1] is None


def test_a_sequence_is_not_taken_for_color(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "x.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.moveaxis(PIXELS, 0, 2), isVector=True), str(path))
    content = path.read_bytes()
    assert b"kinds: vector" in content
    path.write_bytes(content.replace(b"kinds: vector", b"kinds: list  ", 1))
    with pytest.raises(ValueError, match=r"x\.nrrd: a sequence or several layers, not one volume"):
        read_image(path)


def test_volumes_of_both_libraries_are_read_in_threads(tmp_path):
    """They keep quiet and share memory, one at a time; neither waits for the other forever."""
    from concurrent.futures import ThreadPoolExecutor

    masks = [itk_volume(tmp_path / "m.nrrd", MASKS), nifti(tmp_path / "m.nii.gz", MASKS)]
    image = nifti(tmp_path / "v.nii.gz", PIXELS)
    wanted = [(masks[n % 2], n % 3) for n in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: read(one[0], image, one[1]), wanted, timeout=300))
    for (_, frame), mask in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(mask, MASKS[frame])


def test_a_missing_library_names_its_extra(tmp_path, monkeypatch):
    path = itk_volume(tmp_path / "x.mha", PIXELS)
    monkeypatch.delitem(sys.modules, "kerasunet.data.readers.itk", raising=False)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ValueError, match=r'x\.mha: MetaImage needs .* "kerasunet\[itk\]"'):
        read_image(path)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segments_are_chosen_by_label_or_refused(tmp_path, kind):
    pytest.importorskip("highdicom")
    image = slice_of(PIXELS[0], 0)
    save(image, tmp_path / "images" / "x.dcm")
    one, other = MASKS[0], MASKS[0, ::-1, ::-1] & ~MASKS[0]
    given = np.stack([one, other], axis=-1)[None]
    if kind == "LABELMAP":
        given = (one + 2 * other)[None].astype(np.uint8)
    given = given.astype(float if kind == "FRACTIONAL" else np.uint8)
    save(segmentation([image], given, kind), tmp_path / "masks" / "x.dcm")
    for choice, expected in (("s0", one), ("s1", other), ("both=s0,s1", one | other)):
        (case,) = load(tmp_path, objects=[choice]).cases
        np.testing.assert_array_equal(case.load().mask, expected)
    with pytest.raises(ValueError, match=r"has several objects, s0 \(1\), s1 \(1\)"):
        load(tmp_path)
    with pytest.raises(ValueError, match="it has s0, s1"):
        load(tmp_path, objects=["liver"])


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "padding"])
def test_a_segment_of_the_background_is_no_object(tmp_path, kind):
    """It is named so, or its number in a label map is also that of the padding."""
    pytest.importorskip("highdicom")
    image = slice_of(PIXELS[0], 0)
    save(image, tmp_path / "images" / "x.dcm")
    given = np.stack([MASKS[0], ~MASKS[0]], axis=-1)[None].astype(np.uint8)
    if kind != "BINARY":
        given = (MASKS[0] + 2 * ~MASKS[0])[None].astype(np.uint8)
    made = segmentation([image], given, kind if kind != "padding" else "LABELMAP")
    made.SegmentSequence[-1].SegmentLabel = "Background" if kind != "padding" else "Exterior"
    if kind == "padding":
        made.add_new("PixelPaddingValue", "US", 2)
    save(made, tmp_path / "masks" / "x.dcm")
    for choice in ((), ("s0",)):
        (case,) = load(tmp_path, objects=choice).cases
        np.testing.assert_array_equal(case.load().mask, MASKS[0])


def test_a_label_is_chosen_in_segmentations_beside_files_of_objects(tmp_path):
    pytest.importorskip("highdicom")
    other = MASKS[:, ::-1, ::-1] & ~MASKS
    files = {"images/x": PIXELS, "masks/x_mask_s0": MASKS, "masks/x_mask_z": other}
    for name, pixels in files.items():
        path = tmp_path / "P1" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].astype(np.uint8)).save(path)
    image = slice_of(PIXELS[0], 0)
    save(image, tmp_path / "P2" / "images" / "x.dcm")
    made = segmentation([image], np.stack([MASKS, other], axis=-1)[:1].astype(np.uint8))
    save(made, tmp_path / "P2" / "masks" / "x.dcm")
    both = MASKS | other
    expected = {"s0": (MASKS, MASKS), "x=z,s1": (other, other), "x=s0,s1": (MASKS, both)}
    for choice, masks in expected.items():
        data = load(tmp_path, objects=[choice])
        assert not data.remarks
        for case, mask in zip(data.cases, masks, strict=True):
            np.testing.assert_array_equal(case.load().mask, mask[0])


@pytest.mark.parametrize("program", ["highdicom", "3D Slicer"])
def test_segments_of_one_label_but_other_types_are_refused(tmp_path, program):
    """Programs call them all `Segment_1`; the type of one of them says nothing."""
    pytest.importorskip("highdicom" if program == "highdicom" else "SimpleITK")

    def write(patient, label, kind):
        folder = tmp_path / patient
        if program == "3D Slicer":
            (folder / "images").mkdir(parents=True, exist_ok=True)
            itk_volume(folder / "images" / "x.nrrd", PIXELS)
            slicer(folder / "masks" / "x.seg.nrrd", [MASKS], ((label, 1, 0),), kind=kind)
            return
        image = slice_of(PIXELS[0], 0)
        save(image, folder / "images" / "x.dcm")
        made = segmentation([image], MASKS[:1].astype(np.uint8))
        made.SegmentSequence[0].SegmentLabel = label
        made.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning = kind
        save(made, folder / "masks" / "x.dcm")

    write("P1", "Segment_1", "Liver")
    write("P2", "Segment_1", "Spleen")
    told = r"P2.*: its segment Segment_1 is Spleen, that of .*P1.* is Liver; give segments names"
    for choice in ((), ["Segment_1"]):
        with pytest.raises(ValueError, match=told):
            load(tmp_path, objects=choice)
    for label, kind in (("Segment_1", "Liver"), ("Segment_1", "Tissue")):
        write("P2", label, kind)
        for case in load(tmp_path).cases:
            np.testing.assert_array_equal(case.load().mask, MASKS[getattr(case, "frame", 0)])
    for patient, kind in (("P1", "Neoplasm"), ("P2", "Lesion")):
        write(patient, "tumor", kind)
    assert load(tmp_path, objects=["tumor"]).objects.names == ("object",)


def slicer(path, layers, segments, *, start=(0, 0, 0), kind="Tissue"):
    """Write a segmentation as 3D Slicer does; layers are `(slices, height, width)` each."""
    terms = "list~SCT^123037004^Anatomical Structure~SCT^1^{}~^^~Anatomic codes~^^~^^|"
    stacked = np.stack(layers).astype(np.uint8)
    depth, height, width = stacked.shape[1:]
    corner = (affine() @ [*start, 1])[:3] * (-1, -1, 1)
    several = len(layers) > 1
    directions = [f"({COLUMN},0,0)", f"(0,{ROW},0)", f"(0,0,{STEP})"]
    named = [
        f"Segment{n}_{field}:={value}"
        for n, (name, value, layer) in enumerate(segments)
        for field, value in (
            ("ID", f"S{n}"),
            ("Name", name),
            ("LabelValue", value),
            ("Layer", layer),
            ("Tags", f"TerminologyEntry:{terms.format(kind)}"),
        )
    ]
    lines = [
        "NRRD0004", "type: unsigned char", f"dimension: {3 + several}",
        "space: left-posterior-superior",
        f"sizes: {f'{len(layers)} ' * several}{width} {height} {depth}",
        f"space directions: {'none ' * several}{' '.join(directions)}",
        f"kinds: {'list ' * several}domain domain domain", "encoding: raw",
        f"space origin: ({','.join(map(str, corner))})", *named, "\n",
    ]  # fmt: skip
    voxels = stacked.transpose(0, 3, 2, 1) if several else stacked[0].transpose(2, 1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode() + voxels.tobytes(order="F"))
    return path


SEGMENTS = (("lung", 1, 0), ("heart", 2, 0))


def test_segmentations_of_slicer_are_read_by_name(tmp_path):
    pytest.importorskip("SimpleITK")
    (tmp_path / "images").mkdir()
    itk_volume(tmp_path / "images" / "v.nrrd", PIXELS)
    other = MASKS[:, ::-1] & ~MASKS
    slicer(tmp_path / "masks" / "v.seg.nrrd", [MASKS + 2 * other], SEGMENTS)
    with pytest.raises(ValueError, match=r"has several objects, lung \(1\), heart \(1\)"):
        load(tmp_path)
    for choice, expected in (("lung", MASKS), ("heart", other), ("lung,heart", MASKS | other)):
        for case, mask in zip(load(tmp_path, objects=[choice]).cases, expected, strict=True):
            np.testing.assert_array_equal(case.load().mask, mask)
    with pytest.raises(ValueError, match="a segmentation of 3D Slicer, so a mask"):
        read_image(tmp_path / "masks" / "v.seg.nrrd", frame=0)


def test_a_segmentation_of_slicer_of_any_name_is_of_the_only_image_beside_it(tmp_path):
    pytest.importorskip("SimpleITK")
    for patient in ("P1", "P2"):
        (tmp_path / patient).mkdir()
        itk_volume(tmp_path / patient / "3 CT chest.nrrd", PIXELS)
        slicer(tmp_path / patient / "Segmentation.seg.nrrd", [MASKS], SEGMENTS[:1])
    data = load(tmp_path)
    assert {case.group for case in data.cases} == {"P1", "P2"}
    for case, mask in zip(data.cases, [*MASKS, *MASKS], strict=True):
        np.testing.assert_array_equal(case.load().mask, mask)
    itk_volume(tmp_path / "P1" / "another.nrrd", PIXELS)
    with pytest.raises(ValueError, match="no known layout"):
        load(tmp_path / "P1")


def test_layers_of_slicer_may_overlap(tmp_path):
    pytest.importorskip("SimpleITK")
    image = nifti(tmp_path / "images" / "v.nii.gz", PIXELS)
    other = np.roll(MASKS, 3, axis=1)
    path = slicer(
        tmp_path / "masks" / "v.seg.nrrd", [MASKS, other], (("lung", 1, 0), ("heart", 1, 1))
    )
    assert (MASKS & other).any()
    for choice, expected in (("lung", MASKS), ("heart", other)):
        for case, mask in zip(load(tmp_path, objects=[choice]).cases, expected, strict=True):
            np.testing.assert_array_equal(case.load().mask, mask)
    np.testing.assert_array_equal(read(path, image, 1), (MASKS | other)[1])


def test_a_segmentation_of_slicer_that_is_cut_is_padded(tmp_path):
    pytest.importorskip("SimpleITK")
    image = nifti(tmp_path / "v.nii.gz", PIXELS)
    cut = MASKS[1:2, 3:41, 4:40]
    path = slicer(tmp_path / "v.seg.nrrd", [cut], SEGMENTS[:1], start=(4, 3, 1))
    expected = np.zeros_like(MASKS)
    expected[1:2, 3:41, 4:40] = cut
    for frame in range(3):
        np.testing.assert_array_equal(read(path, image, frame), expected[frame])
    wrong = slicer(tmp_path / "x.seg.nrrd", [MASKS], (("lung", 1, 4),))
    with pytest.raises(ValueError, match=r"its segment lung is in layer 4, and it has 1 from 0"):
        read(wrong, image, 1)
    for named, told in (
        ((*SEGMENTS[:1], ("heart", 1, 0)), "with segments of the same value"),
        (SEGMENTS[1:], "its value 1 is of no segment"),
    ):
        with pytest.raises(ValueError, match=told):
            read(slicer(tmp_path / "x.seg.nrrd", [MASKS], named), image, 1)
    elsewhere = slicer(tmp_path / "w.seg.nrrd", [cut], SEGMENTS[:1], start=(400, 3, 1))
    with pytest.raises(ValueError, match="its pixels lie elsewhere in the patient"):
        read(elsewhere, image, 1)


def test_another_mask_that_is_cut_says_so(tmp_path):
    image = nifti(tmp_path / "v.nii.gz", PIXELS)
    place = affine()
    place[:3, 3] = (place @ [4, 3, 0, 1])[:3]
    path = nifti(tmp_path / "m.nii.gz", MASKS[:, 3:41, 4:40], place)
    with pytest.raises(ValueError, match=r"m\.nii\.gz: it covers only a part of v\.nii\.gz; pad"):
        read(path, image, 1)


def test_two_orientations_that_contradict_each_other_are_refused(tmp_path):
    """nibabel goes by the one, ITK by the other, so that a mask of one may lie flipped."""
    flipped = affine() @ np.diag([-1.0, 1, 1, 1])
    volume = nibabel.Nifti1Image(PIXELS.transpose(2, 1, 0), affine())
    volume.set_sform(affine(), 1)
    volume.set_qform(flipped, 1)
    nibabel.save(volume, tmp_path / "v.nii")
    with pytest.raises(ValueError, match=r"v\.nii: its two orientations, sform and qform, contra"):
        read_image(tmp_path / "v.nii", frame=0)
    (tmp_path / "images").mkdir()
    (tmp_path / "v.nii").rename(tmp_path / "images" / "v.nii")
    nifti(tmp_path / "masks" / "v.nii", MASKS, flipped)
    (case,) = load(tmp_path).cases
    with pytest.raises(ValueError, match="contradict each other"):
        case.load()

"""Reading NIfTI: orientation, slices, levels and spacing on files with known voxels."""

import gzip
import os
import sys

import numpy as np
import pytest
from helpers.images import read_levels as read

from kerasunet.data.readers import read_image, read_mask_values

nib = pytest.importorskip("nibabel")

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(7)
ITK = np.diag([-1.0, -1.0, 1.0, 1.0])  # i to the left, j to the posterior, k to the superior.


# -- own data -------------------------------------------------------------------------------------


@pytest.fixture
def save(tmp_path):
    def save_one(voxels, affine=ITK, name="x.nii.gz", unit="mm", kind=nib.Nifti1Image, **header):
        image = kind(voxels, affine)
        image.header.set_xyzt_units(unit)
        for key, value in header.items():
            image.header[key] = value
        path = tmp_path / name
        content = image.to_bytes()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return save_one


def picture(height=19, width=28):
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


# -- levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.png"])
def test_two_dimensions_as_itk_writes_them(save, kind, name):
    pixels = picture()
    np.testing.assert_array_equal(read(save(pixels.T, name=name, kind=kind)), pixels)


def test_own_range(save):
    values = RNG.normal(-300, 40, (12, 10))
    expected = (values - values.min()) / np.ptp(values) * 255
    for dtype in (np.float32, np.float64, np.int16):
        stored = values.astype(dtype)
        image = read(save(stored.T))
        np.testing.assert_allclose(image, expected, atol=1e-2 if dtype != np.int16 else 3)


def test_slope_and_intercept(save):
    stored = np.arange(60, dtype=np.int16).reshape(6, 10)
    path = save(stored, name="x.nii")
    content = bytearray(path.read_bytes())
    content[112:120] = np.float32([-2.0, 7.0]).tobytes()
    path.write_bytes(content)
    np.testing.assert_allclose(read(path), (59 - stored.T) / 59 * 255, atol=1e-3)


def test_rgb_voxels(save):
    pixels = RNG.integers(0, 256, (9, 14, 3), dtype=np.uint8)
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels = np.ascontiguousarray(pixels.swapaxes(0, 1)).view(dtype)[..., 0]
    np.testing.assert_array_equal(read(save(voxels)), pixels)


def test_color_in_a_fifth_axis_as_itk_writes_it(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    color = np.stack([picture(), picture(), picture()], axis=-1)
    path = tmp_path / "x.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(color.astype(np.float32), isVector=True), str(path))
    assert nib.load(path).shape == (28, 19, 1, 1, 3)
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    low, high = np.percentile(by_itk, (0.1, 99.9), method="nearest")
    expected = (np.clip(by_itk, low, high) - low) / (high - low) * 255
    np.testing.assert_allclose(read(path), expected, atol=1e-3)


def test_voxels_of_other_numbers_are_refused(save):
    path = save(np.zeros((9, 8, 1, 1, 2), np.uint8))
    with pytest.raises(ValueError, match="voxels of 2 numbers; save one of them, or color"):
        read_image(path)
    voxels = np.zeros((9, 8, 1), [(name, "u1") for name in "RGBA"])
    voxels["A"][2:5] = 255
    with pytest.raises(ValueError, match="voxels of color and opacity"):
        read_image(save(voxels))


def test_values_that_are_no_numbers_are_refused(save):
    voxels = np.zeros((5, 6), np.float32)
    voxels[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"x\.nii\.gz: holds NaN or infinite values"):
        read_image(save(voxels))


# -- slices and orientation -----------------------------------------------------------------------


def test_slices_by_index(save):
    volume = RNG.integers(0, 256, (8, 9, 5), dtype=np.uint8)
    for name in ("x.nii", "x.nii.gz"):
        path = save(volume, name=name)
        for index in range(5):
            np.testing.assert_array_equal(read(path, frame=index), volume[:, :, index].T)
        for index in (5, -1):
            with pytest.raises(ValueError, match=f"there is no frame {index}; it has 5"):
                read_image(path, frame=index)


def test_time_follows_slices(save):
    volume = RNG.integers(0, 256, (8, 9, 2, 3), dtype=np.uint8)
    path = save(volume)
    np.testing.assert_array_equal(read(path, frame=5), volume[:, :, 1, 2].T)
    np.testing.assert_array_equal(read(path, frame=1), volume[:, :, 1, 0].T)
    np.testing.assert_array_equal(read(path, frame=0), volume[:, :, 0, 0].T)


def anatomy():
    """A volume in (right, anterior, superior) order with a landmark at one corner."""
    volume = np.zeros((7, 8, 9), np.uint8)
    volume[-1, -1, -1] = 255  # Rightmost, most anterior, topmost.
    return volume


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("swap", [False, True])
def test_radiological_convention(save, plane, signs, swap):
    """Right or anterior is at the left edge, anterior or superior at the top edge."""
    across = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    order = [axis for axis in range(3) if axis != across]
    order = (order[::-1] if swap else order) + [across]
    volume, affine = anatomy(), np.zeros((4, 4))
    affine[3, 3] = 1
    sizes = np.array([0.5, 0.7, 0.9])
    stored = volume.transpose(order)
    for axis, world in enumerate(order):
        affine[world, axis] = signs[axis] * sizes[world]
        if signs[axis] < 0:
            stored = np.flip(stored, axis)
    frame = stored.shape[2] - 1 if signs[2] > 0 else 0
    image, spacing = read_image(save(stored, affine), frame=frame)
    columns, rows = sorted(order[:2])
    assert image.shape == (volume.shape[rows], volume.shape[columns])
    assert image[0, 0] == 255 and image.sum() == 255
    assert spacing == pytest.approx((sizes[rows], sizes[columns]))


def test_unknown_orientation_is_left_alone(save):
    pixels = picture()
    path = save(pixels.T, None, sform_code=0, qform_code=0)
    np.testing.assert_array_equal(read(path), pixels)


def test_singular_orientation_is_refused(save):
    path = save(picture(), name="x.nii")
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="orientation matrix is singular"):
        read_image(path)


# -- spacing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit, sizes, expected",
    [
        ("mm", (0.1, 0.3), (0.3, 0.1)),
        ("micron", (100, 300), (0.3, 0.1)),
        ("meter", (0.0001, 0.0003), (0.3, 0.1)),
        ("unknown", (0.1, 0.3), (0.3, 0.1)),
        ("mm", (1, 1), (1, 1)),
        ("unknown", (1, 1), None),
    ],
)
def test_spacing(save, unit, sizes, expected):
    affine = np.diag([-sizes[0], -sizes[1], 1, 1])
    affine[2, 3] = 30
    _, spacing = read_image(save(picture(), affine, unit=unit))
    assert spacing == (None if expected is None else pytest.approx(expected))


# -- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_masks_are_labels_turned_like_images(save, dtype):
    labels = picture() % 4
    mask = read_mask_values(save(labels.T.astype(dtype)))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, labels)


@pytest.mark.parametrize("value", [-1, 0.5])
def test_mask_of_other_numbers_is_refused(save, value):
    with pytest.raises(ValueError, match="whole numbers from 0|fractions from 0 to 1"):
        read_mask_values(save(np.full((4, 5), value, np.float32)))


# -- what cannot be read --------------------------------------------------------------------------


def test_huge_images_are_refused_from_the_header(save):
    path = save(picture(), name="x.nii", kind=nib.Nifti2Image)
    content = bytearray(path.read_bytes())
    content[24:40] = np.int64([50_000, 50_000]).tobytes()
    for name, huge in (("x.nii", content), ("x.nii.gz", gzip.compress(content))):
        path.with_name(name).write_bytes(huge)
        for reader in (read_image, read_mask_values):
            with pytest.raises(ValueError, match="50000×50000 pixels, more than the limit"):
                reader(path.with_name(name))


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_truncated_files_are_refused(save, name):
    path = save(RNG.integers(0, 9999, (20, 20, 4), dtype=np.int16), name=name)
    content = path.read_bytes()
    for share in (0.01, 0.2, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"x\.nii"):
            read_image(path, frame=3)


def test_one_axis_is_no_image(save):
    with pytest.raises(ValueError, match="fewer than two axes"):
        read_image(save(np.zeros(9, np.uint8)))


def test_words_of_the_header_do_not_get_out(save, capfd, caplog):
    path = save(picture(), name="x.nii", descrip=b"PLANTED", db_name=b"PLANTED")
    content = bytearray(path.read_bytes())
    content[70:72] = b"\xff\x7f"  # No such data type.
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged") as caught:
        read_image(path)
    assert "PLANTED" not in str(caught.value) + caplog.text
    assert capfd.readouterr() == ("", "")


def test_odd_headers_are_not_talked_about(save, capfd):
    pixels = picture()
    path = save(pixels.T, name="x.nii")
    content = bytearray(path.read_bytes())
    content[76:80] = np.float32(0.5).tobytes()  # Neither -1 nor 1, as it should be.
    content[84:88] = np.float32(-0.2).tobytes()  # A negative spacing.
    path.write_bytes(content)
    image, spacing = read_image(path)
    np.testing.assert_array_equal(image, pixels)
    assert spacing is None  # The orientation matrix says 1.
    assert capfd.readouterr() == ("", "")


def test_missing_library_names_the_extra(save, monkeypatch):
    path = save(picture())
    monkeypatch.delitem(sys.modules, "kerasunet.data.readers.nifti", raising=False)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ValueError, match=r'x\.nii\.gz: NIfTI needs .* "kerasunet\[dicom\]"'):
        read_image(path)


def test_voxels_that_would_begin_within_the_header_are_refused(save):
    path = save(RNG.integers(0, 9, (20, 30, 1), dtype=np.uint8), name="x.nii")
    content = bytearray(path.read_bytes())
    content[108:112] = bytes(4)  # vox_offset, 352 before.
    path.write_bytes(content)
    with pytest.raises(ValueError, match="states that the voxels begin within it"):
        read_image(path)


def test_complex_numbers_are_named(save):
    with pytest.raises(ValueError, match="complex numbers; save their magnitude"):
        read_image(save(np.ones((20, 30, 1), np.complex64)))


def test_a_volume_that_was_overwritten_is_read_anew(save):
    """Also with another of the same size whose time was kept, as by `cp -p` or from an archive."""
    path, pictures = save(picture()), [picture() for _ in range(2)]
    for pixels in pictures:
        content, before = nib.Nifti1Image(pixels.T, ITK).to_bytes(), path.stat().st_ctime_ns
        path.write_bytes(gzip.compress(content, compresslevel=0))
        os.utime(path, (1e9, 1e9))
        while path.stat().st_ctime_ns == before:
            os.utime(path, (1e9, 1e9))
        np.testing.assert_array_equal(read(path), pixels)

"""DICOM as viewers show it: padding, tables, windows, broken elements; checked by other readers."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from helpers.dicom_files import big_endian, dicom, item, overwritten, save, table  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.encaps import encapsulate, get_frame  # noqa: E402
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless  # noqa: E402

from kerasunet.data.layouts import read_folder  # noqa: E402
from kerasunet.data.readers import read_image, read_mask_values  # noqa: E402
from kerasunet.files import FileWarning  # noqa: E402

RAMP = np.arange(1024, dtype=np.uint16).reshape(32, 32)
EVEN = RAMP / 1023 * 255


@pytest.fixture
def read(tmp_path):
    def read_one(ds, **options):
        return read_image(save(ds, tmp_path / "x.dcm"), **options)[0]

    return read_one


# -- padding --------------------------------------------------------------------------------------


def padded(pixels, value):
    """The pixels with the left third replaced by padding."""
    pixels = pixels.copy()
    pixels[:, : pixels.shape[1] // 3] = value
    return pixels


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_the_ground_and_takes_no_part_in_the_range(read, photometric):
    anatomy = (RAMP + 2000).astype(np.uint16)
    image = read(dicom(padded(anatomy, 65535), photometric, PixelPaddingValue=65535))
    assert not image[:, :10].any()
    inside = anatomy[:, 10:].astype(float)
    levels = (inside - inside.min()) / np.ptp(inside) * 255
    wanted = 255 - levels if photometric == "MONOCHROME1" else levels
    np.testing.assert_allclose(image[:, 10:], wanted, atol=0.5)
    assert len(np.unique(image)) > 600


@pytest.mark.parametrize("value", [-2000, 63536])
def test_padding_of_signed_pixels_may_be_written_as_unsigned(read, value):
    stored = padded(RAMP.astype(np.int16) - 300, -2000)
    ds = dicom(stored)
    ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    image = read(ds)
    assert not image[:, :10].any()
    assert image[:, 10:].std() > 60


def test_padding_may_need_more_bits_than_are_stored(read):
    """The unused bits tell padding from the largest value."""
    stored = padded(RAMP, 0)
    stored[0, 20] = 4095
    ds = dicom(padded(stored, 65535), bits=16, PixelPaddingValue=65535)
    ds.BitsStored, ds.HighBit = 12, 11
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    image = read(ds)
    assert not image[:, :10].any() and image[0, 20] == 255


def test_a_range_of_padding(read):
    stored = RAMP.copy()
    stored[:, :8] = np.arange(60_000, 60_008)
    image = read(dicom(stored, PixelPaddingValue=60_000, PixelPaddingRangeLimit=60_007))
    assert not image[:, :8].any() and image[:, 8:].max() == 255


@pytest.mark.parametrize(("size", "dtype"), [("", np.float32), ("Double", np.float64)])
def test_padding_of_floats(read, size, dtype):
    stored = padded((RAMP / 100).astype(dtype), -9999)
    ds = dicom(RAMP)
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    setattr(ds, f"{size}FloatPixelData", stored.tobytes())
    setattr(ds, f"{size}FloatPixelPaddingValue", -9999.0)
    ds.BitsAllocated = 8 * stored.itemsize
    image = read(ds)
    assert not image[:, :10].any()
    levels = (RAMP[:, 10:] - RAMP[0, 10]) / float(np.ptp(RAMP[:, 10:])) * 255
    np.testing.assert_allclose(image[:, 10:], levels, atol=0.5)


def test_padding_alone_is_black(read):
    assert not read(dicom(np.full((4, 5), 77, np.uint16), PixelPaddingValue=77)).any()


# -- tables ---------------------------------------------------------------------------------------

SQUARES = np.rint(4095 * np.linspace(0, 1, 1024) ** 2).astype(int)


@pytest.mark.parametrize("bits", [12, 16])
def test_a_table_that_declares_16_bits_and_fills_12_is_shown_like_one_of_12(read, bits):
    entries = table("OW", [1024, 0, bits], SQUARES.astype("<u2").tobytes())
    image = read(dicom(RAMP, bits=10, VOILUTSequence=[entries]))
    np.testing.assert_allclose(image, SQUARES[RAMP] / 4095 * 255, atol=1e-3)


def test_a_table_that_fills_more_bits_than_it_declares(read):
    image = read(dicom(RAMP, bits=10, VOILUTSequence=[table("US", [1024, 0, 8], SQUARES.tolist())]))
    np.testing.assert_allclose(image, SQUARES[RAMP] / 4095 * 255, atol=1e-3)


def test_a_table_of_bytes(read):
    """256 entries of 8 bits in 128 words."""
    entries = (255 - np.arange(256)).astype(np.uint8)
    pixels = (RAMP % 256).astype(np.uint8)
    image = read(dicom(pixels, VOILUTSequence=[table("OW", [256, 0, 8], entries.tobytes())]))
    np.testing.assert_array_equal(image, 255 - pixels)


def test_a_table_in_big_endian(read):
    ds = dicom(RAMP, bits=10)
    ds.VOILUTSequence = [table("OW", [1024, 0, 12], SQUARES.astype(">u2").tobytes())]
    np.testing.assert_allclose(read(big_endian(ds, RAMP)), SQUARES[RAMP] / 4095 * 255, atol=1e-3)


def test_a_table_from_a_negative_value_on(read):
    """The first value is unsigned in the file, the values that it maps are signed."""
    stored = RAMP.astype(np.int16) - 512
    entries = table("US", [1024, -512, 12], SQUARES.tolist())
    image = read(dicom(stored, VOILUTSequence=[entries]))
    np.testing.assert_allclose(image, SQUARES[RAMP] / 4095 * 255, atol=1e-3)


def test_a_broken_table_is_ignored_for_the_window(read):
    ds = dicom(RAMP, bits=10, WindowCenter=512, WindowWidth=1024)
    ds.VOILUTSequence = [table("US", [1024, 0, 12], [1, 2, 3])]
    with pytest.warns(FileWarning, match=r"x\.dcm: its VOILUTSequence makes no sense"):
        np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


@pytest.mark.parametrize("top", [255, 65535])
def test_a_palette_that_declares_16_bits_may_fill_8(read, top):
    ds = dicom((RAMP % 3).astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    colors = np.array([[0, 255, 100], [10, 20, 30], [50, 60, 70]])
    for entries, name in zip(colors * (top // 255), ("Red", "Green", "Blue"), strict=True):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [3, 0, 16])
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", entries.astype("<u2").tobytes())
    np.testing.assert_allclose(read(ds), colors.T[RAMP % 3], atol=1e-3)


# -- bits, windows and inversion ------------------------------------------------------------------


def test_values_in_the_upper_bits(read):
    """As the high bit says, and as GDCM reads them."""
    ds = dicom(RAMP << 4, bits=16, WindowCenter=512, WindowWidth=1024)
    ds.BitsStored, ds.HighBit = 12, 15
    np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


def test_a_high_bit_that_no_value_reaches_is_wrong(read):
    ds = dicom(RAMP, bits=16, WindowCenter=512, WindowWidth=1024)
    ds.BitsStored, ds.HighBit = 12, 15
    np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


def test_floats_are_stretched_to_their_own_range(read):
    ds = dicom(RAMP)
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated, ds.FloatPixelData = 32, (RAMP / 7 - 50).astype("<f4").tobytes()
    np.testing.assert_allclose(read(ds), np.clip((RAMP - 1.0) / 1021, 0, 1) * 255, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_gray_levels_that_need_more_bits_than_stated_are_named(tmp_path, dtype):
    """Where nothing but padding or a sign is there, nothing is said."""
    ds = dicom((3 * RAMP.astype(int) - (500 if dtype == np.int16 else 0)).astype(dtype))
    ds.BitsStored, ds.HighBit = 10, 9
    with pytest.warns(FileWarning, match="need bits above those that its header states"):
        read_image(save(ds, tmp_path / "x.dcm"))
    ds = dicom((RAMP - 512).astype(np.int16))
    ds.BitsStored, ds.HighBit = 10, 9
    read_image(save(ds, tmp_path / "signed.dcm"))


def test_a_mask_whose_values_need_more_bits_than_stated_is_refused(tmp_path):
    ds = dicom(np.uint8(RAMP % 3))
    ds.BitsStored, ds.HighBit = 1, 0
    with pytest.raises(ValueError, match=r"x\.dcm: its values need bits above those that its head"):
        read_mask_values(save(ds, tmp_path / "x.dcm"))
    ds.set_pixel_data(np.uint8(RAMP % 2 * 255), "MONOCHROME2", 8)
    ds.BitsStored, ds.HighBit = 1, 0
    np.testing.assert_array_equal(read_mask_values(save(ds, tmp_path / "x.dcm")), RAMP % 2)


def test_what_is_in_unused_bits_does_not_show(read):
    ds = dicom(RAMP | 0xF000, bits=16, WindowCenter=512, WindowWidth=1024)
    ds.BitsStored, ds.HighBit = 12, 11
    np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


def test_eight_bits_in_sixteen_are_taken_as_they_are(read):
    pixels = RAMP % 200 + 20
    ds = dicom(pixels, bits=16)
    ds.BitsStored, ds.HighBit = 8, 7
    np.testing.assert_array_equal(read(ds), pixels)


def test_the_first_sensible_of_several_windows_counts(read):
    ds = dicom(RAMP, bits=10, WindowCenter=[0, 512, 9], WindowWidth=[0, 1024, 9])
    np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


def test_an_unknown_function_of_windows_is_taken_for_linear(read):
    ds = dicom(RAMP, bits=10, WindowCenter=512, WindowWidth=1024, VOILUTFunction="CURVED")
    with pytest.warns(FileWarning, match="VOILUTFunction is not in the standard"):
        np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


def test_overlays_are_not_drawn(read):
    ds = dicom(RAMP, bits=10, WindowCenter=512, WindowWidth=1024)
    for element, vr, value in (
        (0x10, "US", 32), (0x11, "US", 32), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
        (0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", b"\xff" * 128),
    ):  # fmt: skip
        ds.add_new(0x60000000 + element, vr, value)
    np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


# -- display shutters -----------------------------------------------------------------------------

RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 3,
    "ShutterRightVerticalEdge": 30,
    "ShutterUpperHorizontalEdge": 5,
    "ShutterLowerHorizontalEdge": 20,
}


def within(rows, columns):
    seen = np.zeros((32, 32), bool)
    seen[rows, columns] = True
    return seen


@pytest.mark.parametrize("cover", [None, 0x8000])
def test_what_a_rectangular_shutter_hides_is_covered(read, cover):
    elements = {} if cover is None else {"ShutterPresentationValue": cover}
    ds = dicom(
        RAMP, "MONOCHROME1", bits=10, WindowCenter=512, WindowWidth=1024, **RECTANGLE, **elements
    )
    seen = within(slice(4, 20), slice(2, 30))  # Rows and columns count from 1, edges are seen.
    shown = np.where(seen, 255 - EVEN, 255 * (cover or 0) / 65535)
    np.testing.assert_allclose(read(ds), shown, atol=1e-3)


def test_what_a_shutter_hides_takes_no_part_in_the_range(read):
    seen = within(slice(4, 20), slice(2, 30))
    anatomy = np.where(seen, RAMP % 32 + 2000, 60000).astype(np.uint16)
    expected = read(dicom(np.where(seen, anatomy, anatomy[seen].min())))
    np.testing.assert_allclose(read(dicom(anatomy, **RECTANGLE))[seen], expected[seen], atol=1e-3)


def test_round_and_many_sided_shutters_hide_together(read):
    ds = dicom(RAMP, bits=10, WindowCenter=512, WindowWidth=1024)
    ds.ShutterShape = ["CIRCULAR", "POLYGONAL"]
    ds.CenterOfCircularShutter, ds.RadiusOfCircularShutter = [16, 16], 8
    ds.VerticesOfThePolygonalShutter = [1, 1, 1, 32, 32, 1]  # Row and column of each corner.
    shown = read(ds)
    rows, columns = np.mgrid[1:33, 1:33]
    seen = ((rows - 16) ** 2 + (columns - 16) ** 2 <= 64) & (rows + columns < 33)
    np.testing.assert_allclose(shown[seen], EVEN[seen], atol=1e-3)
    assert not shown[(rows - 16) ** 2 + (columns - 16) ** 2 > 64].any()
    assert not shown[rows + columns > 33].any()


def test_an_empty_shutter_is_none(read, recwarn):
    ds = dicom(RAMP, bits=10, WindowCenter=512, WindowWidth=1024, ShutterShape="")
    np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)
    assert not [warning for warning in recwarn if "shutter" in str(warning.message)]


def test_a_shutter_of_one_frame_hides_nothing_of_another(read):
    ds = dicom(np.stack([RAMP, RAMP]), bits=10, WindowCenter=512, WindowWidth=1024)
    ds.SharedFunctionalGroupsSequence = [item()]
    ds.PerFrameFunctionalGroupsSequence = [
        item(FrameDisplayShutterSequence=[item(**RECTANGLE)]), item()
    ]  # fmt: skip
    assert not read(ds, frame=0)[:4].any()
    np.testing.assert_allclose(read(ds, frame=1), EVEN, atol=1e-3)


@pytest.mark.parametrize(
    "elements",
    [
        {"ShutterShape": "RECTANGULAR"},
        {**RECTANGLE, "ShutterRightVerticalEdge": 0},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [16, 16]},
        {"ShutterShape": "BITMAP"},
    ],
)
def test_a_shutter_without_sense_is_ignored_and_named(read, elements):
    ds = dicom(RAMP, bits=10, WindowCenter=512, WindowWidth=1024, **elements)
    with pytest.warns(FileWarning, match="display shutter makes no sense and was ignored"):
        np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


def test_an_interpretation_in_small_letters(tmp_path):
    path = save(dicom(RAMP, "MONOCHROME1", bits=10), tmp_path / "x.dcm")
    expected = read_image(path)[0]
    overwritten(path, "PhotometricInterpretation", b"MONOCHROME1", b"monochrome1")
    np.testing.assert_array_equal(read_image(path)[0], expected)


def test_values_beyond_the_stated_bits_are_stretched(tmp_path):
    """JPEG 2000 says itself how many bits there are."""
    data = io.BytesIO()
    Image.fromarray(RAMP << 2).save(data, "JPEG2000", no_jp2=True)
    ds = dicom(RAMP, bits=16)
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([data.getvalue()])
    ds["PixelData"].is_undefined_length = True
    ds.BitsStored, ds.HighBit = 8, 7
    image, _ = read_image(save(ds, tmp_path / "x.dcm"))
    np.testing.assert_allclose(image, np.clip((RAMP - 1.0) / 1021, 0, 1) * 255, atol=1e-3)


@pytest.mark.parametrize(
    "photometric, shape", [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")]
)
def test_contradictory_inversion_is_refused(read, photometric, shape):
    with pytest.raises(ValueError, match=rf"x\.dcm: {photometric} with a PresentationLUTShape"):
        read(dicom(RAMP, photometric, PresentationLUTShape=shape))


def test_a_slope_of_zero_is_ignored(read):
    ds = dicom(RAMP, bits=10, RescaleSlope=0, RescaleIntercept=5, WindowCenter=512)
    ds.WindowWidth = 1024
    with pytest.warns(FileWarning, match="RescaleSlope is 0 and was ignored"):
        np.testing.assert_allclose(read(ds), EVEN, atol=1e-3)


# -- broken elements ------------------------------------------------------------------------------


def test_decimal_commas_are_read_as_points(tmp_path):
    ds = dicom(
        RAMP, bits=10, WindowCenter="511.5", WindowWidth="1023.0", PixelSpacing=["0.2", "0.1"]
    )
    ds.VOILUTFunction = "LINEAR_EXACT"
    path = save(ds, tmp_path / "x.dcm")
    for keyword, old in (("WindowCenter", b"511.5"), ("WindowWidth", b"1023.0")):
        overwritten(path, keyword, old, old.replace(b".", b","))
    overwritten(path, "PixelSpacing", rb"0.2\0.1", rb"0,2\0,1")
    with pytest.warns(FileWarning) as said:
        image, spacing = read_image(path)
    np.testing.assert_allclose(image, EVEN, atol=1e-3)
    assert spacing == (0.2, 0.1)
    assert {str(warning.message) for warning in said} == {
        f"{path}: the decimal commas of its {name} were read as points"
        for name in ("WindowCenter", "WindowWidth", "PixelSpacing")
    }


def test_decimal_commas_of_one_frame(tmp_path):
    """In the functional groups of an enhanced object."""
    window = item(WindowCenter="511.5", WindowWidth="1023.0", VOILUTFunction="LINEAR_EXACT")
    ds = dicom(np.stack([RAMP] * 2), bits=10)
    ds.PerFrameFunctionalGroupsSequence = [
        item(FrameVOILUTSequence=[item(WindowCenter="100", WindowWidth="50")]),
        item(FrameVOILUTSequence=[window]),
    ]
    path = save(ds, tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(b"511.5", b"511,5").replace(b"1023.0", b"1023,0"))
    with pytest.warns(FileWarning) as said:
        np.testing.assert_allclose(read_image(path, frame=1)[0], EVEN, atol=1e-3)
    assert len(said) == 2


@pytest.mark.parametrize(
    "keyword, value",
    [("WindowWidth", b"wide"), ("RescaleSlope", b"1--2"), ("PixelSpacing", b"0.2?")],
)
def test_a_broken_element_is_ignored_and_named(tmp_path, keyword, value):
    ds = dicom(RAMP, bits=10, WindowCenter="512 ", WindowWidth="1024", RescaleSlope="1.00")
    ds.RescaleIntercept, ds.PixelSpacing = 0, ["0", "11"]
    path = save(ds, tmp_path / "x.dcm")
    old = {"WindowWidth": b"1024", "RescaleSlope": b"1.00", "PixelSpacing": rb"0\11"}[keyword]
    overwritten(path, keyword, old, value)
    with pytest.warns(FileWarning, match=f"its {keyword} is broken and was ignored"):
        image, spacing = read_image(path)
    np.testing.assert_allclose(image, EVEN, atol=0.3)
    assert spacing is None


@pytest.mark.filterwarnings("default::kerasunet.files.FileWarning")
def test_check_shows_broken_elements_on_the_command_line(tmp_path, capsys):
    from kerasunet.cli import main

    image = save(dicom(RAMP, bits=10, RescaleSlope=0), tmp_path / "images" / "x.dcm")
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[5:20, 5:20] = 1
    save(dicom(mask), tmp_path / "masks" / "x.dcm")
    assert main(["check", str(tmp_path)]) == 0
    assert f"warning: {image}: its RescaleSlope is 0 and was ignored" in capsys.readouterr().err


def test_pixels_of_more_frames_than_stated_are_refused(tmp_path):
    ds = dicom(np.stack([RAMP] * 3))
    ds.NumberOfFrames = 1
    with pytest.raises(ValueError, match="its pixel data hold 3 frames, its header states 1"):
        read_image(save(ds, tmp_path / "x.dcm"))


def test_compressed_frames_that_the_header_does_not_state_are_refused(tmp_path):
    ds = dicom(np.stack([RAMP] * 3))
    ds.compress(RLELossless, encoding_plugin="pydicom")
    ds.NumberOfFrames = 1
    with pytest.raises(ValueError, match="its pixel data hold 3 frames, its header states 1"):
        read_image(save(ds, tmp_path / "x.dcm"))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("stated", [1, 2])
def test_frames_without_a_table_of_offsets_are_counted_by_their_beginnings(
    tmp_path, syntax, stated
):
    shown = EVEN.astype(np.uint8)
    ds = dicom(np.stack([shown] * 3))
    ds.NumberOfFrames = stated
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([compressed(shown, syntax)] * 3, has_bot=False)
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(ValueError, match=f"pixel data hold 3 frames, its header states {stated}"):
        read_image(save(ds, tmp_path / "x.dcm"), frame=0)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_one_frame_may_be_in_several_fragments(read, syntax):
    shown = EVEN.astype(np.uint8)
    ds = dicom(shown)
    ds.file_meta.TransferSyntaxUID = syntax
    stream = compressed(shown, syntax)
    ds.PixelData = encapsulate([stream], fragments_per_frame=4, has_bot=False)
    ds["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(read(ds), np.asarray(Image.open(io.BytesIO(stream))))


def compressed(pixels, syntax):
    """A frame as Pillow, or pydicom for run lengths, writes it."""
    if syntax == RLELossless:
        ds = dicom(pixels)
        ds.compress(RLELossless, encoding_plugin="pydicom")
        return get_frame(ds.PixelData, 0)
    stream = io.BytesIO()
    options = {} if syntax == JPEGBaseline8Bit else {"no_jp2": True}
    Image.fromarray(pixels).save(stream, "JPEG" if not options else "JPEG2000", **options)
    return stream.getvalue()


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("marked", [True, False])
def test_subsampled_jpeg_of_rgb_is_refused_unless_it_tells_its_colors(read, photometric, marked):
    shown = np.stack([EVEN, EVEN[::-1], EVEN.T], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(shown).save(stream, "JPEG", quality=95, subsampling="4:2:0")
    frame = stream.getvalue()
    ds = dicom(shown, "RGB")
    ds.PhotometricInterpretation = photometric
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([frame if marked else frame[:2] + frame[20:]])  # JFIF's marker.
    ds["PixelData"].is_undefined_length = True
    if marked or photometric != "RGB":
        np.testing.assert_array_equal(read(ds), np.asarray(Image.open(stream)))
        return
    with pytest.raises(ValueError, match="its header states RGB, but its JPEG is subsampled"):
        read(ds)


@pytest.mark.parametrize("changed", [False, True])
def test_jpeg_2000_that_changes_colors_which_the_header_states_is_refused(read, changed):
    shown = np.stack([EVEN, EVEN[::-1], EVEN.T], axis=-1).astype(np.uint8)
    stored = pydicom.pixels.convert_color_space(shown, "RGB", "YBR_FULL")
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG2000", mct=int(changed), no_jp2=True)
    ds = dicom(stored, "RGB")
    ds.PhotometricInterpretation = "YBR_FULL"
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    if not changed:
        np.testing.assert_allclose(read(ds), shown, atol=2)
        return
    with pytest.raises(ValueError, match="its header states YBR_FULL, but its JPEG 2000 changes"):
        read(ds)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.pad(RAMP, 4).astype(np.uint8), "not of the size"),
        (np.stack([RAMP] * 3, axis=-1).astype(np.uint8), "have 3 channels, its header states 1"),
        (RAMP * 32, "have 16 bits, its header states 8"),
    ],
)
def test_jpeg_2000_of_another_size_than_stated_is_named(read, pixels, words):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", no_jp2=True)
    ds = dicom(RAMP.astype(np.uint8))
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(ValueError, match=f"its pixel data .*{words}.*export it again"):
        read(ds)


@pytest.mark.parametrize("first", [1000, 2000])
def test_gray_levels_that_stand_for_colors_are_refused(read, first):
    ds = dicom(RAMP, bits=10, PixelPresentation="COLOR", WindowCenter=512, WindowWidth=1024)
    for color in ("Red", "Green", "Blue"):
        setattr(ds, f"{color}PaletteColorLookupTableDescriptor", [24, first, 16])
        setattr(ds, f"{color}PaletteColorLookupTableData", bytes(48))
    if first > RAMP.max():
        assert np.ptp(read(ds)) == 255
        return
    with pytest.raises(ValueError, match="gray levels with colors in a supplemental palette"):
        read(ds)


# -- files without preamble or transfer syntax ----------------------------------------------------


@pytest.mark.parametrize("kind", ["CT_small", "MR_small_implicit", "MR_small_bigendian"])
def test_files_without_preamble_and_file_meta_information(tmp_path, kind):
    whole = Path(get_testdata_file(f"{kind}.dcm"))
    ds = pydicom.dcmread(whole)
    bare = tmp_path / "images" / "IM0001"
    bare.parent.mkdir()
    content = whole.read_bytes()
    start = 132 + 12 + ds.file_meta.FileMetaInformationGroupLength
    bare.write_bytes(content[start:])
    np.testing.assert_array_equal(read_image(bare)[0], read_image(whole)[0])
    mask = dicom(np.zeros((ds.Rows, ds.Columns), np.uint8))
    save(mask, tmp_path / "masks" / "IM0001.dcm")
    assert [case.key for case in read_folder(tmp_path).cases] == ["IM0001"]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm"])
def test_files_without_transfer_syntax(tmp_path, name):
    ds = pydicom.dcmread(get_testdata_file(name))
    expected = read_image(get_testdata_file(name))[0]
    uid = str(ds.file_meta.TransferSyntaxUID).encode()
    content = Path(get_testdata_file(name)).read_bytes()
    path = tmp_path / "x.dcm"
    head = content[:400].replace(b"\x02\0\x10\0UI", b"\x02\0\x02\1UI")
    path.write_bytes(head.replace(uid, b" " * len(uid)) + content[400:])
    np.testing.assert_array_equal(read_image(path)[0], expected)


# -- spacing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elements, expected",
    [
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.15, 0.14]}, (0.15, 0.14)),
        ({"PixelSpacing": [0.2, 0.2, 0.2]}, (0.2, 0.2)),
        ({"PixelSpacing": [0.2, 0.3, 0.4], "NominalScannedPixelSpacing": [1, 2]}, (1, 2)),
        ({"PixelSpacing": 0.2}, None),
    ],
    ids=["zero", "repeated", "three", "one"],
)
def test_spacing_that_makes_no_sense_is_passed_over(tmp_path, elements, expected):
    assert read_image(save(dicom(RAMP, **elements), tmp_path / "x.dcm"))[1] == expected


def test_an_ultrasound_region_without_scale_is_passed_over(tmp_path):
    region = item(PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3)
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.0
    ds = dicom(RAMP, SequenceOfUltrasoundRegions=[region], PixelSpacing=[0.3, 0.2])
    assert read_image(save(ds, tmp_path / "x.dcm"))[1] == (0.3, 0.2)


# -- real files, by another reader ----------------------------------------------------------------

REAL = (
    "CT_small.dcm", "693_UNCI.dcm", "693_J2KI.dcm", "JPEG-LL.dcm", "JPEG2000_UNC.dcm",
    "MR2_J2KR.dcm", "RG3_UNCR.dcm", "RG3_J2KI.dcm", "emri_small_big_endian.dcm",
    "emri_small_jpeg_ls_lossless.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "rtdose.dcm",
)  # fmt: skip
IN_COLOR = (
    "OBXXXX1A_expb.dcm", "OBXXXX1A_expb_2frame.dcm", "OBXXXX1A_rle.dcm", "OT-PAL-8-face.dcm",
    "examples_palette.dcm", "color-pl.dcm", "examples_ybr_color.dcm", "US1_J2KI.dcm",
    "SC_rgb_small_odd_big_endian.dcm", "SC_ybr_full_uncompressed.dcm", "SC_rgb_expb.dcm",
    "SC_jpeg_no_color_transform.dcm", "gdcm-US-ALOKA-16_big.dcm",
)  # fmt: skip


def real(name):
    pytest.importorskip("data_store")  # Of the package pydicom-data.
    return get_testdata_file(name, download=False)


def by_gdcm(path):
    """The rescaled values or colors of the first frame, as GDCM, inside ITK, reads them."""
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(path)
    image = reader.Execute()
    pixels = sitk.GetArrayFromImage(image).astype(float)
    channels = image.GetNumberOfComponentsPerPixel()
    return pixels[0] if pixels.ndim == (4 if channels > 1 else 3) else pixels


def as_shown(values, ds):
    """Gray levels of rescaled values: the window if there is one, else the range."""
    inverted = ds.PhotometricInterpretation == "MONOCHROME1"
    if inverted:  # GDCM has done so with the values.
        values = 2**ds.BitsStored - 1 - values
    if "WindowCenter" not in ds:
        low, high = np.percentile(values, (0.1, 99.9), method="nearest")
    else:
        center, width = float(ds.WindowCenter) - 0.5, float(ds.WindowWidth) - 1
        low, high = center - width / 2, center + width / 2
    levels = np.clip((values - low) / (high - low), 0, 1) * 255
    return 255 - levels if inverted else levels


@pytest.mark.parametrize("name", REAL)
def test_gray_levels_of_real_files(name):
    path = real(name)
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    image, _ = read_image(path, frame=0)
    values = by_gdcm(path)
    inside = values != ds.get("PixelPaddingValue", np.inf) + ds.get("RescaleIntercept", 0)
    assert not image[~inside].any()
    wanted = as_shown(values[inside], ds)
    np.testing.assert_allclose(image[inside], wanted, atol=1.01)


@pytest.mark.parametrize("name", IN_COLOR)
def test_colors_of_real_files(name):
    path = real(name)
    values = by_gdcm(path)
    values = values / 257 if values.max() > 255 else values
    np.testing.assert_allclose(read_image(path, frame=0)[0], values, atol=1.01)


@pytest.mark.filterwarnings("ignore:.*mlut_18.* need bits above")  # Some have a sign, some not.
@pytest.mark.parametrize("name, table_of", [("mlut_18.dcm", "modality"), ("vlut_04.dcm", "VOI")])
def test_tables_of_real_files(name, table_of):
    """By pydicom's own functions, where its counting is not in the way."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    ds = pydicom.dcmread(real(name))
    values = apply_modality_lut(ds.pixel_array, ds)
    if table_of == "VOI":
        values = apply_voi(values, ds)
    expected = values / 65535 * 255 if table_of == "VOI" else as_shown(values, ds)
    np.testing.assert_allclose(read_image(real(name))[0], expected, atol=1.01)

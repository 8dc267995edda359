"""Reading DICOM: display pipeline, spacing and frames on files with known pixels, and privacy."""

import io
import logging
import sys
import traceback
import warnings

import numpy as np
import pytest
from helpers.images import read_levels as read
from PIL import Image

from kerasunet.data.readers import read_image, read_mask_values
from kerasunet.files import FileWarning

pydicom = pytest.importorskip("pydicom")

from helpers.dicom_files import dicom  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import apply_windowing  # noqa: E402
from pydicom.uid import (  # noqa: E402
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
    UltrasoundImageStorage,
    generate_uid,
)

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(6)
GRAY = RNG.integers(0, 256, (22, 30), dtype=np.uint8)
DEEP = RNG.integers(0, 4096, (22, 30), dtype=np.uint16)
RGB = RNG.integers(0, 256, (22, 30, 3), dtype=np.uint8)
RAMP = np.arange(1024, dtype=np.uint16).reshape(32, 32)
SECRET = "PLANTED"


# -- own data -------------------------------------------------------------------------------------


def dataset(pixels, photometric="MONOCHROME2", bits=None, **elements):
    """A data set of one image, full of planted identifiers; elements are given by keyword."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundImageStorage, generate_uid()
    ds.PatientName, ds.PatientID = f"{SECRET}^NAME", f"{SECRET}-ID"
    ds.ReferringPhysicianName = ds.InstitutionName = ds.StudyDescription = SECRET
    bits = bits or 8 * pixels.dtype.itemsize
    ds.set_pixel_data(pixels, photometric, bits)
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def compressed(ds, syntax, *frames):
    """The data set with these compressed frames in place of its own pixels."""
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].is_undefined_length = True
    return ds


def sequence(**elements):
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return [item]


@pytest.fixture
def save(tmp_path):
    def save_one(ds, name="x.dcm"):
        ds.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return save_one


def jpeg(pixels, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=95, **options)
    return data.getvalue()


def smooth_colors(height=40, width=48):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([4 * rows, 5 * columns, 255 - 3 * rows - columns], axis=2).astype(np.uint8)


# -- gray levels ----------------------------------------------------------------------------------


def test_eight_bits_without_window_are_taken_as_they_are(save):
    np.testing.assert_array_equal(read(save(dataset(GRAY))), GRAY)


def test_contents_decide_not_the_suffix(save):
    np.testing.assert_array_equal(read(save(dataset(GRAY), "x.png")), GRAY)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings(tmp_path, syntax):
    pixels = DEEP.astype(">u2").tobytes() if syntax == ExplicitVRBigEndian else DEEP.tobytes()
    ds = dataset(DEEP, bits=12, WindowCenter=2048, WindowWidth=4096)
    ds.file_meta.TransferSyntaxUID, ds.PixelData = syntax, pixels
    ds["PixelData"].VR = "OW"
    ds.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    np.testing.assert_allclose(read(tmp_path / "x.dcm"), DEEP / 4095 * 255, atol=1e-3)


def test_rescaled_eight_bits_without_window_are_stretched(save):
    values = GRAY[:10, :10] // 2 + 40
    expected = (values - float(values.min())) / np.ptp(values) * 255
    ds = dataset(values, RescaleSlope=4, RescaleIntercept=-100)
    np.testing.assert_allclose(read(save(ds)), expected, atol=1e-3)


def test_deep_images_without_window_are_stretched_to_their_own_range(save):
    values = (DEEP[:10, :10] // 4 + 700).astype(np.uint16)
    expected = (values - float(values.min())) / np.ptp(values) * 255
    np.testing.assert_allclose(read(save(dataset(values, bits=12))), expected, atol=1e-3)


def test_monochrome1_is_inverted(save):
    np.testing.assert_array_equal(read(save(dataset(GRAY, "MONOCHROME1"))), 255 - GRAY)
    elements = {"WindowCenter": 512, "WindowWidth": 200}
    plain = read(save(dataset(RAMP, bits=10, **elements)))
    inverted = read(save(dataset(RAMP, "MONOCHROME1", bits=10, **elements)))
    np.testing.assert_allclose(inverted, 255 - plain, atol=1e-4)


def test_signed_values_and_rescale(save):
    stored = (RAMP.astype(np.int16) - 512) * 2
    ds = dataset(stored, RescaleSlope=0.5, RescaleIntercept=512, WindowCenter=512, WindowWidth=1024)
    np.testing.assert_allclose(read(save(ds)), RAMP / 1023 * 255, atol=1e-3)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("center, width", [(512, 300), (100.5, 1), (800, 2000), (-50, 400)])
def test_windows_agree_with_pydicom(save, function, center, width):
    ds = dataset(RAMP, bits=10, WindowCenter=center, WindowWidth=width)
    if function:
        ds.VOILUTFunction = function
    with np.errstate(all="ignore"):
        expected = apply_windowing(RAMP, ds) / 1023 * 255
    np.testing.assert_allclose(read(save(ds)), expected, atol=1e-3)


def test_first_of_several_windows_counts(save):
    several = dataset(RAMP, bits=10, WindowCenter=[300, 700], WindowWidth=[100, 50])
    one = dataset(RAMP, bits=10, WindowCenter=300, WindowWidth=100)
    np.testing.assert_array_equal(read(save(several)), read(save(one, "y.dcm")))


@pytest.mark.parametrize("width", [0, -5, None])
def test_windows_without_sense_are_ignored(save, width):
    ds = dataset(RAMP, bits=10, WindowCenter=512, WindowWidth=width)
    np.testing.assert_array_equal(read(save(ds)), read(save(dataset(RAMP, bits=10), "y.dcm")))


def test_empty_elements_count_as_absent(save):
    empty = dict.fromkeys(("WindowCenter", "RescaleSlope", "PixelSpacing", "NumberOfFrames"))
    ds = dataset(GRAY, **empty)
    image, spacing = read_image(save(ds))
    np.testing.assert_array_equal(image, GRAY)
    assert spacing is None


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("bits", [8, 12])
def test_voi_lookup_table(save, vr, bits):
    """More than 256 entries of 8 bits: what pydicom's own function gets wrong."""
    first, count = 100, 800
    top = 2**bits - 1
    entries = np.rint(top * np.linspace(0, 1, count) ** 2).astype("<u2")
    ds = dataset(RAMP, bits=10, VOILUTSequence=sequence(LUTDescriptor=[count, first, bits]))
    item = ds.VOILUTSequence[0]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", vr, entries.tobytes() if vr == "OW" else entries.tolist())
    expected = entries[np.clip(RAMP.astype(int) - first, 0, count - 1)] / top * 255
    np.testing.assert_allclose(read(save(ds)), expected, atol=1e-3)


def test_modality_lookup_table(save):
    ds = dataset(GRAY % 4, ModalityLUTSequence=sequence(LUTDescriptor=[4, 0, 16]))
    ds.WindowCenter, ds.WindowWidth = 500.5, 1001
    item = ds.ModalityLUTSequence[0]
    item["LUTDescriptor"].VR = "US"
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "US", [0, 100, 400, 1000])
    expected = np.array([0, 100, 400, 1000])[GRAY % 4] / 1000 * 255
    np.testing.assert_allclose(read(save(ds)), expected, atol=1e-3)


# -- colors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", [False, True])
def test_rgb(save, planes):
    ds = dataset(RGB, "RGB")
    if planes:
        ds.PlanarConfiguration, ds.PixelData = 1, np.moveaxis(RGB, 2, 0).tobytes()
    np.testing.assert_array_equal(read(save(ds)), RGB)


@pytest.mark.parametrize("planes", [0, 1, 2])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless])
def test_compressed_colors_lie_as_their_decoder_gives_them(save, syntax, planes):
    """Whatever the header states: old writers keep the order of the pixels that they compressed."""
    colors = smooth_colors()
    ds = dataset(colors, "RGB")
    if syntax == RLELossless:
        ds.compress(RLELossless, encoding_plugin="pydicom")
    else:
        frame = io.BytesIO(jpeg(colors)) if syntax == JPEGBaseline8Bit else io.BytesIO()
        if syntax == JPEG2000Lossless:
            Image.fromarray(colors).save(frame, "JPEG2000", no_jp2=True, mct=1)
        ds = compressed(ds, syntax, frame.getvalue())
        ds.PhotometricInterpretation = "YBR_FULL" if syntax == JPEGBaseline8Bit else "YBR_RCT"
        colors = np.asarray(Image.open(frame))
    ds.PlanarConfiguration = planes
    assert np.abs(read(save(ds)) - colors).max() <= 3


def test_gray_in_color_is_gray(save):
    path = save(dataset(np.repeat(GRAY[..., None], 3, axis=2), "RGB"))
    np.testing.assert_array_equal(read(path), GRAY)


@pytest.mark.parametrize("subsampling, photometric", [(0, "YBR_FULL"), (1, "YBR_FULL_422")])
def test_jpeg_ultrasound(save, subsampling, photometric):
    colors = smooth_colors()
    frame = jpeg(colors, subsampling=subsampling)
    ds = compressed(dataset(colors, "RGB"), JPEGBaseline8Bit, frame)
    ds.PhotometricInterpretation = photometric
    image = read(save(ds))
    assert np.abs(image - colors).mean() < 4
    decoded = np.asarray(Image.open(io.BytesIO(frame)))
    assert np.abs(image - decoded).max() <= 3


def test_uncompressed_ybr_full_422(save):
    ybr = np.empty((4, 6, 4), np.uint8)
    ybr[...] = (150, 150, 44, 21)
    ds = dataset(np.zeros((4, 12, 3), np.uint8), "RGB")
    ds.PhotometricInterpretation, ds.PixelData = "YBR_FULL_422", ybr.tobytes()
    image = read(save(ds))
    assert image.shape == (4, 12, 3)
    assert np.abs(image - np.float32([0, 255, 1])).max() <= 2
    ds.PlanarConfiguration = 1
    with pytest.raises(
        ValueError, match=r"puts colors that pixels share \(YBR_FULL_422\) in planes"
    ):
        read_image(save(ds))


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_color(save, bits):
    ds = dataset(GRAY % 3, "MONOCHROME2", PhotometricInterpretation="PALETTE COLOR")
    table = np.array([[0, 255, 100], [10, 20, 30], [50, 60, 70]], np.uint8)
    for channel, name in zip(table, ("Red", "Green", "Blue"), strict=True):
        entries = channel.astype("<u2") * 257 if bits == 16 else np.append(channel, 0)
        count = 3 if bits == 16 else 4
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [count, 0, bits])
        ds.add_new(
            f"{name}PaletteColorLookupTableData", "OW", entries.astype(f"<u{bits // 8}").tobytes()
        )
    np.testing.assert_allclose(read(save(ds)), table.T[GRAY % 3], atol=1e-3)


def test_palette_of_more_than_256_colors_of_8_bits(save):
    """pydicom counts the entries in the type of the colors, and so wraps around."""
    ds = dataset(RAMP % 300, "MONOCHROME2", PhotometricInterpretation="PALETTE COLOR")
    entries = np.arange(300) % 251
    for name in ("Red", "Green", "Blue"):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [300, 0, 8])
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", entries.astype(np.uint8).tobytes())
    np.testing.assert_array_equal(read(save(ds)), entries[RAMP % 300])


def test_rare_photometric_interpretations_are_refused(save):
    ds = dataset(RGB, "RGB", PhotometricInterpretation="YBR_PARTIAL_420")
    with pytest.raises(ValueError, match="rare photometric interpretation; convert it to PNG"):
        read_image(save(ds))


# -- compression ----------------------------------------------------------------------------------


def test_run_length_encoding(save):
    ds = dataset(DEEP, bits=12, WindowCenter=2048, WindowWidth=4096)
    ds.compress(RLELossless, encoding_plugin="pydicom")
    np.testing.assert_allclose(read(save(ds)), DEEP / 4095 * 255, atol=1e-3)


def test_jpeg_2000(save):
    data = io.BytesIO()
    Image.fromarray(DEEP).save(data, "JPEG2000", no_jp2=True)
    ds = dataset(DEEP, bits=16, WindowCenter=2048, WindowWidth=4096)
    ds = compressed(ds, JPEG2000Lossless, data.getvalue())
    np.testing.assert_allclose(read(save(ds)), DEEP / 4095 * 255, atol=1e-3)


def test_an_overlay_within_jpeg_2000_is_refused(save):
    """Of the bits above those stored, one is set in some pixels, as in old files."""
    pixels = DEEP.copy()
    pixels[3:9, 3:9] |= 0x8000
    ds = compressed(dataset(DEEP, bits=16), JPEG2000Lossless, jpeg_2000(pixels))
    ds.BitsStored, ds.HighBit = 12, 11
    with pytest.raises(ValueError, match="an overlay above the 12 bits that its header states"):
        read_image(save(ds))


def lossless_jpeg(rows, columns):
    """A stream of 22×30 pixels of value 200: 72 above mid-gray, then no difference to the left."""
    huffman = b"\xff\xc4\x00\x15\x00\x01\x01" + bytes(14) + b"\x00\x07"
    size = rows.to_bytes(2) + columns.to_bytes(2)
    frame = b"\xff\xc3\x00\x0b\x08" + size + b"\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00"
    bits = "10" + "1001000" + "0" * (22 * 30 - 1) + "1111"
    coded = int(bits, 2).to_bytes(len(bits) // 8)
    return b"\xff\xd8" + huffman + b"\xff" + frame + scan + coded + b"\xff\xd9"


def test_lossless_jpeg(save):
    if not pydicom.pixels.get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("needs pylibjpeg-libjpeg")
    path = save(compressed(dataset(GRAY), JPEGLosslessSV1, lossless_jpeg(*GRAY.shape)))
    np.testing.assert_array_equal(read(path), np.full(GRAY.shape, 200))


@pytest.mark.parametrize(
    "frame, problem",
    [
        (
            lossless_jpeg(60_000, 60_000),
            "its pixel data are not of the size that its header states",
        ),
        (lossless_jpeg(22, 30)[:-20], "its pixel data are cut off; copy or export it again"),
        (lossless_jpeg(22, 30)[:30], "damaged"),
    ],
    ids=["huge", "cut off", "cut off early"],
)
def test_lossless_jpeg_that_its_decoder_would_read_as_something_else(save, frame, problem):
    with pytest.raises(ValueError, match=problem):
        read_image(save(compressed(dataset(GRAY), JPEGLosslessSV1, frame)))


def test_video_is_refused(save):
    ds = compressed(dataset(RGB, "RGB"), "1.2.840.10008.1.2.4.102", b"video")
    with pytest.raises(ValueError, match="DICOM with video or a rare compression .*; convert it"):
        read_image(save(ds))


def test_deflated_is_refused(save):
    ds = dataset(GRAY)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(ValueError, match="rare compression .*; convert it to PNG"):
        read_image(save(ds))


def test_missing_decoder_names_the_extra(save, monkeypatch):
    monkeypatch.setattr(type(pydicom.pixels.get_decoder(JPEG2000)), "is_available", False)
    with pytest.raises(
        ValueError, match=r'JPEG 2000.* needs .*pip install "kerasunet\[dicom-lossless\]"'
    ):
        read_image(save(compressed(dataset(GRAY), JPEG2000, bytes(8))))


# -- frames ---------------------------------------------------------------------------------------


def test_frames_by_index(save):
    frames = np.stack([GRAY, 255 - GRAY, GRAY // 2])
    path = save(dataset(frames))
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(read(path, frame=index), frame)
    with pytest.raises(ValueError, match="there is no frame 3; it has 3, counted from 0"):
        read_image(path, frame=3)


def test_frames_of_a_compressed_loop(save):
    colors = [smooth_colors(), 255 - smooth_colors()]
    frames = [jpeg(frame) for frame in colors]
    ds = compressed(dataset(np.stack(colors), "RGB"), JPEGBaseline8Bit, *frames)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    path = save(ds)
    for index, frame in enumerate(frames):
        decoded = np.asarray(Image.open(io.BytesIO(frame)))
        assert np.abs(read(path, frame=index) - decoded).max() <= 3


def test_functional_groups_of_enhanced_objects(save):
    """Spacing is shared, windows and rescale belong to each frame."""
    ds = dataset(np.stack([RAMP, RAMP]), bits=10)
    ds.SharedFunctionalGroupsSequence = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[0.2, 0.1])
    )
    ds.PerFrameFunctionalGroupsSequence = [
        sequence(
            FrameVOILUTSequence=sequence(WindowCenter=center, WindowWidth=100),
            PixelValueTransformationSequence=sequence(RescaleSlope=2, RescaleIntercept=0),
        )[0]
        for center in (400, 1200)
    ]
    path = save(ds)
    for frame, center in enumerate((400, 1200)):
        image, spacing = read_image(path, frame=frame)
        expected = np.clip((2.0 * RAMP - (center - 0.5)) / 99 + 0.5, 0, 1) * 255
        np.testing.assert_allclose(image, expected, atol=1e-3)
        assert spacing == (0.2, 0.1)


# -- spacing --------------------------------------------------------------------------------------


def region(delta_x, delta_y, units=3):
    return sequence(
        PhysicalUnitsXDirection=units,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=delta_x,
        PhysicalDeltaY=delta_y,
    )[0]


@pytest.mark.parametrize(
    "elements, expected",
    [
        ({}, None),
        ({"PixelSpacing": [0.3, 0.2]}, (0.3, 0.2)),
        ({"ImagerPixelSpacing": [0.15, 0.14]}, (0.15, 0.14)),
        ({"NominalScannedPixelSpacing": [0.175, 0.175]}, (0.175, 0.175)),
        ({"ImagerPixelSpacing": [0.15, 0.14], "PixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": [1e999, 1]}, None),
        ({"SequenceOfUltrasoundRegions": [region(0.01, 0.02)]}, (0.2, 0.1)),
        ({"SequenceOfUltrasoundRegions": [region(-0.01, 0.02)] * 2}, (0.2, 0.1)),
        (
            {"SequenceOfUltrasoundRegions": [region(0.01, 0.02)], "PixelSpacing": [1, 1]},
            (0.2, 0.1),
        ),
        ({"SequenceOfUltrasoundRegions": [region(0.01, 0.02), region(5, 2, units=4)]}, (0.2, 0.1)),
        ({"SequenceOfUltrasoundRegions": [region(0.01, 0.02), region(0.03, 0.03)]}, None),
        ({"SequenceOfUltrasoundRegions": [region(5, 2, units=4)]}, None),
    ],
)
def test_spacing(save, elements, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save(dataset(GRAY, **elements))
    _, spacing = read_image(path)
    assert spacing == (None if expected is None else pytest.approx(expected))


# -- masks ----------------------------------------------------------------------------------------


def test_mask_values_stay_as_they_are(save):
    ds = dataset(DEEP, bits=12, WindowCenter=100, WindowWidth=50, RescaleSlope=3)
    mask = read_mask_values(save(ds))
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, DEEP)


def test_one_bit_frames(save):
    bits = (np.stack([GRAY, GRAY.T.reshape(GRAY.shape)]) > 99).astype(np.uint8)
    ds = dataset(bits)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    path = save(ds)
    np.testing.assert_array_equal(read_mask_values(path, frame=1), bits[1])
    np.testing.assert_array_equal(read(path, frame=1), bits[1] * 255)


# -- what cannot be read --------------------------------------------------------------------------


def test_huge_images_are_refused_from_the_header(save):
    ds = dataset(GRAY)
    ds.Rows = ds.Columns = 50_000
    path = save(ds)
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=r"x\.dcm: 50000×50000 pixels, more than the limit"):
            reader(path)
    with pytest.raises(ValueError, match="more than the limit of 659"):
        read_image(save(dataset(GRAY)), size_limit=GRAY.size - 1)


def test_frame_that_is_larger_than_the_header_says(save):
    ds = compressed(dataset(smooth_colors(), "RGB"), JPEGBaseline8Bit, jpeg(RGB.repeat(20, 0)))
    ds.PhotometricInterpretation = "YBR_FULL_422"
    with pytest.raises(ValueError, match="not of the size that its header states"):
        read_image(save(ds))


def test_report_without_image(save):
    ds = dataset(GRAY)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(ds, name)
    with pytest.raises(ValueError, match="a DICOM file without an image"):
        read_image(save(ds))


@pytest.mark.parametrize("kind", ["plain", "jpeg", "run lengths"])
def test_truncated_files_are_refused(save, kind):
    colors = smooth_colors()
    ds = dataset(colors, "RGB")
    if kind == "jpeg":
        ds = compressed(ds, JPEGBaseline8Bit, jpeg(colors))
        ds.PhotometricInterpretation = "YBR_FULL_422"
    elif kind == "run lengths":
        ds.compress(RLELossless, encoding_plugin="pydicom")
    path = save(ds)
    content = path.read_bytes()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"x\.dcm: "):
            read_image(path)


def test_missing_library_names_the_extra(save, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("kerasunet.data.readers.dicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r'x\.dcm: DICOM needs .* "kerasunet\[dicom\]"'):
        read_image(save(dataset(GRAY)))


# -- privacy --------------------------------------------------------------------------------------


def with_planted_words(name):
    """Files that make pydicom warn, log or fail over a value that holds a planted word."""
    ds = dataset(GRAY, bits=8)
    planted = {
        "nothing wrong": {},
        "no number": {"WindowCenter": (b"DS", SECRET.encode()), "WindowWidth": (b"DS", b"5")},
        "long number": {"RescaleSlope": (b"DS", b"1" + b"0" * 30)},
        "no spacing": {"PixelSpacing": (b"DS", b"PLANTED\\NAME")},
        "no frames": {"NumberOfFrames": (b"IS", SECRET.encode())},
        "photometric": {"PhotometricInterpretation": (b"CS", SECRET.lower().encode())},
        "character set": {"SpecificCharacterSet": (b"CS", SECRET.encode())},
        "date": {"PatientBirthDate": (b"DA", SECRET.encode())},
    }[name]
    for keyword, (vr, value) in planted.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        value += b" " * (len(value) % 2)
        ds[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), vr.decode(), len(value), value, 0, False, True
        )
    return ds


@pytest.mark.parametrize(
    "name",
    [
        "nothing wrong",
        "no number",
        "long number",
        "no spacing",
        "no frames",
        "photometric",
        "character set",
        "date",
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_no_word_of_the_file_gets_out(save, name, cut, caplog, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save(with_planted_words(name))
    content = path.read_bytes()
    assert SECRET.encode() in content
    if cut:
        path.write_bytes(content[: len(content) * 2 // 3])
    capfd.readouterr()
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    said = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for reader in (read_image, read_mask_values):
            try:
                reader(path)
            except ValueError as error:
                said += "".join(traceback.format_exception(error))
    assert said or not cut
    said += "".join(str(warning.message) for warning in caught)
    said += caplog.text + "".join(capfd.readouterr())
    assert SECRET.lower() not in said.lower()
    assert {warning.category for warning in caught} <= {FileWarning}


def test_a_mask_that_shows_0_as_white_is_refused(save):
    mask = np.zeros((6, 7), np.uint8)
    mask[2:4, 1:5] = 255
    np.testing.assert_array_equal(read_mask_values(save(dataset(mask))), mask)
    with pytest.raises(ValueError, match=r"x\.dcm: a mask in MONOCHROME1, .* save it"):
        read_mask_values(save(dataset(mask, "MONOCHROME1")))
    with pytest.raises(ValueError, match=r"x\.dcm: a mask in an INVERSE shape, .* save it"):
        read_mask_values(save(dataset(mask, PresentationLUTShape="INVERSE")))


# -- what the pixel data and the class of a file say ----------------------------------------------


def encapsulated(frames, offsets=()):
    """Pixel data of one fragment a frame, after a table of offsets."""
    parts = [b"".join(offset.to_bytes(4, "little") for offset in offsets), *frames]
    heads = (b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") for part in parts)
    return b"".join(head + part for head, part in zip(heads, parts, strict=True))


def jpeg_of(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100)
    return file.getvalue() + b"\0" * (file.tell() % 2)


@pytest.mark.parametrize("change", ["none", "all at 0", "swapped", "past the end", "one missing"])
def test_a_table_of_frames_that_contradicts_the_pixel_data_is_refused(save, change):
    frames = [jpeg_of(GRAY), jpeg_of(255 - GRAY)]
    second = 8 + len(frames[0])
    offsets = {"all at 0": (0, 0), "swapped": (second, 0), "past the end": (0, 99_999)}
    ds = dataset(np.stack([GRAY, 255 - GRAY]))
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    kept = frames[:1] if change == "one missing" else frames
    ds.PixelData = encapsulated(kept, offsets.get(change, ()))
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    path = save(ds)
    if change == "none":
        for frame in range(2):
            expected = np.asarray(Image.open(io.BytesIO(frames[frame])), float)
            np.testing.assert_allclose(read_image(path, frame=frame)[0], expected, atol=1)
        return
    fault = "hold 1 frames, its header states 2" if change == "one missing" else "table of frames"
    with pytest.raises(ValueError, match=f"{fault}.*; export it again"):
        read_image(path, frame=1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set Storage"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
    ],
)
def test_what_has_no_image_is_named_by_its_kind(save, kind, name):
    ds = dataset(GRAY, SOPClassUID=kind)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(ds, keyword)
    with pytest.raises(ValueError, match=f"without an image: {name}; give one") as caught:
        read_image(save(ds))
    assert SECRET not in str(caught.value)


def test_a_presentation_table_is_refused(save):
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.add_new("LUTData", "OW", np.arange(255, -1, -1, dtype="<u2").tobytes())
    with pytest.raises(ValueError, match="a presentation table is not read; convert it to PNG"):
        read_image(save(dataset(GRAY, PresentationLUTSequence=[item])))


def jpeg_2000(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    return stream.getvalue()


def test_the_sign_that_jpeg_2000_lacks_is_that_of_the_header(save):
    """Values of 13 bits, two's complement, in a stream that says that it is unsigned."""
    signed = np.random.default_rng(4).integers(-2000, 2000, (20, 30)).astype(np.int16)
    ds = dicom(signed, bits=16, WindowCenter="0", WindowWidth="4000", VOILUTFunction="LINEAR_EXACT")
    plain = read_image(save(ds))[0]
    stream = jpeg_2000((signed.astype(np.int32) % 2**13).astype(np.uint16))
    ds.BitsStored, ds.HighBit = 13, 12
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(read_image(save(ds))[0], plain)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((20, 30, 3), np.uint8), "have 3 channels, its header states 1"),
        (np.zeros((20, 29), np.uint8), "not of the size that its header states"),
    ],
)
def test_jpeg_that_is_not_what_the_header_states_is_named(save, pixels, words):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    ds = dicom(np.zeros((20, 30), np.uint8))
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(ValueError, match=words):
        read_image(save(ds))


def test_a_black_mask_with_an_overlay_is_refused(save):
    """Some programs draw regions into an overlay plane (C.9.2) and leave the pixels as they are."""
    mask = np.zeros((20, 30), np.uint8)
    ds = dicom(mask)
    assert not read_mask_values(save(ds)).any()
    ds.add_new(0x60000010, "US", 20)
    ds.add_new(0x60000011, "US", 30)
    ds.add_new(0x60003000, "OW", b"\1" * 76)
    with pytest.raises(ValueError, match="black, with an overlay, which is not read"):
        read_mask_values(save(ds))


def test_single_bits_of_frames_that_are_padded_are_refused(save):
    """Frames follow each other without padding (part 5, 8.1.1); some programs fill up bytes."""
    bits = RNG.integers(0, 2, (8, 13, 12), dtype=np.uint8)
    ds = dicom(bits[0], BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=8)
    ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    for frame in range(8):
        np.testing.assert_array_equal(read_mask_values(save(ds), frame=frame), bits[frame])
    ds.PixelData = np.packbits(bits.reshape(8, -1), axis=1, bitorder="little").tobytes()
    with pytest.raises(ValueError, match="its frames of single bits are padded to whole bytes"):
        read_mask_values(save(ds), frame=1)


def test_colors_without_a_planar_configuration_are_pixel_by_pixel(save):
    ds = dicom(RGB, "RGB")
    del ds.PlanarConfiguration
    with pytest.warns(FileWarning, match="it lacks a PlanarConfiguration; 0 was assumed"):
        np.testing.assert_array_equal(read_image(save(ds))[0], RGB)

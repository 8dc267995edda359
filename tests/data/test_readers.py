"""Reading PNG, JPEG, BMP, GIF, WebP and TIFF: every variety on a real file with known pixels."""

import errno
import gzip
import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, PngImagePlugin, TiffImagePlugin

from kerasunet.data import readers
from kerasunet.data.cases import MaskCoding
from kerasunet.data.decoding import to_gray
from kerasunet.data.readers import IMAGE_SUFFIXES, read_image, read_mask, read_mask_values
from kerasunet.files import FileWarning

pytestmark = pytest.mark.filterwarnings("error")

HEIGHT, WIDTH = 24, 37
GRAY = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
RGB = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
DEEP = np.random.default_rng(3).integers(200, 4000, (HEIGHT, WIDTH), dtype=np.uint16)
DEEP_RGB = np.random.default_rng(4).integers(200, 4000, (HEIGHT, WIDTH, 3), dtype=np.uint16)
SMOOTH = np.add.outer(np.arange(HEIGHT), 5 * np.arange(WIDTH)).astype(np.uint8)
SMOOTH_RGB = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=2)


# -- own data -------------------------------------------------------------------------------------


@pytest.fixture
def save(tmp_path):
    """Saves a Pillow image, or bytes, under a name, and returns the path."""

    def save_one(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content) if isinstance(content, bytes) else content.save(path, **options)
        return path

    return save_one


def own_range_levels(values):
    """The documented stretch where the 0.1th and 99.9th percentile are the extremes."""
    low, high = float(values.min()), float(values.max())
    return (values.astype(np.float64) - low) / (high - low) * 255


def few(values):
    """A part so small that the outer percentiles are the extremes."""
    return values[:8, :11]


def encode(suffix, bgr, *options):
    return cv2.imencode(suffix, bgr, options)[1].tobytes()


def read(path, **options):
    image, spacing = read_image(path, **options)
    assert image.dtype == np.float32 and image.flags.c_contiguous
    assert image.min() >= 0 and image.max() <= 255
    assert spacing is None
    return image


# -- eight bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_eight_bits_are_taken_as_they_are(save, suffix, pixels):
    image = read(save(f"x{suffix}", Image.fromarray(pixels)))
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(save, compression):
    path = save("x.tif", Image.fromarray(RGB), compression=compression)
    np.testing.assert_array_equal(read(path), RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg(save, options):
    path = save("x.jpg", Image.fromarray(SMOOTH), quality=95, **options)
    assert np.abs(read(path) - SMOOTH).max() < 12
    path = save("x.jpg", Image.fromarray(SMOOTH_RGB), quality=95, **options)
    assert np.abs(read(path) - SMOOTH_RGB).mean() < 8


def test_jpeg_is_decoded_as_opencv_does(save):
    path = save("x.jpg", Image.fromarray(RGB), quality=80)
    np.testing.assert_array_equal(read(path), cv2.imread(str(path))[..., ::-1])


def test_color_whose_channels_agree_is_gray(save):
    image = read(save("x.png", Image.fromarray(np.repeat(GRAY[..., None], 3, axis=2))))
    np.testing.assert_array_equal(image, GRAY)


@pytest.mark.parametrize(
    "ink, expected", [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 255, 128), (127, 127, 0))]
)
def test_cmyk_jpeg(save, ink, expected):
    path = save("x.jpg", Image.new("CMYK", (16, 16), ink), quality=100)
    assert np.abs(read(path) - np.float32(expected)).max() <= 3


def test_ycck_jpeg(save):
    """The Adobe marker's last byte says that the first three inks are stored as YCbCr."""
    data = io.BytesIO()
    cyan_in_ycc = (179, 171, 1)
    stored = Image.new("CMYK", (16, 16), (*(255 - value for value in cyan_in_ycc), 0))
    stored.save(data, "JPEG", quality=100)
    content = bytearray(data.getvalue())
    content[content.index(b"Adobe") + 11] = 2
    assert np.abs(read(save("x.jpg", bytes(content))) - np.float32([255, 0, 0])).max() <= 3


def test_palette_shows_its_colors(save):
    picture = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3)
    picture.putpalette([10, 20, 30, 0, 0, 255, 200, 100, 50])
    for suffix in (".png", ".bmp", ".tif"):
        image = read(save(f"x{suffix}", picture))
        np.testing.assert_array_equal(image[0, :3], [[10, 20, 30], [0, 0, 255], [200, 100, 50]])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_one_bit_is_black_and_white(save, suffix):
    bits = GRAY > 128
    path = save(f"x{suffix}", Image.fromarray(bits))
    np.testing.assert_array_equal(read(path), bits * 255)
    mask = read_mask_values(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, bits * 255)


# -- opacity --------------------------------------------------------------------------------------


def with_opacity(color, opacity):
    return Image.fromarray(np.dstack([color, np.broadcast_to(opacity, GRAY.shape)]))


@pytest.mark.parametrize("opacity", [0, 255], ids=["unset", "opaque"])
@pytest.mark.parametrize("color", [GRAY, RGB], ids=["gray", "rgb"])
def test_uniform_opacity_is_ignored(save, color, opacity):
    path = save("x.png", with_opacity(color, np.uint8(opacity)))
    np.testing.assert_array_equal(read(path), color)


@pytest.mark.parametrize("color", [GRAY, RGB], ids=["gray", "rgb"])
def test_transparent_pixels_show_black(save, color):
    opacity = np.zeros(GRAY.shape, np.uint8)
    opacity[:, 10:20], opacity[:, 20:] = 51, 255
    image = read(save("x.png", with_opacity(color, opacity)))
    np.testing.assert_array_equal(image[:, :10], 0 * color[:, :10])
    np.testing.assert_array_equal(image[:, 10:20], np.rint(color[:, 10:20] / 5))
    np.testing.assert_array_equal(image[:, 20:], color[:, 20:])


def test_transparent_palette_entry_shows_black(save):
    picture = Image.fromarray(GRAY % 2)
    picture.putpalette([250, 200, 150, 9, 8, 7])
    image = read(save("x.png", picture, transparency=b"\x00\xff"))
    np.testing.assert_array_equal(image, (GRAY % 2)[..., None] * np.float32([9, 8, 7]))


# -- sixteen bits and floats ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_stretched_to_their_own_range(save, suffix):
    path = save(f"x{suffix}", encode(suffix, few(DEEP)))
    np.testing.assert_allclose(read(path), own_range_levels(few(DEEP)), atol=1e-3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_color_keeps_its_lower_byte(save, suffix, channels):
    rgb = few(DEEP_RGB)
    bgr = rgb[..., ::-1]
    if channels == 4:
        bgr = np.dstack([bgr, np.full(rgb.shape[:2], 65535, np.uint16)])
    image = read(save(f"x{suffix}", encode(suffix, bgr)))
    np.testing.assert_allclose(image, own_range_levels(rgb), atol=1e-3)


def test_sixteen_bit_color_tiff_without_compression(save):
    data = encode(".tif", few(DEEP_RGB)[..., ::-1], cv2.IMWRITE_TIFF_COMPRESSION, 1)
    np.testing.assert_allclose(
        read(save("x.tif", data)), own_range_levels(few(DEEP_RGB)), atol=1e-3
    )


def test_bright_markers_do_not_squeeze_the_anatomy(save):
    values = np.random.default_rng(0).integers(1000, 1200, (100, 100), dtype=np.uint16)
    values[:2, :3], values[5, 5] = 65535, 0
    image = read(save("x.png", encode(".png", values)))
    assert np.ptp(image[10:]) > 240
    assert (image[:2, :3] == 255).all() and image[5, 5] == 0


def test_rare_structures_keep_their_gray_levels(save):
    values = np.zeros((100, 100), np.uint16)
    values[50, 50:55] = 1000, 3000, 5000, 6000, 7000
    expected = values / 7000 * 255
    np.testing.assert_allclose(read(save("x.png", encode(".png", values))), expected, atol=1e-3)


def test_constant_image_is_black(save):
    values = np.full((9, 8), 777, np.uint16)
    np.testing.assert_array_equal(read(save("x.png", encode(".png", values))), np.zeros((9, 8)))


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(np.uint16, (7, 9), elements=st.integers(0, 100)),
    scale=st.integers(1, 500),
    offset=st.integers(0, 9000),
)
def test_stretch_does_not_depend_on_scale_and_offset(tmp_path_factory, values, scale, offset):
    folder = tmp_path_factory.getbasetemp()
    cv2.imwrite(str(folder / "a.png"), values)
    cv2.imwrite(str(folder / "b.png"), values * np.uint16(scale) + np.uint16(offset))
    np.testing.assert_allclose(read(folder / "a.png"), read(folder / "b.png"), atol=0.01)


def test_float_tiff(save):
    values = few(DEEP).astype(np.float32) / 1e4 - 0.1
    image = read(save("x.tif", Image.fromarray(values)))
    np.testing.assert_allclose(image, own_range_levels(values), atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(save, value):
    values = np.zeros((5, 6), np.float32)
    values[2, 3] = value
    path = save("x.tif", Image.fromarray(values))
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=r"x\.tif: holds NaN or infinite values; replace"):
            reader(path)


def test_extreme_floats_are_refused_or_read(save):
    values = np.float32([[-3.4e38, 3.4e38, 0], [0, 0, 0]])
    np.testing.assert_allclose(read(save("x.tif", Image.fromarray(values)))[0, 2], 127.5)


# -- what Pillow does not do ----------------------------------------------------------------------


def png(pixels, depth, kind, transparent=None):
    """A PNG of whole numbers, `(height, width)` or with channels, in so many bits, big endian."""
    places = np.arange(depth - 1, -1, -1)
    bits = (pixels.astype(np.uint32)[..., None] >> places & 1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits.reshape(len(pixels), -1))
    size = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if transparent is not None:
        numbers = np.ravel(transparent).astype(">u2")
        chunks.insert(1, (b"tRNS", numbers.tobytes()))
    parts = [
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_one_level_may_be_transparent(save, depth):
    levels = GRAY.astype(int) >> (8 - depth)
    path = save("x.png", png(levels, depth, 0, transparent=1))
    np.testing.assert_array_equal(
        read(path), np.where(levels == 1, 0, levels * 255 // (2**depth - 1))
    )


@pytest.mark.parametrize("color", [False, True])
def test_one_level_or_color_of_sixteen_bits_may_be_transparent(save, color):
    values = few(DEEP_RGB if color else DEEP).copy()
    values[1, 1] = values[3, 4]
    path = save("x.png", png(values, 16, 2 if color else 0, transparent=values[3, 4]))
    shown = values.copy()
    shown[1, 1] = shown[3, 4] = 0
    np.testing.assert_allclose(read(path), own_range_levels(shown), atol=1e-3)


def test_gray_of_sixteen_bits_with_opacity_keeps_its_lower_byte(save):
    opacity = np.full(few(DEEP).shape, 65535, np.uint16)
    opacity[:2] = 0
    path = save("x.png", png(np.stack([few(DEEP), opacity], axis=2), 16, 4))
    by_opencv = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    shown = np.where(by_opencv[..., 3] > 0, by_opencv[..., 0], 0)
    np.testing.assert_allclose(read(path), own_range_levels(shown), atol=1e-3)


def bmp(numbers, bits, levels, *, top_down=False):
    """A BMP of numbers into a palette of gray levels."""
    places = np.arange(bits - 1, -1, -1)
    rows = (np.packbits((row[:, None] >> places & 1).astype(np.uint8)) for row in numbers)
    lines = [row.tobytes() + bytes(-len(row) % 4) for row in rows]
    pixels = b"".join(lines if top_down else reversed(lines))
    palette = b"".join(bytes([level, level, level, 0]) for level in levels)
    height, width = numbers.shape
    start = 54 + len(palette)
    header = struct.pack("<IHHI", start + len(pixels), 0, 0, start) + struct.pack(
        "<IiiHHIIiiII", 40, width, -height if top_down else height, 1, bits, 0, len(pixels), 0, 0,
        len(levels), 0,
    )  # fmt: skip
    return b"BM" + header + palette + pixels


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("levels", [(0, 255), (255, 0)])
@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_of_black_and_white_in_any_number_of_bits(save, bits, levels, top_down):
    path = save("x.bmp", bmp(GRAY >> 7, bits, levels, top_down=top_down))
    shown = np.array(levels)[GRAY >> 7]
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), shown)
    np.testing.assert_array_equal(read(path), shown)
    np.testing.assert_array_equal(read_mask_values(path), shown)


def test_bmp_of_few_numbered_grays(save):
    for count in (3, 16):
        path = save("x.bmp", bmp(GRAY % count, 4, range(count)))
        np.testing.assert_array_equal(read_mask_values(path), GRAY % count)


def test_black_and_white_bmp_as_pillow_writes_it(save):
    picture = Image.fromarray(GRAY >> 7, "P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    np.testing.assert_array_equal(read_mask_values(save("x.bmp", picture)), GRAY // 128 * 255)


def test_a_mask_in_bmp_whose_fourth_bytes_vary_may_have_an_opacity(save):
    """Before version 5, OpenCV wrote opacity so, though the header says that there is none."""
    height, width = GRAY.shape
    head = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, 0, 0, 0, 0, 0, 0)
    white = np.full((height, width, 4), 255, np.uint8)
    assert read_mask_values(save("x.bmp", head + white.tobytes())).all()
    white[..., 3] = GRAY
    path = save("x.bmp", head + white.tobytes())
    with pytest.raises(ValueError, match=r"x\.bmp: a BMP file that may have an opacity, or not"):
        read_mask_values(path)
    np.testing.assert_array_equal(read_image(path)[0], np.full(GRAY.shape, 255))


def test_gif_that_fills_a_part_of_its_canvas_is_refused(save):
    picture = Image.fromarray(np.zeros((5, 6), np.uint8), "P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    content = bytearray(save("x.gif", picture, optimize=False).read_bytes())
    content[6:12] = struct.pack("<HHBB", 20, 20, content[10], 1)
    with pytest.raises(ValueError, match=r"x\.gif: a GIF whose picture fills only a part of its"):
        read_mask_values(save("x.gif", bytes(content)))


# -- TIFF -----------------------------------------------------------------------------------------


def tiff_tags(**values):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in values.items():
        info[getattr(TiffImagePlugin, name)] = value
    return info


def test_pages_by_index(save):
    pages = [Image.fromarray(GRAY), Image.fromarray(RGB), Image.fromarray(GRAY[:5, :6])]
    path = save("x.tif", pages[0], save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read(path, frame=0), GRAY)
    np.testing.assert_array_equal(read(path, frame=1), RGB)
    np.testing.assert_array_equal(read_mask_values(path, frame=2), GRAY[:5, :6])
    with pytest.raises(ValueError, match=r"x\.tif: it has 3 frames; say which: frame 0 to 2"):
        read_image(path)
    for frame in (3, -1):
        with pytest.raises(ValueError, match=rf"x\.tif: there is no frame {frame}; it has 3"):
            read_image(path, frame=frame)


def test_sixteen_bit_color_of_a_later_page(save):
    ok, data = cv2.imencodemulti(".tif", [few(RGB), few(DEEP_RGB)[..., ::-1]])
    assert ok
    image = read(save("x.tif", data.tobytes()), frame=1)
    np.testing.assert_allclose(image, own_range_levels(few(DEEP_RGB)), atol=1e-3)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint32, np.int32])
def test_whole_numbers_of_every_type_are_as_tifffile_reads_them(save, kind):
    tifffile = pytest.importorskip("tifffile")
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    numbers = np.linspace(low, high, 88).reshape(8, 11).astype(kind)
    path = save("x.tif", b"")
    tifffile.imwrite(path, numbers)
    np.testing.assert_array_equal(tifffile.imread(path), numbers)
    np.testing.assert_allclose(read(path), own_range_levels(numbers.astype(float)), atol=1e-3)


def test_mask_of_large_unsigned_numbers(save):
    tifffile = pytest.importorskip("tifffile")
    path = save("x.tif", b"")
    tifffile.imwrite(path, np.where(GRAY > 99, 2**32 - 1, 0).astype(np.uint32))
    np.testing.assert_array_equal(read_mask_values(path), (GRAY > 99) * (2**32 - 1))


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (
            np.stack([GRAY] * 5, axis=2),
            {"photometric": "rgb", "extrasamples": [0, 0]},
            "5 channels",
        ),
        (np.stack([GRAY] * 3), {"photometric": "minisblack", "truncate": True}, "a stack of 3 pic"),
        (
            np.zeros((3, 16, 16), np.uint8),
            {"volumetric": True, "tile": (1, 16, 16), "photometric": "minisblack"},
            "a volume of 3 slices",
        ),
        (GRAY, {"extratags": [(33629, 5, 2, (1, 1, 1, 1), True)]}, "a stack of MetaMorph"),
    ],
)
def test_channels_and_slices_that_would_be_dropped_are_named(tmp_path, content, options, words):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "x.tif", content, **options)
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=rf"x\.tif: {words}"):
            reader(tmp_path / "x.tif")


def ome(order, planes=""):
    """OME-XML of 2 slices at 3 times, of which TiffData say where they are."""
    return (
        f'<OME xmlns="x" UUID="urn:uuid:1"><Image ID="a"><Pixels ID="b" DimensionOrder="{order}" '
        'Type="uint8" SizeX="37" SizeY="24" SizeZ="2" SizeC="1" SizeT="3"><Channel ID="c" '
        f'SamplesPerPixel="1"/>{planes or "<TiffData/>"}</Pixels></Image></OME>'
    )


REVERSED = "".join(
    f'<TiffData FirstZ="{n % 2}" FirstT="{n // 2}" IFD="{5 - n}"/>' for n in range(6)
)
SPLIT = REVERSED.replace("/>", '><UUID FileName="x">urn:uuid:1</UUID></TiffData>') + (
    '<TiffData FirstT="1" IFD="3"><UUID FileName="y">urn:uuid:2</UUID></TiffData>'
)


@pytest.mark.parametrize(
    ("description", "usual"),
    [
        (ome("XYZTC"), True),
        (ome("XYTZC"), False),
        (ome("XYZCT", REVERSED), False),
        (ome("XYZCT", SPLIT), False),
        (ome("XYZCT", '<TiffData IFD="7"/>'), True),
        (ome("XYTZC").replace('SizeC="1"', 'SizeC="3"').replace('l="1"', 'l="3"'), False),
        (ome("XYZTC").replace("DimensionOrder", "Order"), True),
        ("<OME>" * 1000 + "<Pixels " * 1000, True),
    ],
    ids=str,
)
def test_pages_in_another_order_by_their_description_are_refused(tmp_path, description, usual):
    """A mask whose pages are in the usual order would be that of other frames."""
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "x.tif"
    pages = [np.roll(GRAY, 3 * number) for number in range(6)]
    if 'l="3"' in description:
        pages = [np.roll(RGB, 3 * number, axis=0) for number in range(6)]
    with tifffile.TiffWriter(path) as file:
        for number, page in enumerate(pages):
            kind = "minisblack" if page.ndim == 2 else "rgb"
            said = None if number else description
            file.write(page, photometric=kind, description=said, metadata=None, contiguous=False)
    if not usual:
        with pytest.raises(ValueError, match=r"x\.tif: pages in another order than slices, then"):
            read(path, frame=1)
        return
    for frame, page in enumerate(pages):
        np.testing.assert_array_equal(read(path, frame=frame), page)


@pytest.mark.parametrize(
    ("bits", "codes", "lower"),
    [
        (8, b"\x04\x01\0\0\x04\x02\0\1", [1, 1, 1, 1]),
        (8, b"\0\x03\1\3\1\0\1\1\0\0\x04\x02\0\1", [1, 3, 1, 1]),
        (8, b"\1\1\0\2\2\0\1\1\0\0\x04\x02\0\1", [1, 0, 0, 1]),
        (4, b"\x04\x13\0\0\0\x04\x22\x22\0\1", [1, 3, 1, 3]),
        (4, b"\0\x03\x13\x10\1\x10\0\0\x04\x22\0\1", [1, 3, 1, 1]),
    ],
    ids=["runs", "plain", "skipped", "4 bits", "odd"],
)
def test_run_lengths_of_bmp_are_read_rightly_or_refused(tmp_path, bits, codes, lower):
    """Pillow has been wrong of pixels that are skipped, and is of odd runs of 4 bits."""
    palette = bytes(channel for n in range(2**bits) for channel in (n, 2 * n % 256, 7, 0))
    start, method = 54 + len(palette), {8: 1, 4: 2}[bits]
    header = (40, 4, 2, 1, bits, method, len(codes), 0, 0, 2**bits, 0)
    head = struct.pack("<IHHIIiiHHIIiiII", start + len(codes), 0, 0, start, *header)
    (path := tmp_path / "x.bmp").write_bytes(b"BM" + head + palette + codes)
    try:
        read_image(path)
        assert read_mask_values(path).tolist() == [[2] * 4, lower]
    except ValueError as refusal:
        assert "x.bmp: a compressed BMP file of a rare kind; save" in str(refusal)
        assert 0 in lower or b"\x03\x13" in codes


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_compressed_numbers_in_either_byte_order(tmp_path, dtype):
    """Pillow takes signed numbers and floats that libtiff has turned as they are in the file."""
    tifffile = pytest.importorskip("tifffile")
    numbers = (DEEP.astype(np.float64) * 7 - 9000).astype(dtype)
    for name, options in (("a", {}), ("b", {"byteorder": ">"})):
        kind = {"photometric": "minisblack", "compression": "zlib"}
        tifffile.imwrite(tmp_path / f"{name}.tif", numbers, **kind, **options)
        tifffile.imwrite(tmp_path / f"{name}0.tif", numbers, photometric="minisblack", **options)
    for name in ("a", "b", "b0"):
        np.testing.assert_array_equal(read(tmp_path / f"{name}.tif"), read(tmp_path / "a0.tif"))


@pytest.mark.parametrize("options", [{"rowsperstrip": 4}, {"tile": (16, 16)}], ids=str)
def test_a_tiff_that_leaves_out_empty_parts_is_refused(tmp_path, options):
    """GDAL gives them the offset 0, where Pillow finds the header."""
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, GRAY, photometric="minisblack", **options)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        at = page.tags["TileOffsets" if "tile" in options else "StripOffsets"].valueoffset
        first = struct.pack("<I", page.dataoffsets[0])
    content = path.read_bytes()
    assert content[at : at + 4] == first
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 :])
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=r"x\.tif: empty parts are left out, as by GDAL's SPA"):
            reader(path)


@pytest.mark.parametrize(
    ("axes", "options"),
    [("CYX", {"imagej": True}), ("CYX", {"ome": True}), ("ZCYX", {"ome": True})],
)
def test_channels_in_pages_of_their_own_are_no_frames(tmp_path, axes, options):
    tifffile = pytest.importorskip("tifffile")
    pages = np.stack([GRAY, 255 - GRAY, GRAY // 2])
    path, gray = tmp_path / "x.tif", {"photometric": "minisblack"} | options
    content = pages if axes == "CYX" else np.stack([pages] * 2)
    tifffile.imwrite(path, content, metadata={"axes": axes}, **gray)
    reading = (read_image, read_mask_values, readers.count_frames, partial(read_image, frame=1))
    for read in reading:
        with pytest.raises(ValueError, match=r"x\.tif: 3 channels as pages; save one, or RGB, or"):
            read(path)
    tifffile.imwrite(
        path, content, metadata={"axes": axes.replace("ZC", "TZ").replace("C", "T")}, **gray
    )
    assert readers.count_frames(path) == content.size // GRAY.size
    np.testing.assert_array_equal(read_image(path, frame=1)[0], 255 - GRAY)
    tifffile.imwrite(path, np.concatenate([pages] * 3), photometric="minisblack", imagej=True)
    assert readers.count_frames(path) == 9  # More channels than ImageJ shows are slices.


def pages_of_ome(path, *stated):
    """Six pages; the description says of each where it belongs, as slice and point in time."""
    tifffile = pytest.importorskip("tifffile")
    parts = (f'<TiffData FirstZ="{z}" FirstT="{t}" IFD="{n}"/>' for n, (z, t) in enumerate(stated))
    pixels = f'<Pixels DimensionOrder="XYZCT" SizeZ="3" SizeC="1" SizeT="2">{"".join(parts)}'
    with tifffile.TiffWriter(path) as file:
        for page in range(6):
            text = f"<OME>{pixels}</Pixels></OME>" if page == 0 else None
            file.write(GRAY + page, description=text, metadata=None, photometric="minisblack")
    return path


SLICES_FIRST = [(z, t) for t in range(2) for z in range(3)]


def test_pages_of_ome_in_another_order_than_slices_and_points_in_time_are_refused(tmp_path):
    """A mask may have them in that order, and programs differ in what they show of the image."""
    tifffile = pytest.importorskip("tifffile")
    path, content = tmp_path / "x.tif", np.stack([GRAY] * 6).reshape(3, 2, *GRAY.shape)
    written = {"photometric": "minisblack", "ome": True}
    for stated in (SLICES_FIRST, SLICES_FIRST[:1]):  # Some programs list the first page alone.
        pages_of_ome(path, *stated)
        np.testing.assert_array_equal(read_mask_values(path, frame=4), GRAY + 4)
    pages_of_ome(path, *SLICES_FIRST[::-1])
    with pytest.raises(ValueError, match=r"x\.tif: pages in another order than slices, then"):
        read_image(path, frame=4)
    tifffile.imwrite(path, content, metadata={"axes": "ZTYX"}, **written)
    with pytest.raises(ValueError, match=r"x\.tif: pages in another order than slices, then"):
        read_mask_values(path, frame=4)


def test_a_stack_of_imagej_that_lists_its_first_picture_alone_is_refused(save):
    """So ImageJ writes stacks of 4 GB and more."""
    tifffile = pytest.importorskip("tifffile")
    path = save("x.tif", b"")
    tifffile.imwrite(path, np.stack([GRAY] * 3), imagej=True, truncate=True)
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=r"x\.tif: a stack of 3 pictures that lists 1 of them"):
            reader(path)
    tifffile.imwrite(path, GRAY, description="ImageJ=1.53t\nimages=3\n", metadata=None)
    np.testing.assert_array_equal(read(path), GRAY)  # Saved anew with an old description.


@pytest.mark.parametrize("name", ["x.png", "x.JPG"])
def test_frames_under_the_name_of_a_picture_are_refused(save, name):
    pages = [Image.fromarray(GRAY)] * 2
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    path = save(name, stream.getvalue())
    for reader in (partial(read_image, frame=0), read_mask_values):
        with pytest.raises(ValueError, match=f"{name}: a TIFF file of 2 frames that is named like"):
            reader(path)


def test_only_tiff_has_pages(save):
    path = save("x.png", Image.fromarray(GRAY))
    with pytest.raises(ValueError, match=r"x\.png: there is no frame 1; it has 1"):
        read_image(path, frame=1)


@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_zero_may_be_white(save, pixels):
    info = tiff_tags(PHOTOMETRIC_INTERPRETATION=0)
    image = read(save("x.tif", Image.fromarray(few(pixels)), tiffinfo=info))
    upright = read(save("y.tif", Image.fromarray(few(pixels))))
    order = np.corrcoef(image.ravel(), upright.ravel())[0, 1]
    # Pillow itself inverts 8 bits when it writes such a file, and again when it reads it.
    assert order == pytest.approx(1 if pixels is GRAY else -1)


def test_resolution_of_a_print_is_no_spacing(save):
    for suffix in (".tif", ".png", ".jpg", ".bmp"):
        assert read_image(save(f"x{suffix}", Image.fromarray(GRAY), dpi=(300, 300)))[1] is None


@pytest.mark.parametrize(
    "unit, expected",
    [("mm", (0.125, 0.25)), ("cm", (1.25, 2.5)), ("micron", (0.000125, 0.00025)), ("pixel", None)],
)
def test_calibration_by_imagej(save, unit, expected):
    info = tiff_tags(
        IMAGEDESCRIPTION=f"ImageJ=1.54f\nunit={unit}\nmin=0.0\n", X_RESOLUTION=4.0, Y_RESOLUTION=8.0
    )
    _, spacing = read_image(save("x.tif", Image.fromarray(GRAY), tiffinfo=info))
    assert spacing == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_calibration_by_imagej_is_turned_with_the_picture(save, orientation):
    info = tiff_tags(IMAGEDESCRIPTION="ImageJ=1.54f\nunit=mm\n", X_RESOLUTION=4.0, Y_RESOLUTION=8.0)
    info[0x0112] = orientation
    image, spacing = read_image(save("x.tif", Image.fromarray(GRAY), tiffinfo=info))
    on_side = image.shape != GRAY.shape
    assert on_side == (orientation > 4)
    assert spacing == pytest.approx((0.25, 0.125) if on_side else (0.125, 0.25))


@pytest.mark.parametrize(("rows", "expected"), [("micron", (1.25e-4, 0.25)), ("sec", None)])
def test_rows_in_another_unit_than_columns_by_imagej(save, rows, expected):
    """Such as time, of lines that were recorded one after the other."""
    text = f"ImageJ=1.54f\nunit=mm\nyunit={rows}\n"
    info = tiff_tags(IMAGEDESCRIPTION=text, X_RESOLUTION=4.0, Y_RESOLUTION=8.0)
    _, spacing = read_image(save("x.tif", Image.fromarray(GRAY), tiffinfo=info))
    assert spacing == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_calibration_of_a_stack_by_imagej_is_that_of_every_page(tmp_path, compression):
    tifffile = pytest.importorskip("tifffile")
    stack = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]])
    about = {"axes": "ZYX", "unit": "mm", "spacing": 3.0}
    options = {"imagej": True, "metadata": about, "resolution": (4, 8), "compression": compression}
    tifffile.imwrite(tmp_path / "x.tif", stack, **options)
    for frame, expected in enumerate(stack):
        image, spacing = read_image(tmp_path / "x.tif", frame=frame)
        assert spacing == pytest.approx((0.125, 0.25))
        np.testing.assert_array_equal(image, expected)


def test_sixteen_bit_color_by_planes_is_refused(save):
    data = bytearray(encode(".tif", DEEP_RGB, cv2.IMWRITE_TIFF_COMPRESSION, 1))
    data[data.index(struct.pack("<HHI", 284, 3, 1)) + 8] = 2
    with pytest.raises(ValueError, match=r"x\.tif: 16-bit colors stored plane by plane"):
        read_image(save("x.tif", bytes(data)))


# -- orientation ----------------------------------------------------------------------------------

STORED_TO_UPRIGHT = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.swapaxes(p, 0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.swapaxes(np.rot90(p, 2), 0, 1),
    8: np.rot90,
}


def orientation_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", STORED_TO_UPRIGHT)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_orientation(save, suffix, orientation):
    exif = orientation_exif(orientation)
    lossless = {"quality": 100} if suffix == ".jpg" else {}
    path = save(f"x{suffix}", Image.fromarray(SMOOTH), exif=exif, **lossless)
    expected = STORED_TO_UPRIGHT[orientation](SMOOTH).astype(np.float32)
    image, mask = read(path), read_mask_values(path)
    assert image.shape == mask.shape == expected.shape
    assert np.abs(image - expected).max() <= (2 if suffix == ".jpg" else 0)
    np.testing.assert_array_equal(image, mask)


def test_orientation_of_sixteen_bit_color(save):
    plain = encode(".png", few(DEEP_RGB)[..., ::-1])
    exif = orientation_exif(6).tobytes().removeprefix(b"Exif\0\0")
    image = read(save("x.png", plain[:33] + png_chunk(b"eXIf", exif) + plain[33:]))
    np.testing.assert_allclose(image, np.rot90(own_range_levels(few(DEEP_RGB)), -1), atol=1e-3)


def test_broken_exif_does_not_matter(save, recwarn, capfd):
    for exif in (b"Exif\0\0junk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"):
        path = save("x.jpg", Image.fromarray(SMOOTH), quality=100, exif=exif)
        assert np.abs(read(path) - SMOOTH).max() <= 2
    assert not recwarn.list and capfd.readouterr() == ("", "")


# -- masks ----------------------------------------------------------------------------------------


def test_mask_values_stay_as_they_are(save):
    labels = GRAY // 64 * 50
    mask = read_mask_values(save("x.png", Image.fromarray(labels)))
    assert mask.dtype == np.uint8 and mask.flags.writeable
    np.testing.assert_array_equal(mask, labels)
    mask = read_mask_values(save("x.png", encode(".png", DEEP)))
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, DEEP)


def test_colored_palette_is_a_table_of_labels(save):
    labels = GRAY % 3
    picture = Image.fromarray(labels)
    picture.putpalette([0, 0, 0, 128, 0, 0, 224, 224, 192])
    np.testing.assert_array_equal(read_mask_values(save("x.png", picture)), labels)


def test_gray_palette_is_a_table_of_gray_levels(save):
    picture = Image.fromarray(GRAY % 2)
    picture.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(read_mask_values(save("x.png", picture)), 255 * (1 - GRAY % 2))


def test_brightest_channel_of_a_colored_mask(save):
    mask = read_mask_values(save("x.png", Image.fromarray(RGB)))
    np.testing.assert_array_equal(mask, RGB.max(axis=2))


def test_white_on_transparent_mask(save):
    opacity = np.where(GRAY > 99, 255, 0).astype(np.uint8)
    path = save("x.png", with_opacity(np.full_like(RGB, 255), opacity))
    np.testing.assert_array_equal(read_mask_values(path), opacity)


def test_float_mask_of_whole_numbers(save):
    path = save("x.tif", Image.fromarray((GRAY % 2).astype(np.float32)))
    mask = read_mask_values(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, GRAY % 2)


@pytest.mark.parametrize("value", [0.5, -1])
def test_mask_of_other_numbers_is_refused(save, value):
    path = save("x.tif", Image.fromarray(np.full((4, 5), value, np.float32)))
    with pytest.raises(
        ValueError, match=r"x\.tif: (a mask holds whole numbers from 0|fractions from 0 to 1)"
    ):
        read_mask_values(path)


# -- what is no image -----------------------------------------------------------------------------


def test_contents_decide_not_the_suffix(save):
    data = io.BytesIO()
    Image.fromarray(SMOOTH).save(data, "JPEG")
    np.testing.assert_array_equal(
        read(save("x.png", data.getvalue())), read(save("x.jpg", data.getvalue()))
    )
    np.testing.assert_array_equal(read(save("noextension", encode(".png", GRAY))), GRAY)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such file$"):
        read_image(tmp_path / "gone.png")


def test_folder(tmp_path):
    with pytest.raises(ValueError, match="a folder; give an image file in it"):
        read_image(tmp_path)


def test_empty_file(save):
    with pytest.raises(ValueError, match=r"x\.png: the file is empty; copy or export it again"):
        read_image(save("x.png", b""))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: not a regular file"):
        read_image(tmp_path / "x.png")


@contextmanager
def without_privileges():
    """Root may read everything: be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of Unix")
def test_unreadable_file():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.png"
        Image.fromarray(GRAY).save(path)
        Path(folder).chmod(0o755)
        path.chmod(0)
        with (
            without_privileges(),
            pytest.raises(PermissionError, match=r"x\.png: permission denied; change its perm"),
        ):
            read_image(path)


GRAY_LEVELS = np.random.default_rng(8).integers(0, 256, (30, 44)).astype(np.uint8)


@pytest.mark.parametrize(("name", "options"), [("x.gif", {}), ("x.webp", {"lossless": True})])
def test_gif_and_lossless_webp_are_exact(save, name, options):
    path = save(name, Image.fromarray(GRAY_LEVELS), **options)
    np.testing.assert_array_equal(read_image(path)[0], GRAY_LEVELS)
    mask = save(f"m{name}", Image.fromarray((GRAY_LEVELS > 99) * np.uint8(255)), **options)
    np.testing.assert_array_equal(read_mask_values(mask), (GRAY_LEVELS > 99) * 255)


def test_webp_of_colors_as_pillow_shows_them(save):
    colors = np.stack([GRAY_LEVELS, 255 - GRAY_LEVELS, GRAY_LEVELS // 2], -1)
    path = save("x.webp", Image.fromarray(colors), quality=70)
    np.testing.assert_array_equal(read_image(path)[0], np.asarray(Image.open(path)))


def test_mask_in_lossy_webp_is_refused_as_one_in_jpeg_is(save):
    path = save("x.webp", Image.fromarray((GRAY_LEVELS > 99) * np.uint8(255)), quality=50)
    with pytest.raises(ValueError, match=r"x\.webp: not a binary mask.*--mask-threshold 127"):
        MaskCoding().decode(read_mask(path), str(path))


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_animations_are_refused(save, name):
    more = [Image.fromarray(GRAY_LEVELS[::-1].copy())]
    path = save(name, Image.fromarray(GRAY_LEVELS), save_all=True, append_images=more)
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=rf"{name}: an animation of 2 pictures; export"):
            reader(path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"BMI,age\n22.5,40\n31.0,55\n",
        b"RIFF\0\0\0\0WAVE" + bytes(400),
        gzip.compress(b"text"),
    ],
    ids=["text", "table", "sound", "gzip"],
)
def test_other_files(save, content):
    path = save("x.png", content)
    for reader in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=r"x\.png: not a PNG, .* image; convert it to PNG$"):
            reader(path)


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8bzip", b"II+\0\x08\0\0\0" + b"\xff" * 7 + b"\x7f", b"\x89PNG\r\n\x1a\nrest"],
    ids=["gzip", "offset beyond all files", "png"],
)
def test_broken_files(save, content):
    with pytest.raises(ValueError, match=r"x\.png: damaged, cut off or of a rare kind"):
        read_image(save("x.png", content))


@pytest.mark.parametrize(
    "given, expected, message",
    [
        (MemoryError(), ValueError, "too large for the memory; scale it down"),
        (OSError(errno.EIO, "Input/output error"), OSError, "Input/output error"),
        (RuntimeError("decoder's words"), ValueError, "damaged, cut off or of a rare kind"),
    ],
    ids=["memory", "device", "decoder"],
)
def test_other_failures_name_the_file(save, monkeypatch, given, expected, message):
    def fail(picture):
        raise given

    path = save("x.png", Image.fromarray(GRAY))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(expected, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "words" not in str(caught.value)


# -- size limit -----------------------------------------------------------------------------------


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side):
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def jpeg_bomb(side):
    data = bytearray(encode(".jpg", RGB))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def bmp_bomb(side):
    data = bytearray(encode(".bmp", RGB))
    data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


def tiff_bomb(side):
    data = bytearray(encode(".tif", RGB))
    for tag in (256, 257):
        at = next(
            at
            for at in range(len(data))
            if data[at : at + 4] in (struct.pack("<HH", tag, 3), struct.pack("<HH", tag, 4))
        )
        data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


BOMBS = {".png": png_bomb, ".jpg": jpeg_bomb, ".bmp": bmp_bomb, ".tif": tiff_bomb}


@pytest.mark.parametrize("suffix", BOMBS)
def test_huge_images_are_refused_from_the_header(save, suffix):
    path = save(f"x{suffix}", BOMBS[suffix](50_000))
    for reader in (read_image, read_mask_values):
        with pytest.raises(
            ValueError,
            match=r"50000×50000 pixels, more than the limit of 100,000,000; scale it down",
        ):
            reader(path)


@pytest.mark.skipif(sys.platform != "linux", reason="measures peak memory in kilobytes")
@pytest.mark.parametrize("suffix", BOMBS)
def test_refusal_takes_little_memory(save, suffix):
    program = (
        "import pathlib, sys\n"
        "from kerasunet.data.readers import read_image\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "def peak(): return int(status.read_text().split('VmHWM:')[1].split()[0])\n"
        "before = peak()\n"
        "try: read_image(sys.argv[1])\n"
        "except ValueError as error: assert 'limit' in str(error)\n"
        "else: raise SystemExit('was read')\n"
        "print(peak() - before)\n"
    )
    path = save(f"x{suffix}", BOMBS[suffix](50_000))
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000


def test_size_limit_is_an_argument(save):
    path = save("x.png", Image.fromarray(GRAY))
    assert read(path, size_limit=GRAY.size).shape == GRAY.shape
    with pytest.raises(ValueError, match=r"x\.png: 37×24 pixels, more than the limit of 887"):
        read_image(path, size_limit=GRAY.size - 1)
    with pytest.raises(ValueError, match="more than the limit of 887"):
        read_mask_values(path, size_limit=GRAY.size - 1)


# -- the rest -------------------------------------------------------------------------------------


def test_no_heavy_import():
    program = (
        "import sys, kerasunet.data.readers\n"
        "heavy = {'tensorflow', 'keras', 'pydicom', 'nibabel'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_threads_get_what_one_thread_gets(save):
    paths = [save(f"{i}.png", Image.fromarray(np.roll(RGB, i, axis=1))) for i in range(20)]
    paths += [
        save(f"{i}.tif", Image.fromarray(np.roll(DEEP, i, axis=1)), compression="tiff_lzw")
        for i in range(20)
    ]
    alone = [read(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for image, expected in zip(pool.map(read, paths * 3), alone * 3, strict=True):
            np.testing.assert_array_equal(image, expected)


def test_luminance():
    rgb = RGB.astype(np.float32)
    np.testing.assert_allclose(to_gray(rgb), rgb @ np.float32([0.299, 0.587, 0.114]), atol=1e-2)
    np.testing.assert_array_equal(to_gray(rgb[..., 0]), rgb[..., 0])


def test_public_names():
    assert set(readers.__all__) >= {"IMAGE_SUFFIXES", "read_image", "read_mask_values"}
    assert "X.NII.GZ".lower().endswith(IMAGE_SUFFIXES)


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (np.float16, "1 channel of 16-bit floats"),
        (np.int64, "1 channel of 64-bit signed integers"),
        (np.uint64, "1 channel of 64-bit integers"),
        (np.complex64, "1 channel of 64-bit numbers of a rare kind"),
    ],
)
def test_numbers_that_no_tiff_reader_here_knows_are_named(tmp_path, dtype, words):
    """As tifffile writes arrays of these types, but uncompressed and in one strip."""
    values = GRAY.astype(dtype)
    kind = {"f": 3, "i": 2, "u": 1, "c": 6}[values.dtype.kind]
    entries = {
        256: WIDTH, 257: HEIGHT, 258: 8 * values.itemsize, 259: 1, 262: 1, 273: 200, 277: 1,
        278: HEIGHT, 279: values.nbytes, 339: kind,
    }  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4)
    path = tmp_path / "x.tif"
    path.write_bytes(head.ljust(200, b"\0") + values.tobytes())
    with pytest.raises(ValueError, match=rf"x\.tif: a TIFF file of {words}, .* save gray levels"):
        read_image(path)


def test_a_palette_of_sixteen_bits_that_fills_eight(tmp_path):
    """Some writers copy 8-bit colors into TIFF's 16-bit palette; Pillow alone shows them black."""
    path = tmp_path / "x.tif"
    picture = Image.fromarray(GRAY, "P")
    picture.putpalette([level for n in range(256) for level in (n, 255 - n, 7)])
    picture.save(path)
    with Image.open(path) as known:
        levels = np.array(known.tag_v2[TiffImagePlugin.COLORMAP], np.uint16)
    content = path.read_bytes()
    assert levels.tobytes() in content
    path.write_bytes(content.replace(levels.tobytes(), (levels >> 8).tobytes()))
    expected = np.stack([GRAY, 255 - GRAY, np.full_like(GRAY, 7)], axis=2)
    np.testing.assert_array_equal(read(path), expected)


def test_a_thumbnail_is_no_page_of_a_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pages = np.random.default_rng(3).integers(0, 256, (2, 40, 50), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "one.tif") as file:
        file.write(pages[0])
        file.write(pages[0, ::4, ::4], subfiletype=1)
    np.testing.assert_array_equal(read(tmp_path / "one.tif"), pages[0])
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        for page in pages:
            file.write(page)
            file.write(page[::4, ::4], subfiletype=1)
    with tifffile.TiffWriter(tmp_path / "first.tif") as file:
        file.write(pages[0, ::4, ::4], subfiletype=1)
        file.write(pages[0])
    np.testing.assert_array_equal(read(tmp_path / "first.tif"), pages[0])
    assert readers.count_frames(tmp_path / "two.tif") == 2
    for frame in range(2):
        np.testing.assert_array_equal(read(tmp_path / "two.tif", frame=frame), pages[frame])


def test_further_pictures_of_a_jpeg_are_named(tmp_path):
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 50), dtype=np.uint8))
    path = tmp_path / "phone.jpg"
    picture.save(path, "MPO", save_all=True, append_images=[picture.resize((10, 8))])
    with pytest.warns(FileWarning, match="phone.jpg: its further pictures, such as a preview"):
        levels = read(path)
    expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_allclose(levels, expected, atol=1)


def test_uncompressed_ycbcr_is_refused_by_name(tmp_path):
    path = tmp_path / "x.tif"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
        path
    )
    content = path.read_bytes()
    old, new = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (2, 6))
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ValueError, match="uncompressed YCbCr colors; save it as RGB"):
        read(path)

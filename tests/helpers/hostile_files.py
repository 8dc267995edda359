"""Broken and hostile inputs, each made by code: what to give to the program, and what it must say.

A case writes its files into a folder of its own, the current one while it runs, and returns the
words of a command line, or a function to call. The message is a pattern of what is said; that it
names what was given is part of it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from PIL import Image, PngImagePlugin

from kerasunet import models

GRAY = np.random.default_rng(0).integers(0, 256, (8, 10), np.uint8)
OBJECT = np.zeros((8, 10), np.uint8)
OBJECT[2:6, 3:7] = 255
Given = list[str] | Callable[[], object]


class Case(NamedTuple):
    """An input and what has to come of it.

    Attributes:
        name: What is wrong.
        make: Writes files into the current folder; returns words, or a function.
        message: Pattern of what is said.
        status: The exit status; of a function, 2 stands for a documented exception.
    """

    name: str
    make: Callable[[], Given]
    message: str
    status: int = 2


CASES: list[Case] = []


def case(name: str, message: str, status: int = 2) -> Callable:
    def add(make: Callable[[], Given]) -> Callable[[], Given]:
        CASES.append(Case(name, make, message, status))
        return make

    return add


# -- images and masks -----------------------------------------------------------------------------


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(data, kind, **options)
    return data.getvalue()


def pair(image: bytes | None, mask: bytes | None = None, name: str = "x.png") -> list[str]:
    """A folder of one image and its mask, and the command that checks it; `None`: no such file."""
    for folder, content in (("images", image), ("masks", mask or encoded(OBJECT))):
        Path("set", folder).mkdir(parents=True, exist_ok=True)
        if content is not None:
            file = name if folder == "images" else Path(name).stem + ".png"
            Path("set", folder, file).write_bytes(content)
    return ["check", "set"]


def png_of_size(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(entries: list[tuple[int, int, int, int]], next_directory: int = 0) -> bytes:
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", next_directory)


UNREADABLE = r"set/images/x\.png: (damaged|not a|.*(?:×|empty|NaN|loop))[^\n]*; [a-z]"
DAMAGED = r"set/images/x\.png: damaged, cut off or of a rare kind.*copy it again"
TOO_LARGE = r"set/images/x\.png: [\d]+×[\d]+ pixels, more than the limit of [\d,]+; scale it down"
NO_IMAGE = (
    r"set/images/x\.png: not a PNG, JPEG, BMP, GIF, WebP, TIFF, DICOM, NIfTI, NRRD or MetaImage "
    "image; convert it"
)

for _kind in ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WebP"):
    _whole = encoded(GRAY, _kind)
    case(f"{_kind} cut in half", DAMAGED, 1)(lambda c=_whole: pair(c[: len(c) // 2]))
    case(f"{_kind} of its first bytes", r"set/images/x\.png: (damaged|not a PNG).*; ", 1)(
        lambda c=_whole: pair(c[:20])
    )
case("PNG that promises 4 billion pixels", TOO_LARGE, 1)(
    lambda: pair(png_of_size(2**16, 2**16, b"0" * 99))
)
case("PNG of negative size", r"set/images/x\.png: .*(pixels|damaged).*; ", 1)(
    lambda: pair(png_of_size(2**32 - 1, 2**32 - 1))
)
case("PNG of no width", r"set/images/x\.png: (its header states 0×8|damaged).*; ", 1)(
    lambda: pair(png_of_size(0, 8))
)
case("PNG bomb: 20,000×20,000 zeros in 400 kB", TOO_LARGE, 1)(
    lambda: pair(png_of_size(20_000, 20_000, bytes(20_001 * 20_000)))
)
case("PNG whose pixels end too early", DAMAGED, 1)(lambda: pair(png_of_size(90, 90, b"\0" * 99)))
case("empty image", r"set/images/x\.png: the file is empty; copy or export it again", 1)(
    lambda: pair(b"")
)
case("text called PNG", NO_IMAGE, 1)(lambda: pair(b"Dear reader, this is no image.\n" * 9))
case("animated GIF", r"set/images/x\.png: an animation of 2 pictures; export .* as PNG", 1)(
    lambda: pair(
        encoded(GRAY, "GIF", save_all=True, append_images=[Image.fromarray(GRAY[::-1].copy())])
    )
)
case("SVG with an external entity called PNG", NO_IMAGE, 1)(
    lambda: pair(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>')
)
case("PDF called PNG", r"set/images/x\.png: a PDF; convert its pages", 1)(
    lambda: pair(b"%PDF-1.7\n" + bytes(500))
)
case("executable called PNG", NO_IMAGE, 1)(lambda: pair(b"\x7fELF" + bytes(500)))
case("TIFF of NaN", r"set/images/x\.png: holds NaN or infinite values; replace them", 1)(
    lambda: pair(encoded(np.full((8, 10), np.nan, np.float32), "TIFF"))
)
case("TIFF of infinite values", r"set/images/x\.png: holds NaN or infinite values", 1)(
    lambda: pair(encoded(np.array([[np.inf, 0.0]] * 8, np.float32), "TIFF"))
)
case("TIFF of a half-precision type", "a TIFF file of 1 channel of 16-bit floats", 1)(
    lambda: pair(
        tiff(
            [
                (256, 3, 1, 2),
                (257, 3, 1, 2),
                (258, 3, 1, 16),
                (262, 3, 1, 1),
                (273, 4, 1, 8),
                (279, 4, 1, 8),
                (339, 3, 1, 3),
            ]
        )
    )  # fmt: skip
)
case("TIFF whose directory points to itself", r"set/images/x\.png: .*; ", 1)(
    lambda: pair(tiff([(256, 3, 1, 2)], next_directory=8))
)
case("TIFF of 4 billion pixels", r"set/images/x\.png: (\d+×\d+ pixels, more|damaged).*; ", 1)(
    lambda: pair(
        tiff(
            [
                (256, 4, 1, 2**16),
                (257, 4, 1, 2**16),
                (258, 3, 1, 8),
                (259, 3, 1, 1),
                (262, 3, 1, 1),
                (273, 4, 1, 8),
                (277, 3, 1, 1),
                (278, 4, 1, 2**16),
                (279, 4, 1, 99),
            ]
        )
    )  # fmt: skip
)
case("TIFF with a tag of 4 billion values", r"set/images/x\.png: damaged.*; ", 1)(
    lambda: pair(tiff([(256, 3, 1, 2), (257, 3, 1, 2), (270, 2, 2**32 - 1, 8)]))
)
case("JPEG of 65,500 by 65,500 pixels", r"set/images/x\.png: .*(limit|damaged).*; ", 1)(
    lambda: pair(encoded(GRAY, "JPEG").replace(b"\x00\x08\x00\x0a\x01", b"\xff\xdc\xff\xdc\x01"))
)
case("BMP of negative width", r"set/images/x\.png: .*; ", 1)(
    lambda: pair(encoded(GRAY, "BMP")[:18] + struct.pack("<i", -9) + encoded(GRAY, "BMP")[22:])
)


@case("PNG with a compressed text of 200 MB", DAMAGED, 1)
def _text_bomb():
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20)))
    return pair(encoded(GRAY, "PNG", pnginfo=info))


@case("folder called like an image", r"x\.png: has no image|no known layout", 1)
def _folder():
    words = pair(None)
    Path("set/images/x.png").mkdir()
    return words


@case("folder given as an image", r"f\.png: holds no image; expected \.png")
def _folder_to_predict():
    Path("f.png").mkdir()
    return ["predict", "natural", "f.png"]


@case("broken link", r"set/images/x\.png: no such file", 1)
def _broken_link():
    words = pair(None)
    Path("set/images/x.png").symlink_to("nowhere.png")
    return words


@case("link to itself", r"set/images/x\.png: cannot be read: Too many.*; check the disk", 1)
def _looping_link():
    words = pair(None)
    Path("set/images/x.png").symlink_to("x.png")
    return words


@case("link to /dev/zero", r"set/images/x\.png: not a regular file; copy its contents", 1)
def _device():
    words = pair(None)
    Path("set/images/x.png").symlink_to("/dev/zero")
    return words


@case("pipe nobody writes to", r"set/images/x\.png: not a regular file; copy its contents", 1)
def _pipe():
    words = pair(None)
    os.mkfifo("set/images/x.png")
    return words


@case("pipe given to predict", r"x\.png: no such file or folder, or not a regular file")
def _pipe_to_predict():
    os.mkfifo("x.png")
    return ["predict", "natural", "x.png"]


@case("file name that is no UTF-8", r"rename (it|them)", 1)
def _undecodable_name():
    return pair(encoded(GRAY), name=os.fsdecode(b"x\xff.png"))


@case("file name with orders to the terminal", r"rename them: 'x\\x1b\[2J'", 1)
def _terminal_name():
    return pair(encoded(GRAY), name="x\x1b[2J.png")


case("predict on broken files only", r"not segmented:\n  a\.png: the file is empty")(
    lambda: [Path("a.png").write_bytes(b"") or "predict", "natural", "a.png", "--output", "out"]
)
case("image that is not there", r"x\.png: has no image", 1)(lambda: pair(None))
case("mask of many values", r"set/masks/x\.png: not a binary mask, it has \d+ different", 1)(
    lambda: pair(encoded(GRAY), encoded(GRAY))
)
case("mask of another size", r"set/masks/x\.png: the mask is 5×8 pixels, .* 10×8", 1)(
    lambda: pair(encoded(GRAY), encoded(OBJECT[:, :5].copy()))
)
case("mask in colors", r"set/masks/x\.png: not a binary mask", 1)(
    lambda: pair(encoded(GRAY), encoded(np.stack([GRAY, GRAY[::-1], OBJECT], -1)))
)
case("mask cut off", r"set/masks/x\.png: damaged.*copy it again", 1)(
    lambda: pair(encoded(GRAY), encoded(OBJECT)[:50])
)
case("mask of fractions", r"set/masks/x\.png: fractions from 0 to 1.*save 0 and 1", 1)(
    lambda: pair(encoded(GRAY), encoded(OBJECT / np.float32(510), "TIFF"))
)
case("mask that is empty", r"warning: .*\n[^\n]*\n.*x", 0)(
    lambda: pair(encoded(GRAY), encoded(OBJECT * 0))
)


@case("several masks of which one has another size", r"x_mask_2\.png: the mask is 3×8", 1)
def _several_masks():
    Path("x.png").write_bytes(encoded(GRAY))
    Path("x_mask_1.png").write_bytes(encoded(OBJECT))
    Path("x_mask_2.png").write_bytes(encoded(OBJECT[:, :3].copy()))
    return ["check", "."]


@case("mask without an image", r"y\.png: has no image", 1)
def _extra_mask():
    words = pair(encoded(GRAY))
    Path("set/masks/y.png").write_bytes(encoded(OBJECT))
    return words


# -- DICOM and NIfTI ------------------------------------------------------------------------------


def dicom(pixels: np.ndarray = GRAY, syntax: str = "", after=None, **elements) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.set_pixel_data(pixels, "MONOCHROME2", 8 * pixels.dtype.itemsize)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    data = io.BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    content = data.getvalue()
    return after(content) if after else content


def of_syntax(uid: bytes) -> Callable[[bytes], bytes]:
    """Exchanges the transfer syntax for another."""
    own = b"1.2.840.10008.1.2.1\0"
    new = uid + b"\0" * (len(uid) % 2)

    def exchange(content: bytes) -> bytes:
        (length,) = struct.unpack_from("<I", content, 140)  # Of the group of file meta elements.
        content = content[:140] + struct.pack("<I", length + len(new) - len(own)) + content[144:]
        old = b"UI" + struct.pack("<H", len(own)) + own
        assert old in content
        return content.replace(old, b"UI" + struct.pack("<H", len(new)) + new)

    return exchange


def scan(make: Callable[[], bytes]) -> Callable[[], list[str]]:
    return lambda: pair(make(), name="x.dcm")


SCAN = r"set/images/x\.dcm: "
RLE = "1.2.840.10008.1.2.5"
for _name, _message, _make in (
    ("cut off", SCAN + "damaged.*; copy it", lambda: dicom()[:-40]),
    ("of its head", SCAN + "a DICOM file without an image; give", lambda: dicom()[:140]),
    ("without pixels", SCAN + ".*; ", lambda: dicom(PixelData=None)),
    ("without rows", SCAN + "a DICOM file without an image.*; give one", lambda: dicom(Rows=None)),
    ("of 65,535 rows and columns", SCAN + "65535×65535 pixels, more than",
     lambda: dicom(Rows=65535, Columns=65535)),
    ("of more rows than stored", SCAN + "damaged.*; copy it", lambda: dicom(Rows=900)),
    ("of no rows", SCAN + "its header states 10×0 pixels; export", lambda: dicom(Rows=0)),
    ("of an unknown transfer syntax", SCAN + "DICOM with video or a rare compression.*; convert",
     lambda: dicom(after=of_syntax(b"1.2.840.99999.1"))),
    ("that is deflated", SCAN + "DICOM with video or a rare compression.*; convert",
     lambda: dicom(after=of_syntax(b"1.2.840.10008.1.2.1.99"))),
    ("with video", SCAN + "DICOM with video or a rare compression.*; convert",
     lambda: dicom(after=of_syntax(b"1.2.840.10008.1.2.4.100"))),
    ("whose run lengths are damaged", SCAN + "damaged.*; copy it",
     lambda: dicom(syntax=RLE, after=lambda c: c[:-60] + bytes([255] * 60))),
    ("of a rare interpretation", SCAN + "DICOM of a rare photometric interpretation; convert",
     lambda: dicom(PhotometricInterpretation="HSV")),
    ("with 13 bits allocated", SCAN + "damaged.*; ", lambda: dicom(BitsAllocated=13)),
    ("of endless slope", SCAN + ".*; ", lambda: dicom(
        RescaleSlope="1e300", RescaleIntercept="0", after=lambda c: c.replace(b"1e300", b"1e999"))),
):  # fmt: skip
    case(f"DICOM {_name}", _message, 1)(scan(_make))
case("DICOM without interpretation", SCAN + "it lacks a PhotometricInterpretation; MONO", 0)(
    scan(lambda: dicom(PhotometricInterpretation=None))
)


@case("DICOM segmentation without frames", r"set/masks/x\.dcm: .*; |x\.dcm: its number", 1)
def _no_frames():
    from pydicom.uid import SegmentationStorage

    words = pair(dicom(), name="x.dcm")
    Path("set/masks/x.png").unlink()
    content = dicom(OBJECT, NumberOfFrames=0, PixelData=b"", SegmentationType="BINARY")
    own, wanted = b"1.2.840.10008.5.1.4.1.1.2\0", SegmentationStorage.encode()
    assert own in content
    Path("set/masks/x.dcm").write_bytes(content.replace(own, wanted[: len(own)], 1))
    return words


@case(
    "loop of two billion frames without masks",
    r"x\.dcm: states that it has 2,147,483,647 frames",
    1,
)
def _many_frames():
    words = table(HEAD + "x.dcm,\n")
    Path("x.dcm").write_bytes(dicom(NumberOfFrames=2**31 - 1))
    return words


@case(
    "loop of 100,000 frames that are not there",
    r"x\.png: its number of frames is 1, that of x\.dcm is 100000; export",
    1,
)
def _endless_loop():
    return pair(dicom(NumberOfFrames=100_000), name="x.dcm")


def nifti(changes: dict[int, bytes] = {}, pixels: np.ndarray = GRAY, affine=None) -> bytes:  # noqa: B006
    import nibabel

    made = nibabel.Nifti1Image(pixels.astype(np.int16), np.eye(4) if affine is None else affine)
    content = bytearray(made.to_bytes())
    for at, piece in changes.items():
        content[at : at + len(piece)] = piece
    return bytes(content)


VOLUME = r"set/images/x\.nii(\.gz)?: "
for _name, _message, _make in (
    ("cut off", VOLUME + "damaged.*; copy it", lambda: nifti()[:-30]),
    ("of its header", VOLUME + "damaged.*; copy it", lambda: nifti()[:348]),
    ("of one axis", VOLUME + "a NIfTI file with fewer than two axes; export",
     lambda: nifti({40: struct.pack("<3h", 1, 80, 1)})),
    ("of negative size", VOLUME + ".*; ", lambda: nifti({42: struct.pack("<2h", -8, -10)})),
    ("of 32,767 by 32,767", VOLUME + "32767×32767 pixels, more than",
     lambda: nifti({42: struct.pack("<2h", 32767, 32767)})),
    ("of 99 axes", VOLUME + ".*; ", lambda: nifti({40: struct.pack("<h", 99)})),
    ("of an unknown type", VOLUME + "damaged.*; ", lambda: nifti({70: struct.pack("<h", 7777)})),
    ("whose data lie beyond its end", VOLUME + "damaged.*; ",
     lambda: nifti({108: struct.pack("<f", 1e9)})),
    ("of NaN orientation", VOLUME + ".*(singular|damaged).*; ",
     lambda: nifti({280: struct.pack("<f", float("nan"))})),
    ("of numbers beyond all bounds", VOLUME + ".*; ",
     lambda: nifti({70: struct.pack("<2h", 16, 32), 352: struct.pack("<f", float("inf"))},
                   np.zeros((8, 20)))),
):  # fmt: skip
    case(f"NIfTI {_name}", _message, 1)(lambda make=_make: pair(make(), name="x.nii"))
case("NIfTI compressed and cut off", VOLUME + "damaged.*; copy it", 1)(
    lambda: pair(gzip.compress(nifti())[:-20], name="x.nii.gz")
)
case("gzip bomb called NIfTI", VOLUME + "not a PNG.*; convert", 1)(
    lambda: pair(gzip.compress(bytes(100 << 20)), name="x.nii.gz")
)
case(
    "NIfTI of many frames without its mask's frames", r"number of frames is 1, .* is 6; export", 1
)(lambda: pair(nifti(pixels=np.zeros((8, 10, 2, 3))), name="x.nii"))


# -- zip files ------------------------------------------------------------------------------------


def unpacking(content: bytes) -> Callable[[], object]:
    from kerasunet.data.archives import unpack

    Path("a.zip").write_bytes(content)
    return lambda: unpack(Path("a.zip"), Path("unpacked"))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.external_attr = name, mode << 16
            entry.compress_type = method
            archive.writestr(entry, content)
    return data.getvalue()


def twice() -> bytes:
    content = zipped({"a.png": b"1", "b.png": b"2"})
    return content.replace(b"b.png", b"a.png")


ELSEWHERE = r"a\.zip: .* leads out of the folder .*nothing was unpacked"
NOT_WHOLE = r"a\.zip: not a complete zip file .*download or pack it again"
for _name, _message, _make in (
    ("that is text", NOT_WHOLE, lambda: b"no zip file"),
    ("that is empty", NOT_WHOLE, lambda: b""),
    ("without files", r"a\.zip: holds no files", lambda: zipped({})),
    ("with ../", ELSEWHERE, lambda: zipped({"../evil.png": b"1"})),
    ("with an absolute path", ELSEWHERE, lambda: zipped({"/tmp/evil.png": b"1"})),
    ("with a drive", ELSEWHERE, lambda: zipped({"C:/evil.png": b"1"})),
    ("with backslashes", ELSEWHERE, lambda: zipped({"a\\..\\..\\evil.png": b"1"})),
    ("with a link", r"a\.zip: 'l' is a link or a device", lambda: zipped(
        {"l": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)),
    ("with a device", r"a\.zip: 'd' is a link or a device", lambda: zipped(
        {"d": b""}, mode=stat.S_IFBLK | 0o777)),
    ("with a name twice", NOT_WHOLE, twice),
    ("whose directory is cut off", NOT_WHOLE, lambda: zipped({"a.png": b"1" * 99})[:-30]),
    ("that says it is encrypted", r"a\.zip: 'a' is encrypted", lambda: zipped({"a": b"1"}).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")),
    ("of a rare method", r"a\.zip: 'a' is compressed in an unsupported way", lambda: zipped(
        {"a": b"1"}, zipfile.ZIP_LZMA)),
    ("of 3 GB of zeros", r"a\.zip: unpacks to more than 2 GB, the limit", lambda: bomb()),
    ("of 30,000 files", r"a\.zip: holds 30,000 files, the limit is 20,000", lambda: zipped(
        {str(n): b"" for n in range(30_000)}, zipfile.ZIP_STORED)),
    ("with NUL in a name", NOT_WHOLE + r"|a\.zip", lambda: zipped({"a\0b": b""})[:-90]),
):  # fmt: skip
    case(f"zip {_name}", _message)(lambda make=_make: unpacking(make()))


def bomb() -> bytes:
    """Three members of a gigabyte, each of the same compressed stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [packer.compress(bytes(1 << 20)) for _ in range(1 << 10)]
    return struct_zip(b"".join(pieces) + packer.flush(), 1 << 30, copies=3)


def struct_zip(stream: bytes, size: int, copies: int) -> bytes:
    checksum = 0
    zeros = bytes(1 << 20)
    for _ in range(size >> 20):
        checksum = zlib.crc32(zeros, checksum)
    body, directory = b"", b""
    for number in range(copies):
        name = f"{number}.png".encode()
        facts = (20, 0, 8, 0, 0, checksum, len(stream), size, len(name), 0)
        place = len(body)
        body += struct.pack("<4s5H3I2H", b"PK\3\4", *facts) + name + stream
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, *facts, 0, 0, 0, 0, place
        ) + name  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, copies, copies, len(directory), len(body), 0)
    return body + directory + end


@case("zip within a zip", r"unpacked: no known layout")
def _nested_zip():
    from kerasunet.data import load

    unpacking(zipped({"inner.zip": zipped({"x.png": encoded(GRAY)})}))()
    return lambda: load("unpacked")


# -- tables ---------------------------------------------------------------------------------------


def table(content: bytes | str, name: str = "t.csv") -> list[str]:
    Path("x.png").write_bytes(encoded(GRAY))
    Path("m.png").write_bytes(encoded(OBJECT))
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return ["check", name]


HEAD = "image,mask\n"
for _name, _message, _content in (
    ("that is empty", r"t\.csv: has no column image, mask, or no rows .*; the columns are", ""),
    ("of a header alone", r"t\.csv: has no column image, mask, or no rows", HEAD),
    ("without a column", r"t\.csv: has no column mask", "image,masks\nx.png,m.png\n"),
    ("with a column twice", r"t\.csv: several columns have the same name: image",
     "image,image,mask\n1,2,3\n"),
    ("with too many cells", r"t\.csv:2: more cells than columns", HEAD + "x.png,m.png,y.png\n"),
    ("with too few cells", r"t\.csv:3: .*image is empty", HEAD + "x.png,m.png\n,m.png\n"),
    ("of Latin-1 text", r"t\.csv: not UTF-8 text .*save it as CSV UTF-8",
     (HEAD + "größe.png,m.png\n").encode("latin-1")),
    ("of UTF-16 text that breaks off", r"t\.csv: not UTF-8 text",
     (HEAD + "x.png,m.png\n").encode("utf-16")[:-1]),
    ("with NUL", r"t\.csv:2: no such file", HEAD + "x\0.png,m.png\n"),
    ("with a formula", r"t\.csv:2: no such file: .*=cmd", HEAD + "=cmd|' /C calc'!A0,m.png\n"),
    ("that leaves its folder", r"t\.csv:2: \.\./x\.png leaves the manifest's folder; give an",
     HEAD + "../x.png,m.png\n"),
    ("of a missing file", r"t\.csv:2: no such file: .*/y\.png", HEAD + "y.png,m.png\n"),
    ("of a password file", r"/etc/passwd: not a PNG.*convert", HEAD + "/etc/passwd,m.png\n"),
    ("with two slashes", r"passwd: not a PNG.*convert", HEAD + "//etc/passwd,m.png\nx.png,m.png\n"),
    ("of a folder", r"t\.csv:2: no such file", HEAD + ".,m.png\n"),
    ("of a name that is too long", r"t\.csv:2: no such file", HEAD + "z" * 300 + ",m.png\n"),
    ("with a row twice", r"t\.csv:3: x\.png has a mask twice", HEAD + "x.png,m.png\n" * 2),
    ("of an unknown part", r"t\.csv:2: split is one of .* not 'exam'",
     "image,mask,split\nx.png,m.png,exam\n"),
    ("with empty groups", r"t\.csv:2: the group is empty", "image,mask,group\nx.png,m.png,\n"),
    ("with a control character", r"t\.csv:2: the group has control characters, 'a\\x07'; remove",
     "image,mask,group\nx.png,m.png,a\x07\n"),
    ("of a million columns", r"t\.csv: 1,000,000 columns, so it is not such a table",
     ",".join(map(str, range(1_000_000))) + "\n"),
    ("with a cell of 200 kB", r"t\.csv:\d+: not a readable table \(field larger",
     HEAD + "x" * 200_000),
    ("with an open quote", r"t\.csv:\d+: ", HEAD + '"x.png,m.png\n' * 3),
):  # fmt: skip
    case(f"manifest {_name}", _message, 1)(lambda content=_content: table(content))
case("manifest of 100 MB", r"t\.csv: larger than 64 MB, so it is not such a table", 1)(
    lambda: table(HEAD + "x.png,m.png\n" * 9_000_000)
)
case("table of groups without keys", r"g\.csv: has no column key, group")(
    lambda: (
        [*table("a,b\n1,2\n", "g.csv")[:0], "finetune", "--data", "simulated-xray:4"]
        + ["--groups", "g.csv"]
    )
)
case("file that is no data set", r"t\.exe: a data set is a folder, a manifest .* COCO file", 1)(
    lambda: table("MZ", "t.exe")
)


# -- JSON: annotations and model cards ------------------------------------------------------------


def labelme(content: str) -> list[str]:
    Path("x.png").write_bytes(encoded(GRAY))
    Path("x.json").write_text(content)
    return ["check", "."]


def shapes(points: object, kind: str = "polygon", **more) -> str:
    return json.dumps({"shapes": [{"shape_type": kind, "points": points, **more}]})


def base64_png(content: bytes) -> str:
    import base64

    return base64.b64encode(content).decode()


for _name, _message, _content in (
    ("that is no JSON", r"x\.json: not a readable JSON file", "{"),
    ("nested 100,000 deep", r"x\.json: not a readable JSON file", "[" * 100_000),
    ("of a list", r"x\.json", "[1, 2]"),
    ("of two points", r"x\.json: shape 1: a polygon has at least three points",
     shapes([[1, 1]] * 2)),
    ("of NaN points", r"x\.json: shape 1: .*finite numbers",
     shapes([[1, 1], [2, 2], [1, float("nan")]])),
    ("of points beyond everything", r"x\.json: shape 1: .*finite numbers, at most",
     shapes([[1, 1], [1e308, 2], [1, -1e308]])),
    ("of whole numbers of 500 digits", r"x\.json: shape 1: ",
     shapes([[1, 1], [2, 10**500], [3, 3]])),
    ("of text for points", r"x\.json: shape 1: ", shapes("points")),
    ("of an endless circle", r"x\.json: shape 1: ", shapes([[0, 0], [1e308, 1e308]], "circle")),
    ("with a mask of 900 million pixels", r"x\.json: shape 1: its mask is not a PNG .* or larger",
     shapes([[0, 0]], "mask", mask=base64_png(png_of_size(30_000, 30_000, b"0" * 99)))),
    ("with a mask that is no base64", r"x\.json: shape 1: its mask is not in base64",
     shapes([[0, 0]], "mask", mask="äh")),
):  # fmt: skip
    case(f"labelme {_name}", _message, 1)(lambda content=_content: labelme(content))
for _name, _message, _content in (
    ("without annotations", r"c\.json: not a COCO file", {"images": []}),
    ("whose image leaves the folder", r"c\.json: image .*passwd: no such file where its path",
     {"images": [{"id": 1, "file_name": "../../etc/passwd", "height": 1, "width": 1}],
      "annotations": []}),
    ("whose image has a name that is too long", r"c\.json: image zz.*: no such file where its path",
     {"images": [{"id": 1, "file_name": "z" * 300, "height": 1, "width": 1}], "annotations": []}),
    ("whose images are numbers", r"c\.json: an image or annotation is incomplete",
     {"images": [1, 2], "annotations": []}),
    ("without images", r"no cases found", {"images": [], "annotations": []}),
):  # fmt: skip
    case(f"COCO {_name}", _message, 1)(
        lambda content=_content: (
            ["check", "c.json"] if Path("c.json").write_text(json.dumps(content)) else []
        )
    )


def card(change: Callable[[dict], object] | bytes) -> list[str]:
    """The card of a shipped model, changed, beside an empty model; the command that shows it."""
    facts = json.loads((models.folder() / "natural.json").read_text(encoding="utf-8"))
    Path("m.keras").touch()
    if isinstance(change, bytes):
        Path("m.json").write_bytes(change)
    else:
        change(facts)
        Path("m.json").write_text(json.dumps(facts))
    return ["models", "--card", "m.keras"]


NO_JSON, NO_CARD = r"m\.json: not a readable JSON file", r"m\.json: not a model card: "
for _name, _message, _change in (
    ("that is no JSON", NO_JSON, b"{]"),
    ("that is empty", NO_JSON, b""),
    ("that is no UTF-8", NO_JSON, b'{"name": "\xff"}'),
    ("nested 100,000 deep", NO_JSON + r" \(nested too deeply\)", b'{"a":' * 100_000),
    ("of 5 MB", r"m\.json: larger than 4 MB, so it is not a model card; restore", b" " * (5 << 20)),
    ("that is a list", NO_CARD + "the card is not an object", b"[]"),
    ("without anything", NO_CARD + ".*restore it from its source", b"{}"),
    ("of a number of 5,000 digits", NO_JSON, b'{"name": ' + b"9" * 5000 + b"}"),
    ("of a text for a threshold", NO_CARD + "threshold is not a number of 0 to 1",
     lambda facts: facts.update(threshold="half")),
    ("of a NaN threshold", NO_CARD + "threshold",
     lambda facts: facts.update(threshold=float("nan"))),
    ("of a threshold of 7", NO_CARD + "threshold", lambda facts: facts.update(threshold=7)),
    ("of an image size of a million", NO_CARD + "image_size is not a whole number of 1 to 2,048",
     lambda facts: facts.update(image_size=10**6)),
    ("of a negative image size", NO_CARD + "image_size", lambda facts: facts.update(image_size=-1)),
    ("of 99 levels", NO_CARD + "architecture.depth is not a whole number of 1 to 8",
     lambda facts: facts["architecture"].update(depth=99)),
    ("of an unknown normalization", NO_CARD + "architecture.normalization",
     lambda facts: facts["architecture"].update(normalization=["batch"])),
    ("without an architecture", NO_CARD + "architecture", lambda facts: facts.pop("architecture")),
    ("without metrics", NO_CARD + "metrics", lambda facts: facts.pop("metrics")),
    ("of a metric that is text", NO_CARD + "metrics.dice.mean is not a number",
     lambda facts: facts["metrics"]["dice"].update(mean="good")),
    ("whose name is a path", NO_CARD + "name is not a file name without a folder",
     lambda facts: facts.update(name="../../evil")),
    ("with orders to the terminal", NO_CARD + "title is not text without control characters",
     lambda facts: facts.update(title="\x1b[2J")),
    ("of half a character", NO_CARD + "title", lambda facts: facts.update(title="\ud800")),
    ("of a wrong digest", NO_CARD + "sha256 is not a SHA-256 digest",
     lambda facts: facts.update(sha256="0")),
    ("whose evaluations are text", NO_CARD + "evaluations is not a list",
     lambda facts: facts.update(evaluations="none")),
):  # fmt: skip
    case(f"card {_name}", _message)(lambda change=_change: card(change))


@case("model that is not the one of its card", r"m\.keras: is not the file that m\.json describes")
def _other_digest():
    card(lambda facts: None)
    Path("m.keras").write_bytes(b"something else")
    return ["predict", "m.keras", "x.png"]


# -- model files ----------------------------------------------------------------------------------


def model(change: Callable[[dict[str, bytes]], object] = lambda members: None) -> bytes:
    """The members of a shipped model, changed, as a `.keras` file."""
    with zipfile.ZipFile(models.folder() / "ultrasound-auto.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    return zipped(members, zipfile.ZIP_STORED)


def checking(content: bytes) -> Callable[[], object]:
    Path("m.keras").write_bytes(content)
    return lambda: models.load("m.keras")


def network(change: Callable[[dict], object]) -> Callable[[dict[str, bytes]], None]:
    """Changes the configuration among the members of a model file."""

    def apply(members: dict[str, bytes]) -> None:
        facts = json.loads(members["config.json"])
        change(facts)
        members["config.json"] = json.dumps(facts).encode()

    return apply


def layer(change: Callable[[dict], object], kind: str = "Conv2D") -> Callable:
    def apply(facts: dict) -> None:
        change(next(one for one in facts["config"]["layers"] if one["class_name"] == kind))

    return network(apply)


def weights(write: Callable[[h5py.File], object]) -> Callable[[dict[str, bytes]], None]:
    """Puts an HDF5 file in the place of a model's weights."""

    def apply(members: dict[str, bytes]) -> None:
        data = io.BytesIO()
        with h5py.File(data, "w") as file:
            write(file)
        members["model.weights.h5"] = data.getvalue()

    return apply


KERAS = r"m\.keras: "
ONLY = KERAS + r"a model file holds config\.json, metadata\.json.*nothing else; this one holds "
OTHER_CLASS = KERAS + r"it has a layer of the class .*; only these of Keras are opened: InputLayer"
for _name, _message, _make in (
    ("that is text", KERAS + r"not a complete \.keras file .*copy it again", lambda: b"nothing"),
    ("that is empty", KERAS + r"not a complete \.keras file", lambda: b""),
    ("cut off", KERAS + r"not a complete \.keras file", lambda: model()[:-500]),
    ("that is an HDF5 file", KERAS + r"not a complete \.keras file", lambda: hdf5(lambda f: None)),
    ("without weights", ONLY, lambda: model(lambda m: m.pop("model.weights.h5"))),
    ("without a configuration", ONLY, lambda: model(lambda m: m.pop("config.json"))),
    ("with assets", ONLY, lambda: model(lambda m: m.update({"assets/vocabulary.txt": b"x"}))),
    ("with ../", ONLY, lambda: model(lambda m: m.update({"../evil.py": b"x"}))),
    ("with a member twice", ONLY, lambda: model(
        lambda m: m.update({"config.jsox": b"{}"})).replace(b"config.jsox", b"config.json")),
    ("whose configuration is no JSON", KERAS + r"its config\.json is not readable JSON",
     lambda: model(lambda m: m.update({"config.json": b"{"}))),
    ("whose configuration is nested deep", KERAS + r"its config\.json is not readable JSON",
     lambda: model(lambda m: m.update({"config.json": b"[" * 100_000}))),
    ("whose configuration is a list", KERAS + r"its config\.json does not describe a network",
     lambda: model(lambda m: m.update({"config.json": b"[]"}))),
    ("whose configuration has 9 MB", KERAS + r"its config\.json has .* more than the limit",
     lambda: model(lambda m: m.update({"config.json": b" " * (9 << 20)}))),
    ("of a billion filters", KERAS + "a layer has filters 1000000000, beyond",
     lambda: model(layer(lambda one: one["config"].update(filters=10**9)))),
    ("of more filters than weights", KERAS + r"a \w+ states a different input|its layers",
     lambda: model(layer(lambda one: one["config"].update(filters=60_000)))),
    ("that states another input", KERAS + "a Conv2D states a different input from the one",
     lambda: model(layer(lambda one: one["build_config"].update(input_shape=[None, 9, 9, 10**9])))),
    ("of a class of its own", OTHER_CLASS,
     lambda: model(layer(lambda one: one.update(module="mine", class_name="Mine")))),
    ("whose weights are no HDF5", KERAS + "its weights are damaged HDF5 .*copy it again",
     lambda: model(lambda m: m.update({"model.weights.h5": b"nothing"}))),
    ("whose weights are cut off", KERAS + "its weights are damaged HDF5",
     lambda: model(lambda m: m.update({"model.weights.h5": m["model.weights.h5"][:5000]}))),
    ("without numbers", KERAS + "its layers have .* weights, but the file holds 0 numbers",
     lambda: model(weights(lambda file: None))),
):  # fmt: skip
    case(f"model {_name}", _message)(lambda make=_make: checking(make()))


def hdf5(write: Callable[[h5py.File], object]) -> bytes:
    members: dict[str, bytes] = {}
    weights(write)(members)
    return members["model.weights.h5"]


@case("model that is a pipe", r"m\.keras: neither a registered model nor a \.keras file")
def _model_pipe():
    os.mkfifo("m.keras")
    return ["predict", "m.keras", "x.png"]


@case("model that is a folder", r"m\.keras: neither a registered model nor a \.keras file")
def _model_folder():
    Path("m.keras").mkdir()
    return ["evaluate", "m.keras", "--data", "simulated-xray:2"]


@case("old whole-model HDF5 file", r"m\.h5: neither a registered model nor a \.keras file")
def _old_format():
    Path("m.h5").write_bytes(hdf5(lambda file: file.attrs.update(model_config="{}")))
    return ["predict", "m.h5", "x.png"]


# -- command lines --------------------------------------------------------------------------------

TINY = ["--data", "simulated-xray:8", "--train-size", "2", "--validation-size", "1"]
for _words, _message in (
    ("finetune --steps -1", r"--steps -1: give a whole number of 1 to"),
    ("finetune --steps 1e3", r"argument --steps: invalid int value: '1e3'"),
    ("finetune --steps 99999999999999999999", r"--steps 99999999999999999999: give a whole number"),
    ("finetune --learning-rate nan", r"--learning-rate nan: give a finite number"),
    ("finetune --learning-rate inf", r"--learning-rate inf: give a finite number"),
    ("finetune --learning-rate -1", r"--learning-rate must be above 0, not -1"),
    ("finetune --clip-norm nan", r"--clip-norm nan: give a finite number"),
    ("finetune --threshold nan", r"--threshold nan: give a finite number"),
    ("finetune --threshold 5", r"--threshold must be between 0 and 1, not 5"),
    ("finetune --image-size 99999", r"--image-size 99999: give a whole number of 16 to 2,048"),
    ("finetune --image-size -8", r"--image-size -8: give a whole number of 16 to 2,048"),
    ("finetune --depth 60 --init scratch", r"--depth 60: give a whole number of 1 to 8"),
    ("finetune --base-filters 512 --depth 8 --init scratch", r"more than 2,048 filters"),
    ("finetune --folds 0", r"--folds 0: give a whole number of 2 to 1,000"),
    ("finetune --seed -1", r"--seed -1: give a whole number"),
    ("finetune --train-size 0", r"--train-size 0: give a whole number of at least 1, or all"),
    ("finetune --train-size ２x", r"--train-size ２x: give a whole number"),
    ("finetune --layers ''", "the value is empty"),
    ("finetune --layers ../../etc/passwd", r"unexpected '\.' at position 1"),
    ("finetune --layers 皿:3", r"unexpected '皿' at position 1"),
    ("finetune --layers " + "(" * 900, r"expected a strategy"),
    ("finetune --layers " + "a" * 5000, r"a strategy has at most 1000 characters, got 5000"),
    ("finetune --save-as ../evil", r"'\.\./evil' is not a valid model name"),
    ("finetune --save-as ''", "the value is empty"),
    ("finetune --init nowhere.keras", r"nowhere\.keras: neither a registered model"),
    ("finetune --init hf://evil", r"hf://evil: not an address of a model"),
    ("finetune --init https://example.org/m.keras", r"https://.*: neither a registered model"),
    ("finetune --data ''", "the value is empty"),
    ("finetune --data simulated-xray:-3", r"simulated-xray:-3: the number of cases must be"),
    ("finetune --data simulated-xray:1e9", r"the number of cases must be a whole number"),
    ("finetune --data simulated-xray:99999999", r"at most 100,000"),
    ("finetune --data simulated-xray:9999999999999", r"the number of cases must be"),
    ("finetune --data " + "d" * 5000, r"d: File name too long; give a shorter name"),
    ("finetune --division nonsense --data simulated-xray:8", r"nonsense"),
    ("finetune --labels nonsense --data simulated-xray:8", r"nonsense: .* has the labels none"),
    ("finetune --output afile", r"afile: is a file; give a folder"),
    (
        "finetune --output afile/run",
        r"afile: is a file, so nothing can be written below it; choose",
    ),
    ("pretrain --output afile", r"afile: is a file; give a folder"),
    ("pretrain --save-as a/b", r"'a/b' is not a valid model name"),
    ("pretrain --init nonsense", r"nonsense: neither a registered model"),
    (
        "evaluate natural --data simulated-xray:2 --threshold -1",
        r"threshold must be between 0 and 1",
    ),
    ("evaluate natural --data simulated-xray:2 --image-size 0", r"--image-size 0: give a whole"),
    (
        "evaluate natural --data simulated-xray:2 --csv .",
        r"\.: is a folder; give the name of a file",
    ),
    ("evaluate natural --data afile", r"afile: a data set is a folder, a manifest"),
    ("predict natural afile --tile 99999999", r"--tile 99999999: give a whole number"),
    ("predict natural afile --tile 17", r"tile must be a multiple of 16 for this model, not 17"),
    ("predict natural afile --overlap 9", r"overlap 9 needs tiles"),
    ("predict natural afile --engine cuda", r"engine must be one of auto, .*, not 'cuda'"),
    ("predict natural afile --output afile", r"afile: is a file; give a folder"),
    ("predict natural afile", r"not segmented:\n  afile: (not a PNG|the file).*; "),
    ("export natural --format exe", r"format must be one of .*, not 'exe'"),
    ("export natural --format onnx --images -1", r"--images -1: give a whole number"),
    ("export natural --format onnx --output here", r"here: the name of this format's file ends in"),
    ("study --strategies nonsense --data simulated-xray:9", r"nonsense: no block or layer"),
    ("study --seeds 0", r"--seeds 0: give a whole number"),
    ("study --train-sizes 0", r"--train-sizes 0: give a whole number"),
    ("study --lr-search nan", r"--lr-search nan: give a finite number"),
    ("study --init nonsense", r"nonsense: neither a registered model"),
    ("claims nowhere", r"nowhere"),
    ("claims .", r"\."),
    ("report nowhere", r"nowhere"),
    (
        "compare nowhere",
        r"nowhere: has no summary\.json, so it is not a finished run; finish it",
    ),
    ("show --count 0 --sheet s.png", r"--count 0: give a whole number"),
    ("show --layers all --model nonsense", r"nonsense: neither a registered model"),
    ("panel --data simulated-xray:4 --models nonsense", r"nonsense: neither a registered model"),
    ("panel --data nowhere --models natural", r"nowhere: not a folder, a file or a data set"),
    ("models --card nonsense", r"nonsense: neither a registered model"),
    ("models --card ../../../etc/passwd", r"neither a registered model"),
    ("demo --port 99999999", r"--port 99999999: give a whole number of 1 to 65,535"),
    ("check nowhere", r"nowhere: not a folder"),
    ("frobnicate", r"frobnicate: no such verb"),
):
    case(f"words {_words[:60]}", _message)(
        lambda words=_words: Path("afile").write_bytes(b"text") and _split(words)
    )


def _split(words: str) -> list[str]:
    return ["" if word == "''" else word for word in words.split(" ")]


# -- calls from Python ----------------------------------------------------------------------------


def pixels(array: object) -> Callable[[], object]:
    def call() -> object:
        from kerasunet.inference.segmenter import pixels_of

        return pixels_of(array)

    return call


SHAPE = r"an image must have the shape \(height, width\) or \(height, width, 3\), not "
for _name, _message, _array in (
    ("of one axis", SHAPE + r"\(9,\)", np.zeros(9)),
    ("of four axes", SHAPE, np.zeros((1, 8, 8, 1))),
    ("of seven channels", SHAPE, np.zeros((8, 8, 7))),
    ("without pixels", SHAPE + r"\(0, 8\)", np.zeros((0, 8))),
    ("of NaN", "an image holds NaN or infinite values; replace", np.full((8, 8), np.nan)),
    ("with masked pixels", "an image has masked pixels", np.ma.masked_less(np.eye(8), 1)),
    ("of infinite values", "an image holds NaN or infinite", np.full((8, 8), np.inf)),
    ("of doubles beyond single precision", "an image holds NaN or inf", np.full((8, 8), 1e300)),
    ("of text", "an image must hold numbers, .* not <U1", np.full((8, 8), "x")),
    ("of objects", "an image must hold numbers, .* not object", np.full((8, 8), None)),
    ("of complex numbers", "an image must hold numbers, .* not complex", np.zeros((8, 8), complex)),
    ("that is a missing file", r"nowhere\.png: no such file", "nowhere.png"),
    ("that is a number", "", 7),
    ("that is nothing", "", None),
):
    case(f"array {_name}", _message)(lambda array=_array: pixels(array))


def calling(name: str, *arguments: object, **options: object) -> Callable[[], object]:
    def call() -> object:
        import kerasunet

        found = kerasunet
        for part in name.split("."):
            found = getattr(found, part)
        return found(*arguments, **options)

    return call


for _name, _message, _call in (
    ("Segmenter of nothing", "neither a registered", calling("Segmenter", "")),
    ("Segmenter of a NaN threshold", "threshold must be between 0 and 1, not nan",
     calling("Segmenter", "natural", float("nan"))),
    ("Segmenter of an unknown engine", "engine must be one of", calling(
        "Segmenter", "natural", engine="x")),
    ("Segmenter of negative tiles", "tile must be a multiple of 16", calling(
        "Segmenter", "natural", tile=-16)),
    ("SideBySide of nothing", "give at least one model to compare", calling("SideBySide", [])),
    ("SideBySide of an unknown model", "x: neither a registered", calling("SideBySide", ["x"])),
    ("read_image of a NUL", "", calling("data.read_image", "a\0b.png")),
    ("load of a number", "", calling("data.load", 7)),
    ("load of an unknown table of groups", "g.csv: no such file", calling(
        "data.load", "simulated-xray:4", groups="g.csv")),
    ("parse of a control character", r"unexpected '\\x00' at position 1", calling(
        "strategies.parse", "\0")),
    ("models.load of a path without a file", "nowhere.keras: neither", calling(
        "models.load", "nowhere.keras")),
):  # fmt: skip
    case(f"call: {_name}", _message)(lambda call=_call: call)


@case("call: models.card of a model that has none", r"m\.json: this model has no card; copy")
def _no_card():
    Path("m.keras").touch()
    return lambda: models.card("m.keras")

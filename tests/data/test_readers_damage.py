"""Damaged files: read as if whole or refused, in one line, without a word from the decoders."""

import contextlib
import gzip
import importlib
import importlib.util
import io
import os
import re
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, PngImagePlugin

from kerasunet.data.readers import read_image, read_mask_values
from kerasunet.data.readers.source import heard_native_code, quiet
from kerasunet.files import FileWarning

pytestmark = pytest.mark.filterwarnings("error", "ignore::kerasunet.files.FileWarning")

RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 256, (31, 45), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (31, 45, 3), dtype=np.uint8)


# -- own data: small valid files ------------------------------------------------------------------


def encoded(pixels, kind, **options):
    data = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(data, kind, **options)
    return data.getvalue()


def palette_picture():
    picture = Image.fromarray(NOISE % 16)
    picture.putpalette(list(range(48)))
    return picture


def oriented():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return exif


def with_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 50, zip=True)
    return info


def dicom_files():
    """An uncompressed, a run-length encoded and a JPEG file, where pydicom is installed."""
    if importlib.util.find_spec("pydicom") is None:
        return {}
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

    def saved(syntax):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, "1.2.3"
        ds.PixelSpacing, ds.WindowCenter, ds.WindowWidth = [0.3, 0.2], [100, 50], [200, 90]
        gray = syntax != JPEGBaseline8Bit
        ds.set_pixel_data(NOISE if gray else COLOR, "MONOCHROME2" if gray else "RGB", 8)
        if syntax == RLELossless:
            ds.compress(RLELossless, encoding_plugin="pydicom")
        elif syntax == JPEGBaseline8Bit:
            ds.file_meta.TransferSyntaxUID = syntax
            ds.PhotometricInterpretation = "YBR_FULL_422"
            ds.PixelData = encapsulate([encoded(COLOR, "JPEG")])
            ds["PixelData"].is_undefined_length = True
        data = io.BytesIO()
        ds.save_as(data, enforce_file_format=True)
        return data.getvalue()

    syntaxes = (ExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit)
    return {f"dicom {syntax.name}": saved(syntax) for syntax in syntaxes}


def nifti_files():
    """A plain and a compressed file, where nibabel is installed."""
    if importlib.util.find_spec("nibabel") is None:
        return {}
    import nibabel

    content = nibabel.Nifti1Image(NOISE.astype(np.int16), np.diag([-0.2, -0.3, 1, 1])).to_bytes()
    return {"nifti": content, "nifti gz": gzip.compress(content)}


WIDE = NOISE.astype(np.uint16) * 200
VALID = {
    "png gray": encoded(NOISE, "PNG"),
    "png color": encoded(COLOR, "PNG", pnginfo=with_text(), exif=oriented(), dpi=(72, 72)),
    "png palette": encoded(palette_picture(), "PNG", transparency=3),
    "png one bit": encoded(NOISE > 99, "PNG"),
    "png 16 bit": encoded(WIDE, "PNG"),
    "jpeg": encoded(COLOR, "JPEG"),
    "jpeg gray": encoded(NOISE, "JPEG", exif=oriented()),
    "jpeg progressive": encoded(COLOR, "JPEG", progressive=True),
    "jpeg cmyk": encoded(Image.fromarray(COLOR).convert("CMYK"), "JPEG"),
    "bmp": encoded(COLOR, "BMP"),
    "bmp palette": encoded(palette_picture(), "BMP"),
    "tiff": encoded(COLOR, "TIFF"),
    "tiff lzw": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "tiff deflate": encoded(WIDE, "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": encoded(COLOR, "TIFF", compression="jpeg"),
    "tiff fax": encoded(NOISE > 99, "TIFF", compression="group4"),
    "tiff float": encoded(NOISE.astype(np.float32), "TIFF"),
    **dicom_files(),
    **nifti_files(),
}


def outcome(path, content, reader):
    """The pixels, or `None` where the file is refused as it should be: in one line, by name."""
    path.write_bytes(content)
    try:
        result = reader(path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert error.__cause__ is None and error.__suppress_context__
        return None
    pixels = result[0] if reader is read_image else result
    assert pixels.ndim == 2 or pixels.shape[2:] == (3,)
    assert np.isfinite(pixels).all()
    return pixels


def read_both(path, content):
    return [outcome(path, content, reader) for reader in (read_image, read_mask_values)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "x.png"


# -- truncation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALID)
def test_truncated_files_are_refused(path, name, capfd):
    """Cut anywhere, a file gives an error, or all of its pixels where only trailing bytes went."""
    content = VALID[name]
    whole = outcome(path, content, read_image)
    assert whole is not None
    for length in {*range(1, len(content), max(1, len(content) // 60)), len(content) - 1}:
        part = outcome(path, content[:length], read_image)
        if part is not None:
            assert length > len(content) / 3
            np.testing.assert_array_equal(part, whole)
    assert capfd.readouterr() == ("", "")


def test_half_a_photograph_is_named_with_cause_and_remedy(path):
    path.write_bytes(VALID["jpeg"][: len(VALID["jpeg"]) // 2])
    with pytest.raises(ValueError, match=r"x\.png: damaged, cut off or of a rare .*copy it again"):
        read_image(path)


def test_trailing_bytes_do_not_matter(path):
    for name, content in VALID.items():
        whole = outcome(path, content, read_image)
        np.testing.assert_array_equal(outcome(path, content + b"trailer", read_image), whole, name)


# -- damage that decoders pass over ---------------------------------------------------------------

BLOB = np.zeros((300, 300), np.uint8)
BLOB[60:200, 80:220] = 255


def changed(content, at, new):
    return content[:at] + new + content[at + len(new) :]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_checksum_that_does_not_fit_is_told(path, kind):
    """Decoders that need no checksum show a wrong mask: Pillow does, of one changed bit."""
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    content = encoded(BLOB, kind, **options)
    picture = Image.open(io.BytesIO(content))
    tiff = getattr(picture, "tag_v2", {273: [60], 279: [len(content) - 100]})
    silent = 0
    for at in range(tiff[273][0], tiff[273][0] + tiff[279][0]):
        bad = changed(content, at, bytes([content[at] ^ 16]))
        found = outcome(path, bad, read_mask_values)
        assert found is None or np.array_equal(found, BLOB)
        try:
            silent += not np.array_equal(Image.open(io.BytesIO(bad)), BLOB)
        except (OSError, SyntaxError, ValueError):
            continue
    assert silent


def test_zeros_instead_of_the_rest_are_told(path):
    content = encoded(BLOB, "PNG")
    path.write_bytes(content[:200] + bytes(len(content) - 200))
    with pytest.raises(
        ValueError, match="damaged: a checksum does not fit.*copy or export it again"
    ):
        read_mask_values(path)


@pytest.mark.parametrize("reader", [read_image, read_mask_values])
def test_a_photograph_of_which_only_the_upper_half_is_there_is_told(path, reader):
    content = encoded(NOISE, "JPEG")
    path.write_bytes(content[: len(content) * 2 // 3] + b"\xff\xd9")
    with pytest.raises(ValueError, match="damaged: its JPEG data break off.*save it as PNG"):
        reader(path)


def test_bytes_too_many_in_a_photograph_are_named_and_refused_in_a_mask(path, capfd):
    content = encoded(NOISE, "JPEG")
    path.write_bytes(content[:-2] + bytes(40) + content[-2:])
    with pytest.warns(FileWarning, match="its JPEG data hold more than its pixels"):
        image = read_image(path)[0]
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(content))))
    with pytest.raises(ValueError, match="damaged: its JPEG data do not fit together"):
        read_mask_values(path)
    assert capfd.readouterr() == ("", "")


def test_what_others_print_while_a_photograph_is_checked_is_passed_on(capfd):
    with heard_native_code(re.compile("mine")) as heard:
        os.write(2, b"mine\nof another thread\n")
    assert heard == ["mine\n"]
    assert capfd.readouterr().err == "of another thread\n"


def picture_that_is_damaged(path):
    content = encoded(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw")
    path.write_bytes(content[:20] + bytes(255 - value for value in content[20:60]) + content[60:])


def volume_that_breaks_off(path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(NOISE[None]), str(path))
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damaged", "name", "decoder"),
    [
        (picture_that_is_damaged, "a.tif", "PIL.TiffImagePlugin.TiffImageFile.load"),
        (volume_that_breaks_off, "a.mha", "SimpleITK.ImageFileReader.ReadImageInformation"),
    ],
)
def test_what_other_threads_print_while_a_library_fails_is_passed_on(
    tmp_path, capfd, monkeypatch, damaged, name, decoder
):
    damaged(tmp_path / name)
    module, kind, method = decoder.rsplit(".", 2)
    library = getattr(importlib.import_module(module), kind)
    decode = getattr(library, method)

    def decode_beside_another_thread(self):
        other = threading.Thread(target=os.write, args=(2, b"of another thread\n"))
        other.start()
        other.join()
        return decode(self)

    monkeypatch.setattr(library, method, decode_beside_another_thread)
    with contextlib.suppress(ValueError):
        read_image(tmp_path / name, frame=0)
    assert set(capfd.readouterr().err.splitlines()) == {"of another thread"}


def test_what_others_warn_of_while_a_library_is_silent_is_passed_on():
    with quiet("pydicom"), pytest.warns(UserWarning, match="of another thread"):
        warnings.warn("of another thread", stacklevel=1)


def test_a_photograph_is_read_where_there_is_no_place_for_temporary_files(path, monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    content = encoded(NOISE, "JPEG")
    found = outcome(path, content, read_image)
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(content))))


def test_a_jpeg_frame_of_dicom_that_breaks_off_is_told(path):
    pytest.importorskip("pydicom")
    content = VALID["dicom JPEG Baseline (Process 1)"]
    end = content.rindex(b"\xff\xd9")
    path.write_bytes(changed(content, end - 60, b"\xff\xd9".ljust(60, b"\0")))
    with pytest.raises(ValueError, match="damaged: its JPEG data break off"):
        read_image(path)


# -- bytes changed --------------------------------------------------------------------------------


@st.composite
def damaged(draw):
    """A valid file in which some bytes are replaced, taken out or put in, and the end is lost."""
    content = bytearray(VALID[draw(st.sampled_from(sorted(VALID)))])
    near_the_start = st.integers(0, min(200, len(content) - 1))
    anywhere = st.integers(0, len(content) - 1)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(near_the_start | anywhere)
        piece = draw(st.binary(max_size=4) | st.sampled_from([b"\xff\xff", b"\x00\x00\x00\x00"]))
        content[at : at + draw(st.integers(0, 4))] = piece
    return bytes(content[: draw(st.just(len(content)) | anywhere)])


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(damaged())
def test_damaged_files_are_read_or_refused(path, content):
    read_both(path, content)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(VALID)), st.binary(max_size=400))
def test_noise_behind_a_signature_is_refused(path, name, noise):
    read_both(path, VALID[name][:12] + noise)


def test_damage_is_not_talked_about(path, capfd, caplog):
    rng = np.random.default_rng(0)
    for content in VALID.values():
        for _ in range(10):
            changed = bytearray(content)
            for at in rng.integers(len(changed), size=3):
                changed[at] = rng.integers(256)
            read_both(path, bytes(changed))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("JPEG-lossy.dcm", "JPEG of 12 bits"),
        ("JPEG-LL.dcm", "lossless JPEG"),
        ("JPEGLSNearLossless_08.dcm", "JPEG-LS"),
    ],
)
def test_rare_kinds_of_jpeg_are_named(path, name, words):
    pydicom = pytest.importorskip("pydicom")
    header = pydicom.dcmread(pydicom.data.get_testdata_file(name))
    (frame,) = pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1)
    path.write_bytes(frame)
    with pytest.raises(ValueError, match=f": {words}, which is not read as a picture; convert it"):
        read_image(path)


def test_fragments_of_an_odd_length(path):
    """A length may be odd, but a byte of padding that it does not count misplaces the next one."""
    pytest.importorskip("pydicom")
    content = dicom_files()["dicom JPEG Baseline (Process 1)"]
    start = content.index(b"\xe0\x7f\x10\x00OB") + 12
    frame = encoded(COLOR, "JPEG")
    frame += b"\0" * (len(frame) % 2 == 0)
    first, second = frame[:101], frame[101:]

    def item(part, padding=b"", tag=b"\xfe\xff\x00\xe0"):
        return tag + len(part).to_bytes(4, "little") + part + padding

    end = item(b"", tag=b"\xfe\xff\xdd\xe0")
    path.write_bytes(content)
    wanted = read_image(path)[0]
    path.write_bytes(content[:start] + item(b"") + item(first) + item(second) + end)
    np.testing.assert_array_equal(read_image(path)[0], wanted)
    path.write_bytes(content[:start] + item(b"") + item(first, b"\0") + item(second) + end)
    with pytest.raises(ValueError, match="fragments of its compressed pixels are not as long"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\n<html>", "a web page"),
        (bytes(5000), "only zeros at its start, as of a failed copy or bare voxels"),
        (bytes(5000) + b"voxels", "only zeros at its start, as of a failed copy or bare voxels"),
        (b"\x5c\x01".ljust(344, b"\0") + b"ni1\0", "a header of NIfTI whose voxels are in another"),
        (encoded(NOISE, "JPEG2000"), "JPEG 2000; convert"),
        (encoded(NOISE, "AVIF"), "HEIC or AVIF; convert"),
        (encoded(NOISE, "PPM"), "Netpbm"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_what_else_was_renamed_or_downloaded_is_named(path, content, words):
    path.write_bytes(content)
    for read in (read_image, read_mask_values):
        with pytest.raises(ValueError, match=words):
            read(path)

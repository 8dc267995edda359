"""Names in image files reach no output: planted wherever there may be any, looked for everywhere.

The cases lie in a folder whose path must not leave the machine either. File names of cases are
their keys and do appear.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from helpers.images import disc_images
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage

from kerasunet.cli import main

NAME, PLACE = "Zzplantedzz", "Qqplaceqq"
_OF_THE_PROTOCOL = (0x0000, 0x0002)
_WORDS = {"PN": f"{NAME}^Nn", **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC"), NAME)}
_DATES = {"DA": "19110203", "TM": "040506", "DT": "19110203040506", "AS": "099Y"}
PLANTED = {**_WORDS, **_DATES}
SIZE = 32


def personal_elements() -> dict[str, str]:
    """Every element of the standard's dictionary that can hold words or dates, and what is put."""
    return {
        keyword: PLANTED[vr]
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items()
        if vr in PLANTED and keyword and not retired and tag >> 16 not in _OF_THE_PROTOCOL
    }


def dicom(pixels: np.ndarray, path: Path) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundImageStorage, "1.2.3"
    for keyword, value in personal_elements().items():
        setattr(dataset, keyword, value)
    inner = Dataset()
    inner.PatientName, inner.ImageComments = f"{NAME}^Inner", NAME
    dataset.OtherPatientIDsSequence = Sequence([inner])
    dataset.private_block(0x4321, NAME, create=True).add_new(1, "LO", NAME)
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.set_pixel_data(pixels, "MONOCHROME2", 8)
    dataset.save_as(path, enforce_file_format=True)


def exif() -> Image.Exif:
    tags = Image.Exif()
    for tag in (0x010E, 0x010F, 0x013B, 0x8298, 0xA430):  # Description, make, artist, rights, owner
        tags[tag] = NAME
    tags[0x9C9D] = f"{NAME}\0".encode("utf-16-le")  # Author, as Windows writes it
    return tags


def png(pixels: np.ndarray, path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Patient", NAME)
    info.add_text("Comment", NAME, zip=True)
    info.add_itxt("Author", NAME)
    Image.fromarray(pixels).save(path, pnginfo=info, exif=exif())


def jpeg(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, "JPEG", exif=exif(), comment=NAME.encode(), quality=95)


def tiff(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, tiffinfo={270: NAME, 315: NAME, 33432: NAME})


def nifti(pixels: np.ndarray, path: Path) -> None:
    image = nibabel.Nifti1Image(pixels.T.astype(np.int16), np.diag([-0.5, -0.5, 1, 1]))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = NAME[:10].encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", NAME.encode()))
    nibabel.save(image, path)


WRITERS = {"dcm": dicom, "png": png, "jpg": jpeg, "tif": tiff, "nii": nifti, "nii.gz": nifti}


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    """Twelve cases, two of each kind of file; a mask is broken on request of a test only."""
    folder = tmp_path_factory.mktemp("home") / PLACE / "set"
    images, masks = disc_images(12, SIZE)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, suffix in enumerate([*WRITERS] * 2):
        WRITERS[suffix](images[number], folder / "images" / f"case{number}.{suffix}")
        png(masks[number].astype(np.uint8) * 255, folder / "masks" / f"case{number}.png")
    return folder


def planted_in(folder: Path) -> int:
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return sum(NAME[:10].encode() in content for content in contents)


def test_names_are_really_planted(cases):
    assert len(personal_elements()) > 700
    assert planted_in(cases / "images") >= 10
    assert planted_in(cases / "masks") == 12


# -- looking for them -----------------------------------------------------------------------------


def contents(path: Path) -> dict[str, bytes]:
    """What a file holds, and what is packed in it: members of zips, pictures in pages."""
    found = {str(path): path.read_bytes()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found |= {f"{path}/{name}": archive.read(name) for name in archive.namelist()}
    for number, text in enumerate(re.findall(rb"base64,([A-Za-z0-9+/=]+)", found[str(path)])):
        found[f"{path}#{number}"] = base64.b64decode(text)
    return found


def assert_clean(*places: Path, said: str = "", paths: bool = True) -> int:
    """No planted word in any file, nor the folder of the cases; returns the number of files."""
    words = [NAME[:10], "19110203", *([PLACE] if paths else [])]
    files = [path for place in places for path in [place, *place.rglob("*")] if path.is_file()]
    everything = {name: data for path in files for name, data in contents(path).items()}
    for name, content in everything.items():
        for word in words:
            for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                assert word.encode(encoding) not in content, f"{word} in {name}"
        if content.startswith(b"\x89PNG"):
            assert not set(chunks(content)) & {b"tEXt", b"zTXt", b"iTXt", b"eXIf"}, name
        assert b"Exif" not in content[:64], name
    assert NAME[:10].lower() not in said.lower()
    return len(files)


def chunks(content: bytes) -> list[bytes]:
    """The names of a PNG file's chunks."""
    names, at = [], 8
    while at < len(content):
        names.append(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return names


def run(capsys, *words: object, status: int = 0) -> str:
    assert main([str(word) for word in words]) == status
    said = capsys.readouterr()
    return said.out + said.err


@pytest.fixture(scope="module")
def finetuned(cases, tiny_model_file, tmp_path_factory) -> Path:
    """A finished run on the cases, which were given by their absolute path."""
    place = tmp_path_factory.mktemp("runs") / "run"
    words = [
        "finetune", "--data", cases, "--init", tiny_model_file, "--layers", "all",
        "--output", place, "--train-size", 4, "--validation-size", 1, "--folds", 3,
        "--steps", 4, "--batch-size", 2,
        "--validate-every", 2, "--image-size", SIZE,
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    return place


@pytest.mark.slow
def test_a_run_directory_tells_nothing(finetuned):
    assert assert_clean(finetuned) > 10
    assert '"data": "set"' in (finetuned / "config.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_goes_on_by_the_same_command_all_the_same(finetuned, cases, tiny_model_file, capsys):
    """Places are not written down, so they are not what a resumed run is compared by."""
    before = (finetuned / "summary.json").read_bytes()
    run(
        capsys, "finetune", "--data", cases, "--init", tiny_model_file, "--layers", "all",
        "--output", finetuned, "--train-size", 4, "--validation-size", 1, "--folds", 3, "--steps",
        4, "--batch-size", 2, "--validate-every", 2, "--image-size", SIZE,
    )  # fmt: skip
    assert (finetuned / "summary.json").read_bytes() == before


@pytest.mark.slow
def test_predictions_tell_nothing(finetuned, cases, tmp_path, capsys):
    said = run(
        capsys, "predict", finetuned / "model.keras", cases / "images",
        "--output", tmp_path / "out", "--engine", "keras",
    )  # fmt: skip
    assert assert_clean(tmp_path / "out", said=said) == 12 * 2 + 2
    table = (tmp_path / "out" / "areas.csv").read_text(encoding="utf-8")
    assert "case0.dcm" in table


@pytest.mark.slow
def test_evaluations_tell_nothing(finetuned, cases, tmp_path, capsys):
    said = run(
        capsys, "evaluate", finetuned / "model.keras", "--data", cases, "--csv", tmp_path / "c.csv",
        "--record",
    )  # fmt: skip
    assert_clean(tmp_path, finetuned, said=said)


@pytest.mark.slow
def test_comparing_runs_tells_nothing(finetuned, capsys):
    said = run(capsys, "compare", finetuned)
    assert PLACE not in said and NAME[:10] not in said


@pytest.mark.slow
def test_exports_tell_nothing(finetuned, cases, tmp_path, capsys):
    said = run(
        capsys, "export", finetuned / "model.keras", "--format", "onnx", "--output",
        tmp_path / "m.onnx", "--data", cases, "--images", 4,
    )  # fmt: skip
    assert assert_clean(tmp_path, said=said) == 2


@pytest.mark.slow
def test_registered_models_tell_nothing(finetuned, tmp_path, monkeypatch, capsys):
    from kerasunet import models

    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path))
    models.register(finetuned / "model.keras", "mine")
    said = run(capsys, "models") + run(capsys, "models", "--card", "mine")
    assert assert_clean(tmp_path, said=said) == 3


def test_contact_sheets_tell_nothing(cases, tmp_path, capsys):
    said = run(capsys, "show", "--data", cases, "--sheet", tmp_path / "sheet.png")
    assert assert_clean(tmp_path, said=said) == 1


@pytest.mark.slow
def test_a_comparison_tells_nothing(finetuned, cases, tmp_path):
    from kerasunet import Segmenter
    from kerasunet.comparison import Candidate, compare, judge
    from kerasunet.comparison_report import as_zip
    from kerasunet.data import read_image

    segmenter = Segmenter(finetuned / "model.keras", engine="keras")
    image, spacing = read_image(cases / "images" / "case0.dcm")
    compared = compare(image, [Candidate("mine", "all", 1, votes=True, segment=segmenter)], spacing)
    (tmp_path / "all.zip").write_bytes(as_zip("case0.dcm", compared, judge(compared), scores=[]))
    assert assert_clean(tmp_path) == 1


@pytest.fixture
def faulty(cases, tmp_path) -> Path:
    """The cases with a fault of every kind, for the report to talk about."""
    import shutil

    folder = tmp_path / PLACE / "set"
    shutil.copytree(cases, folder)
    whole = (folder / "images" / "case0.dcm").read_bytes()
    (folder / "images" / "case0.dcm").write_bytes(whole[:-400])
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), np.uint8)
    png(noise, folder / "masks" / "case1.png")
    png(np.zeros((5, 5), np.uint8), folder / "masks" / "case2.png")
    (folder / "images" / "case13.png").write_bytes((folder / "images" / "case7.png").read_bytes())
    (folder / "masks" / "case13.png").write_bytes((folder / "masks" / "case6.png").read_bytes())
    (folder / "masks" / "case14.png").write_bytes((folder / "masks" / "case6.png").read_bytes())
    return folder


def test_a_report_of_faults_tells_nothing(faulty, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    said = run(
        capsys, "check", faulty, "--html", out / "report.html", "--groups", out / "groups.csv",
        status=1,
    )  # fmt: skip
    assert assert_clean(out, said=said) == 2
    page = (out / "report.html").read_text(encoding="utf-8")
    for named in ("images/case0.dcm", "masks/case1.png", "masks/case2.png", "masks/case14.png"):
        assert named in page
    assert page.count("data:image/png;base64,") >= 4


def test_a_report_names_no_folder_of_a_manifest_elsewhere(cases, tmp_path, capsys):
    rows = [f"{cases}/images/case1.png,{cases}/masks/nowhere.png", f"{cases}/images/case6.dcm,"]
    (tmp_path / "table.csv").write_text("image,mask\n" + "\n".join(rows))
    run(capsys, "check", tmp_path / "table.csv", "--html", tmp_path / "report.html", status=1)
    assert assert_clean(tmp_path / "report.html") == 1
    assert "nowhere.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_reader_hands_on_pixels_and_spacing_alone(cases, suffix):
    from kerasunet.data.readers import read_image

    (path,) = list((cases / "images").glob(f"case?.{suffix}"))[:1]
    pixels, spacing = read_image(path)
    assert type(pixels) is np.ndarray and pixels.shape == (SIZE, SIZE)
    assert spacing is None or [type(side) for side in spacing] == [float, float]


def test_errors_of_damaged_files_quote_nothing(cases, tmp_path, capsys):
    """Cut off at many places, no message repeats what the file holds."""
    (source,) = (cases / "images").glob("case0.dcm")
    whole = source.read_bytes()
    for number, length in enumerate(range(200, len(whole), max(1, len(whole) // 20))):
        (tmp_path / f"scan{number}.dcm").write_bytes(whole[:length])
    said = run(capsys, "predict", "natural", tmp_path, "--output", tmp_path / "out", status=2)
    assert said.count("scan") >= 20
    assert NAME[:10] not in said


@pytest.mark.slow
def test_decoded_images_in_the_cache_tell_nothing(finetuned):
    import os

    folder = Path(os.environ["KERASUNET_CACHE"])
    assert assert_clean(folder, paths=False) > 0


def test_the_search_would_find_a_name(tmp_path):
    """The other tests are no use if it would not."""
    image = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(image, "PNG", exif=exif())
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", image.getvalue())
    with pytest.raises(AssertionError, match=NAME[:10]):
        assert_clean(tmp_path)
    cv2.imwrite(str(tmp_path / "y.png"), np.zeros((4, 4), np.uint8))
    assert assert_clean(tmp_path / "y.png") == 1

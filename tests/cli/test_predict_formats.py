"""`kerasunet predict --format`: files for other programs, to be corrected, read as annotations."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.dicom_files import dicom, save
from helpers.images import disc_images
from helpers.placed_files import nifti
from PIL import Image

from kerasunet import Segmenter
from kerasunet.cli import main
from kerasunet.data import load
from kerasunet.inference.segmentation import disagreement, entropy

FRAMES = disc_images(3, size=40)[0]


def ultrasound(path: Path, pixels: np.ndarray) -> Path:
    """A DICOM file that a segmentation can refer to."""
    ds = dicom(pixels)
    kind = "3.1" if pixels.ndim == 3 else "6.1"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3.1", "1.2.3.2", "US"
    return save(ds, path)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """A picture, a DICOM loop and a NIfTI volume."""
    folder = tmp_path_factory.mktemp("scans")
    Image.fromarray(FRAMES[0]).save(folder / "still.png")
    ultrasound(folder / "loop.dcm", FRAMES)
    nifti(folder / "volume.nii.gz", FRAMES)
    return folder


@pytest.fixture
def predict(tmp_path, tiny_model_file, capsys) -> Callable[..., tuple[int, str]]:
    """Return a function that predicts into `out`; it returns the status and what was said."""

    def run(*words: object) -> tuple[int, str]:
        words = [words[0], "--output", tmp_path / "out", "--engine", "keras", *words[1:]]
        status = main(["predict", str(tiny_model_file), *map(str, words)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def drawn(folder: Path, **choice) -> dict[str, np.ndarray]:
    """The masks of a folder of annotations, as this package reads them."""
    return {case.key: case.load().mask for case in load(folder, **choice).cases}


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "areas.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_format_is_read_back_as_annotations(scans, predict, tmp_path, tiny_model_file):
    out = tmp_path / "out"
    formats = ["png", "nifti", "labelme", "coco"]
    status, said = predict(scans, "--format", *formats, "--uncertainty", "--no-overlays")
    assert status == 0, said
    masks = {path.stem: np.asarray(Image.open(path)) > 0 for path in (out / "masks").glob("*.png")}
    assert len(masks) == len(rows(out)) == 7
    assert any(mask.any() for mask in masks.values())
    assert drawn(out / "nifti").keys() == masks.keys()
    for key, mask in drawn(out / "nifti").items():
        np.testing.assert_array_equal(mask, masks[key])
    np.testing.assert_array_equal(drawn(out)["still"], masks["still"])
    for form in ("labelme", "coco"):
        found = drawn(out / form)
        assert found.keys() == masks.keys()
        assert all(
            overlap(found[key], mask) >= 0.98 or not mask.any() for key, mask in masks.items()
        )
        assert main(["check", str(out / form)]) in (0, 1)
    for form in ("nifti", "labelme", "coco"):  # A file of frames is one group.
        groups: dict[str, set[str]] = {}
        for case in load(out / form).cases:
            groups.setdefault(case.key.partition("-frame")[0], set()).add(case.group)
        assert len(groups) == 3 and all(len(found) == 1 for found in groups.values())
    content = json.loads((out / "labelme" / "loop-frame0001.json").read_text())
    assert content["imagePath"] == "loop-frame0001.png" and content["imageHeight"] == 40
    maps = {path.stem: np.asarray(Image.open(path)) for path in (out / "uncertainty").glob("*.png")}
    expected = entropy(Segmenter(tiny_model_file, engine="keras")(FRAMES[0]).probability)
    np.testing.assert_allclose(maps["still"] / 255, expected, atol=0.005)
    assert (out / "uncertainty" / "volume.nii.gz").is_file()


def test_dicom_segmentations_of_loops_are_read_back(scans, predict, tmp_path):
    out = tmp_path / "out"
    status, said = predict(scans / "loop.dcm", "--format", "dicom-seg", "png")
    assert status == 0, said
    found = drawn(out / "dicom-seg")
    for number in range(3):
        mask = np.asarray(Image.open(out / "masks" / f"loop-frame000{number}.png")) > 0
        np.testing.assert_array_equal(found[f"loop-frame000{number}"], mask)
    assert [row["mask"] for row in rows(out)] == ["loop.dcm"] * 3
    assert not (out / "manifest.csv").exists()  # It could not say which frame a mask is about.


def test_one_frame_of_several_is_no_annotation_of_the_others(scans, predict, tmp_path):
    status, said = predict(scans / "loop.dcm", "--format", "dicom-seg", "nifti", "--frame", 1)
    assert status == 0, said
    assert sorted(path.name for path in (tmp_path / "out" / "nifti").iterdir()) == ["loop.nii.gz"]


@pytest.mark.parametrize("form", ["nifti", "dicom-seg"])
def test_a_file_of_several_frames_does_not_lose_those_that_are_not_segmented(
    scans, predict, tmp_path, form
):
    out, name = tmp_path / "out", "loop.nii.gz" if form == "nifti" else "loop.dcm"
    loop = scans / "loop.dcm"
    assert predict(loop, "--format", form, "--frame", 0)[0] == 0
    for chosen in (["--format", form, "--frame", 1], ["--format", "png", form, "--frame", 2]):
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        status, said = predict(loop, *chosen)
        assert status == 2, said
        assert f"{name}: holds the mask of loop-frame0000, too, and would no longer; leave" in said
        assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert predict(loop, "--format", form, "--frame", 0)[0] == 0, "the same again"
    assert predict(loop, "--frame", 1)[0] == 0, "a picture takes nothing from it"
    assert predict(loop, "--format", form)[0] == 0, "all frames"
    status, said = predict(loop, "--format", form, "--frame", 1)
    assert status == 2 and "holds the mask of loop-frame0000, too" in said
    assert all(int(row["area_pixels"]) >= 0 for row in rows(out)) and len(rows(out)) == 3


def test_a_link_that_leads_nowhere_keeps_no_other_image_back(predict, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(FRAMES[0]).save(folder / "a.png")
    (folder / "b.png").symlink_to("gone.png")
    status, said = predict(folder)
    assert status == 2 and "1 of 2 images segmented" in said
    assert f"{folder / 'b.png'}: no such file" in said
    assert [row["image"] for row in rows(tmp_path / "out")] == ["a.png"]
    Image.fromarray(FRAMES[1]).save(folder / "gone.png")
    assert predict(folder / "b.png")[0] == 0, "it joins when it is there"
    assert [row["image"] for row in rows(tmp_path / "out")] == ["a.png", "b.png"]


def test_a_name_that_begins_with_a_space_is_read_back(predict, tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / " scan.png")
    status, said = predict(tmp_path / " scan.png", "--format", "nifti", "png")
    assert status == 0, said
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / " scan.png")) > 0
    for folder in (tmp_path / "out", tmp_path / "out" / "nifti"):
        ((_, found),) = drawn(folder).items()
        np.testing.assert_array_equal(found, mask)


def test_pages_of_unlike_sizes_are_no_volume(predict, tmp_path):
    pages = [Image.fromarray(FRAMES[0]), Image.fromarray(FRAMES[1][:30])]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    status, said = predict(tmp_path / "pages.tif", "--format", "png", "nifti")
    assert status == 2
    assert "pages.tif: its frames have different sizes, and a NIfTI file or a DICOM segm" in said
    sizes = [Image.open(path).size for path in sorted((tmp_path / "out" / "masks").iterdir())]
    assert sizes == [(40, 40), (40, 30)]


def test_images_without_dicom_are_named_before_anything_is_written(scans, predict, tmp_path):
    status, said = predict(scans, "--format", "dicom-seg")
    assert status == 2 and not (tmp_path / "out").exists()
    assert "still.png: a PNG file" in said and "volume.nii.gz: a NIfTI file" in said
    status, said = predict(scans, "--format", "jpeg")
    assert status == 2 and "--format jpeg: give one or several of png, nifti" in said


@pytest.mark.slow
def test_files_that_were_corrected_stay_and_further_images_join(scans, predict, tmp_path):
    out = tmp_path / "out"
    words = ["--format", "coco", "labelme", "--no-overlays"]
    assert predict(scans / "still.png", *words)[0] == 0
    shutil.copyfile(scans / "still.png", scans.parent / "other.png")
    assert predict(scans.parent / "other.png", *words)[0] == 0
    content = json.loads((out / "coco" / "instances.json").read_text())
    assert [one["file_name"] for one in content["images"]] == [
        "images/still.png",
        "images/other.png",
    ]
    corrected = out / "labelme" / "still.json"
    corrected.write_text(corrected.read_text().replace('"flags"', '"Flags"'))
    status, said = predict(scans / "still.png", *words)
    assert status == 2 and "still.json: was not written by this command, or has been" in said
    (tmp_path / "mine" / "labelme").mkdir(parents=True)
    status, said = predict(scans / "still.png", *words, "--output", tmp_path / "mine")
    assert status == 2 and "mine: holds labelme but no predictions.json" in said


@pytest.mark.slow
def test_several_models_are_averaged_and_their_disagreement_is_told(
    scans, predict, tmp_path, tiny_model_file
):
    from kerasunet import models

    model, place = models.load(tiny_model_file), tmp_path / "other.keras"
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, bias + 1])
    models.save(model, place, models.card(tiny_model_file))
    status, said = predict(scans / "still.png", "--also", place, "--uncertainty")
    assert status == 0, said
    both = [
        Segmenter(one, engine="keras")(FRAMES[0]).probability for one in (tiny_model_file, place)
    ]
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "still.png")) > 0
    np.testing.assert_array_equal(mask, np.mean(both, axis=0) >= 0.5)
    shown = cv2.imread(str(tmp_path / "out" / "uncertainty" / "still.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(shown / 255, disagreement(both), atol=0.005)
    status, said = predict(scans / "still.png")
    assert status == 2 and "also was" in said


def test_uncertainty_is_in_bits():
    np.testing.assert_allclose(entropy(np.array([0, 0.5, 1, 0.11])), [0, 1, 0, 0.4999], atol=1e-3)
    sure, undecided = [np.array([0.0]), np.array([1.0])], [np.array([0.5])] * 2
    assert disagreement(sure) == pytest.approx(1) and disagreement(undecided) == pytest.approx(0)
    with pytest.raises(ValueError, match="at least one model"):
        disagreement([])

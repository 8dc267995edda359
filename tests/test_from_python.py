"""Called from Python, the library refuses what its commands refuse."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.images import write_disc_pairs

from kerasunet import models, runs
from kerasunet.adapt import adapt
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.data import decode, load, read_image
from kerasunet.drawing import write_png
from kerasunet.inference.export import Images, export
from kerasunet.runs.predictions import PredictionDirectory
from kerasunet.study.execution import open_study
from kerasunet.study.plan import StudySettings
from kerasunet.training.settings import FinetuneSettings, PretrainSettings


@pytest.fixture(scope="module")
def own_images(tmp_path_factory) -> Path:
    """A folder of eight images and their masks."""
    return write_disc_pairs(tmp_path_factory.mktemp("own"), 8)


@pytest.fixture
def data(own_images, tmp_path, monkeypatch) -> Path:
    """A copy of it, as a data set and as one of two classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "classes/benign", "classes/malignant"):
        shutil.copytree(own_images, tmp_path / folder)
    return tmp_path / "data"


def _predict(directory: str) -> None:
    image = Path("data/images/case0.png")
    PredictionDirectory.open(Path(directory), {}).require_free({"case0": image}, ["areas.csv"])


def _export(path: str) -> None:
    export("natural", "savedmodel", path, images=Images("none", None, np.zeros(0)))  # type: ignore[arg-type]


CALLS = {
    "finetune": lambda data, place: runs.finetune(FinetuneSettings(data=data), place),
    "pretrain": lambda data, place: runs.pretrain(PretrainSettings(data=data), place),
    "study": lambda data, place: open_study(StudySettings(run=FinetuneSettings(data=data)), place),
    "adapt": lambda data, place: adapt(AdaptSettings(data=data), place),
    "predict": lambda _, place: _predict(place),
    "export": lambda _, place: _export(place),
}


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize(
    ("folder", "place"),
    [("data", "data"), ("data", "data/masks/new"), ("classes", "classes/new")],
)
def test_results_are_not_written_where_they_would_be_read_as_data(data, verb, folder, place):
    if verb in ("predict", "export") and "masks" not in place:
        place = "data/images/new"  # Beside images and masks, these may be.
    before = sorted(data.parent.rglob("*"))
    with pytest.raises(ValueError, match=f"^{place}: (is the folder of the data|lies among the)"):
        CALLS[verb](folder, place)
    assert sorted(data.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("verb", [verb for verb in CALLS if verb != "predict"])
def test_results_in_the_home_folder_are_there(data, verb, kind, monkeypatch):
    """There is something in the way, so that nothing is trained and the message says where."""
    home = data.parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "results").write_text("years of work")
    assert PredictionDirectory.open(Path("~/results"), {}).path == home / "results"
    with pytest.raises((OSError, ValueError), match=str(home / "results")):
        CALLS[verb]("~/../data", kind("~/results"))
    assert not (data.parent / "~").exists()
    with pytest.raises(ValueError, match="^~nobody1/x: nobody here has a home folder"):
        CALLS[verb]("~/../data", kind("~nobody1/x"))


def test_inputs_in_the_home_folder_are_found(data, tiny_model_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for suffix in (".keras", ".json"):
        shutil.copyfile(tiny_model_file.with_suffix(suffix), tmp_path / f"model{suffix}")
    for kind in (str, Path):
        assert models.digest(kind("~/model.keras")) == models.digest(tiny_model_file)
        assert len(load(kind("~/data"))) == 8
        found, _ = read_image(kind("~/data/images/case0.png"))
        assert found.shape == read_image(data / "images" / "case0.png")[0].shape
    images = data / "images"
    shutil.copyfile(images / "case0.png", "~case0.png")  # No home folder, but a file's own name.
    assert np.array_equal(read_image("~case0.png")[0], found)


def test_a_folder_that_is_called_tilde_is_never_made(data, monkeypatch):
    monkeypatch.setenv("HOME", str(data))
    with pytest.raises(ValueError, match=r"^~/new: is not in the home folder; give the whole path"):
        write_png(Path("~/new/picture.png"), np.zeros((4, 4), np.uint8))
    assert not (data.parent / "~").exists()


@pytest.mark.parametrize(
    ("call", "error", "saying"),
    [
        (lambda: load(None), TypeError, "give the data by its name or path, not as NoneType"),
        (lambda: load("data", objects="cyst"), ValueError, r"give \('cyst',\), not 'cyst'"),
        (lambda: decode(load("data").cases, (32, 32), 2), ValueError, "channels must be 1"),
        (lambda: models.register("a.png", "a"), FileNotFoundError, "a.png: no such model, or its"),
    ],
)
def test_arguments_that_make_no_sense_are_named(data, call, error, saying):
    with pytest.raises(error, match=saying):
        call()


def test_a_file_that_is_no_model_is_not_replaced_by_one(data, tiny_model_file):
    model = models.load(tiny_model_file)
    for name, save in {
        "my.keras": partial(models.save, card=models.card(tiny_model_file)),
        "my.weights.h5": models.save_weights,
    }.items():
        Path(name).write_text("years of work")
        with pytest.raises(FileExistsError, match=f"{name}: holds no model; move it away"):
            save(model, path=name)
        assert Path(name).read_text() == "years of work"
        Path(name).unlink()
        save(model, path=name)
        save(model, path=name)


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "study", "adapt"])
def test_an_empty_name_does_not_mean_this_folder(data, verb):
    before = sorted(data.parent.rglob("*"))
    with pytest.raises(ValueError, match="the name of the output is empty"):
        CALLS[verb]("data", "")
    assert sorted(data.parent.rglob("*")) == before

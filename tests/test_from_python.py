"""Called from Python, the library refuses what its commands refuse."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.images import write_disc_pairs

from kerasunet import UNet, describe, models, runs, set_trainable
from kerasunet.adapt import adapt
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.cli.predict import _models as asked_models
from kerasunet.data import (
    decode,
    gray_levels,
    load,
    read_image,
    resize_image,
    resize_mask,
    split_cases,
)
from kerasunet.data.checking import check
from kerasunet.drawing import write_png
from kerasunet.files import FileWarning
from kerasunet.inference import next_images, pool_of
from kerasunet.inference.export import Images, export
from kerasunet.metrics import area_mm2, bootstrap_interval
from kerasunet.models.model_card import write_card
from kerasunet.runs import finetune
from kerasunet.runs.predictions import PredictionDirectory
from kerasunet.study import read_results, read_tables
from kerasunet.study.execution import open_study
from kerasunet.study.plan import StudySettings
from kerasunet.study.report import write_report
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


@pytest.mark.slow
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


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_not_the_current_folder(data, path, monkeypatch):
    monkeypatch.chdir(data)
    with pytest.raises(ValueError, match="the path is empty; give that of a folder or a file"):
        check(path)


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
        (
            lambda: load("data", objects={"cyst", "mass"}),
            ValueError,
            "several texts in order; give",
        ),
        (lambda: load("data", mask_threshold=0.5), ValueError, "must be a whole number, not 0.5"),
        (lambda: load("data", mask_threshold=True), ValueError, "must be a whole number, not True"),
        (lambda: load("data", overlapping="no"), ValueError, "must be True or False, not 'no'"),
        (lambda: read_image("data/images/case0.png", frame="0"), ValueError, "leave out the quot"),
        (lambda: decode(load("data").cases, (32, 32), 2), ValueError, "channels must be 1"),
        (lambda: decode(load("data").cases, (32, 32), True), ValueError, "channels must be a who"),
        (
            lambda: split_cases(load("data").cases, 1, None),
            ValueError,
            "validation_size must be at",
        ),
        (lambda: read_tables("data"), FileNotFoundError, "so data is not a study with results"),
        (lambda: next_images("natural", pool_of("pool"), 2), TypeError, "give a list of models, n"),
        (lambda: UNet((32, 32, 1), overlapping="no"), ValueError, "overlapping must be True or F"),
        (lambda: decode(load("data").cases, (0, 32)), ValueError, r"size must be .*not \(0, 32\)"),
        (lambda: decode(load("data").cases, "32"), ValueError, "size must be a whole number, not"),
        (lambda: resize_mask(np.ones((4, 4), bool), 4), ValueError, "size must be .height, width."),
        (lambda: resize_mask(np.ones((0, 4), bool), (4, 4)), ValueError, "no pixels to .*0, 4"),
        (lambda: resize_image(np.ones((4, 0), int), (4, 4)), ValueError, "no pixels to .*4, 0"),
        (lambda: resize_image(np.ones((0, 4), "f4"), (4, 4)), ValueError, "no pixels to .*0, 4"),
        (lambda: gray_levels(np.ones((0, 4))), ValueError, r"an image has no pixels: shape .0, 4"),
        (lambda: models.register("a.png", "a"), FileNotFoundError, "a.png: no such model, or its"),
        (lambda: read_results([]), ValueError, "give at least one study directory"),
        (lambda: read_results([b"a"]), TypeError, "give each study by its name or path, not as b"),
        (lambda: models.card(""), FileNotFoundError, "'': neither a registered model nor a .ker"),
        (lambda: models.save(None, b"a.keras", None), TypeError, "give a path as text or as a Pa"),
        (lambda: write_report("study", 3), TypeError, "give a path as text or as a Path, not as i"),
        (lambda: finetune(FinetuneSettings(), None), TypeError, "give the output by its name or"),
        (lambda: finetune(FinetuneSettings(), "a\0"), ValueError, r"'a\\x00': has characters that"),
        (lambda: finetune(FinetuneSettings(), "\udcff"), ValueError, "udcff': has characters that"),
        (lambda: set_trainable("a.keras", "all"), TypeError, "give a model that UNet or models.l"),
        (lambda: next_images([], pool_of("pool"), "2"), ValueError, "number must be a whole numb"),
    ],
)
def test_arguments_that_make_no_sense_are_named(data, call, error, saying):
    shutil.copytree(data / "images", data.parent / "pool")
    with pytest.raises(error, match=saying):
        call()


def test_a_folder_called_like_simulated_images_is_not_taken_for_them(data):
    shutil.copytree(data, "simulated-xray")
    with pytest.raises(ValueError, match="simulated-xray: is also a folder here; give ./simulated"):
        load("simulated-xray")
    assert (len(load("./simulated-xray")), len(load("simulated-xray:5"))) == (8, 5)


@pytest.mark.slow
def test_copies_of_a_model_are_one_when_their_disagreement_counts(data, tiny_model_file):
    """A model never disagrees with itself, so the order of the images would say nothing."""
    shutil.copyfile(tiny_model_file, "copy.keras")
    shutil.copyfile(tiny_model_file.with_suffix(".json"), "copy.json")
    found = next_images([tiny_model_file, "copy.keras"], pool_of("data/images"), 2, engine="keras")
    assert not found.several and found.ranked[0].gain > 0
    options = argparse.Namespace(model=str(tiny_model_file), also=["copy.keras", "natural"])
    assert asked_models(options) == [str(tiny_model_file), "natural"]


def test_a_saved_model_keeps_words_of_its_card_and_tells_of_lost_evaluations(data, tiny_model_file):
    model, card = models.load(tiny_model_file), models.card(tiny_model_file)
    path = Path("mine.keras")
    with pytest.raises(TypeError, match="give a ModelCard for mine.keras, not None"):
        models.save(model, path, None)  # type: ignore[arg-type]
    assert not path.exists()
    models.save(model, path, card)
    known = models.card(path)
    found = models.RecordedEvaluation(
        data=known.data, image_size=32, threshold=0.5, metrics=known.metrics
    )
    write_card(path, replace(known, evaluations=(found,)))
    with pytest.warns(FileWarning, match="mine.keras: evaluations: 1 recorded .* gone with it"):
        models.save(model, path, card)
    Path("link.keras").symlink_to(path)
    with pytest.raises(FileExistsError, match="link.keras: is a link to a model whose card is"):
        models.save(model, "link.keras", card)
    with pytest.raises(TypeError, match="give a RecordedEvaluation, not {}"):
        models.record(path, {})  # type: ignore[arg-type]
    words = path.with_suffix(".md")
    words.write_text(words.read_text() + "years of work")
    with pytest.raises(FileExistsError, match="mine.md: was changed by hand"):
        models.save(model, path, card)
    assert words.read_text().endswith("years of work")


@pytest.mark.slow
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
    with pytest.raises(ValueError, match="is empty; give"):
        CALLS[verb]("data", "")
    with pytest.raises(ValueError, match="is empty"):
        CALLS[verb]("data", "  ")
    assert sorted(data.parent.rglob("*")) == before


def test_what_a_caller_writes_into_an_answer_stays_the_callers(own_images, tiny_model_file):
    """A card is read once, for several callers; the next answer is as the first."""
    model = UNet(base_filters=4, depth=1)
    before, table = models.card(tiny_model_file).to_markdown(), str(describe(model))
    card, description = models.card(tiny_model_file), describe(model)
    card.metrics["dice"]["mean"], card.settings["data"] = 0.99, "nothing"
    description.as_dicts()[0].update(trained=0, rates=(0.5,))
    with pytest.raises(ValueError, match="read-only"):  # They may be those in the cache.
        decode(load(own_images).cases, (32, 32)).images[:] = 0
    assert models.card(tiny_model_file).to_markdown() == before
    assert str(description) == table


def test_data_are_called_alike_from_wherever_they_are_named(data, monkeypatch):
    named = load(data)
    for place, name in ((data, "."), (data / "images", ".."), (data, "images/..")):
        monkeypatch.chdir(place)
        found = load(name)
        assert (found.name, found.digest) == ("data", named.digest)


def test_a_manifest_is_read_from_wherever_it_is_named(data, monkeypatch):
    rows = (f"images/{path.name},masks/{path.name}" for path in (data / "images").iterdir())
    (data / "manifest.csv").write_text("\n".join(["image,mask", *rows]))
    named = load(data / "manifest.csv")
    monkeypatch.chdir(data / "images")
    found = load("../manifest.csv")
    assert (found.name, found.digest) == (named.name, named.digest) == ("data", named.digest)


def test_short_numbers_of_numpy_do_not_overflow(own_images):
    """Products and sums of 8 bits would wrap around: to other numbers of filters and of cases."""
    short, cases = np.uint8, load(own_images).cases
    networks = [UNet(base_filters=kind(24), depth=kind(4)) for kind in (short, int)]
    assert len({model.count_params() for model in networks}) == 1
    splits = [split_cases(cases, kind(2), kind(2), seed=kind(250)) for kind in (short, int)]
    assert splits[0] == splits[1]
    mask = np.ones((512, 512), bool)
    assert area_mm2(mask, (short(20), short(20))) == area_mm2(mask, (20, 20)) == 512**2 * 400
    assert area_mm2(mask, (np.float16(0.5), np.float16(0.5))) == 512**2 / 4


def test_what_has_no_order_is_not_taken_for_a_list():
    """The keys of a mapping would be the groups, and a set has its height and width anyhow."""
    for groups in ({"a": "one", "b": "one"}, {"one", "two"}):
        with pytest.raises(TypeError, match="one group per case, in the order of the cases"):
            bootstrap_interval([0.5, 0.6], groups=groups)
    with pytest.raises(ValueError, match=r"size must be \(height, width\) in pixels"):
        resize_mask(np.ones((8, 8), bool), {24, 32})


def test_weights_that_do_not_fit_leave_those_of_the_model(tmp_path):
    """Keras sets what fits before it tells of what does not."""
    model, other = (UNet((32, 32, 1), filters, 2) for filters in (2, 4))
    models.save_weights(UNet((32, 32, 1), 2, 1), tmp_path / "flat.weights.h5")
    other.save(tmp_path / "wide.keras")
    before = model.get_weights()
    for name in ("flat.weights.h5", "wide.keras"):
        with pytest.raises(ValueError, match="this U-Net"):
            models.load_weights_into(model, tmp_path / name)
        assert all(map(np.array_equal, before, model.get_weights()))

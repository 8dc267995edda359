"""`adapt` to several objects: starts of the same and of other objects, exclusive or overlapping."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from helpers.images import disc_images

from kerasunet import UNet, models
from kerasunet.adapt import AdaptSettings, Answer, adapt
from kerasunet.adapt.background import adapt_settings
from kerasunet.adapt.candidates import Candidate, Contenders
from kerasunet.adapt.directory import AdaptDirectory
from kerasunet.adapt.settings import record_of
from kerasunet.adapt.starts import LeftOut, NewHead, Untouched, usable_starts, with_new_heads
from kerasunet.adapt.survey import Survey
from kerasunet.data import load
from kerasunet.data.identification import image_identities, image_statistics
from kerasunet.inference import Segmenter
from kerasunet.layer_selection import Evidence, Finding
from kerasunet.objects import Objects
from kerasunet.runs.preparation import with_seen
from kerasunet.training import Optimization
from kerasunet.training.settings import FinetuneSettings, to_json

SIDES = ("left", "right")
CHOSEN = ("left=1", "right=2")


def write_sides(folder: Path, count: int, first: int = 0) -> Path:
    """Write images of discs, and labels: 1 for the left half of a disc, 2 for the right one."""
    images, masks = disc_images(first + count)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        labels = masks[number].astype(np.uint8)
        middle = int(np.flatnonzero(labels.any(0)).mean())
        labels[:, middle:] *= 2
        cv2.imwrite(str(folder / f"images/scan{number:02d}.png"), images[number])
        cv2.imwrite(str(folder / f"masks/scan{number:02d}.png"), labels)
    return folder


def settings_for(folder: Path, *starts: Path, **more) -> AdaptSettings:
    chosen = {
        "budget": "quick",
        "minutes": 0.01,
        "objects": CHOSEN,
        "optimization": Optimization(batch_size=4, learning_rate=3e-3),
    }
    return AdaptSettings(data=str(folder), starts=tuple(map(str, starts)), **{**chosen, **more})


def saved(path: Path, card: models.ModelCard, **facts) -> Path:
    """Save a random network with a card that says other things of it."""
    facts = {"split": "", "objects": (), **facts}
    objects = Objects(facts["objects"]) if facts["objects"] else Objects()
    network = UNet(base_filters=4, depth=1, classes=objects.channels, weights=None)
    models.save(network, path, replace(card, **facts))
    return path


@pytest.fixture(scope="module")
def card(tiny_model_file) -> models.ModelCard:
    return models.card(tiny_model_file)


@pytest.fixture(scope="module")
def of_sides(card, tmp_path_factory) -> Path:
    """Return the file of a start that marks the same objects, for the same kind of image."""
    path = tmp_path_factory.mktemp("starts") / "sides.keras"
    images = models.ImageRanges(
        brightness=models.Span(low=150, high=200), contrast=models.Span(low=1, high=100)
    )
    return saved(path, card, objects=SIDES, modality="ultrasound", images=images)


@pytest.fixture(scope="module")
def sides(tmp_path_factory) -> Path:
    return write_sides(tmp_path_factory.mktemp("lab") / "sides", 12)


@pytest.fixture(scope="module")
def adapted(short, sides, of_sides, tiny_model_file, tmp_path_factory) -> Answer:
    settings = settings_for(sides, of_sides, tiny_model_file)
    return adapt(settings, tmp_path_factory.mktemp("out") / "adapted")


def kept_fits(directory: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in (directory / "work/fits").iterdir()}


# The answer


@pytest.mark.slow
def test_every_object_has_its_estimate_in_words_values_and_files(adapted):
    answer = json.loads((adapted.directory / "answer.json").read_text(encoding="utf-8"))
    assert answer["objects"] == "left, right"
    each = answer["estimate"]["objects"]
    assert [*each] == [*SIDES]
    assert all(one["low"] <= one["dice"] <= one["high"] for one in each.values())
    mean = np.mean([one["dice"] for one in each.values()])
    assert answer["estimate"]["dice"] == pytest.approx(mean, abs=1e-3)
    words = (adapted.directory / "answer.md").read_text(encoding="utf-8")
    assert "expect a mean Dice of" in words and f": left {each['left']['dice']:.2f} (" in words
    assert "| metric | mean | left | right |\n|---|---|---|---|\n" in words
    page = (adapted.directory / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 8 and "<th>left</th><th>right</th>" in page
    assert page.count("(left 0.") == 16, "captions and descriptions name each object"


@pytest.mark.slow
def test_the_table_of_cases_has_a_row_for_each_object(adapted):
    with open(adapted.directory / "cases.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["object"] for row in rows] == [*SIDES] * 12
    for name in SIDES:
        found = np.mean([float(row["dice"]) for row in rows if row["object"] == name])
        assert found == pytest.approx(adapted.estimate.objects[name].dice.mean)


@pytest.mark.slow
def test_the_model_and_its_card_have_the_objects(adapted):
    model, known = keras.models.load_model(adapted.model), models.card(adapted.model)
    assert model.output_shape[-1] == 3
    assert (known.objects, known.overlapping, known.threshold) == (SIDES, False, 0.5)
    assert [*known.metrics["objects"]] == [*SIDES] and known.metrics["n"] == 12
    assert "| right | Dice |" in adapted.model.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_only_starts_of_the_same_objects_are_tried_untouched(adapted, of_sides, tiny_model_file):
    assert {one.start for one in adapted.untouched} == {str(of_sides)}
    assert [one.start for one in adapted.new_heads] == [str(tiny_model_file)]
    assert all(not one.candidate.is_untouched for one in adapted.chosen.weighed)
    table = (adapted.directory / "answer.md").read_text(encoding="utf-8")
    assert "-: was trained on other objects; its head is trained from scratch" in table


@pytest.mark.slow
def test_images_unlike_those_of_a_start_are_told(adapted, of_sides, tiny_model_file):
    (line,) = adapted.unlike[str(of_sides)]
    assert line.startswith("the mean gray level (0 to 255) has a median of 9")
    assert line.endswith("in these images; sides was trained on 150 to 200")
    assert adapted.unlike[str(tiny_model_file)] == [], "its card does not know"
    assert "Note that" not in " ".join(adapted.sentences())
    candidate = adapted.chosen.candidate._replace(start=str(of_sides))
    other = replace(adapted, chosen=replace(adapted.chosen, candidate=candidate))
    assert f"Note that {line}." in other.sentences()


def test_the_aspect_is_told_where_images_are_no_squares():
    aspects = {"aspect": 2.5, "brightness": 60.0, "contrast": 30.0}
    survey = Survey(None, None, "ultrasound", False, 40.0, 0, images=aspects)
    (line,) = survey.unlike("ultrasound", models.card("ultrasound"))
    assert line.startswith("width divided by height has a median of 2.5") and "1.58" in line
    assert survey.unlike("xray", models.card("xray"))[0].startswith("the mean gray level")
    assert not any("width" in one for one in survey.unlike("xray", models.card("xray")))


def test_statistics_of_images_come_from_files_and_do_not_depend_on_their_size(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    picture = np.tile(np.arange(300) % 256, (100, 1)).astype(np.uint8)
    for name, shown in (("a", picture), ("b", picture.repeat(2, 0).repeat(2, 1))):
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), shown)
        cv2.imwrite(str(tmp_path / f"masks/{name}.png"), (shown > 200).astype(np.uint8))
    found = image_statistics(load(tmp_path).cases)
    assert found.aspect.tolist() == [3, 3] and not found.all_square
    np.testing.assert_allclose(found.brightness, picture.mean(), atol=1)
    np.testing.assert_allclose(found.contrast, picture.std(), atol=3)


def test_a_model_of_your_own_knows_what_its_images_were_like(tmp_path):
    """Its card says so, and as a start for other images it warns."""
    cases = load("simulated-ultrasound:24").cases
    card = with_seen(models.card("ultrasound-all"), FinetuneSettings(), cases, judged=())
    found = image_statistics(cases)
    assert card.images.brightness.low == pytest.approx(np.percentile(found.brightness, 1), abs=0.01)
    assert card.images.contrast.high == pytest.approx(np.percentile(found.contrast, 99), abs=0.01)
    assert card.images.aspect is None, "simulated images are squares"
    dark = Survey(None, None, "ultrasound", False, 40.0, 0, images={"brightness": 1.0})
    (line,) = dark.unlike("mine", card)
    assert "mine was trained on" in line
    few = with_seen(models.card("ultrasound-all"), FinetuneSettings(), cases[:19], judged=())
    assert few.images is None


@pytest.mark.slow
def test_the_same_again_trains_nothing_and_an_interrupted_one_ends_the_same(
    short, adapted, sides, of_sides, tiny_model_file, tmp_path
):
    shutil.copytree(adapted.directory, tmp_path / "cut")
    (tmp_path / "cut/answer.json").unlink()
    fits = sorted((tmp_path / "cut/work/fits").iterdir())
    kept = kept_fits(tmp_path / "cut")
    for path in fits[::3]:
        path.unlink()
    again = adapt(settings_for(sides, of_sides, tiny_model_file), tmp_path / "cut")
    after = kept_fits(tmp_path / "cut")
    assert after.keys() == kept.keys()
    assert all(after[path.name] == kept[path.name] for path in {*fits} - {*fits[::3]})
    expected, found = (one.as_dict()["estimate"]["dice"] for one in (adapted, again))
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.slow
def test_overlapping_objects_of_an_ensemble_with_annotations_that_came_later(
    short, sides, tiny_model_file, tmp_path, call_cli
):
    """A start of other objects gets a new head; every fold's is the same, made anew or kept."""
    shutil.copytree(sides, tmp_path / "lab")
    words = ["adapt", "lab", "--budget", "quick", "--minutes", "0.01", "--output", "out"]
    words += ["--starts", str(tiny_model_file), "--objects", *CHOSEN, "--overlapping", "--ensemble"]
    done = call_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "objects: left, right (overlapping)" in done.stderr
    assert "its head, the last layer, was trained from scratch" in done.stdout
    before = kept_fits(tmp_path / "out")
    write_sides(tmp_path / "lab", 1, first=12)
    done = call_cli(*words)
    after = kept_fits(tmp_path / "out")
    assert done.returncode == 0 and "+1 annotated images" in done.stdout
    assert all(after.get(name) == kept for name, kept in before.items())
    known = models.card("out/model.keras")
    assert (known.objects, known.overlapping, known.classes) == (SIDES, True, 2)
    model, image = keras.models.load_model("out/model.keras"), disc_images(1)[0][0]
    outputs = model.predict(image[None, ..., None].astype(np.float32), verbose=0)[0]
    found = Segmenter("out/model.keras", engine="onnx")(image)
    np.testing.assert_allclose(found.probability, np.moveaxis(outputs, -1, 0), atol=1e-4)


def test_few_images_without_a_start_of_their_objects_say_so(tiny_model_file, tmp_path):
    folder = write_sides(tmp_path / "few", 4)
    answer = adapt(settings_for(folder, tiny_model_file), tmp_path / "out")
    assert answer.model is None
    told = " ".join(answer.sentences())
    assert (
        "nothing can be said yet: no start marks left, right" in told and "With at least 8" in told
    )


def test_objects_that_no_mask_has_are_refused(tiny_model_file, tmp_path):
    folder = write_sides(tmp_path / "lab", 8)
    settings = settings_for(folder, tiny_model_file, objects=(*CHOSEN, "third=3"))
    with pytest.raises(ValueError, match="none of 8 masks has third"):
        adapt(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()  # Or the corrected command would be refused there.


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        (("left=1",), ("l=1",), ("left=2",)),
        (("disc=1,2",), ("2,1",), ()),
        (CHOSEN, CHOSEN, CHOSEN[::-1]),
    ],
)
def test_a_folder_is_of_one_choice_of_objects(tmp_path, first, same, other):
    """A model of one half of the disc would take the place of that of the other."""
    folder = write_sides(tmp_path / "lab", 8)
    (tmp_path / "out").mkdir()
    directory = AdaptDirectory(tmp_path / "out")

    def asked(objects):
        settings = settings_for(folder, objects=objects)
        return record_of(settings, load(folder, objects=objects or CHOSEN))

    directory.claim(asked(first))
    assert directory.check(asked(same)) == {}
    with pytest.raises(ValueError, match="out: is an adaptation to .*, not to .*; give another"):
        directory.check(asked(other))


def test_another_process_gets_the_same_settings():
    asked = AdaptSettings(data="x", objects=CHOSEN, overlapping=True)
    assert adapt_settings(json.loads(json.dumps(to_json(asked)))) == asked
    assert "overlapping" not in to_json(AdaptSettings(data="x"))


# Starts and candidates


def evidence() -> Evidence:
    rows = (
        Finding("busi", "close", 20, "0.1*shallow:4", dice=0.72, behind=0.0, error=0.002, sets=3),
        Finding("busi", "close", 20, "0.3*all", dice=0.71, behind=0.01, error=0.002, sets=3),
        Finding("busi", "close", 20, "none", dice=0.71, behind=0.01, error=0.002, sets=3),
        Finding("busi", "far", 20, "3*all", dice=0.64, behind=0.0, error=0.002, sets=3),
        Finding("busi", "far", 20, "3*shallow:4", dice=0.63, behind=0.01, error=0.002, sets=3),
    )
    return Evidence(rows)


def test_a_start_of_other_objects_is_near_by_its_kind_of_image_and_trains_its_head():
    known = Untouched(
        "same", 128, "ultrasound", {"a": 0.7, "b": 0.7}, np.zeros((2, 1, 1, 3), np.float16)
    )
    heads = (NewHead("clinic", 128, "ultrasound"), NewHead("natural", 128, "photograph"))
    cards = {name: models.card("natural") for name in ("same", "clinic", "natural")}
    field = Contenders((known,), cards, evidence(), "ultrasound", heads)
    beliefs = field.beliefs(["a", "b"])
    behind = {one: belief.behind for one, belief in beliefs.items()}
    assert behind[Candidate("same", 128, "0.1*shallow:4")] == 0
    assert behind[Candidate("clinic", 128, "3*all")] == pytest.approx(0.04)
    assert not any("shallow" in one.strategy for one in beliefs if one.start != "same")
    assert behind[Candidate("natural", 128, "3*all")] == pytest.approx(0.08)
    assert [one.start for one in beliefs if one.is_untouched] == ["same"]
    alone = Contenders((), cards, evidence(), "ultrasound", heads)
    first, *_ = alone.beliefs(["a", "b"])
    assert first == Candidate("clinic", 128, "3*all")


def test_new_heads_take_the_first_size_that_shows_small_objects():
    cards = {"natural": models.card("natural")}
    objects = Objects(SIDES)
    sizes = {side: with_new_heads(cards, objects, side)[0].image_size for side in (40, 12, 9, 2)}
    assert sizes == {40: 128, 12: 192, 9: 256, 2: 256}
    assert with_new_heads(cards, Objects(), 40) == ()


@pytest.fixture
def clinic(card, sides, tmp_path, monkeypatch) -> Path:
    """Register a start that has seen the images, one for photographs, and models beside them."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("KERASUNET_MODELS", str(folder))
    seen = tuple(image_identities(load(sides, objects=CHOSEN).cases).values())
    tuned = {"role": "", "modality": "ultrasound", "settings": {"layers": "all"}, "strategy": "all"}
    saved(folder / "natural.keras", card, role="start", modality="photograph")
    saved(folder / "clinic.keras", card, role="start", modality="ultrasound", seen=seen)
    saved(folder / "other.keras", card, **tuned)
    saved(folder / "knowing.keras", card, **tuned, seen=seen)
    saved(folder / "chest.keras", card, **{**tuned, "modality": "xray"})
    saved(folder / "sided.keras", card, **{**tuned, "modality": "xray", "objects": SIDES})
    return folder


@pytest.mark.slow
def test_other_models_of_the_kind_replace_starts_that_have_seen_the_images(clinic, sides):
    cards, left_out = usable_starts((), load(sides, objects=("disc=1,2",)))
    assert {*cards} == {"natural", "other"}
    assert [(one.name, one.instead) for one in left_out] == [("clinic", ("other",))]
    assert left_out[0].told().endswith("; tried in its place: other")
    cards, left_out = usable_starts(("natural", "clinic"), load(sides, objects=("disc=1,2",)))
    assert {*cards} == {"natural"} and left_out[0].instead == (), "starts that are named are kept"


@pytest.mark.slow
def test_models_that_mark_the_same_objects_are_tried_as_well(clinic, sides):
    cards, _ = usable_starts((), load(sides, objects=CHOSEN))
    assert "sided" in cards and "chest" not in cards


@pytest.mark.slow
def test_the_answer_says_what_replaced_a_start(adapted):
    left_out = LeftOut("clinic", "it has seen 3 of the 12 images, or copies of them", ("other",))
    told = replace(adapted, left_out=(left_out,))
    assert told.as_dict()["left_out"][0]["instead"] == ["other"]
    assert "in its place other" in " ".join(told.sentences())

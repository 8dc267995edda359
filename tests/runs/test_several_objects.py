"""Several objects from training to everything made with the model: files, engines, tables."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest

from kerasunet import Segmenter, SideBySide, UNet, models
from kerasunet.data import load
from kerasunet.data.decoding import decode
from kerasunet.drawing import object_color, overlay_objects
from kerasunet.inference.annotation_choice import Looker
from kerasunet.inference.engines import installed_engines, open_engine
from kerasunet.inference.export import Images, export
from kerasunet.runs.finetuning import initial_model
from kerasunet.strategies import parse
from kerasunet.training import Architecture, FinetuneSettings, Optimization, evaluate, finetune

pytestmark = pytest.mark.slow
OBJECTS = ("lungs", "heart")
SETTINGS = FinetuneSettings(
    layers="all",
    init="scratch",
    data="simulated-xray:24",
    objects=OBJECTS,
    train_size=8,
    validation_size=2,
    folds=3,
    image_size=32,
    architecture=Architecture(base_filters=4, depth=1),
    optimization=Optimization(
        steps=60, batch_size=4, validate_every=30, learning_rate=5e-3, deterministic=True
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return finetune(SETTINGS, tmp_path_factory.mktemp("exclusive"))


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    shorter = replace(SETTINGS.optimization, steps=4, validate_every=2)
    settings = replace(SETTINGS, overlapping=True, optimization=shorter)
    return finetune(settings, tmp_path_factory.mktemp("overlapping"))


@pytest.fixture(scope="module")
def picture():
    return load("simulated-xray:1", size=48).cases[0].load().image


def test_a_run_measures_each_object_and_the_mean(trained):
    with open(trained.files.cases, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["object"] for row in rows] == [*OBJECTS] * (len(rows) // 2)
    after = trained.summary["after"]
    each = [after["objects"][name] for name in OBJECTS]
    for metric in ("dice", "hd95", "ece"):
        means = [one[metric]["mean"] for one in each]
        assert after[metric]["mean"] == pytest.approx(np.mean(means))
        found = [float(row[metric]) for row in rows if row["object"] == "heart"]
        assert means[1] == pytest.approx(np.mean(found))
    assert after["missed"] == sum(one["missed"] for one in each)
    assert after["n"] == len(rows) // 2
    assert after["dice"]["mean"] > 0.5


def test_the_card_names_the_objects(trained):
    card = models.card(trained.files.model)
    assert (card.objects, card.overlapping, card.classes) == (OBJECTS, False, 3)
    assert card.marked.names == OBJECTS
    text = trained.files.model.with_suffix(".md").read_text()
    assert "probabilities of 0 background, 1 lungs, 2 heart" in text
    assert "| heart | Dice |" in text and "| mean of all | Dice |" in text


def test_plain_keras_opens_the_file(trained, overlapping):
    for run, activation, channels in ((trained, "softmax", 3), (overlapping, "sigmoid", 2)):
        model = keras.models.load_model(run.files.model, compile=False)
        assert model.layers[-1].activation.__name__ == activation
        assert model.output_shape[-1] == channels


def test_a_card_with_objects_that_its_channels_cannot_have_is_refused(trained, tmp_path):
    values = json.loads(trained.files.model.with_suffix(".json").read_text())
    for objects in (["lungs"], ["lungs", "lungs"], ["a", "b", "c"]):
        (tmp_path / "m.json").write_text(json.dumps({**values, "objects": objects}))
        (tmp_path / "m.keras").touch()
        with pytest.raises(ValueError):
            models.card(tmp_path / "m.keras")
    values["metrics"]["objects"] = {"lungs": {"dice": 1}}
    (tmp_path / "m.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="objects is not a summary for each object"):
        models.card(tmp_path / "m.keras")


def test_every_engine_computes_every_channel(trained, overlapping, picture):
    for run, names in ((trained, installed_engines()), (overlapping, installed_engines()[:1])):
        model = models.load(run.files.model)
        batch = cv2.resize(picture, (32, 32))[None, ..., None]
        wanted = keras.ops.convert_to_numpy(model(batch))
        for name in names:
            found = open_engine(run.files.model, (32, 32), name)(batch)
            np.testing.assert_allclose(found, wanted, atol=1e-4, err_msg=name)


def test_a_segmenter_tells_labels_probabilities_and_areas(trained, picture):
    found = Segmenter(trained.files.model, engine="keras")(picture)
    assert found.objects.names == OBJECTS
    assert found.probability.shape == (2, 48, 48)
    assert found.labels.dtype == np.uint8
    assert set(np.unique(found.labels)) <= {0, 1, 2}
    heart = found.of("heart")
    np.testing.assert_array_equal(heart.mask, found.labels == 2)
    np.testing.assert_array_equal(heart.probability, found.probability[1])
    assert heart.area_pixels == int((found.labels == 2).sum()) == int(found.masks["heart"].sum())
    assert found.area_pixels == sum(found.of(name).area_pixels for name in OBJECTS)
    with pytest.raises(ValueError, match="liver: the model finds lungs, heart"):
        found.of("liver")
    with pytest.raises(ValueError, match="lungs, heart exclude each other and have no threshold"):
        Segmenter(trained.files.model, 0.4)


def test_overlapping_objects_have_a_threshold_each(overlapping, picture):
    found = Segmenter(overlapping.files.model, 0.3, engine="keras")(picture)
    for name, probability in zip(OBJECTS, found.probability, strict=True):
        np.testing.assert_array_equal(found.masks[name], probability >= np.float32(0.3))
    with pytest.raises(ValueError, match="a pixel may belong to several"):
        _ = found.labels


def test_tiles_mirror_images_and_models_side_by_side_keep_the_channels(trained, picture):
    file = trained.files.model
    plain = Segmenter(file, engine="keras")(picture)
    tiled = Segmenter(file, engine="keras", tile=16, overlap=4)(picture)
    np.testing.assert_allclose(tiled.probability.sum(axis=0).max(), 1, atol=0.3)
    assert tiled.probability.shape == plain.probability.shape
    mirrored = Segmenter(file, engine="keras", flip=True)
    both = [Segmenter(file, engine="keras")(one).probability for one in (picture, picture[:, ::-1])]
    np.testing.assert_allclose(
        mirrored(picture).probability, (both[0] + both[1][..., ::-1]) / 2, atol=1e-5
    )
    alone = SideBySide([file], engine="keras")(picture)[str(file)]
    np.testing.assert_allclose(alone.probability, plain.probability, atol=1e-5)
    np.testing.assert_array_equal(alone.labels, plain.labels)


def test_an_export_is_checked_on_all_channels(trained, tmp_path):
    for data, objects in (("simulated-xray:6", OBJECTS), ("simulated-natural:6", ())):
        checked = Images.of(
            load(data, size=32, objects=objects), 32, channels=1, count=4, calibrate=False
        )
        done = export(trained.files.model, "onnx", tmp_path / f"{data[:12]}.onnx", images=checked)
        assert done.comparison["max_abs_delta"] <= 1e-4
        assert done.comparison["dice_loss"]["mean"] == pytest.approx(0, abs=1e-6)
        assert done.comparison["truth"] == ("masks" if objects else "keras")
    assert done.comparison["dice_keras"] == 1  # No truth of these objects: Keras' own masks.


def test_models_of_other_objects_rank_no_images_together(trained, picture, tmp_path):
    """Nor in another order: channels of different objects would be taken for disagreement."""
    card = models.card(trained.files.model)
    for objects in (OBJECTS[::-1], ("lungs", "liver")):
        models.save(trained.load_model(), tmp_path / "x.keras", replace(card, objects=objects))
        with pytest.raises(ValueError, match=f"finds {', '.join(objects)}, but .* lungs, heart"):
            Looker([trained.files.model, tmp_path / "x.keras"], "keras")
    assert Looker([trained.files.model], "keras")(picture).disagreement == 0


def test_an_export_says_if_its_dice_is_against_keras(trained, call_cli):
    words = ("export", trained.files.model, "--format", "onnx", "--data")
    assert "\nDice 0." in call_cli(*words, "simulated-xray:4").stdout
    told = "\nDice against Keras (simulated-natural marks others) 1.0000 before"
    assert told in call_cli(*words, "simulated-natural:4").stdout


def test_evaluation_needs_the_objects_of_the_model(trained, call_cli):
    words = ("evaluate", trained.files.model, "--data", "simulated-xray:24", "--include-seen")
    done = call_cli(*words, "--csv", "cases.csv")
    assert done.returncode == 0, done.stderr
    assert "lungs\n  Dice" in done.stdout and "mean of all\n  Dice" in done.stdout
    assert call_cli(*words, "--csv", "cases.csv").returncode == 0
    refused = call_cli(*words, "--objects", "heart", "lungs")
    assert "finds lungs, heart, but simulated-xray marks heart, lungs" in refused.stderr
    cases = decode(load("simulated-xray:4", size=32).cases, (32, 32))
    with pytest.raises(ValueError, match="the model has 3 channels, but the cases mark object"):
        evaluate(models.load(trained.files.model), cases)


def test_a_head_starts_anew_where_the_objects_differ(trained):
    again = replace(SETTINGS, init=str(trained.files.model))
    known = models.load(trained.files.model)
    same = initial_model(again, known_objects := models.card(trained.files.model).marked)
    swapped = initial_model(again, replace(known_objects, names=OBJECTS[::-1]))
    single = initial_model(again)
    for model, is_kept in ((same, True), (swapped, False), (single, False)):
        for layer in model.layers:
            if layer.weights and (layer.name != "head" or is_kept):
                for new, old in zip(
                    layer.get_weights(), known.get_layer(layer.name).get_weights(), strict=True
                ):
                    np.testing.assert_array_equal(new, old)
    assert not np.array_equal(swapped.get_layer("head").kernel, known.get_layer("head").kernel)
    assert single.output_shape[-1] == 1


def test_a_strategy_that_freezes_a_new_head_is_refused(tmp_path, tiny_model_file, call_cli):
    words = ("finetune", "--data", "simulated-xray:24", "--objects", *OBJECTS)
    words += ("--init", tiny_model_file, "--image-size", 32, "--folds", 3)
    refused = call_cli(*words, "--layers", "contracting", "--output", "run")
    assert refused.returncode == 2
    assert "would not train it; give contracting+head" in refused.stderr
    assert not (tmp_path / "run").exists()
    for layers in ("contracting+head", "deep:1"):
        settings = replace(
            SETTINGS,
            layers=layers,
            init=str(tiny_model_file),
            optimization=replace(SETTINGS.optimization, steps=1, validate_every=1),
        )
        run = finetune(settings, tmp_path / layers, compact=True)
        assert run.summary["after"]["objects"].keys() == {*OBJECTS}


def test_a_search_tries_no_candidate_that_leaves_a_new_head_as_random_as_it_is(
    trained, tiny_model_file, tmp_path
):
    once = replace(SETTINGS.optimization, steps=1, validate_every=1)
    settings = replace(SETTINGS, layers="auto:search", init=str(tiny_model_file), optimization=once)
    run = finetune(settings, tmp_path)
    choice = json.loads(run.files.choice.read_text(encoding="utf-8"))
    tried = [parse(one["candidate"]) for one in choice["candidates"]]
    layout = SETTINGS.architecture.layout()
    expanding = {weight for weight in parse("expanding&kernel").select(layout)}
    assert tried and all(expanding <= {*one.select(layout)} for one in tried)
    assert run.summary["chosen"] == choice["strategy"]


def test_thresholds_of_exclusive_objects_are_refused():
    with pytest.raises(ValueError, match="have no threshold, because"):
        replace(SETTINGS, threshold=0.4)
    assert replace(SETTINGS, threshold=0.4, overlapping=True).threshold == 0.4


def test_a_network_of_overlapping_objects_is_built_of_sigmoids(tmp_path):
    model = UNet((32, 32, 1), 4, 2, classes=2, overlapping=True)
    assert model.layers[-1].activation is keras.activations.sigmoid
    model.save_weights(tmp_path / "w.weights.h5")
    again = UNet((32, 32, 1), 4, 2, classes=2, overlapping=True, weights=tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(again.get_layer("head").kernel, model.get_layer("head").kernel)


def test_overlays_have_a_color_for_each_object(trained, picture):
    found = Segmenter(trained.files.model, engine="keras")(picture)
    drawn = overlay_objects(picture, found.mask, found.objects)
    for number, plane in enumerate(found.masks.values()):
        change = (drawn.astype(int) - picture[..., None].round())[plane].mean(axis=0)
        tint = np.array(object_color(number)) - picture[plane].mean()
        assert (np.sign(change) == np.sign(tint)).all()
    names = sorted(path.name for path in trained.files.overlays.glob("*.png"))
    assert names and cv2.imread(str(trained.files.overlays / names[0])).shape[0] > 256 + 22

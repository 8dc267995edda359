"""`evaluate` counts held-out cases, and says on the table and on the card what else it counted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.images import disc_images
from scipy.stats import bootstrap

from kerasunet import models
from kerasunet.cli import main
from kerasunet.data.decoding import DecodedCases
from kerasunet.metrics import unit_in_words
from kerasunet.models.model_card import write_card
from kerasunet.training.evaluation import evaluate_probabilities

WITHOUT_KERAS = """
import sys
from kerasunet.cli import main
status = main(["evaluate", *sys.argv[1:]])
print(status, sorted({"keras", "tensorflow"} & set(sys.modules)))
"""
QUICK = ["--image-size", "32", "--steps", "2", "--batch-size", "2", "--validate-every", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of ten images with masks."""
    root = tmp_path_factory.mktemp("own")
    for part, pictures in zip(("images", "masks"), disc_images(10), strict=True):
        (root / part).mkdir()
        for number, picture in enumerate(pictures):
            scale = 255 if part == "masks" else 1
            cv2.imwrite(str(root / part / f"case{number}.png"), picture.astype("uint8") * scale)
    return root


@pytest.fixture(scope="module")
def tuned(folder, tiny_model_file, tmp_path_factory):
    """Return a model that was fine-tuned on five of the images, and chosen by a sixth."""
    output = tmp_path_factory.mktemp("tuned")
    sizes = ["--train-size", "5", "--validation-size", "1", "--folds", "3", "--keep", "best"]
    words = ["finetune", "--init", tiny_model_file, "--data", folder, "--output", output]
    assert main([*map(str, words), *sizes, *QUICK]) == 0
    return output / "model.keras"


@pytest.fixture
def copy(folder, tmp_path):
    """Return a folder with the same images under other names, in another format."""
    for part in ("images", "masks"):
        (tmp_path / "copy" / part).mkdir(parents=True)
        for path in sorted((folder / part).iterdir()):
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            renamed = f"scan-{path.stem.removeprefix('case')}.bmp"
            cv2.imwrite(str(tmp_path / "copy" / part / renamed), picture)
    return tmp_path / "copy"


def evaluate(capsys, *words) -> str:
    assert main(["evaluate", *map(str, words)]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_the_card_knows_what_the_model_and_its_start_have_seen(tuned, tiny_model_file):
    start, card = models.card(tiny_model_file), models.card(tuned)
    assert len(start.seen) == 16  # The validation cases of the pre-training chose nothing.
    assert len(card.seen) == 16 + 6 and {*start.seen} < {*card.seen}
    assert card.start_data == ("simulated-natural",)
    assert all(key not in tuned.with_suffix(".json").read_text() for key in ("case0", "case9"))


@pytest.mark.slow
def test_the_printed_table_is_that_of_the_cases_by_scipy(folder, tiny_model_file, capsys, tmp_path):
    """Means and BCa intervals over patients, from the table of cases alone."""
    groups = "key,group\n" + "".join(f"case{n},{'aabbbbcdde'[n]}\n" for n in range(10))
    (tmp_path / "groups.csv").write_text(groups)
    words = ["--groups", tmp_path / "groups.csv", "--csv", tmp_path / "cases.csv"]
    table = evaluate(capsys, tiny_model_file, "--data", folder, *words)
    assert "10 cases (mean, 95 % interval over 5 patients)" in table
    cases = pd.read_csv(tmp_path / "cases.csv")
    assert set(zip(cases["key"], cases["group"], strict=True)) == {
        (f"case{n}", "aabbbbcdde"[n]) for n in range(10)
    }
    for label, name in {"Dice": "dice", "HD95 px": "hd95", "ECE": "ece"}.items():
        by_group = cases.groupby("group")[name].agg(["sum", "count"]).to_numpy(float)
        found = bootstrap(
            (by_group[:, 0], by_group[:, 1]),
            lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
            n_resamples=9999,
            paired=True,
            rng=np.random.default_rng(1),
        ).confidence_interval
        printed = re.search(rf"{label} +([\d.]+) +\(([\d.]+) to ([\d.]+)\)", table)
        mean, low, high = map(float, printed.groups())
        assert mean == pytest.approx(cases[name].mean(), abs=6e-4)
        wide = found.high - found.low
        assert (low, high) == pytest.approx((found.low, found.high), abs=0.1 * wide + 6e-4)


@pytest.mark.slow
def test_patients_of_a_table_are_held_out_as_a_whole(tuned, copy, tmp_path, capsys):
    """Every image is of a patient of whom the model has seen another one."""
    groups = "key,group\n" + "".join(f"scan-{n},anna\n" for n in range(10))
    (tmp_path / "groups.csv").write_text(groups)
    words = ["evaluate", tuned, "--data", copy, "--groups", tmp_path / "groups.csv"]
    assert main([*map(str, words)]) == 2
    assert "by all 10 cases, or others of their patients" in capsys.readouterr().err
    assert main([*map(str, words), "--group-pattern", "(scan)"]) == 2
    assert "both say which images belong together" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("which", ["folder", "copy"])
def test_only_held_out_cases_count_unless_asked(tuned, capsys, which, request):
    data = request.getfixturevalue(which)
    table = evaluate(capsys, tuned, "--data", data)
    assert "6 cases are left out: the model was trained on or chosen by them" in table
    assert "4 are held out" in table and ", 4 cases (mean" in table
    everything = evaluate(capsys, tuned, "--data", data, "--include-seen")
    assert "6 cases count although the model was trained on or chosen by them, or" in everything
    assert ", 10 cases (mean" in everything


@pytest.mark.slow
def test_the_card_says_which_cases_were_seen(tuned, copy, capsys):
    evaluate(capsys, tuned, "--data", copy, "--record")
    evaluate(capsys, tuned, "--data", copy, "--record", "--include-seen")
    assert [found.seen for found in models.card(tuned).evaluations] == [0, 6]
    text = tuned.with_suffix(".md").read_text(encoding="utf-8")
    assert "## On `copy`, none of which was trained on\n" in text
    assert "## On `copy`, 6 of 10 cases trained on or chosen by, or their patients\n" in text


@pytest.mark.slow
def test_the_card_says_which_labels_were_measured_and_how_large_the_set_is(
    tuned, copy, capsys, tmp_path
):
    for number, image in enumerate(sorted((copy / "images").iterdir())):
        folder = tmp_path / "classes" / ("benign" if number % 2 else "malignant")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / image.name)
        shutil.copy(copy / "masks" / image.name, folder / f"{image.stem}_mask.png")
    card = models.card(tuned)
    try:
        for words in ([], ["--labels", "benign"], ["--labels", "malignant"]):
            evaluate(capsys, tuned, "--data", tmp_path / "classes", "--record", *words)
        found = [one for one in models.card(tuned).evaluations if one.data.name == "classes"]
        assert [one.labels for one in found] == [(), ("benign",), ("malignant",)]
        assert [one.data.cases for one in found] == [10, 5, 5]
        assert sum(one.metrics["n"] for one in found[1:]) == found[0].metrics["n"] == 4
        words = [one.differences(card.image_size, card.threshold) for one in found]
        assert words == ["", ", only benign", ", only malignant"]
        text = tuned.with_suffix(".md").read_text(encoding="utf-8")
        assert "## On `classes`, none" in text and "## On `classes`, only benign, none" in text
    finally:
        write_card(tuned, card)


@pytest.mark.slow
def test_evaluations_at_other_thresholds_stay_beside_each_other(tuned, copy, capsys):
    card = models.card(tuned)
    try:
        for threshold in (0.5, 0.3, 0.3):
            evaluate(capsys, tuned, "--data", copy, "--record", "--threshold", threshold)
        found = [one for one in models.card(tuned).evaluations if one.data.name == copy.name]
        assert [one.threshold for one in found if not one.seen] == [0.5, 0.3]
        words = [one.differences(card.image_size, card.threshold) for one in found if not one.seen]
        assert words == ["", ", threshold 0.3"]
    finally:
        write_card(tuned, card)


def test_a_model_of_which_nothing_was_held_out_is_refused(tiny_model_file, capsys):
    words = ["evaluate", str(tiny_model_file), "--data", "simulated-natural:16"]
    assert main(words) == 2
    assert "was trained on or chosen by all 16 cases" in capsys.readouterr().err


@pytest.mark.slow
def test_a_start_that_lists_no_images_leaves_unknown_what_was_seen(tuned, folder, capsys):
    """The images of the run itself, which are known, are left out all the same."""
    card = models.card(tuned)
    write_card(tuned, replace(card, start_unknown=True, evaluations=()))
    try:
        told = evaluate(capsys, tuned, "--data", folder, "--record")
        assert "WARNING: the card of model does not say which" in told and "4 are held out" in told
        (found,) = models.card(tuned).evaluations
        assert found.seen is None and found.metrics["n"] == 4
        text = tuned.with_suffix(".md").read_text(encoding="utf-8")
        assert "not known which of it was trained on" in text
    finally:
        write_card(tuned, card)


def test_where_only_some_images_have_a_spacing_pixels_are_explained(tiny_model_file, tmp_path):
    images, masks = disc_images(4, size=32)
    keys, spacings = ("a", "b", "c", "d"), ((0.2, 0.2), None, (0.2, 0.2), (0.3, 0.3))
    cases = DecodedCases(keys, keys, images[..., None], masks=masks, spacings=spacings)
    found = evaluate_probabilities(masks.astype(np.float32), cases, 0.5).summary
    assert found["without_spacing"] == 1
    card = replace(models.card(tiny_model_file), metrics=found, evaluations=())
    words = "px: 1 of 4 images have no pixel spacing"
    assert f"| HD95 ({words}) |" in card.to_markdown()
    assert unit_in_words(found) == words
    alike = replace(cases, spacings=((0.2, 0.2),) * 4)
    assert (
        unit_in_words(evaluate_probabilities(masks.astype(np.float32), alike, 0.5).summary) == "mm"
    )


@pytest.mark.slow
def test_an_older_card_tells_it_by_its_settings_or_that_it_cannot(tuned, folder, copy, capsys):
    card = models.card(tuned)
    write_card(tuned, replace(card, seen=(), start_data=(), evaluations=()))
    try:
        assert "4 are held out" in evaluate(capsys, tuned, "--data", folder)
        for name in ("images", "masks"):
            (copy / name / "scan-9.bmp").unlink()
        renamed = copy.rename(copy.parent / folder.name)
        told = evaluate(capsys, tuned, "--data", renamed, "--record")
        assert "WARNING: the card of model does not say which of these cases" in told
        (found,) = models.card(tuned).evaluations
        assert found.seen is None and found.metrics["n"] == 9
        text = tuned.with_suffix(".md").read_text(encoding="utf-8")
        assert "not known which of it was trained on" in text
    finally:
        write_card(tuned, card)


@pytest.mark.slow
def test_a_kept_network_is_measured_without_keras_and_as_by_keras(
    folder, tiny_model_file, tmp_path, capsys, monkeypatch
):
    """Every case as Keras itself predicts it, within what engines may differ by."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("KERASUNET_CACHE", str(tmp_path / "cache"))
    words = [tiny_model_file, "--data", folder, "--mirror", "--csv"]
    evaluate(capsys, *words, tmp_path / "first.csv")  # It keeps the network.
    command = [sys.executable, "-c", WITHOUT_KERAS, *map(str, words), str(tmp_path / "kept.csv")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert (tmp_path / "kept.csv").read_bytes() == (tmp_path / "first.csv").read_bytes()
    evaluate(capsys, *words, tmp_path / "keras.csv", "--engine", "keras")
    kept, by_keras = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("kept", "keras"))
    for name in ("dice", "iou", "ece"):
        np.testing.assert_allclose(kept[name], by_keras[name], atol=2e-3)


def test_sizes_that_the_network_cannot_halve_are_refused_in_a_line(tiny_model_file, capsys):
    multiple = models.card(tiny_model_file).architecture.size_multiple
    words = ["--data", "simulated-xray:2", "--image-size", 32 * multiple + 1]
    assert main(["evaluate", *map(str, [tiny_model_file, *words])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--image-size {32 * multiple + 1}: give a multiple of {multiple}" in line


def test_unknown_engines_are_refused_before_the_data_are_read(tiny_model_file, capsys):
    words = ["evaluate", str(tiny_model_file), "--data", "nowhere", "--engine", "warp"]
    assert main(words) == 2
    assert "engine must be one of auto, " in capsys.readouterr().err

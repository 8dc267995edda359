"""Fine-tuning end to end: what a run leaves behind, resuming after a kill, refusals."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from conftest import ROOT
from layout_makers import make_busi

from kerasunet.data import NO_AUGMENTATION
from kerasunet.training import FinetuneSettings, Optimization, finetune, overfit_one_batch
from kerasunet.training.inputs import load_data

QUICK = Optimization(steps=8, batch_size=4, validate_every=4)


@pytest.fixture(scope="module")
def settings(tiny_model_file) -> FinetuneSettings:
    return FinetuneSettings(
        layers="shallow:2",
        init=str(tiny_model_file),
        data="simulated-xray:24",
        train_size=8,
        validation_size=4,
        folds=3,
        image_size=32,
        optimization=QUICK,
    )


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return finetune(settings, tmp_path_factory.mktemp("runs") / "run")


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_only_cases_of_the_wanted_labels_are_used(tmp_path):
    make_busi(tmp_path)
    whole = load_data(FinetuneSettings(data=str(tmp_path)))
    lesions = load_data(FinetuneSettings(data=str(tmp_path), labels=("benign", "malignant")))
    assert {case.label for case in whole.cases} == {"benign", "malignant", "normal"}
    assert {case.label for case in lesions.cases} == {"benign", "malignant"}
    assert lesions.digest != whole.digest
    with pytest.raises(ValueError, match="labels odd: busi has the labels benign, malignant"):
        load_data(FinetuneSettings(data=str(tmp_path), labels=("odd",)))


def test_run_leaves_everything_behind(finished):
    names = {path.name for path in finished.directory.iterdir()}
    assert names == {
        "config.json",
        "layers.txt",
        "layers.json",
        "history.csv",
        "cases.csv",
        "model.keras",
        "model.json",
        "model.md",
        "summary.json",
        "overlays",
        "tensorboard",
    }
    assert list((finished.directory / "tensorboard").rglob("events.out.*"))


def test_cases_are_the_test_fold_and_average_to_the_summary(finished):
    rows = rows_of(finished.directory / "cases.csv")
    assert len(rows) == finished.summary["split"]["test"] == 8
    mean = np.mean([float(row["dice"]) for row in rows])
    assert mean == pytest.approx(finished.summary["after"]["dice"]["mean"])
    assert finished.summary["after"]["dice"]["n"] == 8


def test_history_has_a_row_per_validation(finished):
    rows = rows_of(finished.directory / "history.csv")
    assert [row["step"] for row in rows] == ["4", "8"]
    assert all(0 <= float(row["val_dice"]) <= 1 for row in rows)
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"])


def test_overlays_are_readable_pictures(finished):
    pictures = sorted((finished.directory / "overlays").iterdir())
    assert len(pictures) == 8
    assert all(cv2.imread(str(path)) is not None for path in pictures)


def test_saved_model_gives_the_predictions_that_were_measured(finished, settings):
    from kerasunet.data import decode, load, split_cases
    from kerasunet.training import evaluate

    data = load(settings.data, size=32)
    split = split_cases(data.cases, 8, 4, 0, 3)
    cases = decode(data.select(split.test), (32, 32))
    again = evaluate(finished.load_model(), cases)
    assert again.summary == finished.summary["after"]


def test_only_the_strategys_layers_differ_from_the_initial_model(finished, tiny_model_file):
    before, after = keras.models.load_model(tiny_model_file), finished.load_model()
    changed = {
        layer.name.split("_")[0]
        for layer in after.layers
        if any(
            not np.array_equal(mine, theirs)
            for mine, theirs in zip(
                layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True
            )
        )
    }
    assert changed == {"enc1", "enc2"}


def test_finished_run_is_not_computed_again(finished, settings):
    stamp = (finished.directory / "model.keras").stat().st_mtime_ns
    again = finetune(settings, finished.directory)
    assert again.summary == finished.summary
    assert (finished.directory / "model.keras").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "deep:1"}, "layers was 'shallow:2', now 'deep:1'"),
        ({"image_size": 64}, "image_size was 32, now 64"),
        ({"data": "simulated-xray:30"}, "digests.data was"),
        ({"optimization": replace(QUICK, steps=9)}, "optimization.steps was 8, now 9"),
    ],
)
def test_directory_of_another_run_is_refused_naming_both_sides(finished, settings, change, message):
    with pytest.raises(ValueError, match=message):
        finetune(replace(settings, **change), finished.directory)


def test_none_changes_nothing(settings, tmp_path):
    run = finetune(replace(settings, layers="none"), tmp_path / "run")
    assert run.summary["before"] == run.summary["after"]
    assert run.summary["trained"] == 0


def test_learning_happens_and_best_weights_are_kept(settings, tmp_path):
    """From scratch, lungs are learnt in a minute of steps; best is at least as good as last."""
    learner = Optimization(steps=60, batch_size=8, validate_every=15, keep="best")
    run = finetune(
        replace(
            settings,
            layers="all",
            init="scratch",
            augmentation=NO_AUGMENTATION,
            architecture=replace(settings.architecture, base_filters=8, depth=2),
            optimization=learner,
        ),
        tmp_path / "run",
    )
    assert run.summary["after"]["dice"]["mean"] > 0.8
    assert run.summary["after"]["dice"]["mean"] > run.summary["before"]["dice"]["mean"] + 0.2


def test_patience_stops_early(settings, tmp_path):
    hopeless = Optimization(
        steps=40, batch_size=4, validate_every=2, patience=2, learning_rate=1e-12, keep="best"
    )
    run = finetune(replace(settings, optimization=hopeless, layers="head"), tmp_path / "run")
    assert len(rows_of(run.directory / "history.csv")) == 3


def test_nan_loss_stops_and_keeps_the_last_good_weights(settings, tmp_path):
    wild = Optimization(
        steps=40, batch_size=4, validate_every=1, learning_rate=1e30, clip_norm=None, warmup=0.5
    )
    with pytest.raises(FloatingPointError, match="NaN or infinite at step .*lower learning rate"):
        finetune(replace(settings, layers="all", optimization=wild), tmp_path / "run")
    with np.load(tmp_path / "run" / "checkpoint.npz") as file:
        weights = [file[name] for name in file.files if name.startswith("weight_")]
    assert all(np.isfinite(array).all() for array in weights)


def test_damaged_checkpoint_is_named(settings, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.npz").write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match=r"checkpoint\.npz: cannot go on from this checkpoint"):
        finetune(settings, tmp_path / "run")


def test_killed_run_ends_in_the_same_weights(tiny_model_file, tmp_path):
    """SIGKILL at several moments; the same command goes on and ends bit for bit the same."""
    undisturbed = start_run(tiny_model_file, tmp_path / "undisturbed")
    assert undisturbed.wait(timeout=300) == 0
    for seen in (1, 3):
        process = start_run(tiny_model_file, tmp_path / "killed")
        wait_for_history(tmp_path / "killed" / "history.csv", seen, process)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        assert not (tmp_path / "killed" / "summary.json").exists()
    assert start_run(tiny_model_file, tmp_path / "killed").wait(timeout=300) == 0

    mine, theirs = (
        keras.models.load_model(tmp_path / name / "model.keras").get_weights()
        for name in ("undisturbed", "killed")
    )
    assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    for name in ("cases.csv", "layers.json"):
        assert (tmp_path / "undisturbed" / name).read_bytes() == (
            tmp_path / "killed" / name
        ).read_bytes()


def start_run(init: Path, directory: Path) -> subprocess.Popen:
    options = {
        "--layers": "all",
        "--data": "simulated-xray:24",
        "--train-size": "8",
        "--validation-size": "4",
        "--folds": "3",
        "--image-size": "32",
        "--steps": "60",
        "--batch-size": "4",
        "--validate-every": "6",
    }
    words = [word for option in options.items() for word in option]
    return subprocess.Popen(
        [
            sys.executable,
            "scripts/finetune.py",
            "--init",
            init,
            "--output",
            directory,
            "--deterministic",
            *words,
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_history(path: Path, rows: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200
    while not (path.is_file() and len(rows_of(path)) >= rows):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_overfitting_one_batch_reaches_a_dice_near_one():
    from kerasunet.data import decode, load
    from kerasunet.training import Architecture

    cases = decode(load("simulated-xray:4").cases, (32, 32))
    steps = list(overfit_one_batch(cases, 60, Architecture(base_filters=8, depth=2)))
    assert [step for step, _, _ in steps] == [10, 20, 30, 40, 50, 60]
    assert steps[-1][2] > 0.95


def test_card_and_model_tell_no_place_on_this_machine(finished, tiny_model_file):
    for name in ("model.json", "model.md"):
        text = (finished.directory / name).read_text(encoding="utf-8")
        assert str(tiny_model_file.parent) not in text
    card = json.loads((finished.directory / "model.json").read_text())
    assert card["init"] == card["settings"]["init"] == "model.keras"


def test_config_tells_all_settings(finished):
    config = json.loads((finished.directory / "config.json").read_text())
    assert config["settings"]["layers"] == "shallow:2"
    assert config["settings"]["optimization"]["steps"] == 8
    assert set(config["digests"]) == {"data", "split", "init"}


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_freeze_and_train_alike(backend):
    """Runs on the named Keras backend in a process of its own."""
    finished = subprocess.run(
        [sys.executable, Path(__file__).with_name("backend_probe.py")],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.split() == [backend, "ok"]

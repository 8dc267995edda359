"""Fine-tuning end to end: what a run leaves behind, resuming after a kill, refusals."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from helpers import AS_INSTALLED, IMPORTS
from helpers.images import disc_images
from helpers.layout_makers import make_busi

from kerasunet import models
from kerasunet.cli import main
from kerasunet.data import NO_AUGMENTATION, load
from kerasunet.runs.directory import exclusive
from kerasunet.runs.finetuning import initial_model
from kerasunet.runs.preparation import load_data, prepare
from kerasunet.training import (
    Architecture,
    FinetuneSettings,
    Optimization,
    PretrainSettings,
    finetune,
    overfit_one_batch,
    pretrain,
)
from kerasunet.training.loop import stored_weights
from kerasunet.training.optimizer import make_optimizer

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
def smallest(settings) -> FinetuneSettings:
    """Of a network as small as can be, which is traced soonest, from random weights."""
    shape = Architecture(base_filters=2, depth=1)
    return replace(settings, layers="all", init="scratch", architecture=shape)


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


@pytest.mark.slow
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
    split = split_cases(data.cases, 8, 4, fold=0, folds=3)
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
    assert changed == {"enc1", "bottleneck"}


def test_finished_run_is_not_computed_again(finished, settings):
    stamp = (finished.directory / "model.keras").stat().st_mtime_ns
    again = finetune(settings, finished.directory)
    assert again.summary == finished.summary
    assert (finished.directory / "model.keras").stat().st_mtime_ns == stamp


def test_a_checkpoint_put_beside_a_finished_run_stays(finished, settings):
    other = finished.directory / "checkpoint.npz"
    other.write_bytes(b"of another run")
    os.utime(other, ns=(0, 0))  # Moved there, with its own time.
    finetune(settings, finished.directory)
    with pytest.raises(ValueError, match=r"checkpoint.npz: is not part of this run"):
        finetune(replace(settings, layers="head"), finished.directory, restart=True)
    assert other.read_bytes() == b"of another run"
    notes = finished.directory / ".config.json.written"
    notes.touch()  # As a kill leaves them, and its own checkpoint, once the summary has come.
    finetune(settings, finished.directory)
    assert other.read_bytes() == b"of another run" and not notes.exists()
    notes.touch()
    meta = {"run": json.loads((finished.directory / "config.json").read_text())}
    np.savez(other, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
    finetune(settings, finished.directory)
    assert not other.exists() and not notes.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoint.npz", "history.csv", "layers.txt", "layers.json"])
def test_a_restart_of_an_interrupted_run_removes_what_is_its_own(settings, interrupted, name):
    """Not what was put there under these names, be it of another run or a link to it."""
    file = interrupted / name
    own = file.read_bytes()
    foreign = [b"mine", b""]
    if name == "checkpoint.npz":
        run = json.loads((interrupted / "config.json").read_text())
        meta = {"run": {**run, "digests": {**run["digests"], "data": "0" * 64}}}
        np.savez(file, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
        foreign.append(file.read_bytes())
    for content in foreign:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: is not part of this run, or has been chang"):
            finetune(settings, interrupted, restart=True)
        assert file.read_bytes() == content
    file.write_bytes(own)
    assert finetune(settings, interrupted, restart=True).files.summary.is_file()


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


@pytest.mark.slow
def test_none_changes_nothing(settings, tmp_path):
    run = finetune(replace(settings, layers="none"), tmp_path / "run")
    assert run.summary["before"] == run.summary["after"]
    assert run.summary["trained"] == 0


@pytest.mark.slow
def test_learning_happens_and_best_weights_are_kept(settings, tmp_path):
    """From scratch, lungs are learned in a minute of steps; best is at least as good as last."""
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


@pytest.mark.slow
def test_patience_stops_early(smallest, tmp_path):
    hopeless = Optimization(
        steps=40, batch_size=4, validate_every=2, patience=2, learning_rate=1e-12, keep="best"
    )
    run = finetune(replace(smallest, optimization=hopeless), tmp_path / "run", compact=True)
    assert len(rows_of(run.directory / "history.csv")) == 3


class StopAfter(keras.callbacks.Callback):
    """Ends a training as Keras' callbacks do."""

    def __init__(self, steps: int):
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        self.model.stop_training = not self._left


@pytest.mark.slow
def test_callbacks_that_stop_a_training_stop_it(smallest, tmp_path, capsys):
    patient = keras.callbacks.EarlyStopping("val_dice", mode="max", min_delta=2, patience=1)
    longer = replace(smallest, optimization=replace(QUICK, steps=12))
    stopped = finetune(longer, tmp_path / "epoch", [patient], compact=True)
    assert [row["step"] for row in rows_of(stopped.directory / "history.csv")] == ["4", "8"]
    stopped = finetune(longer, tmp_path / "step", [StopAfter(5)])
    assert [row["step"] for row in rows_of(stopped.directory / "history.csv")] == ["4", "5"]
    assert models.card(stopped.files.model).origin["steps"] == "5 steps"
    assert main(["compare", str(stopped.directory)]) == 0
    assert "| 5 of 12 |" in capsys.readouterr().out


@pytest.mark.slow
def test_callbacks_may_lower_a_constant_rate_after_the_warmup(smallest, tmp_path):
    constant = replace(QUICK, schedule="constant", warmup=0.25, learning_rate=0.01, steps=16)
    lower = keras.callbacks.ReduceLROnPlateau(
        "val_dice", mode="max", factor=0.5, min_delta=2, patience=1
    )
    settings = replace(smallest, optimization=constant)
    run = finetune(settings, tmp_path / "run", [lower], compact=True)
    rates = [float(row["learning_rate"]) for row in rows_of(run.directory / "history.csv")]
    assert rates[1:3] == pytest.approx([0.01, 0.005])


def test_a_rate_that_follows_the_cosine_cannot_be_set():
    optimizer = make_optimizer(replace(QUICK, schedule="cosine"))
    with pytest.raises(ValueError, match='cosine schedule.*give Optimization.schedule="constant"'):
        optimizer.learning_rate = 0.1


class Compile(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.model.compile("sgd", "mse")


@pytest.mark.parametrize(
    ("make", "error", "saying"),
    [
        (keras.callbacks.History, TypeError, "is not a list of Keras callbacks"),
        (lambda: [keras.callbacks.History], TypeError, "is not a Keras callback"),
        (lambda: [keras.callbacks.BackupAndRestore("kept")], ValueError, "which resumes by itself"),
        (lambda: [keras.callbacks.CSVLogger("run/history.csv")], ValueError, "another file"),
        (lambda: [keras.callbacks.ModelCheckpoint("run/model.keras")], ValueError, "another file"),
        (lambda: [keras.callbacks.CSVLogger("run/History.CSV")], ValueError, "another file"),
        (lambda: [keras.callbacks.ReduceLROnPlateau()], ValueError, 'schedule="constant"'),
        (lambda: [keras.callbacks.LearningRateScheduler(float)], ValueError, 'schedule="constant"'),
    ],
)
def test_callbacks_that_a_run_would_undo_are_refused(
    settings, tmp_path, monkeypatch, make, error, saying
):
    """Nor may they undo the run. Nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=saying):
        finetune(settings, "run", make())
    assert not (tmp_path / "run").exists()
    with pytest.raises(error, match=saying):
        pretrain(
            PretrainSettings(data="simulated-xray:4", validation_data="simulated-xray:2"),
            "run",
            make(),
        )


class Elsewhere(keras.callbacks.Callback):
    def __init__(self, event):
        super().__init__()
        setattr(self, f"on_{event}", lambda *_, **__: os.chdir(os.pardir))


@pytest.mark.slow
@pytest.mark.parametrize("event", ["train_begin", "train_batch_end", "epoch_end", "train_end"])
def test_a_callback_that_leaves_the_folder_stops_the_run_at_once(
    smallest, tmp_path, monkeypatch, event
):
    """Before anything is written below another folder, where another run may be."""
    (tmp_path / "here").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="a callback changed to it; let it return to .*here"):
        finetune(smallest, "run", [Elsewhere(event)])
    assert not list((tmp_path / "run").iterdir())
    assert not list(tmp_path.rglob("summary.json"))


class Flag(keras.callbacks.Callback):
    """Sets whether a layer trains, at an event."""

    def __init__(self, layer, value, event):
        super().__init__()
        setattr(self, f"on_{event}", partial(self.set, layer, value))

    def set(self, layer, value, *_, **__):
        self.model.get_layer(layer).trainable = value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("callback", "saying"),
    [
        (Compile(), "unet: a callback has compiled it"),
        (Flag("head", False, "train_begin"), "head: a callback has changed whether this trains"),
        (Flag("enc1_norm1", True, "epoch_begin"), "enc1_norm1: a callback has changed"),
        (Flag("head", False, "train_batch_end"), "head: a callback has changed"),
    ],
)
def test_a_model_that_a_callback_compiles_or_freezes_is_refused(
    smallest, tmp_path, callback, saying
):
    """Its rate and layers would be written down, but others would train."""
    deep = replace(smallest, layers="deep:1")
    with pytest.raises(ValueError, match=saying):
        finetune(deep, tmp_path / "run", [callback])
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.slow
def test_a_training_in_stages_begins_and_ends_once_for_callbacks(smallest, tmp_path):
    log = keras.callbacks.CSVLogger(tmp_path / "mine.csv")  # Begins the file anew if told to begin.
    staged = replace(smallest, unfreeze=("deep:1@0", "all@4"))
    finetune(staged, tmp_path / "run", [log], compact=True)
    assert [row["epoch"] for row in rows_of(tmp_path / "mine.csv")] == ["0", "1"]
    assert log.params == {"verbose": 1, "epochs": 2, "steps": 4}


@pytest.mark.slow
def test_the_best_weights_are_those_that_were_measured(smallest, tmp_path):
    """Not those that a callback sets at the end of the epoch."""

    class Zero(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights([0 * weight for weight in self.model.get_weights()])

    once = replace(QUICK, steps=4, keep="best")
    run = finetune(replace(smallest, optimization=once), tmp_path / "run", [Zero()])
    assert any(weight.any() for weight in run.load_model().get_weights())


@pytest.mark.slow
def test_a_summary_is_strict_json_and_reads_as_it_was(settings, tmp_path):
    """With a single held-out case, the bounds of intervals are unknown."""
    one = replace(settings, data="simulated-xray:3", train_size=1, validation_size=0, layers="none")
    run = finetune(one, str(tmp_path / "run"))
    dice = strict(run.files.summary)["after"]["dice"]
    assert dice["low"] is None and 0 <= dice["mean"] <= 1
    assert strict(run.files.model.with_suffix(".json"))["metrics"]["dice"]["low"] is None
    again = finetune(one, tmp_path / "run").summary
    assert math.isnan(again["after"]["dice"]["low"])
    assert math.isnan(models.card(run.files.model).held_out.dice.low)


def strict(path: Path) -> dict:
    def refuse(word):
        raise ValueError(f"{path}: {word} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.mark.parametrize("threshold", [math.nan, -1, 2])
def test_an_impossible_threshold_is_refused(tiny_model_file, threshold):
    from kerasunet.data import decode, load
    from kerasunet.training import evaluate

    cases = decode(load("simulated-xray:1").cases, (32, 32), 1)
    with pytest.raises(ValueError, match="threshold must be between 0 and 1"):
        evaluate(models.load(tiny_model_file), cases, threshold)


def test_what_cannot_be_evaluated_is_named_with_a_remedy(tiny_model_file):
    from kerasunet.data import decode, load
    from kerasunet.training import evaluate

    listed, model = load("simulated-xray:2").cases, models.load(tiny_model_file)
    cases, image = decode(listed, (32, 32), 1), keras.Input((32, 32, 1))
    with pytest.raises(TypeError, match="cases as kerasunet.data.decode returns them, not a tuple"):
        evaluate(model, listed)
    with pytest.raises(TypeError, match="give a model of one input and one output, .*PosixPath"):
        evaluate(tiny_model_file, cases)
    with pytest.raises(TypeError, match="give a model of one input and one output, .*Functional"):
        evaluate(keras.Model(image, [model(image)] * 2), cases)
    with pytest.raises(ValueError, match="images of 1 channels, but the cases were decoded to 3"):
        evaluate(model, decode(listed, (32, 32), 3))
    with pytest.raises(ValueError, match="decoded to 32×37 pixels, but this U-Net needs multiples"):
        evaluate(model, decode(listed, (32, 37), 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_layer_of_another_type_on_top_of_a_model_is_measured(tiny_model_file, dtype):
    from kerasunet.data import decode, load
    from kerasunet.training import evaluate
    from kerasunet.training.evaluation import predict

    cases, image = decode(load("simulated-xray:2").cases, (32, 32), 1), keras.Input((32, 32, 1))
    head = keras.layers.Activation("linear", dtype=dtype)
    model = keras.Model(image, head(models.load(tiny_model_file)(image)))
    assert predict(model, cases.images).dtype == np.float32
    assert evaluate(model, cases).summary["n"] == 2


def test_probabilities_that_do_not_fit_are_refused():
    from kerasunet.data import decode
    from kerasunet.training.evaluation import evaluate_probabilities

    data = load("simulated-xray:2")
    cases = decode(data.cases, (32, 32))
    for shape in ((1, 32, 32), (3, 32, 32), (2, 32, 16)):
        with pytest.raises(ValueError, match=r"of the cases' shape, \(2, 32, 32\), not "):
            evaluate_probabilities(np.zeros(shape, np.float32), cases, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_the_global_policy_is_restored(smallest, tmp_path, fails):
    class Fails(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
            if fails:
                raise KeyboardInterrupt

    mixed = replace(QUICK, precision="mixed_bfloat16", steps=4)
    before = keras.config.dtype_policy()
    drawn = random.getstate(), np.random.get_state()
    with pytest.raises(KeyboardInterrupt) if fails else contextlib.nullcontext():
        finetune(replace(smallest, optimization=mixed), tmp_path / "run", [Fails()])
    assert keras.config.dtype_policy() is before
    assert random.getstate() == drawn[0]
    assert all(map(np.array_equal, np.random.get_state(), drawn[1]))


@pytest.mark.slow
def test_a_start_of_another_image_size_is_warned_of_before_training(settings, tmp_path):
    small = replace(settings, image_size=40, layers="none")
    with pytest.warns(UserWarning, match="model was trained on images of 32×32 pixels, this run"):
        finetune(small, tmp_path / "run")


class Stop(keras.callbacks.Callback):
    """Ends a training after a number of epochs, as Ctrl-C does."""

    def __init__(self, epochs: int):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epochs:
            raise KeyboardInterrupt


def interrupt(settings: FinetuneSettings, directory: Path, epochs: int = 1) -> None:
    with pytest.raises(KeyboardInterrupt):
        finetune(settings, directory, [Stop(epochs)])


@pytest.fixture(scope="module")
def stopped(settings, tmp_path_factory) -> Path:
    """The directory of a run that was interrupted after its first epoch."""
    directory = tmp_path_factory.mktemp("stopped") / "run"
    interrupt(settings, directory)
    return directory


@pytest.fixture
def interrupted(stopped, tmp_path) -> Path:
    """A copy of that directory."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def with_rate(settings: FinetuneSettings, rate: float, **more) -> FinetuneSettings:
    wild = Optimization(
        steps=40, batch_size=4, validate_every=1, learning_rate=rate, clip_norm=None, **more
    )
    return replace(settings, optimization=wild)


@pytest.mark.slow
def test_nan_loss_stops_and_tells_where_the_last_good_weights_are(smallest, tmp_path):
    wild = with_rate(smallest, 1e30, warmup=0.5)
    message = (
        r"NaN or infinite at step (\d+); the weights of step (\d+) are kept in (.*)\. Try a lower"
    )
    with pytest.raises(FloatingPointError, match=message + " learning rate than 1e[+]30") as error:
        finetune(wild, tmp_path / "run")
    failed, kept, path = re.search(message, str(error.value)).groups()
    assert int(kept) == int(failed) - 1
    weights = stored_weights(Path(path))
    assert all(np.isfinite(array).all() for array in weights)
    model = initial_model(wild)
    model.set_weights(weights)
    assert len(rows_of(tmp_path / "run" / "history.csv")) == int(kept)
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
def test_weights_that_the_last_step_spoils_are_never_kept(smallest, tmp_path):
    """An infinite rate spoils the weights in the very step whose loss is still finite."""
    spoilt = with_rate(smallest, 1e39, warmup=0.0, schedule="constant")
    with pytest.raises(
        FloatingPointError, match="weights became NaN or infinite at step 1; no earlier step"
    ):
        finetune(spoilt, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.slow
def test_pretraining_that_diverges_says_what_is_kept(tiny_pretraining, tmp_path):
    wild = Optimization(
        steps=12, batch_size=4, learning_rate=1e30, clip_norm=None, warmup=0.5, validate_every=1
    )
    smaller = replace(tiny_pretraining, architecture=Architecture(base_filters=2, depth=1))
    with pytest.raises(FloatingPointError, match="NaN or infinite at step .*checkpoint.npz"):
        pretrain(replace(smaller, optimization=wild), tmp_path / "run")
    assert all(np.isfinite(a).all() for a in stored_weights(tmp_path / "run" / "checkpoint.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [b"not a zip file", b""])
def test_damaged_checkpoint_is_named(settings, interrupted, damaged):
    (interrupted / "checkpoint.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"checkpoint\.npz: cannot resume from this checkpoint"):
        finetune(settings, interrupted)


@pytest.mark.slow
def test_a_checkpoint_is_gone_on_with_beside_its_own_history_only(settings, interrupted):
    """That of another run would be, too, if only the weights had to fit."""
    history = (interrupted / "history.csv").read_bytes()
    for changed in (history.replace(b",0.", b",1.", 1), history + b"# seen\n", b"\xff" + history):
        (interrupted / "history.csv").write_bytes(changed)
        with pytest.raises(
            ValueError, match=r"history\.csv: is not the history of the training in"
        ):
            finetune(settings, interrupted)
        assert (interrupted / "history.csv").read_bytes() == changed


def without_run(checkpoint: Path) -> dict:
    """Remove from a checkpoint what earlier versions did not write: what run it is of."""
    arrays = dict(np.load(checkpoint))
    meta = json.loads(arrays["meta"].tobytes())
    run = meta.pop("run")
    np.savez(checkpoint, **{**arrays, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    return run


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_a_checkpoint_of_a_run_on_other_data_is_refused(smallest, tiny_pretraining, tmp_path, verb):
    """Also if its history was copied, too; one of an earlier version does not tell its run."""
    train = {"finetune": finetune, "pretrain": pretrain}[verb]
    asked = {"finetune": smallest, "pretrain": tiny_pretraining}[verb]
    asked = replace(asked, architecture=smallest.architecture, optimization=QUICK)
    other = replace(asked, data=asked.data[:-1] + "8")
    for name, settings in {"own": asked, "other": other}.items():
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / name, [Stop(1)])
    for name in ("checkpoint.npz", "history.csv"):
        shutil.copy(tmp_path / "other" / name, tmp_path / "own")
    message = r"own/checkpoint\.npz: cannot .* \(it is of another run, which has other .*\); move"
    with pytest.raises(ValueError, match=message):
        train(asked, tmp_path / "own")
    copied = (tmp_path / "own" / "checkpoint.npz").read_bytes()
    assert copied == (tmp_path / "other" / "checkpoint.npz").read_bytes()
    told = without_run(tmp_path / "own" / "checkpoint.npz")
    assert told == json.loads((tmp_path / "other" / "config.json").read_text())
    assert train(asked, tmp_path / "own").summary["data"]["name"] == asked.data.partition(":")[0]


@pytest.mark.parametrize("name", ["checkpoint.npz", "summary.json"])
def test_what_is_left_of_an_unknown_run_is_not_gone_on_with(settings, finished, tmp_path, name):
    """A run directory that somebody began to remove could belong to any settings."""
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name} but no config.json, so its settings are unknown"):
        finetune(settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "refused"),
    [
        ("keras", "2.15.0", True),
        ("tensorflow", "1.15.0", True),
        ("kerasunet", "7.0.0", True),
        ("backend", "jax", True),
        ("keras", "3.0.0", False),
        ("tensorflow", "2.0.0", False),
    ],
)
def test_another_major_version_is_refused_naming_both_sides(
    settings, finished, tmp_path, name, old, refused
):
    copy = shutil.copytree(finished.directory, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    new, config["versions"][name] = config["versions"][name], old
    (copy / "config.json").write_text(json.dumps(config))
    if refused:
        message = f"versions.{name} was '{re.escape(old)}', now '{re.escape(new)}'"
        with pytest.raises(ValueError, match=message):
            finetune(settings, copy)
    else:
        assert finetune(settings, copy).summary == finished.summary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "all"}, "layers was 'shallow:2', now 'all'"),
        ({"init": "scratch"}, "digests.init was '[0-9a-f]{12}', now ''"),
        ({"optimization": replace(QUICK, seed=1)}, "optimization.seed was 0, now 1"),
        ({"split_seed": 1}, "split_seed was 0, now 1"),
    ],
)
def test_an_interrupted_run_is_not_gone_on_with_as_another(settings, interrupted, change, message):
    before = contents(interrupted)
    with pytest.raises(ValueError, match=message):
        finetune(replace(settings, **change), interrupted)
    assert contents(interrupted) == before


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "simulated-natural:9"}, "digests.data was '[0-9a-f]{12}', now '[0-9a-f]{12}'"),
        ({"image_size": 64}, "image_size was 32, now 64"),
        ({"init": "itself"}, "digests.init was '', now '[0-9a-f]{12}'"),
        ({"optimization": Optimization(seed=3)}, "optimization.seed was 0, now 3"),
    ],
)
def test_a_pretraining_is_not_gone_on_with_as_another(
    tiny_pretraining, tiny_model_file, change, message
):
    if "init" in change:
        change = {"init": str(tiny_model_file)}
    with pytest.raises(ValueError, match=message):
        pretrain(replace(tiny_pretraining, **change), tiny_model_file.parent)


@pytest.mark.slow
def test_validation_cases_that_were_trained_on_are_told(
    smallest, tiny_pretraining, tmp_path, monkeypatch
):
    """By the pre-training itself, or by its start; whatever the files are called."""
    monkeypatch.chdir(tmp_path)
    samples = [case.load() for case in load("simulated-natural:12").cases]
    for name, numbers in (("ours", range(6)), ("copies", range(2, 8)), ("others", range(8, 12))):
        for kind in ("images", "masks"):
            Path(name, kind).mkdir(parents=True)
        for number in numbers:
            file = f"{name}{number}.png"
            cv2.imwrite(f"{name}/images/{file}", samples[number].image)
            cv2.imwrite(f"{name}/masks/{file}", samples[number].mask.astype(np.uint8) * 255)
    asked = replace(tiny_pretraining, architecture=smallest.architecture, optimization=QUICK)
    of_copies = replace(asked, data="ours", validation_data="copies")
    of_start = replace(asked, data="others", validation_data="ours", init="run4/model.keras")
    unseen = replace(asked, data="ours", validation_data="others")
    for settings, seen in ((of_copies, 4), (of_start, 6), (unseen, 0)):
        run = pretrain(settings, f"run{seen}")
        card = models.card(run.files.model)
        assert (run.summary["validation_seen"], card.start_saw) == (seen, seen)
        told = f"; it, or its start, has seen {seen} of them, or others of their patients"
        assert (told in card.to_markdown()) == (seen > 0)


def test_a_finished_pretraining_is_not_computed_again(tiny_pretraining, tiny_model_file):
    stamps = {path: path.stat().st_mtime_ns for path in tiny_model_file.parent.iterdir()}
    again = pretrain(tiny_pretraining, tiny_model_file.parent)
    assert {path: path.stat().st_mtime_ns for path in tiny_model_file.parent.iterdir()} == stamps
    assert again.dice.n == 4
    assert (
        again.load_model().count_params() == keras.models.load_model(tiny_model_file).count_params()
    )


@pytest.mark.slow
def test_a_mask_that_was_drawn_anew_is_noticed(smallest, tmp_path):
    images, masks = disc_images(12)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), mask.astype(np.uint8) * 255)
    own = replace(smallest, data=str(tmp_path), train_size=4, validation_size=2)
    interrupt(own, tmp_path / "run")
    cv2.imwrite(str(tmp_path / "masks" / "3.png"), masks[0].astype(np.uint8) * 255)
    with pytest.raises(ValueError, match="digests.images and masks was '[0-9a-f]{12}', now"):
        finetune(own, tmp_path / "run")


def test_a_directory_that_is_in_use_is_refused(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasunet.processes._SECONDS_TO_END", 0.3)
    with exclusive(tmp_path), pytest.raises(ValueError, match="another process is using it"):
        finetune(settings, tmp_path)


@pytest.mark.slow
def test_a_model_that_finds_the_same_everywhere_is_told(settings, tmp_path):
    """With a threshold that no probability reaches, all is background."""
    run = finetune(replace(settings, layers="none", threshold=1 - 1e-9), tmp_path / "run")
    assert run.summary["constant_prediction"]
    assert run.summary["after"]["missed"] == 8


@pytest.mark.slow
def test_overfitting_one_batch_reaches_a_dice_near_one():
    from kerasunet.data import decode, load

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
    assert set(config["digests"]) == {"data", "images and masks", "split", "init"}


@pytest.mark.slow(5)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_freeze_and_train_alike(backend):
    """Runs on the named Keras backend in a process of its own."""
    imports = IMPORTS if backend == "jax" else os.pathsep.join([IMPORTS, AS_INSTALLED])
    finished = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "helpers" / "backend_probe.py"],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": imports,
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # Compiling takes most of the time.
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.split() == [backend, "ok"]


@pytest.mark.slow
def test_a_run_whose_record_spells_the_strategy_another_way_goes_on(settings, interrupted):
    """As version 0.1.0 wrote it: just as it was given."""
    path = interrupted / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["layers"] = " Shallow:2"
    path.write_text(json.dumps(config))
    without_run(interrupted / "checkpoint.npz")
    with pytest.raises(ValueError, match="layers was ' Shallow:2', now 'deep:1'"):
        finetune(replace(settings, layers="deep:1"), interrupted)
    with open(interrupted / "layers.txt", "a") as table:
        table.write("my notes")
    assert finetune(settings, interrupted).summary["chosen"] == "shallow:2"
    assert (interrupted / "layers.txt").read_text().endswith("my notes")


def test_prepared_data_are_not_listed_again(settings, finished, monkeypatch):
    prepared = prepare(settings)
    monkeypatch.setattr("kerasunet.runs.finetuning.prepare", None)
    assert finetune(settings, finished.directory, prepared=prepared).summary == finished.summary
    alike = {"image_size": 64}  # Simulated in another size, but divided in the same way.
    assert prepare(replace(settings, **alike)).split == prepared.split
    for other in ({"fold": 1}, {"train_size": 7}, alike):
        with pytest.raises(ValueError, match="prepared: was made for settings of other data or"):
            finetune(replace(settings, **other), finished.directory, prepared=prepared)

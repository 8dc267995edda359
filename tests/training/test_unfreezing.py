"""Gradual unfreezing: stages train what they name, stay bit-exact elsewhere, and resume alike."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from kerasunet import models, runs
from kerasunet.strategies import StrategyError, parse, parse_stages
from kerasunet.study.plan import StudySettings
from kerasunet.training.settings import FinetuneSettings, Optimization

SETTINGS = FinetuneSettings(
    unfreeze=("deep:1@0", "deep:2@2", "all@4"),
    data="simulated-ultrasound:20",
    train_size=8,
    validation_size=2,
    image_size=32,
    optimization=Optimization(steps=6, batch_size=4, validate_every=2, deterministic=True),
)


class Watch(keras.callbacks.Callback):
    """Keeps the weights after each epoch, and may end the process of training there."""

    def __init__(self, until=None):
        super().__init__()
        self.until = until
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(
            {w.path: keras.ops.convert_to_numpy(w.value) for w in self.model.weights}
        )

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.until:
            raise KeyboardInterrupt


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


def blocks(paths):
    return {path.split("/")[-2].split("_")[0] for path in paths}


@pytest.fixture(scope="module")
def settings(tiny_model_file):
    return replace(SETTINGS, init=str(tiny_model_file))


@pytest.fixture(scope="module")
def straight(settings, tmp_path_factory):
    watch = Watch()
    run = runs.finetune(settings, tmp_path_factory.mktemp("stages") / "run", [watch])
    return run, watch


@pytest.mark.slow
def test_every_stage_trains_what_it_names_and_nothing_else(settings, straight):
    run, watch = straight
    start = {
        w.path: keras.ops.convert_to_numpy(w.value) for w in models.load(settings.init).weights
    }
    first, second, third = watch.weights
    assert blocks(changed(start, first)) == {"dec1", "head"}
    assert blocks(changed(first, second)) == {"bottleneck", "dec1", "head"}
    assert "enc1" in blocks(changed(second, third))
    assert run.summary["chosen"] == "all"
    assert str(run.summary["settings"]["layers"]) == "all"


@pytest.mark.slow
def test_an_interrupted_training_ends_alike(settings, straight, tmp_path):
    """Interrupted where the second stage begins, and again where the third does."""
    run, _ = straight
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            runs.finetune(settings, tmp_path / "run", [Watch(until=epoch)])
    again = runs.finetune(settings, tmp_path / "run")
    for one, other in zip(run.load_model().weights, again.load_model().weights, strict=True):
        assert np.array_equal(one.value, other.value), one.path


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        (("deep:1@2", "all@4"), "the steps must rise from 0"),
        (("deep:1@0", "deep:2@4", "all@2"), "the steps must rise from 0"),
        (("all",), "give a strategy and the step"),
        ((1,), "unfreeze must be text, not 1"),
        (("all@x",), "give a strategy and the step"),
        (("deep:x@0",), "deep:x"),
        (("rgn@0",), "rgn cannot be a stage"),
        (("none@0", "all@2"), "none cannot be a stage"),
        (("deep:1@0", "all@3"), "all@3: steps must be multiples of validate_every, 2, and below"),
        (("deep:1@0", "all@6"), "all@6: steps must be multiples of validate_every, 2, and below"),
    ],
)
def test_wrong_stages_are_refused(stages, fault):
    with pytest.raises(ValueError, match=fault):
        replace(SETTINGS, unfreeze=stages)


def test_what_has_no_stages_refuses_them():
    with pytest.raises(ValueError, match="views need layers that stay frozen"):
        replace(SETTINGS, views=2)
    with pytest.raises(ValueError, match="layers deep:2 and unfreeze deep:1@0 .* give one of them"):
        replace(SETTINGS, layers="deep:2")
    with pytest.raises(ValueError, match="a study compares strategies"):
        StudySettings(run=SETTINGS)


def test_stages_are_parsed_strategies():
    stages = parse_stages(["deep:1@0", "contracting+0.1*expanding@50"])
    assert [stage.strategy for stage in stages] == [
        parse("deep:1"),
        parse("contracting+0.1*expanding"),
    ]
    assert [str(stage) for stage in stages] == ["deep:1@0", "contracting+0.1*expanding@50"]
    assert issubclass(StrategyError, ValueError)

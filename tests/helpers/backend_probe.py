"""Trains under several strategies on the backend of KERAS_BACKEND; run by test_training.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

from helpers.images import disc_images
from helpers.steps import train_three_steps, values
from kerasunet import UNet, set_trainable
from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune


def moved_layers(strategy: str) -> set[str]:
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, strategy)
    before = values(model)
    train_three_steps(model)
    after = values(model)
    return {path.split("/")[0] for path in before if (before[path] != after[path]).any()}


def check_strategies() -> None:
    encoder = {"enc1_conv1", "enc1_norm1", "enc1_conv2", "enc1_norm2"}
    assert moved_layers("shallow:1") == encoder
    assert moved_layers("shallow:1&norm") == {"enc1_norm1", "enc1_norm2"}
    assert moved_layers("head") == {"head"}
    assert len(moved_layers("contracting")) == 8


def check_run() -> None:
    settings = FinetuneSettings(
        layers="contracting",
        init="scratch",
        data="simulated-xray:10",
        train_size=4,
        validation_size=2,
        folds=3,
        image_size=32,
        architecture=Architecture(base_filters=4, depth=1),
        optimization=Optimization(steps=4, batch_size=2, validate_every=2),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = finetune(settings, Path(folder) / "run")
        assert run.summary["after"]["n"] > 0
        assert run.load_model().name == "unet"


if __name__ == "__main__":
    assert len(disc_images(2)[0]) == 2
    check_strategies()
    check_run()
    print(keras.backend.backend(), "ok")

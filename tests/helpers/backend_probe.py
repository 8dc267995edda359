"""Trains under several strategies on the backend of KERAS_BACKEND; run by test_training.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kerasunet.backend import precision_of, start_backend

start_backend()  # As every command does.

import keras  # noqa: E402
import numpy as np  # noqa: E402

from helpers.images import disc_images  # noqa: E402
from helpers.steps import train_three_steps, values  # noqa: E402
from kerasunet import UNet, set_trainable  # noqa: E402
from kerasunet.network import dtype_policy  # noqa: E402
from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune  # noqa: E402


def moved_layers(strategy: str) -> set[str]:
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, strategy)
    before = values(model)
    train_three_steps(model)
    after = values(model)
    return {path.split("/")[0] for path in before if (before[path] != after[path]).any()}


def check_strategies() -> None:
    assert moved_layers("shallow:1&norm") == {"enc1_norm1", "enc1_norm2"}
    assert len(moved_layers("contracting")) == 8


def check_precision() -> None:
    """Processors do not round products of float32 numbers, unless JAX is told to."""
    assert precision_of("float32") == "float32"
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("tensorfloat32"):
            assert precision_of("float32") == "float32 (tensorfloat32)"


def check_statistics() -> None:
    """Statistics of the contracting path follow the data while its weights stay."""
    norms = {"enc1_norm1", "enc1_norm2", "bottleneck_norm1", "bottleneck_norm2"}
    decoder = {f"dec1_{name}" for name in ("up", "conv1", "norm1", "conv2", "norm2")} | {"head"}
    assert moved_layers("expanding+statistics") == decoder | norms


class OwnOptimizer(keras.optimizers.SGD):
    """A caller's class that Keras can't find by name."""


def moves(strategy: str, policy: str, averaged: bool) -> dict[str, np.ndarray]:
    """One step from the same weights under a strategy: how far each weight moved."""
    keras.utils.set_random_seed(0)
    with dtype_policy(policy):
        model = UNet(base_filters=4, depth=1)
    settings = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 1}
    optimizer = OwnOptimizer(1.0, **(settings if averaged else {}))
    model.compile(optimizer, loss="binary_crossentropy")
    set_trainable(model, strategy)
    assert type(getattr(model.optimizer, "inner_optimizer", model.optimizer)) is OwnOptimizer
    before = values(model)
    images, masks = disc_images(4)
    model.train_on_batch(images[..., None], masks[..., None].astype("float32"))
    return {path: value - before[path] for path, value in values(model).items()}


def check_rate_factors() -> None:
    """One whole step is enough to compare with: in another precision it is nearly the same."""
    wholes = {averaged: moves("all", "float32", averaged) for averaged in (False, True)}
    cases = ("float32", False, 1e-4), ("mixed_float16", False, 0.04), ("float32", True, 1e-4)
    for policy, averaged, tolerance in cases:
        soft, whole = moves("contracting+0.1*expanding", policy, averaged), wholes[averaged]
        for path, factor in {"enc1_conv1/kernel": 1, "head/kernel": 0.1}.items():
            expected = factor * whole[path]
            size = np.linalg.norm(expected)
            assert np.linalg.norm(soft[path] - expected) < tolerance * size, (
                policy,
                averaged,
                path,
            )


def check_masks() -> None:
    """Masks of 0 and 255 stop a fit of the caller's, whatever has compiled it."""
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, "all")
    images, masks = disc_images(4)
    try:
        model.fit(images[..., None], masks[..., None] * np.float32(255), verbose=0)
    except Exception as error:  # Each backend has an error of its own.
        assert "divide masks of 0 and 255 by 255" in str(error), error
    else:
        raise AssertionError("the fit went on")


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
    check_precision()
    check_statistics()
    check_rate_factors()
    check_masks()
    check_run()
    print(keras.backend.backend(), "ok")

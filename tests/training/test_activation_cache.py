"""The frozen beginning of a network computed once: the same losses, less work."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.images import disc_images

from kerasunet.data import Augmentation
from kerasunet.data.augmentation import Batches
from kerasunet.data.decoding import DecodedCases
from kerasunet.freezing import apply_strategy
from kerasunet.training import FinetuneSettings, Optimization, finetune
from kerasunet.training.learner import ActivationCache, cut_before_training
from kerasunet.training.loop import train
from kerasunet.training.optimizer import compile_for_training
from kerasunet.unet import UNet

VIEWS, STEPS = 2, 12
SETTINGS = Optimization(steps=STEPS, batch_size=3, validate_every=STEPS)


@pytest.fixture(scope="module")
def cases() -> DecodedCases:
    images, masks = disc_images(5)
    keys = tuple(f"case{index}" for index in range(5))
    return DecodedCases(keys, keys, images[..., None], masks=masks, spacings=(None,) * 5)


def network(strategy: str, normalization: str | None = "batch") -> keras.Model:
    keras.utils.set_random_seed(1)
    model = UNet(base_filters=4, depth=2, normalization=normalization)
    apply_strategy(model, strategy)
    compile_for_training(model, SETTINGS)
    return model


def plain_losses(model: keras.Model, cases: DecodedCases) -> list[float]:
    batches = Batches(cases, 3, Augmentation(), seed=0, views=VIEWS)
    return [float(model.train_on_batch(*batch)[0]) for batch in batches.steps(0, STEPS)]


def train_with_cache(model: keras.Model, cases: DecodedCases, folder, callbacks=()) -> None:
    train(
        model,
        cases,
        cases.between(0, 0),
        optimization=SETTINGS,
        augmentation=Augmentation(),
        checkpoint=folder / "checkpoint.npz",
        history=folder / "history.csv",
        callbacks=callbacks,
        views=VIEWS,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "normalization"),
    [
        ("expanding", "batch"),
        ("head", None),
        ("bottleneck", "group"),
        ("enc2+dec1", "batch"),
    ],
)
def test_losses_and_weights_are_those_without_the_cut(strategy, normalization, cases, tmp_path):
    plain, cut = network(strategy, normalization), network(strategy, normalization)
    expected = plain_losses(plain, cases)
    losses: list[float] = []
    watcher = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"] * (batch + 1))
    )
    train_with_cache(cut, cases, tmp_path, [watcher])
    np.testing.assert_allclose(np.diff([0.0, *losses]), expected, rtol=1e-3, atol=1e-4)
    for one, other in zip(plain.get_weights(), cut.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-4)


@pytest.mark.slow
def test_frozen_part_keeps_every_bit_and_the_rest_learns(cases, tmp_path):
    model = network("deep:2")
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    trained = {weight.path for weight in model.trainable_weights}
    train_with_cache(model, cases, tmp_path)
    for weight in model.weights:
        same = np.array_equal(before[weight.path], keras.ops.convert_to_numpy(weight))
        block = weight.path.split("/")[0].split("_")[0]
        assert same == (block not in ("dec1", "dec2", "head")), weight.path
        assert not (same and weight.path in trained)


def test_each_view_is_computed_once(cases, tmp_path):
    cut = cut_before_training(network("deep:1"))
    counted: list[int] = []
    compute = cut.frozen.predict_on_batch

    def counting(images):
        counted.append(len(images))
        return compute(images)

    cut.frozen.predict_on_batch = counting
    batches = Batches(cases, 3, Augmentation(), seed=0, views=VIEWS)
    steps = list(ActivationCache(batches, cut.frozen, tmp_path).steps(0, 20))
    assert sum(counted) == len(cases) * VIEWS
    assert not list(tmp_path.iterdir())
    for step, (_, masks) in enumerate(steps):
        np.testing.assert_array_equal(masks, batches.batch(step)[1])


def test_nothing_is_cut_where_the_first_layer_trains():
    assert cut_before_training(network("all")) is None
    assert cut_before_training(network("enc1_conv1")) is None
    assert cut_before_training(network("enc1_norm1")) is not None


def test_views_come_round_again(cases):
    limited = Batches(cases, 5, Augmentation(), seed=0, views=2)
    seen = {view for step in range(6) for view in limited.views_of(step)}
    assert len(seen) == 10
    endless = Batches(cases, 5, Augmentation(), seed=0)
    assert len({view for step in range(6) for view in endless.views_of(step)}) == 30
    np.testing.assert_array_equal(limited.batch(0)[0], endless.batch(0)[0])


@pytest.mark.slow
def test_a_run_with_limited_views_tells_so_and_starts_again_alike(tiny_model_file, tmp_path):
    settings = FinetuneSettings(
        layers="deep:1",
        init=str(tiny_model_file),
        data="simulated-xray:12",
        train_size=4,
        validation_size=0,
        folds=3,
        image_size=32,
        views=2,
        optimization=Optimization(steps=8, batch_size=2, validate_every=4, deterministic=True),
    )
    one = finetune(settings, tmp_path / "one", compact=True).summary
    two = finetune(settings, tmp_path / "two", compact=True).summary
    assert one["settings"]["views"] == 2
    assert one["after"] == two["after"]
    with pytest.raises(ValueError, match="views must be at least 1, not 0"):
        FinetuneSettings(views=0)

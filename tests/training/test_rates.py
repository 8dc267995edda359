"""Learning rates: relative gradient norms, measured in every epoch, and the pull to the start."""

from __future__ import annotations

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest
from helpers.images import disc_images

from kerasunet import UNet, describe, set_trainable
from kerasunet.backend import on_plain_tensorflow
from kerasunet.data import DecodedCases
from kerasunet.data.augmentation import Batches
from kerasunet.data.augmentation_settings import NO_AUGMENTATION
from kerasunet.freezing import apply_strategy
from kerasunet.losses import dice_bce
from kerasunet.strategies import NetworkLayout, StrategyError, parse
from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune
from kerasunet.training.loop import TrainingState, load_checkpoint, save_checkpoint
from kerasunet.training.optimizer import (
    RelativeRates,
    compile_for_training,
    make_optimizer,
    pull_to_start,
    rate_variable,
)

LAYOUT = NetworkLayout.unet(1)
KERNELS = {f"{ref.layer}/kernel" for ref in LAYOUT.weights if ref.kind == "kernel"}


def decoded(count: int) -> DecodedCases:
    images, masks = disc_images(count)
    keys = tuple(f"disc{index}" for index in range(count))
    return DecodedCases(keys, keys, images[..., None], masks=masks, spacings=(None,) * count)


def norms_by_tensorflow(model: keras.Model, batches: list) -> dict[str, float]:
    """The same by TensorFlow's own tape, batch normalization in inference mode."""
    tf = pytest.importorskip("tensorflow")
    kernels = [v for v in model.weights if v.path in KERNELS]
    found = []
    for images, masks in batches:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(dice_bce(masks, model(images, training=False)))
        gradients = tape.gradient(loss, [v.value for v in kernels])
        found.append(
            [float(tf.norm(g) / tf.norm(v.value)) for g, v in zip(gradients, kernels, strict=True)]
        )
    means = np.mean(found, axis=0)
    return dict(zip((v.path for v in kernels), means / means.max(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_rates_are_relative_gradient_norms_over_the_largest(power):
    keras.utils.set_random_seed(3)
    model = UNet(base_filters=4, depth=1)
    apply_strategy(model, f"rgn^{power}")
    batches = Batches(decoded(12), 4, NO_AUGMENTATION, seed=0)
    factors = RelativeRates(model, batches, power).measure(first=2, last=4)
    expected = norms_by_tensorflow(model, [batches.batch(2), batches.batch(3)])
    assert factors.keys() == KERNELS and max(factors.values()) == 1
    assert factors == pytest.approx({k: v**power for k, v in expected.items()}, rel=1e-3)
    rows = {row.layer: row for row in describe(model).rows}
    assert rows["enc1_conv1"].rates == (factors["enc1_conv1/kernel"],)
    assert not any(row.trained or row.statistics for row in rows.values() if "norm" in row.layer)


@pytest.mark.slow
def test_without_any_gradient_nothing_moves_and_nothing_fails():
    model = UNet(base_filters=2, depth=1)
    apply_strategy(model, "rgn")
    head = model.get_layer("head")
    head.set_weights([np.zeros_like(head.get_weights()[0]), np.array([1000.0])])  # Saturated.
    batches = Batches(decoded(4), 4, NO_AUGMENTATION, seed=0)
    factors = RelativeRates(model, batches, 1.0).measure(0, 1)
    assert set(factors.values()) == {0.0}
    assert "head/kernel" not in factors  # All its weights are 0, so nothing is relative to them.


@pytest.mark.slow
def test_each_kernel_moves_by_its_share():
    """One step of Adam moves every weight by about the rate, so moves tell the factors."""
    model = UNet(base_filters=4, depth=1)
    apply_strategy(model, "rgn")
    batches = Batches(decoded(8), 4, NO_AUGMENTATION, seed=0)
    factors = RelativeRates(model, batches, 1.0).measure(0, 2)
    settings = Optimization(steps=10, learning_rate=1e-3, warmup=0, schedule="constant")
    compile_for_training(model, settings)
    before = {v.path: v.numpy() for v in model.weights}
    model.train_on_batch(*batches.batch(0))
    for variable in model.weights:
        move = np.abs(variable.numpy() - before[variable.path]).max()
        assert move == pytest.approx(1e-3 * factors.get(variable.path, 0), rel=2e-2, abs=1e-8)


def test_a_later_epoch_goes_on_where_the_schedule_has_come_to():
    model = UNet(base_filters=2, depth=1)
    whole, part = (Optimization(steps=40, warmup=0.1), 25)
    rates = []
    for first in (0, part):
        compile_for_training(model, whole, first)
        schedule = model.optimizer._learning_rate
        rates.append(float(schedule(part - first)))
    assert rates[0] == pytest.approx(rates[1])


def test_a_level_rate_rises_and_can_be_set_at_any_step():
    settings = Optimization(steps=40, warmup=0.1, schedule="constant", learning_rate=0.01)
    model = UNet(base_filters=2, depth=1)
    compile_for_training(model, settings)
    rates = []
    for step in range(6):
        if step == 2:
            model.optimizer.learning_rate = float(model.optimizer.learning_rate) / 2
        rates.append(float(model.optimizer.learning_rate))
        model.optimizer.iterations.assign(step + 1)
    wanted = [0.0025, 0.005, 0.00375, 0.005, 0.005, 0.005]
    assert [*rates, float(rate_variable(model.optimizer))] == pytest.approx([*wanted, 0.005])


@pytest.mark.slow
def test_a_checkpoint_of_version_0_1_0_lacks_the_level_rate(tmp_path):
    settings = Optimization(steps=40, schedule="constant", learning_rate=0.01)
    model = UNet(base_filters=2, depth=1)
    compile_for_training(model, settings)
    model.train_on_batch(*Batches(decoded(4), 4, NO_AUGMENTATION, seed=0).batch(0))
    save_checkpoint(tmp_path / "now.npz", model, TrainingState(epoch=1))
    with np.load(tmp_path / "now.npz") as file:
        arrays = {name: file[name] for name in file.files}
    state = [arrays.pop(name) for name in sorted(arrays) if name.startswith("optimizer")]
    older = [state[0], *state[2:]]
    arrays |= {f"optimizer_{index:05d}": array for index, array in enumerate(older)}
    np.savez(tmp_path / "then.npz", **arrays)
    compile_for_training(model, settings)
    assert load_checkpoint(tmp_path / "then.npz", model).epoch == 1
    found = [variable.numpy() for variable in model.optimizer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(found, state, strict=True))


@pytest.fixture
def settings() -> FinetuneSettings:
    return FinetuneSettings(
        layers="rgn^0.5",
        init="scratch",
        data="simulated-ultrasound:20",
        train_size=8,
        validation_size=4,
        image_size=32,
        architecture=Architecture(base_filters=2, depth=1),
        optimization=Optimization(steps=6, batch_size=4, validate_every=2, deterministic=True),
    )


def rates(directory) -> list[dict[str, str]]:
    with open(directory / "rates.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_epoch_has_rates_of_its_own_and_a_stopped_run_ends_alike(settings, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    finetune(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finetune(settings, tmp_path / "stopped", [Stop()])
    finetune(settings, tmp_path / "stopped")
    whole = rates(tmp_path / "whole")
    assert [row["epoch"] for row in whole] == ["0", "1", "2"]
    assert whole == rates(tmp_path / "stopped")
    assert len({tuple(row.values())[1:] for row in whole}) == 3
    models = [keras.models.load_model(tmp_path / n / "model.keras") for n in ("whole", "stopped")]
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_fit_of_ones_own_is_told_that_it_cannot():
    told = "rgn: its rates are measured in every epoch"
    with pytest.raises(StrategyError, match=told):
        set_trainable(UNet(base_filters=2, depth=1), "rgn")
    with pytest.raises(StrategyError, match=told):
        UNet(base_filters=2, depth=1, trainable="rgn")
    assert parse("rgn").select(LAYOUT) == parse("kernel").select(LAYOUT)


@pytest.mark.slow
def test_the_pull_is_the_gradient_of_the_penalty():
    """With SGD at rate 1 the pulled step is the plain one less strength times the distance."""
    keras.utils.set_random_seed(0)
    model = UNet(base_filters=2, depth=1)
    start = [v.numpy() for v in model.trainable_variables]
    batch = Batches(decoded(4), 4, NO_AUGMENTATION, seed=0).batch(0)

    def step(strength: float) -> list[np.ndarray]:
        for variable, value in zip(model.trainable_variables, start, strict=True):
            variable.assign(value)
        optimizer = keras.optimizers.SGD(0.5)
        if strength:
            pull_to_start(optimizer, model, strength)
        model.compile(optimizer, loss="mse")
        for variable, value in zip(model.trainable_variables, start, strict=True):
            variable.assign(value + 0.1)
        model.train_on_batch(*batch)
        return [v.numpy() for v in model.trainable_variables]

    for plain, pulled in zip(step(0.0), step(0.3), strict=True):
        np.testing.assert_allclose(pulled, plain - 0.5 * 0.3 * 0.1, atol=1e-6)


def test_weights_that_a_later_stage_trains_are_pulled_to_the_first_start():
    """A resumed run has trained them before the stage compiles anew."""
    model = UNet(base_filters=2, depth=1)
    head = model.get_layer("head")
    head.trainable = False
    pull_to_start(keras.optimizers.SGD(1.0), model, 0.5)
    head.trainable = True
    start = head.kernel.numpy()
    head.kernel.assign(start + 0.2)
    optimizer = keras.optimizers.SGD(1.0)
    pull_to_start(optimizer, model, 0.5)
    variables = list(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    np.testing.assert_allclose(head.kernel.numpy(), start + 0.1, atol=1e-6)


@pytest.mark.slow
def test_a_strong_pull_keeps_weights_near_the_start(settings, tmp_path):
    far = []
    for pull in (0.0, 100.0):
        optimization = replace(settings.optimization, steps=20, validate_every=20, pull=pull)
        run = replace(settings, layers="all", optimization=optimization)
        keras.utils.set_random_seed(0)
        start = initial_weights(run)
        finetune(run, tmp_path / f"pull{pull}")
        model = keras.models.load_model(tmp_path / f"pull{pull}" / "model.keras")
        far.append(
            sum(float(((v.numpy() - start[v.path]) ** 2).sum()) for v in model.trainable_variables)
        )
    assert far[1] < far[0] / 4


def initial_weights(settings: FinetuneSettings) -> dict[str, np.ndarray]:
    model = settings.architecture.build()
    return {v.path: v.numpy() for v in model.weights if "moving" not in v.path}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_an_update_in_one_operation_is_that_of_keras_adam(schedule):
    settings = Optimization(steps=10, warmup=0.2, schedule=schedule, learning_rate=0.01)
    ours = make_optimizer(settings)
    keras_adam = keras.optimizers.Adam(0.0, global_clipnorm=settings.clip_norm)
    rng = np.random.default_rng(4)
    shapes = [(3, 3, 2, 4), (4,)]
    starts = [rng.normal(size=shape).astype("float32") for shape in shapes]
    moved = [[keras.Variable(start) for start in starts] for _ in range(2)]
    for optimizer, weights in zip((ours, keras_adam), moved, strict=True):
        optimizer.build(weights)
    for _ in range(5):
        gradients = [keras.ops.convert_to_tensor(rng.normal(size=s), "float32") for s in shapes]
        keras_adam.learning_rate = float(ours.learning_rate)
        for optimizer in (ours, keras_adam):
            optimizer.apply(gradients)
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)
    assert not np.allclose(moved[0][0].numpy(), starts[0], atol=0.01)
    if on_plain_tensorflow():
        import tensorflow as tf

        step = tf.function(lambda: ours.apply(gradients)).get_concrete_function()
        operations = [one.type for one in step.graph.get_operations()]
        assert operations.count("ResourceApplyAdam") == len(shapes)

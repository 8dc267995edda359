"""Frozen means frozen, trained means moved: bit for bit, after real optimizer steps."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.images import disc_images
from helpers.steps import train_three_steps, values

from kerasunet import UNet, describe, set_trainable
from kerasunet.freezing import layout_of
from kerasunet.network import dtype_policy
from kerasunet.strategies import NetworkLayout, expand, parse

DEPTH = 2
LAYOUT = NetworkLayout.unet(DEPTH)
_TEXTS = [
    *("contracting", "expanding", "bottleneck", "norm", "kernel", "bias", "all", "none"),
    *(t for p in ("shallow:*", "deep:*", "outer:*", "inner:*") for t in expand(p, LAYOUT)),
]
STRATEGIES = [*{parse(text).select(LAYOUT): text for text in reversed(_TEXTS)}.values()]
"""Of those that train the same weights, the first."""


EAGER = (
    [(strategy, "batch") for strategy in STRATEGIES]
    + [(strategy, "group") for strategy in ("expanding", "norm", "none")]
    + [(strategy, None) for strategy in ("deep:2", "bias")]
)
QUICK = [("shallow:2", "batch"), ("norm", "batch"), ("expanding", "group"), ("deep:2", None)]
COMPILED = [("outer:2", "batch"), ("norm", "batch"), ("none", "batch"), ("expanding", "group")]


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize(
    ("strategy", "normalization", "eagerly"),
    [
        *((*pair, True) for pair in QUICK),
        *(pytest.param(*pair, True, marks=pytest.mark.slow) for pair in EAGER if pair not in QUICK),
        *(pytest.param(*pair, False, marks=pytest.mark.slow) for pair in COMPILED),
    ],
)
def test_frozen_weights_and_statistics_stay_and_trained_ones_move(strategy, normalization, eagerly):
    layout = NetworkLayout.unet(DEPTH, normalization)
    model = UNet(base_filters=4, depth=DEPTH, normalization=normalization)
    set_trainable(model, strategy)
    before = values(model)
    train_three_steps(model, eagerly)
    after = values(model)

    selected = parse(strategy).select(layout)
    trained = {f"{ref.layer}/{ref.name}" for ref in selected}
    for ref in selected:
        if ref.kind == "norm" and normalization == "batch":
            trained |= {f"{ref.layer}/moving_mean", f"{ref.layer}/moving_variance"}
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    assert moved == trained


@pytest.mark.slow
def test_changing_the_strategy_after_training_takes_effect():
    """Keras ignores `trainable` after `compile`; set_trainable compiles anew."""
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, "all")
    train_three_steps(model)
    assert int(model.optimizer.iterations) == 3
    set_trainable(model, "deep:1")
    assert int(model.optimizer.iterations) == 0
    before = values(model)
    train_three_steps(model)
    moved = {p.split("/")[0] for p, v in values(model).items() if not np.array_equal(v, before[p])}
    assert moved == {"dec1_up", "dec1_conv1", "dec1_norm1", "dec1_conv2", "dec1_norm2", "head"}


def test_own_optimizer_and_loss_are_kept():
    model = UNet(base_filters=4, depth=1)
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), loss="mse")
    set_trainable(model, "shallow:1")
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == 0.25
    assert model.loss == "mse"


def test_single_layers_are_switched_by_name():
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, "contracting")
    set_trainable(model, {"enc1_conv1": False, "head": True})
    before = values(model)
    train_three_steps(model, eagerly=True)
    moved = {p.split("/")[0] for p, v in values(model).items() if not np.array_equal(v, before[p])}
    assert "enc1_conv1" not in moved
    assert {"enc1_conv2", "bottleneck_conv1", "head"} <= moved
    assert "dec1_conv1" not in moved


def test_unknown_layer_is_named_with_what_exists():
    with pytest.raises(ValueError, match="enc1_conv9: no layer of this name.*enc1_conv1"):
        set_trainable(UNet(base_filters=2, depth=1), {"enc1_conv9": False})


def test_foreign_model_is_refused():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1, name="mystery")])
    with pytest.raises(ValueError, match="layer mystery belongs to no block"):
        set_trainable(model, "all")


@pytest.mark.parametrize("normalization", ["batch", "group", None])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_layout_of_a_real_model_is_the_layout_of_the_grammar(depth, normalization):
    model = UNet(base_filters=2, depth=depth, normalization=normalization)
    assert layout_of(model) == NetworkLayout.unet(depth, normalization)


def test_description_counts_every_learnable_parameter_once():
    model = UNet(base_filters=4, depth=2)
    model.trainable = True
    learnable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    table = describe(model)
    assert table.parameters == table.trained == learnable
    assert sum(parameters for parameters, _ in table.blocks.values()) == learnable
    assert list(table.blocks) == ["enc1", "enc2", "bottleneck", "dec2", "dec1"]


def test_description_says_what_trains_as_text_and_as_data():
    model = UNet(base_filters=4, depth=1)
    table = set_trainable(model, "shallow:1&kernel")
    expected = 9 * 1 * 4 + 9 * 4 * 4
    assert table.trained == expected
    assert {row["layer"] for row in table.as_dicts() if row["trained"]} == {
        "enc1_conv1",
        "enc1_conv2",
    }
    text = str(table)
    assert "enc1        enc1_conv1                 36         yes" in text
    assert f"{expected}" in text.splitlines()[-1]


def test_flags_in_a_model_do_not_add_up():
    """A strategy replaces what was frozen before, it does not stack on it."""
    model = UNet(base_filters=4, depth=1, trainable="none")
    set_trainable(model, "bias")
    set_trainable(model, "all")
    assert describe(model).trained == describe(model).parameters


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize(
    ("strategy", "eagerly"),
    [
        ("statistics", True),
        ("statistics&enc1", True),
        pytest.param("expanding+statistics", False, marks=pytest.mark.slow),
    ],
)
def test_statistics_follow_the_data_while_their_weights_stay(strategy, eagerly):
    model = UNet(base_filters=4, depth=2)
    set_trainable(model, strategy)
    before = values(model)
    train_three_steps(model, eagerly)
    after = values(model)
    parsed, layout = parse(strategy), NetworkLayout.unet(2)
    expected = {f"{ref.layer}/{ref.name}" for ref in parsed.select(layout)}
    moving = {*parsed.statistics(layout), *(r.layer for r in parsed.select(layout))}
    expected |= {
        f"{layer}/{name}"
        for layer in moving & set(layout.statistics)
        for name in ("moving_mean", "moving_variance")
    }
    assert {p for p in before if not np.array_equal(before[p], after[p])} == expected


def by_name(**settings) -> keras.optimizers.MultiOptimizer:
    """An optimizer that leaves the expanding path to another one than the rest."""
    several = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.5))
    several["(dec|head).*"] = keras.optimizers.SGD(1.0, momentum=0.9, **settings)
    return keras.optimizers.MultiOptimizer(several)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        by_name(),
        by_name(use_ema=True, ema_overwrite_frequency=1),
        keras.optimizers.Adam(0.01),
        keras.optimizers.SGD(1.0),
        keras.optimizers.SGD(1.0, use_ema=True, ema_overwrite_frequency=1),
    ],
)
def test_a_rate_factor_scales_the_update_of_its_weights_alone(optimizer):
    """One step from the same weights: the moves differ by the factor, whatever the optimizer."""
    moves = {}
    for strategy in ("all", "contracting+0.1*expanding"):
        keras.utils.set_random_seed(0)
        model = UNet(base_filters=4, depth=1)
        fresh = type(optimizer).from_config(optimizer.get_config())
        model.compile(fresh, loss="binary_crossentropy")
        set_trainable(model, strategy)
        model.run_eagerly = True
        images, masks = disc_images(4)
        before = values(model)
        model.train_on_batch(images[..., None], masks[..., None].astype("float32"))
        model.optimizer.finalize_variable_values(model.trainable_variables)  # As at the end of fit.
        moves[strategy] = {p: v - before[p] for p, v in values(model).items()}
    expanding = {
        f"{ref.layer}/{ref.name}" for ref in parse("expanding").select(NetworkLayout.unet(1))
    }
    for path, move in moves["contracting+0.1*expanding"].items():
        factor = 0.1 if path in expanding else 1
        np.testing.assert_allclose(move, factor * moves["all"][path], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("use_ema", [False, True])
def test_constraints_of_the_caller_hold_where_a_rate_scales_the_update(use_ema):
    model = UNet(base_filters=4, depth=1)
    kernel = model.get_layer("enc1_conv1").kernel
    kernel.constraint = keras.constraints.UnitNorm(axis=[0, 1, 2])
    model.compile(keras.optimizers.SGD(0.5, use_ema=use_ema), "mse")
    set_trainable(model, "0.1*all")
    images, masks = disc_images(4)
    model.train_on_batch(images[..., None], masks[..., None].astype("float32"))
    np.testing.assert_allclose(np.square(kernel.numpy()).sum((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", by_name(use_ema=True)])
def test_rates_are_described_as_training_would_apply_them(optimizer):
    """Those of an earlier call neither pile up nor stay, nor do steps; a compile drops them."""
    model = UNet(base_filters=4, depth=1, trainable="0.1*expanding+contracting")
    assert {row.rates for row in describe(model).rows} == {(0.1,), (1.0,)}  # Not yet compiled.
    model.compile(optimizer, loss="binary_crossentropy")
    assert {row.rates for row in describe(model).rows} == {(1.0,)}
    for strategy, rate in (("0.5*all", 0.5), ("0.5*all", 0.5), ("all", 1.0)):
        assert {row.rates for row in set_trainable(model, strategy).rows} == {(rate,)}
        train_three_steps(model, eagerly=True)
        steps = {int(one.iterations) for one in getattr(model.optimizer, "optimizers", [])}
        assert steps <= {3}
    set_trainable(model, "0.5*all")
    model.compile("sgd", loss=model.loss)
    assert {row.rates for row in describe(model).rows} == {(1.0,)}


class AveragesElsewhere(keras.optimizers.SGD):
    """Like a Keras to come that averages weights in another method."""

    def _backend_apply_gradients(self, grads, trainable_variables):
        self._backend_update_step(grads, trainable_variables, self.learning_rate)


class AveragesByAnotherName(AveragesElsewhere):
    """Like one that no longer has the method of today."""

    @property
    def _update_model_variables_moving_average(self):
        raise AttributeError


def test_averages_that_rates_would_not_reach_are_refused():
    model = UNet(base_filters=4, depth=1)
    model.compile(AveragesElsewhere(use_ema=True), loss="binary_crossentropy")
    set_trainable(model, "0.1*all")
    with pytest.raises(ValueError, match="AveragesElsewhere: has use_ema, whose averages in Keras"):
        train_three_steps(model, eagerly=True)
    model.compile(AveragesByAnotherName(use_ema=True), loss="binary_crossentropy")
    before = set_trainable(model, "all")
    with pytest.raises(ValueError, match="rates of layers; leave out one of the two"):
        set_trainable(model, "0.1*all")
    assert describe(model) == before


def test_soft_strategies_are_described_and_leave_a_plain_model(tmp_path):
    model = UNet(base_filters=4, depth=2)
    table = set_trainable(model, "contracting+0.1*dec2+statistics")
    rows = {row.layer: row for row in table.rows}
    assert rows["enc1_conv1"].rates == (1.0,) and rows["dec2_up"].rates == (0.1,)
    assert rows["dec1_up"].rates == () and rows["dec1_norm1"].statistics
    assert "statistics" in str(table) and " 0.1" in str(table)
    set_trainable(model, "all")
    assert {row.rates for row in describe(model).rows} == {(1.0,)}
    set_trainable(model, "0.5*all")
    model.save(tmp_path / "soft.keras")
    opened = keras.models.load_model(tmp_path / "soft.keras")
    assert type(opened.optimizer) is keras.optimizers.Adam


@keras.saving.register_keras_serializable("tests")
class Registered(keras.optimizers.SGD):
    """A caller's own class, known to Keras by name."""


class Unregistered(keras.optimizers.SGD):
    """A caller's own class that Keras can't find by name."""


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 ** keras.ops.cast(step, "float32")

    def get_config(self):
        return {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer_class", "policy"), [(Registered, "mixed_float16"), (Unregistered, "float32")]
)
def test_own_classes_and_functions_are_kept_registered_or_not(optimizer_class, policy):
    def squared(truth, probability):
        return keras.ops.mean((truth - probability) ** 2)

    with dtype_policy(policy):
        model = UNet(base_filters=4, depth=1)
    model.compile(optimizer_class(Halving(), momentum=0.5), loss=squared, metrics=["mae"])
    train_three_steps(model, eagerly=True)
    set_trainable(model, "contracting+0.1*expanding")
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert type(optimizer) is optimizer_class and optimizer.momentum == 0.5
    assert int(optimizer.iterations) == 0 and float(optimizer.learning_rate) == 1
    assert model.loss is squared
    before = values(model)
    train_three_steps(model)
    assert any(not np.array_equal(v, before[p]) for p, v in values(model).items())


@pytest.mark.slow
def test_loss_scaling_keeps_the_factors():
    moves = {}
    for strategy in ("all", "0.1*all"):
        keras.utils.set_random_seed(0)
        with dtype_policy("mixed_float16"):
            model = UNet(base_filters=4, depth=1)
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=64.0)
        model.compile(scaled, loss="binary_crossentropy", run_eagerly=strategy == "all")
        set_trainable(model, strategy)
        assert model.optimizer.initial_scale == 64
        before = values(model)["head/kernel"]
        images, masks = disc_images(4)
        model.train_on_batch(images[..., None], masks[..., None].astype("float32"))
        moves[strategy] = values(model)["head/kernel"] - before
    assert np.abs(moves["all"]).max() > 0
    np.testing.assert_allclose(moves["0.1*all"], 0.1 * moves["all"], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("strategy", ["shallow:9", "0.1*statistics", {"enc9_conv1": True}])
def test_a_strategy_that_does_not_fit_leaves_the_model_untouched(strategy):
    model = UNet(base_filters=4, depth=1)
    before, optimizer = set_trainable(model, "0.5*enc1+statistics"), model.optimizer
    with pytest.raises(ValueError):
        set_trainable(model, strategy)
    assert describe(model) == before and model.optimizer is optimizer


def test_single_layers_leave_the_statistics_of_others():
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, "bias+statistics")
    table = set_trainable(model, {"enc1_norm1": False, "head": True})
    moving = {row.layer for row in table.rows if row.statistics}
    assert "enc1_norm1" not in moving and {"enc1_norm2", "dec1_norm1"} <= moving


@pytest.mark.slow
def test_a_soft_run_is_saved_and_taken_up_again(tmp_path):
    model = UNet(base_filters=4, depth=1)
    set_trainable(model, "contracting+0.1*expanding")
    train_three_steps(model, eagerly=True)
    model.save(tmp_path / "soft.keras")
    opened = keras.models.load_model(tmp_path / "soft.keras")
    assert int(opened.optimizer.iterations) == 3
    saved = values(model)
    assert all(np.array_equal(v, saved[p]) for p, v in values(opened).items())
    table = set_trainable(opened, "contracting+0.1*expanding")
    assert table == describe(model)

"""`set_trainable` keeps what is the caller's, object by object, or leaves the model untouched."""

from __future__ import annotations

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from helpers.images import disc_images
from helpers.steps import train_three_steps, values

from kerasunet import UNet, describe, set_trainable
from kerasunet.losses import DiceCrossEntropy, dice_bce
from kerasunet.network import dtype_policy

SIZE = 32


def dice(truth, probability):
    """A loss of the caller's with a name that Keras knows, too."""
    return keras.ops.mean((truth - probability) ** 2)


class Counter(keras.metrics.Metric):
    """A metric of the caller's."""

    def __init__(self):
        super().__init__(name="counter")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(1.0)

    def result(self):
        return self.count + 0.0


class Unwritable(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the caller's that cannot be written as text."""

    def __call__(self, step):
        return 0.25 * keras.ops.cast(step < 1000, "float32")


class Stretched(keras.optimizers.SGD):
    """An optimizer of the caller's with a setting that its get_config does not tell."""

    def __init__(self, *settings, stretch=1.0, **more):
        super().__init__(*settings, **more)
        self.stretch = stretch


class Demanding(keras.optimizers.SGD):
    """An optimizer of the caller's that cannot be made from its get_config."""

    def __init__(self, stretch, **more):
        super().__init__(**more)


class FailsWithFewWeights(keras.optimizers.SGD):
    def build(self, variables):
        if len(variables) < 10:
            raise RuntimeError("too few weights")
        super().build(variables)


def small() -> keras.Model:
    return UNet((SIZE, SIZE, 1), base_filters=4, depth=1)


def state(model: keras.Model) -> dict:
    """Return everything about a model that `set_trainable` may change."""
    return {
        "flags": [layer.trainable for layer in model._flatten_layers()],
        "weights": [variable.trainable for variable in model.weights],
        "table": str(describe(model)),
        "compiled": [vars(model).get(k) for k in ("optimizer", "loss", "_compile_config")],
        "hooks": vars(model).keys() & {"get_config", "save"},
    }


@pytest.mark.slow
def test_loss_metrics_and_schedule_stay_the_callers_objects():
    model, counter, schedule = small(), Counter(), Unwritable()
    optimizer = keras.optimizers.SGD(schedule, momentum=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, loss=dice, metrics=[counter], steps_per_execution=1)
    train_three_steps(model)
    set_trainable(model, "shallow:1")
    assert float(counter.result()) == 0  # What it has seen of the model before is not counted.
    assert model.loss is dice
    assert model.optimizer is not optimizer and int(model.optimizer.iterations) == 0
    assert model.optimizer._learning_rate is schedule and model.optimizer.momentum == 0.5
    assert not model.optimizer._use_weight_decay(model.get_layer("head").bias)
    before = values(model)
    train_three_steps(model)
    assert counter in model._compile_metrics.metrics
    assert any(not np.array_equal(value, before[path]) for path, value in values(model).items())


@pytest.mark.slow
def test_a_first_step_is_traced_once_and_dice_is_that_of_the_steps_since():
    model, calls = small(), []
    call = model.call
    model.call = lambda *inputs, **words: calls.append(inputs) or call(*inputs, **words)
    images, masks = disc_images(4)
    batch = images[..., None], masks[..., None].astype("float32")
    set_trainable(model, "all")
    model.train_on_batch(*batch)
    assert len(calls) == 1
    for _ in range(5):
        model.train_on_batch(*batch)
    set_trainable(model, "none")
    first, again = (model.train_on_batch(*batch, return_dict=True)["dice"] for _ in range(2))
    assert float(again) == pytest.approx(float(first), abs=1e-6)


def test_a_function_as_learning_rate_and_settings_beside_get_config_stay():
    model = small()
    model.compile(Stretched(lambda: 0.125, stretch=7.0), loss=dice)
    for strategy in ("0.5*all", "all"):
        set_trainable(model, strategy)
        assert type(model.optimizer) is Stretched and model.optimizer.stretch == 7
        assert float(model.optimizer.learning_rate) == 0.125
    assert "apply" not in vars(model.optimizer)  # The factors of an earlier strategy are gone.


@pytest.mark.parametrize(
    ("optimizer", "strategy", "error"),
    [
        (
            Demanding(3, learning_rate=0.1),
            "all",
            "Demanding: cannot be made again from its get_con",
        ),
        (FailsWithFewWeights(0.1), "bias", "too few weights"),
        (keras.optimizers.SGD(0.1), "shallow:9", "shallow:9"),
        (keras.optimizers.SGD(0.1), {"enc9_conv1": True}, "enc9_conv1: no layer of this name"),
    ],
    ids=["get_config", "build", "strategy", "layer"],
)
def test_after_a_failure_nothing_has_changed(optimizer, strategy, error):
    model = small()
    set_trainable(model, "0.5*enc1+bottleneck+statistics")
    model.compile(optimizer, loss=dice, metrics=[Counter()])
    before = state(model)
    with pytest.raises((ValueError, RuntimeError), match=error):
        set_trainable(model, strategy)
    assert state(model) == before
    train_three_steps(model, eagerly=True)


def test_a_compile_of_the_callers_own_is_refused_with_a_remedy():
    class Own(keras.Model):
        def compile(self, optimizer, **more):
            super().compile(optimizer=optimizer, **more)

    inner = small()
    model = Own(inner.input, inner.output)
    model.compile("sgd", loss="mse")
    before = state(model)
    with pytest.raises(ValueError, match="Own has its own `compile`.*apply_strategy"):
        set_trainable(model, "shallow:1")
    assert state(model) == before


def test_auto_scale_loss_stays_off():
    with dtype_policy("mixed_float16"):
        model = small()
    model.compile(keras.optimizers.SGD(0.1), loss=dice, auto_scale_loss=False)
    set_trainable(model, "shallow:1")
    assert type(model.optimizer) is keras.optimizers.SGD


def test_a_scaled_loss_is_in_the_file(tmp_path):
    """Keras adds it to an optimizer without writing it; a file opened later would lack it."""
    with dtype_policy("mixed_float16"):
        model = small()
        set_trainable(model, "shallow:1")
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping variable loading")
        again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, keras.optimizers.LossScaleOptimizer)
    assert len(again.optimizer.variables) == len(model.optimizer.variables)


# ---- layers on top, outer models


def on_top() -> keras.Model:
    inner = small()
    mine = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="mine")
    return keras.Model(inner.input, mine(inner.output))


def around() -> keras.Model:
    image = keras.Input((SIZE, SIZE, 1))
    before = keras.layers.Conv2D(1, 1, name="before")(image)
    after = keras.layers.Conv2D(1, 1, activation="sigmoid", name="mine")
    return keras.Model(image, after(small()(before)))


class Calling(keras.Model):
    def __init__(self):
        super().__init__()
        self.unet = small()
        self.mine = keras.layers.Conv2D(1, 1, activation="sigmoid", name="mine")

    def call(self, image, training=False):
        return self.mine(self.unet(image, training=training))


def calling() -> keras.Model:
    model = Calling()
    model(np.zeros((1, SIZE, SIZE, 1), "float32"))
    return model


@pytest.mark.parametrize("make", [on_top, around, calling])
@pytest.mark.parametrize("frozen", [False, True])
def test_layers_around_the_unet_keep_their_own_flags(make, frozen):
    model = make()
    mine = next(layer for layer in model._flatten_layers() if layer.name == "mine")
    mine.trainable = not frozen
    model.compile("sgd", loss="mse")
    table = set_trainable(model, "shallow:1&kernel")
    assert mine.trainable != frozen
    assert table.blocks["enc1"][1] == 9 * 4 + 9 * 16 and table.blocks["dec1"][1] == 0
    row = next(row for row in table.rows if row.layer == "mine")
    assert row.block == "other" and row.trained == (0 if frozen else row.parameters)
    assert table.trained == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    before = {id(v): v.numpy() for v in model.weights}
    images, masks = disc_images(2, SIZE)
    model.run_eagerly = True
    model.train_on_batch(images[..., None], masks[..., None])
    moved = {v.path for v in model.trainable_weights if (v.numpy() != before[id(v)]).any()}
    assert {"enc1_conv1/kernel", "enc1_conv2/kernel"} <= {p.rpartition("unet/")[2] for p in moved}


def test_layers_of_the_callers_are_switched_by_name():
    model = around()
    table = set_trainable(model, {"mine": False, "head": False})
    assert {row.layer for row in table.rows if not row.trained} == {"mine", "head"}


@pytest.mark.parametrize("word", ["no", None, 2, 0.5])
def test_flags_that_are_neither_true_nor_false_are_refused(word):
    model = small()
    with pytest.raises(ValueError, match="^head must be True or False, not"):
        set_trainable(model, {"head": word})
    assert set_trainable(model, {"head": np.bool_(False)}).rows[-1].trained == 0
    assert set_trainable(model, {"head": 1}).rows[-1].trained


def test_weights_of_adapters_are_told(tmp_path):
    model = small()
    model.get_layer("enc1_conv1").enable_lora(1)
    with pytest.raises(ValueError, match="enc1_conv1/lora_kernel_a: kind .* as from enable_lora"):
        set_trainable(model, "all")


def test_several_unets_are_refused():
    first, second = small(), UNet((SIZE, SIZE, 1), base_filters=2, depth=1, name="second")
    both = keras.Model(first.input, [first(first.input), second(first.input)])
    with pytest.raises(ValueError, match="several layers .*, so it holds several U-Nets"):
        set_trainable(both, "all")


def test_what_was_set_since_compile_and_metrics_without_a_loss_stay():
    model = small()
    model.compile("sgd", "mse")
    model.run_eagerly, model.jit_compile, model.steps_per_execution = True, False, 3
    set_trainable(model, "shallow:1")
    assert (model.run_eagerly, model.jit_compile, model.steps_per_execution) == (True, False, 3)
    model = small()
    model.compile("sgd", metrics=["mean_absolute_error"])
    set_trainable(model, "shallow:1")
    assert isinstance(model.loss, DiceCrossEntropy)
    assert model._compile_config.config["metrics"] == ["mean_absolute_error"]


def test_a_method_of_the_callers_on_the_model_stays():
    model, mine = small(), dict
    model.get_config = mine
    for strategy in ("bias", "all"):
        set_trainable(model, strategy)
        assert model.get_config is mine


# ---- saved and opened again


@pytest.mark.parametrize("around", [False, True])
def test_hdf5_that_would_mix_up_weights_is_refused(tmp_path, around):
    """By Keras' function, or as part of another model, whose `save` knows of no strategy."""
    model, path = small(), tmp_path / "saved.h5"
    set_trainable(model, "bias")
    if around:
        pictures = keras.Input((SIZE, SIZE, 1))
        model = keras.Model(pictures, model(pictures))
    with pytest.raises(ValueError, match="would mix them up; save the model as .keras"):
        keras.saving.save_model(model, path)
    with pytest.warns(UserWarning, match="call set_trainable again"):
        keras.saving.save_model(model, path.with_suffix(".keras"))


def test_the_packages_loss_in_a_mapping_is_left_out_of_a_file():
    model = small()
    model.compile("sgd", {model.output_names[0]: DiceCrossEntropy()})
    set_trainable(model, "shallow:1")
    assert model._compile_config.config["loss"] is None and model.loss is not None


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("strategy", ["bias", "0.1*all", "statistics", "shallow:1"])
def test_what_a_file_cannot_hold_is_warned_of(tmp_path, suffix, strategy):
    model, path = small(), str(tmp_path / f"saved{suffix}")
    set_trainable(model, strategy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.save(path)
    told = [str(w.message) for w in caught if "call set_trainable again" in str(w.message)]
    assert len(told) == (strategy != "shallow:1")
    opened = keras.models.load_model(path)
    images = disc_images(2, SIZE)[0][..., None]
    np.testing.assert_array_equal(opened.predict_on_batch(images), model.predict_on_batch(images))
    table = set_trainable(opened, strategy)
    assert table == describe(model) and isinstance(opened.loss, DiceCrossEntropy)


def test_the_warning_goes_with_the_strategy(tmp_path):
    model = UNet((SIZE, SIZE, 1), base_filters=4, depth=1, trainable="bias")
    with pytest.warns(UserWarning, match="call set_trainable again"):
        model.save(tmp_path / "bias.keras")
    set_trainable(model, "all")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save(tmp_path / "all.keras")


@pytest.mark.slow
def test_what_set_trainable_compiled_opens_where_kerasunet_cannot_be_imported(tmp_path):
    model = small()
    set_trainable(model, "shallow:1")
    train_three_steps(model)
    for suffix in ("keras", "h5"):
        model.save(tmp_path / f"saved.{suffix}")
    code = (
        "import sys; sys.modules['kerasunet'] = None; import keras; "
        "steps = lambda path: int(keras.models.load_model(path).optimizer.iterations); "
        "print(steps('saved.keras'), steps('saved.h5'))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["3", "3"]


# ---- the loss in a fit of the caller's


def compiled(loss, eagerly: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = small()
    model.compile(keras.optimizers.SGD(0.0), loss=loss, run_eagerly=eagerly)
    return model


@pytest.mark.slow
def test_weights_of_pixels_weigh_pixels():
    images, masks = disc_images(3, SIZE)
    images, masks = images[..., None], masks[..., None].astype("float32")
    plain = compiled(dice_bce, eagerly=True).train_on_batch(images, masks)
    for shape in ((3,), (3, SIZE, SIZE), (3, SIZE, SIZE, 1)):
        model = compiled(DiceCrossEntropy(), eagerly=True)
        found = model.train_on_batch(images, masks, sample_weight=np.ones(shape, "float32"))
        assert found == pytest.approx(plain)
    weights = np.zeros((3, SIZE, SIZE, 1), "float32")
    weights[:, : SIZE // 2] = 1
    upper = model.train_on_batch(images, masks, sample_weight=weights)
    changed = masks.copy()
    changed[:, SIZE // 2 :] = 1 - changed[:, SIZE // 2 :]
    assert model.train_on_batch(images, changed, sample_weight=weights) == upper != plain


@pytest.mark.slow
@pytest.mark.parametrize("loss", [DiceCrossEntropy(), dice_bce])
def test_masks_of_255_stop_a_fit(loss):
    images, masks = disc_images(2, SIZE)
    with pytest.raises(Exception, match=r"outside 0 to 1; divide masks of 0 and 255 by 255"):
        compiled(loss).train_on_batch(images[..., None], 255 * masks[..., None].astype("uint8"))


@pytest.mark.slow
def test_masks_without_an_axis_of_channels_are_the_same_masks():
    images, masks = disc_images(2, SIZE)
    losses = [
        compiled(DiceCrossEntropy()).train_on_batch(images[..., None], given)
        for given in (masks, masks[..., None])
    ]
    assert losses[0] == losses[1]

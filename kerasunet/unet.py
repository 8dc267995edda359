"""The U-Net as users build it and choose what trains: `UNet` and `set_trainable`.

Keras ignores a change of `trainable` until `compile`, and an optimizer keeps the moments of weights
that no longer train. Compiling again must not exchange anything that the caller chose, so objects
are handed on unchanged, and only the optimizer is made again, from its class and settings.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from numbers import Integral
from typing import Any

import keras
import numpy as np

from kerasunet import models
from kerasunet.freezing import (
    Description,
    LayerRow,
    apply_flags,
    apply_strategy,
    describe,
    flags_of,
    kept_flags,
    scale_updates,
    set_flags,
)
from kerasunet.losses import DiceCrossEntropy, has_several_channels, is_own, loss_and_metric
from kerasunet.network import build_network
from kerasunet.schema import typed
from kerasunet.strategies import Strategy, StrategyError, parse

_OWN_APPLY = "apply"  # Of `scale_updates`; it belongs to the optimizer that it was made for.
_RATE, _SEVERAL, _LEFT_OUT = "_learning_rate", "_optimizer_map", "left_out"
_HDF5 = (".h5", ".hdf5")
_LOST = (
    "{}: a file keeps which layers train, not which single weights, nor at which share of the "
    "learning rate; call set_trainable again after loading it"
)
_SINCE_COMPILE = ("run_eagerly", "jit_compile", "steps_per_execution")
_COMPILED = ("loss", "metrics", "weighted_metrics")


def UNet(
    input_shape: tuple[int | None, int | None, int] = (None, None, 1),
    base_filters: int = 16,
    depth: int = 4,
    *,
    classes: int = 1,
    overlapping: bool = False,
    normalization: str | None = "batch",
    weights: str | os.PathLike | None = None,
    trainable: str = "all",
    name: str = "unet",
) -> keras.Model:
    """Build a U-Net that maps raw gray levels to probabilities.

    Reference: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015 (arXiv 1505.04597), with zero padding, so that the output has the
    size of the input. `UNet((256, 256, 1), base_filters=64, normalization=None)` is the network
    of that paper.

    Args:
        input_shape: Height, width and channels. Height and width are multiples of `2**depth`, or
            `None` for any such size. 1 or 3 channels of raw gray levels, 0 to 255, any float
            dtype or uint8; each image is standardized to zero mean and unit variance inside.
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: Number of poolings. The network has `2 * depth + 1` blocks.
        classes: 1 gives a sigmoid (foreground probability); more give a softmax over mutually
            exclusive classes, the first of which is the background.
        overlapping: Makes each of several channels a sigmoid, for objects that may overlap; then
            none of them is the background.
        normalization: `"batch"`, `"group"` or `None`.
        weights: `"natural"` for the shipped weights (pre-trained on natural images), any other
            name that `kerasunet.models.list()` gives, the path of a `.keras` or `.weights.h5` file,
            or `None` for random initialization. The `head` is new where the classes differ from
            those of a `.keras` file, in number or in whether they overlap.
        trainable: Strategy text: which weights train, such as `"shallow:3"` (see
            `kerasunet.strategies`).
        name: Name of the model.

    Returns:
        An uncompiled functional `keras.Model`, input `(batch, height, width, channels)`, output
        `(batch, height, width, classes)`, float32 in 0 to 1.

    Raises:
        ValueError: An argument is out of range, the weights do not fit this architecture, or the
            strategy names something that this U-Net does not have.
    """
    model = build_network(
        input_shape,
        base_filters=typed("base_filters", "int", base_filters),
        depth=typed("depth", "int", depth),
        classes=typed("classes", "int", classes),
        normalization=normalization,
        name=name,
        overlapping=typed("overlapping", "bool", overlapping),
    )
    if weights is not None:
        models.load_weights_into(model, weights)
    if trainable != "all":
        apply_strategy(model, _with_fixed_rates(trainable))
        warn_when_saved(model)
    return model


def set_trainable(model: keras.Model, strategy: str | Strategy | Mapping[str, bool]) -> Description:
    """Choose the weights that train, and compile the model again with a fresh optimizer.

    Loss, metrics and the settings of the optimizer stay the caller's, object by object; if
    anything fails, the model stays as it was. A model that was never compiled gets Adam (learning
    rate 1e-3), Dice plus cross-entropy and the Dice metric. These two are left out of a saved
    file, which would otherwise open only where this package is imported; the optimizer is in it.

    A model may hold the U-Net among layers of the caller's: on top of it, around it, or in a model
    that calls it. Those keep their own flags, and are `other` in the table. Call this for the
    model that is fitted, because only that one is compiled.

    Rate factors belong to this optimizer, and a saved file keeps `trainable` for layers, not for
    single weights: after another `compile`, or in a model loaded to be trained on, call this again.

    Args:
        model: A model that `kerasunet.UNet` built, or that was loaded from its saved file, or that
            holds one such model.
        strategy: Strategy text such as `"shallow:3"`, a parsed strategy, or a mapping from layer
            names to whether they train, which leaves the other layers as they are.

    Returns:
        The table block / layer / parameters / trained.

    Raises:
        TypeError: The model is none.
        ValueError: The strategy or a layer name does not fit the model, holds no U-Net or several,
            has its own `compile`, or an optimizer that cannot be made again from its settings.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"give a model that UNet or models.load returned, not {model!r}")
    arguments, measured = _compile_arguments(model), model.metrics
    with kept_flags(model), _kept_state(model):
        if isinstance(strategy, Mapping):
            apply_flags(model, {name: _flag(name, trains) for name, trains in strategy.items()})
        else:
            apply_strategy(model, _with_fixed_rates(strategy))
        how = {name: getattr(model, name) for name in _SINCE_COMPILE if model.compiled}
        model.compile(**arguments)
        for name, value in how.items():  # They may have been set since the last `compile`.
            setattr(model, name, value)
        model.optimizer.build(model.trainable_variables)
        scale_updates(model.optimizer, model)
        _leave_out_own(model)
    for metric in measured:  # Keras would go on counting with the first batch.
        metric.reset_state()
    warn_when_saved(model)
    return describe(model)


def _flag(name: str, trains: Any) -> bool:
    """Return whether a layer trains; text such as "no" would count as true."""
    if not (isinstance(trains, Integral | np.bool_) and trains in (0, 1)):
        raise ValueError(f"{name} must be True or False, not {trains!r}")
    return bool(trains)


def _with_fixed_rates(strategy: str | Strategy) -> Strategy:
    """Return a strategy whose rates do not change in training.

    Raises:
        StrategyError: The text is not a strategy, or it is `rgn`.
    """
    parsed = strategy if isinstance(strategy, Strategy) else parse(strategy)
    if parsed.relative_power is not None:
        raise StrategyError(
            f"{parsed}: its rates are measured in every epoch, which only "
            "kerasunet.training.finetune and the command line do"
        )
    return parsed


def warn_when_saved(model: keras.Model) -> None:
    """Have a model warn when it is saved, if a file cannot record what trains.

    Args:
        model: A model that a strategy was applied to.
    """
    for name in ("get_config", "save"):
        if getattr(vars(model).get(name), "__module__", None) == __name__:  # Not of the caller's.
            del vars(model)[name]
    kept = {name: vars(model)[name] for name in ("get_config", "save") if name in vars(model)}
    if not any(map(_is_lost_in_a_file, describe(model).rows)):
        return

    def get_config():
        warnings.warn(_LOST.format(model.name), stacklevel=2)
        return type(model).get_config(model)

    def save(filepath, *arguments, **settings):
        with _whole_layers(model) if str(filepath).endswith(_HDF5) else nullcontext():
            return type(model).save(model, filepath, *arguments, **settings)

    vars(model).update({"get_config": get_config, "save": save} | kept)
    for layer in filter(_trains_in_part, model._flatten_layers(include_self=False)):
        layer.get_config = partial(_require_whole, layer)


def _trains_in_part(layer: keras.Layer) -> bool:
    own = layer._trainable_variables
    return layer.trainable and len({bool(variable.trainable) for variable in own}) > 1


def _require_whole(layer: keras.Layer) -> dict[str, Any]:
    """Return the settings of a layer, but not for an HDF5 file that would mix up its weights.

    Raises:
        ValueError: Keras writes HDF5, past `save` of the model that a strategy was applied to.
    """
    if _trains_in_part(layer) and _writes_hdf5():
        raise ValueError(
            f"{layer.name}: trains in part, and HDF5 stores weights that train before the rest, so "
            "the file would mix them up; save the model as .keras, or call save of the U-Net itself"
        )
    return type(layer).get_config(layer)


def _writes_hdf5() -> bool:
    """Return whether Keras is writing a whole model to HDF5."""
    # A layer is told nothing of the file; this is how Keras itself tells its models' `get_config`.
    from keras.src.backend.common.global_state import get_global_attribute

    return bool(get_global_attribute("use_legacy_config"))


def _is_lost_in_a_file(row: LayerRow) -> bool:
    partly = row.trained not in (0, row.parameters) or (row.statistics and not row.trained)
    return partly or row.rates not in ((), (1.0,))


@contextmanager
def _whole_layers(model: keras.Model) -> Iterator[None]:
    """Let layers that train in part train whole: HDF5 stores weights that train before the rest."""
    flags = flags_of(model)
    for layer, trains in flags:
        if isinstance(layer, keras.Layer) and trains:
            for variable in layer._trainable_variables:
                variable.trainable = True
    try:
        yield
    finally:
        set_flags(flags)


@contextmanager
def _kept_state(model: keras.Model) -> Iterator[None]:
    """Undo what `compile` has done to a model if anything fails."""
    before = dict(vars(model))
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise


def _compile_arguments(model: keras.Model) -> dict[str, Any]:
    """Return the arguments of the model's last `compile`, with a fresh optimizer."""
    if type(model).compile is not keras.Model.compile:
        raise ValueError(
            f"{model.name}: {type(model).__name__} has its own `compile`, whose arguments are "
            "not known; set the flags with kerasunet.freezing.apply_strategy, then compile it"
        )
    loss, metric = loss_and_metric(model)
    several = has_several_channels(model)
    defaults = {"loss": loss if several else DiceCrossEntropy(), "metrics": [metric]}
    if not model.compiled:
        return {"optimizer": _usual_optimizer(model), **defaults}
    # `get_compile_config` gives them as text, which Keras reads back for registered classes only.
    arguments = {**model._compile_config.config, **getattr(model._compile_config, _LEFT_OUT, {})}
    if arguments["loss"] is None and _cannot_train(model):  # A saved file does not hold them.
        arguments |= {name: value for name, value in defaults.items() if arguments[name] is None}
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return arguments | {"optimizer": _renewed(model.optimizer), "auto_scale_loss": scaled}


def _usual_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Return Adam, with a scaled loss where Keras would add that without writing it to a file."""
    adam = keras.optimizers.Adam(1e-3)
    scaled = model.dtype_policy.name == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(adam) if scaled else adam


def _cannot_train(model: keras.Model) -> bool:
    """Return whether a model without a loss has no other way to get one."""
    kind = type(model)
    own_step = kind.train_step is not keras.Model.train_step
    return not (own_step or kind.compute_loss is not keras.Model.compute_loss or model.losses)


def _leave_out_own(model: keras.Model) -> None:
    """Keep the package's loss and metrics out of a saved file, but not out of this model."""
    config = model._compile_config.config
    given = {name: config[name] for name in _COMPILED}
    config |= {name: _without_own(value) for name, value in given.items()}
    setattr(model._compile_config, _LEFT_OUT, given)
    for metric in filter(is_own, keras.tree.flatten(given["metrics"])):
        if isinstance(metric, keras.Metric):
            metric.reset_state()  # Its mean was that of steps with other layers.


def _without_own(value: Any) -> Any:
    if isinstance(value, list):
        return [one for one in value if not is_own(one)] or None
    if isinstance(value, dict):
        return {name: one for name, one in value.items() if not is_own(one)} or None
    return None if is_own(value) else value


def _renewed(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an optimizer of the same class and settings that has seen no step.

    Raises:
        ValueError: Its class cannot be made again from `get_config`.
    """
    if isinstance(of_weights := getattr(optimizer, _SEVERAL, None), Mapping):
        return type(optimizer)(
            _renewed_each(of_weights), optimizer.loss_scale_factor, optimizer.name
        )
    config = _config_of(optimizer)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        config["inner_optimizer"] = _renewed(optimizer.inner_optimizer)
        return type(optimizer)(**config)
    try:
        fresh = type(optimizer).from_config(config)
    except (TypeError, ValueError) as error:
        kind = type(optimizer).__name__
        raise ValueError(
            f"{kind}: cannot be made again from its get_config ({error}); let get_config return "
            "every argument of __init__"
        ) from error
    _hand_on_settings(optimizer, fresh)
    return fresh


def _renewed_each(of_weights: Any) -> Any:
    """Return the map of a `MultiOptimizer`, which handles weights by their names, made again."""
    usual = of_weights.default_optimizer
    fresh = {id(one): _renewed(one) for one in (usual, *of_weights.values()) if one is not None}
    again = {pattern: fresh[id(one)] for pattern, one in of_weights.items()}
    return type(of_weights)(fresh.get(id(usual)), again)


def _config_of(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Return the settings, with a schedule or function of the learning rate as the object it is."""
    rate = getattr(optimizer, _RATE, None)
    if isinstance(rate, keras.Variable) or not callable(rate):
        return optimizer.get_config()
    setattr(optimizer, _RATE, 0.0)  # Not every schedule can be written as text.
    try:
        return optimizer.get_config() | {"learning_rate": rate}
    finally:
        setattr(optimizer, _RATE, rate)


def _hand_on_settings(old: keras.optimizers.Optimizer, fresh: keras.optimizers.Optimizer) -> None:
    """Set what a caller's class or call has set besides `get_config`, such as decay exclusions.

    Variables and what Keras itself keeps in every optimizer belong to the steps of the old one.
    """
    of_steps = keras.Variable, keras.optimizers.Optimizer
    bookkeeping = {*vars(keras.optimizers.Optimizer(0.0)), _OWN_APPLY}
    for name, value in vars(old).items():
        parts = keras.tree.flatten(value)
        if name not in bookkeeping and not any(isinstance(part, of_steps) for part in parts):
            setattr(fresh, name, value)

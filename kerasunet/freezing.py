"""Which weights of a model train and at which rate, and the table that shows it.

Frozen means frozen: a layer none of whose weights train runs in inference mode, so a frozen batch
normalization neither learns nor moves its statistics, unless the strategy names `statistics`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras

from kerasunet.strategies import NetworkLayout, Strategy, StrategyError, WeightRef, parse

_BLOCK = re.compile(r"(enc\d+|bottleneck|dec\d+)_")
_LAST_BLOCK = "dec1"
_FACTORS: WeakKeyDictionary[keras.Model, dict[str, float]] = WeakKeyDictionary()
"""Factors of the learning rate other than 1, by the path of the variable."""


@dataclass(frozen=True)
class LayerRow:
    """One line of the table: a layer that has weights.

    Attributes:
        block: Block that claims the layer.
        layer: Layer name.
        parameters: Number of learnable parameters (moving statistics are not counted).
        trained: How many of them train.
        rates: The factors of the learning rate at which they train, ascending; empty for none.
        statistics: Whether moving statistics follow the data.
    """

    block: str
    layer: str
    parameters: int
    trained: int
    rates: tuple[float, ...] = ()
    statistics: bool = False


@dataclass(frozen=True)
class Description:
    """Which layers of a model train; `str()` gives the table as text."""

    rows: tuple[LayerRow, ...]

    @property
    def parameters(self) -> int:
        """Number of learnable parameters of the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def trained(self) -> int:
        """How many of them train."""
        return sum(row.trained for row in self.rows)

    @property
    def changes(self) -> bool:
        """Whether training changes anything: a weight, or moving statistics."""
        return any(row.trained or row.statistics for row in self.rows)

    @property
    def blocks(self) -> dict[str, tuple[int, int]]:
        """Per block, in data-flow order: parameters, and how many of them train."""
        totals: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            parameters, trained = totals.get(row.block, (0, 0))
            totals[row.block] = (parameters + row.parameters, trained + row.trained)
        return totals

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, for JSON and data frames."""
        return [vars(row) for row in self.rows]

    def __str__(self) -> str:
        return _as_text(self)


def layout_of(model: keras.Model) -> NetworkLayout:
    """Read the blocks, layers and weights off a model's layer names.

    Raises:
        ValueError: A layer with weights belongs to no block.
    """
    statistics = tuple(layer.name for layer in model.layers if _moving_statistics(layer))
    return NetworkLayout(tuple(ref for ref, _ in _weights(model)), statistics)


def set_trainable(model: keras.Model, strategy: str | Strategy | Mapping[str, bool]) -> Description:
    """Choose the weights that train, and compile the model anew with a fresh optimizer.

    Keras ignores a change of `trainable` until `compile`, and an optimizer keeps the moments of
    weights that no longer train; both are taken care of here. Loss, metrics and the settings of
    the optimizer stay the caller's. A model that was never compiled gets Adam (learning rate
    1e-3), Dice plus cross-entropy and the Dice metric.

    Rate factors belong to this optimizer, and a saved file keeps `trainable` for layers, not for
    single weights: after another `compile`, or in a model loaded to be trained on, call this again.

    Args:
        model: A model that `kerasunet.UNet` built, or that was loaded from its saved file.
        strategy: Strategy text such as `"shallow:3"`, a parsed strategy, or a mapping from layer
            names to whether they train, which leaves the other layers as they are.

    Returns:
        The table block / layer / parameters / trained.

    Raises:
        ValueError: The strategy or a layer name does not fit the model, which stays as it is.
    """
    arguments = _compile_arguments(model)
    if isinstance(strategy, Mapping):
        _apply_mapping(model, strategy)
    else:
        apply_strategy(model, with_fixed_rates(strategy))
    model.compile(**arguments)
    model.optimizer.build(model.trainable_variables)
    scale_updates(model.optimizer, model)
    return describe(model)


def with_fixed_rates(strategy: str | Strategy) -> Strategy:
    """Return a strategy whose rates do not change in training.

    Raises:
        StrategyError: The text is not a strategy, or it is `rgn`.
    """
    parsed = parse(strategy) if isinstance(strategy, str) else strategy
    if parsed.relative_power is not None:
        raise StrategyError(
            f"{parsed}: its rates are measured in every epoch, which only "
            "kerasunet.training.finetune and the command line do"
        )
    return parsed


def describe(model: keras.Model) -> Description:
    """Tabulate which layers train.

    Args:
        model: A model of this package.

    Returns:
        The table; `print(describe(model))` shows it.
    """
    factors = _FACTORS.get(model, {})
    rows: dict[str, LayerRow] = {}
    for ref, variable in _weights(model):
        size = _size(variable)
        row = rows.get(ref.layer, LayerRow(ref.block, ref.layer, 0, trained=0))
        trains = _trains(model, ref.layer, variable)
        rates = {*row.rates, *([factors.get(variable.path, 1.0)] if trains else ())}
        rows[ref.layer] = LayerRow(
            ref.block,
            ref.layer,
            row.parameters + size,
            trained=row.trained + size * trains,
            rates=tuple(sorted(rates)),
            statistics=_statistics_move(model, model.get_layer(ref.layer)),
        )
    return Description(tuple(rows.values()))


def apply_strategy(model: keras.Model, strategy: str | Strategy) -> None:
    """Set the trainable flags and rate factors only; for a model that is about to be compiled.

    The factors take effect with `scale_updates`.
    """
    parsed = parse(strategy) if isinstance(strategy, str) else strategy
    layout = layout_of(model)
    rates = parsed.rates(layout)
    _apply(model, frozenset(rates), parsed.statistics(layout))
    factors = {
        variable.path: rates[ref] for ref, variable in _weights(model) if rates.get(ref, 1.0) != 1.0
    }
    set_rate_factors(model, factors)


def set_rate_factors(model: keras.Model, factors: Mapping[str, float]) -> None:
    """Set the share of the learning rate at which variables train, for `scale_updates`.

    Args:
        model: A model that a strategy was applied to.
        factors: By path of the variable, 0 or more; 1 for a variable that is not named.
    """
    _FACTORS.pop(model, None)
    if factors:
        _FACTORS[model] = dict(factors)


def scale_updates(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """Have an optimizer move each weight by its strategy's factor of what it would move otherwise.

    The update is scaled, not the gradient: Adam does not see the scale of a gradient. The
    optimizer keeps its class and configuration, so that a saved model opens in plain Keras.

    Args:
        optimizer: A fresh optimizer, of any class and on any backend.
        model: A model that a strategy was applied to.
    """
    factors = _FACTORS.get(model, {})
    scaled = [(v, factors[v.path]) for v in model.weights if v.path in factors]
    if not scaled:
        return
    # Around loss scaling there may be no call of `apply` at all (JAX); inside it there always is.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    update = optimizer.apply

    def apply(grads, trainable_variables=None):
        before = [keras.ops.copy(variable) for variable, _ in scaled]
        done = update(grads, trainable_variables)
        for (variable, factor), old in zip(scaled, before, strict=True):
            variable.assign(old + factor * (variable - old))
        return done

    optimizer.apply = apply


def _apply_mapping(model: keras.Model, flags: Mapping[str, bool]) -> None:
    layout = layout_of(model)
    layers = layout.layers
    unknown = [name for name in flags if name not in layers]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: no layer of this name has weights. Layers: {', '.join(layers)}"
        )
    _apply(
        model,
        frozenset(
            ref
            for ref, variable in _weights(model)
            if flags.get(ref.layer, _trains(model, ref.layer, variable))
        ),
        [
            layer
            for layer in layout.statistics
            if layer not in flags and _statistics_move(model, model.get_layer(layer))
        ],
    )


def _apply(
    model: keras.Model, selected: frozenset[WeightRef], statistics: Collection[str] = ()
) -> None:
    training_layers = {*(ref.layer for ref in selected), *statistics}
    model.trainable = True
    for layer in model.layers:
        layer.trainable = not layer.weights or layer.name in training_layers
    for ref, variable in _weights(model):
        if ref.layer in training_layers:
            variable.trainable = ref in selected


def _compile_arguments(model: keras.Model) -> dict[str, Any]:
    """Return the arguments of the model's last `compile`, with a fresh optimizer."""
    if not model.compiled:
        from kerasunet.losses import dice, dice_bce

        return {"optimizer": keras.optimizers.Adam(1e-3), "loss": dice_bce, "metrics": [dice]}
    # `get_compile_config` gives them as text, which Keras reads back for registered classes only.
    return model._compile_config.config | {"optimizer": _renewed(model.optimizer)}


def _renewed(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an optimizer of the same class and settings that has seen no step."""
    config = optimizer.get_config()
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        return type(optimizer)(**config | {"inner_optimizer": _renewed(inner)})
    schedule = getattr(optimizer, "_learning_rate", None)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        config["learning_rate"] = schedule
    return type(optimizer).from_config(config)


def _weights(model: keras.Model) -> list[tuple[WeightRef, Any]]:
    found = []
    for layer in model.layers:
        statistics = {id(variable) for variable in _moving_statistics(layer)}
        for variable in layer.weights:
            if id(variable) not in statistics:
                found.append((_reference(layer, variable), variable))
    if not found:
        raise ValueError(f"the model {model.name} has no weights")
    return found


def _reference(layer, variable) -> WeightRef:
    match = _BLOCK.match(layer.name)
    if match is None and layer.name != "head":
        raise ValueError(
            f"layer {layer.name} belongs to no block: layers of a kerasunet U-Net are named after "
            "their block, such as enc1_conv1, bottleneck_norm2, dec4_up, or head"
        )
    kind = "norm" if variable.name in ("gamma", "beta") else variable.name
    return WeightRef(match[1] if match else _LAST_BLOCK, layer.name, variable.name, kind=kind)


def _moving_statistics(layer) -> list:
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer.moving_mean, layer.moving_variance]
    return []


def moves_statistics(layer: keras.Layer) -> bool:
    """Tell whether a layer changes its moving statistics in training."""
    return bool(_moving_statistics(layer)) and layer.trainable


def _statistics_move(model: keras.Model, layer: keras.Layer) -> bool:
    return model.trainable and moves_statistics(layer)


def _trains(model: keras.Model, layer: str, variable) -> bool:
    return bool(model.trainable and model.get_layer(layer).trainable and variable.trainable)


def _size(variable) -> int:
    size = 1
    for side in variable.shape:
        size *= side
    return size


def _as_text(description: Description) -> str:
    lines = [f"{'block':<11} {'layer':<17} {'parameters':>11} {'trains':>11} {'rate':>8}"]
    previous = ""
    for row in description.rows:
        block = "" if row.block == previous else row.block
        lines.append(
            f"{block:<11} {row.layer:<17} {row.parameters:>11,} {_share(row):>11} {_rate(row):>8}"
        )
        previous = row.block
    percent = 100 * description.trained / description.parameters
    lines.append(
        f"{'together':<29} {description.parameters:>11,} {description.trained:>11,} "
        f"({percent:.1f} %)"
    )
    return "\n".join(lines)


def _share(row: LayerRow) -> str:
    if row.trained == row.parameters:
        return "yes"
    if row.statistics and not row.trained:
        return "statistics"
    return f"{row.trained:,}" if row.trained else "no"


def _rate(row: LayerRow) -> str:
    """Return the factors of the learning rate, such as `1`, `0.1` or `0.1, 1`."""
    return ", ".join(f"{rate:g}" for rate in row.rates) or "–"

"""Which weights of a model train and at which rate, and the table that shows it.

Frozen means frozen: a layer none of whose weights train runs in inference mode, so a frozen batch
normalization neither learns nor moves its statistics, unless the strategy names `statistics`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras

from kerasunet.strategies import NetworkLayout, Strategy, WeightRef, parse

_BLOCK = re.compile(r"(enc\d+|bottleneck|dec\d+)_")
_HEAD, _LAST_BLOCK, _OTHER = "head", "dec1", "other"
_FACTORS: WeakKeyDictionary[keras.Model, dict[str, float]] = WeakKeyDictionary()
"""Factors of the learning rate other than 1, by the path of the variable."""
_AVERAGE = "_update_model_variables_moving_average"
"""What Keras calls to average the weights, with `use_ema`; there is no public way to come first."""


@dataclass(frozen=True)
class LayerRow:
    """One line of the table: a layer that has weights.

    Attributes:
        block: Block that claims the layer; `other` for a layer that is not of the U-Net.
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
        return [dict(vars(row)) for row in self.rows]

    def __str__(self) -> str:
        lines = [f"{'block':<11} {'layer':<17} {'parameters':>11} {'trains':>11} {'rate':>8}"]
        previous = ""
        for row in self.rows:
            block = "" if row.block == previous else row.block
            start = f"{block:<11} {row.layer:<17} {row.parameters:>11,}"
            lines.append(f"{start} {_share(row):>11} {_rate(row):>8}")
            previous = row.block
        share = f"({100 * self.trained / self.parameters:.1f} %)"
        lines.append(f"{'together':<29} {self.parameters:>11,} {self.trained:>11,} {share}")
        return "\n".join(lines)


def layout_of(model: keras.Model) -> NetworkLayout:
    """Read the blocks, layers and weights off a model's layer names.

    Raises:
        ValueError: No layer with weights belongs to a block, or there are several U-Nets.
    """
    statistics = tuple(layer.name for layer in _unet_layers(model) if _moving_statistics(layer))
    return NetworkLayout(tuple(ref for ref, _ in _weights(model)), statistics)


def describe(model: keras.Model) -> Description:
    """Tabulate which layers train.

    Args:
        model: A model of this package.

    Returns:
        The table; `print(describe(model))` shows it. The rates are those at which `fit` would go
        on: once compiled, a model has those of its optimizer, which `set_trainable` made.
    """
    factors, trained = _factors_in_effect(model), _trained(model)
    layers = {layer.name: layer for layer in _unet_layers(model)}
    rows: dict[str, LayerRow] = {}
    for ref, variable in _weights(model):
        size, trains = _size(variable), id(variable) in trained
        row = rows.get(ref.layer, LayerRow(ref.block, ref.layer, 0, trained=0))
        rates = {*row.rates, *([factors.get(variable.path, 1.0)] if trains else ())}
        rows[ref.layer] = LayerRow(
            ref.block,
            ref.layer,
            row.parameters + size,
            trained=row.trained + size * trains,
            rates=tuple(sorted(rates)),
            statistics=model.trainable and moves_statistics(layers[ref.layer]),
        )
    return Description((*rows.values(), *_other_rows(model, trained)))


def _factors_in_effect(model: keras.Model) -> dict[str, float]:
    """Return the rate factors of the optimizer; of a model without one, those it is to have."""
    if not model.compiled:
        return _FACTORS.get(model, {})
    each = (getattr(one.apply, "factors", {}) for one in _parts(model.optimizer))
    return {path: factor for factors in each for path, factor in factors.items()}


def _parts(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers that update weights: it, the one within, or several."""
    # Around loss scaling there may be no call of `apply` at all (JAX); inside it there always is.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(optimizer, "optimizers", [optimizer]))


def _other_rows(model: keras.Model, trained: Collection[int]) -> Iterator[LayerRow]:
    """Yield a row for each layer of the caller's, such as one on top of the U-Net."""
    for layer in _other_layers(model):
        if own := layer._trainable_variables:
            sizes = [_size(variable) for variable in own if id(variable) in trained]
            rates, size = (1.0,) * bool(sizes), sum(map(_size, own))
            yield LayerRow(_OTHER, layer.name, size, sum(sizes), rates)


def apply_strategy(model: keras.Model, strategy: str | Strategy) -> None:
    """Set the trainable flags and rate factors only; for a model that is about to be compiled.

    The factors take effect with `scale_updates`.
    """
    parsed = strategy if isinstance(strategy, Strategy) else parse(strategy)
    layout = layout_of(model)
    rates = parsed.rates(layout)
    _apply(model, frozenset(rates), parsed.statistics(layout))
    found = {variable.path: rates.get(ref, 1.0) for ref, variable in _weights(model)}
    set_rate_factors(model, {path: rate for path, rate in found.items() if rate != 1.0})


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
    for one in _parts(optimizer) if scaled else ():
        _require_average(one)
        one.apply = _scaled(one, scaled)
        one.apply.factors = factors


def _scaled(optimizer: keras.optimizers.Optimizer, scaled: list[tuple[Any, float]]) -> Callable:
    """Return the optimizer's `apply`, after which each weight has moved by its factor only."""
    update = optimizer.apply

    def apply(grads, trainable_variables=None):
        before, scalings = [keras.ops.copy(variable) for variable, _ in scaled], []

        def scale():
            scalings.append(True)
            for (variable, factor), old in zip(scaled, before, strict=True):
                moved = old + factor * (variable - old)
                variable.assign(variable.constraint(moved) if variable.constraint else moved)

        if not optimizer.use_ema:
            done = update(grads, trainable_variables)
            scale()
            return done
        average = getattr(optimizer, _AVERAGE)
        vars(optimizer)[_AVERAGE] = lambda those: (scale(), average(those))
        try:
            done = update(grads, trainable_variables)
        finally:
            del vars(optimizer)[_AVERAGE]
        _require_average(optimizer, bool(scalings))
        return done

    return apply


def _require_average(optimizer: keras.optimizers.Optimizer, called: bool = True) -> None:
    """Refuse `use_ema` beside rates where this Keras averages in a way that is not known."""
    if optimizer.use_ema and not (called and hasattr(optimizer, _AVERAGE)):
        raise ValueError(
            f"{type(optimizer).__name__}: has use_ema, whose averages in Keras {keras.__version__} "
            "would not follow the rates of layers; leave out one of the two"
        )


def apply_flags(model: keras.Model, flags: Mapping[str, bool]) -> None:
    """Set whether single layers train; the others stay as they are.

    Args:
        model: A model that holds a U-Net.
        flags: By name of a layer that has weights, of the U-Net or of the caller's.

    Raises:
        ValueError: There is no such layer.
    """
    layout, others = layout_of(model), {layer.name: layer for layer in _other_layers(model)}
    known = (*layout.layers, *(name for name, layer in others.items() if layer.weights))
    unknown = [name for name in flags if name not in known]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: no layer of this name has weights. Layers: {', '.join(known)}"
        )
    trained = _trained(model)
    selected = [ref for ref, v in _weights(model) if flags.get(ref.layer, id(v) in trained)]
    moving = [
        layer.name
        for layer in _unet_layers(model)
        if layer.name not in flags and moves_statistics(layer)
    ]
    _apply(model, frozenset(selected), moving)
    for name in flags.keys() & others.keys():
        others[name].trainable = flags[name]


@contextmanager
def kept_flags(model: keras.Model) -> Iterator[None]:
    """Set all flags and rate factors of a model back if anything fails."""
    factors, flags = _FACTORS.get(model, {}), flags_of(model)
    try:
        yield
    except BaseException:
        set_flags(flags)
        set_rate_factors(model, factors)
        raise


def flags_of(model: keras.Model) -> list[tuple[Any, bool]]:
    """Return everything in a model that has a flag `trainable`, with it, for `set_flags`."""
    return _flags([model, *_all_layers(model)])


def set_flags(flags: Sequence[tuple[Any, bool]]) -> None:
    """Set the flags of layers and weights back to what `flags_of` returned."""
    for owner, flag in flags:
        owner.trainable = flag


def _flags(layers: Sequence[keras.Layer]) -> list[tuple[Any, bool]]:
    """Return what has a flag, with the flag: layers, the outer ones first, then their weights."""
    variables = [variable for layer in layers for variable in layer._trainable_variables]
    return [(owner, owner.trainable) for owner in (*layers, *variables)]


def _apply(
    model: keras.Model, selected: frozenset[WeightRef], statistics: Collection[str] = ()
) -> None:
    training_layers = {*(ref.layer for ref in selected), *statistics}
    weights, others = _weights(model), _flags(_other_layers(model))
    model.trainable = True
    for layer in _unet_layers(model):
        layer.trainable = layer.name in training_layers
    for ref, variable in weights:
        if ref.layer in training_layers:
            variable.trainable = ref in selected
    set_flags(others)


def _all_layers(model: keras.Layer) -> list[keras.Layer]:
    """Return the layers of a model and of the models and layers in it, each once, outer first."""
    found: dict[int, keras.Layer] = {}
    for layer in getattr(model, "layers", model._layers):
        found |= {id(one): one for one in (layer, *_all_layers(layer))}
    return list(found.values())


def _unet_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers that have weights and belong to a block.

    Raises:
        ValueError: None does, or there are several U-Nets.
    """
    leaves = [layer for layer in _all_layers(model) if layer.weights and not layer._layers]
    found = [layer for layer in leaves if _BLOCK.match(layer.name) or layer.name == _HEAD]
    if not leaves:
        raise ValueError(f"the model {model.name} has no weights")
    if not found:
        raise ValueError(
            f"layer {leaves[0].name} belongs to no block: layers of a kerasunet U-Net are named "
            "after their block, such as enc1_conv1, bottleneck_norm2, dec4_up, or head"
        )
    names = [layer.name for layer in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{model.name}: has several layers {repeated[0]}, so it holds several U-Nets; choose "
            "what trains in each of them, then compile the whole"
        )
    return found


def _other_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers that are neither of the U-Net nor around it, outer first."""
    unet = {id(layer) for layer in _unet_layers(model)}
    return [
        layer
        for layer in _all_layers(model)
        if unet.isdisjoint(id(one) for one in (layer, *_all_layers(layer)))
    ]


def _weights(model: keras.Model) -> list[tuple[WeightRef, Any]]:
    found = []
    for layer in _unet_layers(model):
        statistics = {id(variable) for variable in _moving_statistics(layer)}
        for variable in layer.weights:
            if id(variable) not in statistics:
                found.append((_reference(layer, variable), variable))
    return found


def _reference(layer, variable) -> WeightRef:
    match = _BLOCK.match(layer.name)
    kind = "norm" if variable.name in ("gamma", "beta") else variable.name
    return WeightRef(match[1] if match else _LAST_BLOCK, layer.name, variable.name, kind=kind)


def _moving_statistics(layer) -> list:
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer.moving_mean, layer.moving_variance]
    return []


def moves_statistics(layer: keras.Layer) -> bool:
    """Return whether a layer changes its moving statistics in training."""
    return bool(_moving_statistics(layer)) and layer.trainable


def _trained(model: keras.Model) -> set[int]:
    return {id(variable) for variable in model.trainable_variables}


def _size(variable) -> int:
    return math.prod(variable.shape)


def _share(row: LayerRow) -> str:
    if row.trained == row.parameters:
        return "yes"
    if row.statistics and not row.trained:
        return "statistics"
    return f"{row.trained:,}" if row.trained else "no"


def _rate(row: LayerRow) -> str:
    """Return the factors of the learning rate, such as `1`, `0.1` or `0.1, 1`."""
    return ", ".join(f"{rate:g}" for rate in row.rates) or "–"

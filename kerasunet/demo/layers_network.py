"""The network that fine-tuning starts from: what trains at which rate, its cost, how to run it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kerasunet import models
from kerasunet.architecture import Architecture, NetworkCosts
from kerasunet.strategies import (
    NetworkLayout,
    StrategyError,
    WeightRef,
    name_of,
    parse,
    parse_stages,
)
from kerasunet.training.settings import FinetuneSettings

SCRATCH = "scratch"
PATHS = {"contracting": "expanding", "expanding": "contracting"}
"""Each path of the U, and the other one."""


@dataclass(frozen=True)
class Selection:
    """What a strategy trains.

    Attributes:
        rates: The weights that train, each with its factor of the learning rate, above 0 to 10.
        statistics: The layers whose moving statistics follow the data though no weight trains.
        power: The exponent of `rgn`, which measures the rates in training, so that they are not
            those above; `None` of all others.
    """

    rates: dict[WeightRef, float]
    statistics: tuple[str, ...] = ()
    power: float | None = None

    @cached_property
    def weights(self) -> frozenset[WeightRef]:
        """The weights that train, at whatever rate."""
        return frozenset(self.rates)

    @property
    def changes(self) -> bool:
        """Whether training changes anything."""
        return bool(self.rates or self.statistics)

    def rates_in(self, layers: Iterable[str]) -> list[float]:
        """Return the different rates at which weights of these layers train, ascending."""
        wanted = set(layers)
        return sorted({rate for weight, rate in self.rates.items() if weight.layer in wanted})

    def difference(self, other: Selection) -> dict[tuple[str, str], float]:
        """Return by how much the rates differ, by layer and weight, where they do.

        Moving statistics that follow the data in one of the two only count as 1.
        """
        mine, theirs = self._shares(), other._shares()
        apart = {key: abs(mine.get(key, 0) - theirs.get(key, 0)) for key in mine | theirs}
        return {key: amount for key, amount in apart.items() if amount}

    def _shares(self) -> dict[tuple[str, str], float]:
        moving = {(layer, "statistics"): 1.0 for layer in self.statistics}
        return moving | {(w.layer, w.name): rate for w, rate in self.rates.items()}


def selection(strategy: str, layout: NetworkLayout) -> Selection | None:
    """Return what a strategy trains; `None` where the training images decide.

    Raises:
        StrategyError: The text is not a strategy, or does not fit the layout.
    """
    parsed = parse(strategy)
    if parsed.is_auto:
        return None
    return Selection(parsed.rates(layout), parsed.statistics(layout), parsed.relative_power)


def with_other_path(path: str, rate: float) -> str:
    """Return the strategy that trains a path of the U, and the other path at a rate.

    Args:
        path: A key of `PATHS`.
        rate: Factor of the learning rate for the other path, 0 to 10; 0 freezes it.
    """
    return str(parse(f"{path}+{rate:g}*{PATHS[path]}" if rate else path))


def led_by(strategy: str) -> str | None:
    """Return the path of the U that a strategy trains; `None` if it is not a path.

    The other path may train at another rate: `contracting+0.1*expanding` is led by `contracting`.
    """
    lead, plus, rest = strategy.partition("+")
    if lead not in PATHS:
        return None
    return lead if not plus or rest.rpartition("*")[2] == PATHS[lead] else None


@dataclass(frozen=True)
class Start:
    """The network that fine-tuning starts from.

    Attributes:
        init: Name of a registered model, or `scratch`.
        architecture: The U-Net.
        network: What its layers cost.
    """

    init: str
    architecture: Architecture
    network: NetworkCosts

    @property
    def layout(self) -> NetworkLayout:
        """Its weights."""
        return self.network.layout

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.network.image_size

    def select(self, strategy: str) -> Selection | None:
        """Return what a strategy trains; `None` where the training images decide.

        Raises:
            StrategyError: The text is not a strategy, or does not fit the network.
        """
        return selection(strategy, self.layout)

    def toggled(self, strategy: str, name: str) -> str:
        """Return the strategy after a click on a block or layer.

        Where every weight trained, all are frozen; otherwise all then train at the full rate.
        The rest keeps its rates, and statistics that follow the data continue to do so.

        Raises:
            ValueError: The language has no text for the result.
        """
        clicked = parse(name).select(self.layout)
        before = self._or_nothing(strategy)
        after = {w: rate for w, rate in before.rates.items() if w not in clicked}
        if not clicked <= before.weights:
            after |= dict.fromkeys(clicked, 1.0)
        parts = [*self._by_rate(after), *self._moving(before)]
        return str(parse("+".join(f"({part})" for part in parts) or "none"))

    def _by_rate(self, rates: dict[WeightRef, float]) -> Iterator[str]:
        """Yield a strategy for each rate, the highest first."""
        for rate in sorted(set(rates.values()), reverse=True):
            name = name_of([w for w, own in rates.items() if own == rate], self.layout)
            yield name if rate == 1 else f"{rate:g}*({name})"

    def _moving(self, chosen: Selection) -> Iterator[str]:
        """Yield a strategy for the statistics that follow the data, if there are any."""
        if not chosen.statistics:
            return
        trained = {weight.layer for weight in chosen.weights if weight.kind == "norm"}
        if trained | set(chosen.statistics) >= set(self.layout.statistics):
            yield "statistics"
        else:
            kept = [w for w in self.layout.weights if w.layer in chosen.statistics]
            yield f"statistics&({name_of(kept, self.layout)})"

    def _or_nothing(self, strategy: str) -> Selection:
        try:
            return self.select(strategy) or Selection({})
        except StrategyError:
            return Selection({})


def start_from(init: str, image_size: int, scratch: Architecture) -> Start:
    """Make a start from the fields of the page.

    Args:
        init: Name of a registered model, or `scratch`.
        image_size: Height and width of the images in pixels.
        scratch: The U-Net to use with `scratch`; a registered model brings its own.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: A number is out of range, or the network cannot take images of this size.
    """
    shape = scratch if init == SCRATCH else models.card(init).architecture
    return Start(init, shape, shape.costs(image_size))


_USUAL = FinetuneSettings()


def command(strategy: str, start: Start, data: str) -> str:
    """Return the shell command that fine-tunes; defaults are left out."""
    words = ["python", "scripts/finetune.py", "--layers", strategy]
    for name, value in {**_settings(start, data), **_shape(start)}.items():
        words += [f"--{name.replace('_', '-')}", "none" if value is None else str(value)]
    return shlex.join(words)


def snippet(strategy: str, start: Start, data: str) -> str:
    """Return Python code that fine-tunes and, unless the images decide, that builds the network."""
    settings = _arguments({"layers": strategy, **_settings(start, data)})
    imported = "FinetuneSettings, finetune"
    if _shape(start):
        settings += f", architecture=Architecture({_arguments(_shape(start))})"
        imported = f"Architecture, {imported}"
    lines = [
        "from pathlib import Path",
        "",
        f"from kerasunet.training import {imported}",
        "",
        f"settings = FinetuneSettings({settings})",
        'run = finetune(settings, Path("runs/mine"))',
        "model = run.load_model()  # an ordinary Keras model",
    ]
    return "\n".join(
        lines if parse(strategy).is_measured else lines + _network_alone(strategy, start)
    )


def _network_alone(strategy: str, start: Start) -> list[str]:
    weights = None if start.init == SCRATCH else start.init
    shape = vars(start.architecture) | {"weights": weights, "trainable": strategy}
    channels = shape.pop("channels")
    usual = vars(Architecture()) | {"weights": None}
    given = {name: value for name, value in shape.items() if usual.get(name, "") != value}
    size = {} if channels == Architecture().channels else {"input_shape": (None, None, channels)}
    return [
        "",
        "# or the network alone, to train it with your own code:",
        "import kerasunet",
        "",
        f"model = kerasunet.UNet({_arguments({**size, **given})})",
    ]


def _settings(start: Start, data: str) -> dict[str, Any]:
    asked = {"init": start.init, "data": data or _USUAL.data, "image_size": start.image_size}
    return {name: value for name, value in asked.items() if value != getattr(_USUAL, name)}


def _shape(start: Start) -> dict[str, Any]:
    """Return the arguments that differ from the default U-Net; a saved model brings its own."""
    if start.init != SCRATCH:
        return {}
    usual = Architecture()
    shape = vars(start.architecture)
    return {name: value for name, value in shape.items() if value != getattr(usual, name)}


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_literal(value)}" for name, value in values.items())


def _literal(value: Any) -> str:
    """Return `repr`, but with double quotes around text."""
    if not isinstance(value, str):
        return repr(value)
    import json

    return json.dumps(value, ensure_ascii=False)


_GIGA = 1e9


def cost_html(selected: Selection | None, start: Start, batch_size: int) -> str:
    """Return HTML: trained parameters and estimated cost of a step, as shares of training all."""
    if selected is None:
        return (
            '<p class="facts">Which layers train is chosen from your training images when the run '
            "starts, so neither their number nor the cost is known yet.</p>"
        )
    network = start.network
    trained, parameters = network.parameters(selected.weights), network.parameters()
    step = step_cost(selected, start, batch_size)
    most = network.step_cost(start.layout.weights, batch_size).total
    cost = f"{step / _GIGA:,.2f}" if step else "0"
    return (
        '<dl class="facts">'
        f"<dt>Trained parameters</dt><dd><b>{trained:,}</b> of {parameters:,}"
        f"{_bar(trained / parameters)}</dd>"
        f"<dt>Expected cost of a step</dt><dd><b>{cost}</b> billion multiply-adds"
        f"{_bar(step / most)}</dd></dl>"
        f'<p class="how">{_how(selected, batch_size, start)}</p>'
    )


def step_cost(selected: Selection, start: Start, batch_size: int = 8) -> int:
    """Return the multiply-adds of a training step; rates make no difference.

    Statistics that follow the data while no weight trains cost the forward pass.
    """
    if selected.statistics and not selected.rates:
        return start.network.step_cost(start.layout.weights, batch_size).forward
    return start.network.step_cost(selected.weights, batch_size).total


def _bar(share: float) -> str:
    return (
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="share">{100 * share:.3g} % of training all</span>'
    )


def _how(selected: Selection, batch_size: int, start: Start) -> str:
    if not selected.changes:
        return "Nothing trains: the network is used untouched."
    images = f"{batch_size} images of {start.image_size} × {start.image_size}"
    if not selected.rates:
        return (
            f"An estimate for {images}: the forward pass alone. No weight trains; the statistics "
            "of batch normalization follow the data."
        )
    trained = {weight.layer for weight in selected.weights}
    first = next(layer for layer in start.layout.layers if layer in trained)
    measured = "" if selected.power is None else " Rates are measured anew in every epoch."
    return (
        f"An estimate for {images}: forward pass, gradients back to {first}, and gradients of the "
        f"kernels that train, at whatever rate.{measured} Seconds are only roughly proportional."
    )


def trained_parameters(card: models.ModelCard) -> int:
    """Count the weights that a model's strategy trained, or any of its stages, from its card.

    Returns:
        Number of weights; 0 for `none`.

    Raises:
        ValueError: The strategy does not fit the architecture.
    """
    layout = card.architecture.layout()
    network = card.architecture.costs(card.image_size, card.classes)
    stages = parse_stages(card.settings["unfreeze"]) if card.settings.get("unfreeze") else ()
    texts = [str(stage.strategy) for stage in stages] or [card.strategy]
    return max(network.parameters(parse(text).select(layout)) for text in _united(texts))


def _united(strategies: Sequence[str]) -> list[str]:
    """Return the union of strategies, or where they have several rates, each of them."""
    try:
        return [str(parse("+".join(strategies)))]
    except ValueError:
        return list(strategies)

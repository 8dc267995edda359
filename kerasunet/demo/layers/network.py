"""The network that fine-tuning starts from: what a strategy trains, its cost, how to run it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from kerasunet import models
from kerasunet.architecture import Architecture
from kerasunet.cost import Network
from kerasunet.strategies import NetworkLayout, StrategyError, WeightRef, name_of, parse
from kerasunet.training.settings import FinetuneSettings

SCRATCH = "scratch"


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
    network: Network

    @property
    def layout(self) -> NetworkLayout:
        """Its weights."""
        return self.network.layout

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.network.image_size

    def select(self, strategy: str) -> frozenset[WeightRef] | None:
        """Return the weights that a strategy trains; `None` where the training images decide.

        Raises:
            StrategyError: The text is not a strategy, or does not fit the network.
        """
        parsed = parse(strategy)
        return None if parsed.is_auto else parsed.select(self.layout)

    def toggled(self, strategy: str, name: str) -> str:
        """Return the strategy after a click on a block or layer.

        What trained in full is frozen; anything else then trains in full.
        """
        clicked = parse(name).select(self.layout)
        selected = self._or_nothing(strategy)
        return name_of(
            selected - clicked if clicked <= selected else selected | clicked, self.layout
        )

    def _or_nothing(self, strategy: str) -> frozenset[WeightRef]:
        try:
            return self.select(strategy) or frozenset()
        except StrategyError:
            return frozenset()


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
    network = Network(
        shape.layout(),
        base_filters=shape.base_filters,
        image_size=image_size,
        channels=shape.channels,
    )
    return Start(init, shape, network)


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
    return "\n".join(lines if parse(strategy).is_auto else lines + _network_alone(strategy, start))


def _network_alone(strategy: str, start: Start) -> list[str]:
    weights = None if start.init == SCRATCH else start.init
    shape = vars(start.architecture) | {"weights": weights, "trainable": strategy}
    channels = shape.pop("channels")
    usual = vars(Architecture()) | {"weights": None}
    given = {name: value for name, value in shape.items() if usual.get(name, "") != value}
    size = {} if channels == Architecture().channels else {"input_shape": (None, None, channels)}
    return [
        "",
        "# or the network alone, to train it with code of your own:",
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


def cost_html(selected: frozenset[WeightRef] | None, start: Start, batch_size: int) -> str:
    """Return HTML: trained parameters and estimated cost of a step, as shares of training all."""
    if selected is None:
        return (
            '<p class="facts">Which layers train is chosen from your training images when the run '
            "starts, so neither number nor cost is known yet.</p>"
        )
    network = start.network
    trained, parameters = network.parameters(selected), network.parameters()
    step = network.step_cost(selected, batch_size)
    most = network.step_cost(start.layout.weights, batch_size).total
    cost = f"{step.total / _GIGA:,.2f}" if selected else "0"
    return (
        '<dl class="facts">'
        f"<dt>Trained parameters</dt><dd><b>{trained:,}</b> of {parameters:,}"
        f"{_bar(trained / parameters)}</dd>"
        f"<dt>Expected cost of a step</dt><dd><b>{cost}</b> billion multiply-adds"
        f"{_bar(step.total / most)}</dd></dl>"
        f'<p class="how">{_how(selected, batch_size, start)}</p>'
    )


def _bar(share: float) -> str:
    return (
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="share">{100 * share:.3g} % of training all</span>'
    )


def _how(selected: frozenset[WeightRef], batch_size: int, start: Start) -> str:
    if not selected:
        return "Nothing trains: the network is used as it is."
    layers = [layer for layer in start.layout.layers if any(w.layer == layer for w in selected)]
    return (
        f"An estimate for {batch_size} images of {start.image_size} × {start.image_size}: forward "
        f"pass, gradients back to {layers[0]}, and gradients of the kernels that train. The time "
        "in seconds follows it only roughly."
    )

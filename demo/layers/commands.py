"""The command and the Python lines that train a strategy, ready to be copied."""

from __future__ import annotations

import shlex
from typing import Any

from kerasunet.strategies import parse
from kerasunet.training.settings import Architecture, FinetuneSettings
from layers.start import SCRATCH, Start

_USUAL = FinetuneSettings()


def command(strategy: str, start: Start, data: str) -> str:
    """The line for a shell that fine-tunes; what is usual is left out."""
    words = ["python", "scripts/finetune.py", "--layers", strategy]
    for name, value in {**_settings(start, data), **_shape(start)}.items():
        words += [f"--{name.replace('_', '-')}", "none" if value is None else str(value)]
    return shlex.join(words)


def snippet(strategy: str, start: Start, data: str) -> str:
    """Python that fine-tunes and, unless the images decide, Python that builds the network."""
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
    """The unusual arguments of the architecture; a saved model brings its own."""
    if start.init != SCRATCH:
        return {}
    usual = Architecture()
    shape = vars(start.architecture)
    return {name: value for name, value in shape.items() if value != getattr(usual, name)}


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_literal(value)}" for name, value in values.items())


def _literal(value: Any) -> str:
    """As `repr`, with double quotes around text."""
    if not isinstance(value, str):
        return repr(value)
    import json

    return json.dumps(value, ensure_ascii=False)

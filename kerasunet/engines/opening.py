"""Chooses an engine and opens a network in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kerasunet import __version__
from kerasunet.engines.cache import Slot
from kerasunet.engines.engine import Engine
from kerasunet.engines.source import Source

if TYPE_CHECKING:
    import keras

# The fastest first, by benchmarks/inference.py; each with the packages it needs.
_PACKAGES = {
    "openvino": ("openvino", "onnx"),
    "onnx": ("onnxruntime", "onnx"),
    "litert": ("ai_edge_litert",),
    "keras": (),
}
ENGINES = ("auto", *_PACKAGES)


@dataclass(frozen=True)
class _Request:
    """What is to be opened: a network, for images of one shape."""

    source: Source
    shape: tuple[int, int, int]


def installed_engines() -> tuple[str, ...]:
    """Returns the engines whose packages are installed, the fastest first; Keras always is."""
    return tuple(name for name in _PACKAGES if not _missing(name))


def open_engine(
    model: str | os.PathLike | keras.Model | Source,
    size: tuple[int, int],
    engine: str = "auto",
) -> Engine:
    """Opens a network for images of one size.

    What OpenVINO, ONNX Runtime and LiteRT run is kept in the cache folder (`KERASUNET_CACHE`), by
    digest of the model, size, and version of the engine. Opening a kept network needs no Keras.

    Args:
        model: Name of a registered model, path of a `.keras` file with its card, a network in
            memory, or a `Source`.
        size: Height and width in pixels, multiples of `2**depth`.
        engine: `"openvino"`, `"onnx"`, `"litert"`, `"keras"`, or `"auto"` for the fastest that is
            installed.

    Returns:
        The engine.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: There is no such engine, it is not installed, or the model cannot be trusted or
            loaded.
    """
    name = chosen_engine(engine)
    source = _source(model)
    request = _Request(source, (*size, source.channels))
    return Engine(name, request.shape, _opened(name, request))


def chosen_engine(engine: str) -> str:
    """Returns the name of an engine that is installed; of `"auto"`, the fastest one's.

    Raises:
        ValueError: There is no such engine, or it is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    name = installed_engines()[0] if engine == "auto" else engine
    _require(name)
    return name


def _source(model: str | os.PathLike | keras.Model | Source) -> Source:
    if isinstance(model, Source):
        return model
    return Source.saved(model) if isinstance(model, (str, os.PathLike)) else Source.of(model)


def _missing(name: str) -> list[str]:
    return [package for package in _PACKAGES[name] if find_spec(package) is None]


def _require(name: str) -> None:
    missing = _missing(name)
    if missing:
        raise ValueError(
            f"engine {name} needs {' and '.join(missing)}, which is not installed: "
            'pip install "kerasunet[engines]"'
        )


def _opened(name: str, request: _Request) -> Callable[[np.ndarray], np.ndarray]:
    runtime = import_module(f"kerasunet.engines.{name}_runtime")
    if name == "keras":
        return runtime.load(request.source.load(), request.shape)
    facts = (runtime.version(), __version__, request.source.digest, str(request.shape))
    slot = Slot(name, facts)
    make = _maker(runtime, request)
    try:
        return runtime.load(slot.get(make))
    except RuntimeError:
        # A file that was damaged on disk, or made for another processor: once more, from the start.
        slot.clear()
        return runtime.load(slot.get(make))


def _maker(runtime: ModuleType, request: _Request) -> Callable[[], bytes]:
    return lambda: runtime.convert(request.source.load(), request.shape)

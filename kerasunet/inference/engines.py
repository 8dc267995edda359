"""Inference engines: how a network is compiled, kept on disk, opened and called with arrays."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasunet import __version__, models
from kerasunet.data.cache import cache_folder
from kerasunet.files import write_atomically
from kerasunet.inference.runtimes import RUNTIMES, Run, Runtime

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
_MOST_FILES = 64


class Engine:
    """A network compiled for images of one size; may be called from several threads.

    Args:
        name: Which engine it is, such as `"openvino"`.
        shape: Height, width and channels of an image.
        run: Maps one image, float32, `(1, height, width, channels)`, to its probabilities,
            float32, `(1, height, width, outputs)`.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        run: Run,
    ):
        self.name = name
        self.shape = shape
        self._run = run
        self._lock = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute probabilities, one image after the other.

        Args:
            images: Gray levels 0 to 255, uint8 or any float, `(count, height, width, channels)`,
                at least one.

        Returns:
            Float32, `(count, height, width, outputs)`, 0 to 1.

        Raises:
            ValueError: The images have another size or number of channels.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape or not len(images):
            raise ValueError(
                f"this engine takes images of shape (count, {', '.join(map(str, self.shape))}), "
                f"not {images.shape}"
            )
        with self._lock:
            return np.concatenate(
                [self._run(np.ascontiguousarray(image[None], np.float32)) for image in images]
            )


class _CompiledFile:
    """The file that keeps one compiled network; always empty where there is no writable cache.

    Args:
        engine: Name of the engine.
        facts: Everything that the contents depend on.
    """

    def __init__(self, engine: str, facts: tuple[str, ...]):
        key = hashlib.sha256("\n".join((engine, *facts)).encode()).hexdigest()
        folder = cache_folder()
        self._path = folder and folder / "engines" / f"{engine}-{key[:32]}.bin"

    def get(self, make: Callable[[], bytes]) -> bytes:
        """Return the kept contents, or make and keep them; the 64 files used last are kept."""
        with suppress(OSError):
            if self._path:
                kept = self._path.read_bytes()
                self._path.touch()
                return kept
        made = make()
        with suppress(OSError):
            if self._path:
                write_atomically(self._path, lambda temporary: temporary.write_bytes(made))
                _remove_oldest(self._path.parent)
        return made

    def clear(self) -> None:
        """Remove what is kept."""
        with suppress(OSError):
            if self._path:
                self._path.unlink()


def _remove_oldest(directory: Path) -> None:
    files = sorted(directory.glob("*.bin"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[_MOST_FILES:]:
        path.unlink()


@dataclass(frozen=True)
class NetworkSource:
    """Where an engine gets its network from.

    Attributes:
        digest: Identifies the network: equal digests compute the same.
        channels: Channels of an image.
        load: Returns the network without batch normalization; only this imports Keras.
    """

    digest: str
    channels: int
    load: Callable[[], keras.Model]

    @classmethod
    def saved(cls, name_or_path: str | os.PathLike) -> NetworkSource:
        """Take a saved model by name or path; its file is verified against its card when loaded.

        Raises:
            FileNotFoundError: There is no such model, or it has no card.
        """

        def load() -> keras.Model:
            from kerasunet.network import folded

            return folded(models.load(name_or_path))

        channels = models.card(name_or_path).architecture.channels
        return cls(models.digest(name_or_path), channels, load)

    @classmethod
    def of(cls, model: keras.Model) -> NetworkSource:
        """Take a network in memory, in its present state."""
        from kerasunet.network import folded

        known = hashlib.sha256(json.dumps(model.get_config(), sort_keys=True).encode())
        for weight in model.get_weights():
            known.update(weight.tobytes())
        return cls(known.hexdigest(), model.input_shape[-1], lambda: folded(model))

    @classmethod
    def of_many(cls, sources: Iterable[NetworkSource]) -> NetworkSource:
        """Take several networks as one, whose outputs follow each other; equal parts run once.

        Raises:
            ValueError: Their images differ in the number of channels.
        """

        sources = list(sources)

        def load() -> keras.Model:
            from kerasunet.network import merged

            return merged([source.load() for source in sources])

        channels = {source.channels for source in sources}
        if len(channels) != 1:
            raise ValueError(f"models of {sorted(channels)} channels cannot run as one network")
        digest = hashlib.sha256(" ".join(source.digest for source in sources).encode())
        return cls(digest.hexdigest(), channels.pop(), load)


@dataclass(frozen=True)
class _Request:
    """What is to be opened: a network, for images of one shape."""

    source: NetworkSource
    shape: tuple[int, int, int]


def installed_engines() -> tuple[str, ...]:
    """Return the installed engines, fastest first; Keras is always one of them."""
    return tuple(name for name in _PACKAGES if not _missing(name))


def open_engine(
    model: str | os.PathLike | keras.Model | NetworkSource,
    size: tuple[int, int],
    engine: str = "auto",
) -> Engine:
    """Open a network for images of one size.

    What OpenVINO, ONNX Runtime and LiteRT run is kept in the cache folder (`KERASUNET_CACHE`), by
    digest of the model, size, and version of the engine. Opening a kept network needs no Keras.

    Args:
        model: Name of a registered model, path of a `.keras` file with its card, a network in
            memory, or a `NetworkSource`.
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
    return Engine(name, request.shape, _compiled(name, request))


def chosen_engine(engine: str) -> str:
    """Return the name of an installed engine; for `"auto"`, the fastest one's.

    Raises:
        ValueError: There is no such engine, or it is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    name = installed_engines()[0] if engine == "auto" else engine
    _require(name)
    return name


def _source(model: str | os.PathLike | keras.Model | NetworkSource) -> NetworkSource:
    if isinstance(model, NetworkSource):
        return model
    from_file = isinstance(model, (str, os.PathLike))
    return NetworkSource.saved(model) if from_file else NetworkSource.of(model)


def _missing(name: str) -> list[str]:
    return [package for package in _PACKAGES[name] if find_spec(package) is None]


def _require(name: str) -> None:
    missing = _missing(name)
    if missing:
        raise ValueError(
            f"engine {name} needs {' and '.join(missing)}, which is not installed: "
            'pip install "kerasunet[engines]"'
        )


def _compiled(name: str, request: _Request) -> Run:
    if name == "keras":
        return _run_by_keras(request.source.load(), request.shape)
    runtime = RUNTIMES[name]
    facts = (runtime.version(), __version__, request.source.digest, str(request.shape))
    file = _CompiledFile(name, facts)
    make = _maker(runtime, request)
    try:
        return runtime.load(file.get(make))
    except RuntimeError:
        # The file was damaged on disk, or made for another CPU: make it again.
        file.clear()
        return runtime.load(file.get(make))


def _maker(runtime: Runtime, request: _Request) -> Callable[[], bytes]:
    return lambda: runtime.convert(request.source.load(), request.shape)


def _run_by_keras(model: keras.Model, shape: tuple[int, int, int]) -> Run:
    """Run a folded network by Keras itself, on any backend; nothing is kept on disk."""
    import keras

    # On CPUs, TensorFlow's own convolutions (oneDNN) are faster than those of XLA.
    jit = "auto" if keras.backend.backend() != "tensorflow" else False
    model.compile(jit_compile=jit)

    def run(image: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(model.predict_on_batch(image))

    run(np.zeros((1, *shape), np.float32))
    return run

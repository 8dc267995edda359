"""Saving: a plain Keras file with its card, weights alone, and files of half the size.

Keras assigns what it reads to variables of the model's own dtype, so a model loaded from a file
in half precision computes in float32. Half precision keeps 11 significant bits, about three
decimal digits.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.architecture import Architecture, plain_copy
from kerasunet.files import sha256, write_atomically
from kerasunet.models.model_card import ModelCard, write_card

if TYPE_CHECKING:
    import h5py
    import keras

WEIGHT_SUFFIX = ".weights.h5"
_WEIGHTS = "model.weights.h5"
_LARGEST = float(np.finfo(np.float16).max)


def save(model: keras.Model, path: Path, card: ModelCard) -> None:
    """Write `NAME.keras`, `NAME.json` and `NAME.md`, the model file first.

    The file is in float32 and holds neither optimizer nor compile settings nor frozen flags, so
    that plain Keras opens it and trains all of it.

    Args:
        model: The model.
        path: The `.keras` file to write.
        card: What to tell of it. Name, architecture, versions, date and digest are filled in.

    Raises:
        ValueError: The path does not end in `.keras`.
    """
    if path.suffix != ".keras":
        raise ValueError(f"{path}: a model file ends in .keras")
    write_atomically(path, plain_copy(model).save)
    saved = replace(
        card,
        name=path.stem,
        architecture=Architecture.of(model),
        classes=model.output_shape[-1],
        parameters=model.count_params(),
        versions=versions(),
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256=sha256(path),
        storage="float32",
        evaluations=(),
        unknown={},
    )
    write_card(path, saved)


def save_weights(model: keras.Model, path: Path) -> None:
    """Write the weights alone, as HDF5, for `UNet(weights=path)` and `model.load_weights`.

    Args:
        model: The model.
        path: The file to write; its name ends in `.weights.h5`.

    Raises:
        ValueError: The path does not end in `.weights.h5`.
    """
    if not path.name.endswith(WEIGHT_SUFFIX):
        raise ValueError(f"{path}: a file of weights ends in {WEIGHT_SUFFIX}")
    write_atomically(path, plain_copy(model).save_weights)


def versions() -> dict[str, str]:
    """Return the versions of this package, of Keras and of its backend, by name."""
    import keras

    from kerasunet import __version__

    backend = keras.backend.backend()
    return {
        "kerasunet": __version__,
        "keras": keras.__version__,
        backend: import_module(backend).__version__,
    }


def write_half_precision(source: Path, target: Path) -> None:
    """Copy a `.keras` file with its float32 weights stored as compressed float16.

    Args:
        source: A `.keras` file, as `model.save` writes it.
        target: The file to write, atomically.

    Raises:
        ValueError: A weight is too large for half precision (above 65504) or not finite.
    """
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[_WEIGHTS] = _halved(members[_WEIGHTS], source)

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    write_atomically(target, write)


def _halved(content: bytes, source: Path) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(buffer, "w") as new:
        old.visititems(lambda name, item: _copy(name, item, new, source))
        _copy_attributes(old, new)
    return buffer.getvalue()


def _copy(name: str, item: h5py.Group | h5py.Dataset, new: h5py.File, source: Path) -> None:
    if hasattr(item, "dtype"):
        copied = _copy_dataset(name, item, new, source)
    else:
        copied = new.require_group(name)
    _copy_attributes(item, copied)


def _copy_dataset(name: str, item: h5py.Dataset, new: h5py.File, source: Path) -> h5py.Dataset:
    values = item[()]
    if values.dtype != np.float32:
        return new.create_dataset(name, data=values)
    if not (np.abs(values) <= _LARGEST).all():
        raise ValueError(f"{source.name}: {name} holds values beyond half precision, keep float32")
    packed = {"compression": "gzip", "shuffle": True} if values.ndim else {}
    return new.create_dataset(name, data=values.astype(np.float16), **packed)


def _copy_attributes(old, new) -> None:
    for key, value in old.attrs.items():
        new.attrs[key] = value

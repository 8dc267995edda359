"""A model file with its weights in half precision: half the space, and Keras opens it as it is."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.files import write_atomically

if TYPE_CHECKING:
    import h5py

_WEIGHTS = "model.weights.h5"
_LARGEST = float(np.finfo(np.float16).max)


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
        old.visititems(lambda name, item: _copy(name, item, new, source=source))
        _copy_attributes(old, new)
    return buffer.getvalue()


def _copy(name: str, item: h5py.Group | h5py.Dataset, new: h5py.File, *, source: Path) -> None:
    if hasattr(item, "dtype"):
        copied = _copy_dataset(name, item, new, source=source)
    else:
        copied = new.require_group(name)
    _copy_attributes(item, copied)


def _copy_dataset(name: str, item: h5py.Dataset, new: h5py.File, *, source: Path) -> h5py.Dataset:
    values = item[()]
    if values.dtype != np.float32:
        return new.create_dataset(name, data=values)
    if not (np.abs(values) <= _LARGEST).all():
        raise ValueError(f"{source.name}: {name} holds values beyond half precision; keep float32")
    packed = {"compression": "gzip", "shuffle": True} if values.ndim else {}
    return new.create_dataset(name, data=values.astype(np.float16), **packed)


def _copy_attributes(old, new) -> None:
    for key, value in old.attrs.items():
        new.attrs[key] = value

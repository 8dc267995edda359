"""Models loaded from files, saved to them, and registered.

A file is a plain Keras file; what makes it trustworthy is checked before Keras sees it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kerasunet.architecture import Architecture
from kerasunet.files import (
    FileWarning,
    expanded,
    is_marked,
    require_replaceable,
    sha256,
    write_atomically,
)
from kerasunet.models.card_fields import united
from kerasunet.models.model_card import ModelCard, RecordedEvaluation, read_card, write_card
from kerasunet.models.registry import check_name, checked_copy, folder, require_unedited
from kerasunet.models.verification import (
    CONFIG,
    WEIGHTS,
    checked_model,
    checked_weights,
    first_line,
)
from kerasunet.schema import text_of

if TYPE_CHECKING:
    import h5py
    import keras

WEIGHT_SUFFIX = ".weights.h5"
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF"
_LARGEST_HALF = 65504.0
_ADDRESSES = re.compile(rb'"shared_object_id": \d+')


def load(name_or_path: str | os.PathLike) -> keras.Model:
    """Load a registered model by name, or another `.keras` file by its path.

    The digest in the card is verified before anything is loaded; a registered model needs a card.
    A file with anything but a U-Net of Keras' own layers in it is refused before Keras sees it,
    and Keras' safe mode is always on: a file cannot bring code.

    Args:
        name_or_path: A name that `list()` gives, the path of a `.keras` file, or `hf://owner/name`.

    Returns:
        The model, uncompiled, all weights set to train.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net that Keras
            can load.
    """
    with checked_copy(name_or_path) as (path, copy):
        import keras  # Takes seconds, in which a bad file should have been refused.

        try:
            model = keras.models.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:
            reason = first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: not a loadable Keras model ({reason})") from error
    if any(isinstance(layer, keras.layers.LayerNormalization) for layer in model.layers):
        from kerasunet.network import plain_copy

        return plain_copy(model)  # As version 0.1.0 saved it; it would not survive HDF5.
    model.trainable = True
    return model


def load_weights_into(model: keras.Model, weights: str | os.PathLike) -> None:
    """Set a model's weights from a registered model, a `.keras` or `.weights.h5` file; or none.

    Args:
        model: A U-Net of the same architecture. Where only the classes differ, in number or in
            whether they overlap, the `head` of a `.keras` file is left out.
        weights: Name or path.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The architecture differs; the message names the first layer that does.
    """
    from kerasunet.network import HEAD, is_overlapping, kept_if_it_fails

    with kept_if_it_fails(model):
        if text_of(weights, "weights").endswith(WEIGHT_SUFFIX):
            return _load_h5(model, expanded(weights))
        source = load(weights)
        given = {layer.name: layer for layer in source.layers if layer.weights}
        wanted = {layer.name: layer for layer in model.layers if layer.weights}
        _require_same_layers(weights, given, wanted)
        alike = is_overlapping(source) == is_overlapping(model)  # Else channels mean other things.
        for name, layer in wanted.items():
            shapes = [tuple(array.shape) for array in layer.weights]
            found = [tuple(array.shape) for array in given[name].weights]
            if shapes == found and (alike or name != HEAD):
                layer.set_weights(given[name].get_weights())
            elif name != HEAD:
                raise ValueError(
                    f"{os.fspath(weights)}: layer {name} has weights of shape {found}, but this "
                    f"U-Net needs {shapes}; build it with the file's base_filters and channels"
                )


def _load_h5(model: keras.Model, path: Path) -> None:
    with checked_weights(path) as copy, warnings.catch_warnings():
        # Keras 3.15 warns of containers that no plain HDF5 file has; all weights are loaded.
        warnings.filterwarnings("ignore", message="Skipping nested container")
        try:
            model.load_weights(copy)
        except (OSError, ValueError, KeyError) as error:
            reason = first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: these weights do not fit this U-Net ({reason})") from error


def _require_same_layers(weights: str | os.PathLike, given: dict, wanted: dict) -> None:
    different = sorted(given.keys() ^ wanted.keys())
    if different:
        raise ValueError(
            f"{os.fspath(weights)}: has a different architecture from this U-Net, in "
            f"{different[0]}; build it with the file's depth and normalization"
        )


def save(model: keras.Model, path: str | os.PathLike, card: ModelCard) -> None:
    """Write `NAME.keras`, `NAME.json` and `NAME.md`, the model file first.

    The file is in float32 and holds no optimizer, compile settings or frozen flags, so plain Keras
    opens it with all weights trainable.

    Args:
        model: The model.
        path: The `.keras` file to write.
        card: What to say about it. Name, architecture, versions, date and digest are filled in.

    Raises:
        FileExistsError: `NAME.json`, `NAME.md` or `NAME.keras` is there and has nothing to do with
            a model, `NAME.md` was edited, or the path is a link to a model with a card.
        TypeError: The card is not a `ModelCard`.
        NotWritten: One of the three is write-protected, or the like.
        ValueError: The path does not end in `.keras`, or the card could not be read back.
    """
    path = expanded(path)
    if path.suffix != ".keras":
        raise ValueError(f"{path}: a model file ends in .keras")
    if not isinstance(card, ModelCard):
        raise TypeError(f"give a ModelCard for {path.name}, not {card!r}")
    _require_no_other_card(path)
    if path.with_suffix(".json").exists():
        require_unedited(path)
        if gone := read_card(path.with_suffix(".json")).evaluations:
            told = f"{len(gone)} recorded on the card of the earlier model here, gone with it"
            warnings.warn(f"{path}: evaluations: {told}", FileWarning, stacklevel=2)
    _require_model(path, _ZIP)
    for suffix in (".keras", ".json", ".md"):  # A new model never stays beside an old card.
        require_replaceable(path.with_suffix(suffix))
    from kerasunet.network import is_overlapping, plain_copy

    saved = replace(
        card,
        name=path.stem,
        architecture=Architecture.of(model),
        classes=model.output_shape[-1],
        overlapping=is_overlapping(model),
        parameters=model.count_params(),
        versions=versions(),
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256="0" * 64,
        storage="float32",
        evaluations=(),
        unknown={},
    )
    saved.require_readable(path)
    write_atomically(path, plain_copy(model).save)
    write_card(path, replace(saved, sha256=sha256(path)))


def keep_file(path: Path, earlier: Path) -> tuple[RecordedEvaluation, ...]:
    """Let a model just saved stay the file it was before, if only the times in the files differ.

    What other results say of that file, and the evaluations recorded on its card, then stay true.

    Args:
        path: The `.keras` file that was just saved.
        earlier: The one that it is to replace; it need not exist.

    Returns:
        The evaluations on the card of the earlier file that are of another model, and thus are not
        on the new card.
    """
    try:
        known = read_card(earlier.with_suffix(".json"))
    except (OSError, ValueError):
        return ()
    is_whole = earlier.is_file() and sha256(earlier) == known.sha256
    if not is_whole or _network_in(path) != _network_in(earlier):
        return known.evaluations
    write_atomically(path, lambda temporary: shutil.copyfile(earlier, temporary))
    kept = {name: getattr(known, name) for name in ("sha256", "evaluations", "saved", "versions")}
    write_card(path, replace(read_card(path.with_suffix(".json")), **kept))
    return ()


def _network_in(path: Path) -> tuple[bytes, bytes]:
    """Return the configuration, without addresses in memory, and the weights of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        return _ADDRESSES.sub(b"", archive.read(CONFIG)), archive.read(WEIGHTS)


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


def _require_no_other_card(path: Path) -> None:
    """Refuse to write a card over a file that is not one."""
    found = [path.with_suffix(suffix) for suffix in (".json", ".md")]
    target = path.resolve().with_suffix(".json")
    if path.is_symlink() and target.exists() and target != found[0].resolve():
        raise FileExistsError(f"{path}: is a link to a model whose card is {target}; save it there")
    if not (found := [one for one in found if one.exists()]):
        return
    try:
        of_export = "export" in read_card(path.with_suffix(".json")).unknown
    except (OSError, ValueError):
        of_export = None
    if of_export is not False:
        what = "describes an export" if of_export else "is not the card of a model"
        raise FileExistsError(
            f"{found[0]}: {what}, and the card of {path.name} would replace it; move it away, or "
            "give another name"
        )


def _require_model(path: Path, beginning: bytes) -> None:
    """Refuse to write over a file that is not a model, whatever its name says."""
    if path.is_file() and not is_marked(path, beginning):
        raise FileExistsError(f"{path}: holds no model; move it away, or give another name")


def save_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Write the weights alone, as HDF5, for `UNet(weights=path)` and `model.load_weights`.

    Raises:
        FileExistsError: Such a file is there and holds no weights.
        ValueError: The name of the file to write does not end in `.weights.h5`.
    """
    path = expanded(path)
    if not path.name.endswith(WEIGHT_SUFFIX):
        raise ValueError(f"{path}: a file of weights ends in {WEIGHT_SUFFIX}")
    _require_model(path, _HDF5)
    from kerasunet.network import plain_copy

    save = plain_copy(model).save_weights
    write_atomically(path, lambda temporary: write_hdf5(save, temporary))


def write_hdf5(save: Callable[[str], object], path: Path) -> None:
    """Have Keras make an HDF5 file in memory, then write it: a full disk would crash HDF5.

    Args:
        save: A method of a model, `save` or `save_weights`.
        path: The file, with the suffix by which that method knows the format.
    """
    file = _Unwritten(path.name)
    save(cast("str", file))
    path.write_bytes(file.getvalue())


class _Unwritten(io.BytesIO):
    """A file in memory that has a name, by which Keras knows the format."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def __fspath__(self) -> str:
        return self._name

    __str__ = __fspath__


def register(path: str | os.PathLike, name: str, half_precision: bool = False) -> Path:
    """Copy a saved model with its card into the folder of registered models.

    Args:
        path: A `.keras` file with its card.
        name: The name to register it under.
        half_precision: Store the weights as compressed float16, in half the space; a loaded model
            still computes in float32.

    Returns:
        The registered `.keras` file.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        FileExistsError: Another model has this name, or the words of its card were edited.
        ValueError: The name is not a valid file name, or the file is not the one that its card
            describes, or it holds weights beyond half precision.
    """
    path = expanded(path)
    check_name(name, path)
    target = folder() / f"{name}.keras"
    if not path.with_suffix(".json").is_file():
        raise FileNotFoundError(f"{path}: no such model, or its card is not beside it")
    registered = replace(read_card(path.with_suffix(".json")), name=name)
    if target.is_file() and target.with_suffix(".json").is_file():  # Of the same model.
        known = read_card(target.with_suffix(".json"))
        evaluations = united(known.evaluations, registered.evaluations)
        registered = replace(registered, evaluations=evaluations)
        is_same_file = (known.storage == "float16") == half_precision
        if is_same_file and evaluations == known.evaluations and sha256(target) == known.sha256:
            return target
        require_unedited(target)
    with checked_model(path, registered.sha256) as copy:
        if half_precision:
            write_half_precision(copy, target)
            registered = replace(registered, storage="float16", sha256=sha256(target))
        else:
            write_atomically(target, lambda temporary: temporary.write_bytes(copy.read_bytes()))
    write_card(target, registered)
    return target


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
    members[WEIGHTS] = _halved(members[WEIGHTS], source)

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
    if values.dtype != "float32":
        return new.create_dataset(name, data=values)
    if not (abs(values) <= _LARGEST_HALF).all():
        raise ValueError(f"{source.name}: {name} holds values beyond half precision; keep float32")
    packed = {"compression": "gzip", "shuffle": True} if values.ndim else {}
    return new.create_dataset(name, data=values.astype("float16"), **packed)


def _copy_attributes(old, new) -> None:
    new.attrs.update(old.attrs)

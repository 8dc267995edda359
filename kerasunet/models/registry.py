"""The registry: models by name or path, their cards and digests, and what may be registered.

Only files with the digest on their card are used by name, other files by an explicit path.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet.architecture import Architecture, is_overlapping, plain_copy
from kerasunet.files import sha256, write_atomically
from kerasunet.models.half_precision import write_half_precision
from kerasunet.models.model_card import (
    ModelCard,
    RecordedEvaluation,
    read_card,
    require_free_name,
    versions,
    write_card,
)
from kerasunet.models.verification import checked_model, checked_weights, first_line, other_digest

if TYPE_CHECKING:
    import keras


def folder() -> Path:
    """Return the folder of the registered models; `KERASUNET_MODELS` names another one."""
    if named := os.environ.get("KERASUNET_MODELS"):
        return Path(named)
    installed, beside_package = (Path(__file__).parents[n] / "saved_models" for n in (1, 2))
    return installed if installed.is_dir() else beside_package


def list() -> tuple[str, ...]:
    """Return the names of the registered models, sorted; some stand for the file of another."""
    files = {path.stem for path in folder().glob("*.keras")}
    cards = {path.stem for path in folder().glob("*.json")} - files
    return tuple(sorted(files | {name for name in cards if _file_of(name).is_file()}))


def _file_of(name: str) -> Path:
    """Return the file that a registered name stands for; it may not be there."""
    own = folder() / f"{name}.keras"
    sidecar = own.with_suffix(".json")
    if own.is_file() or not sidecar.is_file():
        return own
    return folder() / f"{read_card(sidecar).weights_of or name}.keras"


def card(name_or_path: str | os.PathLike) -> ModelCard:
    """Return the card of a model.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The card is damaged, or is not a card.
    """
    path = _card_file(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this model has no card; copy it beside the .keras file")
    return read_card(path)


def is_registered(name_or_path: str | os.PathLike) -> bool:
    """Tell whether it is a registered model, by its name or by the path of its file."""
    if _is_address(name_or_path):  # A card that was fetched may name anything.
        return False
    try:
        return _is_registered(_resolve(name_or_path))
    except FileNotFoundError:
        return False


def digest(name_or_path: str | os.PathLike) -> str:
    """Return the SHA-256 of a model file; `"scratch"`, which stands for no file, has none.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes.
    """
    if name_or_path == "scratch":
        return ""
    path = _resolve(name_or_path)
    return _verified(path, required=_needs_card(name_or_path, path))


def check(name_or_path: str | os.PathLike) -> None:
    """Look through a model file as `load` does, without loading it: in a moment, without Keras.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net.
    """
    with checked_copy(name_or_path):
        pass


@contextmanager
def checked_copy(name_or_path: str | os.PathLike) -> Iterator[tuple[Path, Path]]:
    """Give the path of a model file, and that of a copy that is safe to open.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net.
    """
    path = _resolve(name_or_path)
    required = _needs_card(name_or_path, path)
    with checked_model(path, _stated_digest(path, required=required)) as copy:
        yield path, copy


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
        FileExistsError: Another model has this name.
        ValueError: The name is not a valid file name, or the file is not the one that its card
            describes, or it holds weights beyond half precision.
    """
    path = Path(path)
    check_name(name, path)
    target = folder() / f"{name}.keras"
    registered = replace(read_card(path.with_suffix(".json")), name=name)
    with checked_model(path, registered.sha256) as copy:
        if half_precision:
            write_half_precision(copy, target)
            registered = replace(registered, storage="float16", sha256=sha256(target))
        else:
            write_atomically(target, lambda temporary: temporary.write_bytes(copy.read_bytes()))
    write_card(target, registered)
    return target


def check_name(name: str, path: Path | None = None) -> None:
    """Refuse a name that the model in `path`, which need not be there yet, cannot be given.

    Raises:
        FileExistsError: Another model is registered under it.
        ValueError: It is empty, too long, a path, or has characters that file systems differ on.
    """
    require_free_name(folder(), name, path)


def record(name_or_path: str | os.PathLike, evaluation: RecordedEvaluation) -> Path:
    """Add an evaluation to a model's card, in place of an earlier one of the same kind.

    Args:
        name_or_path: A registered model or a `.keras` file with its card.
        evaluation: With how many of its cases the model had seen.

    Returns:
        The JSON card.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The file is not the one that its card describes.
    """
    if _is_address(name_or_path):
        raise ValueError(f"{name_or_path}: its card is kept by the Hub; save the model as a file")
    _verified(_resolve(name_or_path), required=True)
    path, known = _card_file(name_or_path), card(name_or_path)
    kept = (old for old in known.evaluations if old.kind != evaluation.kind)
    write_card(path, replace(known, evaluations=(*kept, evaluation)))
    return path


def _resolve(name_or_path: str | os.PathLike) -> Path:
    text = os.fspath(name_or_path)
    if _is_address(text):
        from kerasunet.models import hub

        return hub.fetched(text)
    if os.sep not in text and (registered := _file_of(text)).is_file():
        return registered
    path = Path(text)
    if path.suffix == ".keras" and path.is_file():
        return path
    raise FileNotFoundError(
        f"{text}: neither a registered model nor a .keras file nor hf://owner/name; registered "
        "are: " + (", ".join(list()) or "none")
    )


def _is_address(name_or_path: str | os.PathLike) -> bool:
    """Return whether it names a repository of the Hub, rightly or wrongly spelled."""
    return os.fspath(name_or_path).startswith("hf://")


def _needs_card(name_or_path: str | os.PathLike, path: Path) -> bool:
    """Whether a model must have a card to be verified by: one that is registered, or fetched."""
    return _is_address(name_or_path) or _is_registered(path)


def _is_registered(path: Path) -> bool:
    return path.resolve().parent == folder().resolve()


def _card_file(name_or_path: str | os.PathLike) -> Path:
    """Return where the card of a model is, or would be."""
    path, text = _resolve(name_or_path), os.fspath(name_or_path)
    own = folder() / f"{text}.json"
    return own if os.sep not in text and own.is_file() else path.with_suffix(".json")


def _stated_digest(path: Path, required: bool) -> str | None:
    """Return the digest on the card of a model file; `None` where no card is, nor is needed."""
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        return read_card(sidecar).sha256
    if required:
        raise ValueError(f"{path}: has no card {sidecar.name}, so it cannot be verified")
    return None


def _verified(path: Path, required: bool) -> str:
    """Return the digest of a model file, which is the one on its card, if it has a card."""
    stated, found = _stated_digest(path, required), sha256(path)
    if stated not in (None, found):
        raise ValueError(f"{path}: {other_digest(path.with_suffix('.json').name)}")
    return found


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
        import keras

        try:
            model = keras.models.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:
            reason = first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: not a loadable Keras model ({reason})") from error
    if any(isinstance(layer, keras.layers.LayerNormalization) for layer in model.layers):
        return plain_copy(model)  # As version 0.1.0 saved it; it would not survive HDF5.
    model.trainable = True
    return model


def load_weights_into(model: keras.Model, weights: str | os.PathLike) -> None:
    """Set a model's weights from a registered model, a `.keras` file or a `.weights.h5` file.

    Args:
        model: A U-Net of the same architecture. Where only the number of classes differs, the
            `head` of a `.keras` file is left out.
        weights: Name or path.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The architecture differs; the message names the first layer that does.
    """
    if os.fspath(weights).endswith(WEIGHT_SUFFIX):
        _load_h5(model, Path(weights))
        return
    source = load(weights)
    given = {layer.name: layer for layer in source.layers if layer.weights}
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    _require_same_layers(weights, given, wanted)
    for name, layer in wanted.items():
        shapes = [tuple(array.shape) for array in layer.weights]
        found = [tuple(array.shape) for array in given[name].weights]
        if shapes == found:
            layer.set_weights(given[name].get_weights())
        elif name != "head":
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


WEIGHT_SUFFIX = ".weights.h5"


def save(model: keras.Model, path: str | os.PathLike, card: ModelCard) -> None:
    """Write `NAME.keras`, `NAME.json` and `NAME.md`, the model file first.

    The file is in float32 and holds no optimizer, compile settings or frozen flags, so plain Keras
    opens it with all weights trainable.

    Args:
        model: The model.
        path: The `.keras` file to write.
        card: What to say about it. Name, architecture, versions, date and digest are filled in.

    Raises:
        ValueError: The path does not end in `.keras`.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"{path}: a model file ends in .keras")
    write_atomically(path, plain_copy(model).save)
    saved = replace(
        card,
        name=path.stem,
        architecture=Architecture.of(model),
        classes=model.output_shape[-1],
        overlapping=is_overlapping(model),
        parameters=model.count_params(),
        versions=versions(),
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256=sha256(path),
        storage="float32",
        evaluations=(),
        unknown={},
    )
    write_card(path, saved)


def save_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Write the weights alone, as HDF5, for `UNet(weights=path)` and `model.load_weights`.

    Raises:
        ValueError: The name of the file to write does not end in `.weights.h5`.
    """
    path = Path(path)
    if not path.name.endswith(WEIGHT_SUFFIX):
        raise ValueError(f"{path}: a file of weights ends in {WEIGHT_SUFFIX}")
    write_atomically(path, plain_copy(model).save_weights)

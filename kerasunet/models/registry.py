"""Saved models: a plain Keras file, a JSON card beside it, a digest that ties them together.

`saved_models/NAME.keras` opens with `keras.models.load_model` and nothing else; `NAME.json` tells
what it is, `NAME.md` tells it to people. Model files can bring code: by name only those with the
digest that their card states are loaded, others by an explicit path; each is looked through first
(`kerasunet.models`), and Keras loads it in safe mode.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet.data.cases import DataSet
from kerasunet.files import sha256, write_atomically, write_json, write_text
from kerasunet.models.model_card import as_markdown, read_card
from kerasunet.models.saving import write_half_precision
from kerasunet.models.verification import checked_model, checked_weights, other_digest

if TYPE_CHECKING:
    import keras


_WEIGHT_SUFFIX = ".weights.h5"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class DataNote:
    """What a card tells of a data set: name, size, SHA-256 of its index, terms and citation."""

    name: str
    cases: int
    digest: str
    terms: str
    citation: str

    @classmethod
    def of(cls, data: DataSet) -> DataNote:
        return cls(data.name, len(data), data.digest, data.terms, data.citation)


@dataclass(frozen=True)
class Card:
    """What is known of a model when it is saved.

    Attributes:
        title: One line for people.
        strategy: Strategy text: which weights trained.
        init: Where the weights came from.
        data: The training data.
        evaluation_data: The data that the metrics were measured on.
        split: SHA-256 of the split; empty where two data sets were used whole.
        image_size: Height and width of training images in pixels.
        threshold: Probability from which a pixel counts as foreground.
        training_cases: Number of training cases.
        metrics: Summary of the held-out cases, as in `kerasunet.training.evaluation`.
        settings: All settings of the run.
    """

    title: str
    strategy: str
    init: str
    data: DataNote
    evaluation_data: DataNote
    split: str
    image_size: int
    threshold: float
    training_cases: int
    metrics: dict[str, Any]
    settings: dict[str, Any]


def folder() -> Path:
    """Returns the folder of the registered models; `KERASUNET_MODELS` names another one."""
    if named := os.environ.get("KERASUNET_MODELS"):
        return Path(named)
    beside_package = Path(__file__).parents[2] / "saved_models"
    installed = Path(__file__).parents[1] / "saved_models"
    return installed if installed.is_dir() else beside_package


def list() -> tuple[str, ...]:
    """Returns the names of the registered models, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.keras")))


def card(name_or_path: str | os.PathLike) -> dict[str, Any]:
    """Returns the card of a model.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The card is damaged or no card at all.
    """
    path = _resolve(name_or_path).with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this model has no card; copy it beside the .keras file")
    return read_card(path)


def digest(name_or_path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a model file; `"scratch"`, which stands for no file, has none.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes.
    """
    if name_or_path == "scratch":
        return ""
    path = _resolve(name_or_path)
    return _verified(path, required=_is_registered(path))


def load(name_or_path: str | os.PathLike) -> keras.Model:
    """Loads a registered model by name, or another `.keras` file by its path.

    The digest in the card is verified before anything is loaded; a registered model needs a card.
    A file with anything but a U-Net of Keras' own layers in it is refused before Keras sees it,
    and Keras' safe mode is always on: a file cannot bring code.

    Args:
        name_or_path: A name that `list()` gives, or the path of a `.keras` file.

    Returns:
        The model, uncompiled, all weights set to train.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net that Keras
            can load.
    """
    path = _resolve(name_or_path)
    with checked_model(path, _stated_digest(path, required=_is_registered(path))) as copy:
        import keras

        try:
            model = keras.models.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:
            reason = _first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: not a loadable Keras model ({reason})") from error
    model.trainable = True
    return model


def check(name_or_path: str | os.PathLike) -> None:
    """Looks through a model file as `load` does, without loading it: in a moment, without Keras.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net.
    """
    path = _resolve(name_or_path)
    with checked_model(path, _stated_digest(path, required=_is_registered(path))):
        pass


def save(model: keras.Model, path: Path, card: Card) -> None:
    """Writes `NAME.keras`, `NAME.json` and `NAME.md`, the model file first.

    The file is in float32 and holds neither optimizer nor compile settings nor frozen flags, so
    that plain Keras opens it and trains all of it.

    Args:
        model: The model.
        path: The `.keras` file to write.
        card: What to tell of it.

    Raises:
        ValueError: The path does not end in `.keras`.
    """
    if path.suffix != ".keras":
        raise ValueError(f"{path}: a model file ends in .keras")
    from kerasunet.unet import architecture_of, plain_copy

    plain = plain_copy(model)
    write_atomically(path, plain.save)
    facts = {
        "name": path.stem,
        **asdict(card),
        "architecture": architecture_of(model),
        "parameters": model.count_params(),
        "versions": versions(),
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": sha256(path),
    }
    write_json(path.with_suffix(".json"), facts)
    write_text(path.with_suffix(".md"), as_markdown(facts))


def register(path: Path, name: str, half_precision: bool = False) -> Path:
    """Copies a saved model with its card into the folder of registered models.

    Args:
        path: A `.keras` file with its card.
        name: The name to register it under.
        half_precision: Store the weights as compressed float16, in half the space; a loaded model
            computes in float32 all the same.

    Returns:
        The registered `.keras` file.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The name is not one of a file, the file is not the one that its card describes,
            or holds weights beyond half precision.
    """
    check_name(name)
    target = folder() / f"{name}.keras"
    facts = {**read_card(path.with_suffix(".json")), "name": name}
    with checked_model(path, facts["sha256"]) as copy:
        if half_precision:
            write_half_precision(copy, target)
            facts |= {"storage": "float16", "sha256": sha256(target)}
        else:
            write_atomically(target, lambda temporary: temporary.write_bytes(copy.read_bytes()))
    write_json(target.with_suffix(".json"), facts)
    write_text(target.with_suffix(".md"), as_markdown(facts))
    return target


def check_name(name: str) -> None:
    """Refuses what cannot be the name of a registered model.

    Raises:
        ValueError: It is empty, too long, a path, or has characters that file systems differ on.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a model; a name has up to 100 letters, digits and ._+- and "
            "starts with a letter or digit"
        )


def record(
    name_or_path: str | os.PathLike,
    data: DataNote,
    image_size: int,
    threshold: float,
    metrics: dict[str, Any],
    mirrored: bool = False,
) -> Path:
    """Adds an evaluation on another data set to a model's card, in place of an earlier such one.

    Args:
        name_or_path: A registered model or a `.keras` file with its card.
        data: The data set that the model was evaluated on.
        image_size: Height and width that images were stretched to, in pixels.
        threshold: Probability from which a pixel counted as foreground.
        metrics: Summary, as in `kerasunet.training.evaluation`.
        mirrored: Whether predictions were averaged with those of the mirror images.

    Returns:
        The JSON card.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The file is not the one that its card describes.
    """
    path = _resolve(name_or_path)
    _verified(path, required=True)
    facts = card(path)
    kept = [old for old in facts.get("evaluations", []) if not _is_of(old, data.name, mirrored)]
    new = {
        "data": asdict(data),
        "image_size": image_size,
        "threshold": threshold,
        "mirrored": mirrored,
        "metrics": metrics,
    }
    facts["evaluations"] = [*kept, new]
    write_json(path.with_suffix(".json"), facts)
    write_text(path.with_suffix(".md"), as_markdown(facts))
    return path.with_suffix(".json")


def _is_of(evaluation: dict[str, Any], data: str, mirrored: bool) -> bool:
    return (evaluation["data"]["name"], evaluation.get("mirrored", False)) == (data, mirrored)


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes the weights alone, as HDF5, for `UNet(weights=path)` and `model.load_weights`.

    Args:
        model: The model.
        path: The file to write; its name ends in `.weights.h5`.

    Raises:
        ValueError: The path does not end in `.weights.h5`.
    """
    from kerasunet.unet import plain_copy

    if not path.name.endswith(_WEIGHT_SUFFIX):
        raise ValueError(f"{path}: a file of weights ends in {_WEIGHT_SUFFIX}")
    write_atomically(path, plain_copy(model).save_weights)


def load_weights_into(model: keras.Model, weights: str | os.PathLike) -> None:
    """Sets a model's weights from a registered model, a `.keras` file or a `.weights.h5` file.

    Args:
        model: A U-Net of the same architecture. Where only the number of classes differs, the
            `head` of a `.keras` file is left out.
        weights: Name or path.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The architecture differs; the message names the first layer that does.
    """
    if os.fspath(weights).endswith(_WEIGHT_SUFFIX):
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
                f"{os.fspath(weights)}: layer {name} has weights of shape {found}, "
                f"this U-Net needs {shapes}; build it with the file's base_filters and channels"
            )


def _load_h5(model: keras.Model, path: Path) -> None:
    with checked_weights(path) as copy, warnings.catch_warnings():
        # Keras 3.15 warns of containers that no plain HDF5 file has; all weights are loaded.
        warnings.filterwarnings("ignore", message="Skipping nested container")
        try:
            model.load_weights(copy)
        except (OSError, ValueError, KeyError) as error:
            reason = _first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: these weights do not fit this U-Net ({reason})") from error


def _require_same_layers(weights, given: dict, wanted: dict) -> None:
    different = sorted(given.keys() ^ wanted.keys())
    if different:
        raise ValueError(
            f"{os.fspath(weights)}: has another architecture than this U-Net, they differ in "
            f"{different[0]}; build it with the file's depth and normalization"
        )


def _resolve(name_or_path: str | os.PathLike) -> Path:
    text = os.fspath(name_or_path)
    registered = folder() / f"{text}.keras"
    if os.sep not in text and registered.is_file():
        return registered
    path = Path(text)
    if path.suffix == ".keras" and path.is_file():
        return path
    raise FileNotFoundError(
        f"{text}: neither a registered model nor a .keras file; registered are: "
        + (", ".join(list()) or "none")
    )


def _is_registered(path: Path) -> bool:
    return path.resolve().parent == folder().resolve()


def _stated_digest(path: Path, required: bool) -> str | None:
    """The digest that the card of a model file states; `None` where a card may lack and does."""
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        return read_card(sidecar)["sha256"]
    if required:
        raise ValueError(f"{path}: has no card {sidecar.name}, so it cannot be verified")
    return None


def _verified(path: Path, required: bool) -> str:
    """The digest of a model file, which is the one that its card states, if it has a card."""
    stated, found = _stated_digest(path, required), sha256(path)
    if stated not in (None, found):
        raise ValueError(f"{path}: {other_digest(path.with_suffix('.json').name)}")
    return found


def versions() -> dict[str, str]:
    """Versions of this package, of Keras and of its backend, by name."""
    import keras

    from kerasunet import __version__

    backend = keras.backend.backend()
    return {
        "kerasunet": __version__,
        "keras": keras.__version__,
        backend: import_module(backend).__version__,
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Verification: model files from anywhere are inspected before Keras opens them.

A `.keras` file is a zip with the configuration of a network, its weights and a few notes. Only
functional networks of the layers that a U-Net has are opened, and only if the file really holds all
their numbers; a file that could bring code, or claim memory that it does not fill, is refused.
"""

from __future__ import annotations

import io
import json
import math
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kerasunet.files import sha256, writing

if TYPE_CHECKING:
    import h5py

_CONVOLUTIONS = ("Conv2D", "Conv2DTranspose")
_NORMALIZATIONS = ("BatchNormalization", "GroupNormalization")
LAYERS = (
    "InputLayer",
    "LayerNormalization",
    *_CONVOLUTIONS,
    *_NORMALIZATIONS,
    "Activation",
    "MaxPooling2D",
    "Concatenate",
)
_NETWORKS = (("keras.src.models.functional", "Functional"), ("keras", "Functional"))
_INITIALIZERS = ("Zeros", "Ones", "HeNormal", "GlorotUniform")
_PARTS = {("keras", "DTypePolicy"), *(("keras.initializers", name) for name in _INITIALIZERS)}
_KEYS = {"module", "class_name", "config", "registered_name", "name", "build_config"}
_KEYS |= {"inbound_nodes", "shared_object_id"}
_FOUND_BY_NAME = ("_initializer", "_regularizer", "_constraint")
_ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax")
_MOST_LAYERS, _LARGEST = 1000, 1 << 16
_ANY_NUMBER = ("shared_object_id", "seed")

MOST_WEIGHTS = 1 << 28
_MOST_OBJECTS = 20_000
_ITEM_BYTES = 8
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3  # HDF5's registered filters.
_LARGEST_RATIO = 1100  # Deflate packs no tighter than 1032 to 1.
_SLACK_BYTES = 4096  # Of tiny arrays kept in their header.

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
MOST_BYTES = 1 << 30
_MOST_BYTES = {CONFIG: 8 << 20, METADATA: 1 << 16, WEIGHTS: MOST_BYTES}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_CHUNK = 1 << 20


class Refused(ValueError):
    """A model file is not opened; the message gives cause and remedy, but not the file's name."""


def other_digest(card: str) -> Refused:
    """Return the error for a file that is not the one its card, of this name, describes."""
    return Refused(
        f"is not the file that {card} describes: their SHA-256 digests differ; it was changed "
        "or damaged, so restore both from their source"
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def count_parameters(content: bytes) -> int:
    """Check a configuration and count the weights of its layers.

    Args:
        content: The bytes of `config.json`.

    Returns:
        How many numbers Keras will allocate.

    Raises:
        Refused: It is not the configuration of a U-Net.
    """
    channels: dict[str, int] = {}
    count = 0
    for layer in _layers(_parsed(content)):
        _check_layer(layer)
        entering = _entering(layer, channels)
        _check_build(layer, entering)
        channels[layer["name"]] = _leaving(layer, entering)
        count += _weights_of(layer, entering)
    return count


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused("its config.json is not readable JSON; copy the file again") from None


def _layers(network: Any) -> list[Mapping]:
    try:
        kind = network["module"], network["class_name"]
        layers = network["config"]["layers"]
    except (TypeError, KeyError, IndexError):
        raise Refused("its config.json does not describe a network") from None
    if kind not in _NETWORKS or not _is_own_name(network, kind[1]):
        raise Refused(f"it is a {kind[0]}.{kind[1]}; only a functional network is opened")
    for name in network["config"].keys() - {"layers"}:
        _check_value(name, network["config"][name])
    if not isinstance(layers, list) or not 0 < len(layers) <= _MOST_LAYERS:
        raise Refused(f"its config.json has no list of 1 to {_MOST_LAYERS} layers")
    return layers


def _check_layer(layer: Any) -> None:
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
        raise Refused("its config.json has a layer without settings")
    module, kind = layer.get("module"), layer.get("class_name")
    if module != "keras.layers" or kind not in LAYERS or not _is_own_name(layer, kind):
        raise Refused(
            f"it has a layer of the class {module}.{kind}; only these of Keras are opened: "
            f"{', '.join(LAYERS)}"
        )
    if not layer.keys() <= _KEYS or layer.get("name") != layer["config"].get("name"):
        raise Refused(f"it describes a {kind} in a way that is not known")
    for name, value in layer["config"].items():
        _check_value(name, value)
    if layer["config"].get("activation", "linear") not in _ACTIVATIONS:
        raise Refused(f"it has an activation that is not one of {', '.join(_ACTIVATIONS)}")


def _is_own_name(described: Mapping, kind: str) -> bool:
    """Return whether Keras looks for the class in its own modules, not among registered ones."""
    return described.get("registered_name") in (None, kind)


def _check_value(name: str, value: Any) -> None:
    """Let plain values pass, lists of them, and the parts that layers of Keras have."""
    if isinstance(value, list):
        for item in value:
            _check_value(name, item)
    elif isinstance(value, dict):
        _check_part(name, value)
    elif isinstance(value, str):
        if name.endswith(_FOUND_BY_NAME):
            raise Refused(f"the {name} of a layer is given by name; save the model again")
    elif value is not None and name not in _ANY_NUMBER and not -_LARGEST <= value <= _LARGEST:
        raise Refused(f"a layer has {name} {value}, beyond {_LARGEST}")


def _check_part(name: str, part: Mapping) -> None:
    module, kind = part.get("module"), part.get("class_name")
    if (module, kind) not in _PARTS or not _is_own_name(part, str(kind)):
        raise Refused(f"the {name} of a layer is {module}.{kind}, which is not opened")
    settings = part.get("config")
    if not isinstance(settings, dict):
        raise Refused(f"the {name} of a layer has no settings")
    for inner, value in settings.items():
        if isinstance(value, dict):
            raise Refused(f"the {name} of a layer has settings that are not plain")
        _check_value(inner, value)


def _entering(layer: Mapping, channels: Mapping[str, int]) -> list[int]:
    """Return the channels of every tensor that a layer takes in, from layers before it."""
    nodes: Any = layer.get("inbound_nodes")
    if layer["class_name"] == "InputLayer":
        if nodes:
            raise Refused("its input layer has its own input")
        return []
    try:
        (node,) = nodes
        if node["kwargs"] not in ({}, {"mask": None}):
            raise Refused("it passes a layer more than tensors")
        return [channels[name] for name in _sources(node["args"])]
    except Refused:
        raise
    except (TypeError, KeyError, ValueError, IndexError):
        raise Refused("its layers are not connected in sequence") from None


def _sources(value: Any) -> Iterator[str]:
    """Return the names of the layers whose outputs are handed on; refuse anything else."""
    if isinstance(value, list):
        for item in value:
            yield from _sources(item)
        return
    if value["class_name"] != "__keras_tensor__" or set(value) != {"class_name", "config"}:
        raise Refused("it passes a layer something that is not a tensor")
    yield value["config"]["keras_history"][0]


def _check_build(layer: Mapping, entering: list[int]) -> None:
    """Check the shape by which Keras makes room for weights, stated apart from the tensors."""
    stated = layer.get("build_config")
    if stated is None or layer["class_name"] == "Concatenate":  # Which has no weights.
        return
    if stated.keys() != {"input_shape"} or stated["input_shape"][-1] != sum(entering):
        raise Refused(f"a {layer['class_name']} states a different input from the one it receives")


def _leaving(layer: Mapping, entering: list[int]) -> int:
    settings = layer["config"]
    if layer["class_name"] == "InputLayer":
        return _number(settings["batch_shape"][-1])
    if layer["class_name"] in _CONVOLUTIONS:
        return _number(settings["filters"])
    return sum(entering)


def _weights_of(layer: Mapping, entering: list[int]) -> int:
    kind, settings = layer["class_name"], layer["config"]
    if kind in _CONVOLUTIONS:
        size = math.prod(map(_number, settings["kernel_size"]))
        kernel = size * sum(entering) // _number(settings.get("groups", 1))
        return _number(settings["filters"]) * (kernel + settings["use_bias"])
    if kind == "LayerNormalization" and (settings.get("scale") or settings.get("center")):
        raise Refused("it has a LayerNormalization with weights, which no U-Net has")
    if kind in _NORMALIZATIONS:
        if settings["axis"] != -1:
            raise Refused(f"it has a {kind} that is not over channels")
        statistics = 2 * (kind == "BatchNormalization")
        return sum(entering) * (statistics + settings["center"] + settings["scale"])
    return 0


def _number(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise Refused(f"a layer has {value!r} where a whole number is needed")
    return value


@contextmanager
def _damage_refused(cause: str) -> Iterator[None]:
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # Broken bytes are answered with exceptions of every type.
        raise Refused(f"{cause} ({first_line(error)}); copy it again") from None


def count_weights(file: Path | BinaryIO) -> int:
    """Count the numbers in an HDF5 file.

    Raises:
        Refused: It is damaged, or has anything but plain arrays.
    """
    import h5py

    with _damage_refused("its weights are damaged HDF5"), h5py.File(file, "r") as opened:
        count = sum(_size(name, item) for name, item in _datasets(opened))
    if count > MOST_WEIGHTS:
        raise Refused(f"{count:,} weights, more than the limit of {MOST_WEIGHTS:,}")
    return count


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield all arrays; what is neither an array nor a group, or is met twice, is refused."""
    import h5py

    waiting, met = [file["/"]], set[int]()
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Refused(f"{name} in its weights is a link; only arrays are taken")
            item = group[name]
            place = h5py.h5o.get_info(item.id).addr
            if place in met or len(met) >= _MOST_OBJECTS:
                raise Refused(f"{name} in its weights appears twice, or there are too many arrays")
            met.add(place)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            else:
                yield item.name, item


def _size(name: str, item: h5py.Dataset | h5py.Datatype) -> int:
    """Return the number of values of an array, if it is a plain one that is really stored."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub" or item.shape is None:
        raise Refused(f"{name} in its weights is not an array of numbers")
    if item.is_virtual or item.external:
        raise Refused(f"{name} in its weights is kept in another file")
    properties = item.id.get_create_plist()
    filters = {properties.get_filter(n)[0] for n in range(properties.get_nfilters())}
    if not filters <= {_DEFLATE, _SHUFFLE, _CHECKSUM} or item.dtype.itemsize > _ITEM_BYTES:
        raise Refused(f"{name} in its weights is stored in an unsupported way")
    stored = item.id.get_storage_size() * (_LARGEST_RATIO if _DEFLATE in filters else 1)
    if item.size * item.dtype.itemsize > stored + _SLACK_BYTES or item.size > MOST_WEIGHTS:
        raise Refused(f"{name} in its weights has {item.size:,} numbers that are not in the file")
    return item.size


def check_archive(path: Path) -> None:
    """Look through a `.keras` file.

    Raises:
        Refused: It is damaged, or holds anything but a U-Net.
    """
    with _damage_refused("not a complete .keras file"), zipfile.ZipFile(path) as archive:
        _check_members(archive.infolist())
        # Reading stops at the size that was checked, and compares the checksum.
        needed = count_parameters(archive.read(CONFIG))
        held = count_weights(io.BytesIO(archive.read(WEIGHTS)))
    if needed > held:
        raise Refused(f"its layers have {needed:,} weights, but the file holds {held:,} numbers")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if sorted(names) != sorted(_MOST_BYTES):
        shown = ", ".join(map(repr, names[:5]))
        raise Refused(
            f"a model file holds {', '.join(_MOST_BYTES)}, each once and nothing else; this one "
            f"holds {shown or 'nothing'}{' …' if len(names) > 5 else ''}"
        )
    for member in members:
        _check_member(member)


def _check_member(member: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise Refused(f"its {member.filename} is a link or a device, not a file")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise Refused(f"its {member.filename} is encrypted or compressed in an unsupported way")
    if member.file_size > _MOST_BYTES[member.filename]:
        raise Refused(
            f"its {member.filename} has {member.file_size:,} bytes, more than the limit of "
            f"{_MOST_BYTES[member.filename]:,}"
        )


def checked_model(path: Path, digest: str | None = None) -> AbstractContextManager[Path]:
    """Give a copy of a `.keras` file that holds nothing but a U-Net.

    Args:
        path: The `.keras` file.
        digest: The SHA-256 that it must have; `None` for any.

    Returns:
        A context that gives the copy, and removes it at the end.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has another digest, or holds anything that a U-Net does not need.
        NotWritten: The disk of temporary files has no room for the copy.
    """
    return _copied(path, check_archive, digest)


def checked_weights(path: Path) -> AbstractContextManager[Path]:
    """Give a copy of a `.weights.h5` file all of whose arrays are in the file itself.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not an HDF5 file, or refers to other files.
        NotWritten: The disk of temporary files has no room for the copy.
    """
    return _copied(path, count_weights, None)


@contextmanager
def _copied(path: Path, check: Callable[[Path], object], digest: str | None) -> Iterator[Path]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with tempfile.TemporaryDirectory(prefix="kerasunet-model-") as folder:
        copy = Path(folder) / path.name
        try:
            _copy(path, copy)
            if digest is not None and sha256(copy) != digest:
                raise other_digest(path.with_suffix(".json").name)
            check(copy)
        except Refused as error:
            raise ValueError(f"{path}: {error}") from None
        yield copy


def _copy(path: Path, copy: Path) -> None:
    """Copy bytes, and no more of them than a model may have."""
    with open(path, "rb") as source, writing(copy.parent), open(copy, "xb") as target:
        left = MOST_BYTES
        while left >= 0 and (chunk := source.read(_CHUNK)):
            left -= target.write(chunk)
    if left < 0:
        raise Refused(
            f"{path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,} for a model file"
        )

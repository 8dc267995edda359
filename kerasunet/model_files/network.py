"""The `config.json` of a `.keras` file: a U-Net of known layers, and nothing that could run.

Keras imports the classes that a configuration names. So every name is compared with a short list
before, and every value has to be plain. How many weights the layers will take is counted, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kerasunet.model_files.refusal import Refused

LAYERS = (
    "InputLayer",
    "LayerNormalization",
    "Conv2D",
    "Conv2DTranspose",
    "BatchNormalization",
    "GroupNormalization",
    "Activation",
    "MaxPooling2D",
    "Concatenate",
)
_NETWORKS = (("keras.src.models.functional", "Functional"), ("keras", "Functional"))
_PARTS = (
    ("keras", "DTypePolicy"),
    ("keras.initializers", "Zeros"),
    ("keras.initializers", "Ones"),
    ("keras.initializers", "HeNormal"),
    ("keras.initializers", "GlorotUniform"),
)
_KEYS = {"module", "class_name", "config", "registered_name", "name", "build_config"}
_KEYS |= {"inbound_nodes", "shared_object_id"}
_FOUND_BY_NAME = ("_initializer", "_regularizer", "_constraint")
_ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax")
_MOST_LAYERS = 1000
_LARGEST = 1 << 16
_ANY_NUMBER = ("shared_object_id", "seed")
_TENSOR = "__keras_tensor__"


def count_parameters(content: bytes) -> int:
    """Checks a configuration and counts the weights of its layers.

    Args:
        content: The bytes of `config.json`.

    Returns:
        How many numbers Keras will make room for.

    Raises:
        Refused: It is not the configuration of a U-Net.
    """
    layers = _layers(_parsed(content))
    channels: dict[str, int] = {}
    count = 0
    for layer in layers:
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
        raise Refused("its config.json describes no network") from None
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
        raise Refused(f"it has an activation that is none of {', '.join(_ACTIVATIONS)}")


def _is_own_name(described: Mapping, kind: str) -> bool:
    """Whether Keras looks for the class in its own modules, not among registered ones."""
    return described.get("registered_name") in (None, kind)


def _check_value(name: str, value: Any) -> None:
    """Lets plain values pass, lists of them, and the parts that layers of Keras have."""
    if isinstance(value, list):
        for item in value:
            _check_value(name, item)
    elif isinstance(value, dict):
        _check_part(name, value)
    elif isinstance(value, str):
        if name.endswith(_FOUND_BY_NAME):
            raise Refused(f"the {name} of a layer is given by name; save the model anew")
    elif value is not None and name not in _ANY_NUMBER and not -_LARGEST <= value <= _LARGEST:
        raise Refused(f"a layer has {name} {value}, beyond {_LARGEST}")


def _check_part(name: str, part: Mapping) -> None:
    module, kind = part.get("module"), part.get("class_name")
    if (module, kind) not in _PARTS or not _is_own_name(part, kind):
        raise Refused(f"the {name} of a layer is {module}.{kind}, which is not opened")
    settings = part.get("config")
    if not isinstance(settings, dict):
        raise Refused(f"the {name} of a layer has no settings")
    for inner, value in settings.items():
        if isinstance(value, dict):
            raise Refused(f"the {name} of a layer has settings that are not plain")
        _check_value(inner, value)


def _entering(layer: Mapping, channels: Mapping[str, int]) -> list[int]:
    """Channels of every tensor that a layer takes in; they come from layers before it."""
    nodes = layer.get("inbound_nodes")
    if layer["class_name"] == "InputLayer":
        if nodes:
            raise Refused("its input takes something in")
        return []
    try:
        (node,) = nodes
        if node["kwargs"] not in ({}, {"mask": None}):
            raise Refused("it hands a layer more than tensors")
        return [channels[name] for name in _sources(node["args"])]
    except Refused:
        raise
    except (TypeError, KeyError, ValueError, IndexError):
        raise Refused("its layers are not joined one after the other") from None


def _sources(value: Any) -> Iterator[str]:
    """Names of the layers whose outputs are handed on; anything but such outputs is refused."""
    if isinstance(value, list):
        for item in value:
            yield from _sources(item)
        return
    if value["class_name"] != _TENSOR or set(value) != {"class_name", "config"}:
        raise Refused("it hands a layer something that is no tensor")
    yield value["config"]["keras_history"][0]


def _check_build(layer: Mapping, entering: list[int]) -> None:
    """Keras makes room for weights by this shape, which is stated apart from the tensors."""
    stated = layer.get("build_config")
    if stated is None or layer["class_name"] == "Concatenate":  # Which has no weights.
        return
    if stated.keys() != {"input_shape"} or stated["input_shape"][-1] != sum(entering):
        raise Refused(f"a {layer['class_name']} states another input than it takes in")


def _leaving(layer: Mapping, entering: list[int]) -> int:
    settings = layer["config"]
    if layer["class_name"] == "InputLayer":
        return _number(settings["batch_shape"][-1])
    if layer["class_name"] in ("Conv2D", "Conv2DTranspose"):
        return _number(settings["filters"])
    return sum(entering)


def _weights_of(layer: Mapping, entering: list[int]) -> int:
    kind, settings = layer["class_name"], layer["config"]
    if kind in ("Conv2D", "Conv2DTranspose"):
        size = math.prod(map(_number, settings["kernel_size"]))
        groups = _number(settings.get("groups", 1))
        return _number(settings["filters"]) * (
            size * sum(entering) // groups + settings["use_bias"]
        )
    if kind == "LayerNormalization" and (settings.get("scale") or settings.get("center")):
        raise Refused("it has a LayerNormalization with weights, which no U-Net has")
    if kind in ("BatchNormalization", "GroupNormalization"):
        if settings["axis"] != -1:
            raise Refused(f"it has a {kind} that is not over channels")
        statistics = 2 if kind == "BatchNormalization" else 0
        return sum(entering) * (statistics + settings["center"] + settings["scale"])
    return 0


def _number(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise Refused(f"a layer has {value!r} where a whole number belongs")
    return value

"""The layers of the U-Net, a functional Keras model of built-in layers only, and copies of it.

Every layer is named after its block (`enc1_conv1`, `dec2_up`, `bottleneck_norm2`), because the
names are what fine-tuning strategies select by. A saved file needs nothing of this package.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasunet.strategies.terms import NORMALIZATIONS

HEAD = "head"
"""Name of the last convolution."""
MEAN_HEAD = "mean_head"
"""Name of the layer that averages the networks of an ensemble."""
_CHANNELS_LAST = "channels_last"  # Whatever the user's `keras.json` says.
_POOL = re.compile(r"enc\d+_pool")


def build_network(
    input_shape: tuple[int | None, int | None, int],
    *,
    base_filters: int,
    depth: int,
    classes: int,
    normalization: str | None,
    name: str,
    overlapping: bool = False,
) -> keras.Model:
    """Build a U-Net with random weights; the arguments are those of `kerasunet.UNet`.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_numbers(base_filters=base_filters, depth=depth, classes=classes)
    _check_normalization(normalization)
    _check_shape(input_shape, multiple=2**depth)
    image = keras.Input(input_shape, name="image", dtype="float32")
    x = _standardize(image)
    skips = []
    for level in range(1, depth + 1):
        filters = base_filters * 2 ** (level - 1)
        x = _two_convolutions(x, filters, normalization, block=f"enc{level}")
        skips.append(x)
        pool = layers.MaxPooling2D(2, data_format=_CHANNELS_LAST, name=f"enc{level}_pool")
        x = pool(x)
    x = _two_convolutions(x, base_filters * 2**depth, normalization, block="bottleneck")
    for level in range(depth, 0, -1):
        filters = base_filters * 2 ** (level - 1)
        x = _upsampled(x, skips[level - 1], filters, block=f"dec{level}")
        x = _two_convolutions(x, filters, normalization, block=f"dec{level}")
    x = layers.Conv2D(classes, 1, data_format=_CHANNELS_LAST, name=HEAD)(x)
    activation = "sigmoid" if classes == 1 or overlapping else "softmax"
    x = layers.Activation(activation, name="probability", dtype="float32")(x)
    return keras.Model(image, x, name=name)


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Set Keras' dtype policy, such as `"float32"`, for a while."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _standardize(image):
    """Scale each image to zero mean and unit variance; epsilon is in squared gray levels."""
    # Keras forgets the axes of a layer normalization when it loads HDF5; one group is the same.
    return layers.GroupNormalization(
        groups=1, center=False, scale=False, epsilon=1.0, name="standardize", dtype="float32"
    )(image)


def _two_convolutions(x, filters: int, normalization: str | None, *, block: str):
    for index in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            data_format=_CHANNELS_LAST,
            use_bias=normalization is None,
            kernel_initializer="he_normal",
            name=f"{block}_conv{index}",
        )(x)
        if normalization is not None:
            x = _normalization_layer(normalization, filters, f"{block}_norm{index}")(x)
        x = layers.Activation("relu", name=f"{block}_relu{index}")(x)
    return x


def _upsampled(x, skip, filters: int, *, block: str):
    x = layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        data_format=_CHANNELS_LAST,
        kernel_initializer="he_normal",
        name=f"{block}_up",
    )(x)
    return layers.Concatenate(name=f"{block}_concat")([skip, x])


def _normalization_layer(normalization: str, filters: int, name: str):
    if normalization == "batch":
        # Statistics must follow within the few hundred steps that a fine-tuning has.
        return layers.BatchNormalization(momentum=0.9, name=name)
    return layers.GroupNormalization(groups=_groups(filters), name=name)


def _groups(filters: int) -> int:
    """Return the largest divisor of `filters` up to 8."""
    return max(groups for groups in range(1, 9) if filters % groups == 0)


def _check_numbers(**numbers: int) -> None:
    for argument, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"{argument} must be a whole number of at least 1. Received: {value!r}"
            )


def _check_normalization(normalization: str | None) -> None:
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f'normalization must be "batch", "group" or None. Received: {normalization!r}'
        )


def _check_shape(input_shape: tuple, multiple: int) -> None:
    if len(input_shape) != 3 or input_shape[2] not in (1, 3):
        raise ValueError(
            "input_shape must be (height, width, channels) with 1 or 3 channels. "
            f"Received: {input_shape!r}"
        )
    if any(side is not None and (side < 1 or side % multiple) for side in input_shape[:2]):
        raise ValueError(
            f"height and width must be multiples of 2**depth = {multiple}, or None. "
            f"Received: {input_shape!r}"
        )


def numbers_of(model: keras.Model) -> dict[str, Any]:
    """Read the numbers off a network's layers that `kerasunet.architecture.Architecture` holds."""
    norm = next((layer for layer in model.layers if layer.name == "enc1_norm1"), None)
    batch = isinstance(norm, layers.BatchNormalization)
    return {
        "base_filters": model.get_layer("enc1_conv1").filters,
        "depth": sum(bool(_POOL.fullmatch(layer.name)) for layer in model.layers),
        "normalization": None if norm is None else "batch" if batch else "group",
        "channels": model.input_shape[-1],
    }


def is_overlapping(model: keras.Model) -> bool:
    """Return whether each of several output channels is an object, and a pixel may belong to many.

    Otherwise channels exclude each other, the first being the background; or there is only one.
    """
    last = model.outputs[0]._keras_history.operation
    if is_ensemble(model):  # Its own last layer averages what is probabilities already.
        last = model.get_layer("probability")
    activation = getattr(last, "activation", None)
    return model.output_shape[-1] > 1 and activation is keras.activations.sigmoid


def rebuilt(model: keras.Model) -> keras.Model:
    """Build the same network again, with the same weights, in the current dtype policy.

    The copy is uncompiled and all of it is set to train.
    """
    if is_ensemble(model):
        raise ValueError(
            "this model is the average of several networks, so its layers cannot be tuned; start "
            "from a model that was trained on all images"
        )
    copy = _same_shape(model)
    copy.set_weights(model.get_weights())
    return copy


def is_ensemble(model: keras.Model) -> bool:
    """Whether a model is the average of several networks, as `averaged` makes them."""
    return any(layer.name == MEAN_HEAD for layer in model.layers)


def members_of(model: keras.Model) -> list[keras.Model]:
    """Return the networks that an ensemble averages, in float32."""
    found: list[keras.Model] = []
    known = {layer.name: layer for layer in model.layers}
    with dtype_policy("float32"):
        while (prefix := f"fold{len(found) + 1}_" if found else "") + HEAD in known:
            member = _same_shape(model, name="unet")
            for layer in member.layers:
                if layer.weights:
                    layer.set_weights(known[prefix + layer.name].get_weights())
            found.append(member)
    return found


def plain_copy(model: keras.Model) -> keras.Model:
    """Return the same network and weights in float32, uncompiled, all of it set to train."""
    if is_ensemble(model):
        return model  # Made in float32, never compiled.
    with dtype_policy("float32"):
        return rebuilt(model)


def without_normalization(model: keras.Model) -> keras.Model:
    """Return a float32 network of the same shape, but no normalization and random weights."""
    with dtype_policy("float32"):
        return _same_shape(model, normalization=None)


def with_new_head(model: keras.Model, classes: int, *, overlapping: bool) -> keras.Model:
    """Return a network of the same shape and weights, but with a random head for other classes.

    Args:
        model: The network.
        classes: Channels of the new head.
        overlapping: Whether each channel is an object, and a pixel may belong to several.
    """
    copy = _same_shape(model, classes=classes, overlapping=overlapping)
    for layer in copy.layers:
        if layer.weights and layer.name != HEAD:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def _same_shape(model: keras.Model, **changes: Any) -> keras.Model:
    """Return a new network with the shape, image size, classes and name of an existing one.

    Args:
        model: The network.
        changes: Arguments of `build_network` that are to differ.
    """
    numbers = numbers_of(model)
    shape = (*model.input_shape[1:3], numbers.pop("channels"))
    kept = {"classes": model.output_shape[-1], "overlapping": is_overlapping(model)}
    return build_network(shape, **{"name": model.name, **numbers, **kept, **changes})


def averaged(members: Sequence[keras.Model]) -> keras.Model:
    """Return one network whose output is the mean of those of several U-Nets of one shape.

    It has only layers that a U-Net has. Those of the first member keep their names; those of the
    others are called `fold2_enc1_conv1` and so on. It cannot be trained as a U-Net.

    Args:
        members: U-Nets with equal inputs and outputs, at least one.
    """
    inputs = keras.Input(members[0].input_shape[1:], name=members[0].inputs[0].name)
    outputs = [_renamed(one, n, inputs).output for n, one in enumerate(members, start=1)]
    classes = outputs[0].shape[-1]
    joined = keras.layers.Concatenate(name="folds")(outputs)
    head = keras.layers.Conv2D(classes, 1, use_bias=False, name=MEAN_HEAD)
    model = keras.Model(inputs, head(joined), name="unet_ensemble")
    head.set_weights([np.tile(np.eye(classes), (1, 1, len(members), 1)) / len(members)])
    # Layers were called in the networks of the members, too; in the copy each is called once.
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def _renamed(member: keras.Model, number: int, inputs: keras.KerasTensor) -> keras.Model:
    prefix = "" if number == 1 else f"fold{number}_"

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        return type(layer).from_config({**config, "name": prefix + config["name"]})

    copied = keras.models.clone_model(member, clone_function=copy)
    copied.set_weights(member.get_weights())
    return keras.models.clone_model(
        copied, input_tensors=inputs, clone_function=lambda layer: layer
    )


def folded(model: keras.Model) -> keras.Model:
    """Return a network that computes the same as `model` in inference, without batch norm.

    A batch normalization in inference mode is one multiplication and one addition per channel, and
    the convolution before it takes over both. The sums are taken in float64, so that the outputs
    differ by the rounding of float32 alone. Group normalization depends on the image and stays.

    Args:
        model: A model of this package, in any dtype policy.

    Returns:
        A float32 U-Net of the same input and output.
    """
    if is_ensemble(model):
        return averaged([folded(member) for member in members_of(model)])
    if numbers_of(model)["normalization"] != "batch":
        return plain_copy(model)
    plain = without_normalization(model)
    for layer in plain.layers:
        if layer.weights:
            given = model.get_layer(layer.name)
            if "_conv" in layer.name:
                norm = model.get_layer(layer.name.replace("_conv", "_norm"))
                layer.set_weights(folded_weights(given, norm))
            else:
                layer.set_weights(given.get_weights())
    return plain


def folded_weights(
    convolution: keras.layers.Conv2D, norm: keras.layers.BatchNormalization
) -> list[np.ndarray]:
    """Return kernel and bias of a convolution that also does what the normalization after it did.

    Args:
        convolution: With a bias or without.
        norm: In inference mode; it scales and shifts.
    """
    kernel, *bias = convolution.get_weights()
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    shifted = (bias[0] if bias else 0.0) - mean
    return [kernel * scale, beta + shifted * scale]


def merged(models: Sequence[keras.Model]) -> keras.Model:
    """Join networks into one that shares what they have in common.

    Two layers become one if kind, settings, weights (bit for bit) and inputs agree: common
    subgraphs are found from the image on, wherever they branch off.

    Args:
        models: Functional models without batch normalization (see `folded`), whose
            images have the same number of channels.

    Returns:
        A model whose output, `(batch, height, width, outputs)`, holds the outputs of the given
        models in order.
    """
    image = keras.Input((None, None, models[0].input_shape[-1]), name="image", dtype="float32")
    known: dict[tuple, keras.KerasTensor] = {}
    outputs = [_add(model, image, known) for model in models]
    if len(outputs) == 1:
        return keras.Model(image, outputs[0], name="merged")
    together = keras.layers.Concatenate(name="probabilities", dtype="float32")(outputs)
    return keras.Model(image, together, name="merged")


def _add(model: keras.Model, image: keras.KerasTensor, known: dict) -> keras.KerasTensor:
    tensors = {id(model.inputs[0]): image}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        inputs = [tensors[id(tensor)] for tensor in given]
        key = (_fingerprint(layer), *map(id, inputs))
        if key not in known:
            known[key] = _copied_layer(layer, f"{layer.name}_{len(known)}", inputs)
        tensors[id(layer.output)] = known[key]
    return tensors[id(model.outputs[0])]


def _fingerprint(layer: keras.Layer) -> str:
    settings = {**layer.get_config(), "name": "", "trainable": True}
    known = hashlib.sha256(f"{type(layer).__name__} {json.dumps(settings)}".encode())
    for weight in layer.get_weights():
        known.update(weight.tobytes())
    return known.hexdigest()


def _copied_layer(layer: keras.Layer, name: str, inputs: list) -> keras.KerasTensor:
    copy = type(layer).from_config({**layer.get_config(), "name": name})
    output = copy(inputs if len(inputs) > 1 else inputs[0])
    copy.set_weights(layer.get_weights())
    return output


@contextmanager
def kept_if_it_fails(model: keras.Model) -> Iterator[None]:
    """Give a model the weights back that it had if an error comes while they are set."""
    before = model.get_weights()
    try:
        yield
    except BaseException:
        model.set_weights(before)
        raise

"""Networks for the engines: batch normalization folded away, several networks merged into one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import keras
import numpy as np

from kerasunet.architecture import Architecture
from kerasunet.network import averaged, is_ensemble, members_of, plain_copy, without_normalization


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
    if Architecture.of(model).normalization != "batch":
        return plain_copy(model)
    plain = without_normalization(model)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(_folded_weights(model, layer.name))
    return plain


def _folded_weights(model: keras.Model, convolution: str) -> list[np.ndarray]:
    """Return kernel and bias of a convolution that also does the work of its normalization."""
    weights = model.get_layer(convolution).get_weights()
    if "_conv" not in convolution:
        return weights
    norm = model.get_layer(convolution.replace("_conv", "_norm"))
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return [weights[0] * scale, beta - mean * scale]


def merged(models: Sequence[keras.Model]) -> keras.Model:
    """Join networks into one that shares what they have in common.

    Two layers become one if kind, settings, weights (bit for bit) and inputs agree: common
    subgraphs are found from the image on, wherever they branch off.

    Args:
        models: Functional models without batch normalization (see `engines.folded`), whose
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
            known[key] = _copy(layer, f"{layer.name}_{len(known)}", inputs)
        tensors[id(layer.output)] = known[key]
    return tensors[id(model.outputs[0])]


def _fingerprint(layer: keras.Layer) -> str:
    settings = {**layer.get_config(), "name": "", "trainable": True}
    known = hashlib.sha256(f"{type(layer).__name__} {json.dumps(settings)}".encode())
    for weight in layer.get_weights():
        known.update(weight.tobytes())
    return known.hexdigest()


def _copy(layer: keras.Layer, name: str, inputs: list) -> keras.KerasTensor:
    copy = type(layer).from_config({**layer.get_config(), "name": name})
    output = copy(inputs if len(inputs) > 1 else inputs[0])
    copy.set_weights(layer.get_weights())
    return output

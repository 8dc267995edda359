"""Several networks as one, in which equal layers on equal inputs are computed once.

Strategies that start from one pre-trained model and freeze its first blocks share these, weights
and statistics alike to the last bit, so that comparing them need not compute them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import keras


def merged(models: Sequence[keras.Model]) -> keras.Model:
    """Joins networks into one that shares what they have in common.

    Two layers are one if kind, settings, weights (bit for bit) and inputs agree: common subgraphs
    are found from the image on, wherever they branch off.

    Args:
        models: Functional models without batch normalisation (`kerasunet.engines.folded`), whose
            images have the same number of channels.

    Returns:
        A model whose output, `(batch, height, width, outputs)`, has the outputs of the given ones
        one after the other.
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

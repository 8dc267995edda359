"""A U-Net written as an ONNX graph: channels first inside, Keras' channels last outside.

Reference: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
INPUT, OUTPUT = "image", "channels_last"
_IR_VERSION = 10


def to_onnx(model: keras.Model, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Write a network as an ONNX model.

    Args:
        model: A functional model made of the layers that `kerasunet.UNet` uses, one input and one
            output. Batch normalization must have been folded.
        size: Height and width to fix, together with a batch of one; `None` leaves all three open.

    Returns:
        The model: input `image`, `(batch, height, width, channels)`, float32, gray levels 0 to
        255; output `channels_last`, `(batch, height, width, classes)`, float32.

    Raises:
        ValueError: A layer is not supported here.
    """
    graph = _Graph()
    first = graph.add("Transpose", [INPUT], "channels_first", perm=[0, 3, 1, 2])
    tensors = {id(model.inputs[0]): first}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        tensors[id(layer.output)] = graph.add_layer(layer, [tensors[id(x)] for x in given])
    last = tensors[id(model.outputs[0])]
    graph.add("Transpose", [last], OUTPUT, perm=[0, 2, 3, 1])
    leading = ["batch", "height", "width"] if size is None else [1, *size]
    return graph.finish(
        model.name,
        [*leading, model.input_shape[-1]],
        [*leading, model.output_shape[-1]],
    )


class _Graph:
    """Nodes and constants under construction; every method returns the name of a tensor."""

    def __init__(self):
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], name: str, **settings) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **settings))
        return name

    def constant(self, values: np.ndarray, name: str) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add_layer(self, layer: keras.Layer, inputs: list[str]) -> str:
        write = _WRITERS.get(type(layer))
        if write is None:
            raise ValueError(
                f"layer {layer.name}: a {type(layer).__name__} is not supported by the engines, "
                f"which know {', '.join(kind.__name__ for kind in _WRITERS)}"
            )
        return write(self, layer, inputs)

    def finish(self, name: str, input_shape: list, output_shape: list) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            name,
            [value(INPUT, TensorProto.FLOAT, input_shape)],
            [value(OUTPUT, TensorProto.FLOAT, output_shape)],
            self._constants,
        )
        made = helper.make_model(
            graph,
            producer_name="kerasunet",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(made)
        return made


def _kernel_and_bias(graph: _Graph, layer: keras.Layer) -> list[str]:
    """Add kernel and bias; the sides of a kernel come first in Keras, last in ONNX."""
    kernel, *bias = layer.get_weights()
    names = [graph.constant(kernel.transpose(3, 2, 0, 1), f"{layer.name}_kernel")]
    return names + [graph.constant(values, f"{layer.name}_bias") for values in bias]


def _convolution(graph: _Graph, layer: keras.layers.Conv2D, inputs: list[str]) -> str:
    rows, columns = layer.kernel_size
    padding = [(rows - 1) // 2, (columns - 1) // 2, rows // 2, columns // 2]
    given = [*inputs, *_kernel_and_bias(graph, layer)]
    return graph.add("Conv", given, layer.name, pads=padding)


def _up_convolution(graph: _Graph, layer: keras.layers.Conv2DTranspose, inputs: list[str]) -> str:
    given = [*inputs, *_kernel_and_bias(graph, layer)]
    return graph.add("ConvTranspose", given, layer.name, strides=list(layer.strides))


def _pooling(graph: _Graph, layer: keras.layers.MaxPooling2D, inputs: list[str]) -> str:
    sides = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides)}
    return graph.add("MaxPool", inputs, layer.name, **sides)


def _concatenation(graph: _Graph, layer: keras.layers.Concatenate, inputs: list[str]) -> str:
    return graph.add("Concat", inputs, layer.name, axis=1)


def _activation(graph: _Graph, layer: keras.layers.Activation, inputs: list[str]) -> str:
    name = layer.activation.__name__
    settings = {"axis": 1} if name == "softmax" else {}
    return graph.add(name.capitalize(), inputs, layer.name, **settings)


def _standardization(graph: _Graph, layer, inputs: list[str]) -> str:
    """Standardize to zero mean and unit variance over the whole image."""
    name = layer.name
    axes = graph.constant(np.array([1, 2, 3]), f"{name}_axes")
    epsilon = graph.constant(np.array(layer.epsilon, np.float32), f"{name}_epsilon")
    mean = graph.add("ReduceMean", [*inputs, axes], f"{name}_mean")
    centered = graph.add("Sub", [*inputs, mean], f"{name}_centered")
    squares = graph.add("Mul", [centered, centered], f"{name}_squares")
    variance = graph.add("ReduceMean", [squares, axes], f"{name}_variance")
    shifted = graph.add("Add", [variance, epsilon], f"{name}_shifted")
    deviation = graph.add("Sqrt", [shifted], f"{name}_deviation")
    return graph.add("Div", [centered, deviation], name)


def _group_normalization(graph: _Graph, layer, inputs: list[str]) -> str:
    if not layer.weights:
        return _standardization(graph, layer, inputs)
    weights = zip(("gamma", "beta"), layer.get_weights(), strict=True)
    names = [graph.constant(values, f"{layer.name}_{kind}") for kind, values in weights]
    settings = {"num_groups": layer.groups, "epsilon": layer.epsilon}
    return graph.add("GroupNormalization", [*inputs, *names], layer.name, **settings)


_WRITERS = {
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv2DTranspose: _up_convolution,
    keras.layers.MaxPooling2D: _pooling,
    keras.layers.Concatenate: _concatenation,
    keras.layers.Activation: _activation,
    keras.layers.LayerNormalization: _standardization,
    keras.layers.GroupNormalization: _group_normalization,
}

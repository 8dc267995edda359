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
_IR_VERSION = 10
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid"}


def to_onnx(model: keras.Model, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Writes a network as an ONNX model.

    Args:
        model: A functional model made of the layers that `kerasunet.UNet` uses, one input and one
            output. Batch normalisation must have been folded.
        size: Height and width to fix, together with a batch of one; `None` leaves all three open.

    Returns:
        The model: input `image`, `(batch, height, width, channels)`, float32, grey levels 0 to
        255; output `probability`, `(batch, height, width, classes)`, float32.

    Raises:
        ValueError: A layer has no counterpart here.
    """
    graph = _Graph()
    tensors = {id(model.inputs[0]): graph.add("Transpose", ["image"], perm=[0, 3, 1, 2])}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        tensors[id(layer.output)] = graph.add_layer(layer, [tensors[id(x)] for x in given])
    last = tensors[id(model.outputs[0])]
    graph.add("Transpose", [last], "probability", perm=[0, 2, 3, 1])
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

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **settings):
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **settings))
        return output

    def constant(self, values) -> str:
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(values)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def finish(self, name: str, input_shape: list, output_shape: list) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            name,
            [value("image", TensorProto.FLOAT, input_shape)],
            [value("probability", TensorProto.FLOAT, output_shape)],
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

    def add_layer(self, layer: keras.Layer, inputs: list[str]) -> str:
        write = _WRITERS.get(type(layer))
        if write is None:
            raise ValueError(
                f"layer {layer.name}: a {type(layer).__name__} has no counterpart in the engines; "
                f"they know {', '.join(kind.__name__ for kind in _WRITERS)}"
            )
        return write(self, layer, inputs)


def _convolution(graph: _Graph, layer: keras.layers.Conv2D, inputs: list[str]) -> str:
    kernel, *bias = layer.get_weights()
    rows, columns = layer.kernel_size
    constants = [graph.constant(kernel.transpose(3, 2, 0, 1)), *map(graph.constant, bias)]
    before = [(rows - 1) // 2, (columns - 1) // 2]
    return graph.add("Conv", [*inputs, *constants], pads=[*before, rows // 2, columns // 2])


def _up_convolution(graph: _Graph, layer: keras.layers.Conv2DTranspose, inputs: list[str]) -> str:
    kernel, *bias = layer.get_weights()
    constants = [graph.constant(kernel.transpose(3, 2, 0, 1)), *map(graph.constant, bias)]
    return graph.add("ConvTranspose", [*inputs, *constants], strides=list(layer.strides))


def _pooling(graph: _Graph, layer: keras.layers.MaxPooling2D, inputs: list[str]) -> str:
    sides = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides)}
    return graph.add("MaxPool", inputs, **sides)


def _concatenation(graph: _Graph, layer: keras.layers.Concatenate, inputs: list[str]) -> str:
    return graph.add("Concat", inputs, axis=1)


def _activation(graph: _Graph, layer: keras.layers.Activation, inputs: list[str]) -> str:
    name = layer.activation.__name__
    if name == "softmax":
        return graph.add("Softmax", inputs, axis=1)
    return graph.add(_ACTIVATIONS[name], inputs)


def _standardization(graph: _Graph, layer, inputs: list[str]) -> str:
    """Zero mean, unit variance over the whole image."""
    axes = graph.constant(np.array([1, 2, 3]))
    mean = graph.add("ReduceMean", [*inputs, axes])
    centred = graph.add("Sub", [*inputs, mean])
    variance = graph.add("ReduceMean", [graph.add("Mul", [centred, centred]), axes])
    shifted = graph.add("Add", [variance, graph.constant(np.float32(layer.epsilon))])
    return graph.add("Div", [centred, graph.add("Sqrt", [shifted])])


def _group_normalization(graph: _Graph, layer, inputs: list[str]) -> str:
    gamma, beta = (graph.constant(value) for value in layer.get_weights())
    settings = {"num_groups": layer.groups, "epsilon": layer.epsilon}
    return graph.add("GroupNormalization", [*inputs, gamma, beta], **settings)


_WRITERS = {
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv2DTranspose: _up_convolution,
    keras.layers.MaxPooling2D: _pooling,
    keras.layers.Concatenate: _concatenation,
    keras.layers.Activation: _activation,
    keras.layers.LayerNormalization: _standardization,
    keras.layers.GroupNormalization: _group_normalization,
}

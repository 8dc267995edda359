"""The counted cost of a step: against the network that is built, and the graph that trains it."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from kerasunet.architecture import NetworkCosts
from kerasunet.strategies import NetworkLayout, parse

SIZE, BATCH = 16, 2
GRAY = {"base_filters": 4, "depth": 2, "normalization": "batch", "channels": 1, "classes": 1}
COLOR = {"base_filters": 3, "depth": 1, "normalization": None, "channels": 3, "classes": 2}
GRAY_STRATEGIES = ("all", "contracting", "expanding", "shallow:1", "deep:1", "dec2_up", "norm")
COLOR_STRATEGIES = ("all", "expanding", "bias", "all-enc1")


def _network(shape, image_size=SIZE) -> NetworkCosts:
    layout = NetworkLayout.unet(shape["depth"], shape["normalization"])
    numbers = {name: shape[name] for name in ("base_filters", "channels", "classes")}
    return NetworkCosts(layout, image_size=image_size, **numbers)


def _model(shape):
    from kerasunet import UNet

    return UNet(
        (SIZE, SIZE, shape["channels"]),
        shape["base_filters"],
        shape["depth"],
        classes=shape["classes"],
        normalization=shape["normalization"],
    )


@pytest.mark.parametrize("shape", [GRAY, COLOR])
def test_parameters_are_those_of_the_model(shape):
    from kerasunet import describe, set_trainable

    network, model = _network(shape), _model(shape)
    assert network.parameters() == describe(model).parameters
    for text in ("shallow:2", "bias", "dec1_conv1"):
        table = set_trainable(model, text)
        assert network.parameters(parse(text).select(network.layout)) == table.trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "text"),
    [*((GRAY, text) for text in GRAY_STRATEGIES), *((COLOR, t) for t in COLOR_STRATEGIES)],
)
def test_multiply_adds_are_those_of_the_training_graph(shape, text):
    """Counts the convolutions of the graph that TensorFlow's automatic differentiation makes."""
    network = _network(shape)
    cost = network.step_cost(parse(text).select(network.layout), BATCH)
    assert cost.total == _counted(_training_graph(shape, text))


def test_the_forward_pass_is_that_of_a_graph_without_gradients():
    network = _network(GRAY)
    cost = network.step_cost(network.layout.weights, BATCH)
    assert cost.forward == _counted(_training_graph(GRAY, "none"))


def _training_graph(shape, text):
    import tensorflow as tf

    from kerasunet import set_trainable

    model = _model(shape)
    set_trainable(model, text)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True))
        return loss, tape.gradient(loss, model.trainable_variables)

    return step.get_concrete_function(tf.zeros((BATCH, SIZE, SIZE, shape["channels"]))).graph


def _counted(graph) -> int:
    total = 0
    for operation in _needed(graph):
        shapes = [tuple(tensor.shape) for tensor in operation.inputs]
        if operation.type == "Conv2D":
            total += _multiply_adds(tuple(operation.outputs[0].shape), shapes[1])
        elif operation.type == "Conv2DBackpropInput":
            total += _multiply_adds(shapes[2], shapes[1])
        elif operation.type == "Conv2DBackpropFilter":
            total += _multiply_adds(shapes[2], _measured(operation.inputs[1]))
    return total


def _needed(graph) -> list:
    """The operations that the outputs depend on; TensorFlow prunes the others before it runs."""
    found, waiting = {}, [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
    return list(found.values())


def _measured(shape_tensor) -> tuple[int, ...]:
    """The shape that a constant, or a Shape operation on a variable, gives."""
    from tensorflow.python.framework import tensor_util

    known = tensor_util.constant_value(shape_tensor)
    measured = shape_tensor.op.inputs
    return tuple(measured[shape_tensor.value_index].shape if known is None else known)


def _multiply_adds(outputs, kernel) -> int:
    """Every pixel of the side that has the kernel's last channels, times the kernel's elements."""
    assert outputs[-1] == kernel[-1]
    return math.prod(map(int, (*outputs[:3], *kernel)))


def test_nothing_trained_costs_nothing():
    network = NetworkCosts(NetworkLayout.unet())
    assert network.step_cost(frozenset()).total == 0


def test_deep_blocks_cost_less_than_shallow_ones_and_all_costs_most():
    network = NetworkCosts(NetworkLayout.unet())
    costs = [
        network.step_cost(parse(text).select(network.layout)).total
        for text in ("deep:1", "deep:3", "shallow:3", "contracting", "all")
    ]
    assert costs == sorted(costs)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"image_size": 100}, "multiple of 16"),
        ({"base_filters": 0}, "base_filters must be at least 1, not 0"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        NetworkCosts(NetworkLayout.unet(), **numbers)


def test_the_count_needs_no_tensorflow():
    code = (
        "import sys; from kerasunet.architecture import NetworkCosts;"
        "from kerasunet.strategies import NetworkLayout;"
        "NetworkCosts(NetworkLayout.unet()).parameters();"
        "assert not {'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)

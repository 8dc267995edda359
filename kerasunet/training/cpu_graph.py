"""The network as a training step computes it on CPUs: the same function, fewer operations.

Three things that Keras' layers compute in each step are not needed, or are done faster by one
operation of TensorFlow:

- a batch normalization that trains is `FusedBatchNorm`, which passes over its input once, where
  Keras takes moments, shifts and scales one after the other;
- a frozen batch normalization is folded into the frozen convolution before it;
- gradients of skips that come from a frozen contracting path are not computed: TensorFlow would
  take those of both halves of the concatenation, then drop one.

The network made here shares its trained variables and moving statistics with the one it is made
from, and that one is what is validated and saved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

_FUSED_DTYPES = ("float32", "bfloat16")


def cpu_graph(model: keras.Model) -> keras.Model:
    """Return the network that trains in place of another one.

    Args:
        model: A functional model whose trainable flags are set; each layer is called once.

    Returns:
        An uncompiled model of the same inputs and outputs. Its steps change the variables of
        `model`; frozen weights are copied, so that they must not be set to others meanwhile.
    """
    uncompiled = keras.Model(model.input, model.output)
    return keras.models.clone_model(
        uncompiled, clone_function=lambda layer: layer, call_function=_Graph(model).call
    )


class _Graph:
    """Calls the layers of a network on new tensors, in cheaper forms where there are any."""

    def __init__(self, model: keras.Model):
        self._folded = dict(_frozen_pairs(model.layers))
        self._done_before = {id(norm) for norm in self._folded.values()}
        self._learning: set[int] = set()  # Tensors that depend on trained weights.
        self._joined: dict[int, tuple] = {}  # Skip and upsampled tensor of a concatenation.
        self._kept: list = []  # The ids above stay those of living tensors.

    def call(self, layer: keras.Layer, inputs, **_):
        output = self._cheaper(layer, inputs)
        learns = any(id(t) in self._learning for t in keras.tree.flatten(inputs))
        if learns or layer.trainable_weights:
            self._learning.add(id(output))
        self._kept.append(output)
        return output

    def _cheaper(self, layer: keras.Layer, inputs):
        if isinstance(layer, keras.layers.Concatenate):
            return self._concatenated(layer, inputs)
        if isinstance(layer, keras.layers.BatchNormalization):
            return inputs if id(layer) in self._done_before else _normalization(layer)(inputs)
        if not _is_convolution(layer):
            return layer(inputs)
        norm = self._folded.get(layer)
        convolution = layer if norm is None else _with_normalization(layer, norm)
        if id(inputs) in self._joined:
            return _ConvolutionOfSkip(convolution)(self._joined[id(inputs)])
        return convolution(inputs)

    def _concatenated(self, layer: keras.layers.Concatenate, inputs):
        output = layer(inputs)
        skip, up = inputs
        if id(skip) not in self._learning and id(up) in self._learning:
            self._joined[id(output)] = (skip, up)
        return output


def _frozen_pairs(layers: Sequence[keras.Layer]):
    """Frozen convolutions, and the frozen batch normalizations that alone take their output."""
    takers = Counter(
        id(tensor)
        for layer in layers
        if not isinstance(layer, keras.layers.InputLayer)
        for tensor in keras.tree.flatten(layer.input)
    )
    for norm in layers:
        if isinstance(norm, keras.layers.BatchNormalization) and not norm.trainable:
            before = norm.input._keras_history.operation
            frozen = _is_convolution(before) and not before.trainable_weights
            if frozen and takers[id(before.output)] == 1 and _is_plain(norm):
                yield before, norm


def _is_convolution(layer) -> bool:
    """Whether it is a 2-D convolution as the U-Net has them, 3×3, all else at its default."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.strides == (1, 1)
        and layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _with_normalization(
    layer: keras.layers.Conv2D, norm: keras.layers.BatchNormalization
) -> keras.layers.Conv2D:
    """One frozen convolution that does what the normalization after it did, too."""
    kernel, *bias = layer.get_weights()
    gamma, beta, mean, variance = (
        np.asarray(value, np.float64)
        for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    shifted = (bias[0] if bias else 0.0) - mean
    folded = keras.layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        padding="same",
        data_format="channels_last",
        name=f"{layer.name}_folded",
        dtype=layer.dtype_policy,
        trainable=False,
    )
    folded.build((None, None, None, kernel.shape[2]))
    folded.set_weights([kernel * scale, beta + shifted * scale])
    return folded


def _is_plain(norm: keras.layers.BatchNormalization) -> bool:
    """Whether it scales and shifts channels, which come last, as the U-Net's do."""
    special = norm.renorm or norm.synchronized
    return norm.scale and norm.center and norm.axis in (-1, 3) and not special


def _normalization(layer: keras.layers.BatchNormalization) -> keras.Layer:
    can_be_fused = _is_plain(layer) and layer.compute_dtype in _FUSED_DTYPES
    return _FusedNormalization(layer) if can_be_fused and layer.trainable else layer


class _FusedNormalization(keras.Layer):
    """A batch normalization that trains, as one operation; the variables are those of `norm`."""

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(name=f"{norm.name}_fused", dtype=norm.dtype_policy)
        self.norm = norm
        self.built = True

    def call(self, inputs, training=None):
        if not training:
            return self.norm(inputs, training=False)
        norm = self.norm
        nothing = tf.zeros([0])  # Statistics of the batch itself are wanted.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(norm.gamma),
            offset=tf.convert_to_tensor(norm.beta),
            mean=nothing,
            variance=nothing,
            epsilon=norm.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
        biased = variance * (count - 1.0) / count  # As Keras keeps it.
        for kept, new in ((norm.moving_mean, mean), (norm.moving_variance, biased)):
            kept.assign(kept * norm.momentum + new * (1.0 - norm.momentum))
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape


class _ConvolutionOfSkip(keras.Layer):
    """A convolution of a skip and an upsampled tensor, without gradients for the skip."""

    def __init__(self, convolution: keras.layers.Conv2D):
        super().__init__(name=f"{convolution.name}_of_skip", dtype=convolution.dtype_policy)
        self.convolution = convolution
        self.built = True

    def call(self, inputs):
        skip, up = inputs
        kernel = keras.ops.cast(self.convolution.kernel, up.dtype)
        outputs = _convolve_joined(skip, up, kernel)
        if self.convolution.use_bias:
            outputs = outputs + keras.ops.cast(self.convolution.bias, up.dtype)
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[1][:-1], self.convolution.filters)


@tf.custom_gradient
def _convolve_joined(skip, up, kernel):
    joined = tf.concat([skip, up], axis=-1)
    how = {"strides": [1, 1, 1, 1], "padding": "SAME"}

    def gradients(upstream):
        of_up = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(up),
            filter=kernel[:, :, skip.shape[-1] :],
            out_backprop=upstream,
            **how,
        )
        of_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=joined, filter_sizes=tf.shape(kernel), out_backprop=upstream, **how
        )
        return None, of_up, of_kernel

    return tf.raw_ops.Conv2D(input=joined, filter=kernel, **how), gradients

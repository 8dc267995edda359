"""Batch normalisation folded into the convolution before it: the same function, fewer layers."""

from __future__ import annotations

import keras
import numpy as np

from kerasunet.unet import UNet, architecture_of, plain_copy


def folded(model: keras.Model) -> keras.Model:
    """Returns a network that computes the same as `model` in inference, without batch norm.

    A batch normalisation in inference mode is one multiplication and one addition per channel, and
    the convolution before it takes over both. The sums are taken in float64, so that the outputs
    differ by the rounding of float32 alone. Group normalisation depends on the image and stays.

    Args:
        model: A model of this package, in any dtype policy.

    Returns:
        A float32 U-Net of the same input and output.
    """
    shape = architecture_of(model)
    if shape["normalization"] != "batch":
        return plain_copy(model)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        plain = UNet(
            (*model.input_shape[1:3], shape["channels"]),
            shape["base_filters"],
            shape["depth"],
            shape["classes"],
            normalization=None,
            name=model.name,
        )
    finally:
        keras.config.set_dtype_policy(policy)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(_folded_weights(model, layer.name))
    return plain


def _folded_weights(model: keras.Model, convolution: str) -> list[np.ndarray]:
    """Kernel and bias of one convolution that also does what its normalisation did."""
    weights = model.get_layer(convolution).get_weights()
    if "_conv" not in convolution:
        return weights
    norm = model.get_layer(convolution.replace("_conv", "_norm"))
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return [weights[0] * scale, beta - mean * scale]

"""How fast the arithmetic alone could go: operations counted, and the measured peak."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

_SIDE = 2048


def operations(model: keras.Model, size: tuple[int, int]) -> int:
    """Count multiplications and additions of the convolutions for one image, without Winograd.

    Args:
        model: A functional model.
        size: Height and width of the image.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            pixels = _pixels(layer.input, model, size)
        elif isinstance(layer, keras.layers.Conv2D):
            pixels = _pixels(layer.output, model, size)
        else:
            continue
        total += 2 * pixels * int(np.prod(layer.kernel.shape))
    return total


def _pixels(tensor, model: keras.Model, size: tuple[int, int]) -> int:
    """Pixels of a tensor inside the network for an image of that size."""
    image = keras.KerasTensor((1, *size, model.input_shape[-1]))
    inside = keras.Model(model.inputs, tensor).compute_output_spec(image)
    return inside.shape[1] * inside.shape[2]


def matrix_product() -> tuple[Callable[[], object], int]:
    """Return a large product of float32 matrices, and how many operations it is.

    TensorFlow multiplies by oneDNN, which knows the processor's widest instructions; the OpenBLAS
    of NumPy may not.
    """
    import tensorflow as tf

    left, right = tf.random.normal((2, _SIDE, _SIDE), seed=0)
    return lambda: tf.linalg.matmul(left, right), 2 * _SIDE**3

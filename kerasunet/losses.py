"""The loss, Dice plus binary cross-entropy, and the Dice of the progress bar; both in float32.

Sums over a 256×256 mask overflow float16 (largest value 65,504), so everything is cast first. Masks
of 0 and 255 would train a network toward nonsense without a word, so values beyond 0 to 1 stop it.
"""

from __future__ import annotations

import math

import keras
from keras import ops

_PIXELS = (1, 2)
_WRONG_MASKS = (
    "the masks of this batch hold values outside 0 to 1; divide masks of 0 and 255 by 255, or "
    "compare labels with the one that is meant"
)


@keras.saving.register_keras_serializable(package="kerasunet")
class DiceCrossEntropy(keras.losses.Loss):
    """`dice_bce` for `compile` and `fit`, where `sample_weight` may weigh images or pixels.

    Weights of images, `(batch,)`, multiply the loss of each image. Weights of pixels, `(batch,
    height, width)` or `(batch, height, width, 1)`, 0 or larger, multiply a pixel's cross-entropy
    and its part in the Dice term, so that a pixel of weight 0 has no say at all.

    Args:
        name: Name of the loss.
    """

    def __init__(self, name: str = "dice_bce"):
        super().__init__(name=name)

    def __call__(self, y_true, y_pred, sample_weight=None):
        weights = None if sample_weight is None else ops.cast(sample_weight, "float32")
        if weights is None or math.prod(weights.shape[1:]) == 1:
            losses = _dice_bce(y_true, y_pred)
            return ops.mean(losses if weights is None else losses * ops.reshape(weights, (-1,)))
        if len(weights.shape) == len(y_pred.shape) - 1:
            weights = ops.expand_dims(weights, -1)
        return ops.mean(_dice_bce(y_true, y_pred, weights))

    def get_config(self) -> dict:
        return {"name": self.name}


@keras.saving.register_keras_serializable(package="kerasunet")
def dice_bce(y_true, y_pred):
    """Return the soft Dice loss plus binary cross-entropy, per image, in float32.

    The Dice term follows Milletari et al., "V-Net", 3DV 2016 (arXiv 1606.04797), without the
    squares and with 1 added to both sides of the fraction, so that an empty mask met by an
    empty prediction costs nothing.

    Args:
        y_true: Masks, `(batch, height, width, classes)`, 0 or 1.
        y_pred: Probabilities of the same shape, 0 to 1.

    Returns:
        Float32 losses, `(batch,)`, averaged over classes, 0 or larger; NaN for an image whose mask
        has values outside 0 to 1.

    Raises:
        ValueError: A mask has values outside 0 to 1. PyTorch raises this, TensorFlow its
            `InvalidArgumentError`, JAX its `JaxRuntimeError`; what XLA has compiled for TensorFlow
            cannot raise, and gives NaN.
    """
    return _dice_bce(y_true, y_pred)


@keras.saving.register_keras_serializable(package="kerasunet")
def dice(y_true, y_pred):
    """Return the Dice of the masks cut at probability 0.5, per image, for the progress bar.

    Both empty counts as 1, as in `kerasunet.metrics`.

    Args:
        y_true: Masks, `(batch, height, width, classes)`, 0 or 1.
        y_pred: Probabilities of the same shape, 0 to 1.

    Returns:
        Float32 coefficients, `(batch,)`, averaged over classes, 0 to 1; NaN for an image whose mask
        has values outside 0 to 1.

    Raises:
        ValueError: As `dice_bce`.
    """
    y_true = _checked_masks(y_true, y_pred)
    cut = ops.cast(ops.cast(y_pred, "float32") >= 0.5, "float32")
    overlap = 2.0 * ops.sum(y_true * cut, axis=_PIXELS)
    total = ops.sum(y_true, axis=_PIXELS) + ops.sum(cut, axis=_PIXELS)
    return ops.mean(ops.where(total == 0, 1.0, overlap / ops.maximum(total, 1.0)), axis=-1)


def is_own(value) -> bool:
    """Tell whether a loss or metric is one of this module."""
    function = getattr(value, "_fn", value)
    return isinstance(function, DiceCrossEntropy) or function in (dice_bce, dice)


def _dice_bce(y_true, y_pred, weights=None):
    """Return the losses, `(batch,)`; weights of pixels, `(batch, height, width, 1)`, if any."""
    y_true, y_pred = _checked_masks(y_true, y_pred), ops.cast(y_pred, "float32")
    if weights is None:
        entropy = ops.mean(keras.losses.binary_crossentropy(y_true, y_pred), axis=_PIXELS)
        return entropy + 1.0 - ops.mean(_smoothed_dice(y_true, y_pred, 1.0), axis=-1)
    entropy = ops.mean(weights * ops.binary_crossentropy(y_true, y_pred), axis=(*_PIXELS, 3))
    return entropy + 1.0 - ops.mean(_smoothed_dice(y_true, y_pred, weights), axis=-1)


def _smoothed_dice(y_true, y_pred, weights):
    overlap = 2.0 * ops.sum(weights * y_true * y_pred, axis=_PIXELS)
    total = ops.sum(weights * y_true, axis=_PIXELS) + ops.sum(weights * y_pred, axis=_PIXELS)
    return (overlap + 1.0) / (total + 1.0)


def _stop_jax(wrong) -> None:
    """Let the host stop a compiled step of JAX, which cannot raise itself, at wrong masks."""
    import jax

    def stop() -> None:
        raise ValueError(_WRONG_MASKS)

    jax.lax.cond(ops.any(wrong), lambda: jax.debug.callback(stop), lambda: None)


def _checked_masks(y_true, y_pred):
    """Return masks as float32 of the rank of the probabilities, NaN where they are no masks.

    An error can be raised only where the backend goes step by step, TensorFlow runs a graph of its
    own, or JAX calls back; XLA drops TensorFlow's assertions.
    """
    masks = ops.cast(y_true, "float32")
    if len(masks.shape) == len(y_pred.shape) - 1:
        masks = ops.expand_dims(masks, -1)
    wrong = ops.logical_or(masks < 0.0, masks > 1.0)
    backend = keras.backend.backend()
    if backend == "torch" and bool(ops.any(wrong)):
        raise ValueError(_WRONG_MASKS)
    if backend == "jax":
        _stop_jax(wrong)
    masks = ops.where(wrong, math.nan, masks)
    if backend != "tensorflow":
        return masks
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(wrong), [_WRONG_MASKS])]):
        return tf.identity(masks)

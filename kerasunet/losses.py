"""The loss, Dice plus cross-entropy, and the Dice of the progress bar; both in float32.

One object has `dice_bce` and `dice`. Several that exclude each other have `dice_ce` and
`dice_of_labels`, whose masks are labels; several that overlap have `dice_bce_of_bits` and
`dice_of_bits`, whose masks have one bit per object, as `kerasunet.objects` describes them.
`loss_and_metric` takes the right two for a model.

Sums over a 256×256 mask overflow float16 (largest value 65,504), so everything is cast first. Masks
of 0 and 255 would train a network toward nonsense without a word, so values beyond 0 to 1 stop it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import ops

from kerasunet.network import is_overlapping

_PIXELS = (1, 2)
_WRONG_MASKS = (
    "the masks of this batch hold values outside 0 to 1; divide masks of 0 and 255 by 255, or "
    "compare labels with the one that is meant"
)
_WRONG_LABELS = (
    "the masks of this batch hold labels that the model has no class for; labels are 0 for the "
    "background, then 1, 2 … for the objects"
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
    return _mean_dice(y_true, cut)


@keras.saving.register_keras_serializable(package="kerasunet")
def dice_ce(y_true, y_pred):
    """Return the soft Dice loss plus categorical cross-entropy, per image, in float32.

    The Dice term is that of `dice_bce`, averaged over the objects. An object that is absent, and
    is not predicted either, costs nothing. The background counts in the cross-entropy alone.

    Args:
        y_true: Labels, `(batch, height, width, 1)`, whole numbers from 0, which is background; or
            one mask per class, `(batch, height, width, classes)`, 0 or 1, the background first.
        y_pred: Probabilities, `(batch, height, width, classes)`, 0 to 1, which add up to 1.

    Returns:
        Float32 losses, `(batch,)`, 0 or larger; NaN for an image with a label of no class.

    Raises:
        ValueError: As `dice_bce`, of a label of no class.
    """
    classes, y_pred = _one_hot(y_true, y_pred), ops.cast(y_pred, "float32")
    logs = ops.log(ops.clip(y_pred, keras.config.epsilon(), 1.0))
    entropy = -ops.mean(ops.sum(classes * logs, axis=-1), axis=_PIXELS)
    objects = _smoothed_dice(classes, y_pred, 1.0)[:, 1:]
    return entropy + 1.0 - ops.mean(objects, axis=-1)


@keras.saving.register_keras_serializable(package="kerasunet")
def dice_of_labels(y_true, y_pred):
    """Return the Dice of the most probable classes, per image, averaged over objects.

    Arguments, errors and NaN are those of `dice_ce`; an object that is absent and not predicted
    counts as 1.
    """
    classes, chosen = _one_hot(y_true, y_pred), ops.argmax(y_pred, axis=-1)
    return _mean_dice(classes[..., 1:], ops.one_hot(chosen, y_pred.shape[-1])[..., 1:])


@keras.saving.register_keras_serializable(package="kerasunet")
def dice_bce_of_bits(y_true, y_pred):
    """Return `dice_bce` of masks, `(batch, height, width, 1)`, with a bit for each object."""
    return dice_bce(_bits(y_true, y_pred), y_pred)


@keras.saving.register_keras_serializable(package="kerasunet")
def dice_of_bits(y_true, y_pred):
    """Return `dice` of masks, `(batch, height, width, 1)`, with a bit for each object."""
    return dice(_bits(y_true, y_pred), y_pred)


_OF_ONE, _OF_LABELS, _OF_BITS = (
    (dice_bce, dice),
    (dice_ce, dice_of_labels),
    (dice_bce_of_bits, dice_of_bits),
)


def has_several_channels(model: keras.Model) -> bool:
    """Return whether a model's output has several channels; one of the caller's may not say."""
    shape = getattr(model, "output_shape", None)
    return isinstance(shape, tuple) and isinstance(shape[-1], int) and shape[-1] > 1


def loss_and_metric(model: keras.Model) -> tuple[Callable, keras.Metric]:
    """Return loss and metric for a model and the masks that `Batches` makes for its objects.

    The metric is an object of its own. Given as a function, it would make its variables in the
    first step, and TensorFlow would trace that step twice.
    """
    loss, metric = _OF_ONE
    if has_several_channels(model):
        loss, metric = _OF_BITS if is_overlapping(model) else _OF_LABELS
    return loss, keras.metrics.MeanMetricWrapper(metric, name="dice")


def is_own(value) -> bool:
    """Return whether a loss or metric is one of this module."""
    function = getattr(value, "_fn", value)
    known = (*_OF_ONE, *_OF_LABELS, *_OF_BITS)
    return isinstance(function, DiceCrossEntropy) or function in known


def _one_hot(y_true, y_pred):
    """Return a float32 mask for each class, NaN where there is a label of no class."""
    count = y_pred.shape[-1]
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == count:
        return _checked_masks(y_true, y_pred)
    given = y_true[..., 0] if len(y_true.shape) == len(y_pred.shape) else y_true
    labels = ops.cast(given, "int32")
    whole = ops.cast(labels, "float32") == ops.cast(given, "float32")
    wrong = ops.logical_not(whole & (labels >= 0) & (labels < count))
    return _refused_where(wrong[..., None], ops.one_hot(labels, count), _WRONG_LABELS)


def _bits(y_true, y_pred):
    bits = 2 ** ops.arange(y_pred.shape[-1], dtype="int32")
    masks = ops.floor_divide(ops.cast(y_true, "int32"), bits)
    return ops.cast(masks % 2, "float32")


def _mean_dice(y_true, found):
    overlap = 2.0 * ops.sum(y_true * found, axis=_PIXELS)
    total = ops.sum(y_true, axis=_PIXELS) + ops.sum(found, axis=_PIXELS)
    return ops.mean(ops.where(total == 0, 1.0, overlap / ops.maximum(total, 1.0)), axis=-1)


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


def _stop_jax(wrong, message: str) -> None:
    """Let the host stop a compiled step of JAX, which cannot raise itself, at wrong masks."""
    import jax

    def stop() -> None:
        raise ValueError(message)

    jax.lax.cond(ops.any(wrong), lambda: jax.debug.callback(stop), lambda: None)


def _checked_masks(y_true, y_pred):
    """Return masks as float32 of the rank of the probabilities, NaN where they are no masks."""
    masks = ops.cast(y_true, "float32")
    if len(masks.shape) == len(y_pred.shape) - 1:
        masks = ops.expand_dims(masks, -1)
    wrong = ops.logical_not(ops.logical_and(masks >= 0.0, masks <= 1.0))  # NaN is neither.
    return _refused_where(wrong, masks, _WRONG_MASKS)


def _refused_where(wrong, masks, message: str):
    """Return masks, NaN where they are wrong.

    An error can be raised only where the backend goes step by step, TensorFlow runs a graph of its
    own, or JAX calls back; XLA drops TensorFlow's assertions.
    """
    backend = keras.backend.backend()
    if backend == "torch" and bool(ops.any(wrong)):
        raise ValueError(message)
    if backend == "jax":
        _stop_jax(wrong, message)
    masks = ops.where(wrong, math.nan, masks)
    if backend != "tensorflow":
        return masks
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(wrong), [message])]):
        return tf.identity(masks)

"""The loss, Dice plus binary cross-entropy, and the Dice of the progress bar; both in float32.

Sums over a 256×256 mask overflow float16 (largest value 65,504), so everything is cast first.
"""

from __future__ import annotations

import keras
from keras import ops

_PIXELS = (1, 2)


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
        Float32 losses, `(batch,)`, averaged over classes, 0 or larger.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    cross_entropy = ops.mean(keras.losses.binary_crossentropy(y_true, y_pred), axis=_PIXELS)
    return cross_entropy + 1.0 - ops.mean(_smoothed_dice(y_true, y_pred), axis=-1)


@keras.saving.register_keras_serializable(package="kerasunet")
def dice(y_true, y_pred):
    """Return the Dice of the masks cut at probability 0.5, per image, for the progress bar.

    Both empty counts as 1, as in `kerasunet.metrics`.

    Args:
        y_true: Masks, `(batch, height, width, classes)`, 0 or 1.
        y_pred: Probabilities of the same shape, 0 to 1.

    Returns:
        Float32 coefficients, `(batch,)`, averaged over classes, 0 to 1.
    """
    y_true = ops.cast(y_true, "float32")
    cut = ops.cast(ops.cast(y_pred, "float32") >= 0.5, "float32")
    overlap = 2.0 * ops.sum(y_true * cut, axis=_PIXELS)
    total = ops.sum(y_true, axis=_PIXELS) + ops.sum(cut, axis=_PIXELS)
    return ops.mean(ops.where(total > 0, overlap / ops.maximum(total, 1.0), 1.0), axis=-1)


def _smoothed_dice(y_true, y_pred):
    overlap = 2.0 * ops.sum(y_true * y_pred, axis=_PIXELS)
    total = ops.sum(y_true, axis=_PIXELS) + ops.sum(y_pred, axis=_PIXELS)
    return (overlap + 1.0) / (total + 1.0)

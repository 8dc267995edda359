"""The U-Net as users build it: an architecture, weights to start from, and what of it trains."""

from __future__ import annotations

import os

import keras

from kerasunet import models
from kerasunet.freezing import apply_strategy, with_fixed_rates
from kerasunet.network import build_network
from kerasunet.recompiling import warn_when_saved


def UNet(
    input_shape: tuple[int | None, int | None, int] = (None, None, 1),
    base_filters: int = 16,
    depth: int = 4,
    *,
    classes: int = 1,
    overlapping: bool = False,
    normalization: str | None = "batch",
    weights: str | os.PathLike | None = None,
    trainable: str = "all",
    name: str = "unet",
) -> keras.Model:
    """Build a U-Net that maps raw grey levels to probabilities.

    Reference: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015 (arXiv 1505.04597), with zero padding, so that the output has the
    size of the input. `UNet((256, 256, 1), base_filters=64, normalization=None)` is the network
    of that paper.

    Args:
        input_shape: Height, width and channels. Height and width are multiples of `2**depth`, or
            `None` for any such size. 1 or 3 channels of raw grey levels, 0 to 255, any float
            dtype or uint8; each image is standardized to zero mean and unit variance inside.
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: Number of poolings. The network has `2 * depth + 1` blocks.
        classes: 1 gives a sigmoid (foreground probability); more give a softmax over mutually
            exclusive classes, the first of which is the background.
        overlapping: Makes each of several channels a sigmoid, for objects that may overlap; then
            none of them is the background.
        normalization: `"batch"`, `"group"` or `None`.
        weights: `"natural"` for the shipped weights (pre-trained on natural images), any other
            name that `kerasunet.models.list()` gives, the path of a `.keras` or `.weights.h5` file,
            or `None` for random initialization. The `head` starts anew where the number of
            classes differs from the file's.
        trainable: Strategy text: which weights train, such as `"shallow:3"` (see
            `kerasunet.strategies`).
        name: Name of the model.

    Returns:
        An uncompiled functional `keras.Model`, input `(batch, height, width, channels)`, output
        `(batch, height, width, classes)`, float32 in 0 to 1.

    Raises:
        ValueError: An argument is out of range, the weights do not fit this architecture, or the
            strategy names something that this U-Net does not have.
    """
    model = build_network(
        input_shape,
        base_filters=base_filters,
        depth=depth,
        classes=classes,
        normalization=normalization,
        name=name,
        overlapping=overlapping,
    )
    if weights is not None:
        models.load_weights_into(model, weights)
    if trainable != "all":
        apply_strategy(model, with_fixed_rates(trainable))
        warn_when_saved(model)
    return model

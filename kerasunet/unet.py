"""The U-Net, as a functional Keras model of built-in layers only.

Every layer is named after its block (`enc1_conv1`, `dec2_up`, `bottleneck_norm2`), because the
names are what fine-tuning strategies select by. A saved file needs nothing of this package.
"""

from __future__ import annotations

import os

import keras
from keras import layers

NORMALIZATIONS = ("batch", "group", None)


def UNet(
    input_shape: tuple[int | None, int | None, int] = (None, None, 1),
    base_filters: int = 16,
    depth: int = 4,
    classes: int = 1,
    normalization: str | None = "batch",
    weights: str | os.PathLike | None = None,
    trainable: str = "all",
    name: str = "unet",
) -> keras.Model:
    """Builds a U-Net that maps raw grey levels to probabilities.

    Reference: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015 (arXiv 1505.04597), with zero padding, so that the output has the
    size of the input. `UNet((256, 256, 1), base_filters=64, normalization=None)` is the network
    of that paper.

    Args:
        input_shape: Height, width and channels. Height and width are multiples of `2**depth`, or
            `None` for any such size. 1 or 3 channels of raw grey levels, 0 to 255, any float
            dtype or uint8; each image is standardised to zero mean and unit variance inside.
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: Number of poolings. The network has `2 * depth + 1` blocks.
        classes: 1 gives a sigmoid (foreground probability); more give a softmax over mutually
            exclusive classes, the first of which is the background.
        normalization: `"batch"`, `"group"` or `None`.
        weights: `"natural"` for the shipped weights (pre-trained on natural images), any other
            name that `kerasunet.models.list()` gives, the path of a `.keras` or `.weights.h5` file,
            or `None` for random initialisation. The `head` starts anew where the number of
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
    _check_arguments(input_shape, base_filters, depth, classes, normalization)
    image = keras.Input(input_shape, name="image", dtype="float32")
    x = _standardize(image)
    skips = []
    for level in range(1, depth + 1):
        x = _two_convolutions(x, base_filters * 2 ** (level - 1), normalization, f"enc{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"enc{level}_pool")(x)
    x = _two_convolutions(x, base_filters * 2**depth, normalization, "bottleneck")
    for level in range(depth, 0, -1):
        x = _decoder_block(
            x, skips[level - 1], base_filters * 2 ** (level - 1), normalization, level
        )
    x = layers.Conv2D(classes, 1, name="head")(x)
    activation = "sigmoid" if classes == 1 else "softmax"
    x = layers.Activation(activation, name="probability", dtype="float32")(x)
    model = keras.Model(image, x, name=name)

    if weights is not None:
        from kerasunet import models

        models.load_weights_into(model, weights)
    if trainable != "all":
        from kerasunet.freezing import apply_strategy

        apply_strategy(model, trainable)
    return model


def size_multiple(model: keras.Model) -> int:
    """Returns what the image height and width must be a multiple of: `2**depth`."""
    return 2 ** architecture_of(model)["depth"]


def architecture_of(model: keras.Model) -> dict[str, int | str | None]:
    """Returns the arguments of `UNet` that give a network of this shape."""
    norm = next((layer for layer in model.layers if layer.name == "enc1_norm1"), None)
    batch = isinstance(norm, keras.layers.BatchNormalization)
    return {
        "base_filters": model.get_layer("enc1_conv1").filters,
        "depth": sum(layer.name.endswith("_pool") for layer in model.layers),
        "classes": model.output_shape[-1],
        "normalization": None if norm is None else "batch" if batch else "group",
        "channels": model.input_shape[-1],
    }


def rebuilt(model: keras.Model) -> keras.Model:
    """Returns the same network and weights, built anew in the current dtype policy.

    The copy is uncompiled and all of it is set to train.
    """
    shape = architecture_of(model)
    copy = UNet(
        (*model.input_shape[1:3], shape["channels"]),
        shape["base_filters"],
        shape["depth"],
        shape["classes"],
        shape["normalization"],
        name=model.name,
    )
    copy.set_weights(model.get_weights())
    return copy


def plain_copy(model: keras.Model) -> keras.Model:
    """Returns the same network and weights in float32, uncompiled, all of it set to train."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return rebuilt(model)
    finally:
        keras.config.set_dtype_policy(policy)


def _standardize(image):
    """Zero mean, unit variance over each image; epsilon is in squared grey levels."""
    return layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, epsilon=1.0, name="standardize", dtype="float32"
    )(image)


def _two_convolutions(x, filters: int, normalization: str | None, block: str):
    for index in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=normalization is None,
            kernel_initializer="he_normal",
            name=f"{block}_conv{index}",
        )(x)
        if normalization is not None:
            x = _normalization_layer(normalization, filters, f"{block}_norm{index}")(x)
        x = layers.Activation("relu", name=f"{block}_relu{index}")(x)
    return x


def _decoder_block(x, skip, filters: int, normalization: str | None, level: int):
    block = f"dec{level}"
    x = layers.Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer="he_normal", name=f"{block}_up"
    )(x)
    x = layers.Concatenate(name=f"{block}_concat")([skip, x])
    return _two_convolutions(x, filters, normalization, block)


def _normalization_layer(normalization: str, filters: int, name: str):
    if normalization == "batch":
        # Statistics must follow within the few hundred steps that a fine-tuning has.
        return layers.BatchNormalization(momentum=0.9, name=name)
    return layers.GroupNormalization(groups=_groups(filters), name=name)


def _groups(filters: int) -> int:
    """The largest divisor of `filters` up to 8."""
    return max(groups for groups in range(1, 9) if filters % groups == 0)


def _check_arguments(input_shape, base_filters, depth, classes, normalization) -> None:
    for argument, value in (("base_filters", base_filters), ("depth", depth), ("classes", classes)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{argument} must be a whole number of at least 1. Received: {value!r}"
            )
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f'normalization must be "batch", "group" or None. Received: {normalization!r}'
        )
    if len(input_shape) != 3 or input_shape[2] not in (1, 3):
        raise ValueError(
            "input_shape must be (height, width, channels) with 1 or 3 channels. "
            f"Received: {input_shape!r}"
        )
    multiple = 2**depth
    if any(side is not None and (side < 1 or side % multiple) for side in input_shape[:2]):
        raise ValueError(
            f"height and width must be multiples of 2**depth = {multiple}, or None. "
            f"Received: {input_shape!r}"
        )

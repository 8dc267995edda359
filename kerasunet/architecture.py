"""The shape of a U-Net: from its numbers to its layout and its network, and back from a network.

Importing this needs no Keras, so that settings, cards and strategies can use it in milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from kerasunet.options import check, option
from kerasunet.strategies import NetworkLayout

if TYPE_CHECKING:
    import keras

_POOL = re.compile(r"enc\d+_pool")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The numbers that shape a U-Net, whatever its classes are.

    Attributes:
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: Number of poolings. The network has `2 * depth + 1` blocks.
        normalization: `"batch"`, `"group"` or `None`.
        channels: 1 for grey images, 3 for color.
    """

    base_filters: int = option(16, "filters of the first level", minimum=1, maximum=512)
    depth: int = option(4, "number of poolings", minimum=1, maximum=8)
    normalization: str | None = option(
        "batch", "after each convolution", choices=("batch", "group"), none="none"
    )
    channels: int = option(1, "1 grey, 3 color", choices=(1, 3))

    def __post_init__(self):
        check(self)

    @classmethod
    def of(cls, model: keras.Model) -> Architecture:
        """Read the numbers off a network's layers."""
        import keras

        norm = next((layer for layer in model.layers if layer.name == "enc1_norm1"), None)
        batch = isinstance(norm, keras.layers.BatchNormalization)
        return cls(
            base_filters=model.get_layer("enc1_conv1").filters,
            depth=sum(bool(_POOL.fullmatch(layer.name)) for layer in model.layers),
            normalization=None if norm is None else "batch" if batch else "group",
            channels=model.input_shape[-1],
        )

    @property
    def size_multiple(self) -> int:
        """What the height and width of an image must be a multiple of."""
        return 2**self.depth

    def layout(self) -> NetworkLayout:
        """Return the blocks, layers and weights by name, without building the network.

        Raises:
            ValueError: The depth or the normalization is out of range.
        """
        return NetworkLayout.unet(self.depth, self.normalization)

    def build(
        self,
        classes: int = 1,
        *,
        size: tuple[int | None, int | None] = (None, None),
        name: str = "unet",
        overlapping: bool = False,
    ) -> keras.Model:
        """Build the network with random weights, in the current dtype policy.

        Args:
            classes: Channels of the output.
            size: Height and width of the images in pixels; `None` for any multiple of `2**depth`.
            name: Name of the model.
            overlapping: Whether each channel is an object, and a pixel may be of several.

        Returns:
            The uncompiled model, as `kerasunet.UNet` describes it.

        Raises:
            ValueError: A number is out of range.
        """
        from kerasunet.network import build_network

        numbers = asdict(self)
        shape = (*size, numbers.pop("channels"))
        return build_network(shape, classes=classes, name=name, overlapping=overlapping, **numbers)


def is_overlapping(model: keras.Model) -> bool:
    """Tell whether each of several channels of the output is an object, and a pixel may be of many.

    Otherwise channels exclude each other, the first being the background; or there is only one.
    """
    import keras

    activation = getattr(model.outputs[0]._keras_history.operation, "activation", None)
    return model.output_shape[-1] > 1 and activation is keras.activations.sigmoid


def rebuilt(model: keras.Model) -> keras.Model:
    """Build the same network anew, with the same weights, in the current dtype policy.

    The copy is uncompiled and all of it is set to train.
    """
    if is_ensemble(model):
        raise ValueError(
            "this model is the average of several networks, so its layers cannot be tuned; start "
            "from a model that was trained on all images"
        )
    copy = _same_shape(model, Architecture.of(model))
    copy.set_weights(model.get_weights())
    return copy


def is_ensemble(model: keras.Model) -> bool:
    """Whether a model is the average of several networks, as `kerasunet.network.averaged` is."""
    from kerasunet.network import MEAN_HEAD

    return any(layer.name == MEAN_HEAD for layer in model.layers)


def members_of(model: keras.Model) -> list[keras.Model]:
    """Return the networks that an ensemble averages, in float32."""
    from kerasunet.network import dtype_policy

    shape = Architecture.of(model)
    found: list[keras.Model] = []
    known = {layer.name: layer for layer in model.layers}
    with dtype_policy("float32"):
        while (prefix := f"fold{len(found) + 1}_" if found else "") + "head" in known:
            member = shape.build(model.output_shape[-1], size=model.input_shape[1:3])
            for layer in member.layers:
                if layer.weights:
                    layer.set_weights(known[prefix + layer.name].get_weights())
            found.append(member)
    return found


def plain_copy(model: keras.Model) -> keras.Model:
    """Return the same network and weights in float32, uncompiled, all of it set to train."""
    from kerasunet.network import dtype_policy

    if is_ensemble(model):
        return model  # Made in float32, never compiled.
    with dtype_policy("float32"):
        return rebuilt(model)


def without_normalization(model: keras.Model) -> keras.Model:
    """Return a float32 network of the same shape, but no normalization and random weights."""
    from kerasunet.network import dtype_policy

    with dtype_policy("float32"):
        return _same_shape(model, replace(Architecture.of(model), normalization=None))


def _same_shape(model: keras.Model, architecture: Architecture) -> keras.Model:
    """Return a new network with the image size, classes and name of an existing one."""
    return architecture.build(
        model.output_shape[-1],
        size=model.input_shape[1:3],
        name=model.name,
        overlapping=is_overlapping(model),
    )

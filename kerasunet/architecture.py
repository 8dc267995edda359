"""The shape of a U-Net: its numbers, the network and layout they make, and what a step costs.

Costs are multiply-adds, counted from the shape alone. A step has three parts: the forward pass; the
gradients of the activations, which flow back from the output to the first layer that trains and no
further; and the gradients of the kernels that train. Each part costs a convolution as many
multiply-adds as its forward pass does. Normalization, activations, pooling, augmentation and the
optimizer are left out: they cost memory traffic, hardly arithmetic. A step's seconds therefore
follow this count only roughly.

Importing this needs no Keras, so that settings, cards and strategies can use it in milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kerasunet.schema import check, option
from kerasunet.strategies import NetworkLayout, WeightRef

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The numbers that shape a U-Net, whatever its classes are.

    Attributes:
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: Number of poolings. The network has `2 * depth + 1` blocks.
        normalization: `"batch"`, `"group"` or `None`.
        channels: 1 for gray images, 3 for color.
    """

    base_filters: int = option(16, "filters of the first level", minimum=1, maximum=512)
    depth: int = option(4, "number of poolings", minimum=1, maximum=8)
    normalization: str | None = option(
        "batch", "after each convolution", choices=("batch", "group"), none="none"
    )
    channels: int = option(1, "1 gray, 3 color", choices=(1, 3))

    def __post_init__(self):
        check(self)

    @classmethod
    def of(cls, model: keras.Model) -> Architecture:
        """Read the numbers off a network's layers."""
        from kerasunet.network import numbers_of

        return cls(**numbers_of(model))

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

    def costs(self, image_size: int, classes: int = 1) -> NetworkCosts:
        """Return what training costs, for images of so many pixels and so many output channels.

        Raises:
            ValueError: A number is out of range, or the network cannot take images of this size.
        """
        return NetworkCosts(
            self.layout(),
            base_filters=self.base_filters,
            image_size=image_size,
            channels=self.channels,
            classes=classes,
        )

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
            overlapping: Whether each channel is an object, and a pixel may belong to several.

        Returns:
            The uncompiled model, as `kerasunet.UNet` describes it.

        Raises:
            ValueError: A number is out of range.
        """
        from kerasunet.network import build_network

        numbers = asdict(self)
        shape = (*size, numbers.pop("channels"))
        return build_network(shape, classes=classes, name=name, overlapping=overlapping, **numbers)


@dataclass(frozen=True)
class LayerCost:
    """A layer that has weights, and what it costs.

    Attributes:
        block: Block that claims the layer.
        layer: Layer name.
        inputs: Channels in.
        filters: Channels out.
        side: Height and width of its output in pixels.
        taps: Kernel elements for each pair of input and output channel; 0 without a kernel.
        multiply_adds: Of its forward pass, for one image.
    """

    block: str
    layer: str
    inputs: int
    filters: int
    side: int
    taps: int
    multiply_adds: int

    def parameters(self, weight: str) -> int:
        """Return the number of elements of one of its weights, such as `"kernel"` or `"bias"`."""
        return self.taps * self.inputs * self.filters if weight == "kernel" else self.filters


@dataclass(frozen=True)
class StepCost:
    """Multiply-adds of one training step.

    Attributes:
        forward: Of the forward pass.
        activations: Of the gradients that flow back from the output to the first trained layer.
        kernels: Of the gradients of the kernels that train.
    """

    forward: int
    activations: int
    kernels: int

    @property
    def total(self) -> int:
        """Of the whole step."""
        return self.forward + self.activations + self.kernels


@dataclass(frozen=True)
class NetworkCosts:
    """A U-Net as `kerasunet.UNet` builds it, as far as costs go.

    Attributes:
        layout: Its weights, from `NetworkLayout.unet`.
        base_filters: Filters of the first level; each deeper level has twice as many.
        image_size: Height and width of the images in pixels, a multiple of 2**depth.
        channels: 1 for gray images, 3 for color.
        classes: Channels of the output.

    Raises:
        ValueError: A number is out of range.
    """

    layout: NetworkLayout
    base_filters: int = 16
    image_size: int = 128
    channels: int = 1
    classes: int = 1

    def __post_init__(self):
        for name in ("base_filters", "image_size", "channels", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        multiple = 2**self.layout.depth
        if self.image_size % multiple:
            raise ValueError(
                f"image size {self.image_size}: this U-Net needs a multiple of {multiple}"
            )

    @cached_property
    def layers(self) -> dict[str, LayerCost]:
        """Every layer that has weights, by name, in data-flow order."""
        return {weight.layer: self._layer(weight) for weight in self.layout.weights}

    def parameters(self, weights: Collection[WeightRef] | None = None) -> int:
        """Return the number of learnable parameters in the given weights, by default in all."""
        chosen = self.layout.weights if weights is None else weights
        return sum(self.layers[weight.layer].parameters(weight.name) for weight in chosen)

    def step_cost(self, trained: Collection[WeightRef], batch_size: int = 8) -> StepCost:
        """Estimate the cost of a training step.

        Args:
            trained: The weights that train, from `Strategy.select`. Without any, nothing is
                trained and a step costs nothing.
            batch_size: Images per step.

        Returns:
            The cost.
        """
        if not trained:
            return StepCost(0, 0, 0)
        names = list(self.layers)
        first = min(names.index(weight.layer) for weight in trained)
        kernels = {weight.layer for weight in trained if weight.kind == "kernel"}
        return StepCost(
            batch_size * self._multiply_adds(names),
            batch_size * self._multiply_adds(names[first + 1 :]),
            batch_size * self._multiply_adds(kernels),
        )

    def _multiply_adds(self, names: Collection[str]) -> int:
        return sum(self.layers[name].multiply_adds for name in names)

    def _layer(self, weight: WeightRef) -> LayerCost:
        level = self.layout.level_of(weight.block)
        filters = self.base_filters * 2 ** (level - 1)
        side = self.image_size // 2 ** (level - 1)
        role = weight.layer.removeprefix(f"{weight.block}_")
        # An upsampling convolution has 2×2 taps, one of which each output pixel sees.
        taps, seen = {"up": (4, 1), "head": (1, 1)}.get(role, (9, 9))
        if role.startswith("norm"):
            taps = seen = 0
        inputs = self._inputs(weight.block, role, filters)
        filters = self.classes if role == "head" else filters
        count = seen * inputs * filters * side**2
        return LayerCost(
            weight.block,
            weight.layer,
            inputs,
            filters=filters,
            side=side,
            taps=taps,
            multiply_adds=count,
        )

    def _inputs(self, block: str, role: str, filters: int) -> int:
        """Return the channels that reach a layer, from its own level or its neighbors."""
        if block.startswith("dec"):
            return 2 * filters if role in ("up", "conv1") else filters
        if role != "conv1":
            return filters
        return self.channels if self.layout.level_of(block) == 1 else filters // 2

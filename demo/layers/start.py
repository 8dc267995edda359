"""The network that fine-tuning starts from, and what selecting its weights means."""

from __future__ import annotations

from dataclasses import dataclass

from kerasunet import zoo
from kerasunet.cost import Network
from kerasunet.strategies import Layout, StrategyError, WeightRef, name_of, parse
from kerasunet.training.settings import Architecture

SCRATCH = "scratch"


@dataclass(frozen=True)
class Start:
    """Where fine-tuning starts.

    Attributes:
        init: Name of a registered model, or `scratch`.
        architecture: The U-Net.
        network: What its layers cost.
    """

    init: str
    architecture: Architecture
    network: Network

    @property
    def layout(self) -> Layout:
        """Its weights."""
        return self.network.layout

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.network.image_size

    def select(self, strategy: str) -> frozenset[WeightRef] | None:
        """The weights that a strategy trains; `None` where the training images decide.

        Raises:
            StrategyError: It is no strategy, or does not fit the network.
        """
        parsed = parse(strategy)
        return None if parsed.is_auto else parsed.select(self.layout)

    def toggled(self, strategy: str, name: str) -> str:
        """The strategy after a click on a block or layer: trained in full becomes frozen, all
        else trained in full.
        """
        clicked = parse(name).select(self.layout)
        selected = self._or_nothing(strategy)
        return name_of(
            selected - clicked if clicked <= selected else selected | clicked, self.layout
        )

    def _or_nothing(self, strategy: str) -> frozenset[WeightRef]:
        try:
            return self.select(strategy) or frozenset()
        except StrategyError:
            return frozenset()


def start_from(init: str, image_size: int, scratch: Architecture) -> Start:
    """Makes a start from the fields of the page.

    Args:
        init: Name of a registered model, or `scratch`.
        image_size: Height and width of the images in pixels.
        scratch: The U-Net to use with `scratch`; a registered model brings its own.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: A number is out of range, or the network cannot take images of this size.
    """
    shape = scratch if init == SCRATCH else _architecture(init)
    layout = Layout.unet(shape.depth, shape.normalization)
    return Start(init, shape, Network(layout, shape.base_filters, image_size, shape.channels))


def _architecture(model: str) -> Architecture:
    known = zoo.card(model)["architecture"]
    return Architecture(**{name: known[name] for name in vars(Architecture())})

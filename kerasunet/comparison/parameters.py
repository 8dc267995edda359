"""How many weights a saved model's strategy trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasunet.cost import Network
from kerasunet.strategies import Layout, parse


def trained_parameters(card: Mapping[str, Any]) -> int:
    """Counts the weights that were trained, from a model's card.

    Args:
        card: As `kerasunet.zoo.card` returns it.

    Returns:
        Number of weights; 0 for `none`.

    Raises:
        ValueError: The strategy does not fit the architecture.
    """
    shape = card["architecture"]
    layout = Layout.unet(shape["depth"], shape["normalization"])
    network = Network(
        layout, shape["base_filters"], card["image_size"], shape["channels"], shape["classes"]
    )
    return network.parameters(parse(card["strategy"]).select(layout))

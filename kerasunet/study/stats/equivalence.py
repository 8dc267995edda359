"""Strategies that train the same weights under other names, as a study runs them only once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import lru_cache

from kerasunet.strategies import Layout, StrategyError, parse

DEPTH = 4
"""Depth of the network unless told otherwise, as in `Layout.unet`."""


def find(wanted: str, available: Iterable[str], depth: int = DEPTH) -> str | None:
    """Finds a strategy among those of a study, be it under another name.

    Args:
        wanted: Strategy text, such as `"shallow:5"`.
        available: Strategy texts of the study, such as `"contracting"`.
        depth: Number of resolution halvings of the network.

    Returns:
        The text itself if it is available, else one that trains the same weights, else `None`.
    """
    available = tuple(available)
    if wanted in available:
        return wanted
    trains = what_trains(wanted, depth)
    return next((text for text in available if what_trains(text, depth) == trains), None)


@lru_cache(maxsize=4096)
def what_trains(text: str, depth: int = DEPTH) -> Hashable:
    """The weights that a strategy trains; the text itself where that is not fixed by the text.

    `scratch` and `auto` are such texts, and so are strategies that do not fit the network.
    """
    try:
        strategy = parse(text)
        return text if strategy.is_auto else strategy.select(_layout(depth))
    except StrategyError:
        return text


def trained_blocks(text: str, depth: int = DEPTH) -> int:
    """Counts the blocks of which a fixed strategy trains any weight."""
    return len({weight.block for weight in parse(text).select(_layout(depth))})


@lru_cache(maxsize=8)
def _layout(depth: int) -> Layout:
    return Layout.unet(depth)

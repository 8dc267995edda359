"""How many weights a saved model's strategy trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def trained_parameters(card: Mapping[str, Any]) -> int:
    """Counts the weights that were trained, from a model's card.

    Args:
        card: As `kerasunet.zoo.card` returns it.

    Returns:
        Number of weights; 0 for `none`.

    Raises:
        ValueError: The strategy does not fit the architecture.
    """
    from kerasunet.freezing import set_trainable

    unet = _unet(tuple(sorted(card["architecture"].items())))
    return set_trainable(unet, card["strategy"]).trained


@lru_cache(maxsize=4)
def _unet(architecture: tuple[tuple[str, Any], ...]) -> keras.Model:
    from kerasunet.unet import UNet

    options = dict(architecture)
    channels = options.pop("channels")
    return UNet(input_shape=(None, None, channels), **options)

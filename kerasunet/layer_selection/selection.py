"""`auto` and `auto:search`: the one function for both ways of selecting layers."""

from __future__ import annotations

from collections.abc import Callable

import keras

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.layer_selection.choice import Choice
from kerasunet.layer_selection.gradients import choose_by_gradients
from kerasunet.layer_selection.trials import choose_by_search
from kerasunet.strategies import Strategy, parse
from kerasunet.training.settings import Optimization

_WAYS = {"auto": choose_by_gradients, "auto:search": choose_by_search}


def choose(
    strategy: str | Strategy,
    model_factory: Callable[[], keras.Model],
    training: DecodedCases,
    *,
    optimization: Optimization,
    augmentation: Augmentation,
) -> Choice:
    """Choose the strategy of a fine-tuning run from its training images alone.

    Args:
        strategy: `"auto"` or `"auto:search"`.
        model_factory: Makes the network that the run starts from; called once.
        training: The training cases of the run.
        optimization: Settings of the run.
        augmentation: Augmentation of the run.

    Returns:
        The choice: the same for the same weights, images and settings.

    Raises:
        ValueError: The strategy is not automatic, or there are too few images.
        FloatingPointError: A gradient is NaN or infinite.
    """
    strategy = parse(strategy) if isinstance(strategy, str) else strategy
    if not strategy.is_auto:
        raise ValueError(f"{strategy}: nothing to choose; write auto or auto:search")
    way = _WAYS[str(strategy)]
    return way(model_factory(), training, optimization=optimization, augmentation=augmentation)

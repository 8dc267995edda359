"""`auto` and `auto:search`: one door to both ways of choosing."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.layer_selection.choice import Choice, blocks_to_train, scores
from kerasunet.layer_selection.gradients import relative_gradient_norms
from kerasunet.strategies import parse
from kerasunet.training.settings import Optimization


def choose(
    text: str,
    model_factory: Callable[[], keras.Model],
    training: DecodedCases,
    optimization: Optimization,
    augmentation: Augmentation,
) -> Choice:
    """Chooses the strategy of a fine-tuning run from its training images alone.

    Args:
        text: `"auto"` or `"auto:search"`.
        model_factory: Makes the network that the run starts from; called once.
        training: The training cases of the run.
        optimization: Settings of the run.
        augmentation: Augmentation of the run.

    Returns:
        The choice: the same for the same weights, images and settings.

    Raises:
        ValueError: The text is not automatic, or there are too few images.
        FloatingPointError: A gradient is NaN or infinite.
    """
    if not parse(text).is_auto:
        raise ValueError(f"{text}: nothing to choose; write auto or auto:search")
    if str(parse(text)) == "auto":
        return choose_by_gradients(model_factory(), training, optimization, augmentation)
    from kerasunet.layer_selection.trials import choose_by_search

    return choose_by_search(model_factory(), training, optimization, augmentation)


def choose_by_gradients(
    model: keras.Model,
    training: DecodedCases,
    optimization: Optimization,
    augmentation: Augmentation,
) -> Choice:
    """Chooses the blocks with the largest relative gradients; costs 5 batches and no update.

    The norms come from `layer_selection.gradients`, the rule from `layer_selection.choice`.

    Args:
        model: The network that the run starts from; it is not changed.
        training: The training cases of the run.
        optimization: Batch size and seed of the run.
        augmentation: Augmentation of the run.

    Returns:
        The choice, with a score per block.

    Raises:
        ValueError: There are no training cases.
        FloatingPointError: A gradient is NaN or infinite.
    """
    started = time.perf_counter()
    norms = relative_gradient_norms(
        model, training, optimization.batch_size, augmentation, optimization.seed
    )
    table = scores({norm.block: norm.relative for norm in norms})
    seconds = time.perf_counter() - started
    return Choice("auto", blocks_to_train(table), table, seconds=seconds)

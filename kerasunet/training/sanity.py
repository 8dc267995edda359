"""Can the network learn these masks at all? Overfitting one batch tells in a minute."""

from __future__ import annotations

from collections.abc import Iterator

from kerasunet.data.decoding import DecodedCases
from kerasunet.data.views import NO_AUGMENTATION
from kerasunet.training.batches import Batches
from kerasunet.training.loop import compile_for_training, mean_dice, prepare_backend
from kerasunet.training.settings import Architecture, Optimization
from kerasunet.unet import UNet


def overfit_one_batch(
    cases: DecodedCases, steps: int = 100, architecture: Architecture = Architecture()
) -> Iterator[tuple[int, float, float]]:
    """Trains a fresh U-Net on the same few cases over and over.

    A network that cannot reach a Dice near 1 on cases it sees again and again points to masks
    that do not belong to their images, or to a wrong setting.

    Args:
        cases: A handful of decoded cases, all of them in every step.
        steps: Optimiser steps.
        architecture: The network.

    Yields:
        After every tenth step and the last: step, loss, and the mean Dice (0 to 1) that the
        network then reaches in inference mode.
    """
    settings = Optimization(
        steps=steps, batch_size=len(cases), learning_rate=3e-3, schedule="constant"
    )
    prepare_backend(settings)
    model = UNet(
        (None, None, cases.images.shape[-1]),
        architecture.base_filters,
        architecture.depth,
        normalization=architecture.normalization,
    )
    compile_for_training(model, settings)
    images, masks = Batches(cases, len(cases), NO_AUGMENTATION, seed=0).batch(0)
    for step in range(1, steps + 1):
        loss = model.train_on_batch(images, masks)[0]
        if step % 10 == 0 or step == steps:
            yield step, float(loss), mean_dice(model, cases)

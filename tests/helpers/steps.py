"""A few training steps, and what they changed."""

from __future__ import annotations

import keras
import numpy as np

from helpers.images import disc_images


def train_three_steps(model: keras.Model, eagerly: bool = False) -> None:
    """Take three steps; eagerly spares tracing a graph, which takes longer than the steps."""
    model.run_eagerly = eagerly
    images, masks = disc_images(4)
    for _ in range(3):
        model.train_on_batch(images[..., None], masks[..., None].astype("float32"))


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: keras.ops.convert_to_numpy(variable.value) for variable in model.weights}

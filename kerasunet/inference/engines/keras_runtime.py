"""Keras itself, on any backend: nothing is kept, the network is traced when it is opened."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np


def load(model: keras.Model, shape: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """Open a folded network for one image of this shape."""
    # On processors TensorFlow's own convolutions, by oneDNN, are faster than those of XLA.
    jit = "auto" if keras.backend.backend() != "tensorflow" else False
    model.compile(jit_compile=jit)

    def run(image: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(model.predict_on_batch(image))

    run(np.zeros((1, *shape), np.float32))
    return run

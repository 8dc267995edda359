"""LiteRT (formerly TensorFlow Lite): what is kept is the network as a `.tflite` model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.processes import processors

if TYPE_CHECKING:
    import keras


def version() -> str:
    """Return the version of LiteRT."""
    return installed_version("ai-edge-litert")


def convert(model: keras.Model, shape: tuple[int, int, int], **settings) -> bytes:
    """Write a folded network for one image of this shape.

    Args:
        model: The network.
        shape: Height, width and channels.
        settings: Attributes of TensorFlow's converter, such as `optimizations`.

    Raises:
        ValueError: Keras runs on a backend other than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"LiteRT models are made on Keras' TensorFlow backend, not {keras.backend.backend()}"
        )
    signature = [keras.InputSpec(shape=(1, *shape), dtype="float32", name="image")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        model.export(
            path,
            format="litert",
            verbose=False,
            input_signature=signature,
            experimental_enable_resource_variables=False,
            **settings,
        )
        return path.read_bytes()


def load(made: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Open what `convert` made."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=made, num_threads=processors())
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]

    def run(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken, image)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return run

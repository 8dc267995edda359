"""ONNX Runtime: what is kept is the network as an ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from kerasunet.processes import processors

if TYPE_CHECKING:
    import keras


def version() -> str:
    """Return the version of ONNX Runtime."""
    return onnxruntime.__version__


def convert(model: keras.Model, shape: tuple[int, int, int]) -> bytes:
    """Write a folded network for one image of this shape."""
    from kerasunet.inference.engines.onnx_graph import to_onnx

    return to_onnx(model, shape[:2]).SerializeToString()


def load(made: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Open what `convert` made."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]

"""Runs an exported network in the runtime that its format is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

Run = Callable[[np.ndarray], np.ndarray]


def opened(format: str, path: Path) -> Run:
    """Opens an exported network.

    Args:
        format: One of `kerasunet.export.FORMATS`.
        path: What was exported.

    Returns:
        A function from one image, float32, `(1, height, width, channels)`, 0 to 255, to float32
        probabilities, `(1, height, width, classes)`.
    """
    return _OPENERS[format](path)


def _savedmodel(path: Path) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda image: loaded.serve(image).numpy()


def _onnx(path: Path) -> Run:
    from kerasunet.engines.onnx_runtime import load

    return load(path.read_bytes())


def _openvino(path: Path) -> Run:
    from kerasunet.engines.openvino_runtime import DEVICE, SETTINGS, core, running

    return running(core().compile_model(path, DEVICE, SETTINGS))


def _litert(path: Path) -> Run:
    from kerasunet.engines.litert_runtime import load

    return load(path.read_bytes())


def _h5(path: Path) -> Run:
    loaded = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda image: keras.ops.convert_to_numpy(loaded.predict_on_batch(image))


_OPENERS = {
    "savedmodel": _savedmodel,
    "onnx": _onnx,
    "openvino": _openvino,
    "litert": _litert,
    "h5": _h5,
}

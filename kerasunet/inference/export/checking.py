"""Runs an exported network in the runtime that its format is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet.data.decoding import DecodedCases
from kerasunet.metrics import bootstrap_interval, dice

Run = Callable[[np.ndarray], np.ndarray]


def opened(format: str, path: Path) -> Run:
    """Open an exported network.

    Args:
        format: One of `kerasunet.inference.export.FORMATS`.
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
    from kerasunet.inference.engines.onnx_runtime import load

    return load(path.read_bytes())


def _openvino(path: Path) -> Run:
    from kerasunet.inference.engines.openvino_runtime import DEVICE, SETTINGS, core, running

    return running(core().compile_model(path, DEVICE, SETTINGS))


def _litert(path: Path) -> Run:
    from kerasunet.inference.engines.litert_runtime import load

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
LARGEST_DELTA = 1e-4


def compared(model: keras.Model, run: Run, cases: DecodedCases, threshold: float) -> dict[str, Any]:
    """Measure how far an exported network is from the one it was made of.

    Args:
        model: The network in Keras.
        run: The exported network.
        cases: At least one case.
        threshold: Probability from which a pixel counts as foreground.

    Returns:
        `images`; `max_abs_delta` and `mean_abs_delta` of the probabilities; `changed_pixels`, the
        share of pixels on the other side of the threshold; `dice_keras`, `dice_exported` and
        `dice_loss`, the mean of their difference, with its 95 % bootstrap interval.
    """
    images = cases.images.astype(np.float32)
    wanted, found = (
        np.concatenate([one(image[None]) for image in images])
        for one in (lambda image: keras.ops.convert_to_numpy(model.predict_on_batch(image)), run)
    )
    delta = np.abs(wanted - found)
    masks = [output[..., 0] >= threshold for output in (wanted, found)]
    before, after = (
        np.array([dice(*pair) for pair in zip(cases.masks, predicted, strict=True)])
        for predicted in masks
    )
    loss = bootstrap_interval(before - after, groups=cases.groups)
    return {
        "images": len(cases),
        "max_abs_delta": float(delta.max()),
        "mean_abs_delta": float(delta.mean()),
        "changed_pixels": float((masks[0] != masks[1]).mean()),
        "dice_keras": float(before.mean()),
        "dice_exported": float(after.mean()),
        "dice_loss": {"mean": loss.mean, "low": loss.low, "high": loss.high},
    }

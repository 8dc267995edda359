"""The formats of exported models: how each is written, opened again and compared with Keras.

Eight-bit weights and activations take their ranges from calibration images. Standardization stays
in float: its sums over all pixels do not fit into eight bits.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet.data.decoding import DecodedCases
from kerasunet.inference.runtimes import LiteRT, ONNXRuntime, OpenVINO, Run
from kerasunet.metrics import bootstrap_interval, dice
from kerasunet.network import folded, plain_copy
from kerasunet.objects import ONE_OBJECT, Objects


def write(model: keras.Model, format: str, path: Path, *, size: int) -> None:
    """Write a network in float32.

    Args:
        model: A model of this package.
        format: One of `kerasunet.inference.export_requests.FORMATS`.
        path: The file, or folder, to write.
        size: Height and width of images, for formats that fix them.
    """
    _WRITERS[format](model, path, size)


def write_int8(model: keras.Model, format: str, path: Path, *, images: np.ndarray) -> None:
    """Write a network in eight bits; input and output stay float32.

    Args:
        model: A model of this package.
        format: `"openvino"` or `"litert"`.
        path: The file to write.
        images: Calibration images, `(count, height, width, channels)`, 0 to 255.
    """
    _INT8_WRITERS[format](folded(model), path, images.astype(np.float32))


def open_exported(format: str, path: Path) -> Run:
    """Open an exported network.

    Args:
        format: One of `kerasunet.inference.export_requests.FORMATS`.
        path: The exported file or folder.

    Returns:
        A function from one image, float32, `(1, height, width, channels)`, 0 to 255, to float32
        probabilities, `(1, height, width, classes)`.
    """
    return _OPENERS[format](path)


def compare(
    model: keras.Model,
    run: Run,
    cases: DecodedCases,
    *,
    threshold: float,
    objects: Objects = ONE_OBJECT,
) -> dict[str, Any]:
    """Measure how far an exported network is from the original.

    Args:
        model: The network in Keras.
        run: The exported network.
        cases: At least one case.
        threshold: Probability from which a pixel counts as foreground.
        objects: What the model finds. Where the cases mark something else, the masks that Keras
            finds are taken for the true ones.

    Returns:
        `images`; `max_abs_delta` and `mean_abs_delta` of the probabilities, over all channels;
        `changed_pixels`, the share of pixels whose mask changes; `dice_keras`, `dice_exported` and
        `dice_loss`, the mean of their difference, with its 95 % bootstrap interval, averaged over
        objects.
    """
    images = cases.images.astype(np.float32)
    wanted, found = (
        np.concatenate([one(image[None]) for image in images])
        for one in (lambda image: keras.ops.convert_to_numpy(model.predict_on_batch(image)), run)
    )
    delta = np.abs(wanted - found)
    masks = [objects.decide(objects.squeezed(one), threshold) for one in (wanted, found)]
    is_truth = cases.objects == objects or not (cases.objects.several or objects.several)
    truth = cases.masks if is_truth else masks[0]
    before, after = (_dice_of_cases(truth, predicted, objects) for predicted in masks)
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


def _dice_of_cases(truth: np.ndarray, predicted: np.ndarray, objects: Objects) -> np.ndarray:
    """Return the Dice of each case, averaged over objects."""
    planes = (objects.planes(masks) for masks in (truth, predicted))
    values = [
        [dice(*pair) for pair in zip(true, found, strict=True)]
        for true, found in zip(*planes, strict=True)
    ]
    return np.mean(values, axis=0)


def _write_savedmodel(model: keras.Model, path: Path, size: int) -> None:
    folded(model).export(path, format="tf_saved_model", verbose=False)


def _write_onnx(model: keras.Model, path: Path, size: int) -> None:
    from kerasunet.inference.onnx_graph import to_onnx

    path.write_bytes(to_onnx(folded(model)).SerializeToString())


def _write_openvino(model: keras.Model, path: Path, size: int) -> None:
    import openvino

    openvino.save_model(OpenVINO().graph_of(folded(model)), path, compress_to_fp16=False)


def _write_litert(model: keras.Model, path: Path, size: int) -> None:
    path.write_bytes(LiteRT().convert(folded(model), (size, size, model.input_shape[-1])))


def _write_h5(model: keras.Model, path: Path, size: int) -> None:
    copy = plain_copy(model)
    with _without_advice():
        copy.save(path)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence Keras' advice to use `.keras` instead of HDF5, for the model comes from `.keras`."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


_WRITERS = {
    "savedmodel": _write_savedmodel,
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "litert": _write_litert,
    "h5": _write_h5,
}


def _int8_openvino(model: keras.Model, path: Path, images: np.ndarray) -> None:
    # Otherwise NNCF reports its use over the network.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # Its progress bar.
        quantized = nncf.quantize(
            OpenVINO().graph_of(model),
            nncf.Dataset(list(images[:, None])),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=["standardize.*"]),
        )
    openvino.save_model(quantized, path, compress_to_fp16=False)


def _int8_litert(model: keras.Model, path: Path, images: np.ndarray) -> None:
    import tensorflow as tf

    def calibration() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[None]]

    made = LiteRT().convert(
        model,
        images.shape[1:],
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=calibration,
    )
    path.write_bytes(made)


_INT8_WRITERS = {"openvino": _int8_openvino, "litert": _int8_litert}


def _open_savedmodel(path: Path) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda image: loaded.serve(image).numpy()


def _open_onnx(path: Path) -> Run:
    return ONNXRuntime().load(path.read_bytes())


def _open_openvino(path: Path) -> Run:
    return OpenVINO().open(path)


def _open_litert(path: Path) -> Run:
    return LiteRT().load(path.read_bytes())


def _open_h5(path: Path) -> Run:
    loaded = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda image: keras.ops.convert_to_numpy(loaded.predict_on_batch(image))


_OPENERS = {
    "savedmodel": _open_savedmodel,
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "litert": _open_litert,
    "h5": _open_h5,
}

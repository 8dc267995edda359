"""Eight-bit weights and activations, their ranges taken from calibration images.

Standardisation stays in float: its sums over all pixels do not fit into eight bits.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import keras
import numpy as np

from kerasunet.architecture import plain_copy
from kerasunet.inference.engines.graph import folded


def write_int8(model: keras.Model, format: str, path: Path, images: np.ndarray) -> None:
    """Writes a network in eight bits; input and output stay float32.

    Args:
        model: A model of this package.
        format: `"openvino"` or `"litert"`.
        path: The file to write.
        images: Calibration images, `(count, height, width, channels)`, 0 to 255.
    """
    _INT8_WRITERS[format](folded(model), path, images.astype(np.float32))


def _int8_openvino(model: keras.Model, path: Path, images: np.ndarray) -> None:
    # Else NNCF reports over the network that it was used.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    import openvino

    from kerasunet.inference.engines.openvino_runtime import graph_of

    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # Its bar of progress.
        quantized = nncf.quantize(
            graph_of(model),
            nncf.Dataset(list(images[:, None])),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=["standardize.*"]),
        )
    openvino.save_model(quantized, path, compress_to_fp16=False)


def _int8_litert(model: keras.Model, path: Path, images: np.ndarray) -> None:
    import tensorflow as tf

    from kerasunet.inference.engines.litert_runtime import convert

    def calibration() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[None]]

    made = convert(
        model,
        images.shape[1:],
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=calibration,
    )
    path.write_bytes(made)


_INT8_WRITERS = {"openvino": _int8_openvino, "litert": _int8_litert}


def write(model: keras.Model, format: str, path: Path, size: int) -> None:
    """Writes a network in float32.

    Args:
        model: A model of this package.
        format: One of `kerasunet.inference.export.FORMATS`.
        path: The file, or folder, to write.
        size: Height and width of images, for formats that fix them.
    """
    _WRITERS[format](model, path, size)


def _savedmodel(model: keras.Model, path: Path, size: int) -> None:
    folded(model).export(path, format="tf_saved_model", verbose=False)


def _onnx(model: keras.Model, path: Path, size: int) -> None:
    from kerasunet.inference.engines.onnx_graph import to_onnx

    path.write_bytes(to_onnx(folded(model)).SerializeToString())


def _openvino(model: keras.Model, path: Path, size: int) -> None:
    import openvino

    from kerasunet.inference.engines.openvino_runtime import graph_of

    openvino.save_model(graph_of(folded(model)), path, compress_to_fp16=False)


def _litert(model: keras.Model, path: Path, size: int) -> None:
    from kerasunet.inference.engines.litert_runtime import convert

    path.write_bytes(convert(folded(model), (size, size, model.input_shape[-1])))


def _h5(model: keras.Model, path: Path, size: int) -> None:
    plain = plain_copy(model)
    copy = keras.models.clone_model(plain, clone_function=_fit_for_hdf5)
    copy.set_weights(plain.get_weights())
    with _without_advice():
        copy.save(path)


def _fit_for_hdf5(layer: keras.Layer) -> keras.Layer:
    """The same layer, or for the standardisation one that computes the same.

    Keras 3 forgets the axes of a layer normalisation when it loads HDF5, and normalises each pixel
    alone. Group normalisation with one group is the same over all axes, and survives.
    """
    if not isinstance(layer, keras.layers.LayerNormalization):
        return layer.from_config(layer.get_config())
    return keras.layers.GroupNormalization(
        groups=1,
        center=False,
        scale=False,
        epsilon=layer.epsilon,
        name=layer.name,
        dtype="float32",
    )


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keras logs advice against HDF5 in favour of `.keras`, which the model comes from."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


_WRITERS = {
    "savedmodel": _savedmodel,
    "onnx": _onnx,
    "openvino": _openvino,
    "litert": _litert,
    "h5": _h5,
}

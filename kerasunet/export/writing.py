"""Writes a network in one format."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from kerasunet.engines.folding import folded
from kerasunet.unet import plain_copy


def write(model: keras.Model, format: str, path: Path, size: int) -> None:
    """Writes a network in float32.

    Args:
        model: A model of this package.
        format: One of `kerasunet.export.FORMATS`.
        path: The file, or folder, to write.
        size: Height and width of images, for formats that fix them.
    """
    _WRITERS[format](model, path, size)


def _savedmodel(model: keras.Model, path: Path, size: int) -> None:
    folded(model).export(path, format="tf_saved_model", verbose=False)


def _onnx(model: keras.Model, path: Path, size: int) -> None:
    from kerasunet.engines.onnx_graph import to_onnx

    path.write_bytes(to_onnx(folded(model)).SerializeToString())


def _openvino(model: keras.Model, path: Path, size: int) -> None:
    import openvino

    from kerasunet.engines.openvino_runtime import graph_of

    openvino.save_model(graph_of(folded(model)), path, compress_to_fp16=False)


def _litert(model: keras.Model, path: Path, size: int) -> None:
    from kerasunet.engines.litert_runtime import convert

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

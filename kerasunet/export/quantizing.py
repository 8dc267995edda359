"""Eight-bit weights and activations, their ranges taken from calibration images.

Standardisation stays in float: its sums over all pixels do not fit into eight bits.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import keras
import numpy as np

from kerasunet.engines.folding import folded


def write_int8(model: keras.Model, format: str, path: Path, images: np.ndarray) -> None:
    """Writes a network in eight bits; input and output stay float32.

    Args:
        model: A model of this package.
        format: `"openvino"` or `"litert"`.
        path: The file to write.
        images: Calibration images, `(count, height, width, channels)`, 0 to 255.
    """
    _WRITERS[format](folded(model), path, images.astype(np.float32))


def _openvino(model: keras.Model, path: Path, images: np.ndarray) -> None:
    # Else NNCF reports over the network that it was used.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    import openvino

    from kerasunet.engines.openvino_runtime import graph_of

    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # Its bar of progress.
        quantized = nncf.quantize(
            graph_of(model),
            nncf.Dataset(list(images[:, None])),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=["standardize.*"]),
        )
    openvino.save_model(quantized, path, compress_to_fp16=False)


def _litert(model: keras.Model, path: Path, images: np.ndarray) -> None:
    import tensorflow as tf

    from kerasunet.engines.litert_runtime import convert

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


_WRITERS = {"openvino": _openvino, "litert": _litert}

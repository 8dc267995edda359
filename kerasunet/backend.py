"""Keras and its backend: how they are started."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


def start_backend() -> None:
    """Import Keras and its backend without the notes that TensorFlow prints on the way."""
    # NumPy 2 deprecates how TensorFlow hands over every array; `python -W error` must run.
    warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    with quiet_start():
        import keras

        keras.ops.zeros(1)


@contextlib.contextmanager
def without_retracing_notes() -> Iterator[None]:
    """Drop the advice on retracing: TensorFlow takes several models for one that is traced anew."""
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_retracing)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_retracing)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in str(record.msg)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Send file descriptor 2 nowhere: TensorFlow's notes come from C++, past `sys.stderr`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def on_plain_tensorflow() -> bool:
    """Whether TensorFlow computes, and on processors."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")

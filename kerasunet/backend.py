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
    """Drop the advice on retracing: TensorFlow mistakes several models for one traced again."""
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


@contextlib.contextmanager
def prepared_backend(*, precision: str, seed: int, deterministic: bool) -> Iterator[None]:
    """Set seeds, determinism and, for as long as a model is built and trained, the precision.

    Args:
        precision: Keras dtype policy, such as `"mixed_bfloat16"`.
        seed: Seed of Python, NumPy and the backend.
        deterministic: Whether TensorFlow computes in an order that gives the same bits each time.
    """
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    try:
        with without_retracing_notes():
            yield
    finally:
        keras.config.set_dtype_policy(policy)


def on_plain_tensorflow() -> bool:
    """Whether TensorFlow computes, and on CPUs."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def device() -> str:
    """Return what computes: `"cpu"`, or the name that its maker gives a GPU."""
    import keras

    name = keras.backend.backend()
    if name == "jax":
        import jax

        first = jax.devices()[0]
        return "cpu" if first.platform == "cpu" else first.device_kind
    if name == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        return "cpu"
    return tf.config.experimental.get_device_details(found[0]).get("device_name", "gpu")


def precision_of(policy: str) -> str:
    """Return a Keras dtype policy, and in brackets the precision of products where it is lower.

    JAX computes products of float32 numbers in the precision that `JAX_DEFAULT_MATMUL_PRECISION`
    names, such as `tensorfloat32`.
    """
    import keras

    if keras.backend.backend() != "jax":
        return policy
    import jax

    products = getattr(jax.config, "jax_default_matmul_precision", None)
    return f"{policy} ({products})" if products else policy

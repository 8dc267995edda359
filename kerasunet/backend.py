"""Keras and its backend: how they are started."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from kerasunet.files import NotWritten, read_json, writing

if TYPE_CHECKING:
    import keras

_S = TypeVar("_S", bound=Any)
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
AUTO = "auto"
"""The precision that stands for the fastest one, see `fastest_precision`."""
_PRECISION = "KERASUNET_PRECISION"
_UNUSED = ("matplotlib", "pandas", "sklearn")
"""What Keras imports where it is there; a fifth of the time that starting a command takes."""
_OF_TENSORFLOW = re.compile(r"\{\{.*?\}\} *| *\[Op:.*")
"""What its messages have around the words of the system."""
_TF32, _AMPERE = "tensorfloat32", 8
"""What NVIDIA's GPUs round float32 numbers to, and the compute capability from which they do."""
_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of processors that multiply bfloat16 numbers, as Linux names them on x86 and on Arm."""


def start_backend() -> None:
    """Import Keras and its backend without the notes that TensorFlow prints on the way.

    For processes of this package: Keras does without what it could plot, or take tables from.
    """
    # NumPy 2 deprecates how TensorFlow hands over every array; `python -W error` must run.
    warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    with cheap_start():
        import keras

        keras.ops.zeros(1)


@contextlib.contextmanager
def cheap_start() -> Iterator[None]:
    """Let Keras, or an inference engine, be imported and started in silence and in less time."""
    with quiet_start(), _without_unused(), without_collection():
        yield


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage while large packages are imported, and later none of what they have made.

    Keras alone makes half a million objects that stay; looking through them again and again takes a
    quarter of the time.
    """
    if "keras" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@contextlib.contextmanager
def _without_unused() -> Iterator[None]:
    """Let Keras, if this thread imports it meanwhile, find no package that commands do not use.

    Other threads import these packages as usual, and so does this one afterwards.
    """
    finder = _Missing(_UNUSED)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Missing(MetaPathFinder, Loader):
    """Refuses imports. To `importlib.util.find_spec`, the packages are there: PyTorch asks it."""

    def __init__(self, packages: Sequence[str]):
        self._packages, self._thread = packages, threading.get_ident()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname in self._packages and threading.get_ident() == self._thread:
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do: no module was made."""


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
    if sys.stderr is None:  # Services may lack it.
        yield
        return
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
    """Set seeds, the precision and determinism for as long as a model is built and trained.

    Afterwards they are the caller's again: Keras' dtype policy and float type, the random states of
    Python and NumPy, and with TensorFlow its seed and whether its operations are deterministic.

    Args:
        precision: Keras dtype policy, such as `"mixed_bfloat16"`, or `"auto"`.
        seed: Seed of Python, from which Keras draws the seeds of layers, and NumPy; if
            deterministic, also of TensorFlow's own operations.
        deterministic: Whether TensorFlow computes in an order that gives the same bits each time.
    """
    import keras

    policy, floats = keras.config.dtype_policy(), keras.config.floatx()
    on_tensorflow = deterministic and keras.backend.backend() == "tensorflow"
    ordered = _deterministic_tensorflow(seed) if on_tensorflow else contextlib.nullcontext()
    keras.config.set_floatx("float32")  # Of losses and optimizers, whatever the policy is.
    keras.config.set_dtype_policy(fastest_precision() if precision == AUTO else precision)
    try:
        with seeded(seed), ordered, without_retracing_notes():
            yield
    finally:
        keras.config.set_floatx(floats)
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, from which Keras draws the seeds of layers, and NumPy; then restore them."""
    import numpy as np

    drawn_by_python, drawn_by_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(drawn_by_python)
        np.random.set_state(drawn_by_numpy)


@contextlib.contextmanager
def _deterministic_tensorflow(seed: int) -> Iterator[None]:
    """Make TensorFlow's operations deterministic, which needs a seed; then restore them.

    TensorFlow has a public function for the first, but only internal ones for the second: if a
    release lacks these, operations stay deterministic and seeded. Random operations with their own
    seed start over, as after every `tf.random.set_seed`.
    """
    import tensorflow as tf

    try:
        from tensorflow.python.eager.context import context
        from tensorflow.python.framework import config

        inside, was_deterministic = context(), config.is_op_determinism_enabled()
        seed_before, drawn = inside._seed, getattr(inside, "_rng", None)  # Set with a seed.
        switch_off = config.disable_op_determinism
    except (ImportError, AttributeError):
        inside = None
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(seed)
    try:
        yield
    finally:
        if inside is not None:
            inside._seed, inside._rng = seed_before, drawn
            if not was_deterministic:
                switch_off()


def fastest_precision(processors: Path = Path("/proc/cpuinfo")) -> str:
    """Return the Keras dtype policy that trains fastest here.

    That is `"mixed_bfloat16"` with TensorFlow on a CPU that has instructions for products of
    bfloat16 numbers, otherwise `"float32"`. docs/second-study/index.md says what it does to Dice.
    The environment variable `KERASUNET_PRECISION` overrides it, so that machines of several kinds
    compute alike.

    Args:
        processors: What Linux says of the processors; without such a file, none has instructions.

    Raises:
        ValueError: `KERASUNET_PRECISION` is none of `PRECISIONS`.
    """
    if given := os.environ.get(_PRECISION):
        if given not in PRECISIONS:
            raise ValueError(f"{_PRECISION}={given}: must be one of {', '.join(PRECISIONS)}")
        return given
    has_instructions = _multiplies_bfloat16(processors)
    return "mixed_bfloat16" if has_instructions and on_plain_tensorflow() else "float32"


def with_precision(settings: _S, record: Path | None = None, *, restart: bool = False) -> _S:
    """Return settings that say which precision `auto` stands for.

    Args:
        settings: Settings with an `optimization`: of a fine-tuning, a pre-training, an adaptation.
        record: File that says with which settings the same run or study began, perhaps on a machine
            that computes in another precision; that precision is kept.
        restart: Whether nothing will be kept of what the record is about.
    """
    if settings.optimization.precision != AUTO:
        return settings
    known = None if restart or record is None else _recorded_precision(record)
    settled = replace(settings.optimization, precision=known or fastest_precision())
    return replace(settings, optimization=settled)


def _recorded_precision(record: Path) -> str | None:
    """Return the precision in the record of a run or of a study; `None` where there is none."""
    if not record.is_file():
        return None
    found = read_json(record)
    for name in ("protocol", "run", "settings", "optimization"):
        found = found.get(name, found) if isinstance(found, dict) else {}
    known = found.get("precision") if isinstance(found, dict) else None
    return known if known in PRECISIONS else None  # Whatever else is wrong is told later.


def _multiplies_bfloat16(processors: Path) -> bool:
    """Whether the first CPU that Linux lists has instructions for products of bfloat16."""
    if not processors.is_file():
        return False
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", processors.read_text(), re.MULTILINE)
    return listed is not None and any(flag in listed[1].split() for flag in _BFLOAT16_FLAGS)


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

    Keras' `float32` leaves products to the backend. On NVIDIA GPUs since Ampere, all three round
    what they multiply to `tensorfloat32` unless told otherwise; JAX obeys
    `JAX_DEFAULT_MATMUL_PRECISION`.
    """
    import keras

    rounded = _PRODUCTS[keras.backend.backend()]() if policy == "float32" else ""
    return f"{policy} ({rounded})" if rounded else policy


def _products_of_jax() -> str:
    import jax

    if told := getattr(jax.config, "jax_default_matmul_precision", None):
        return str(told)
    generation = str(getattr(jax.devices()[0], "compute_capability", "")).partition(".")[0]
    # AMD's GPUs have names there, such as gfx90a.
    return _TF32 if generation.isdecimal() and int(generation) >= _AMPERE else ""


def _products_of_tensorflow() -> str:
    import tensorflow as tf

    of_gpu = tf.config.experimental.get_device_details
    versions = [
        of_gpu(gpu).get("compute_capability", (0,))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    return _TF32 if enabled and versions and versions[0][0] >= _AMPERE else ""


def _products_of_torch() -> str:
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():  # PyTorch calls AMD's CUDA.
        return ""
    is_ampere = torch.cuda.get_device_capability()[0] >= _AMPERE
    return _TF32 if is_ampere and torch.backends.cudnn.allow_tf32 else ""


_PRODUCTS = {
    "jax": _products_of_jax,
    "tensorflow": _products_of_tensorflow,
    "torch": _products_of_torch,
}


def tensorboard(folder: Path) -> keras.callbacks.Callback:
    """Return Keras' callback that writes files for TensorBoard, and names them where it cannot.

    Its hooks raise `kerasunet.files.NotWritten` if, for instance, the disk is full.
    """
    import keras

    board = keras.callbacks.TensorBoard(folder, write_graph=False)
    for name in filter(lambda name: name.startswith("on_"), dir(board)):
        setattr(board, name, naming(folder)(getattr(board, name)))
    return board


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Do as `kerasunet.files.writing` where TensorFlow may write, whose errors are its own.

    Raises:
        NotWritten: The system refused.
    """
    try:
        with writing(path):
            yield
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        cause = _OF_TENSORFLOW.sub("", str(error)).rpartition("; ")[2]
        raise NotWritten(
            f"{path}: cannot be written: {cause}; make room on that disk, or use another place, "
            "then start again"
        ) from error

"""Items run through an executor: this machine, a Dask or a Ray cluster.

Whatever executes, the contract is the same: an item that fails does not stop the others, results
arrive as they are ready, and an item whose worker dies is given to another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from kerasunet.files import NotWritten

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def slot_environments(workers: int, gpus: int) -> list[dict[str, str]]:
    """Share out the cores, and the GPUs if there are any, among the workers of this machine.

    Args:
        workers: Processes at a time, at least 1.
        gpus: GPUs to deal out in turn; 0 leaves the choice of devices alone.

    Returns:
        For each worker, the variables to set for its process.
    """
    return [{**_threads(workers), **_gpu(slot, gpus)} for slot in range(workers)]


def share_of_worker() -> dict[str, str]:
    """Return the threads that Dask or Ray grants a worker, as variables that TensorFlow reads.

    Both set `OMP_NUM_THREADS`; TensorFlow's own pools would still take every processor.
    """
    granted = os.environ.get("OMP_NUM_THREADS", "")
    if not granted.isdecimal():
        return {}
    return {name: os.environ.get(name, granted) for name in _THREADS}


def _threads(workers: int) -> dict[str, str]:
    if workers == 1:
        return {}
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    return dict.fromkeys(_THREADS, str(threads))


def _gpu(slot: int, gpus: int) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": str(slot % gpus)} if gpus else {}


Function = Callable[[Any, Mapping[str, str]], Any]
"""Gets an item and the environment variables for a process that it may start."""
RETRIES = 2
"""How often an item is tried again whose worker died."""


@dataclass(frozen=True)
class Done:
    """The function returned.

    Attributes:
        value: What it returned.
    """

    value: Any


@dataclass(frozen=True)
class Failed:
    """The function raised, or its worker died more often than it is tried again.

    Attributes:
        error: One line for people.
        stops: Whether the fault is not the item's, and others would meet it too: a full disk.
    """

    error: str
    stops: bool = False


def attempt_item(function: Function, item: Any, environment: Mapping[str, str]) -> Done | Failed:
    """Call the function; an exception becomes an outcome, so that it stops nothing else."""
    try:
        return Done(function(item, {**share_of_worker(), **environment}))
    except NotWritten as error:
        return Failed(str(error), stops=True)
    except Exception as error:
        return Failed(str(error) or type(error).__name__)


EXECUTORS = ("local", "dask", "ray")


def run_all(
    function: Function,
    items: Sequence[Any],
    executor: str = "local",
    *,
    workers: int = 1,
    address: str | None = None,
    gpus: int = 0,
    on_result: Callable[[Any, Done | Failed], Any],
) -> None:
    """Call `function(item, environment)` for every item, `workers` at a time.

    Args:
        function: Gets an item and the environment variables for a process that it may start.
            With a cluster, it, the items and the results are pickled.
        items: What to work on.
        executor: `"local"`, `"dask"` or `"ray"`.
        workers: Items at a time.
        address: Where the cluster's scheduler listens; `None` starts a cluster on this machine.
        gpus: GPUs to deal out, at most one an item; 0 for none.
        on_result: Called in the calling thread with each item and its outcome, in the order in
            which they end.

    Raises:
        ValueError: The executor is unknown, lacks its package, or does not fit the other
            arguments.
        OSError: The cluster does not answer.
    """
    if workers < 1 or gpus < 0:
        raise ValueError(f"workers are at least 1 and gpus at least 0, not {workers} and {gpus}")
    module = _module(executor, address)
    outcomes = module.run(function, items, workers=workers, address=address, gpus=gpus)
    for item, outcome in outcomes:
        on_result(item, outcome)


def _module(executor: str, address: str | None) -> ModuleType:
    if executor not in EXECUTORS:
        raise ValueError(f"executor {executor}: unknown; there are {', '.join(EXECUTORS)}")
    if executor == "local" and address is not None:
        raise ValueError(f"address {address}: the executor local has none; name dask or ray")
    try:
        return import_module(f"kerasunet.study.executors.on_{executor}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the executor {executor} needs the package {error.name}: "
            'pip install "kerasunet[cluster]"'
        ) from error

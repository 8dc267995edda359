"""Work on many items at a time: on this machine, or on a Dask or Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from kerasunet.study.executors.attempt import Done, Failed, Function

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

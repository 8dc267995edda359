"""This machine: joblib's threads, each of which waits for the process of its run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

from joblib import Parallel, delayed

from kerasunet.study.executors.run import (
    Done,
    Failed,
    Function,
    attempt_item,
    slot_environments,
)


def run(
    function: Function, items: Sequence[Any], *, workers: int, address: None, gpus: int
) -> Iterator[tuple[Any, Done | Failed]]:
    """Yield items and outcomes; each worker slot has its cores, and its GPU if there are any."""
    slots: SimpleQueue = SimpleQueue()
    for environment in slot_environments(workers, gpus):
        slots.put(environment)

    def one(item: Any) -> tuple[Any, Done | Failed]:
        environment = slots.get()
        try:
            return item, attempt_item(function, item, environment)
        finally:
            slots.put(environment)

    parallel = Parallel(n_jobs=workers, backend="threading", return_as="generator_unordered")
    yield from parallel(delayed(one)(item) for item in items)

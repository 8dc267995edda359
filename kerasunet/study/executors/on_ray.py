"""A Ray cluster; an item whose worker dies is tried again.

Native tasks, not Ray's joblib backend: its pool does not give a lost item to another worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from kerasunet.study.executors.run import (
    RETRIES,
    Done,
    Failed,
    Function,
    attempt_item,
    slot_environments,
)


def run(
    function: Function, items: Sequence[Any], *, workers: int, address: str | None, gpus: int
) -> Iterator[tuple[Any, Done | Failed]]:
    """Yield items and outcomes; with `gpus`, each item gets a GPU of its own, chosen by Ray."""
    environment = {} if address else slot_environments(workers, 0)[0]
    with _connection(workers, address, gpus):
        needs = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_retries": RETRIES}
        task = ray.remote(**needs)(attempt_item)
        waiting = {task.remote(function, item, environment): item for item in items}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(ready[0]), _outcome(ready[0])


@contextmanager
def _connection(workers: int, address: str | None, gpus: int) -> Iterator[None]:
    """Connect for the time of the call, unless the caller is connected already."""
    if ray.is_initialized():
        yield
        return
    if address is not None:
        ray.init(address, log_to_driver=False)
    else:
        ray.init(
            num_cpus=workers,
            num_gpus=gpus or None,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _outcome(reference: ray.ObjectRef) -> Done | Failed:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Failed(str(error).strip().splitlines()[0])

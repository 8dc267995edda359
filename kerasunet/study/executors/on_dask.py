"""A Dask cluster; its scheduler gives the items of a dead worker to another one.

Native futures, not joblib's Dask backend: there, one item that is lost for good ends them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, as_completed

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
    """Yield items and outcomes; GPUs are dealt out by whoever starts the cluster's workers."""
    if address is None and gpus:
        raise ValueError(
            "gpus are dealt out by the executors local and ray; see docs/guide/clusters.md"
        )
    environment = {} if address else slot_environments(workers, 0)[0]
    with dask.config.set(_SETTINGS), _client(workers, address) as client:
        submit = partial(client.submit, attempt_item, function, pure=False)
        waiting = {submit(item, environment): item for item in items}
        for future in as_completed(list(waiting)):
            yield waiting.pop(future), _outcome(future)


_SETTINGS = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # A worker holds no item but the one it works on: its death is blamed on no other.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.daemon": False,
}


@contextmanager
def _client(workers: int, address: str | None) -> Iterator[Client]:
    if address is not None:
        with Client(address, timeout=30) as client:
            yield client
        return
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        yield client


def _outcome(future: Future) -> Done | Failed:
    error = future.exception()
    return future.result() if error is None else Failed(" ".join(str(error).split()))

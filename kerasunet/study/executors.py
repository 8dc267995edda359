"""Items run through an executor: this machine, a Dask or a Ray cluster.

The contract is the same for all executors: an item that fails does not stop the others, results
arrive as they are ready, and an item whose worker dies is given to another worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed

from kerasunet.files import NotWritten

if TYPE_CHECKING:
    import ray
    from distributed import Client, Future

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
Function = Callable[[Any, Mapping[str, str]], Any]
"""Gets an item and the environment variables for a process that it may start."""
RETRIES = 2
"""How often an item is tried again whose worker died."""
EXECUTORS = ("local", "dask", "ray")
_PACKAGES = {"dask": ("dask", "distributed"), "ray": ("ray",)}
_DASK = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # A worker holds no item but the one it works on: its death is blamed on no other.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.daemon": False,
}


@dataclass(frozen=True)
class Executor:
    """Where runs are executed.

    Attributes:
        name: `"local"`, `"dask"` or `"ray"`.
        workers: Runs at a time; on this machine they share its cores.
        address: Address of the scheduler of a cluster; `None` starts one on this machine.
        gpus: GPUs of this machine to give to the workers in turn, one each; 0 for none.
    """

    name: str = "local"
    workers: int = 1
    address: str | None = None
    gpus: int = 0


def slot_environments(workers: int, gpus: int) -> list[dict[str, str]]:
    """Divide the cores, and the GPUs if there are any, among the workers of this machine.

    Args:
        workers: Processes at a time, at least 1.
        gpus: GPUs to distribute in turn; 0 leaves the choice of devices alone.

    Returns:
        For each worker, the variables to set for its process.
    """
    return [{**_threads(workers), **_gpu(slot, gpus)} for slot in range(workers)]


def share_of_worker() -> dict[str, str]:
    """Return the threads that Dask or Ray grants a worker, as variables that TensorFlow reads.

    Both set `OMP_NUM_THREADS`; TensorFlow's own pools would still take every CPU core.
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


@dataclass(frozen=True)
class Done:
    """The function returned.

    Attributes:
        value: What it returned.
    """

    value: Any


@dataclass(frozen=True)
class Failed:
    """The function raised, or its worker died more often than is retried.

    Attributes:
        error: One line for people.
        stops: Whether the fault is not the item's and would affect others too, such as a full disk.
    """

    error: str
    stops: bool = False


def attempt_item(function: Function, item: Any, environment: Mapping[str, str]) -> Done | Failed:
    """Call the function; an exception becomes an outcome, so it stops nothing else."""
    try:
        return Done(function(item, {**share_of_worker(), **environment}))
    except NotWritten as error:
        return Failed(str(error), stops=True)
    except Exception as error:
        return Failed(str(error) or type(error).__name__)


Outcomes = Iterator[tuple[Any, Done | Failed]]


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
        gpus: GPUs to distribute, at most one per item; 0 for none.
        on_result: Called in the calling thread with each item and its outcome, in the order in
            which they end.

    Raises:
        ValueError: The executor is unknown, lacks its package, or does not fit the other
            arguments.
        OSError: The cluster does not answer.
    """
    if workers < 1 or gpus < 0:
        raise ValueError(
            f"workers must be at least 1 and gpus at least 0, not {workers} and {gpus}"
        )
    run = _runner(executor, address)
    for item, outcome in run(function, items, workers=workers, address=address, gpus=gpus):
        on_result(item, outcome)


def _runner(executor: str, address: str | None) -> Callable[..., Outcomes]:
    if executor not in EXECUTORS:
        raise ValueError(f"executor {executor}: unknown; choose from {', '.join(EXECUTORS)}")
    if executor == "local" and address is not None:
        raise ValueError(f"address {address}: the executor local has none; use dask or ray")
    for package in _PACKAGES.get(executor, ()):
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"the executor {executor} needs the package {error.name}: "
                'pip install "kerasunet[cluster]"'
            ) from error
    runners: dict[str, Callable[..., Outcomes]] = {
        "local": _run_locally,
        "dask": _run_on_dask,
        "ray": _run_on_ray,
    }
    return runners[executor]


def _run_locally(
    function: Function, items: Sequence[Any], *, workers: int, address: None, gpus: int
) -> Outcomes:
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


def _run_on_dask(
    function: Function, items: Sequence[Any], *, workers: int, address: str | None, gpus: int
) -> Outcomes:
    """Yield items and outcomes; GPUs are dealt out by whoever starts the cluster's workers.

    Native futures, not joblib's Dask backend: there, one item that is lost for good ends them all.
    """
    import dask
    from distributed import as_completed

    if address is None and gpus:
        raise ValueError(
            "only the executors local and ray distribute gpus; see docs/guide/clusters.md"
        )
    environment = {} if address else slot_environments(workers, 0)[0]
    with dask.config.set(_DASK), _dask_client(workers, address) as client:
        submit = partial(client.submit, attempt_item, function, pure=False)
        waiting = {submit(item, environment): item for item in items}
        for future in as_completed(list(waiting)):
            yield waiting.pop(future), _dask_outcome(future)


@contextmanager
def _dask_client(workers: int, address: str | None) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    if address is not None:
        with Client(address, timeout=30) as client:
            yield client
        return
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        yield client


def _dask_outcome(future: Future) -> Done | Failed:
    error = future.exception()
    return future.result() if error is None else Failed(" ".join(str(error).split()))


def _run_on_ray(
    function: Function, items: Sequence[Any], *, workers: int, address: str | None, gpus: int
) -> Outcomes:
    """Yield items and outcomes; with `gpus`, each item gets its own GPU, chosen by Ray.

    Native tasks, not Ray's joblib backend: its pool does not give a lost item to another worker.
    """
    import ray

    environment = {} if address else slot_environments(workers, 0)[0]
    with _ray_connection(workers, address, gpus):
        needs = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_retries": RETRIES}
        task = ray.remote(**needs)(attempt_item)
        waiting = {task.remote(function, item, environment): item for item in items}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(ready[0]), _ray_outcome(ready[0])


@contextmanager
def _ray_connection(workers: int, address: str | None, gpus: int) -> Iterator[None]:
    """Connect for the time of the call, unless the caller is connected already."""
    import ray

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


def _ray_outcome(reference: ray.ObjectRef) -> Done | Failed:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Failed(str(error).strip().splitlines()[0])

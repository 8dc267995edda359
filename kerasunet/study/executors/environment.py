"""Environment variables that keep processes at work side by side out of each other's way."""

from __future__ import annotations

import os

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def slot_environments(workers: int, gpus: int) -> list[dict[str, str]]:
    """Shares the cores, and the GPUs if there are any, among workers on this machine.

    Args:
        workers: Processes at a time, at least 1.
        gpus: GPUs to deal out in turn; 0 leaves the choice of devices alone.

    Returns:
        For each worker, the variables to set for its process.
    """
    return [{**_threads(workers), **_gpu(slot, gpus)} for slot in range(workers)]


def share_of_worker() -> dict[str, str]:
    """The threads that Dask and Ray grant a worker, told in a way that TensorFlow understands.

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

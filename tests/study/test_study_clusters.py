"""A study on real clusters on loopback, a worker killed in the middle: the tables stay the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from kerasunet.study.execution import Executor, Study, open_study, run_study
from kerasunet.study.plan import StudySettings
from kerasunet.study.tables import read_tables
from kerasunet.training import FinetuneSettings, Optimization

pytestmark = pytest.mark.slow(6)

TIMINGS = ["seconds", "wall_seconds"]


@pytest.fixture(scope="module")
def settings(tiny_model_file) -> StudySettings:
    optimization = Optimization(steps=30, batch_size=2, validate_every=10, deterministic=True)
    return StudySettings(
        run=FinetuneSettings(
            init=str(tiny_model_file),
            data="simulated-xray:12",
            validation_size=0,
            folds=3,
            image_size=32,
            optimization=optimization,
        ),
        strategies=("contracting", "deep:1"),
        train_sizes=(4,),
        only_folds=(0,),
    )


@pytest.fixture(scope="module")
def local(settings, tmp_path_factory) -> Path:
    """The study on this machine, with one thread, as the workers of the clusters have."""
    directory = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            patch.setenv(name, "1")
        run_study(open_study(settings, directory), Executor())
    return directory


def test_study_on_a_dask_cluster_survives_a_killed_worker(settings, local, tmp_path):
    from distributed import LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster:
        executor = Executor("dask", address=cluster.scheduler_address)
        study = open_study(settings, tmp_path)
        run_and_kill(study, executor, lambda: [n.pid for n in cluster.workers.values()])
    assert_equal_tables(tmp_path, local)


def test_study_on_a_ray_instance_survives_a_killed_worker(settings, local, tmp_path):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    try:
        run_and_kill(open_study(settings, tmp_path), Executor("ray", workers=2), ray_workers)
    finally:
        ray.shutdown()
    assert_equal_tables(tmp_path, local)


def test_gpus_are_not_dealt_out_by_a_dask_scheduler_of_this_machine(settings, tmp_path):
    study = open_study(replace(settings, strategies=("none",)), tmp_path)
    with pytest.raises(ValueError, match="only the executors local and ray distribute gpus"):
        run_study(study, Executor("dask", gpus=1))


def ray_workers() -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [""])[0].startswith("ray::attempt")
    ]


def run_and_kill(study: Study, executor: Executor, workers: Callable[[], list[int]]) -> None:
    """Execute a study, and kill one of the workers as soon as a run has begun to train."""
    thread = threading.Thread(target=run_study, args=(study, executor))
    thread.start()
    victims = wait_until(lambda: any(study.directory.rglob("config.json")) and busy(workers()))
    os.kill(victims[0], signal.SIGKILL)
    thread.join(timeout=600)
    assert not thread.is_alive()


def busy(workers: list[int]) -> list[int]:
    """Return the workers that have the process of a run below them."""
    found = []
    for pid in workers:
        with suppress(psutil.NoSuchProcess):  # It may have ended meanwhile.
            if psutil.Process(pid).children():
                found.append(pid)
    return found


def assert_equal_tables(directory: Path, other: Path) -> None:
    cases, runs = read_tables(directory)
    expected_cases, expected_runs = read_tables(other)
    order = ["strategy", "key"]
    pd.testing.assert_frame_equal(
        cases.sort_values(order).reset_index(drop=True),
        expected_cases.sort_values(order).reset_index(drop=True),
    )
    pd.testing.assert_frame_equal(
        runs.drop(columns=TIMINGS).sort_values("strategy").reset_index(drop=True),
        expected_runs.drop(columns=TIMINGS).sort_values("strategy").reset_index(drop=True),
    )


def wait_until(look: Callable[[], Any], seconds: float = 600) -> Any:
    """Look again and again until there is something to see; return that."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return seen

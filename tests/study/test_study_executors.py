"""One contract, three executors: real threads, a real Dask cluster, a real Ray instance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from helpers import ROOT

from kerasunet.study.executors import Done, Failed, attempt_item, run_all, slot_environments

# A worker of a cluster has no test module to import functions from, so they travel by value.
cloudpickle = pytest.importorskip("cloudpickle")
cloudpickle.register_pickle_by_value(sys.modules[__name__])
ray = pytest.importorskip("ray")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray carries a copy of its own.


def square(item, environment):
    if item == 3:
        raise ValueError("three cannot be done")
    return item * item


def die_once(item, environment, folder):
    """Kills its own worker process the first time that it gets the item 1."""
    mark = Path(folder) / "died"
    if item == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_always(item, environment):
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def wait_for_others(item, environment, folder):
    """Returns the item `last` only once somebody has noted down the results of the others."""
    end = time.monotonic() + 120
    while item == "last" and len(list(Path(folder).iterdir())) < 2:
        if time.monotonic() > end:
            raise TimeoutError("nobody has told the other results")
        time.sleep(0.02)
    return item


@pytest.fixture(scope="module")
def ray_instance():
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["local", "dask", "ray"])
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("ray_instance")
    return request.param


def collect(function, items, executor, **words) -> dict:
    outcomes = {}
    run_all(function, items, executor, on_result=outcomes.__setitem__, **words)
    return outcomes


@pytest.mark.slow
def test_every_item_has_its_outcome_and_a_failure_stops_nothing(executor):
    outcomes = collect(square, range(6), executor, workers=2)
    assert outcomes == {
        item: Failed("three cannot be done") if item == 3 else Done(item * item)
        for item in range(6)
    }


@pytest.mark.slow
def test_results_arrive_as_they_are_ready(executor, tmp_path):
    """The first item ends only if the results of the others arrive while it runs."""
    outcomes = {}

    def note(item, outcome):
        outcomes[item] = outcome
        (tmp_path / item).touch()

    function = partial(wait_for_others, folder=str(tmp_path))
    run_all(function, ["last", "a", "b"], executor, workers=2, on_result=note)
    assert outcomes == {item: Done(item) for item in ("a", "b", "last")}
    assert list(outcomes)[-1] == "last"


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["dask", "ray"], indirect=True)
def test_item_of_a_killed_worker_is_done_by_another(executor, tmp_path):
    function = partial(die_once, folder=str(tmp_path))
    outcomes = collect(function, range(4), executor, workers=2)
    assert (tmp_path / "died").exists()
    assert outcomes == {item: Done(item) for item in range(4)}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["dask", "ray"], indirect=True)
def test_item_that_kills_every_worker_fails_alone(executor):
    outcomes = collect(die_always, range(4), executor, workers=2)
    assert isinstance(outcomes.pop(1), Failed)
    assert outcomes == {item: Done(item) for item in (0, 2, 3)}


def test_workers_share_cores_and_gpus():
    first, second, third = slot_environments(3, gpus=2)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in (first, second, third)] == ["0", "1", "0"]
    assert first["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 3))
    assert slot_environments(1, gpus=0) == [{}]


def test_tensorflow_keeps_to_the_threads_that_a_cluster_grants(monkeypatch):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    seen = attempt_item(lambda item, environment: environment, 0, {}).value
    assert {seen[f"TF_NUM_{kind}_THREADS"] for kind in ("INTRAOP", "INTEROP")} == {"3"}
    own = slot_environments(2, gpus=0)[0]
    assert attempt_item(lambda item, environment: environment, 0, own).value == own
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert attempt_item(lambda item, environment: environment, 0, {}).value == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("slurm",), "executor slurm: unknown; choose from local, dask, ray"),
        (("local", {"address": "tcp://127.0.0.1:1"}), "the executor local has none"),
        (("local", {"workers": 0}), "workers must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(words, message):
    name, options = words[0], words[1] if len(words) > 1 else {}
    with pytest.raises(ValueError, match=message):
        collect(square, [1], name, **options)


def test_missing_package_is_named():
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from kerasunet.study.executors import run_all\n"
        "run_all(print, [1], 'dask', on_result=print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "the executor dask needs the package" in done.stderr
    assert "kerasunet[cluster]" in done.stderr

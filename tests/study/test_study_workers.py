"""Processes that take one run after another: equal results, blame, going away, growing old."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import psutil
import pytest

from kerasunet.study.execution import Executor, open_study, run_study
from kerasunet.study.executors import RETRIES
from kerasunet.study.plan import StudySettings
from kerasunet.study.workers import MOST_GROWTH, MOST_RUNS, Worker, is_worn, run_in_process, workers
from kerasunet.training import FinetuneSettings, Optimization

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


@pytest.fixture(scope="module")
def settings(tiny_model_file) -> StudySettings:
    return StudySettings(
        run=FinetuneSettings(
            init=str(tiny_model_file),
            data="simulated-xray:12",
            validation_size=0,
            folds=3,
            image_size=32,
            optimization=Optimization(steps=4, batch_size=2, validate_every=2),
        ),
        strategies=("none", "all", "scratch", "auto"),
        train_sizes=(4,),
        only_folds=(0,),
    )


@pytest.fixture(autouse=True)
def _no_process_stays():
    yield
    workers.end()


def own_workers() -> list[int]:
    """Return the processes for runs that this process has started."""
    return [child.pid for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "kerasunet.study.workers" in process.cmdline()
    except psutil.Error:  # It has just ended, or nobody has asked yet how it ended.
        return False


@pytest.mark.slow(6)
def test_a_process_that_has_had_other_runs_finds_the_very_same(settings, tmp_path):
    planned = {run.strategy: run for run in open_study(settings, tmp_path / "study").planned}
    processes = set()
    warm = {}
    for strategy, run in planned.items():
        warm[strategy] = run_in_process(run, tmp_path / "warm" / strategy, ONE_THREAD)
        processes |= set(own_workers())
    assert len(processes) == 1
    workers.end()
    assert own_workers() == []
    for strategy in ("auto", "scratch"):  # The first finds a process without a past.
        cold = run_in_process(planned[strategy], tmp_path / "cold" / strategy, ONE_THREAD)
        assert cold.cases == warm[strategy].cases
        assert cold.run["chosen"] == warm[strategy].run["chosen"]


@pytest.mark.slow(6)
def test_a_process_that_is_killed_again_and_again_is_blamed_on_its_run_and_another_goes_on(
    settings, tmp_path
):
    endless = replace(settings.run.optimization, steps=100_000, validate_every=100_000)
    study = open_study(replace(settings, strategies=("none", "all", "contracting")), tmp_path)
    first, second, third = study.planned
    slow = replace(second, settings=replace(second.settings, optimization=endless))
    study = replace(study, planned=(first, slow, third))
    seen, outcomes = [], {}

    def tell(planned, result):
        outcomes[planned.strategy] = result
        seen.append(own_workers())

    words = {"executor": Executor(), "on_result": tell}
    thread = threading.Thread(target=run_study, args=[study], kwargs=words)
    thread.start()
    wait_until((tmp_path / "runs" / slow.name / "layers.txt").is_file)
    victims: list[int] = []
    for _ in range(RETRIES + 1):
        wait_until(lambda: set(own_workers()) - set(victims))
        victims.extend(set(own_workers()) - set(victims))
        os.kill(victims[-1], signal.SIGKILL)
    thread.join(timeout=900)
    assert "exit status -9" in outcomes["all"]
    assert [row["status"] for row in study.tables.runs] == ["finished", "failed", "finished"]
    assert seen[0] == victims[:1] and not set(seen[2]) & set(victims)
    assert own_workers() == []
    assert all((tmp_path / "runs" / run.name / "log.txt").is_file() for run in study.planned)


@pytest.mark.slow
def test_faulty_runs_are_reported_until_the_process_is_worn_out(tmp_path):
    worker = Worker(dict(os.environ), tmp_path / "log.txt")
    for number in range(MOST_RUNS):
        assert worker.lives
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "run.json").write_text("{")
        error = worker.execute(directory)
        assert "not a readable JSON file" in error
        assert error in (directory / "log.txt").read_text()
    assert not worker.lives


def test_a_process_is_worn_out_by_its_number_of_runs_or_its_growth():
    assert not is_worn([100] * (MOST_RUNS - 1))
    assert is_worn([100] * MOST_RUNS)
    assert not is_worn([100, 100 * MOST_GROWTH])
    assert is_worn([100, 100 * MOST_GROWTH + 1])


def wait_until(holds, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)

"""Executes a study: skips what is finished, isolates what fails, writes the tables as it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kerasunet import zoo
from kerasunet.files import NotWritten
from kerasunet.strategies import Layout
from kerasunet.study.plan import PlannedRun, plan
from kerasunet.study.process import RunResult, run_in_process
from kerasunet.study.protocol import claim_study
from kerasunet.study.settings import StudySettings
from kerasunet.study.tables import Tables
from kerasunet.study.warm import workers
from kerasunet.training.settings import Architecture

RUN_FOLDER = "runs"


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


@dataclass(frozen=True)
class Study:
    """A study directory with what is planned in it.

    Attributes:
        directory: Holds `study.json`, `runs.csv`, `cases.csv` and `runs/`.
        settings: Settings, the architecture of the initial model filled in.
        layout: The network that is fine-tuned.
        planned: All runs that the settings ask for.
        tables: What is finished so far.
        data_name: Name of the data set.
    """

    directory: Path
    settings: StudySettings
    layout: Layout
    planned: tuple[PlannedRun, ...]
    tables: Tables
    data_name: str

    def open_runs(self, retry_failed: bool = False) -> tuple[PlannedRun, ...]:
        """The planned runs that are not finished, and have not failed unless asked for again."""
        done = self.tables.finished()
        if not retry_failed:
            done |= self.tables.failed()
        return tuple(run for run in self.planned if run.identity not in done)


def open_study(settings: StudySettings, directory: Path) -> Study:
    """Plans a study in a directory; an earlier part of the same study is gone on with.

    Args:
        settings: The study. Strategies, training sizes, seeds and folds may be added later.
        directory: The study directory; created if it is new.

    Raises:
        ValueError: The settings or the data cannot be used, or the directory holds another study.
        FileNotFoundError: The data or the initial model are not there.
    """
    settings = _with_known_architecture(settings)
    shape = settings.run.architecture
    layout = Layout.unet(shape.depth, shape.normalization)
    planned = plan(settings, layout)
    data_name = claim_study(directory, settings, planned)
    return Study(directory, settings, layout, planned, Tables(directory), data_name)


def run_study(
    study: Study,
    executor: Executor | None = None,
    retry_failed: bool = False,
    on_result: Callable[[PlannedRun, RunResult | str], Any] = lambda planned, result: None,
) -> None:
    """Executes the open runs of a study in processes that take one after another.

    Args:
        study: From `open_study`.
        executor: Where; one run at a time on this machine unless given.
        retry_failed: Whether failed runs are tried again.
        on_result: Called after each run with the run, and its result or the reason of its failure.

    Raises:
        NotWritten: The disk is full, or the like. No run is blamed; the next start goes on.
    """
    from kerasunet.study.executors import Done, run_all

    executor = executor or Executor()

    def keep(planned: PlannedRun, outcome) -> None:
        if isinstance(outcome, Done):
            study.tables.record(outcome.value.run, outcome.value.cases)
            on_result(planned, outcome.value)
        elif outcome.stops:
            raise NotWritten(outcome.error)
        else:
            study.tables.record(_failure(planned, study.data_name, outcome.error), ())
            on_result(planned, outcome.error)

    try:
        run_all(
            partial(_execute, directory=study.directory.resolve(), keep=_may_keep(executor)),
            study.open_runs(retry_failed),
            executor.name,
            workers=executor.workers,
            address=executor.address,
            gpus=executor.gpus,
            on_result=keep,
        )
    finally:
        workers.end()


def _may_keep(executor: Executor) -> bool:
    """Whether processes may wait for their next run.

    Ray gives the GPU of a run that has ended to whichever of its workers it likes, and a process
    that waits would still hold the memory of it.
    """
    return executor.name != "ray" or not executor.gpus


def _execute(planned: PlannedRun, environment, directory: Path, keep: bool) -> RunResult:
    try:
        return run_in_process(planned, directory / RUN_FOLDER / planned.name, environment)
    finally:
        if not keep:
            workers.end()


def _with_known_architecture(settings: StudySettings) -> StudySettings:
    """`scratch` starts from random weights of the same network as the initial model."""
    if settings.run.init == "scratch":
        return settings
    known = zoo.card(settings.run.init)["architecture"]
    shape = Architecture(**{name: known[name] for name in vars(Architecture())})
    return replace(settings, run=replace(settings.run, architecture=shape))


def _failure(planned: PlannedRun, data_name: str, reason: str) -> dict[str, Any]:
    strategy, fold, train_size, seed = planned.identity
    optimization = planned.settings.optimization
    return {
        "data": data_name,
        "strategy": strategy,
        "fold": fold,
        "train_size": train_size,
        "seed": seed,
        "chosen": strategy,
        "learning_rate": optimization.learning_rate,
        "steps": optimization.steps,
        "trained": "",
        "parameters": "",
        "seconds": "",
        "wall_seconds": "",
        "versions": "",
        "status": "failed",
        "note": " ".join(reason.split()),
    }

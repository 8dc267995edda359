"""Processes that execute one run after another: the other end of `kerasunet.study.worker`.

Each process of an executor keeps those that it started. One that has been idle for a while is
ended, so none is left behind on the workers of a cluster.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.files import NotWritten, read_json, write_json, writing
from kerasunet.processes import environment, last_line, module_command
from kerasunet.runs.directory import RunDirectory
from kerasunet.study.executors import RETRIES
from kerasunet.study.plan import PlannedRun
from kerasunet.study.worker import read_cases
from kerasunet.training.settings import to_json

_PATIENCE = 30.0  # Seconds.


class Killed(RuntimeError):
    """The process of a run was killed from outside, as by a system that is out of memory."""


class Worker:
    """A process that executes runs.

    Args:
        variables: Its environment.
        log: Receives what it prints before its first run.
    """

    def __init__(self, variables: Mapping[str, str], log: Path):
        self.variables = variables
        with writing(log), open(log, "w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                module_command("kerasunet.study.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables,
                encoding="utf-8",
            )

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def execute(self, directory: Path) -> str | None:
        """Execute the run of a directory.

        Returns:
            What was wrong with its settings or data, in a line; `None` if nothing was.

        Raises:
            Killed: The process was killed.
            RuntimeError: It died; the message is the last line of the run's log.
        """
        with suppress(BrokenPipeError):
            print(json.dumps({"directory": str(directory)}), file=self._process.stdin, flush=True)
        assert self._process.stdout is not None, "both ends of the talk are pipes"
        answer = self._process.stdout.readline()
        if not answer:
            self.end()
            status = self._process.returncode
            error = Killed if status < 0 else RuntimeError
            raise error(f"{last_line(RunDirectory(directory).log)} (exit status {status})")
        told = json.loads(answer)
        if told["last"]:
            self.end()
        return told["error"]

    def end(self) -> None:
        """End the process, which must be idle, if it has not ended, and wait for that."""
        self._process.communicate()


class Workers:
    """The processes that wait for a run; threads may share them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._waiting: dict[Worker, threading.Timer] = {}

    def execute(self, directory: Path, additions: Mapping[str, str]) -> None:
        """Execute the run of a directory in an idle process, or else in a new one.

        If the process is killed, another one resumes the run, up to two times.

        Args:
            directory: A run directory with its `run.json`; receives everything that the run
                produces.
            additions: Environment variables to set for the process, beside those there are.

        Raises:
            RuntimeError: The run failed, or the process died; the message says why, in one line.
            NotWritten: The disk is full, or the like.
        """
        for _ in range(RETRIES):
            with suppress(Killed):
                return self._execute(directory, additions)
        return self._execute(directory, additions)

    def _execute(self, directory: Path, additions: Mapping[str, str]) -> None:
        worker = self._take(environment(additions)) or Worker(
            environment(additions), RunDirectory(directory).log
        )
        error = worker.execute(directory)
        if worker.lives:
            self._keep(worker)
        if error:
            kind, _, reason = error.partition(": ")
            raise NotWritten(reason) if kind == NotWritten.__name__ else RuntimeError(error)

    def end(self) -> None:
        """End the idle processes."""
        with self._lock:
            workers = list(self._waiting)
        for worker in workers:
            self._end(worker)

    def _take(self, variables: Mapping[str, str]) -> Worker | None:
        with self._lock:
            fitting = [w for w in self._waiting if w.variables == variables and w.lives]
            if not fitting:
                return None
            self._waiting.pop(fitting[0]).cancel()
            return fitting[0]

    def _keep(self, worker: Worker) -> None:
        timer = threading.Timer(_PATIENCE, self._end, [worker])
        timer.daemon = True
        with self._lock:
            self._waiting[worker] = timer
        timer.start()

    def _end(self, worker: Worker) -> None:
        with self._lock:
            timer = self._waiting.pop(worker, None)
        if timer is not None:
            timer.cancel()
            worker.end()


workers = Workers()
"""Those of this process."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run adds to the tables of its study.

    Attributes:
        run: The row for `runs.csv`.
        cases: The rows for `cases.csv`.
    """

    run: dict[str, Any]
    cases: list[dict[str, Any]]


def run_in_process(
    planned: PlannedRun, directory: Path, additions: Mapping[str, str] | None = None
) -> RunResult:
    """Execute a planned run in another process; a finished one is only read.

    Args:
        planned: The run.
        directory: Its run directory, on a file system that this machine sees.
        additions: Environment variables to set for the process, beside those there are.

    Returns:
        The rows for the tables.

    Raises:
        RuntimeError: The run failed; the message is its last line of output.
    """
    if not RunDirectory(directory).result.is_file():
        specify(planned, directory)
        workers.execute(directory, additions or {})
    return read_result(planned, directory)


def read_result(planned: PlannedRun, directory: Path) -> RunResult:
    """Read what a finished run adds to the tables of its study.

    Args:
        planned: The run.
        directory: Its run directory.
    """
    result = read_json(RunDirectory(directory).result)
    identity = dict(zip(("strategy", "fold", "train_size", "seed"), planned.identity, strict=True))
    row = {"note": "", **result, **identity, "status": "finished"}
    cases = [{"data": result["data"], **identity, **case} for case in read_cases(result, directory)]
    return RunResult(row, cases)


def specify(planned: PlannedRun, directory: Path) -> None:
    """Write what `kerasunet.study.worker.execute` needs to know of a planned run."""
    rates = planned.learning_rates or (planned.settings.optimization.learning_rate,)
    specification = {"settings": to_json(planned.settings), "learning_rates": list(rates)}
    write_json(RunDirectory(directory).specification, specification)

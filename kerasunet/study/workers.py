"""Processes that execute one run after another, and how they are started, kept and replaced.

`python -m kerasunet.study.workers` reads a line of JSON for each run, `{"directory": …}`, and
answers with one as soon as the run has ended: `{"error": null or a line for people, "last": whether
the process ends now}`. What is printed meanwhile goes to the log in the directory of the run. So
one import serves many runs, and a process may be killed at any moment: a run that is started again
resumes from its last checkpoint.

Each process of an executor keeps those that it started. One that has been idle for a while is
ended, so none is left behind on the workers of a cluster.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from kerasunet import models, runs
from kerasunet.backend import device, precision_of, start_backend
from kerasunet.files import NotWritten, read_json, sha256, write_json, writing
from kerasunet.metrics import METRICS
from kerasunet.processes import end_with_parent, environment, last_line, module_command
from kerasunet.runs.directory import RunDirectory
from kerasunet.schema import COUNT, NUMBER, TEXT, read_rows, read_values
from kerasunet.study.executors import RETRIES
from kerasunet.study.plan import PlannedRun, require_same
from kerasunet.training.settings import finetune_settings, to_json

MOST_RUNS, MOST_GROWTH = 20, 2.0
"""A process ends after so many runs, or once it is so many times as large as after its first."""
_USER_ERRORS = (ValueError, OSError, FloatingPointError)
_RESULT = {
    **dict.fromkeys(("folder", "data", "chosen", "precision", "device", "versions"), TEXT),
    **dict.fromkeys(("learning_rate", "seconds", "wall_seconds"), NUMBER),
    **dict.fromkeys(("steps", "trained", "parameters"), COUNT),
    "request?": TEXT,  # Older ones do not say what they answer.
}
_MEASURED = {**dict.fromkeys(METRICS, float), "truth_area": float, "predicted_area": float}
_STARTED = time.perf_counter()
_PATIENCE = 30.0  # Seconds.


def main() -> int:
    """Execute runs until there are no more, or the process has become too old or too large."""
    end_with_parent()
    answers = _take_output()
    started, sizes = _STARTED, []
    for line in sys.stdin:
        error = _attempt(Path(json.loads(line)["directory"]), started)
        sizes.append(_resident_bytes())
        worn = is_worn(sizes)
        print(json.dumps({"error": error, "last": worn}), file=answers, flush=True)
        if worn:
            break
        started = time.perf_counter()
    return 0


def is_worn(sizes: Sequence[float]) -> bool:
    """Whether a process should end, from its size after each of its runs."""
    return len(sizes) >= MOST_RUNS or sizes[-1] > MOST_GROWTH * sizes[0]


def read_cases(result: dict[str, Any], directory: Path) -> list[dict[str, float | str]]:
    """Read the rows of the held-out cases that belong to a result."""
    path = RunDirectory(directory / result["folder"]).cases
    columns = {**dict.fromkeys(("key", "group", "outcome", "unit"), str), **_MEASURED}
    rows = read_rows(path, columns, remedy=f"remove {directory}, then start again")
    return [{k: float(v) if k in METRICS else v for k, v in row.items()} for row in rows]


def _take_output() -> TextIO:
    """Keep standard output for answers; what anything else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _attempt(directory: Path, started: float) -> str | None:
    """Execute a run; return in a line what was wrong with its settings or data, if anything.

    All other errors end the process: nobody knows what state they leave it in.
    """
    with _logged(RunDirectory(directory).log):
        _import_once()
        try:
            execute(directory, started)
        except _USER_ERRORS as error:
            line = f"{type(error).__name__}: {error}".replace("\n", " ")
            with suppress(OSError):  # The disk may be full, which is what the line says.
                print(line, file=sys.stderr)
            return line
        finally:
            gc.collect()
    return None


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write what the process prints to a file; also what C++ and a dying process print."""
    with open(path, "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    yield
    with suppress(OSError):
        sys.stdout.flush()


@cache
def _import_once() -> None:
    start_backend()
    importlib.import_module("kerasunet.runs.finetuning")
    # What is imported stays; not looking through it makes each collection of garbage faster.
    gc.collect()
    gc.freeze()


@cache
def _kept_networks() -> Any:
    """Return the networks that this process keeps; one for all its runs."""
    from kerasunet.runs.finetuning import KeptNetworks

    return KeptNetworks()


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def execute(directory: Path, started: float) -> None:
    """Fine-tune as `run.json` says, once per learning rate, and write `result.json`.

    Args:
        directory: The directory of the run.
        started: Time of `time.perf_counter` from which its seconds are counted.
    """
    files = RunDirectory(directory)
    specification = read_json(files.specification)
    settings = finetune_settings(specification["settings"])
    prepared = runs.prepare(settings)
    if specification.get("in_pixels"):
        prepared = _InPixels(**vars(prepared))
    rates, tried, kept = specification["learning_rates"], [], _kept_networks()
    for rate in rates:
        optimization = replace(settings.optimization, learning_rate=rate)
        one = replace(settings, optimization=optimization)
        folder = directory if len(rates) < 2 else directory / f"rate-{rate:g}"
        tried.append(runs.finetune(one, folder, compact=True, prepared=prepared, kept=kept))
    best = max(tried, key=_validation_dice) if len(tried) > 1 else tried[0]
    seconds = round(time.perf_counter() - started, 2)
    answered = {"request": sha256(files.specification), "wall_seconds": seconds}
    write_json(files.result, {**_result(best), **answered})


class _InPixels(runs.PreparedData):
    """Data that are measured in pixels, because some images have no pixel spacing."""

    def decode(self, image_size, channels):
        parts = super().decode(image_size, channels)
        return {name: replace(one, spacings=(None,) * len(one)) for name, one in parts.items()}


def _validation_dice(run: runs.Run) -> float:
    return float(read_rows(run.files.history, {"val_dice": float})[-1]["val_dice"])


def _result(run: runs.Run) -> dict[str, Any]:
    from kerasunet.training.evaluation import CONSTANT

    summary = run.summary
    optimization = summary["settings"]["optimization"]
    return {
        "folder": run.directory.name if run.directory.name.startswith("rate-") else ".",
        "data": summary["data"]["name"],
        "chosen": summary["chosen"],
        "learning_rate": optimization["learning_rate"],
        "steps": optimization["steps"] if summary["trained"] else 0,
        "trained": summary["trained"],
        "parameters": summary["parameters"],
        "seconds": summary["seconds"],
        "precision": precision_of(optimization["precision"]),
        "device": device(),
        "note": CONSTANT if summary["constant_prediction"] else "",
        "versions": ", ".join(f"{name} {number}" for name, number in models.versions().items()),
    }


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
                module_command("kerasunet.study.workers"),
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
        variables = environment(additions)
        worker = self._take(variables) or Worker(variables, RunDirectory(directory).log)
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
    if RunDirectory(directory).result.is_file():
        require_same(planned, directory)
    else:
        specify(planned, directory)
        workers.execute(directory, additions or {})
    return read_result(planned, directory)


def read_result(planned: PlannedRun, directory: Path) -> RunResult:
    """Read what a finished run adds to the tables of its study.

    Args:
        planned: The run.
        directory: Its run directory.

    Raises:
        ValueError: The result is of another run, or cannot be read.
    """
    files, remedy = RunDirectory(directory), "remove it, then start again"
    result = read_values(files.result, _RESULT, "the result of a run of a study", remedy=remedy)
    request = result.pop("request", None)
    if request and not (files.specification.is_file() and request == sha256(files.specification)):
        raise ValueError(f"{files.result}: is the result of another run; {remedy}")
    identity = dict(zip(("strategy", "fold", "train_size", "seed"), planned.identity, strict=True))
    row = {"note": "", **result, **identity, "status": "finished"}
    cases = [{"data": result["data"], **identity, **case} for case in read_cases(result, directory)]
    return RunResult(row, cases)


def specify(planned: PlannedRun, directory: Path) -> None:
    """Write what `execute` needs to know of a planned run."""
    rates = planned.learning_rates or (planned.settings.optimization.learning_rate,)
    asked: dict[str, Any] = {"settings": to_json(planned.settings), "learning_rates": [*rates]}
    asked |= {"in_pixels": planned.in_pixels, "digests": {**planned.digests}}
    write_json(RunDirectory(directory).specification, asked)


if __name__ == "__main__":
    sys.exit(main())

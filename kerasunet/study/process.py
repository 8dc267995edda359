"""Starts the process of one run, waits for it, and reads what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.files import read_json, write_json
from kerasunet.study.plan import PlannedRun
from kerasunet.study.worker import RESULT, SPECIFICATION, read_cases
from kerasunet.training.settings import to_json

_LOG = "log.txt"
_SOURCE = Path(__file__).resolve().parents[2]


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
    planned: PlannedRun, directory: Path, environment: Mapping[str, str] | None = None
) -> RunResult:
    """Executes a planned run in a process of its own; a finished one is only read.

    Args:
        planned: The run.
        directory: Its run directory, on a file system that this machine sees.
        environment: Environment variables to set for the process, beside those there are.

    Returns:
        The rows for the tables.

    Raises:
        RuntimeError: The run failed; the message is its last line of output.
    """
    if not (directory / RESULT).is_file():
        _specify(planned, directory)
        _wait_for(directory, environment or {})
    result = read_json(directory / RESULT)
    identity = dict(zip(("strategy", "fold", "train_size", "seed"), planned.identity, strict=True))
    row = {**result, **identity, "status": "finished", "note": ""}
    cases = [{"data": result["data"], **identity, **case} for case in read_cases(result, directory)]
    return RunResult(row, cases)


def _specify(planned: PlannedRun, directory: Path) -> None:
    rates = planned.learning_rates or (planned.settings.optimization.learning_rate,)
    specification = {"settings": to_json(planned.settings), "learning_rates": list(rates)}
    write_json(directory / SPECIFICATION, specification)


def _wait_for(directory: Path, environment: Mapping[str, str]) -> None:
    # -P: the run uses this very package, whatever lies in the current folder.
    command = [sys.executable, "-P", "-m", "kerasunet.study.worker", str(directory)]
    with open(directory / _LOG, "w", encoding="utf-8") as log:
        status = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "PYTHONPATH": _python_path()},
            check=False,
        ).returncode
    if status:
        raise RuntimeError(f"{_last_line(directory / _LOG)} (exit status {status})")


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_SOURCE), *([inherited] if inherited else [])])


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "ended without a word"

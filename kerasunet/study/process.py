"""Hands one run to a process, waits for it, and reads what it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.files import read_json, write_json
from kerasunet.study.plan import PlannedRun
from kerasunet.study.warm import workers
from kerasunet.study.worker import RESULT, SPECIFICATION, read_cases
from kerasunet.training.settings import to_json


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
    """Executes a planned run in another process; a finished one is only read.

    Args:
        planned: The run.
        directory: Its run directory, on a file system that this machine sees.
        additions: Environment variables to set for the process, beside those there are.

    Returns:
        The rows for the tables.

    Raises:
        RuntimeError: The run failed; the message is its last line of output.
    """
    if not (directory / RESULT).is_file():
        _specify(planned, directory)
        workers.execute(directory, additions or {})
    result = read_json(directory / RESULT)
    identity = dict(zip(("strategy", "fold", "train_size", "seed"), planned.identity, strict=True))
    row = {"note": "", **result, **identity, "status": "finished"}
    cases = [{"data": result["data"], **identity, **case} for case in read_cases(result, directory)]
    return RunResult(row, cases)


def _specify(planned: PlannedRun, directory: Path) -> None:
    rates = planned.learning_rates or (planned.settings.optimization.learning_rate,)
    specification = {"settings": to_json(planned.settings), "learning_rates": list(rates)}
    write_json(directory / SPECIFICATION, specification)

"""The process of one run: `python -m kerasunet.study.worker RUN_DIRECTORY`.

A process of its own gives back all memory, cannot be harmed by another run, and may be killed at
any moment: started again, it goes on from its last checkpoint.
"""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet.files import read_json, write_json
from kerasunet.metrics import METRICS
from kerasunet.processes import end_with_parent
from kerasunet.training.settings import FinetuneSettings, finetune_settings

if TYPE_CHECKING:
    from kerasunet.training import Run

SPECIFICATION, RESULT = "run.json", "result.json"
_USER_ERRORS = (ValueError, OSError, FloatingPointError)
_STARTED = time.perf_counter()


def main(arguments: list[str]) -> int:
    """Executes the run that a directory specifies; the last line of output tells of an error."""
    end_with_parent()
    try:
        execute(Path(arguments[0]))
    except _USER_ERRORS as error:
        print(f"{type(error).__name__}: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    return 0


def execute(directory: Path) -> None:
    """Fine-tunes as `run.json` says, once per learning rate, and writes `result.json`.

    Raises:
        ValueError, OSError, FloatingPointError: As `kerasunet.training.finetune`.
    """
    specification = read_json(directory / SPECIFICATION)
    settings = finetune_settings(specification["settings"])
    rates = specification["learning_rates"]
    runs = [_finetune(settings, directory, rate, alone=len(rates) < 2) for rate in rates]
    best = max(runs, key=_validation_dice) if len(runs) > 1 else runs[0]
    write_json(directory / RESULT, _result(best))


def read_cases(result: dict[str, Any], directory: Path) -> list[dict[str, float | str]]:
    """Reads the rows of the held-out cases that belong to a result."""
    with open(directory / result["folder"] / "cases.csv", encoding="utf-8", newline="") as file:
        return [
            {name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(file)
        ]


def _value(column: str, text: str) -> float | str:
    return float(text) if column in METRICS else text


def _finetune(settings: FinetuneSettings, directory: Path, rate: float, alone: bool) -> Run:
    from kerasunet.cli.options import start_backend

    start_backend()
    from kerasunet.training import finetune

    optimization = replace(settings.optimization, learning_rate=rate)
    folder = directory if alone else directory / f"rate-{rate:g}"
    return finetune(replace(settings, optimization=optimization), folder, compact=True)


def _validation_dice(run: Run) -> float:
    with open(run.directory / "history.csv", encoding="utf-8", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["val_dice"])


def _result(run: Run) -> dict[str, Any]:
    from kerasunet.zoo import versions

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
        "wall_seconds": round(time.perf_counter() - _STARTED, 2),
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

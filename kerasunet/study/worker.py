"""A process that executes one run after another: `python -m kerasunet.study.worker`.

It reads a line of JSON for each run, `{"directory": …}`, and answers with one as soon as the run
has ended: `{"error": null or a line for people, "last": whether the process ends now}`. What is
printed meanwhile goes to the log in the directory of the run. So one import serves many runs, and a
process may be killed at any moment: a run that is started again resumes from its last checkpoint.
"""

from __future__ import annotations

import csv
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from kerasunet import models, runs
from kerasunet.backend import device, precision_of, start_backend
from kerasunet.files import read_json, write_json
from kerasunet.metrics import METRICS
from kerasunet.processes import end_with_parent
from kerasunet.runs.directory import RunDirectory
from kerasunet.training.settings import finetune_settings

MOST_RUNS, MOST_GROWTH = 20, 2.0
"""A process ends after so many runs, or once it is so many times as large as after its first."""
_USER_ERRORS = (ValueError, OSError, FloatingPointError)
_STARTED = time.perf_counter()


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
    with open(
        RunDirectory(directory / result["folder"]).cases, encoding="utf-8", newline=""
    ) as file:
        return [
            {name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(file)
        ]


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
            with suppress(OSError):  # The disk may be full, which is what the line tells.
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
    """Memory of this process; 0 where the system does not tell."""
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
    rates = specification["learning_rates"]
    tried = []
    for rate in rates:
        optimization = replace(settings.optimization, learning_rate=rate)
        one = replace(settings, optimization=optimization)
        folder = directory if len(rates) < 2 else directory / f"rate-{rate:g}"
        tried.append(
            runs.finetune(one, folder, compact=True, prepared=prepared, kept=_kept_networks())
        )
    best = max(tried, key=_validation_dice) if len(tried) > 1 else tried[0]
    seconds = round(time.perf_counter() - started, 2)
    write_json(files.result, {**_result(best), "wall_seconds": seconds})


def _validation_dice(run: runs.Run) -> float:
    with open(run.files.history, encoding="utf-8", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["val_dice"])


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


def _value(column: str, text: str) -> float | str:
    return float(text) if column in METRICS else text


if __name__ == "__main__":
    sys.exit(main())

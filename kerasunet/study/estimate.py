"""How long the open runs of a study will take, from runs that have been, or from a short trial."""

from __future__ import annotations

import csv
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from kerasunet.study.execution import Study
from kerasunet.study.plan import PlannedRun
from kerasunet.study.process import run_in_process

_TRIAL_STEPS = 4


def estimate_seconds(study: Study, workers: int = 1, retry_failed: bool = False) -> float:
    """Estimates the wall time of the open runs.

    Finished runs tell by their own wall time. Where there are none, a few steps of the most
    expensive open run are timed (about half a minute), which gives an upper bound.

    Args:
        study: The study.
        workers: Runs at a time; taken to go on at the speed of those that were timed.
        retry_failed: Whether failed runs count as open.

    Returns:
        Seconds; 0 where nothing is open.
    """
    runs = study.open_runs(retry_failed)
    if not runs:
        return 0.0
    known = _known_seconds(study)
    if not known:
        return len(runs) * _trial_seconds(_most_expensive(runs)) / workers
    overall = mean(known.values())
    return sum(known.get(run.strategy, overall) for run in runs) / workers


def _known_seconds(study: Study) -> dict[str, float]:
    """The median wall time of each strategy that has finished runs."""
    seconds = defaultdict(list)
    for row in study.tables.runs:
        if row["status"] == "finished":
            seconds[row["strategy"]].append(float(row["wall_seconds"]))
    return {strategy: median(values) for strategy, values in seconds.items()}


def _most_expensive(runs: tuple[PlannedRun, ...]) -> PlannedRun:
    return max(runs, key=lambda run: (run.settings.layers == "all", run.train_size))


def _trial_seconds(run: PlannedRun) -> float:
    """Times the second of two short stretches, and takes the rest of the process as overhead."""
    full = run.settings.optimization
    short = replace(full, steps=2 * _TRIAL_STEPS, validate_every=_TRIAL_STEPS, patience=None)
    trial = replace(run, settings=replace(run.settings, optimization=short), learning_rates=())
    with tempfile.TemporaryDirectory() as folder:
        wall = run_in_process(trial, Path(folder)).run["wall_seconds"]
        with open(Path(folder) / "history.csv", encoding="utf-8", newline="") as file:
            stretch = [float(row["seconds"]) for row in csv.DictReader(file)]
    if len(stretch) < 2:
        return wall
    step = stretch[-1] / _TRIAL_STEPS
    rates = max(len(run.learning_rates), 1)
    return wall + step * (rates * full.steps - 2 * _TRIAL_STEPS)

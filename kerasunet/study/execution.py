"""A study directory: which study it belongs to, its open runs, their execution and time."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, median
from typing import Any

from kerasunet import __version__, models
from kerasunet.backend import with_precision
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, content_digest, decode
from kerasunet.data.loading import require_objects, require_outside
from kerasunet.data.splits import groups_in_words
from kerasunet.files import NotWritten, expanded, kinds_in_words, read_json, write_json
from kerasunet.metrics import WITHOUT_SPACING
from kerasunet.runs.directory import RunDirectory, refuse_differences, require_not_of
from kerasunet.runs.preparation import (
    load_data,
    require_trained_head,
    seen_by_start,
    seen_warning,
    split_data,
)
from kerasunet.schema import OBJECT, TEXTS, read_rows, read_values
from kerasunet.strategies import NetworkLayout
from kerasunet.study.executors import Done, Executor, run_all
from kerasunet.study.plan import (
    LEAST_SEARCH_VALIDATION,
    USUAL_SIZE,
    PlannedRun,
    StudySettings,
    plan,
    protocol,
)
from kerasunet.study.tables import CASES, RECORD, RUN_FOLDER, RUNS, Tables, table_path
from kerasunet.study.workers import RunResult, run_in_process, workers


def record_of(
    directory: Path, settings: StudySettings, planned: Sequence[PlannedRun], *, data: DataSet
) -> dict[str, Any]:
    """Return what `study.json` is to hold, or refuse; find faults in the data before any run.

    Nothing is written.

    Args:
        directory: The study directory.
        settings: The study.
        planned: Its runs. Every split is made once here, so data that is too small is refused now.
        data: Its data.

    Raises:
        ValueError: The directory holds a study with another protocol, other data or other major
            versions, both sides of each difference named; or tables without a study; or the data
            cannot be decoded, or not be split as asked.
    """
    for run in planned:
        require_trained_head(run.settings, data.objects)
    splits = {(run.fold, run.train_size): split_data(run.settings, data) for run in planned}
    validating = min(len(split.validation) for split in splits.values())
    if settings.learning_rates and validating < LEAST_SEARCH_VALIDATION:
        raise ValueError(
            f"choosing a learning rate needs at least {LEAST_SEARCH_VALIDATION} validation cases, "
            f"not {validating}: set a validation size of {LEAST_SEARCH_VALIDATION} or more, "
            "where necessary with fewer training images"
        )
    decoded = _decoded(settings, data)
    unknown = sum(spacing is None for spacing in decoded.spacings)
    asked = {
        "protocol": protocol(settings),
        "digests": {
            "data": data.digest,
            "images and masks": content_digest([decoded]),
            "init": models.digest(settings.run.init),
        },
        "versions": _versions(),
        "data": {
            "name": data.name,
            "cases": len(data),
            "layout": data.layout,
            "terms": data.terms,
            "citation": data.citation,
            "groups": groups_in_words(data.cases),
            **({"objects": [*data.objects.names]} if data.objects.several else {}),
            **_left_out(data),
            **({WITHOUT_SPACING: unknown} if 0 < unknown < len(data) else {}),
        },
    }
    known = _known_splits(directory, asked)
    named = {f"fold {fold}, {size} images": split.digest for (fold, size), split in splits.items()}
    return {**asked, "splits": {**known, **named}}


def _known_splits(directory: Path, asked: dict[str, Any]) -> dict[str, str]:
    """Return the splits of the same study in a directory; refuse a directory of anything else."""
    path = directory / RECORD
    if not path.is_file():
        require_not_of(directory, "config.json", "adapt.json")
        found = [name for name in (CASES, RUNS) if table_path(directory, name).exists()]
        if found:
            raise ValueError(
                f"{directory}: holds {found[0]} but no {RECORD}, so these are not the tables of a "
                "study; use another output folder"
            )
        return {}
    parts = {**dict.fromkeys(("protocol", "digests", "data"), OBJECT), "splits?": TEXTS}
    known = read_values(path, parts, "the record of a study", remedy="use another output folder")
    if not table_path(directory, RUNS).exists() and not (directory / RUN_FOLDER).exists():
        return {}  # It was planned, or stopped before its first run: that binds nothing.
    fixed = ("protocol", "digests", "versions")
    was, now = ({name: record.get(name, {}) for name in fixed} for record in (known, asked))
    refuse_differences(directory, was, now)
    return known.get("splits", {})


def _decoded(settings: StudySettings, data: DataSet) -> DecodedCases:
    side = settings.run.image_size
    decoded = decode(data.cases, (side, side), settings.run.architecture.channels)
    require_objects(data.cases, decoded)
    return decoded


def _left_out(data: DataSet) -> dict[str, str]:
    """Return what in a folder takes no part in the study, if anything."""
    left_out = {
        "unannotated": f"{len(data.unannotated):,} images" if data.unannotated else "",
        "unread": kinds_in_words(data.unread),
    }
    return {name: text for name, text in left_out.items() if text}


def _versions() -> dict[str, str]:
    """Return versions as installed: only the processes of the runs import these libraries."""
    found = {"kerasunet": __version__}
    for name in ("keras", "tensorflow"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@dataclass(frozen=True)
class Study:
    """A study directory with what is planned in it.

    Attributes:
        directory: Holds `study.json`, `runs.csv`, `cases.csv` and `runs/`.
        settings: Settings, the architecture of the initial model filled in.
        layout: The network that is fine-tuned.
        planned: All runs that the settings ask for.
        tables: What is finished so far.
        record: What `study.json` is to hold.
    """

    directory: Path
    settings: StudySettings
    layout: NetworkLayout
    planned: tuple[PlannedRun, ...]
    tables: Tables
    record: Mapping[str, Any]

    @property
    def data_name(self) -> str:
        """Name of the data set, as the tables give it."""
        return self.record["data"]["name"]

    def open_runs(self, retry_failed: bool = False) -> tuple[PlannedRun, ...]:
        """Return the planned runs that are not finished; failed ones only if they are retried."""
        done = self.tables.finished()
        if not retry_failed:
            done |= self.tables.failed()
        return tuple(run for run in self.planned if run.identity not in done)


def open_study(settings: StudySettings, directory: str | os.PathLike) -> Study:
    """Plan a study in a directory and claim it, resuming an earlier part of the same study.

    Args:
        settings: The study. Strategies, training sizes, seeds and folds may be added later.
        directory: The study directory; created if it is new.

    Raises:
        ValueError: The settings or the data cannot be used, or the directory holds another study or
            would be read as data.
        FileNotFoundError: The data or the initial model does not exist.
    """
    study = plan_study(settings, directory)
    path = study.directory / RECORD
    known = read_json(path) if path.is_file() else {}
    write_json(path, {**known, **study.record})  # Somebody's own entries stay.
    return study


def plan_study(settings: StudySettings, directory: str | os.PathLike) -> Study:
    """Plan a study as `open_study` does, and refuse what it would refuse, but write nothing."""
    models.require_elsewhere(directory)
    require_outside(directory, (settings.run.data, settings.run.manual_dir))
    settings, directory = _with_known_architecture(settings), expanded(directory)
    data = cache(partial(load_data, settings.run))  # Listed once, and not before it is needed.
    settings = _with_sizes(settings, data)
    settings = replace(settings, run=with_precision(settings.run, directory / RECORD))
    layout = settings.run.architecture.layout()
    planned = plan(settings, layout)
    record = record_of(directory, settings, planned, data=data())
    record["start"] = _seen_by_start(settings.run.init, planned, data())
    tables = _complete_tables(directory, planned, data())
    if pixels := WITHOUT_SPACING in record["data"]:  # Millimeters and pixels have no mean.
        tables.require_pixels()
    planned = tuple(replace(run, in_pixels=pixels, digests=record["digests"]) for run in planned)
    return Study(directory, settings, layout, planned=planned, tables=tables, record=record)


def _seen_by_start(init: str, planned: Sequence[PlannedRun], data: DataSet) -> dict[str, Any]:
    """Return which cases the start has seen; warn if runs are to be measured on some of them."""
    seen = seen_by_start(init, data)
    cells = {(run.fold, run.train_size): run.settings for run in planned}
    tested = {key for settings in cells.values() for key in split_data(settings, data).test}
    held_out = replace(data, cases=data.select(sorted(tested)))
    if told := seen_warning(init, held_out, seen):
        warnings.warn(told, stacklevel=4)
    return {"seen": sorted(seen.keys), "is_known": seen.is_known}


def _complete_tables(directory: Path, planned: Sequence[PlannedRun], data: DataSet) -> Tables:
    """Read the tables of a study; runs of which they lack cases are open again, with a warning."""
    tables = Tables(directory)
    cells = {(run.fold, run.train_size): run for run in (planned if tables.finished() else ())}
    wanted = {
        cell: len(data.objects) * len(split_data(run.settings, data).test)
        for cell, run in cells.items()
    }
    if lost := tables.reopen_incomplete(wanted):
        strategy, fold, *_ = lost[0]
        warnings.warn(
            f"{directory / CASES}: cases of finished runs are missing or duplicated, such as those "
            f"of {strategy}, fold {fold}; {len(lost)} of the runs are read or trained again",
            stacklevel=4,
        )
    return tables


def run_study(
    study: Study,
    executor: Executor | None = None,
    retry_failed: bool = False,
    *,
    on_result: Callable[[PlannedRun, RunResult | str], Any] = lambda planned, result: None,
) -> None:
    """Execute the open runs of a study in processes that take one after another.

    Args:
        study: From `open_study`.
        executor: Where; one run at a time on this machine unless given.
        retry_failed: Whether failed runs are retried.
        on_result: Called after each run with the run and its result, or the reason for its failure.

    Raises:
        NotWritten: The disk is full, or the like. No run is recorded as failed; the next start
            resumes.
    """
    executor = executor or Executor()

    def keep(planned: PlannedRun, outcome) -> None:
        if isinstance(outcome, Done):
            study.tables.record(outcome.value.run, outcome.value.cases)
            on_result(planned, outcome.value)
        elif outcome.stops:
            raise NotWritten(outcome.error)
        else:
            study.tables.record(planned.failed(study.data_name, outcome.error), ())
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
        study.tables.write()


def _may_keep(executor: Executor) -> bool:
    """Whether processes may wait for their next run.

    Ray gives the GPU of a run that has ended to whichever of its workers it likes, and a process
    that waits would still hold the memory of it.
    """
    return executor.name != "ray" or not executor.gpus


def _execute(planned: PlannedRun, environment, directory: Path, *, keep: bool) -> RunResult:
    try:
        return run_in_process(planned, directory / RUN_FOLDER / planned.name, environment)
    finally:
        if not keep:
            workers.end()


def _with_known_architecture(settings: StudySettings) -> StudySettings:
    """Take the network of the initial model; `scratch` is the same one with random weights."""
    if settings.run.init == "scratch":
        return settings
    architecture = models.card(settings.run.init).architecture
    return replace(settings, run=replace(settings.run, architecture=architecture))


def _with_sizes(settings: StudySettings, data: Callable[[], DataSet]) -> StudySettings:
    """Fill in the number of training images, if none is given: the usual one, or what there is."""
    if settings.train_sizes:
        return settings
    runs = (replace(settings.run, fold=fold, train_size=None) for fold in settings.folds)
    left = min(len(split_data(run, data()).train) for run in runs)
    return replace(settings, train_sizes=(min(USUAL_SIZE, left),))


_TRIAL_STEPS = 4


def estimate_seconds(study: Study, workers: int = 1, retry_failed: bool = False) -> float:
    """Estimate the wall time of the open runs.

    The estimate rests on the wall time of finished runs. If there are none, a few steps of the most
    expensive open run are timed (about half a minute), which gives an upper bound.

    Args:
        study: The study.
        workers: Runs at a time; assumed to keep the speed of those that were timed.
        retry_failed: Whether failed runs count as open.

    Returns:
        Seconds; 0 where nothing is open.
    """
    runs = study.open_runs(retry_failed)
    if not runs:
        return 0.0
    if not (known := _known_seconds(study)):
        return len(runs) * _trial_seconds(_most_expensive(runs)) / workers
    overall = mean(known.values())
    return sum(known.get(run.strategy, overall) for run in runs) / workers


def _known_seconds(study: Study) -> dict[str, float]:
    """Return the median wall time of each strategy that has finished runs."""
    seconds = defaultdict(list)
    for row in study.tables.runs:
        if row["status"] == "finished":
            seconds[row["strategy"]].append(float(row["wall_seconds"]))
    return {strategy: median(values) for strategy, values in seconds.items()}


def _most_expensive(runs: tuple[PlannedRun, ...]) -> PlannedRun:
    """Return a run of `all`, or of another strategy that trains something if there is one."""

    def cost(run: PlannedRun) -> tuple[bool, bool, int]:
        layers = str(run.settings.layers)
        return layers == "all", layers != "none", run.train_size

    return max(runs, key=cost)


def _trial_seconds(run: PlannedRun) -> float:
    """Time the second of two short epochs, and take the rest of the process as overhead."""
    full = run.settings.optimization
    short = replace(full, steps=2 * _TRIAL_STEPS, validate_every=_TRIAL_STEPS, patience=None)
    trial = replace(run, settings=replace(run.settings, optimization=short), learning_rates=())
    with tempfile.TemporaryDirectory() as folder:
        wall = run_in_process(trial, Path(folder)).run["wall_seconds"]
        history = RunDirectory(Path(folder)).history
        if not history.is_file():  # Nothing trains.
            return wall
        epochs = [float(row["seconds"]) for row in read_rows(history, {"seconds": float})]
    if len(epochs) < 2:
        return wall
    step = epochs[-1] / _TRIAL_STEPS
    rates = max(len(run.learning_rates), 1)
    return wall + step * (rates * full.steps - 2 * _TRIAL_STEPS)

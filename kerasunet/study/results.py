"""The one reader of study results, which statistics, figures, reports and the demo all use.

A study directory holds `study.json`, which says what is studied, and the tables of
`kerasunet.study.tables`. Reading needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from kerasunet.data.splits import GroupedKey, groups_in_words
from kerasunet.files import expanded
from kerasunet.metrics import METRICS
from kerasunet.schema import COUNT, FLAG, LIST, TEXT, read_values, text_of
from kerasunet.strategies import NetworkLayout, expand, trained_blocks
from kerasunet.study.tables import IDENTITY, OBJECT, RECORD, read_tables

_RUN = {"architecture": {"depth": COUNT}, "folds": COUNT}
_TOLD = dict.fromkeys(("name", "layout", "terms", "citation"), TEXT)
_PARTS = {
    "protocol": {"run": _RUN, "learning_rates": LIST},
    "digests": {"data": TEXT, "init": TEXT},
    "data": {**_TOLD, "cases": COUNT},
    "start?": {"seen": [TEXT], "is_known": FLAG},
}
_AREAS = ("truth_area", "predicted_area")
_WORST_FIRST = ("missed", "false_alarm", "detected", "true_negative")

USUAL_DEPTH = 4
"""Depth of the U-Net where no record says it."""


class Scenario(NamedTuple):
    """What strategies are compared within: a data set and a number of training images."""

    data: str
    train_size: int

    def __str__(self) -> str:
        return f"{self.data}, {self.train_size} training images"


@dataclass(frozen=True)
class StudyRecord:
    """What `study.json` says about one study.

    Attributes:
        directory: The study directory.
        protocol: The settings that all runs share, and the learning rates to choose from.
        digests: SHA-256 of the data and of the initial model.
        data: Name, number of cases, layout, terms and citation of the data set.
        start: What the start has seen of it, if that is recorded.
    """

    directory: Path
    protocol: dict[str, Any]
    digests: dict[str, str]
    data: dict[str, Any]
    start: dict[str, Any] | None = None

    @classmethod
    def read(cls, directory: Path) -> StudyRecord:
        """Read the record of a study directory.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The file is something else.
        """
        path = directory / RECORD
        if not path.is_file():
            raise FileNotFoundError(f"{path}: does not exist, so nothing says what was studied")
        record = read_values(path, _PARTS, "the record of a study", remedy="restore it")
        return cls(directory, *(record.get(part.rstrip("?")) for part in _PARTS))

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.data["name"]

    @property
    def depth(self) -> int:
        """Depth of the U-Net."""
        return self.protocol["run"]["architecture"]["depth"]

    @property
    def disjoint(self) -> bool:
        """Whether its training sets share no patient, so that each fold is one of them."""
        return bool(self.protocol["run"].get("disjoint", False))


@dataclass(frozen=True)
class Completeness:
    """How far a study has come.

    Attributes:
        folds: Folds that have results.
        planned_folds: Folds that were planned.
        finished: Finished runs.
        failed: Failed runs.
        fewest: Least number of finished runs of a strategy at a training size.
        most: Largest such number; where it is larger, means rest on different cases.
    """

    folds: int
    planned_folds: int
    finished: int
    failed: int
    fewest: int
    most: int


@dataclass(frozen=True, eq=False)
class StudyResults:
    """The results of one study, or of several of different data sets.

    Attributes:
        cases: A row per case of every finished run; columns are `CASE_COLUMNS`. Where there are
            several objects, metrics are their mean, and a case in which any was missed is missed.
        runs: A row per run; columns are `RUN_COLUMNS`.
        depth: Depth of the U-Net, which all studies share.
        studies: The records of the studies, in the order given.
        of_objects: A row per case and object, with the column `OBJECT`, where there are several.
    """

    cases: pd.DataFrame
    runs: pd.DataFrame
    depth: int = USUAL_DEPTH
    studies: tuple[StudyRecord, ...] = ()
    of_objects: pd.DataFrame | None = None

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the objects where there are several; otherwise there are none to choose from."""
        if self.of_objects is None:
            return ()
        return tuple(self.of_objects[OBJECT].dropna().unique())

    def of(self, name: str) -> StudyResults:
        """Return the results of one of several objects, as if it were the only one.

        Raises:
            ValueError: There is no such object; the message names those that there are.
        """
        if self.of_objects is None or name not in self.objects:
            known = ", ".join(self.objects) or "these studies have one object only"
            raise ValueError(f"object {name}: there is no such object; choose from {known}")
        rows = self.of_objects[self.of_objects[OBJECT] == name]
        return replace(self, cases=rows.drop(columns=OBJECT), of_objects=None)

    @cached_property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios that have results: data sets as given, training sizes rising."""
        sizes = self.cases.groupby("data", sort=False)["train_size"].unique()
        pairs = ((str(data), int(size)) for data, found in sizes.items() for size in sorted(found))
        return tuple(Scenario(*pair) for pair in pairs)

    @property
    def largest_scenarios(self) -> tuple[Scenario, ...]:
        """For each data set, the scenario with the most training images."""
        return tuple(Scenario(*largest) for largest in dict(self.scenarios).items())

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Names of the data sets that have results."""
        return tuple(dict(self.scenarios))

    def train_sizes(self, data: str) -> tuple[int, ...]:
        """Return the training sizes at which a data set has results, rising."""
        return tuple(size for name, size in self.scenarios if name == data)

    def strategies(self) -> list[str]:
        """Return the strategies that have results, family by family."""
        return ordered(self.cases["strategy"].unique())

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of the finished runs."""
        return self.runs[self.runs["status"] == "finished"]

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of the failed runs."""
        return self.runs[self.runs["status"] != "finished"]

    def is_disjoint(self, data: str) -> bool:
        """Return whether the training sets of a data set share no patient."""
        return any(study.disjoint for study in self.studies if study.name == data)

    def groups_in_words(self, data: str) -> str:
        """Return what intervals on a data set resample, such as "33 patients" or "247 images"."""
        here = self.cases[self.cases["data"] == data]
        cases = here[["key", "group"]].drop_duplicates()
        groups = groups_in_words(map(GroupedKey._make, cases.itertuples(index=False)))
        if not self.is_disjoint(data):
            return groups
        sets = here["fold"].nunique()
        return f"{sets} disjoint training set{'s' if sets > 1 else ''} and {groups}"

    def at(self, scenario: Scenario) -> StudyResults:
        """Return the results of one scenario; its tables are empty where it has none."""
        parts = (
            table[(table["data"] == scenario.data) & (table["train_size"] == scenario.train_size)]
            for table in (self.cases, self.runs)
        )
        found = replace(self, **dict(zip(("cases", "runs"), parts, strict=True)))
        if (each := self.of_objects) is None:
            return found
        here = (each["data"] == scenario.data) & (each["train_size"] == scenario.train_size)
        return replace(found, of_objects=each[here])

    def completeness(self, study: StudyRecord) -> Completeness:
        """Return how complete one of the studies is."""
        finished = self.finished[self.finished["data"] == study.name]
        failed = self.failed[self.failed["data"] == study.name]
        counts = finished.groupby(["train_size", "strategy"]).size()
        return Completeness(
            folds=finished["fold"].nunique(),
            planned_folds=study.protocol["run"]["folds"],
            finished=len(finished),
            failed=len(failed),
            fewest=int(counts.min()) if len(counts) else 0,
            most=int(counts.max()) if len(counts) else 0,
        )


Directories = str | os.PathLike | Iterable[str | os.PathLike]
"""A study directory, or several."""


def paths_of(directories: Directories) -> list[Path]:
    """Return study directories as paths; one may be given by itself."""
    given = [directories] if isinstance(directories, str | os.PathLike) else [*directories]
    if not given:
        raise ValueError("give at least one study directory")
    return [expanded(text_of(path, "each study")) for path in given]


def read_results(
    directories: Directories, *, record_required: bool = True, results_required: bool = True
) -> StudyResults:
    """Read study directories, finished or not, of different data sets.

    Args:
        directories: Study directories.
        record_required: Whether each must hold a `study.json`. A study without one is assumed to
            use a U-Net of depth 4.
        results_required: Whether a run must have finished.

    Returns:
        The results.

    Raises:
        FileNotFoundError: A directory holds no study with results, or lacks its record.
        ValueError: A file lacks columns or entries, nothing has finished yet, two studies are of
            the same data set, or their networks have different depths.
    """
    directories = paths_of(directories)
    found = [_read_study(directory, record_required) for directory in directories]
    studies = tuple(study for study, _, _ in found if study is not None)
    _require_different_data(studies)
    depth = _shared_depth(dict(zip(directories, (study for study, _, _ in found), strict=True)))
    cases = _together([cases for _, cases, _ in found])
    if results_required and cases.empty:
        raise ValueError(f"{directories[0]}: no run has finished yet, so there is nothing to show")
    runs = _together([runs for _, _, runs in found])
    if OBJECT not in cases:
        return StudyResults(cases, runs, depth, studies=studies)
    return StudyResults(mean_of_objects(cases), runs, depth, studies=studies, of_objects=cases)


def mean_of_objects(cases: pd.DataFrame) -> pd.DataFrame:
    """Average the metrics of each case over its objects; areas add up, the worst outcome counts.

    Args:
        cases: A row per case and object; rows of data with one object name none.
    """
    case = ["data", *IDENTITY, "key"]
    known = {outcome: rank for rank, outcome in enumerate(_WORST_FIRST)}
    ranks = cases["outcome"].map(known).fillna(known["detected"])
    how = {
        name: "sum" if name in _AREAS else "mean" if name in METRICS else "first"
        for name in cases.columns.drop([*case, OBJECT])
    }
    merged = cases.assign(outcome=ranks).groupby(case, sort=False, dropna=False)
    mean = merged.agg({**how, "outcome": "min"}).reset_index()
    mean["outcome"] = mean["outcome"].map(dict(enumerate(_WORST_FIRST)))
    return mean[list(cases.columns.drop(OBJECT))]


def _read_study(
    directory: Path, record_required: bool
) -> tuple[StudyRecord | None, pd.DataFrame, pd.DataFrame]:
    cases, runs = read_tables(directory)
    if not record_required and not (directory / RECORD).is_file():
        return None, cases, runs
    study = StudyRecord.read(directory)
    # A failed run may know its data by the name of their folder.
    data = runs["data"].where(runs["status"] == "finished", study.name)
    return study, cases, runs.assign(data=data)


def _require_different_data(studies: Sequence[StudyRecord]) -> None:
    """Studies of the same data differ in protocol: their rows must not be averaged together."""
    known: dict[str, StudyRecord] = {}
    for study in studies:
        if study.name in known:
            raise ValueError(
                f"{known[study.name].directory} and {study.directory} are both studies of "
                f"{study.name}; give them one at a time"
            )
        known[study.name] = study


def _shared_depth(records: Mapping[Path, StudyRecord | None]) -> int:
    depths = {
        directory: USUAL_DEPTH if record is None else record.depth
        for directory, record in records.items()
    }
    if len(set(depths.values())) > 1:
        listing = ", ".join(f"{directory} of depth {depth}" for directory, depth in depths.items())
        raise ValueError(f"networks of different depth have different strategies: {listing}")
    return next(iter(depths.values()))


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables together; one without rows has no types, so it is left out."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


FAMILIES = {
    "references": ("none", "scratch", "all", "auto"),
    "paths": ("contracting", "expanding", "bottleneck"),
    "shallow": ("shallow",),
    "deep": ("deep",),
    "outer": ("outer",),
    "inner": ("inner",),
}
"""Families of strategies, in the order in which they are listed, and how their texts begin."""
OTHERS = "others"


DIRECTIONS = ("shallow", "deep", "outer", "inner")


@dataclass(frozen=True)
class Point:
    """One strategy on a curve.

    Attributes:
        count: The K of the strategy, 0 for `none`.
        blocks: How many blocks train.
        strategy: Strategy text.
    """

    count: int
    blocks: int
    strategy: str


@lru_cache(maxsize=32)
def points(direction: str, depth: int = USUAL_DEPTH) -> tuple[Point, ...]:
    """Return the strategies of a curve, from training nothing to training everything.

    Args:
        direction: One of `DIRECTIONS`.
        depth: Depth of the U-Net.

    Raises:
        ValueError: There is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"{direction}: no such direction; choose from {', '.join(DIRECTIONS)}")
    texts = ["none", *expand(f"{direction}:*", NetworkLayout.unet(depth))]
    return tuple(Point(k, trained_blocks(text, depth), text) for k, text in enumerate(texts))


def family_of(strategy: str) -> str:
    """Return the family of a strategy: a name of `FAMILIES`, or `OTHERS`."""
    head = strategy.partition(":")[0]
    return next((family for family, heads in FAMILIES.items() if head in heads), OTHERS)


def ordered(strategies: Iterable[str]) -> list[str]:
    """List each strategy once, family by family, counts rising."""
    return sorted(set(strategies), key=_rank)


def _rank(strategy: str) -> tuple[int, int, int, str]:
    head, _, count = strategy.partition(":")
    family = family_of(strategy)
    in_family = FAMILIES[family].index(head) if family in FAMILIES else 0
    number = int(count) if count.isdecimal() else 0
    return [*FAMILIES, OTHERS].index(family), in_family, number, strategy

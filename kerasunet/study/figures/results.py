"""The order in which strategies are listed, by family, and their families' names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet.files import read_json
from kerasunet.study import stats
from kerasunet.study.results import RECORD, read_tables

if TYPE_CHECKING:
    import pandas


FAMILIES = {
    "references": ("none", "scratch", "all", "auto"),
    "paths": ("contracting", "expanding", "bottleneck"),
    "shallow": ("shallow",),
    "deep": ("deep",),
    "outer": ("outer",),
    "inner": ("inner",),
}
OTHERS = "others"


def family_of(strategy: str) -> str:
    """The family of a strategy: a name of `FAMILIES`, or `OTHERS`."""
    head = strategy.partition(":")[0]
    return next((family for family, heads in FAMILIES.items() if head in heads), OTHERS)


def ordered(strategies: Iterable[str]) -> list[str]:
    """Each strategy once, family by family, counts rising."""
    return sorted(set(strategies), key=_rank)


def _rank(strategy: str) -> tuple:
    head, _, count = strategy.partition(":")
    family = family_of(strategy)
    place = [*FAMILIES, OTHERS].index(family)
    within = FAMILIES[family].index(head) if family in FAMILIES else 0
    return place, within, int(count) if count.isdecimal() else 0, strategy


@dataclass(frozen=True)
class StudyRecord:
    """What `study.json` tells of one study."""

    directory: Path
    protocol: dict[str, Any]
    digests: dict[str, str]
    data: dict[str, Any]

    @property
    def depth(self) -> int:
        """Depth of the U-Net."""
        return self.protocol["run"]["architecture"]["depth"]


@dataclass(frozen=True)
class Results:
    """The tables of one or more studies, each on its own data.

    Attributes:
        studies: What each study is.
        cases: A row per case of every finished run.
        runs: A row per run.
    """

    studies: tuple[StudyRecord, ...]
    cases: pandas.DataFrame
    runs: pandas.DataFrame

    @property
    def depth(self) -> int:
        """Depth of the U-Net of all studies."""
        return self.studies[0].depth

    @cached_property
    def panels(self) -> tuple[tuple[str, int], ...]:
        """Data set and training size of every part that has results, in the order given."""
        sizes = self.cases.groupby("data")["train_size"].unique()
        names = [study.data["name"] for study in self.studies]
        return tuple((name, int(n)) for name in names if name in sizes for n in sorted(sizes[name]))

    @property
    def largest(self) -> tuple[tuple[str, int], ...]:
        """Of each data set, the panel with the most training images."""
        return tuple(dict(self.panels).items())

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data sets that have results."""
        return tuple(dict(self.panels))

    @cached_property
    def summary(self) -> pandas.DataFrame:
        """A row per data set, training size and strategy: mean Dice with its interval."""
        return stats.summarize(self.cases)

    @cached_property
    def curves(self) -> pandas.DataFrame:
        """Mean Dice along each direction, by number of tuned blocks."""
        return stats.curves(self.cases, self.depth)

    def strategies(self, data: str | None = None, train_size: int | None = None) -> list[str]:
        """The strategies that have results, family by family."""
        rows = self.cases
        if data is not None:
            rows = rows[(rows["data"] == data) & (rows["train_size"] == train_size)]
        return ordered(rows["strategy"].unique())

    def means(self, data: str, train_size: int) -> pandas.DataFrame:
        """Mean, low and high of one panel, by strategy."""
        rows = self.summary
        rows = rows[(rows["data"] == data) & (rows["train_size"] == train_size)]
        return rows.set_index("strategy")[["mean", "low", "high"]]


def read_results(directories: Sequence[Path]) -> Results:
    """Reads study directories.

    Raises:
        FileNotFoundError: A directory holds no study with results.
        ValueError: Nothing has finished yet, or the studies cannot stand in one table.
    """
    import pandas

    studies, cases, runs = [], [], []
    for directory in directories:
        case_table, run_table = read_tables(directory)
        study = _read_record(directory)
        studies.append(study)
        # A failed run may know its data by the name of their folder.
        cases.append(case_table.assign(data=study.data["name"]))
        runs.append(run_table.assign(data=study.data["name"]))
    _require_one_table(studies)
    all_cases = pandas.concat(cases, ignore_index=True)
    if all_cases.empty:
        raise ValueError(f"{directories[0]}: no run has finished yet, so there is nothing to show")
    return Results(tuple(studies), all_cases, pandas.concat(runs, ignore_index=True))


def _read_record(directory: Path) -> StudyRecord:
    path = directory / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there, so nothing tells what was studied")
    record = read_json(path)
    return StudyRecord(directory, record["protocol"], record["digests"], record["data"])


def _require_one_table(studies: Sequence[StudyRecord]) -> None:
    """Studies of the same data differ in protocol: their rows must not be averaged together."""
    known: dict[str, StudyRecord] = {}
    for study in studies:
        name, first = study.data["name"], studies[0]
        if name in known:
            raise ValueError(
                f"{known[name].directory} and {study.directory} are both studies of {name}: "
                "write a report of each"
            )
        if study.depth != first.depth:
            raise ValueError(
                f"{first.directory} has a U-Net of depth {first.depth}, {study.directory} of "
                f"depth {study.depth}: write a report of each"
            )
        known[name] = study

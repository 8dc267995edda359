"""Results of studies that the page shows: those that come with it, and those a visitor opens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kerasunet.files import read_json
from kerasunet.study.tables import CASES, RECORD, RUNS, read_tables

if TYPE_CHECKING:
    import pandas as pd

    from kerasunet.study.stats import Claim

_USUAL_DEPTH = 4
_SHIPPED = Path(__file__).resolve().parents[1] / "docs" / "study"


@dataclass(frozen=True, eq=False)
class Results:
    """The tables of one or several studies, and their statistics, each computed when asked for.

    Attributes:
        cases: A row per case per run.
        runs: A row per run.
        depth: Depth of the U-Net.
    """

    cases: pd.DataFrame
    runs: pd.DataFrame
    depth: int

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Mean Dice with its interval, by data set, training size and strategy."""
        return _statistics().summarize(self.cases)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Mean Dice against the number of tuned blocks, by direction."""
        return _statistics().curves(self.cases, self.depth)

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the paper, with verdicts."""
        return _statistics().claims(self.cases, self.runs, self.depth)

    @property
    def panels(self) -> list[tuple[str, int]]:
        """Data set and training size of every part that has results."""
        places = self.summary[["data", "train_size"]].drop_duplicates()
        return [(data, int(size)) for data, size in places.itertuples(index=False)]

    def panel(self, data: str, train_size: int) -> pd.DataFrame:
        """The summary of one part, by strategy."""
        rows = self.summary
        rows = rows[(rows["data"] == data) & (rows["train_size"] == train_size)]
        return rows.set_index("strategy")


def _statistics() -> ModuleType:
    """The statistics, as soon as no other thread is importing TensorFlow.

    With TensorFlow comes JAX where that is installed, and SciPy fails over a JAX half imported.
    """
    import keras  # noqa: F401

    from kerasunet.study import stats

    return stats


def shipped() -> Results | None:
    """The results that come with the page; `KERASUNET_STUDIES` names another folder of studies.

    Returns:
        The results; `None` where there are none yet.

    Raises:
        ValueError: A table lacks columns, or depths differ.
    """
    return _shipped(Path(os.environ.get("KERASUNET_STUDIES") or _SHIPPED))


def read_studies(directories: Sequence[Path]) -> Results:
    """Reads study directories and puts their tables together.

    Without a `study.json` beside its tables, a study is taken to be of a U-Net of depth 4.

    Raises:
        FileNotFoundError: A directory holds no study with results.
        ValueError: A table lacks columns, no run has finished, or depths differ.
    """
    results = _read(directories)
    if results is None:
        raise ValueError(f"{directories[0]}: no run has finished yet, so there is nothing to show")
    return results


def _read(directories: Sequence[Path]) -> Results | None:
    """The results; `None` where no run has finished yet."""
    import pandas as pd

    tables = {directory: read_tables(directory) for directory in directories}
    begun = {directory: both for directory, both in tables.items() if len(both[0])}
    if not begun:
        return None
    depths = {_depth(directory) for directory in begun}
    if len(depths) > 1:
        raise ValueError(f"networks of depths {sorted(depths)} have different strategies")
    parts = zip(*begun.values(), strict=True)
    cases, runs = (pd.concat(frames, ignore_index=True) for frames in parts)
    return Results(cases, runs, depths.pop())


@lru_cache(maxsize=2)
def _shipped(folder: Path) -> Results | None:
    studies = sorted(path.parent for path in folder.glob(f"*/{CASES}"))
    return _read([study for study in studies if (study / RUNS).is_file()])


def _depth(directory: Path) -> int:
    path = directory / RECORD
    if not path.is_file():
        return _USUAL_DEPTH
    return read_json(path)["protocol"]["run"]["architecture"]["depth"]

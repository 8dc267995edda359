"""Several studies put together for statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kerasunet.files import read_json
from kerasunet.study.tables import RECORD, read_tables


@dataclass(frozen=True, eq=False)
class Studies:
    """The tables of one or several studies.

    Attributes:
        cases: A row per case per run.
        runs: A row per run.
        depth: Number of resolution halvings of the network, which they share.
    """

    cases: pd.DataFrame
    runs: pd.DataFrame
    depth: int


def read_studies(directories: Sequence[Path]) -> Studies:
    """Reads study directories and puts their tables together.

    Args:
        directories: Study directories, finished or not, of different data sets.

    Returns:
        The tables.

    Raises:
        FileNotFoundError: A directory holds no study with results.
        ValueError: A table lacks columns, or the networks have different depths.
    """
    tables = [read_tables(Path(directory)) for directory in directories]
    depths = {str(directory): _depth(Path(directory)) for directory in directories}
    if len(set(depths.values())) > 1:
        listing = ", ".join(f"{depth} in {directory}" for directory, depth in depths.items())
        raise ValueError(f"networks of different depth have different strategies: {listing}")
    cases, runs = zip(*tables, strict=True)
    return Studies(
        pd.concat(cases, ignore_index=True),
        pd.concat(runs, ignore_index=True),
        next(iter(depths.values())),
    )


def _depth(directory: Path) -> int:
    path = directory / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it tells the network of the study")
    return read_json(path)["protocol"]["run"]["architecture"]["depth"]

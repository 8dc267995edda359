"""The values of one data set at one training size, strategies side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from kerasunet.study.stats.equivalence import DEPTH, find

CASE = ["fold", "group", "key"]
_NEEDED = ("data", "strategy", "fold", "train_size", "seed", "key", "group")


@dataclass(frozen=True)
class Grid:
    """What was measured on one data set at one training size.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        values: Index fold, group, key, seed; a column a strategy; NaN where a run is missing.
        depth: Number of resolution halvings of the network, to know equal strategies by.
    """

    data: str
    train_size: int
    values: pd.DataFrame
    depth: int = DEPTH

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies that any run was finished for."""
        return tuple(self.values.columns)

    @property
    def where(self) -> str:
        """Data set and training size in words."""
        return f"{self.data}, {self.train_size} training images"

    def find(self, strategy: str) -> str | None:
        """The name under which a strategy was run here, `None` if it was not."""
        return find(strategy, self.strategies, self.depth)

    def per_case(self, contrasts: Sequence[Mapping[str, float]]) -> pd.DataFrame:
        """Weighted sums of strategies for every case, averaged over seeds.

        Strategies are set off against each other within a case and seed, so that a run which is
        missing takes its partners out, not the balance.

        Args:
            contrasts: Each gives weights to strategies of this grid.

        Returns:
            Index fold, group, key; a column a contrast; NaN for cases that lack a strategy.
        """
        columns = [self._weighted(weights) for weights in contrasts]
        frame = pd.concat(columns, axis=1, keys=range(len(columns)))
        # Dice has five decimals in the tables: what is left beyond ten is rounding of sums.
        return frame.groupby(level=CASE, sort=True).mean().round(10)

    def _weighted(self, weights: Mapping[str, float]) -> pd.Series:
        return sum(weight * self.values[strategy] for strategy, weight in weights.items())


def grids(cases: pd.DataFrame, metric: str = "dice", depth: int = DEPTH) -> tuple[Grid, ...]:
    """Takes a table of cases apart into data sets and training sizes.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.tables.read_tables` gives them.
        metric: The column that is measured.
        depth: Number of resolution halvings of the network.

    Returns:
        Grids in order of data set and training size.

    Raises:
        ValueError: A column is missing, a value is not finite, or a case stands there twice.
    """
    _check(cases, metric)
    return tuple(
        Grid(str(data), int(size), _wide(rows, metric), depth)
        for (data, size), rows in cases.groupby(["data", "train_size"], sort=True)
    )


def grid_of(
    cases: pd.DataFrame, data: str, train_size: int, metric: str = "dice", depth: int = DEPTH
) -> Grid:
    """The grid of one data set and training size.

    Raises:
        ValueError: As `grids`; or there is nothing of this data set and training size.
    """
    rows = cases[(cases["data"] == data) & (cases["train_size"] == train_size)]
    found = grids(rows, metric, depth)
    if not found:
        there = cases[["data", "train_size"]].drop_duplicates().sort_values(["data", "train_size"])
        listing = ", ".join(f"{name} at {size}" for name, size in there.itertuples(index=False))
        raise ValueError(f"{data} at {train_size}: no such case; there are {listing or 'none'}")
    return found[0]


def _check(cases: pd.DataFrame, metric: str) -> None:
    missing = [name for name in (*_NEEDED, metric) if name not in cases.columns]
    if missing:
        raise ValueError(f"the table of cases has no column {', '.join(missing)}")
    values = cases[metric]
    if not pd.api.types.is_numeric_dtype(values) or not values.between(-1e300, 1e300).all():
        raise ValueError(f"{metric}: every case needs a finite number")
    identity = [name for name in _NEEDED if name != "group"]
    twice = cases[cases.duplicated(identity)]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"{row['data']}: case {row['key']} of {row['strategy']} at {row['train_size']} images, "
            f"fold {row['fold']}, seed {row['seed']} stands there twice; two studies of one data "
            "set cannot be put together"
        )


def _wide(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    alone = rows["group"].isna()
    rows = rows.assign(group=rows["group"].where(~alone, rows["key"]).astype(str))
    wide = rows.pivot(index=[*CASE, "seed"], columns="strategy", values=metric)
    return wide[list(rows["strategy"].unique())].astype(float)

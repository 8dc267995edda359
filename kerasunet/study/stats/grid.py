"""Strategies that train the same weights under other names, as a study runs them only once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from kerasunet.strategies import NetworkLayout, StrategyError, parse
from kerasunet.study.stats.resampling import resample

DEPTH = 4
"""Depth of the network unless told otherwise, as in `NetworkLayout.unet`."""


def find(wanted: str, available: Iterable[str], depth: int = DEPTH) -> str | None:
    """Finds a strategy among those of a study, be it under another name.

    Args:
        wanted: Strategy text, such as `"shallow:5"`.
        available: Strategy texts of the study, such as `"contracting"`.
        depth: Number of resolution halvings of the network.

    Returns:
        The text itself if it is available, else one that trains the same weights, else `None`.
    """
    available = tuple(available)
    if wanted in available:
        return wanted
    trains = what_trains(wanted, depth)
    return next((text for text in available if what_trains(text, depth) == trains), None)


@lru_cache(maxsize=4096)
def what_trains(text: str, depth: int = DEPTH) -> Hashable:
    """The weights that a strategy trains; the text itself where that is not fixed by the text.

    `scratch` and `auto` are such texts, and so are strategies that do not fit the network.
    """
    try:
        strategy = parse(text)
        return text if strategy.is_auto else strategy.select(_layout(depth))
    except StrategyError:
        return text


def trained_blocks(text: str, depth: int = DEPTH) -> int:
    """Counts the blocks of which a fixed strategy trains any weight."""
    return len({weight.block for weight in parse(text).select(_layout(depth))})


@lru_cache(maxsize=8)
def _layout(depth: int) -> NetworkLayout:
    return NetworkLayout.unet(depth)


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
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
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


_PLACE = ["data", "train_size", "strategy"]


def summarize(cases: pd.DataFrame, metric: str = "dice") -> pd.DataFrame:
    """Averages a metric for every data set, training size and strategy.

    Seeds are averaged per case first; then come the mean over cases and its 95 % interval by
    bootstrap over patients within folds (`kerasunet.study.stats.resampling`). In a study that has
    not finished, strategies may rest on different folds: compare them with `compare`, which pairs.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        Columns data, train_size, strategy, cases (different ones), runs, mean, low, high, missed
        (lesions without a predicted pixel on them, averaged over seeds); in the order in which
        data sets, sizes and strategies first appear.

    Raises:
        ValueError: A column is missing, or a case stands there twice.
    """
    parts = [_of_grid(grid) for grid in grids(cases, metric)]
    columns = [*_PLACE, "cases", "runs", "mean", "low", "high", "missed"]
    if not parts:
        return pd.DataFrame(columns=columns)
    counted = pd.concat(parts, ignore_index=True).merge(_missed(cases), on=_PLACE, how="left")
    return counted[columns]


def _of_grid(grid: Grid) -> pd.DataFrame:
    per_case = grid.per_case([{strategy: 1.0} for strategy in grid.strategies])
    found = resample(per_case, grid.data)
    low, high = found.intervals()
    return pd.DataFrame(
        {
            "data": grid.data,
            "train_size": grid.train_size,
            "strategy": grid.strategies,
            "cases": per_case.notna().sum().to_numpy(),
            "runs": [_runs(grid.values[strategy]) for strategy in grid.strategies],
            "mean": found.means,
            "low": low,
            "high": high,
        }
    )


def _runs(values: pd.Series) -> int:
    return len(values.dropna().index.droplevel(["group", "key"]).unique())


def _missed(cases: pd.DataFrame) -> pd.DataFrame:
    if "outcome" not in cases.columns:
        raise ValueError("the table of cases has no column outcome")
    missed = (cases["outcome"] == "missed").groupby(
        [cases[name] for name in (*_PLACE, "fold", "key")]
    )
    return missed.mean().groupby(level=_PLACE).sum().rename("missed").reset_index()

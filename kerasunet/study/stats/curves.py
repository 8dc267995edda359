"""The metric against the number of tuned blocks, from either end of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from kerasunet.strategies import NetworkLayout, expand
from kerasunet.study.stats.grid import (
    DEPTH,
    Grid,
    find,
    grid_of,
    summarize,
    trained_blocks,
    what_trains,
)
from kerasunet.study.stats.resampling import Draws, resample

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
def points(direction: str, depth: int = DEPTH) -> tuple[Point, ...]:
    """The strategies of a curve, from training nothing to training everything.

    Args:
        direction: One of `DIRECTIONS`.
        depth: Number of resolution halvings of the network.

    Raises:
        ValueError: There is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"{direction}: no such direction; there are {', '.join(DIRECTIONS)}")
    texts = ["none", *expand(f"{direction}:*", NetworkLayout.unet(depth))]
    return tuple(Point(k, trained_blocks(text, depth), text) for k, text in enumerate(texts))


def curves(cases: pd.DataFrame, depth: int = DEPTH, metric: str = "dice") -> pd.DataFrame:
    """Lists the points of all four curves that a study has runs for.

    Equal strategies are one run: the curves from either end meet in `none` and `all`, and that
    from the shallow end goes through `contracting`, that from the deep end through `expanding`.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        depth: Number of resolution halvings of the network.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        Columns data, train_size, direction (one of `DIRECTIONS`), count (the K of the strategy: a
        number of blocks, or of levels for `outer` and `inner`), blocks (how many train), strategy
        (as the study names it), mean, low, high. A direction is listed only where it has a
        strategy of its own beside the two ends.
    """
    summary = summarize(cases, metric)
    rows = [
        {"data": data, "train_size": size, "direction": direction, **row}
        for (data, size), part in summary.groupby(["data", "train_size"], sort=False)
        for direction in DIRECTIONS
        for row in _curve(direction, part.set_index("strategy"), depth)
    ]
    columns = ["data", "train_size", "direction", "count", "blocks", "strategy"]
    return pd.DataFrame(rows, columns=[*columns, "mean", "low", "high"])


def _curve(direction: str, summary: pd.DataFrame, depth: int) -> list[dict[str, object]]:
    found = [
        (point, find(point.strategy, summary.index, depth)) for point in points(direction, depth)
    ]
    inner = found[1:-1]
    if not any(name for _, name in inner):
        return []
    return [
        {
            "count": point.count,
            "blocks": point.blocks,
            "strategy": name,
            **{column: summary.at[name, column] for column in ("mean", "low", "high")},
        }
        for point, name in found
        if name is not None
    ]


Weights = Mapping[str, float]
"""Strategy text to its weight in an effect."""


def first_minus_second_curve(first: str, second: str, depth: int = DEPTH) -> Weights:
    """The mean height of one curve above another, over the share of blocks that train.

    Both curves are taken as straight between their points (trapezoidal rule) from no block to
    all blocks. Where they meet by definition, as in `none` and `all`, no run is needed.

    Args:
        first: A direction of `kerasunet.study.stats.curves.DIRECTIONS`.
        second: Likewise.
        depth: Number of resolution halvings of the network.

    Returns:
        Weights of the strategies, without those that cancel out.
    """
    summed: dict[object, float] = {}
    texts: dict[object, str] = {}
    for sign, direction in ((1.0, first), (-1.0, second)):
        for strategy, weight in _heights(direction, depth).items():
            trains = what_trains(strategy, depth)
            texts.setdefault(trains, strategy)
            summed[trains] = summed.get(trains, 0.0) + sign * weight
    return {texts[trains]: weight for trains, weight in summed.items() if abs(weight) > 1e-12}


def _heights(direction: str, depth: int) -> dict[str, float]:
    """Trapezoidal weights of the points of a curve; they sum to 1."""
    curve = points(direction, depth)
    gaps = np.diff([point.blocks for point in curve]) / curve[-1].blocks
    weights = (np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2
    return {point.strategy: float(w) for point, w in zip(curve, weights, strict=True)}


@dataclass(frozen=True, eq=False)
class Measured:
    """An effect as measured on one data set at one training size.

    Attributes:
        per_case: The effect on each case, index fold, group, key.
        drawn: Its mean with the bootstrap distribution.
    """

    per_case: pd.Series
    drawn: Draws

    @property
    def mean(self) -> float:
        """Mean over cases."""
        return float(self.drawn.means[0])

    @property
    def groups(self) -> int:
        """Number of patients."""
        return self.per_case.index.get_level_values("group").nunique()

    @property
    def fold_means(self) -> pd.Series:
        """Mean over the cases of each fold."""
        return self.per_case.groupby(level="fold").mean()


def missing(grid: Grid, weights: Weights) -> tuple[str, ...]:
    """The strategies that an effect needs and no finished run has."""
    return tuple(strategy for strategy in weights if grid.find(strategy) is None)


def measure(grid: Grid, weights: Weights) -> Measured | None:
    """Measures an effect on the cases tested with every strategy it needs; `None` without any."""
    if missing(grid, weights):
        return None
    named = {grid.find(strategy): weight for strategy, weight in weights.items()}
    per_case = grid.per_case([named]).dropna()
    return Measured(per_case[0], resample(per_case, grid.data)) if len(per_case) else None


def bounds(drawn: Draws) -> tuple[float, float]:
    """The interval of a single mean."""
    low, high = drawn.intervals()
    return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Area:
    """How far one curve lies above another on average.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        first: Direction of the one curve.
        second: Direction of the other.
        cases: Cases that all strategies of both curves were tested on.
        mean: Mean height of the first above the second, in Dice.
        low: Lower bound of the 95 % interval.
        high: Upper bound.
    """

    data: str
    train_size: int
    first: str
    second: str
    cases: int
    mean: float
    low: float
    high: float


def area_between(
    cases: pd.DataFrame,
    data: str,
    train_size: int,
    first: str = "shallow",
    second: str = "deep",
    depth: int = DEPTH,
    metric: str = "dice",
) -> Area:
    """Measures the area between two curves over the number of tuned blocks.

    It is divided by the number of blocks, so that it reads as a mean difference. The interval is
    a bootstrap over patients within folds.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        data: Name of the data set.
        train_size: Number of training images.
        first: `"shallow"`, `"deep"`, `"outer"` or `"inner"`.
        second: Likewise.
        depth: Number of resolution halvings of the network.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        The area.

    Raises:
        ValueError: The directions are the same or unknown, a strategy of the curves has no run
            there, or no case was tested with all of them.
    """
    if first == second:
        raise ValueError(f"{first} against {second}: give two different directions")
    grid = grid_of(cases, data, train_size, metric, depth)
    weights = first_minus_second_curve(first, second, depth)
    if lacking := missing(grid, weights):
        raise ValueError(f"{grid.where}: no finished run of {', '.join(lacking)}")
    measured = measure(grid, weights)
    if measured is None:
        raise ValueError(f"{grid.where}: no case was tested with all of {', '.join(weights)}")
    low, high = bounds(measured.drawn)
    count = len(measured.per_case)
    return Area(data, train_size, first, second, count, measured.mean, low, high)

"""The area between two curves of a study."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from kerasunet.study.stats.effects import bounds, first_minus_second_curve, measure, missing
from kerasunet.study.stats.equivalence import DEPTH
from kerasunet.study.stats.grid import grid_of


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
        cases: Rows of one or several studies, as `kerasunet.study.tables.read_tables` gives them.
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

"""Effects as weighted sums of strategies, measured case by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kerasunet.study.stats.curves import points
from kerasunet.study.stats.equivalence import DEPTH, what_trains
from kerasunet.study.stats.grid import Grid
from kerasunet.study.stats.resampling import Draws, resample

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

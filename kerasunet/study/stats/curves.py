"""The metric against the number of tuned blocks, from either end of the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from kerasunet.strategies import NetworkLayout, expand
from kerasunet.study.results import USUAL_DEPTH, Scenario, StudyResults
from kerasunet.study.stats.scores import Contrast, find, scores_at, trained_blocks, what_trains

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


def summarize_curves(summary: pd.DataFrame, depth: int) -> pd.DataFrame:
    """List the points of all four curves that a study has runs for.

    Equal strategies are one run: the curves from either end meet in `none` and `all`, and that
    from the shallow end goes through `contracting`, that from the deep end through `expanding`.

    Args:
        summary: What `kerasunet.study.stats.summarize` returns.
        depth: Depth of the U-Net.

    Returns:
        Columns data, train_size, direction (one of `DIRECTIONS`), count (the K of the strategy: a
        number of blocks, or of levels for `outer` and `inner`), blocks (how many train), strategy
        (as the study names it), mean, low, high. A direction is listed only where it has a
        separate strategy beside the two ends.
    """
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


def curve_contrast(first: str, second: str, depth: int = USUAL_DEPTH) -> Contrast:
    """Return the mean height of one curve above another, over the share of blocks that train.

    Both curves are interpolated linearly between their points (trapezoidal rule), from no block to
    all blocks. Where they meet by definition, as in `none` and `all`, no run is needed.

    Args:
        first: A direction of `kerasunet.study.stats.curves.DIRECTIONS`.
        second: Likewise.
        depth: Depth of the U-Net.

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
    """Return the trapezoidal weights of the points of a curve; they sum to 1."""
    curve = points(direction, depth)
    gaps = np.diff([point.blocks for point in curve]) / curve[-1].blocks
    weights = (np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2
    return {point.strategy: float(w) for point, w in zip(curve, weights, strict=True)}


@dataclass(frozen=True)
class AreaBetweenCurves:
    """How far one curve lies above another on average.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        first: Direction of the one curve.
        second: Direction of the other.
        cases: Cases that all strategies of both curves were tested on.
        mean: Mean height of the first above the second, in units of the metric.
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


def area_between_curves(
    results: StudyResults,
    first: str = "shallow",
    second: str = "deep",
    *,
    data: str,
    train_size: int,
    metric: str = "dice",
) -> AreaBetweenCurves:
    """Measure the area between two curves over the number of tuned blocks.

    It is divided by the number of blocks, so that it reads as a mean difference. The interval is
    a bootstrap over patients within folds.

    Args:
        results: Results of one or several studies.
        first: `"shallow"`, `"deep"`, `"outer"` or `"inner"`.
        second: Likewise.
        data: Name of the data set.
        train_size: Number of training images.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        The area.

    Raises:
        ValueError: The directions are the same or unknown, a strategy of the curves has no run
            there, or no case was tested with all of them.
    """
    if first == second:
        raise ValueError(f"{first} against {second}: give two different directions")
    scores = scores_at(results, Scenario(data, train_size), metric)
    contrast = curve_contrast(first, second, results.depth)
    if missing := scores.missing(contrast):
        raise ValueError(f"{scores.scenario}: no finished run of {', '.join(missing)}")
    estimate = scores.estimate(contrast)
    if estimate is None:
        raise ValueError(f"{scores.scenario}: no case was tested with all of {', '.join(contrast)}")
    cases = len(estimate.per_case)
    return AreaBetweenCurves(
        data, train_size, first, second, cases, estimate.mean, *estimate.interval
    )

"""The metric against the number of tuned blocks, from either end of the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from kerasunet.strategies import Layout, expand
from kerasunet.study.stats.equivalence import DEPTH, find, trained_blocks
from kerasunet.study.stats.summary import summarize

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
    texts = ["none", *expand(f"{direction}:*", Layout.unet(depth))]
    return tuple(Point(k, trained_blocks(text, depth), text) for k, text in enumerate(texts))


def curves(cases: pd.DataFrame, depth: int = DEPTH, metric: str = "dice") -> pd.DataFrame:
    """Lists the points of all four curves that a study has runs for.

    Equal strategies are one run: the curves from either end meet in `none` and `all`, and that
    from the shallow end goes through `contracting`, that from the deep end through `expanding`.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.tables.read_tables` gives them.
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

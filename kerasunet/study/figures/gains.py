"""What tuning each block brings, in each order in which blocks may be added."""

from __future__ import annotations

from kerasunet.strategies import Layout
from kerasunet.study import stats
from kerasunet.study.figures.results import Results
from kerasunet.study.stats import Comparison
from kerasunet.study.stats.equivalence import find

ORDERS = {
    "shallow": "block added from the shallow end",
    "deep": "block added from the deep end",
    "alone": "block tuned alone",
}
# enc1, bottleneck and dec1 are shallow:1, inner:1 and deep:1 under other names.
_FEWEST_ALONE = 4
Gains = dict[str, dict[str, Comparison]]
"""By order, by block, the comparison with the block against the one without it."""


def gains_of(results: Results, data: str, train_size: int) -> Gains:
    """Compares every two strategies that differ by one block.

    Returns:
        For each order that any block's gain is known in, those gains. `alone` is left out where
        hardly any block was tuned alone.
    """
    cases, depth = results.cases, results.depth
    here = cases[(cases["data"] == data) & (cases["train_size"] == train_size)]
    wanted = _pairs(Layout.unet(depth).blocks)
    pairs = [pair for by_block in wanted.values() for pair in by_block.values()]
    compared = {(c.first, c.second): c for c in stats.compare_all(here, pairs, depth=depth)}
    available = results.strategies(data, train_size)

    def named(pair: tuple[str, str]) -> tuple[str | None, ...]:
        return tuple(find(text, available, depth) for text in pair)

    gains = {
        order: {b: compared[named(pair)] for b, pair in by_block.items() if named(pair) in compared}
        for order, by_block in wanted.items()
    }
    if len(gains["alone"]) < _FEWEST_ALONE:
        del gains["alone"]
    return {order: found for order, found in gains.items() if found}


def _pairs(blocks: tuple[str, ...]) -> dict[str, dict[str, tuple[str, str]]]:
    def along(direction: str, in_order: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        texts = ["none", *(f"{direction}:{k}" for k in range(1, len(blocks) + 1))]
        return {block: (texts[k + 1], texts[k]) for k, block in enumerate(in_order)}

    return {
        "shallow": along("shallow", blocks),
        "deep": along("deep", blocks[::-1]),
        "alone": {block: (block, "none") for block in blocks},
    }

"""The gain from tuning each block, in each order in which blocks may be added."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, to_rgba
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import ArrayLike

from kerasunet.strategies import NetworkLayout, find
from kerasunet.study.figures.style import (
    FAINT,
    INK,
    PAPER,
    Drawing,
    NotDrawnError,
    new_figure,
    signed,
    title_of,
)
from kerasunet.study.results import Scenario, StudyResults
from kerasunet.study.stats import Comparison, StudyStatistics, compare_all

ORDERS = {
    "shallow": "block added from the shallow end",
    "deep": "block added from the deep end",
    "alone": "block tuned alone",
}
# enc1, bottleneck and dec1 are shallow:1, inner:1 and deep:1 under other names.
_FEWEST_ALONE = 4
Gains = dict[str, dict[str, Comparison]]
"""By order, by block, the comparison with the block against the one without it."""


def gains_of(results: StudyResults, scenario: Scenario) -> Gains:
    """Compare every two strategies that differ by one block.

    Returns:
        For each order in which any block's gain is known, those gains. `alone` is omitted where
        hardly any block was tuned alone.
    """
    here, depth = results.at(scenario), results.depth
    wanted = _pairs(NetworkLayout.unet(depth).blocks)
    pairs = [pair for by_block in wanted.values() for pair in by_block.values()]
    compared: dict[tuple[str | None, str | None], Comparison] = {
        (c.first, c.second): c for c in compare_all(here, pairs)
    }
    available = here.strategies()

    def named(pair: tuple[str, str]) -> tuple[str | None, str | None]:
        return find(pair[0], available, depth), find(pair[1], available, depth)

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


BLOCK_GAINS = ("network", "Gain from tuning each block")
_COLORS, _STEPS = "BrBG", 5
_WIDTH, _HEIGHT, _SHIFT, _GAP = 1.15, 0.66, 0.3, 0.02
_ON_LIGHT, _ON_DARK = "#000001", "#fefefe"
_CAPTION = (
    "The gain from tuning a block: a paired difference in Dice over the same held-out cases. "
    "Added from the shallow end, it is shallow:K minus shallow:K-1, written into the block that "
    "K adds; added from the deep end, deep:K minus deep:K-1. Tuned alone, drawn where at least "
    "four single blocks were run, it is the block minus none. These gains differ because blocks "
    "do not act alone: none of them is the value of a block as such. Solid borders and bold "
    "numbers: the 95 % bootstrap interval excludes 0. Dashed: it does not. Empty blocks were "
    "not measured. For each data set, the largest training size is shown."
)


def draw_block_gains(statistics: StudyStatistics) -> Drawing:
    """Draw a row for each data set, a U for each way of adding blocks.

    Raises:
        NotDrawnError: No block's gain is known.
    """
    results = statistics.results
    gains = {s: gains_of(results, s) for s in results.largest_scenarios}
    orders = [order for order in ORDERS if any(order in found for found in gains.values())]
    if not orders:
        raise NotDrawnError("it needs strategies a block apart, such as none, shallow:1, shallow:2")
    figure, grid = new_figure(1.9 * len(gains) + 0.6, len(gains), len(orders))
    edges = _edges(gains)
    colors = ScalarMappable(BoundaryNorm(edges, 256), matplotlib.colormaps[_COLORS])
    for row, (scenario, found) in zip(grid, gains.items(), strict=True):
        for axes, order in zip(row, orders, strict=True):
            _draw_network(axes, found.get(order, {}), colors, depth=results.depth)
            axes.set_title(f"{title_of(*scenario)}\n{ORDERS[order]}", fontsize=7)
    bar = figure.colorbar(colors, ax=grid, location="bottom", aspect=70, shrink=0.6)
    bar.set_ticks(edges[1::2].tolist())
    bar.set_label("gain in Dice")
    bar.outline.set_linewidth(0.5)
    return Drawing(*BLOCK_GAINS, _CAPTION, alt=_alt(gains), figure=figure)


def _edges(gains: dict[Scenario, Gains]) -> np.ndarray:
    """Return the edges of a scale in steps, symmetric about 0, that holds every gain."""
    values = [
        abs(gain.difference)
        for found in gains.values()
        for by_block in found.values()
        for gain in by_block.values()
    ]
    step = _round_up(max(*values, 0.005) / _STEPS)
    return step * np.arange(-_STEPS, _STEPS + 1)


def _round_up(value: float) -> float:
    """Return the next larger of 1, 2, 2.5, 5 times a power of ten."""
    power = 10 ** np.floor(np.log10(value))
    return power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= value)


def _draw_network(
    axes: Axes, gains: dict[str, Comparison], colors: ScalarMappable, *, depth: int
) -> None:
    layout = NetworkLayout.unet(depth)
    corners = {block: _corner(layout, block) for block in layout.blocks}
    boxes = {
        block: _draw_block(axes, block, corner, gain=gains.get(block), colors=colors)
        for block, corner in corners.items()
    }
    _draw_flow(axes, layout, boxes)
    right = max(x for x, _ in corners.values()) + _WIDTH
    axes.set_xlim(-0.1, right + 0.1)
    axes.set_ylim(-depth - 0.1, _HEIGHT + 0.1)
    axes.set_axis_off()


def _corner(layout: NetworkLayout, block: str) -> tuple[float, float]:
    """Return the lower left corner: one row per level, both arms leaning toward the bottleneck."""
    level = layout.level_of(block)
    middle = layout.depth * _SHIFT + 0.75 * _WIDTH
    from_middle = middle - (level - 1) * _SHIFT if level <= layout.depth else 0.0
    side = -1 if layout.blocks.index(block) < layout.depth else 1
    return middle + side * from_middle, float(1 - level)


def _draw_flow(axes: Axes, layout: NetworkLayout, boxes: dict[str, FancyBboxPatch]) -> None:
    """Draw arrows from block to block, and dashed ones where features skip to the other arm."""
    skips = zip(layout.blocks[: layout.depth], layout.blocks[::-1], strict=False)
    flow = zip(layout.blocks, layout.blocks[1:], strict=False)
    for pairs, line in ((flow, "-"), (skips, (0, (3, 2)))):
        for start, end in pairs:
            arrow = FancyArrowPatch(
                _edge(boxes[start], boxes[end]),
                _edge(boxes[end], boxes[start]),
                arrowstyle="-|>,head_width=1.2,head_length=2.4",
                shrinkA=0,
                shrinkB=0,
                linestyle=line,
                linewidth=0.7,
                color=FAINT,
            )
            arrow.set_in_layout(False)  # The blocks hold it.
            axes.add_artist(arrow)


def _edge(box: FancyBboxPatch, other: FancyBboxPatch) -> tuple[float, float]:
    """Return where the line from the middle of a block to that of another leaves it.

    Matplotlib would find that place by bisection, which takes much longer than drawing the arrow.
    """
    across, down = (other.get_x() - box.get_x()), (other.get_y() - box.get_y())
    width, height = box.get_width() / 2 + _GAP, box.get_height() / 2 + _GAP
    share = min(width / abs(across) if across else 1, height / abs(down) if down else 1)
    return box.get_x() + width - _GAP + share * across, box.get_y() + height - _GAP + share * down


def _draw_block(
    axes: Axes,
    block: str,
    corner: tuple[float, float],
    *,
    gain: Comparison | None,
    colors: ScalarMappable,
) -> FancyBboxPatch:
    face = to_rgba(PAPER) if gain is None else colors.to_rgba(np.asarray(gain.difference))
    certain = gain is not None and (gain.low > 0 or gain.high < 0)
    box = FancyBboxPatch(
        corner,
        _WIDTH,
        _HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=face,
        edgecolor=INK,
        linewidth=1.0 if certain else 0.7,
        linestyle="-" if certain else (0, (2, 1.5)),
    )
    axes.add_patch(box)
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6}
    text["color"] = _text_color(gain, face)
    middle, y = corner[0] + _WIDTH / 2, corner[1]
    if gain is None:
        axes.text(middle, y + _HEIGHT / 2, block, **text)
    else:
        number, weight = signed(gain.difference), "bold" if certain else "normal"
        axes.text(middle, y + 0.72 * _HEIGHT, block, **text)
        axes.text(middle, y + 0.3 * _HEIGHT, number, weight=weight, **text)
    return box


def _text_color(gain: Comparison | None, face: ArrayLike) -> str:
    """Return what stands out against the block, whatever the theme of the page."""
    if gain is None:
        return INK
    return _ON_LIGHT if np.dot(np.asarray(face)[:3], (0.299, 0.587, 0.114)) > 0.55 else _ON_DARK


def _alt(gains: dict[Scenario, Gains]) -> str:
    sentences = []
    for scenario, found in gains.items():
        for order, by_block in found.items():
            points = ", ".join(f"{b} {signed(gain.difference)}" for b, gain in by_block.items())
            sentences.append(f"{title_of(*scenario)}, {ORDERS[order]}: {points}.")
    return "Drawings of the U-Net, its blocks colored by gain in Dice. " + " ".join(sentences)

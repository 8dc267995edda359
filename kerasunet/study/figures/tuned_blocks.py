"""Dice against the number of tuned blocks, added from either end or level by level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kerasunet.study.figures.style import (
    DIRECTIONS,
    FAINT,
    WIDTH,
    Drawing,
    NotDrawnError,
    new_figure,
    note,
    title_of,
)
from kerasunet.study.results import Scenario, StudyResults
from kerasunet.study.stats import StudyStatistics

NAME, TITLE = "blocks", "Dice against the number of tuned blocks"
_ROW, _ABOVE_AND_BELOW, _TITLE = 2.0, 0.5, 0.15
"""Inches: height of a row, of what surrounds the rows, and of a second line of headings."""


_LABELS = {
    "shallow": "shallow first (shallow:K)",
    "deep": "deep first (deep:K)",
    "outer": "outer levels first (outer:K)",
    "inner": "inner levels first (inner:K)",
}
_DODGE = 0.07


def draw(statistics: StudyStatistics) -> Drawing:
    """Draw a plot for each data set (a row) and training size (a column).

    Raises:
        NotDrawnError: No direction has two strategies.
    """
    curves = _with_two_points(statistics.curves)
    if curves.empty:
        raise NotDrawnError("no direction (shallow:K, deep:K, outer:K, inner:K) has two strategies")
    blocks = 2 * statistics.results.depth + 1
    figure, axes = _axes_by_scenario(statistics.results)
    for scenario, its_axes in axes.items():
        _draw_curves(its_axes, _part(curves, scenario), blocks)
        _draw_reference(its_axes, statistics.summary_of(scenario)["mean"])
    handles: dict[str, Artist] = {}
    for its_axes in axes.values():
        handles |= dict(zip(*reversed(its_axes.get_legend_handles_labels()), strict=True))
    columns = len(handles) if figure.get_figwidth() == WIDTH else 2
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=columns)
    figure.supxlabel("tuned blocks", fontsize=7.5)
    alt = _alt(statistics.results.scenarios, curves)
    return Drawing(NAME, TITLE, _caption(blocks), alt=alt, figure=figure)


def _axes_by_scenario(results: StudyResults) -> tuple[Figure, dict[Scenario, Axes]]:
    sizes = sorted({scenario.train_size for scenario in results.scenarios})
    rows, narrow = len(results.data_sets), len(sizes) > 2
    height = (_ROW + (_TITLE if narrow else 0)) * rows + _ABOVE_AND_BELOW
    figure, grid = new_figure(height, rows, len(sizes), sharex=True, sharey="row")
    found = {}
    for row, data in zip(grid, results.data_sets, strict=True):
        row[0].set_ylabel("Dice")
        for axes, size in zip(row, sizes, strict=True):
            if size in results.train_sizes(data):
                found[Scenario(data, size)] = axes
                axes.set_title(title_of(data, size, narrow=narrow))
            else:
                axes.set_axis_off()
    return figure, found


def _with_two_points(curves: pd.DataFrame) -> pd.DataFrame:
    inner = curves[~curves["strategy"].isin(("none", "all"))]
    useful = inner.groupby(["data", "train_size", "direction"]).size().rename("points")
    joined = curves.merge(useful.reset_index(), on=["data", "train_size", "direction"])
    total = joined.groupby(["data", "train_size", "direction"])["strategy"].transform("size")
    return joined[total > 1].drop(columns="points")


def _part(curves: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    data, train_size = scenario
    return curves[(curves["data"] == data) & (curves["train_size"] == train_size)]


def _draw_curves(axes: Axes, curves: pd.DataFrame, blocks: int) -> None:
    present = [direction for direction in DIRECTIONS if (curves["direction"] == direction).any()]
    shifts = _DODGE * (np.arange(len(present)) - (len(present) - 1) / 2)
    for direction, shift in zip(present, shifts, strict=True):
        curve = curves[curves["direction"] == direction].sort_values("blocks")
        look, x = DIRECTIONS[direction], curve["blocks"] + shift
        axes.vlines(x, curve["low"], curve["high"], color=look.colour, linewidth=1)
        axes.plot(
            *(x, curve["mean"]),
            linestyle=look.line,
            color=look.colour,
            marker=look.marker,
            markeredgecolor="none",
            markersize=3.4,
            label=_LABELS[direction],
        )
    axes.set_xlim(-0.4, blocks + 0.4)
    axes.set_xticks(range(blocks + 1), ["0\nnone", *map(str, range(1, blocks)), f"{blocks}\nall"])


def _draw_reference(axes: Axes, means: pd.Series) -> None:
    if "scratch" in means:
        axes.axhline(means["scratch"], color=FAINT, linewidth=0.8, linestyle=(0, (1.2, 1.2)))
        # Curves end on the right.
        note(axes, "scratch", (-0.4, means["scratch"]), ha="left", va="bottom")


def _caption(blocks: int) -> str:
    return (
        f"Mean Dice of the held-out cases against the number of tuned blocks, of {blocks}. At 0 "
        f"nothing is tuned (none), at {blocks} everything (all). Bars are 95 % bootstrap "
        "intervals; curves are shifted sideways a little so that bars can be told apart. Dotted "
        "line: the same network trained from random weights (scratch), where it was run."
    )


def _alt(scenarios: Sequence[Scenario], curves: pd.DataFrame) -> str:
    sentences = []
    for scenario in scenarios:
        for direction, curve in _part(curves, scenario).groupby("direction", sort=False):
            points = ", ".join(f"{row.blocks}: {row.mean:.3f}" for row in curve.itertuples())
            sentences.append(f"{title_of(*scenario)}, {_LABELS[direction]}: {points}.")
    return "Line charts of Dice by number of tuned blocks. " + " ".join(sentences)

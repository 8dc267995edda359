"""Panels of a figure: a row for each data set, a column for each training size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kerasunet.study.figures.results import Results
from kerasunet.study.figures.style import (
    DIRECTIONS,
    FAINT,
    WIDTH,
    Drawing,
    NotDrawnError,
    new_figure,
    note,
    panel_title,
)

_ABOVE_AND_BELOW, _TITLE = 0.5, 0.15


def panel_grid(
    results: Results, height: float, ylabel: str = "Dice", **options
) -> tuple[Figure, dict[tuple[str, int], Axes]]:
    """Makes a titled panel for each data set and training size that has results.

    Args:
        results: What will be drawn.
        height: Of a row, in inches.
        ylabel: Of the first column.
        options: As `matplotlib.figure.Figure.subplots` takes them.
    """
    sizes = sorted({size for _, size in results.panels})
    rows = len(results.data)
    height += _TITLE if len(sizes) > 2 else 0
    figure, grid = new_figure(height * rows + _ABOVE_AND_BELOW, rows, len(sizes), **options)
    axes = {}
    for row, data in zip(grid, results.data, strict=True):
        row[0].set_ylabel(ylabel)
        for place, size in zip(row, sizes, strict=True):
            if (data, size) in results.panels:
                axes[data, size] = place
                place.set_title(panel_title(data, size, narrow=len(sizes) > 2))
            else:
                place.set_axis_off()
    return figure, axes


NAME, TITLE = "blocks", "Dice against the number of tuned blocks"
_LABELS = {
    "shallow": "shallow first (shallow:K)",
    "deep": "deep first (deep:K)",
    "outer": "outer levels first (outer:K)",
    "inner": "inner levels first (inner:K)",
}
_DODGE = 0.07


def draw(results: Results) -> Drawing:
    """Draws a panel for each data set and training size.

    Raises:
        NotDrawnError: No direction has two strategies.
    """
    curves = _with_two_points(results.curves)
    if curves.empty:
        raise NotDrawnError("no direction (shallow:K, deep:K, outer:K, inner:K) has two strategies")
    blocks = 2 * results.depth + 1
    figure, axes = panel_grid(results, height=2.0, sharex=True, sharey="row")
    for panel, place in axes.items():
        _draw_panel(place, _part(curves, *panel), blocks)
        _draw_reference(place, results, panel, blocks)
    handles = {}
    for place in axes.values():
        handles |= dict(zip(*reversed(place.get_legend_handles_labels()), strict=True))
    columns = len(handles) if figure.get_figwidth() == WIDTH else 2
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=columns)
    figure.supxlabel("tuned blocks", fontsize=7.5)
    return Drawing(NAME, TITLE, _caption(blocks), _alt(results, curves), figure)


def _with_two_points(curves: pd.DataFrame) -> pd.DataFrame:
    inner = curves[~curves["strategy"].isin(("none", "all"))]
    useful = inner.groupby(["data", "train_size", "direction"]).size().rename("points")
    joined = curves.merge(useful.reset_index(), on=["data", "train_size", "direction"])
    total = joined.groupby(["data", "train_size", "direction"])["strategy"].transform("size")
    return joined[total > 1].drop(columns="points")


def _part(curves: pd.DataFrame, data: str, train_size: int) -> pd.DataFrame:
    return curves[(curves["data"] == data) & (curves["train_size"] == train_size)]


def _draw_panel(axes: Axes, curves: pd.DataFrame, blocks: int) -> None:
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


def _draw_reference(axes: Axes, results: Results, panel: tuple[str, int], blocks: int) -> None:
    means = results.means(*panel)["mean"]
    if "scratch" in means:
        axes.axhline(means["scratch"], color=FAINT, linewidth=0.8, linestyle=(0, (1.2, 1.2)))
        note(axes, "scratch", -0.4, means["scratch"], ha="left", va="bottom")  # curves end right


def _caption(blocks: int) -> str:
    return (
        f"Mean Dice of the held-out cases against the number of tuned blocks, of {blocks}. At 0 "
        f"nothing is tuned (none), at {blocks} everything (all). Bars are 95 % bootstrap "
        "intervals; curves are shifted sideways a little so that bars can be told apart. Dotted "
        "line: the same network trained from random weights (scratch), where it was run."
    )


def _alt(results: Results, curves: pd.DataFrame) -> str:
    sentences = []
    for panel in results.panels:
        for direction, curve in _part(curves, *panel).groupby("direction", sort=False):
            points = ", ".join(f"{row.blocks}: {row.mean:.3f}" for row in curve.itertuples())
            sentences.append(f"{panel_title(*panel)}, {_LABELS[direction]}: {points}.")
    return "Line charts of Dice by number of tuned blocks. " + " ".join(sentences)

"""Dice against what it costs: trained parameters, and the time of training."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from kerasunet.study.figures.results import Results
from kerasunet.study.figures.style import (
    DIRECTIONS,
    FAINT,
    PAPER,
    STRATEGIES,
    Drawing,
    Look,
    NotDrawnError,
    counted,
    label_points,
    look_of,
    new_figure,
    note,
    panel_title,
)

NAME, TITLE = "cost", "Dice against trained parameters and training time"
_AXES = {"trained": "trained parameters", "seconds": "training time of a run (s)"}
_CAPTION = (
    "Mean Dice of the held-out cases, with 95 % bootstrap intervals, against the number of "
    "trained parameters (left, logarithmic) and the median time of training (right; evaluation and "
    "start-up not counted). Numbers in the markers are the K of shallow:K, deep:K, outer:K and "
    "inner:K. Dotted line: the network before any tuning (none). Of each data set the largest "
    "training size is shown. Times were taken on the machines that ran the study, whatever else "
    "ran on them."
)


def draw(results: Results) -> Drawing:
    """Draws a row for each data set, at its largest training size.

    Raises:
        NotDrawnError: Nothing was trained.
    """
    tables = {panel: _costs(results, *panel) for panel in results.largest}
    tables = {panel: table for panel, table in tables.items() if not table.empty}
    if not tables:
        raise NotDrawnError("no strategy that trains anything has a finished run")
    figure, grid = new_figure(2.5 * len(tables) + 0.3, len(tables), 2, sharex="col", sharey="row")
    for row, (panel, table) in zip(grid, tables.items(), strict=True):
        row[0].set_title(panel_title(*panel))
        row[0].set_ylabel("Dice")
        for axes, column in zip(row, _AXES, strict=True):
            _draw_panel(axes, table, column)
            _draw_none(axes, results, panel)
    for axes, column in zip(grid[-1], _AXES, strict=True):
        axes.set_xlabel(_AXES[column])
    _scale_parameters(grid[-1, 0])
    _add_legend(grid[0, 0], {strategy for table in tables.values() for strategy in table.index})
    figure.draw_without_rendering()
    for row, table in zip(grid, tables.values(), strict=True):
        for axes, column in zip(row, _AXES, strict=True):
            _label(axes, table, column)
    return Drawing(NAME, TITLE, _CAPTION, _alt(tables), figure)


def _costs(results: Results, data: str, train_size: int) -> pd.DataFrame:
    runs = results.runs
    runs = runs[(runs["data"] == data) & (runs["train_size"] == train_size)]
    runs = runs[(runs["status"] == "finished") & (runs["trained"] > 0)]
    costs = runs.groupby("strategy")[list(_AXES)].median()
    return results.means(data, train_size).join(costs, how="inner")


def _draw_panel(axes: Axes, table: pd.DataFrame, column: str) -> None:
    for strategy, row in table.iterrows():
        look, numbered = look_of(strategy), counted(strategy)
        axes.vlines(row[column], row["low"], row["high"], color=look.colour, linewidth=0.8)
        if numbered:
            _draw_numbered(axes, row[column], row["mean"], DIRECTIONS[numbered[0]], numbered[1])
        else:
            style = {"color": look.colour, "marker": look.marker, "markersize": 5}
            axes.plot(row[column], row["mean"], zorder=4, **style)


def _draw_numbered(axes: Axes, x: float, y: float, look: Look, count: str) -> None:
    is_triangle = look.marker == "^"
    style = {"markerfacecolor": PAPER, "markeredgecolor": look.colour}
    axes.plot(x, y, marker=look.marker, markersize=9 if is_triangle else 7.5, **style)
    centre = {"ha": "center", "va": "center_baseline", "color": look.colour, "fontsize": 5.5}
    note(axes, count, x, y, offset=(0, -1 if is_triangle else 0), weight="bold", **centre)


def _label(axes: Axes, table: pd.DataFrame, column: str) -> None:
    points = dict(zip(table.index, zip(table[column], table["mean"], strict=True), strict=True))
    named = [name for name in STRATEGIES if name in points]
    others = [name for name in points if name not in named]
    label_points(axes, points, [name for name in (*named, *others) if not counted(name)])


def _scale_parameters(axes: Axes) -> None:
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if most > 30 * least else (1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_none(axes: Axes, results: Results, panel: tuple[str, int]) -> None:
    means = results.means(*panel)["mean"]
    if "none" in means:
        axes.axhline(means["none"], color=FAINT, linewidth=0.8, linestyle=(0, (1.2, 1.2)))
        at = axes.get_yaxis_transform()
        low = {"ha": "right", "va": "top", "color": FAINT, "fontsize": 6.5}
        axes.text(1, means["none"], "none ", transform=at, **low)
        axes.margins(y=0.1)


def _add_legend(axes: Axes, strategies: set[str]) -> None:
    present = {numbered[0] for numbered in map(counted, strategies) if numbered}
    for direction, look in DIRECTIONS.items():
        if direction in present:
            style = {"markerfacecolor": PAPER, "markeredgecolor": look.colour, "linestyle": "none"}
            axes.plot([], [], marker=look.marker, markersize=6, label=f"{direction}:K", **style)
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside upper left", ncols=len(DIRECTIONS))


def _alt(tables: dict[tuple[str, int], pd.DataFrame]) -> str:
    sentences = []
    for panel, table in tables.items():
        points = ", ".join(
            f"{row.Index} {row.trained:,.0f} parameters, {row.seconds:.0f} s, Dice {row.mean:.3f}"
            for row in table.itertuples()
        )
        sentences.append(f"{panel_title(*panel)}: {points}.")
    return "Scatter plots of Dice by trained parameters and by time. " + " ".join(sentences)

"""Dice against the number of tuned blocks, the number of training images, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from kerasunet.study.figures.style import (
    DIRECTIONS,
    FAINT,
    PALE,
    PAPER,
    STRATEGIES,
    WIDTH,
    Drawing,
    NotDrawnError,
    direction_and_count,
    label_ends,
    label_points,
    lay_out,
    look_of,
    new_figure,
    note,
    title_of,
)
from kerasunet.study.results import Scenario, StudyResults, ordered
from kerasunet.study.stats import StudyStatistics

TUNED_BLOCKS = ("blocks", "Dice against the number of tuned blocks")
_ROW, _ABOVE_AND_BELOW, _TITLE = 2.0, 0.5, 0.15
"""Inches: height of a row, of what surrounds the rows, and of a second line of headings."""
_LABELS = {
    "shallow": "shallow first (shallow:K)",
    "deep": "deep first (deep:K)",
    "outer": "outer levels first (outer:K)",
    "inner": "inner levels first (inner:K)",
}
_DODGE = 0.07
TRAINING_IMAGES = ("training-images", "Dice against the number of training images")
_CAPTION_OF_IMAGES = (
    "Mean Dice of the held-out cases against the number of training images, on a logarithmic "
    "scale, with 95 % bootstrap intervals. The smaller training sets are parts of the larger "
    "ones. Thin gray lines are the strategies that are not named."
)
COST = ("cost", "Dice against trained parameters and training time")
_AXES = {"trained": "trained parameters", "seconds": "training time of a run (s)"}
_CAPTION_OF_COST = (
    "Mean Dice of the held-out cases, with 95 % bootstrap intervals, against the number of "
    "trained parameters (left, logarithmic) and the median time of training (right; evaluation "
    "and start-up not counted). Numbers in the markers are the K of shallow:K, deep:K, outer:K "
    "and inner:K. Dotted line: the network before any tuning (none). For each data set, the "
    "largest training size is shown. Times were measured on the machines that ran the study, "
    "under whatever other load they had."
)


def draw_tuned_blocks(statistics: StudyStatistics) -> Drawing:
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
    alt = _alt_of_blocks(statistics.results.scenarios, curves)
    return Drawing(*TUNED_BLOCKS, _caption(blocks), alt=alt, figure=figure)


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
        axes.vlines(x, curve["low"], curve["high"], color=look.color, linewidth=1)
        axes.plot(
            *(x, curve["mean"]),
            linestyle=look.line,
            color=look.color,
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


def _alt_of_blocks(scenarios: Sequence[Scenario], curves: pd.DataFrame) -> str:
    sentences = []
    for scenario in scenarios:
        for direction, curve in _part(curves, scenario).groupby("direction", sort=False):
            points = ", ".join(f"{row.blocks}: {row.mean:.3f}" for row in curve.itertuples())
            sentences.append(f"{title_of(*scenario)}, {_LABELS[direction]}: {points}.")
    return "Line charts of Dice by number of tuned blocks. " + " ".join(sentences)


def draw_training_images(statistics: StudyStatistics) -> Drawing:
    """Draw a plot for each data set that has at least two training sizes.

    Raises:
        NotDrawnError: There is none.
    """
    tables = {data: _by_strategy(statistics, data) for data in statistics.results.data_sets}
    tables = {data: table for data, table in tables.items() if table}
    if not tables:
        raise NotDrawnError("no strategy has been run with two numbers of training images")
    figure, axes = new_figure(3.1, 1, len(tables))
    for its_axes, (data, table) in zip(axes[0], tables.items(), strict=True):
        its_axes.set_title(title_of(data, narrow=len(tables) > 2))
        _draw_lines(its_axes, table)
    axes[0, 0].set_ylabel("Dice")
    figure.supxlabel("training images", fontsize=7.5)
    lay_out(figure)
    for its_axes, table in zip(axes[0], tables.values(), strict=True):
        _label_of_images(its_axes, table)
    return Drawing(*TRAINING_IMAGES, _CAPTION_OF_IMAGES, alt=_alt_of_images(tables), figure=figure)


def _by_strategy(statistics: StudyStatistics, data: str) -> dict[str, pd.DataFrame]:
    summary = statistics.summary
    rows = summary[summary["data"] == data].sort_values("train_size")
    groups = {strategy: group for strategy, group in rows.groupby("strategy") if len(group) > 1}
    return {strategy: groups[strategy] for strategy in ordered(groups)}


def _draw_lines(axes: Axes, table: dict[str, pd.DataFrame]) -> None:
    for strategy in [name for name in table if name not in STRATEGIES]:
        rows = table[strategy]
        axes.plot(rows["train_size"], rows["mean"], color=PALE, linewidth=0.7, zorder=1)
    for strategy in [name for name in STRATEGIES if name in table]:
        rows, look = table[strategy], STRATEGIES[strategy]
        axes.vlines(rows["train_size"], rows["low"], rows["high"], color=look.color, linewidth=1)
        axes.plot(
            rows["train_size"],
            rows["mean"],
            color=look.color,
            linestyle=look.line,
            marker=look.marker,
        )
    _scale(axes, sorted({size for rows in table.values() for size in rows["train_size"]}))


def _label_of_images(axes: Axes, table: dict[str, pd.DataFrame]) -> None:
    last = {name: table[name].iloc[-1] for name in STRATEGIES if name in table}
    ends = {
        name: (row["train_size"], row["mean"], STRATEGIES[name].color) for name, row in last.items()
    }
    label_ends(axes, ends)


def _scale(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    room = (sizes[-1] / sizes[0]) ** 0.05
    axes.set_xlim(sizes[0] / room, sizes[-1] * room)


def _alt_of_images(tables: dict[str, dict[str, pd.DataFrame]]) -> str:
    sentences = []
    for data, table in tables.items():
        for strategy in [name for name in STRATEGIES if name in table]:
            points = ", ".join(
                f"{r.train_size}: {r.mean:.3f}" for r in table[strategy].itertuples()
            )
            sentences.append(f"{title_of(data)}, {strategy}: {points}.")
    return "Line charts of Dice by number of training images. " + " ".join(sentences)


def draw_cost(statistics: StudyStatistics) -> Drawing:
    """Draw a row for each data set, at its largest training size.

    Raises:
        NotDrawnError: Nothing was trained.
    """
    tables = {
        scenario: _costs(statistics, scenario) for scenario in statistics.results.largest_scenarios
    }
    tables = {scenario: table for scenario, table in tables.items() if not table.empty}
    if not tables:
        raise NotDrawnError("no strategy that trains anything has a finished run")
    figure, grid = new_figure(2.5 * len(tables) + 0.3, len(tables), 2, sharex="col", sharey="row")
    for row, (scenario, table) in zip(grid, tables.items(), strict=True):
        row[0].set_title(title_of(*scenario))
        row[0].set_ylabel("Dice")
        for axes, column in zip(row, _AXES, strict=True):
            _draw_points(axes, table, column)
            _draw_none(axes, statistics.summary_of(scenario)["mean"])
    for axes, column in zip(grid[-1], _AXES, strict=True):
        axes.set_xlabel(_AXES[column])
    _scale_parameters(grid[-1, 0])
    _add_legend(grid[0, 0], {strategy for table in tables.values() for strategy in table.index})
    lay_out(figure)
    for row, table in zip(grid, tables.values(), strict=True):
        for axes, column in zip(row, _AXES, strict=True):
            _label_of_cost(axes, table, column)
    return Drawing(*COST, _CAPTION_OF_COST, _alt_of_cost(tables), figure)


def _costs(statistics: StudyStatistics, scenario: Scenario) -> pd.DataFrame:
    runs = statistics.results.at(scenario).finished
    costs = runs[runs["trained"] > 0].groupby("strategy")[list(_AXES)].median()
    return statistics.summary_of(scenario).join(costs, how="inner")


def _draw_points(axes: Axes, table: pd.DataFrame, column: str) -> None:
    for strategy, row in table.iterrows():
        look, numbered = look_of(strategy), direction_and_count(strategy)
        axes.vlines(row[column], row["low"], row["high"], color=look.color, linewidth=0.8)
        if numbered:
            _draw_numbered(axes, (row[column], row["mean"]), numbered)
        else:
            axes.plot(
                row[column],
                row["mean"],
                zorder=4,
                color=look.color,
                marker=look.marker,
                markersize=5,
            )


def _draw_numbered(axes: Axes, point: tuple[float, float], numbered: tuple[str, str]) -> None:
    direction, count = numbered
    look = DIRECTIONS[direction]
    is_triangle = look.marker == "^"
    axes.plot(
        *point,
        marker=look.marker,
        markersize=9 if is_triangle else 7.5,
        markerfacecolor=PAPER,
        markeredgecolor=look.color,
    )
    center = {"ha": "center", "va": "center_baseline", "color": look.color, "fontsize": 5.5}
    note(axes, count, point, offset=(0, -1 if is_triangle else 0), weight="bold", **center)


def _label_of_cost(axes: Axes, table: pd.DataFrame, column: str) -> None:
    points = dict(zip(table.index, zip(table[column], table["mean"], strict=True), strict=True))
    named = [name for name in STRATEGIES if name in points]
    others = [name for name in points if name not in named]
    unnumbered = [name for name in (*named, *others) if not direction_and_count(name)]
    label_points(axes, points, unnumbered)


def _scale_parameters(axes: Axes) -> None:
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if most > 30 * least else (1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_none(axes: Axes, means: pd.Series) -> None:
    if "none" in means:
        axes.axhline(means["none"], color=FAINT, linewidth=0.8, linestyle=(0, (1.2, 1.2)))
        axes.text(
            1,
            means["none"],
            "none ",
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="top",
            color=FAINT,
            fontsize=6.5,
        )
        axes.margins(y=0.1)


def _add_legend(axes: Axes, strategies: set[str]) -> None:
    present = {numbered[0] for numbered in map(direction_and_count, strategies) if numbered}
    for direction, look in DIRECTIONS.items():
        if direction in present:
            axes.plot(
                [],
                [],
                marker=look.marker,
                markersize=6,
                label=f"{direction}:K",
                markerfacecolor=PAPER,
                markeredgecolor=look.color,
                linestyle="none",
            )
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside upper left", ncols=len(DIRECTIONS))


def _alt_of_cost(tables: dict[Scenario, pd.DataFrame]) -> str:
    sentences = []
    for scenario, table in tables.items():
        points = ", ".join(
            f"{row.Index} {row.trained:,.0f} parameters, {row.seconds:.0f} s, Dice {row.mean:.3f}"
            for row in table.itertuples()
        )
        sentences.append(f"{title_of(*scenario)}: {points}.")
    return "Scatter plots of Dice by trained parameters and by time. " + " ".join(sentences)

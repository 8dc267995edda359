"""Dice against what it costs: trained parameters, and the time of training."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from kerasunet.study.figures.style import (
    DIRECTIONS,
    FAINT,
    PAPER,
    STRATEGIES,
    Drawing,
    NotDrawnError,
    direction_and_count,
    label_points,
    look_of,
    new_figure,
    note,
    title_of,
)
from kerasunet.study.results import Scenario
from kerasunet.study.stats import StudyStatistics

NAME, TITLE = "cost", "Dice against trained parameters and training time"
_AXES = {"trained": "trained parameters", "seconds": "training time of a run (s)"}
_CAPTION = (
    "Mean Dice of the held-out cases, with 95 % bootstrap intervals, against the number of "
    "trained parameters (left, logarithmic) and the median time of training (right; evaluation "
    "and start-up not counted). Numbers in the markers are the K of shallow:K, deep:K, outer:K "
    "and inner:K. Dotted line: the network before any tuning (none). For each data set, the "
    "largest training size is shown. Times were measured on the machines that ran the study, "
    "under whatever other load they had."
)


def draw(statistics: StudyStatistics) -> Drawing:
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
    figure.draw_without_rendering()
    for row, table in zip(grid, tables.values(), strict=True):
        for axes, column in zip(row, _AXES, strict=True):
            _label(axes, table, column)
    return Drawing(NAME, TITLE, _CAPTION, _alt(tables), figure)


def _costs(statistics: StudyStatistics, scenario: Scenario) -> pd.DataFrame:
    runs = statistics.results.at(scenario).finished
    costs = runs[runs["trained"] > 0].groupby("strategy")[list(_AXES)].median()
    return statistics.summary_of(scenario).join(costs, how="inner")


def _draw_points(axes: Axes, table: pd.DataFrame, column: str) -> None:
    for strategy, row in table.iterrows():
        look, numbered = look_of(strategy), direction_and_count(strategy)
        axes.vlines(row[column], row["low"], row["high"], color=look.colour, linewidth=0.8)
        if numbered:
            _draw_numbered(axes, (row[column], row["mean"]), *numbered)
        else:
            axes.plot(
                row[column],
                row["mean"],
                zorder=4,
                color=look.colour,
                marker=look.marker,
                markersize=5,
            )


def _draw_numbered(axes: Axes, point: tuple[float, float], direction: str, count: str) -> None:
    look = DIRECTIONS[direction]
    is_triangle = look.marker == "^"
    axes.plot(
        *point,
        marker=look.marker,
        markersize=9 if is_triangle else 7.5,
        markerfacecolor=PAPER,
        markeredgecolor=look.colour,
    )
    centre = {"ha": "center", "va": "center_baseline", "color": look.colour, "fontsize": 5.5}
    note(axes, count, point, offset=(0, -1 if is_triangle else 0), weight="bold", **centre)


def _label(axes: Axes, table: pd.DataFrame, column: str) -> None:
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
                markeredgecolor=look.colour,
                linestyle="none",
            )
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside upper left", ncols=len(DIRECTIONS))


def _alt(tables: dict[Scenario, pd.DataFrame]) -> str:
    sentences = []
    for scenario, table in tables.items():
        points = ", ".join(
            f"{row.Index} {row.trained:,.0f} parameters, {row.seconds:.0f} s, Dice {row.mean:.3f}"
            for row in table.itertuples()
        )
        sentences.append(f"{title_of(*scenario)}: {points}.")
    return "Scatter plots of Dice by trained parameters and by time. " + " ".join(sentences)

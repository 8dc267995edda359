"""Dice against the number of training images, a line for each strategy."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from kerasunet.study.figures.style import (
    PALE,
    STRATEGIES,
    Drawing,
    NotDrawnError,
    label_ends,
    new_figure,
    title_of,
)
from kerasunet.study.results import ordered
from kerasunet.study.stats import StudyStatistics

NAME, TITLE = "training-images", "Dice against the number of training images"
_CAPTION = (
    "Mean Dice of the held-out cases against the number of training images, on a logarithmic "
    "scale, with 95 % bootstrap intervals. The smaller training sets are parts of the larger "
    "ones. Thin grey lines are the strategies that are not named."
)


def draw(statistics: StudyStatistics) -> Drawing:
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
    figure.draw_without_rendering()
    for its_axes, table in zip(axes[0], tables.values(), strict=True):
        _label(its_axes, table)
    return Drawing(NAME, TITLE, _CAPTION, alt=_alt(tables), figure=figure)


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
        axes.vlines(rows["train_size"], rows["low"], rows["high"], color=look.colour, linewidth=1)
        axes.plot(
            rows["train_size"],
            rows["mean"],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
        )
    _scale(axes, sorted({size for rows in table.values() for size in rows["train_size"]}))


def _label(axes: Axes, table: dict[str, pd.DataFrame]) -> None:
    last = {name: table[name].iloc[-1] for name in STRATEGIES if name in table}
    ends = {
        name: (row["train_size"], row["mean"], STRATEGIES[name].colour)
        for name, row in last.items()
    }
    label_ends(axes, ends)


def _scale(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    room = (sizes[-1] / sizes[0]) ** 0.05
    axes.set_xlim(sizes[0] / room, sizes[-1] * room)


def _alt(tables: dict[str, dict[str, pd.DataFrame]]) -> str:
    sentences = []
    for data, table in tables.items():
        for strategy in [name for name in STRATEGIES if name in table]:
            points = ", ".join(
                f"{r.train_size}: {r.mean:.3f}" for r in table[strategy].itertuples()
            )
            sentences.append(f"{title_of(data)}, {strategy}: {points}.")
    return "Line charts of Dice by number of training images. " + " ".join(sentences)

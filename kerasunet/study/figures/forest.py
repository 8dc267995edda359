"""Forest plot: the mean and interval of every strategy."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from kerasunet.study.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PURPLE,
    VERMILLION,
    Drawing,
    Look,
    interval,
    new_figure,
    note,
    title_of,
)
from kerasunet.study.results import Scenario, family_of
from kerasunet.study.stats import StudyStatistics

NAME, TITLE = "forest", "All strategies"
_LOOKS = (
    Look(INK, "D"),
    Look(BLUE, "o"),
    Look(VERMILLION, "s"),
    Look(GREEN, "^"),
    Look(PURPLE, "v"),
)
_GAP = 0.6
_SPREAD = 0.5
_INCHES = {"row": 0.155, "rest": 1.1}
_CAPTION = (
    "Mean Dice of the held-out cases with 95 % bootstrap intervals, for every strategy and "
    "training size. The line goes through the best mean at the largest training size, which is "
    "written out. Each interval shows how well one mean is known; for whether two strategies "
    "differ, see the paired comparisons, which are sharper."
)


def draw(statistics: StudyStatistics) -> Drawing:
    """Draw a column for each data set and a row for each strategy."""
    results = statistics.results
    rows = _rows(results.strategies())
    sizes = sorted({scenario.train_size for scenario in results.scenarios}, reverse=True)
    looks = dict(zip(sizes, cycle(_LOOKS)))
    height = _INCHES["row"] * max(rows.values()) + _INCHES["rest"]
    figure, grid = new_figure(height, 1, len(results.data_sets), sharey=True)
    for axes, scenario in zip(grid[0], results.largest_scenarios, strict=True):
        _draw_data_set(axes, statistics, scenario.data, rows=rows, looks=looks)
        _mark_best(axes, statistics.summary_of(scenario)["mean"])
    grid[0, 0].set_yticks(list(rows.values()), list(rows))
    grid[0, 0].set_ylim(max(rows.values()) + 0.8, -1.4)
    for size, look in sorted(looks.items()):
        grid[0, 0].plot([], [], color=look.colour, marker=look.marker, label=str(size))
    title = {"title": "training images", "title_fontsize": 7, "alignment": "left"}
    figure.legend(loc="outside upper left", ncols=len(looks), **title)
    return Drawing(NAME, TITLE, _CAPTION, alt=_alt(statistics), figure=figure)


def _rows(strategies: list[str]) -> dict[str, float]:
    """Return the height of each strategy's row, from 0 downwards, families set apart."""
    rows: dict[str, float] = {}
    height = 0.0
    for before, strategy in zip([None, *strategies], strategies, strict=False):
        if before is not None:
            height += 1 + _GAP * (family_of(before) != family_of(strategy))
        rows[strategy] = height
    return rows


def _draw_data_set(
    axes: Axes,
    statistics: StudyStatistics,
    data: str,
    *,
    rows: dict[str, float],
    looks: dict[int, Look],
) -> None:
    results = statistics.results
    axes.set_title(title_of(data, narrow=len(results.data_sets) > 2))
    axes.set_xlabel("Dice")
    axes.grid(axis="x")
    sizes = results.train_sizes(data)
    for number, size in enumerate(sizes):
        means, look = statistics.summary_of(Scenario(data, size)), looks[size]
        shift = _SPREAD * ((number + 0.5) / len(sizes) - 0.5)
        y = [rows[strategy] + shift for strategy in means.index]
        axes.hlines(y, means["low"], means["high"], color=look.colour, linewidth=1)
        axes.plot(
            means["mean"],
            y,
            marker=look.marker,
            linestyle="none",
            color=look.colour,
            markersize=2.8,
        )


def _mark_best(axes: Axes, means: pd.Series) -> None:
    best, value = means.idxmax(), means.max()
    axes.axvline(value, color=FAINT, linewidth=0.7, linestyle=(0, (1.2, 1.2)))
    note(axes, f"best: {best}, {value:.3f}", (value, -1), offset=(-3, 0), ha="right", color=INK)


def _alt(statistics: StudyStatistics) -> str:
    sentences = []
    for scenario in statistics.results.scenarios:
        means = statistics.summary_of(scenario)
        best, worst = means["mean"].idxmax(), means["mean"].idxmin()
        known = interval(*means.loc[best, ["low", "high"]])
        sentences.append(
            f"{title_of(*scenario)}: {len(means)} strategies, from {worst} "
            f"({means['mean'].min():.3f}) to {best} ({means['mean'].max():.3f}, {known})."
        )
    return "Forest plot of Dice by strategy. " + " ".join(sentences)

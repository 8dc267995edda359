"""Strategies compared: all of them, and the contracting against the expanding path."""

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
    STRATEGIES,
    VERMILLION,
    Drawing,
    Look,
    NotDrawnError,
    images,
    interval,
    new_figure,
    note,
    signed,
    title_of,
)
from kerasunet.study.results import Scenario, StudyResults, family_of
from kerasunet.study.stats import Comparison, StudyStatistics, compare_all

FOREST = ("forest", "All strategies")
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
_CAPTION_OF_FOREST = (
    "Mean Dice of the held-out cases with 95 % bootstrap intervals, for every strategy and "
    "training size. The line goes through the best mean at the largest training size, which is "
    "written out. Each interval shows how well one mean is known; for whether two strategies "
    "differ, see the paired comparisons, which are sharper."
)
PATHS = ("contracting-expanding", "Contracting path against expanding path")
PAIR = ("contracting", "expanding")
_HALF = 0.2
_MOST_PAIRS = 6
"""Pairs side by side above which the ends of an interval stand below each other."""
_CAPTION_OF_PATHS = (
    "Above: Dice of every held-out case after tuning the contracting path (left of each pair) or "
    "the expanding path (right), the median written over the box. Below: what the same case "
    "gains by tuning the contracting path instead of the expanding path; above 0 the contracting "
    "path is better. Boxes hold the middle half of the cases, whiskers reach from the 5th to the "
    "95th percentile. Diamonds are mean differences with their 95 % bootstrap intervals, also "
    "written below."
)


def draw_forest(statistics: StudyStatistics) -> Drawing:
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
        grid[0, 0].plot([], [], color=look.color, marker=look.marker, label=str(size))
    title = {"title": "training images", "title_fontsize": 7, "alignment": "left"}
    figure.legend(loc="outside upper left", ncols=len(looks), **title)
    return Drawing(*FOREST, _CAPTION_OF_FOREST, alt=_alt_of_forest(statistics), figure=figure)


def _rows(strategies: list[str]) -> dict[str, float]:
    """Return the height of each strategy's row, from 0 downward, families set apart."""
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
        axes.hlines(y, means["low"], means["high"], color=look.color, linewidth=1)
        axes.plot(
            means["mean"],
            y,
            marker=look.marker,
            linestyle="none",
            color=look.color,
            markersize=2.8,
        )


def _mark_best(axes: Axes, means: pd.Series) -> None:
    best, value = means.idxmax(), means.max()
    axes.axvline(value, color=FAINT, linewidth=0.7, linestyle=(0, (1.2, 1.2)))
    note(axes, f"best: {best}, {value:.3f}", (value, -1), offset=(-3, 0), ha="right", color=INK)


def _alt_of_forest(statistics: StudyStatistics) -> str:
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


def draw_paths(statistics: StudyStatistics) -> Drawing:
    """Draw a column for each data set, with a pair of boxes for each training size.

    Raises:
        NotDrawnError: The two paths have never been tuned on the same cases.
    """
    results = statistics.results
    comparisons = compare_all(results, [PAIR])
    by_data = {data: [c for c in comparisons if c.data == data] for data in results.data_sets}
    by_data = {data: found for data, found in by_data.items() if found}
    if not by_data:
        raise NotDrawnError("it needs the strategies contracting and expanding on the same cases")
    figure, grid = new_figure(4.4, 2, len(by_data), sharex="col", height_ratios=(3, 2))
    for column, (data, found) in zip(grid.T, by_data.items(), strict=True):
        column[0].set_title(title_of(data, narrow=len(by_data) > 2))
        column[0].margins(y=0.1)
        crowded = len(by_data) * len(found) > _MOST_PAIRS
        _draw_column(column[0], column[1], results, comparisons=found, crowded=crowded)
    grid[0, 0].set_ylabel("Dice of a case")
    grid[1, 0].set_ylabel("difference of a case")
    _add_legend(grid[0, 0])
    return Drawing(*PATHS, _CAPTION_OF_PATHS, alt=_alt_of_paths(comparisons), figure=figure)


def _draw_column(
    above: Axes,
    below: Axes,
    results: StudyResults,
    *,
    comparisons: list[Comparison],
    crowded: bool,
) -> None:
    below.axhline(0, color=INK, linewidth=0.8)
    for center, comparison in enumerate(comparisons):
        dice = _per_case(results, comparison)
        for strategy, side in zip(PAIR, (-1, 1), strict=True):
            x, color = center + side * _HALF, STRATEGIES[strategy].color
            _box(above, dice[strategy], x=x, color=color)
            top, middle = dice[strategy].quantile(0.95), f"{dice[strategy].median():.3f}"
            note(above, middle, (x, top), offset=(0, 5), ha="center")
        _box(below, dice[PAIR[0]] - dice[PAIR[1]], x=center - _HALF / 2, color=FAINT)
        _mark_mean(below, comparison, center + _HALF)
    labels = [_tick(comparison, crowded) for comparison in comparisons]
    below.set_xticks(range(len(comparisons)), labels, fontsize=6.5)
    below.set_xlim(-0.6, len(comparisons) - 0.4)


def _per_case(results: StudyResults, comparison: Comparison) -> pd.DataFrame:
    """Return the Dice of each case that both strategies were tested on, mean over seeds."""
    cases = results.at(Scenario(comparison.data, comparison.train_size)).cases
    names = {comparison.first: PAIR[0], comparison.second: PAIR[1]}
    rows = cases[cases["strategy"].isin(names)]
    wide = rows.pivot_table(index=["fold", "key"], columns="strategy", values="dice")
    return wide.dropna().rename(columns=names)


def _mark_mean(axes: Axes, comparison: Comparison, x: float) -> None:
    axes.vlines(x, comparison.low, comparison.high, color=INK, linewidth=1.2)
    axes.plot(x, comparison.difference, marker="D", color=INK, markersize=3)


def _tick(comparison: Comparison, crowded: bool) -> str:
    mean = signed(comparison.difference)
    ends = interval(comparison.low, comparison.high, lambda value: signed(value).lstrip("+"))
    if crowded:
        ends = ends.replace(" to", "\nto")
    return f"{images(comparison.train_size)}\n{mean}\n({ends})"


def _box(axes: Axes, values: pd.Series, *, x: float, color: str) -> None:
    edge = {"color": color, "linewidth": 1}
    axes.boxplot(
        values,
        positions=[x],
        widths=1.6 * _HALF,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": (color, 0.25), "edgecolor": color, "linewidth": 1},
        medianprops={"color": color, "linewidth": 1.8},
        whiskerprops=edge,
        capprops=edge,
        manage_ticks=False,
    )


def _add_legend(axes: Axes) -> None:
    for strategy in PAIR:
        color = STRATEGIES[strategy].color
        axes.fill([], [], facecolor=(color, 0.25), edgecolor=color, label=strategy)
    axes.figure.legend(loc="outside upper left", ncols=len(PAIR))


def _alt_of_paths(comparisons: tuple[Comparison, ...]) -> str:
    sentences = [
        f"{title_of(c.data, c.train_size)}: contracting minus expanding {signed(c.difference)} "
        f"({interval(c.low, c.high, signed)}) over {c.cases} cases."
        for c in comparisons
    ]
    return "Box plots of Dice by case and of paired differences. " + " ".join(sentences)

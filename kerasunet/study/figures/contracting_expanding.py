"""Contracting against expanding path: boxes of per-case Dice, and of the paired differences."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from kerasunet.study.figures.style import (
    FAINT,
    INK,
    STRATEGIES,
    Drawing,
    NotDrawnError,
    images,
    interval,
    new_figure,
    note,
    signed,
    title_of,
)
from kerasunet.study.results import Scenario, StudyResults
from kerasunet.study.stats import Comparison, StudyStatistics, compare_all

NAME, TITLE = "contracting-expanding", "Contracting path against expanding path"
PAIR = ("contracting", "expanding")
_HALF = 0.2
_MOST_PAIRS = 6
"""Pairs side by side above which the ends of an interval stand below each other."""
_CAPTION = (
    "Above: Dice of every held-out case after tuning the contracting path (left of each pair) or "
    "the expanding path (right), the median written over the box. Below: what the same case "
    "gains by tuning the contracting path instead of the expanding path; above 0 the contracting "
    "path is better. Boxes hold the middle half of the cases, whiskers reach from the 5th to the "
    "95th percentile. Diamonds are mean differences with their 95 % bootstrap intervals, also "
    "written below."
)


def draw(statistics: StudyStatistics) -> Drawing:
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
    return Drawing(NAME, TITLE, _CAPTION, alt=_alt(comparisons), figure=figure)


def _draw_column(
    above: Axes,
    below: Axes,
    results: StudyResults,
    *,
    comparisons: list[Comparison],
    crowded: bool,
) -> None:
    below.axhline(0, color=INK, linewidth=0.8)
    for centre, comparison in enumerate(comparisons):
        dice = _per_case(results, comparison)
        for strategy, side in zip(PAIR, (-1, 1), strict=True):
            x, colour = centre + side * _HALF, STRATEGIES[strategy].colour
            _box(above, dice[strategy], x=x, colour=colour)
            top, middle = dice[strategy].quantile(0.95), f"{dice[strategy].median():.3f}"
            note(above, middle, (x, top), offset=(0, 5), ha="center")
        _box(below, dice[PAIR[0]] - dice[PAIR[1]], x=centre - _HALF / 2, colour=FAINT)
        _mark_mean(below, comparison, centre + _HALF)
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


def _box(axes: Axes, values: pd.Series, *, x: float, colour: str) -> None:
    edge = {"color": colour, "linewidth": 1}
    axes.boxplot(
        values,
        positions=[x],
        widths=1.6 * _HALF,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": (colour, 0.25), "edgecolor": colour, "linewidth": 1},
        medianprops={"color": colour, "linewidth": 1.8},
        whiskerprops=edge,
        capprops=edge,
        manage_ticks=False,
    )


def _add_legend(axes: Axes) -> None:
    for strategy in PAIR:
        colour = STRATEGIES[strategy].colour
        axes.fill([], [], facecolor=(colour, 0.25), edgecolor=colour, label=strategy)
    axes.figure.legend(loc="outside upper left", ncols=len(PAIR))


def _alt(comparisons: tuple[Comparison, ...]) -> str:
    sentences = [
        f"{title_of(c.data, c.train_size)}: contracting minus expanding {signed(c.difference)} "
        f"({interval(c.low, c.high, signed)}) over {c.cases} cases."
        for c in comparisons
    ]
    return "Box plots of Dice by case and of paired differences. " + " ".join(sentences)

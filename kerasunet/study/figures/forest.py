"""Every strategy with its mean and interval, for those who want one place to look."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from kerasunet.study.figures.results import Results, family_of
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
    panel_title,
)

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
    "written out. Each interval tells how well one mean is known; whether two strategies differ "
    "is told by the paired comparisons, which are sharper."
)


def draw(results: Results) -> Drawing:
    """Draws a column for each data set and a row for each strategy."""
    rows = _rows(results.strategies())
    looks = dict(zip(sorted({n for _, n in results.panels}, reverse=True), cycle(_LOOKS)))
    height = _INCHES["row"] * max(rows.values()) + _INCHES["rest"]
    figure, grid = new_figure(height, 1, len(results.data), sharey=True)
    for axes, panel in zip(grid[0], results.largest, strict=True):
        _draw_panel(axes, results, panel[0], rows, looks)
        _mark_best(axes, results.means(*panel), rows)
    grid[0, 0].set_yticks(list(rows.values()), list(rows))
    grid[0, 0].set_ylim(max(rows.values()) + 0.8, -1.4)
    for size, look in sorted(looks.items()):
        grid[0, 0].plot([], [], color=look.colour, marker=look.marker, label=str(size))
    title = {"title": "training images", "title_fontsize": 7, "alignment": "left"}
    figure.legend(loc="outside upper left", ncols=len(looks), **title)
    return Drawing(NAME, TITLE, _CAPTION, _alt(results), figure)


def _rows(strategies: list[str]) -> dict[str, float]:
    """Height of each strategy's row, from 0 downwards, families set apart."""
    rows: dict[str, float] = {}
    place = 0.0
    for before, strategy in zip([None, *strategies], strategies, strict=False):
        if before is not None:
            place += 1 + _GAP * (family_of(before) != family_of(strategy))
        rows[strategy] = place
    return rows


def _draw_panel(
    axes: Axes, results: Results, data: str, rows: dict[str, float], looks: dict[int, Look]
) -> None:
    axes.set_title(panel_title(data, narrow=len(results.data) > 2))
    axes.set_xlabel("Dice")
    axes.grid(axis="x")
    sizes = [size for name, size in results.panels if name == data]
    for number, size in enumerate(sizes):
        means, look = results.means(data, size), looks[size]
        shift = _SPREAD * ((number + 0.5) / len(sizes) - 0.5)
        y = [rows[strategy] + shift for strategy in means.index]
        axes.hlines(y, means["low"], means["high"], color=look.colour, linewidth=1)
        style = {"linestyle": "none", "color": look.colour, "markersize": 2.8}
        axes.plot(means["mean"], y, marker=look.marker, **style)


def _mark_best(axes: Axes, means: pd.DataFrame, rows: dict[str, float]) -> None:
    best = means["mean"].idxmax()
    value = means.loc[best, "mean"]
    axes.axvline(value, color=FAINT, linewidth=0.7, linestyle=(0, (1.2, 1.2)))
    note(axes, f"best: {best}, {value:.3f}", value, -1, offset=(-3, 0), ha="right", color=INK)


def _alt(results: Results) -> str:
    sentences = []
    for panel in results.panels:
        means = results.means(*panel)
        best, worst = means["mean"].idxmax(), means["mean"].idxmin()
        known = interval(*means.loc[best, ["low", "high"]])
        sentences.append(
            f"{panel_title(*panel)}: {len(means)} strategies, from {worst} "
            f"({means['mean'].min():.3f}) to {best} ({means['mean'].max():.3f}, {known})."
        )
    return "Forest plot of Dice by strategy. " + " ".join(sentences)

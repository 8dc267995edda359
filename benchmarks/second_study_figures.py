"""Figures of the second study: differences between strategies, and what each start reaches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from second_study_design import (
    MARGINS,
    PAIRS,
    STARTS_FAMILIES,
    Cell,
    family_of,
    starts_cells,
    strategies_cells,
)
from second_study_results import folders_of_start, tables_of_start

from kerasunet.layer_selection.evidence import START_WORDS, Nearness
from kerasunet.objects import modality_of
from kerasunet.study.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    HAIR,
    PALE,
    RC,
    VERMILLION,
    WIDTH,
    Drawing,
)
from kerasunet.study.stats.training_sets import compare_over_sets
from kerasunet.study.tables import RUNS, read_tables


def draw(output: Path) -> None:
    """Draw the comparisons of all cells, and what is reached from each start."""
    _draw_differences(output)
    _draw_starts(output)


def _draw_differences(output: Path) -> None:
    """Draw the comparisons of all cells, with one point for each training set."""

    run = (c for c in strategies_cells() if (output / "strategies" / c.name / RUNS).is_file())
    cells = [cell for cell in run if cell.disjoint]
    if not cells:
        return
    rows = [[c for c in cells if modality_of(c.data) == kind] for kind in ("ultrasound", "xray")]
    rows = [row for row in rows if row]
    with plt.rc_context(RC):
        drawn, all_axes = plt.subplots(
            len(rows),
            max(map(len, rows)),
            figsize=(WIDTH, 2.6 * len(rows)),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        told = []
        for row, axes_of_row in zip(rows, all_axes, strict=True):
            for cell, axes in zip_longest(sorted(row, key=lambda c: (c.size, c.data)), axes_of_row):
                if cell is None:
                    axes.set_axis_off()
                    continue
                words = _draw_cell(axes, output / "strategies" / cell.name, cell)
                told.append(f"{cell.name}: {words}")
        all_axes[0, 0].set_yticks(range(len(PAIRS)), [f"{a} − {b}" for a, b in PAIRS])
        all_axes[0, 0].invert_yaxis()
        drawn.supxlabel("difference in Dice", fontsize=RC["axes.labelsize"])
        title = "Strategies compared over disjoint training sets"
        caption = (
            "Mean difference in Dice and its 95 % interval over training sets and patients; each "
            "light point is a training set; the band is the smallest difference that matters."
        )
        Drawing("differences", title, caption, "; ".join(told), drawn).write(output)
    print(output / "differences.png")


def _draw_cell(axes, folder: Path, cell: Cell) -> str:
    """Draw the comparisons of one cell; return them in words."""

    looks = {
        "better": (BLUE, "o"),
        "worse": (VERMILLION, "s"),
        "equivalent": (GREEN, "D"),
        "undecided": (FAINT, "x"),
    }
    cases, _ = read_tables(folder)
    known = {family_of(text): text for text in cases["strategy"].unique()}
    pairs = [(known[a], known[b]) for a, b in PAIRS if a in known and b in known]
    rows = {(family_of(a), family_of(b)): row for row, (a, b) in enumerate(pairs)}
    margin = MARGINS[cell.data]
    by_set = cases.groupby(["fold", "strategy"])["dice"].mean().unstack()
    axes.axvspan(-margin, margin, color=HAIR, linewidth=0)
    axes.axvline(0, color=FAINT, linewidth=0.6)
    words = []
    for one in compare_over_sets(cases, pairs, margin=margin):
        row = rows[family_of(one.first), family_of(one.second)]
        gaps = (by_set[one.first] - by_set[one.second]).dropna()
        axes.plot(gaps, [row + 0.25] * len(gaps), "|", color=PALE, markersize=3, zorder=1)
        color, marker = looks[one.verdict]
        axes.plot([one.low, one.high], [row, row], color=color, zorder=2)
        axes.plot(one.difference, row, marker, color=color, zorder=3)
        words.append(f"{one.first} - {one.second} {one.difference:+.3f}, {one.verdict}")
    axes.set_title(f"{cell.data}\n{cell.size} images")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return ", ".join(words)


def _draw_starts(output: Path) -> None:
    """Draw what every strategy reaches from photographs and from a close start."""

    known = {
        (cell.data, cell.size, cell.nearness): tables_of_start(output, cell.name)[0]
        for cell in starts_cells()
        if folders_of_start(output, cell.name)
    }
    scenarios = [key[:2] for key in known if key[2] == "close" and (*key[:2], "far") in known]
    if not scenarios:
        return
    rows = ("none", *STARTS_FAMILIES, "scratch")
    with plt.rc_context(RC):
        lines = -(-len(scenarios) // 2)
        drawn, all_axes = plt.subplots(
            lines,
            min(2, len(scenarios)),
            figsize=(WIDTH, 2.3 * lines + 0.3),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        told = []
        for unused in all_axes.flat[len(scenarios) :]:
            unused.remove()
        for (data, size), axes in zip(scenarios, all_axes.flat, strict=False):
            means = {
                start: _draw_start(axes, known[data, size, start], start, rows=rows)
                for start in START_WORDS
            }
            _cut_off(axes, means, rows.index("none"))
            for start, of_start in means.items():
                words = ", ".join(f"{text} {mean:.3f}" for text, mean in of_start.items())
                told.append(f"{data}, {size} images, from {START_WORDS[start]}: {words}")
            axes.set_title(f"{data}, {size} images")
            axes.set_xlabel("Dice", fontsize=RC["axes.labelsize"])
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=6)
        drawn.axes[0].set_yticks(range(len(rows)), rows)
        drawn.axes[0].invert_yaxis()
        handles = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(*handles, loc="outside lower center", ncols=2, fontsize=RC["xtick.labelsize"])
        title = "What each strategy reaches, by start"
        caption = "Mean Dice over training sets; each light mark is one of them."
        Drawing("starts", title, caption, "; ".join(told), drawn).write(output)
    print(output / "starts.png")


def _draw_start(
    axes, cases: pd.DataFrame, start: Nearness, *, rows: Sequence[str]
) -> dict[str, float]:
    """Draw the Dice of every strategy from one start; return the means."""

    color, marker, offset = {"far": (VERMILLION, "s", 0.15), "close": (BLUE, "o", -0.15)}[start]
    by_set = cases.groupby(["strategy", "fold"])["dice"].mean()
    means = {}
    for text, dice in by_set.groupby(level="strategy"):
        row = rows.index(family_of(text)) + offset
        axes.plot(dice, [row] * len(dice), "|", color=PALE, markersize=5, zorder=1)
        means[text] = dice.mean()
        label = START_WORDS[start] if len(means) == 1 else None
        axes.plot(means[text], row, marker, color=color, linestyle="", label=label, zorder=2)
    return means


def _cut_off(axes, means: dict[Nearness, dict[str, float]], row: int) -> None:
    """Write the Dice of the far start at the edge if it would squeeze all else together."""

    untouched = means["far"]["none"]
    shown = [mean for text, mean in means["far"].items() if text != "none"]
    shown += means["close"].values()
    least, spread = min(shown), max(shown) - min(shown)
    if untouched > least - 4 * spread:
        return
    axes.set_xlim(least - 0.4 * spread, axes.dataLim.x1 + 0.2 * spread)
    axes.text(
        0.02,
        row + 0.15,
        f"← {untouched:.3f}",
        transform=axes.get_yaxis_transform(),
        color=VERMILLION,
        va="center",
        fontsize=RC["xtick.labelsize"],
    )

"""The house style of all figures: sizes, type, colours, and how each strategy looks.

Colours are those of Okabe and Ito's palette, which colour-blind readers can tell apart; markers
and line styles say the same again, for print in grey.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH, NARROW = 7.2, 4.6
"""Inches: across a page of two columns, and for a figure with one column of panels."""

INK, FAINT, PALE, HAIR, PAPER = "#1b1b20", "#6b6b75", "#b8b8c2", "#d8d8de", "#ffffff"
"""Text and axes; secondary text; lines without a name; grid; background.

Pages may swap them for a dark theme, so nothing that must keep its shade has one of them."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": HAIR,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "figure.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "kerasunet",
}


@dataclass(frozen=True)
class Look:
    """How a strategy or a direction is drawn."""

    colour: str
    marker: str
    line: str | tuple = "-"


DIRECTIONS = {
    "shallow": Look(BLUE, "o", "-"),
    "deep": Look(VERMILLION, "s", (0, (5, 1.5))),
    "outer": Look(GREEN, "^", (0, (4, 1.5, 1, 1.5))),
    "inner": Look(PURPLE, "D", (0, (1.2, 1.2))),
}
STRATEGIES = {
    "all": Look(INK, "D", "-"),
    "contracting": Look(BLUE, "o", "-"),
    "shallow:3": Look(BLUE, "^", (0, (4, 1.5, 1, 1.5))),
    "auto": Look(GREEN, "*", "-"),
    "expanding": Look(VERMILLION, "s", (0, (5, 1.5))),
    "deep:3": Look(VERMILLION, "v", (0, (1.2, 1.2))),
    "scratch": Look(FAINT, "x", (0, (5, 1.5))),
    "none": Look(FAINT, ".", (0, (1.2, 1.2))),
}
"""The strategies that are drawn by name where all of them would be too many."""

_OTHERS = Look(FAINT, "P")


def look_of(strategy: str) -> Look:
    """How a strategy looks: its own look, that of its direction, or that of all others."""
    direction = strategy.partition(":")[0]
    return STRATEGIES.get(strategy) or DIRECTIONS.get(direction) or _OTHERS


def counted(strategy: str) -> tuple[str, str] | None:
    """Direction and K of a strategy such as `shallow:3`; `None` for any other."""
    direction, _, count = strategy.partition(":")
    return (direction, count) if direction in DIRECTIONS and count.isdecimal() else None


def new_figure(height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, object]:
    """A figure with a grid of axes, as an array of two dimensions.

    Args:
        height: In inches.
        rows: Of axes.
        columns: Of axes.
        options: As `matplotlib.figure.Figure.subplots` takes them.
    """
    figure = Figure(figsize=(WIDTH if columns > 1 else NARROW, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05, wspace=0.03, hspace=0.05)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def note(axes: Axes, text: str, x: float, y: float, **options) -> None:
    """Writes small secondary text at a place of the data, with an offset in points if given."""
    offset = options.pop("offset", (0, 0))
    look = {"fontsize": 6.5, "color": FAINT, "va": "center", "annotation_clip": False}
    axes.annotate(text, (x, y), offset, textcoords="offset points", **{**look, **options})

"""The house style of all figures: sizes, type, colors, how each strategy looks, words, files.

Colors are those of Okabe and Ito's palette, which color-blind readers can tell apart; markers and
line styles repeat the distinction, for print in gray.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy.optimize import isotonic_regression

from kerasunet.files import write_atomically, write_text
from kerasunet.objects import MODALITY_LABELS, modality_of

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

WIDTH, _NARROW_WIDTH = 7.2, 4.6
"""Inches: across a page of two columns, and for a figure with one column of plots."""
INK, FAINT, PALE, HAIR, PAPER = "#1b1b20", "#6b6b75", "#b8b8c2", "#d8d8de", "#ffffff"
"""Text and axes; secondary text; lines without a name; grid; background.

Pages may swap them for a dark theme, so nothing that must keep its shade has one of them."""
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
RC: dict[RcKeyType, Any] = {
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

    color: str
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
    """Return the look of a strategy: its own, that of its direction, or that of all others."""
    direction = strategy.partition(":")[0]
    return STRATEGIES.get(strategy) or DIRECTIONS.get(direction) or _OTHERS


def direction_and_count(strategy: str) -> tuple[str, str] | None:
    """Return direction and K of a strategy such as `shallow:3`; `None` for any other."""
    direction, _, count = strategy.partition(":")
    return (direction, count) if direction in DIRECTIONS and count.isdecimal() else None


def new_figure(
    height: float, rows: int = 1, columns: int = 1, **options
) -> tuple[Figure, np.ndarray]:
    """Make a figure with a grid of axes, as an array of two dimensions.

    Args:
        height: In inches.
        rows: Of axes.
        columns: Of axes.
        options: As `matplotlib.figure.Figure.subplots` takes them.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.03, hspace=0.05)
    figure = Figure(figsize=(WIDTH if columns > 1 else _NARROW_WIDTH, height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def note(axes: Axes, text: str, point: tuple[float, float], **options) -> None:
    """Write small secondary text at a point of the data, with an offset in points if given."""
    offset = options.pop("offset", (0, 0))
    look = {"fontsize": 6.5, "color": FAINT, "va": "center", "annotation_clip": False}
    axes.annotate(text, point, offset, textcoords="offset points", **{**look, **options})


def lay_out(figure: Figure) -> None:
    """Give all parts of a figure their places, as drawing it would, which takes twice as long."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


DOTS_PER_INCH = 200


class NotDrawnError(ValueError):
    """The tables lack what a figure needs; the message says what."""


@dataclass(frozen=True)
class Drawing:
    """One finished figure.

    Attributes:
        name: File name without suffix.
        title: A few words.
        caption: What is drawn and how it was computed.
        alt: The picture in words, with its main numbers, for readers who cannot see it.
        figure: The matplotlib figure; its layout is final.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    def __post_init__(self):
        # Laid out again each time it is written, a figure would not give the same bytes. No engine
        # at all, rather than "none": saving draws a figure twice that has one.
        lay_out(self.figure)
        self.figure.set_layout_engine(None)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `NAME.png` and `NAME.svg`, the same bytes each time; return their paths."""
        paths = folder / f"{self.name}.png", folder / f"{self.name}.svg"
        write_atomically(paths[0], self._save_png)
        write_text(paths[1], self.svg)
        return paths

    def _save_png(self, path: Path) -> None:
        metadata = {**self._told, "Comment": self.caption, "Software": None}
        with matplotlib.rc_context(RC):
            self.figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)

    @cached_property
    def svg(self) -> str:
        """The figure as the text of an SVG file."""
        file = io.StringIO()
        with matplotlib.rc_context(RC):
            self.figure.savefig(file, format="svg", metadata={**self._told, "Date": None})
        return file.getvalue()

    @property
    def _told(self) -> dict[str, str]:
        return {"Title": self.title, "Description": self.alt}


THEME = {
    INK: "ink",
    FAINT: "faint",
    PALE: "pale",
    HAIR: "hair",
    PAPER: "paper",
    BLUE: "blue",
    VERMILLION: "vermillion",
    GREEN: "green",
    PURPLE: "purple",
}
"""Colors of the house style to the custom properties that stand for them in the page."""
_HEADER = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_NOISE = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<title>.*?</title>|<style.*?</style>", re.DOTALL
)
_BACKGROUND = re.compile(r'<g id="patch_1">.*?</g>', re.DOTALL)
_OPENING = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_WIDEST, _NARROWEST = 1.3, 0.8
"""How wide a figure may be in the page, as shares of its width on paper."""
_NAMES = re.compile(r'(\bid="|href="#|url\(#)')


def as_markup(drawing: Drawing) -> Markup:
    """Turn a figure into an SVG element with its alternative text."""
    text = _BACKGROUND.sub("", _NOISE.sub("", _HEADER.sub("", drawing.svg)), count=1)
    text = _NAMES.sub(rf"\g<1>{drawing.name}-", text)
    text = text.replace("xlink:href", "href")
    for color, name in THEME.items():
        text = text.replace(color, f"var(--{name})")
    attributes = f'class="drawing" role="img" aria-label="{escape(drawing.alt)}"'
    width = drawing.figure.get_figwidth()
    limits = f"max-width: {_WIDEST * width:.1f}in; min-width: {_NARROWEST * width:.1f}in"
    opening = _OPENING.match(text)
    assert opening is not None, "matplotlib begins every drawing with its size"
    head = f'<svg viewBox="{opening[1]}" {attributes} style="{limits}">'
    return Markup(head + text[opening.end() :])


_LONGEST_NAME = 28
_LINE_LENGTH = 22
"""Characters in a line above a narrow plot."""


def signed(value: float) -> str:
    """Return a difference in Dice: three decimals, a sign, a true minus."""
    return f"{value:+.3f}".replace("-", "−")


def plain(value: float) -> str:
    """Return a Dice with three decimals."""
    return f"{value:.3f}"


def interval(low: float, high: float, number: Callable[[float], str] = plain) -> str:
    """Return the two ends of an interval; `unknown` where the data does not determine them."""
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    return f"{number(low)} to {number(high)}"


def images(count: int) -> str:
    """Return a number of images in words."""
    return f"{count} image{'' if count == 1 else 's'}"


def title_of(data: str, train_size: int | None = None, *, narrow: bool = False) -> str:
    """Return modality, data set and number of training images; in short lines if narrow."""
    modality = modality_of(data)
    name = data if len(data) <= _LONGEST_NAME else f"{data[: _LONGEST_NAME - 1]}…"
    named = f"{MODALITY_LABELS[modality]}: {name}" if modality else name
    title = named if train_size is None else f"{named}, {images(train_size)}"
    return textwrap.fill(title, _LINE_LENGTH) if narrow else title


_LINE = 8.5
"""Points from one label to the next."""
_CHARACTER = 4.1
"""Points that a character is wide, on average."""
_CLEARANCE = 4.5
"""Points that a label keeps from the center of a marker."""
_RADII = (7, 12, 18, 26, 36)
_DIRECTIONS = ((-1, 1), (1, 1), (-1, -1), (1, -1), (0, 1), (0, -1), (-1, 0), (1, 0))


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Move labels apart as little as possible, in least squares, keeping their order.

    Args:
        wanted: Where the labels would best stand, in any order.
        gap: Least distance between two neighbors.

    Returns:
        Where they stand, in the order given.
    """
    best = np.asarray(wanted, float)
    order = np.argsort(best, kind="stable")
    steps = gap * np.arange(len(best))
    found = np.empty_like(best)
    found[order] = isotonic_regression(best[order] - steps).x + steps
    return found


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Name lines at their right ends: by name, the end's x and y and the line's color.

    Call it when everything else is drawn and `lay_out` has given it its place.
    """
    low, high = axes.get_ylim()
    points_per_unit = axes.get_window_extent().height * 72 / axes.figure.dpi / (high - low)
    wanted = [y * points_per_unit for _, y, _ in ends.values()]
    for (text, (x, y, color)), height in zip(ends.items(), spread(wanted, _LINE), strict=True):
        offset = (7, height - y * points_per_unit)
        note(axes, text, (x, y), offset=offset, color=color, fontsize=7)


def label_points(
    axes: Axes, points: Mapping[str, tuple[float, float]], names: Sequence[str]
) -> None:
    """Write the names of points where they cover no marker and no other name.

    Call it when everything else is drawn and `lay_out` has given it its place. A
    name that had to be placed apart is connected to its point.

    Args:
        axes: Where the points are drawn.
        points: All points, by name, in units of the data.
        names: Those to label, the most important first.
    """
    centers = axes.transData.transform(list(points.values())) * 72 / axes.figure.dpi
    frame = np.array(axes.get_window_extent().extents) * 72 / axes.figure.dpi
    taken = [np.concatenate([p - _CLEARANCE, p + _CLEARANCE]) for p in centers]
    for name in names:
        middle = centers[list(points).index(name)]
        offset, radius = _free_offset(middle, len(name) * _CHARACTER, frame, taken=taken)
        taken.append(_box(middle + offset, len(name) * _CHARACTER))
        tie = {"arrowstyle": "-", "color": FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
        far = {"arrowprops": tie} if radius > _RADII[0] else {}
        note(axes, name, points[name], offset=tuple(offset), ha="center", color=INK, **far)


def _free_offset(
    middle: np.ndarray, width: float, frame: np.ndarray, *, taken: Sequence[np.ndarray]
) -> tuple[np.ndarray, float]:
    """Return the nearest offset that is free, or the first if none is, and its distance."""
    offsets = [
        (np.array([x * (radius + width / 2 - 3 * (y != 0)), y * radius]), radius)
        for radius in _RADII
        for x, y in _DIRECTIONS
    ]
    for offset, radius in offsets:
        box = _box(middle + offset, width)
        inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
        if inside and not any(_overlap(box, other) for other in taken):
            return offset, radius
    return offsets[0]


def _box(middle: np.ndarray, width: float) -> np.ndarray:
    """Return left, bottom, right and top of a label, in points."""
    half = np.array([width, _LINE - 1]) / 2
    return np.concatenate([middle - half, middle + half])


def _overlap(box: np.ndarray, other: np.ndarray) -> bool:
    return bool((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all())

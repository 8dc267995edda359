"""Results of studies that the page shows: those that come with it, and those a visitor opens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from kerasunet.files import read_json
from kerasunet.study.figures.results import ordered
from kerasunet.study.results import CASES, RECORD, RUNS, read_tables

if TYPE_CHECKING:
    from kerasunet.study.stats import Claim


_USUAL_DEPTH = 4
_SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "study"


@dataclass(frozen=True, eq=False)
class Results:
    """The tables of one or several studies, and their statistics, each computed when asked for.

    Attributes:
        cases: A row per case per run.
        runs: A row per run.
        depth: Depth of the U-Net.
    """

    cases: pd.DataFrame
    runs: pd.DataFrame
    depth: int

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Mean Dice with its interval, by data set, training size and strategy."""
        return _statistics().summarize(self.cases)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Mean Dice against the number of tuned blocks, by direction."""
        return _statistics().curves(self.cases, self.depth)

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the paper, with verdicts."""
        return _statistics().claims(self.cases, self.runs, self.depth)

    @property
    def panels(self) -> list[tuple[str, int]]:
        """Data set and training size of every part that has results."""
        places = self.summary[["data", "train_size"]].drop_duplicates()
        return [(data, int(size)) for data, size in places.itertuples(index=False)]

    def panel(self, data: str, train_size: int) -> pd.DataFrame:
        """The summary of one part, by strategy."""
        rows = self.summary
        rows = rows[(rows["data"] == data) & (rows["train_size"] == train_size)]
        return rows.set_index("strategy")


def _statistics() -> ModuleType:
    """The statistics, as soon as no other thread is importing TensorFlow.

    With TensorFlow comes JAX where that is installed, and SciPy fails over a JAX half imported.
    """
    import keras  # noqa: F401

    from kerasunet.study import stats

    return stats


def shipped() -> Results | None:
    """The results that come with the page; `KERASUNET_STUDIES` names another folder of studies.

    Returns:
        The results; `None` where there are none yet.

    Raises:
        ValueError: A table lacks columns, or depths differ.
    """
    return _shipped(Path(os.environ.get("KERASUNET_STUDIES") or _SHIPPED))


def read_studies(directories: Sequence[Path]) -> Results:
    """Reads study directories and puts their tables together.

    Without a `study.json` beside its tables, a study is taken to be of a U-Net of depth 4.

    Raises:
        FileNotFoundError: A directory holds no study with results.
        ValueError: A table lacks columns, no run has finished, or depths differ.
    """
    results = _read(directories)
    if results is None:
        raise ValueError(f"{directories[0]}: no run has finished yet, so there is nothing to show")
    return results


def _read(directories: Sequence[Path]) -> Results | None:
    """The results; `None` where no run has finished yet."""
    import pandas as pd

    tables = {directory: read_tables(directory) for directory in directories}
    begun = {directory: both for directory, both in tables.items() if len(both[0])}
    if not begun:
        return None
    depths = {_depth(directory) for directory in begun}
    if len(depths) > 1:
        raise ValueError(f"networks of depths {sorted(depths)} have different strategies")
    parts = zip(*begun.values(), strict=True)
    cases, runs = (pd.concat(frames, ignore_index=True) for frames in parts)
    return Results(cases, runs, depths.pop())


@lru_cache(maxsize=2)
def _shipped(folder: Path) -> Results | None:
    studies = sorted(path.parent for path in folder.glob(f"*/{CASES}"))
    return _read([study for study in studies if (study / RUNS).is_file()])


def _depth(directory: Path) -> int:
    path = directory / RECORD
    if not path.is_file():
        return _USUAL_DEPTH
    return read_json(path)["protocol"]["run"]["architecture"]["depth"]


GREY = "#7c8089"


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and line of Plotly; each alone tells the lines apart."""

    colour: str
    marker: str
    line: str = "solid"


DIRECTIONS = {
    "shallow": LineStyle("#0a84c1", "circle"),
    "deep": LineStyle("#d55e00", "square", "dash"),
    "outer": LineStyle("#009e73", "triangle-up", "dashdot"),
    "inner": LineStyle("#c0679a", "diamond", "dot"),
}
_LABELS = {
    "shallow": "from the shallow end",
    "deep": "from the deep end",
    "outer": "outer levels",
    "inner": "inner levels",
}
_NAMED = {
    "contracting": DIRECTIONS["shallow"],
    "expanding": DIRECTIONS["deep"],
    "bottleneck": DIRECTIONS["inner"],
    "auto": LineStyle("#009e73", "star"),
    "none": LineStyle(GREY, "circle-open"),
    "scratch": LineStyle(GREY, "x"),
    "all": LineStyle(GREY, "diamond"),
}


def style_of(strategy: str) -> LineStyle:
    """Return the style of a strategy: its own, that of its direction, or that of all others."""
    direction = strategy.partition(":")[0]
    return _NAMED.get(direction) or DIRECTIONS.get(direction) or LineStyle(GREY, "cross")


_ROW, _FRAME = 24, 96
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"


def draw_curves(results: Results, data: str, train_size: int) -> go.Figure:
    """Draw the mean Dice against the number of tuned blocks, a line per direction."""
    rows = results.curves
    rows = rows[(rows["data"] == data) & (rows["train_size"] == train_size)]
    figure = _empty("Dice by number of tuned blocks", height=400)
    for direction, part in rows.groupby("direction", sort=False):
        figure.add_trace(_curve(direction, part))
    figure.update_xaxes(dtick=1)
    return figure


def draw_strategies(results: Results, data: str, train_size: int) -> go.Figure:
    """Draw the mean Dice of every strategy with its interval, family by family."""
    panel = results.panel(data, train_size)
    names = ordered(panel.index)
    figure = _empty("Dice by strategy", height=_FRAME + _ROW * len(names))
    figure.add_trace(_dots(panel.loc[names]))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    if "none" in panel.index:
        figure.add_vline(panel.at["none", "mean"], line={"color": GREY, "width": 1, "dash": "dot"})
    return figure


def _curve(direction: str, part: pd.DataFrame) -> go.Scatter:
    style = DIRECTIONS[direction]
    return go.Scatter(
        x=part["blocks"],
        y=part["mean"],
        error_y=_bars(part, style.colour),
        name=_LABELS[direction],
        mode="lines+markers",
        line={"color": style.colour, "dash": style.line, "width": 2},
        marker={"color": style.colour, "symbol": style.marker, "size": 8},
        customdata=part[["strategy", "low", "high"]],
        hovertemplate=_HOVER.format(name="%{customdata[0]}", value="%{y:.3f}"),
    )


_HOVER = (
    "<b>{name}</b><br>Dice {value} (%{{customdata[1]:.3f}} to %{{customdata[2]:.3f}})"
    "<extra></extra>"
)


def _dots(panel: pd.DataFrame) -> go.Scatter:
    styles = [style_of(name) for name in panel.index]
    return go.Scatter(
        x=panel["mean"],
        y=panel.index,
        error_x=_bars(panel, GREY),
        mode="markers",
        marker={
            "color": [style.colour for style in styles],
            "symbol": [style.marker for style in styles],
            "size": 9,
        },
        customdata=panel.reset_index()[["strategy", "low", "high", "cases"]],
        hovertemplate=_HOVER.format(name="%{y}", value="%{x:.3f}"),
        showlegend=False,
    )


def _bars(rows: pd.DataFrame, colour: str) -> dict:
    return {
        "array": rows["high"] - rows["mean"],
        "arrayminus": rows["mean"] - rows["low"],
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


def _empty(title: str, height: int) -> go.Figure:
    axis = {"zeroline": False, "gridcolor": "rgba(124,128,137,.25)", "automargin": True}
    return go.Figure(
        layout={
            "height": height,
            "title": {"text": title, "font": {"size": 15}, "x": 0, "xref": "paper", "y": 0.98},
            "margin": {"l": 8, "r": 8, "t": 44, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": _FONT, "size": 14, "color": GREY},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0},
            "hoverlabel": {"font": {"family": _FONT}},
            "template": "none",
        }
    )

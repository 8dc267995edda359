"""Interactive figures of study results: Dice by number of tuned blocks, and by strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from kerasunet.study.results import Scenario, ordered

if TYPE_CHECKING:
    from kerasunet.study.stats import StudyStatistics

GRAY = "#7c8089"


@dataclass(frozen=True)
class LineStyle:
    """Color, marker and line of Plotly; each alone distinguishes the lines."""

    color: str
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
    "none": LineStyle(GRAY, "circle-open"),
    "scratch": LineStyle(GRAY, "x"),
    "all": LineStyle(GRAY, "diamond"),
}


def style_of(strategy: str) -> LineStyle:
    """Return the style of a strategy: its own, that of its direction, or that of all others."""
    direction = strategy.partition(":")[0]
    return _NAMED.get(direction) or DIRECTIONS.get(direction) or LineStyle(GRAY, "cross")


_ROW, _FRAME = 24, 96
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"


def draw_curves(statistics: StudyStatistics, scenario: Scenario) -> go.Figure:
    """Draw the mean Dice against the number of tuned blocks, a line per direction."""
    figure = _empty("Dice by number of tuned blocks", height=400)
    curves = statistics.curves_of(scenario)
    for direction, part in curves.groupby("direction", sort=False):
        figure.add_trace(_curve(direction, part))
    figure.update_xaxes(dtick=1)
    return figure


def draw_strategies(statistics: StudyStatistics, scenario: Scenario) -> go.Figure:
    """Draw the mean Dice of every strategy with its interval, family by family."""
    summary = statistics.summary_of(scenario)
    names = ordered(summary.index)
    figure = _empty("Dice by strategy", height=_FRAME + _ROW * len(names))
    figure.add_trace(_dots(summary.loc[names]))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    if "none" in summary.index:
        none = summary.at["none", "mean"]
        figure.add_vline(none, line={"color": GRAY, "width": 1, "dash": "dot"})
    return figure


def _curve(direction: str, part: pd.DataFrame) -> go.Scatter:
    style = DIRECTIONS[direction]
    return go.Scatter(
        x=part["blocks"],
        y=part["mean"],
        error_y=_bars(part, style.color),
        name=_LABELS[direction],
        mode="lines+markers",
        line={"color": style.color, "dash": style.line, "width": 2},
        marker={"color": style.color, "symbol": style.marker, "size": 8},
        customdata=part[["strategy", "low", "high"]],
        hovertemplate=_HOVER.format(name="%{customdata[0]}", value="%{y:.3f}"),
    )


_HOVER = (
    "<b>{name}</b><br>Dice {value} (%{{customdata[1]:.3f}} to %{{customdata[2]:.3f}})"
    "<extra></extra>"
)


def _dots(summary: pd.DataFrame) -> go.Scatter:
    styles = [style_of(name) for name in summary.index]
    return go.Scatter(
        x=summary["mean"],
        y=summary.index,
        error_x=_bars(summary, GRAY),
        mode="markers",
        marker={
            "color": [style.color for style in styles],
            "symbol": [style.marker for style in styles],
            "size": 9,
        },
        customdata=summary.reset_index()[["strategy", "low", "high", "cases"]],
        hovertemplate=_HOVER.format(name="%{y}", value="%{x:.3f}"),
        showlegend=False,
    )


def _bars(rows: pd.DataFrame, color: str) -> dict:
    return {
        "array": rows["high"] - rows["mean"],
        "arrayminus": rows["mean"] - rows["low"],
        "color": color,
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
            "font": {"family": _FONT, "size": 14, "color": GRAY},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0},
            "hoverlabel": {"font": {"family": _FONT}},
            "template": "none",
        }
    )

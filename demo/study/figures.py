"""Interactive figures of one part of a study: a data set at a number of training images."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from results import Results

from kerasunet.study.figures.order import ordered
from study.looks import DIRECTIONS, GREY, WORDS, look_of

_ROW, _FRAME = 24, 96
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"


def draw_curves(results: Results, data: str, train_size: int) -> go.Figure:
    """Mean Dice against the number of tuned blocks, a line for each direction."""
    rows = results.curves
    rows = rows[(rows["data"] == data) & (rows["train_size"] == train_size)]
    figure = _empty("Dice by number of tuned blocks", height=400)
    for direction, part in rows.groupby("direction", sort=False):
        figure.add_trace(_curve(direction, part))
    figure.update_xaxes(dtick=1)
    return figure


def draw_strategies(results: Results, data: str, train_size: int) -> go.Figure:
    """Every strategy's mean Dice with its interval, family by family."""
    panel = results.panel(data, train_size)
    names = ordered(panel.index)
    figure = _empty("Dice by strategy", height=_FRAME + _ROW * len(names))
    figure.add_trace(_dots(panel.loc[names]))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    if "none" in panel.index:
        figure.add_vline(panel.at["none", "mean"], line={"color": GREY, "width": 1, "dash": "dot"})
    return figure


def _curve(direction: str, part: pd.DataFrame) -> go.Scatter:
    look = DIRECTIONS[direction]
    return go.Scatter(
        x=part["blocks"],
        y=part["mean"],
        error_y=_bars(part, look.colour),
        name=WORDS[direction],
        mode="lines+markers",
        line={"color": look.colour, "dash": look.line, "width": 2},
        marker={"color": look.colour, "symbol": look.marker, "size": 8},
        customdata=part[["strategy", "low", "high"]],
        hovertemplate=_HOVER.format(name="%{customdata[0]}", value="%{y:.3f}"),
    )


_HOVER = (
    "<b>{name}</b><br>Dice {value} (%{{customdata[1]:.3f}} to %{{customdata[2]:.3f}})"
    "<extra></extra>"
)


def _dots(panel: pd.DataFrame) -> go.Scatter:
    looks = [look_of(name) for name in panel.index]
    return go.Scatter(
        x=panel["mean"],
        y=panel.index,
        error_x=_bars(panel, GREY),
        mode="markers",
        marker={
            "color": [look.colour for look in looks],
            "symbol": [look.marker for look in looks],
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

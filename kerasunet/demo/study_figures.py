"""What studies found, as interactive figures and as tables; what the second study advises."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from kerasunet.demo.layers_network import Selection, selection
from kerasunet.objects import MODALITY_LABELS, modality_of
from kerasunet.strategies import NetworkLayout, StrategyError
from kerasunet.study.results import Scenario, ordered

if TYPE_CHECKING:
    from kerasunet.layer_selection.evidence import Advice
    from kerasunet.objects import Modality
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
    labels = _labels(statistics, scenario)
    figure.add_trace(_dots(summary.loc[names], [labels[name] for name in names]))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    if "none" in summary.index:
        none = summary.at["none", "mean"]
        figure.add_vline(none, line={"color": GRAY, "width": 1, "dash": "dot"})
    return figure


def _labels(statistics: StudyStatistics, scenario: Scenario) -> dict[str, str]:
    """Return each strategy as text to show: with `auto` goes what it chose in every run."""
    runs = statistics.results.finished
    own = runs[(runs["data"] == scenario.data) & (runs["train_size"] == scenario.train_size)]
    labels = {name: name for name in statistics.summary_of(scenario).index}
    for name in (text for text in labels if text.partition(":")[0] == "auto"):
        chosen = own.loc[own["strategy"] == name, "chosen"].dropna().unique()
        labels[name] = f"{name}: {chosen[0] if len(chosen) == 1 else 'several'}"
    return labels


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


def _dots(summary: pd.DataFrame, labels: list[str]) -> go.Scatter:
    styles = [style_of(name) for name in summary.index]
    return go.Scatter(
        x=summary["mean"],
        y=labels,
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


def numbers_table(statistics: StudyStatistics, scenario: Scenario) -> str:
    """Return an HTML table: a row per strategy, family by family."""
    summary = statistics.summary_of(scenario)
    labels = _labels(statistics, scenario)
    rows = [
        f"<tr><th scope=row>{escape(labels[name])}</th><td>{summary.at[name, 'mean']:.3f}</td>"
        f"<td>{summary.at[name, 'low']:.3f} to {summary.at[name, 'high']:.3f}</td>"
        f"<td>{summary.at[name, 'missed']:.3g}</td><td>{summary.at[name, 'cases']}</td>"
        f"<td>{summary.at[name, 'runs']}</td></tr>"
        for name in ordered(summary.index)
    ]
    headings = ("Strategy", "Dice", "95 % interval", "Missed", "Cases", "Runs")
    head = "".join(f"<th scope=col>{heading}</th>" for heading in headings)
    return (
        f"<p>{escape(str(scenario))}</p><div class=table><table><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def advice_table() -> str:
    """Return HTML: what the second study says to tune, a row for each question it answers."""
    import keras  # noqa: F401  # Before SciPy, as in `_statistics`.

    from kerasunet.layer_selection.evidence import QUESTIONS, START_WORDS, Evidence

    known = Evidence.published()
    rows = [
        _advice_row(modality, images, START_WORDS[start], advice=advice)
        for modality, images, start in QUESTIONS
        if (advice := known.advice(modality, images, start))
    ]
    head = "".join(f"<th scope=col>{heading}</th>" for heading in ("Kind", "Images"))
    for heading in ("Tune", "Start trained on", "Dice it reached (worst and best training set)"):
        head += f"<th scope=col class=words>{heading}</th>"
    return (
        "<p>What the second study found, with a learning rate tuned for each strategy: "
        "<code>3*shallow:4</code> trains the first four blocks at 3e-3, three times the usual "
        "rate of 1e-3. <code>kerasunet adapt</code> and the Fine-tune tab check this on your "
        "images.</p>"
        f"<div class=table><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _advice_row(modality: Modality, images: int, start: str, *, advice: Advice) -> str:
    seen = "; ".join(
        f"{o.dice:.3f} ({o.lowest:.3f} to {o.highest:.3f}) on {o.data} with {o.images} images"
        for o in advice.seen
    )
    words = (f"<code>{escape(advice.strategy)}</code>", start, escape(seen))
    cells = "".join(f"<td class=words>{text}</td>" for text in words)
    return f"<tr><th scope=row>{MODALITY_LABELS[modality]}</th><td>{images}</td>{cells}</tr>"


_NONE_YET = (
    "<p>No study results come with this copy. <code>kerasunet study --data my_folder</code> makes "
    "them for your images.</p>"
)


_AUTO_SINCE = (
    "<p>In the published study, <code>auto</code> was an earlier rule, so what it reached there "
    "says nothing about <code>{text}</code>. Today's rule takes from a later study what was best "
    "for the kind and the number of images and from the start.</p>"
)


def findings(selected: Selection | None, strategy: str, statistics: StudyStatistics | None) -> str:
    """Return HTML: a table with a row for each data set and number of training images."""
    if selected is None:
        return f"{_AUTO_SINCE.format(text=escape(strategy))}{advice_table()}"
    if statistics is None:
        return _NONE_YET
    results = statistics.results
    name = nearest(selected, strategy, statistics)
    if name is None:
        return f"<p>The published study has no run of <code>{escape(strategy)}</code>.</p>"
    rows = [_found_row(statistics.summary_of(s), s, name) for s in results.scenarios]
    return (
        f"<p>{_introduction(name, selected, results.depth)} Mean Dice on held-out cases, with its "
        "95 % interval.</p><div class=table><table><thead><tr><th scope=col>Data</th>"
        f"<th scope=col>Images</th>{_headings(name)}<th scope=col>Best</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def nearest(selected: Selection | None, strategy: str, statistics: StudyStatistics) -> str | None:
    """Return the studied strategy whose rates differ least, summed over all weights.

    What is frozen has the rate 0; `auto` has none, as that rule has changed since, and `rgn` only
    itself.
    """
    studied = list(statistics.summary["strategy"].unique())
    if selected is None:
        return None
    if selected.power is not None:
        return strategy if strategy in studied else None
    fixed = _fixed(studied, NetworkLayout.unet(statistics.results.depth))
    return min(fixed, key=lambda name: sum(fixed[name].difference(selected).values()), default=None)


def _fixed(strategies: Iterable[str], layout: NetworkLayout) -> dict[str, Selection]:
    """Return what strategies train, without those that fix no weights, such as `auto`."""
    fixed = {}
    for name in strategies:
        with suppress(StrategyError):
            selected = selection(name, layout)
            if selected is not None and selected.power is None:
                fixed[name] = selected
    return fixed


def _introduction(name: str, selected: Selection, depth: int) -> str:
    text = f"<code>{escape(name)}</code>"
    if selected.power is not None:
        return f"What {text} reached in the published study."
    different = _fixed([name], NetworkLayout.unet(depth))[name].difference(selected)
    if not different:
        return f"The published study has {text}."
    count = len({layer for layer, _ in different})
    layers = f"{count} layer{'s' if count > 1 else ''}"
    return f"Nearest in the published study: {text}, which differs in {layers}."


def _columns(name: str) -> dict[str, None]:
    return dict.fromkeys((name, "none", "all"))


def _headings(name: str) -> str:
    return "".join(f"<th scope=col>{escape(column)}</th>" for column in _columns(name))


def _found_row(summary: pd.DataFrame, scenario: Scenario, name: str) -> str:
    best = summary["mean"].idxmax()
    modality = modality_of(scenario.data)
    kind = "X-ray" if modality == "xray" else modality or ""
    cells = [_cell(summary, column) for column in _columns(name)]
    return (
        f"<tr><th scope=row>{escape(scenario.data)} <small>{kind}</small></th>"
        f"<td>{scenario.train_size}</td>"
        f"{''.join(cells)}<td>{escape(best)} <small>{summary['mean'].max():.3f}</small></td></tr>"
    )


def _cell(summary: pd.DataFrame, name: str) -> str:
    if name not in summary.index:
        return "<td>–</td>"
    row = summary.loc[name]
    return f"<td>{row['mean']:.3f} <small>{row['low']:.3f}–{row['high']:.3f}</small></td>"

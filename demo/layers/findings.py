"""What the published study found for the strategy that is nearest to the one on the page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import pandas as pd
from results import Results

from kerasunet.data.modality import modality_of
from kerasunet.strategies import Layout, StrategyError, WeightRef, parse

_NONE_YET = (
    "<p>No study results come with this copy. <code>kerasunet study --data my_folder</code> makes "
    "them for your images.</p>"
)


def findings(selected: frozenset[WeightRef] | None, strategy: str, results: Results | None) -> str:
    """HTML: a table with a row for each data set and number of training images."""
    if results is None:
        return _NONE_YET
    name = nearest(selected, strategy, results)
    if name is None:
        return f"<p>The published study has no run of <code>{escape(strategy)}</code>.</p>"
    rows = [_row(results.panel(*panel), *panel, name) for panel in results.panels]
    return (
        f"<p>{_introduction(name, selected, results.depth)} Mean Dice on held-out cases, with its "
        "95 % interval.</p><div class=table><table><thead><tr><th scope=col>Data</th>"
        f"<th scope=col>Images</th>{_headings(name)}<th scope=col>Best</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def nearest(selected: frozenset[WeightRef] | None, strategy: str, results: Results) -> str | None:
    """The studied strategy that differs in the fewest weights by name; `auto` only from itself."""
    studied = list(results.summary["strategy"].unique())
    if selected is None:
        return strategy if strategy in studied else None
    fixed = _fixed(studied, Layout.unet(results.depth))
    return min(fixed, key=lambda name: len(fixed[name] ^ selected), default=None)


def _fixed(strategies: Iterable[str], layout: Layout) -> dict[str, frozenset[WeightRef]]:
    """What strategies train; those without weights of their own, such as `auto`, are left out."""
    selected = {}
    for name in strategies:
        try:
            selected[name] = parse(name).select(layout)
        except StrategyError:
            continue
    return selected


def _introduction(name: str, selected: frozenset[WeightRef] | None, depth: int) -> str:
    text = f"<code>{escape(name)}</code>"
    if selected is None:
        return f"What {text} reached in the published study."
    different = _fixed([name], Layout.unet(depth))[name] ^ selected
    if not different:
        return f"The published study has {text}."
    count = len({weight.layer for weight in different})
    layers = f"{count} layer{'s' if count > 1 else ''}"
    return f"Nearest in the published study: {text}, which differs in {layers}."


def _columns(name: str) -> dict[str, None]:
    return dict.fromkeys((name, "none", "all"))


def _headings(name: str) -> str:
    return "".join(f"<th scope=col>{escape(column)}</th>" for column in _columns(name))


def _row(panel: pd.DataFrame, data: str, train_size: int, name: str) -> str:
    best = panel["mean"].idxmax()
    kind = modality_of(data) or ""
    cells = [_cell(panel, column) for column in _columns(name)]
    return (
        f"<tr><th scope=row>{escape(data)} <small>{kind}</small></th><td>{train_size}</td>"
        f"{''.join(cells)}<td>{escape(best)} <small>{panel.at[best, 'mean']:.3f}</small></td></tr>"
    )


def _cell(panel: pd.DataFrame, name: str) -> str:
    if name not in panel.index:
        return "<td>–</td>"
    row = panel.loc[name]
    return f"<td>{row['mean']:.3f} <small>{row['low']:.3f}–{row['high']:.3f}</small></td>"

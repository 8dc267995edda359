"""All numbers of one part of a study, as a table."""

from __future__ import annotations

from html import escape

from results import Results

from kerasunet.study.figures.order import ordered


def numbers_table(results: Results, data: str, train_size: int) -> str:
    """HTML: a row for each strategy, family by family."""
    panel = results.panel(data, train_size)
    rows = [
        f"<tr><th scope=row>{escape(name)}</th><td>{panel.at[name, 'mean']:.3f}</td>"
        f"<td>{panel.at[name, 'low']:.3f} to {panel.at[name, 'high']:.3f}</td>"
        f"<td>{panel.at[name, 'missed']:.3g}</td><td>{panel.at[name, 'cases']}</td>"
        f"<td>{panel.at[name, 'runs']}</td></tr>"
        for name in ordered(panel.index)
    ]
    headings = ("Strategy", "Dice", "95 % interval", "Missed", "Cases", "Runs")
    head = "".join(f"<th scope=col>{heading}</th>" for heading in headings)
    return (
        f"<p>{escape(data)}, {train_size} training images</p><div class=table><table><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )

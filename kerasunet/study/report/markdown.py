"""The tables of a report in Markdown, for documents that are kept beside the code."""

from __future__ import annotations

from collections.abc import Sequence

from kerasunet.study.figures.words import interval, panel_title, signed
from kerasunet.study.report.findings import Findings
from kerasunet.study.report.tables import Table, auto_table, strategy_table
from kerasunet.study.stats import Claim


def document(findings: Findings) -> str:
    """Writes strategies, claims and automatic choice as Markdown tables under their captions."""
    results = findings.results
    data_sets = dict.fromkeys(data for data, _ in results.panels)
    tables = [strategy_table(results, data) for data in data_sets]
    tables.append(claim_table(findings.claims))
    tables += [auto_table(findings.auto)] if len(findings.auto) else []
    return "\n\n".join(map(markdown, tables))


def claim_table(claims: Sequence[Claim]) -> Table:
    """The paper's claims, each with its verdict and effect."""
    return Table(
        "The claims of the paper: difference in Dice with 95 % bootstrap interval.",
        ("claim", "data", "measured", "verdict", "difference", "95 % interval"),
        tuple((c.name, _place(c), c.effect, c.verdict, *_effect(c)) for c in claims),
        texts=(0, 1, 2, 3),
    )


def markdown(table: Table) -> str:
    """Writes one table: its caption, its headings, its rows; notable rows in bold."""
    rule = ["---" if n in table.texts else "---:" for n in range(len(table.columns))]
    rows = [_row(row, number in table.notable) for number, row in enumerate(table.rows)]
    lines = [table.columns, rule, *rows]
    return "\n".join([table.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _row(cells: Sequence[str], notable: bool) -> list[str]:
    return [f"**{cell}**" if notable and cell else cell for cell in cells]


def _place(claim: Claim) -> str:
    titles = [panel_title(data) for data in claim.data.split(", ")]
    return f"{' against '.join(titles)}, {claim.train_size} images"


def _effect(claim: Claim) -> tuple[str, str]:
    if claim.estimate is None:
        return "", claim.explanation
    return signed(claim.estimate), interval(claim.low, claim.high, signed)

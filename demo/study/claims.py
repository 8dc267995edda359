"""The claims of the paper and their verdicts, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasunet.study.stats import Claim

_STATEMENTS = {
    ("contracting-above-expanding", "contracting - expanding"): (
        "Tuning the contracting path gives a higher Dice than tuning the expanding path"
    ),
    ("shallow-first-above-deep-first", "shallow - deep"): (
        "Tuning the first K blocks gives a higher Dice than tuning the last K, on average over K"
    ),
    ("ultrasound-differs-from-x-ray", "contracting - expanding"): (
        "The lead of the contracting path is larger in ultrasound than in X-ray"
    ),
    ("ultrasound-differs-from-x-ray", "shallow - deep"): (
        "The lead of the first K blocks is larger in ultrasound than in X-ray"
    ),
}
_SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}


def claims_table(claims: Iterable[Claim]) -> str:
    """HTML: a table for each claim, a row for each data set and number of training images."""
    tables = [_table(list(found)) for _, found in groupby(claims, key=lambda c: (c.name, c.effect))]
    return "".join(tables) or "<p>There is nothing to judge yet.</p>"


def _table(found: list[Claim]) -> str:
    first = found[0]
    title = _STATEMENTS.get((first.name, first.effect), first.statement)
    headings = ("Data", "Images", "Verdict", "Effect in Dice", "95 % interval")
    head = "".join(f"<th scope=col>{heading}</th>" for heading in headings)
    head += "<th scope=col class=words>Rests on</th>"
    return (
        f"<h4>{escape(title)}</h4><div class=table><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(map(_row, found))}</tbody></table></div>"
    )


def _row(claim: Claim) -> str:
    sign = _SIGNS[claim.verdict]
    verdict = f'<span class="verdict {claim.verdict}">{sign} {claim.verdict}</span>'
    numbers, basis = "<td>–</td><td>–</td>", claim.explanation
    if claim.estimate is not None:
        interval = f"{_signed(claim.low)} to {_signed(claim.high)}"
        numbers = f"<td>{_signed(claim.estimate)}</td><td>{interval}</td>"
        basis = claim.explanation.partition("; ")[2]
    return (
        f"<tr><th scope=row>{escape(claim.data)}</th><td>{claim.train_size}</td>"
        f"<td>{verdict}</td>{numbers}<td class=words>{escape(basis)}</td></tr>"
    )


def _signed(value: float) -> str:
    return "unknown" if value != value else f"{value:+.3f}".replace("-", "−")

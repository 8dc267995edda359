"""Check the paper's claims on finished studies: means, paired comparisons, verdicts.

A study that is still growing may be given too: what lacks runs is told and stays undecided. Give
an ultrasound and an X-ray study together to have the two compared.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("studies", nargs="+", type=Path, metavar="STUDY", help="study directories")
    add("--markdown", action="store_true", help="print the tables in Markdown, for a document")
    add("--json", type=Path, metavar="FILE", help="also write everything as JSON")


def run(options: argparse.Namespace) -> int:
    from kerasunet.files import write_json
    from kerasunet.study import stats

    studies = stats.read_studies(options.studies)
    cases, runs, depth = studies.cases, studies.runs, studies.depth
    summary = stats.summarize(cases)
    comparisons = stats.compare_all(cases, depth=depth)
    claims = stats.claims(cases, runs, depth)
    auto = stats.auto_report(cases, runs)
    if options.markdown:
        print(_markdown(options.studies))
    else:
        print("\n\n".join(_sections(summary, comparisons, claims, auto)))
    if options.json:
        content = {
            "summary": summary.to_dict("records"),
            "comparisons": [asdict(comparison) for comparison in comparisons],
            "claims": [asdict(claim) for claim in claims],
            "auto": auto.to_dict("records"),
        }
        write_json(options.json, _plain(content))
    return 0


def _markdown(directories: list[Path]) -> str:
    from kerasunet.study.figures.results import read_results
    from kerasunet.study.report.findings import Findings
    from kerasunet.study.report.page import document

    return document(Findings.of(read_results(directories)))


def _sections(summary, comparisons, claims, auto) -> list[str]:
    """The report, table by table; tables without rows are left out."""
    sections = [
        _table("Dice, mean over cases (95 % interval)", map(_summary_row, _rows(summary))),
        _table("Paired comparisons", map(_comparison_row, comparisons)),
        _table("Automatic choice against fixed strategies", map(_auto_row, _rows(auto))),
        "\n".join(["Claims", *map(_claim_text, claims)]),
    ]
    return [section for section in sections if "\n" in section]


def _rows(frame) -> list:
    return list(frame.itertuples(index=False))


def _summary_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "strategy": row.strategy,
        "runs": str(row.runs),
        "cases": str(row.cases),
        "Dice": _estimate(row.mean, row.low, row.high, ".4f"),
        "missed": f"{row.missed:g}",
    }


def _comparison_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "first - second": f"{row.first} - {row.second}",
        "difference": _estimate(row.difference, row.low, row.high, "+.4f"),
        "p": f"{row.p_value:.2g}",
        "p (Holm)": f"{row.p_adjusted:.2g}",
        "effect": f"{row.effect_size:+.2f}",
        "better/worse/same": f"{row.wins}/{row.losses}/{row.ties}",
    }


def _auto_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "strategy": row.auto,
        "Dice": f"{row.mean:.4f}",
        "best": f"{row.best} {row.best_mean:.4f}",
        "worst": f"{row.worst} {row.worst_mean:.4f}",
        "behind best": _estimate(row.regret, row.regret_low, row.regret_high, "+.4f"),
        "worst to best": f"{row.share:.0%}",
        "chosen": row.chosen,
    }


def _estimate(mean: float, low: float, high: float, form: str) -> str:
    return f"{mean:{form}} ({low:{form}} to {high:{form}})"


def _claim_text(claim) -> str:
    return f"{claim.verdict:<13} {claim.name}\n  {claim.statement}\n  {claim.explanation}"


def _table(title: str, rows) -> str:
    """Aligned columns under a title; the title alone where there are no rows."""
    rows = list(rows)
    if not rows:
        return title
    names = list(rows[0])
    lines = [names, *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([title, *text])


def _plain(value):
    """Values that JSON knows: a number that is not one becomes null."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

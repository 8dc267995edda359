"""Check the paper's claims on finished studies: means, paired comparisons, verdicts.

Unfinished studies may be given too: claims that lack runs are named and stay undecided. Give an
ultrasound and an X-ray study together to compare the two.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasunet.study.stats import StudyStatistics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("studies", nargs="+", type=Path, metavar="STUDY", help="study directories")
    add("--object", metavar="NAME", help="of several objects only this one (each, and the mean)")
    add("--markdown", action="store_true", help="print the tables in Markdown, for a document")
    add("--json", type=Path, metavar="FILE", help="also write everything as JSON")


def marks() -> dict[str, bytes]:
    return {"json": b'{\n  "summary": ['}


def run(options: argparse.Namespace) -> int:
    from kerasunet.files import write_json
    from kerasunet.study.results import read_results
    from kerasunet.study.stats import StudyStatistics

    results = read_results(options.studies, results_required=options.markdown)
    if options.object is not None:
        results = results.of(options.object)
    statistics = StudyStatistics(results)
    if options.markdown:
        from kerasunet.study.report_tables import markdown_document

        print(markdown_document(statistics))
    else:
        print("\n\n".join(_all_sections(statistics)))
    if options.json:
        write_json(options.json, _content(statistics))
    return 0


def _all_sections(statistics: StudyStatistics) -> list[str]:
    """Return the sections of the mean over objects, and those of each of several objects."""
    if not statistics.of_objects:
        return _sections(statistics)
    sections = [f"Mean of {', '.join(statistics.of_objects)}", *_sections(statistics)]
    for name, one in statistics.of_objects.items():
        sections += [f"Object: {name}", *_sections(one)]
    return sections


def _content(statistics: StudyStatistics) -> dict[str, Any]:
    """Return everything for JSON; where there are several objects, that of each by its name."""
    each = {name: _content(one) for name, one in statistics.of_objects.items()}
    return {**_tables(statistics), **({"objects": each} if each else {})}


def _tables(statistics: StudyStatistics) -> dict[str, list]:
    return {
        "summary": statistics.summary.to_dict("records"),
        "comparisons": [asdict(comparison) for comparison in statistics.comparisons],
        "claims": [asdict(claim) for claim in statistics.claims],
        "auto": statistics.auto.to_dict("records"),
    }


def _sections(statistics: StudyStatistics) -> list[str]:
    """Return the tables and the claims; tables without rows are left out."""
    means = map(_summary_row, _rows(statistics.summary))
    auto = map(_auto_row, _rows(statistics.auto))
    sections = [
        _table("Dice, mean over cases (95 % interval)", means),
        _table("Paired comparisons", map(_comparison_row, statistics.comparisons)),
        _table("Automatic choice against fixed strategies", auto),
        "\n".join(["Claims", *map(_claim_text, statistics.claims)]),
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
        "Dice": _estimate(row.mean, row.low, row.high, form=".4f"),
        "missed": f"{row.missed:g}",
    }


def _comparison_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "first - second": f"{row.first} - {row.second}",
        "difference": _estimate(row.difference, row.low, row.high, form="+.4f"),
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
        "behind best": _estimate(row.regret, row.regret_low, row.regret_high, form="+.4f"),
        "worst to best": f"{row.share:.0%}",
        "chosen": row.chosen,
    }


def _estimate(mean: float, low: float, high: float, *, form: str) -> str:
    return f"{mean:{form}} ({low:{form}} to {high:{form}})"


def _claim_text(claim) -> str:
    return f"{claim.verdict:<13} {claim.name}\n  {claim.statement}\n  {claim.explanation}"


def _table(title: str, rows) -> str:
    """Return aligned columns under a title; the title alone where there are no rows."""
    rows = list(rows)
    if not rows:
        return title
    names = list(rows[0])
    lines = [names, *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([title, *text])

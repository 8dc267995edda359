"""The report of an adaptation: `answer.md`, and an HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np

from kerasunet.adapt.answer import Answer, candidate_lines, start_table
from kerasunet.drawing import draw_comparison, png
from kerasunet.metrics.policy import METRICS

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; line-height: 1.3 }
pre { overflow-x: auto; padding: .8rem; border: 1px solid #8885; border-radius: 6px }
img { max-width: 100%; height: auto; display: block; margin: .4rem 0 1.2rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left }
tr { border-bottom: 1px solid #8884 }
figure { margin: 0 } figcaption { font-size: .9rem }
"""
TITLE = "What to tune, and from which start"
_WORST = 8


def as_markdown(answer: Answer) -> str:
    """Return the answer and its tables as Markdown."""
    lines = [f"# {TITLE}", "", *_paragraphs(answer.sentences()), "## The images", ""]
    lines += [f"- {line}" for line in answer.survey.lines()]
    lines += ["", "## The starts, untouched", "", "```", *_starts(answer), "```", ""]
    if answer.chosen is not None:
        lines += ["## The candidates", "", _WEIGHED, ""]
        lines += ["```", *candidate_lines(answer.chosen), "```", ""]
    if answer.estimate is not None:
        lines += ["## The estimate", "", _how(answer), ""]
        lines += ["| metric | mean |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in _metrics(answer)]
        lines += ["", f"Worst cases: {', '.join(answer.worst_keys())}. All are in cases.csv."]
    return "\n".join([*lines, ""])


_WEIGHED = (
    "Dice against the best, with standard errors: what published studies say, what trials on these "
    "images say, and both together, each by the inverse of its variance."
)


def _starts(answer: Answer) -> list[str]:
    lines = start_table(answer.untouched, answer.keys)
    return [*lines, *(f"left out: {one.name}, since {one.reason}" for one in answer.left_out)]


def _how(answer: Answer) -> str:
    assert answer.estimate is not None
    folds = len(answer.estimate.by_fold)
    names = [str(one.candidate) for one in answer.estimate.by_fold]
    told = "; ".join(f"{names.count(name)} times {name}" for name in dict.fromkeys(names))
    nested = "start, image size, strategy, rate and threshold" if folds > 2 else "nothing"
    return (
        f"Cross-validation in {folds} folds of whole groups. For each fold, {nested} "
        f"{'were' if folds > 2 else 'was'} chosen anew from the other folds alone: {told}. The "
        f"number of optimizer steps, {answer.steps}, follows from the budget, and was not chosen."
    )


def _metrics(answer: Answer) -> list[tuple[str, str]]:
    assert answer.estimate is not None
    summary = answer.estimate.evaluation.summary
    low, high = answer.estimate.interval
    rows = [("Dice", f"{answer.estimate.dice.mean:.3f} ({low:.3f} to {high:.3f})")]
    for name, metric in METRICS.items():
        if name != "dice":
            unit = f" ({summary['unit']})" if metric.is_distance else ""
            rows.append((f"{metric.label}{unit}", f"{summary[name]['mean']:.3f}"))
    return [*rows, ("objects missed", f"{summary['missed']} of {summary['n']}")]


def as_html(answer: Answer) -> str:
    """Return the report as one HTML page: the answer on top, the worst cases as pictures."""
    parts = [f"<h1>{escape(answer.headline())}</h1>"]
    parts += [f"<p>{escape(text)}</p>" for text in answer.sentences()[1:]]
    parts += ["<h2>The images</h2>", _listed(answer.survey.lines())]
    parts += ["<h2>The starts, untouched</h2>", _preformatted(_starts(answer))]
    if answer.chosen is not None:
        parts += [f"<h2>The candidates</h2><p>{escape(_WEIGHED)}</p>"]
        parts += [_preformatted(candidate_lines(answer.chosen))]
    if answer.estimate is not None:
        parts += [f"<h2>The estimate</h2><p>{escape(_how(answer))}</p>", _table(_metrics(answer))]
        parts += ["<h2>Worst cases first</h2>", *_pictures(answer)]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{TITLE}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _listed(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _preformatted(lines: Sequence[str]) -> str:
    text = escape("\n".join(lines))
    return f'<pre tabindex="0">{text}</pre>'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table><tr><th>metric</th><th>mean (95 % interval)</th></tr>{cells}</table>"


def worst_pictures(answer: Answer) -> list[tuple[str, np.ndarray]]:
    """Return captions and pictures, uint8 RGB, of the cases that were found worst, worst first."""
    if answer.estimate is None:
        return []
    cases = sorted(answer.estimate.cases, key=lambda case: case.row["dice"])[:_WORST]
    return [
        (
            f"{case.row['key']}: Dice {case.row['dice']:.2f}",
            draw_comparison(case.image, case.truth, {f"Dice {case.row['dice']:.2f}": case.found}),
        )
        for case in cases
    ]


def _pictures(answer: Answer) -> list[str]:
    return [
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<img alt="image, truth and prediction of {escape(caption)}" '
        f'src="data:image/png;base64,{base64.b64encode(png(picture)).decode()}"></figure>'
        for caption, picture in worst_pictures(answer)
    ]


def _paragraphs(sentences: Sequence[str]) -> list[str]:
    return [line for sentence in sentences for line in (sentence, "")]

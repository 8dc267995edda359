"""The report of an adaptation: `answer.md`, and an HTML page that needs no other file."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from kerasunet.adapt.answer import Answer, candidate_lines, dice_of_objects, start_table
from kerasunet.adapt.cross_validation import Estimate
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
        rows = [("metric", "mean", *answer.estimate.objects), *_metrics(answer)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1 - len(rows), "|---" * len(rows[0]) + "|")
        lines += ["", f"Worst cases: {', '.join(answer.worst_keys())}. All are in cases.csv."]
    return "\n".join([*lines, ""])


_WEIGHED = (
    "Dice against the best, with standard errors: what published studies say, what trials on these "
    "images say, and both together, each by the inverse of its variance."
)


def _starts(answer: Answer) -> list[str]:
    lines = start_table(answer.untouched, answer.keys, answer.new_heads)
    return [*lines, *(one.told() for one in answer.left_out)]


def _how(answer: Answer) -> str:
    assert answer.estimate is not None
    folds = len(answer.estimate.by_fold)
    names = [str(one.candidate) for one in answer.estimate.by_fold]
    told = "; ".join(f"{names.count(name)} times {name}" for name in dict.fromkeys(names))
    nested = "start, image size, strategy, rate and threshold" if folds > 2 else "nothing"
    if answer.survey.data.objects.exclusive:
        nested = nested.replace(", rate and threshold", " and rate")
    return (
        f"Cross-validation in {folds} folds of whole groups. For each fold, {nested} "
        f"{'were' if folds > 2 else 'was'} chosen anew from the other folds alone: {told}. The "
        f"number of optimizer steps, {answer.steps}, follows from the budget, and was not chosen."
    )


def _metrics(answer: Answer) -> list[tuple[str, ...]]:
    """Return name and mean of each metric; of several objects also the mean of each."""
    assert answer.estimate is not None
    summary = answer.estimate.evaluation.summary
    expected = [answer.estimate.expected, *answer.estimate.objects.values()]
    every = [summary, *(summary["objects"][name] for name in answer.estimate.objects)]
    rows = [("Dice", *(f"{e.dice.mean:.3f} ({_span(e.interval)})" for e in expected))]
    for name, metric in METRICS.items():
        if name != "dice":
            unit = f" ({summary['unit']})" if metric.is_distance else ""
            rows.append((f"{metric.label}{unit}", *(f"{s[name]['mean']:.3f}" for s in every)))
    objects = max(1, len(answer.estimate.objects))
    counts = [f"{summary['missed']} of {summary['n'] * objects}"]
    counts += [f"{one['missed']} of {one['n']}" for one in every[1:]]
    return [*rows, ("objects missed", *counts)]


def _span(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.3f} to {high:.3f}"


def as_csv(estimate: Estimate) -> str:
    """Return the table of cases: a row each, of several objects one an object."""
    text = io.StringIO(newline="")
    cases = sorted(estimate.cases, key=lambda case: case.key)
    table = csv.DictWriter(text, list(cases[0].rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(row for case in cases for row in case.rows)
    return text.getvalue()


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
        header = ("metric", "mean (95 % interval)", *answer.estimate.objects)
        parts += [f"<h2>The estimate</h2><p>{escape(_how(answer))}</p>"]
        parts += [_table(header, _metrics(answer))]
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


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(_row(row, "td") for row in rows)
    return f"<table>{_row(header, 'th')}{cells}</table>"


def _row(values: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(one)}</{tag}>' for one in values)}</tr>"


def worst_pictures(answer: Answer) -> list[tuple[str, np.ndarray]]:
    """Return captions and pictures, uint8 RGB, of the cases that were found worst, worst first."""
    if answer.estimate is None:
        return []
    objects = answer.survey.data.objects
    pictures = []
    for case in answer.worst_cases()[:_WORST]:
        found = {f"Dice {case.dice:.2f}": case.found}
        caption = f"{case.key}: Dice {case.dice:.2f}{dice_of_objects(case)}"
        drawn = draw_comparison(case.image, case.truth, found, objects=objects)
        pictures.append((caption, drawn))
    return pictures


def _pictures(answer: Answer) -> list[str]:
    return [
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<img alt="image, truth and prediction of {escape(caption)}" '
        f'src="data:image/png;base64,{base64.b64encode(png(picture)).decode()}"></figure>'
        for caption, picture in worst_pictures(answer)
    ]


def _paragraphs(sentences: Sequence[str]) -> list[str]:
    return [line for sentence in sentences for line in (sentence, "")]

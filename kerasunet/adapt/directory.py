"""The directory of an adaptation: which images and objects it is about, and its report.

Results are written aside and moved into place when all of them are complete, so a new model never
lies beside an old answer; what was changed by hand since is not replaced. The report is `answer.md`
and an HTML page that needs no other file.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.adapt.answer import Answer, candidate_lines, dice_of_objects, start_table
from kerasunet.adapt.cross_validation import Estimate
from kerasunet.adapt.settings import suffice
from kerasunet.data.cases import DataSet
from kerasunet.data.identification import known_images
from kerasunet.drawing import draw_comparison, png
from kerasunet.files import (
    read_json,
    remove_left,
    require_replaceable,
    sha256,
    temporary_folder,
    write_atomically,
    write_json,
    writing,
)
from kerasunet.metrics import METRICS, unit_in_words
from kerasunet.models.model_card import read_card
from kerasunet.schema import COUNT, NUMBER, TEXT, each, or_null, read_values

RECORD, ANSWER, MODEL = "adapt.json", "answer.json", "model.keras"
WORK = "work"
TOLD = ("answer.md", "report.html", "cases.csv", "failures.png", ANSWER)
"""What is told of a model, the answer last; nothing of it may stay beside another model."""
_CARD = ("model.json", "model.md")
_RESULTS = (MODEL, *_CARD, "check.html", "pairs.png", *TOLD)
_WRITTEN, _UNPUBLISHED = "files", ".publishing-"
_KNOWN = {
    "data": TEXT,
    "objects?": TEXT,
    "images?": [TEXT],
    f"{_WRITTEN}?": each("an object with digests of each file", [TEXT]),
}
_CHOSEN = {"start": TEXT, "image_size": COUNT, "strategy": TEXT}
_TOLD = {
    "images": COUNT,
    "chosen": or_null(_CHOSEN, "a start, an image size and a strategy, or null"),
    "estimate": or_null({"dice": NUMBER}, "an object with a dice, or null"),
}
_OTHER = "give another folder"


@dataclass(frozen=True)
class AdaptDirectory:
    """The files by which a directory tells what it is an adaptation to.

    Attributes:
        path: The directory, which exists.
    """

    path: Path

    def check(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse what must not be mixed; images may come and go, if some stay.

        Args:
            asked: What `record_of` returned.

        Returns:
            The earlier answer in the directory, empty if there is none.

        Raises:
            FileExistsError: It holds something else.
            ValueError: It is an adaptation to other data or objects, or holds a model that would
                stay beside the answer about too few images.
        """
        record = self.path / RECORD
        if record.is_file():
            known = read_values(record, _KNOWN, "the record of an adaptation", remedy=_OTHER)
            self._require_same(known, asked)
        elif others := sorted(path.name for path in self.path.iterdir()):
            raise FileExistsError(
                f"{self.path}: holds {others[0]} but no run of adapt; give a new folder"
            )
        self._require_unchanged(_RESULTS)
        earlier = next(filter(Path.is_file, (self.path / ANSWER, self._earlier)), None)
        if earlier is None:
            return {}
        return read_values(earlier, _TOLD, "the answer of an adaptation", remedy=_OTHER)

    def is_answered(self, asked: Mapping[str, Any]) -> bool:
        """Whether the same has been asked before, so that answer and model stay.

        Args:
            asked: What `record_of` returned.
        """
        try:
            known, told = read_json(self.path / RECORD), read_json(self.path / ANSWER)
            same = {**asked, **known} == {**known, **asked}  # An older record lacks settings.
            return same and told["images"] == len(asked["images"])
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Write down what the directory is about, once nothing else can refuse the adaptation."""
        self._record(self._written(), asked)

    @contextmanager
    def publishing(self, withdrawn: Sequence[str] = ()) -> Iterator[Path]:
        """Yield a folder to write results in; then move them into place, the answer last.

        If it is interrupted, no earlier answer is left that a new model would contradict.

        Args:
            withdrawn: Names of earlier results, which go before the new ones come.

        Raises:
            FileExistsError: A result that would be replaced has been changed since it was written.
            NotWritten: The system refused.
        """
        remove_left(self.path, _UNPUBLISHED)
        with temporary_folder(self.path, _UNPUBLISHED) as aside:
            yield aside
            self._publish(aside, withdrawn)

    def _publish(self, aside: Path, withdrawn: Sequence[str]) -> None:
        names = sorted((path.name for path in aside.iterdir()), key=_RESULTS.index)
        self._require_unchanged({*names, *withdrawn})
        new = {name: [sha256(aside / name)] for name in names}
        old = self._written()
        # Whatever an interruption leaves is recognized: both the old and the new.
        self._record({name: [*old.get(name, ()), *new.get(name, ())] for name in {**old, **new}})
        self._withdraw(withdrawn)
        for name in names:
            _move(aside / name, self.path / name)
        self._record({name: known for name, known in old.items() if name not in withdrawn} | new)
        if ANSWER in names:
            self._earlier.unlink(missing_ok=True)

    @property
    def _earlier(self) -> Path:
        """A copy of the earlier answer while results are moved, to tell what has changed."""
        return self.path / WORK / "earlier.json"

    def _written(self) -> dict[str, list[str]]:
        """Return the digests of results by name; for an older version, those of all that exist."""
        record = self.path / RECORD
        known = read_json(record) if record.is_file() else {_WRITTEN: {}}
        if _WRITTEN in known:
            return known[_WRITTEN]
        return {one.name: [sha256(one)] for one in self._results() if one.is_file()}

    def _results(self, names: Iterable[str] = _RESULTS) -> list[Path]:
        return [self.path / name for name in names]

    def _record(self, written: Mapping[str, Sequence[str]], asked: Mapping[str, Any] = {}) -> None:
        record = self.path / RECORD
        known = read_json(record) if record.is_file() else {}
        write_json(record, {**known, **asked, _WRITTEN: dict(sorted(written.items()))})

    def _require_unchanged(self, names: Iterable[str]) -> None:
        """Refuse to go on where something would be replaced that somebody has worked on."""
        written = self._written()
        for path in self._results(sorted(names)):
            require_replaceable(path)
            known = written.get(path.name, ())
            if path.is_file() and sha256(path) not in known and not (known and _is_card(path)):
                raise FileExistsError(
                    f"{path}: has been changed since adapt wrote it, and would be replaced; rename "
                    "it, then start again"
                )

    def _withdraw(self, names: Collection[str]) -> None:
        if ANSWER in names and (self.path / ANSWER).is_file():
            write_json(self._earlier, read_json(self.path / ANSWER))
        for path in filter(Path.is_file, self._results(names)):
            with writing(path):
                path.resolve().unlink()  # A link stays.

    def _require_same(self, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        """Refuse another data set, by its name or its images, and other objects.

        Older records hold only the name.
        """
        for what in ("data", "objects"):
            if known.get(what, asked[what]) != asked[what]:
                raise ValueError(
                    f"{self.path}: is an adaptation to {known[what]}, not to {asked[what]}; "
                    f"{_OTHER}"
                )
        earlier = known.get("images")
        if earlier and not known_images(asked["images"], earlier).any():
            raise ValueError(
                f"{self.path}: is an adaptation to other images, from another folder called "
                f"{asked['data']}: none of them is among these; {_OTHER}"
            )

    def require_enough(self, data: DataSet) -> None:
        """Refuse images that are too few for a model where there is one of more images.

        Raises:
            ValueError: It would stay beside an answer that it has nothing to do with.
        """
        if (self.path / MODEL).is_file() and not suffice(data.cases):
            raise ValueError(
                f"{self.path}: holds a model trained on more images than the {len(data)} that "
                f"{data.name} has now, which are too few to make another; {_OTHER}"
            )


def _is_card(path: Path) -> bool:
    """Whether a file is the card of the model, to which `evaluate` adds, or follows from it."""
    if path.name not in _CARD:
        return False
    try:
        card = read_card(path.with_suffix(".json"))
    except (OSError, ValueError):
        return False
    return path.suffix == ".json" or path.read_text(encoding="utf-8") == card.to_markdown()


def _move(source: Path, target: Path) -> None:
    """Give a complete file its name; where that is a link, write what it leads to."""
    if target.is_symlink():
        write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))
        return
    with writing(target):
        os.replace(source, target)


_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.3 }
pre { overflow-x: auto; padding: .8rem; border: 1px solid #8885; border-radius: 6px }
img { max-width: 100%; height: auto; display: block; margin: .4rem 0 1.2rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { padding: .2rem .8rem; text-align: right }
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
    "Difference in Dice from the best, with standard errors: in published studies, in trials on "
    "these images, and in both together: one estimate for all candidates at once, which no row "
    "gives alone. Each source counts the more, the smaller its errors are."
)


def _starts(answer: Answer) -> list[str]:
    lines = start_table(answer.untouched, answer.keys, answer.new_heads)
    return [*lines, *(one.told() for one in answer.left_out)]


def _how(answer: Answer) -> str:
    assert answer.estimate is not None
    folds = len(answer.estimate.by_fold)
    names = [str(one.candidate) for one in answer.estimate.by_fold]
    told = "; ".join(f"{name} in {names.count(name)}" for name in dict.fromkeys(names))
    nested = "start, image size, strategy, rate and threshold" if folds > 2 else "nothing"
    if answer.survey.data.objects.exclusive:
        nested = nested.replace(", rate and threshold", " and rate")
    return (
        f"Cross-validation in {folds} folds of whole groups. For each fold, {nested} "
        f"{'were' if folds > 2 else 'was'} chosen again from the other folds alone: {told}. The "
        f"number of optimizer steps, {answer.steps}, follows from the budget, and was not chosen."
    )


def _metrics(answer: Answer) -> list[tuple[str, ...]]:
    """Return name and mean of each metric; for several objects, also the mean of each."""
    assert answer.estimate is not None
    summary = answer.estimate.evaluation.summary
    expected = [answer.estimate.expected, *answer.estimate.objects.values()]
    every = [summary, *(summary["objects"][name] for name in answer.estimate.objects)]
    rows = [("Dice", *(f"{e.dice.mean:.3f} ({_span(e.interval)})" for e in expected))]
    for name, metric in METRICS.items():
        if name != "dice":
            unit = f" ({unit_in_words(summary)})" if metric.is_distance else ""
            rows.append((f"{metric.label}{unit}", *(f"{s[name]['mean']:.3f}" for s in every)))
    objects = max(1, len(answer.estimate.objects))
    counts = [f"{summary['missed']} of {summary['n'] * objects}"]
    counts += [f"{one['missed']} of {one['n']}" for one in every[1:]]
    return [*rows, ("objects missed", *counts)]


def _span(interval: tuple[float, float]) -> str:
    return "{:.3f} to {:.3f}".format(*interval)


def as_csv(estimate: Estimate) -> str:
    """Return the table of cases: one row per case, or per case and object if there are several."""
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
        drawn = draw_comparison(case.image, case.truth, found, name=case.key, objects=objects)
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

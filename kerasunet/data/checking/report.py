"""The report of a check: kinds of problems, how bad each is, its remedy; summary and HTML page."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kerasunet.data.cases import AnnotatedCase, Case, DataSet, FileCase
from kerasunet.data.decoding import resize_image, resize_mask, resize_objects
from kerasunet.data.layouts.objects import CaseOfObjects
from kerasunet.data.splits import groups_in_words
from kerasunet.drawing import TRUTH, overlay, overlay_objects
from kerasunet.objects import objects_of

_SIDE = 160
_MOST_PICTURES, _MOST_NAMES = 50, 5
_FOLDERS = re.compile(r"(?<![\w.~-])(?:[A-Za-z]:)?/(?:[^/\n:,;]+/)+")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
li { margin: .6rem 0; overflow-wrap: anywhere }
img { margin: .3rem .4rem 0 0; vertical-align: top }
.error { color: #a2261b } .warning { color: #8a5a00 } .note { color: #33558b }
"""
SEVERITIES = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of problem: how bad it is, what it is, and the remedy."""

    severity: str
    title: str
    remedy: str


KINDS: Mapping[str, Kind] = {
    "pairing": Kind(
        "error",
        "files that do not pair up or do not fit the layout",
        "add the partner, correct the name or take the file away",
    ),
    "unreadable": Kind(
        "error", "files that cannot be read", "copy or export the file again, or leave the case out"
    ),
    "annotation": Kind(
        "error", "annotations that cannot be drawn", "correct the annotation in its program"
    ),
    "wrong-size": Kind(
        "error", "masks that differ from their image in size", "export the mask at the image's size"
    ),
    "not-binary": Kind(
        "error",
        "masks with more than two values",
        "choose the object among labels with --objects; else save masks as PNG, never as JPEG, "
        "without smoothing: 0 and one other value",
    ),
    "mixed-codes": Kind(
        "error",
        "masks in which different values or colors are the object",
        "say with --objects whether one of them is meant, or all",
    ),
    "left-out": Kind(
        "warning",
        "shapes that have no area or cannot be drawn, and are left out",
        "correct the shape in its program, or delete it there",
    ),
    "doubtful-outlines": Kind(
        "warning",
        "masks and outlines that may mean something else than what is read",
        "look at them; if they are right as they are, nothing has to be done",
    ),
    "coding": Kind(
        "error",
        "masks in which nothing is the object",
        "save masks as 0 and one other value, or leave out the files that make this look like a "
        "published set",
    ),
    "constant-image": Kind(
        "warning", "images that show nothing", "export the image again, or leave the case out"
    ),
    "empty-mask": Kind(
        "warning",
        "empty masks",
        "draw the object; if there is none, label the case normal to silence this",
    ),
    "full-mask": Kind(
        "warning",
        "masks that cover the whole image",
        "check whether the background was saved as the object",
    ),
    "inverted-mask": Kind(
        "warning",
        "masks that are object along nearly the whole edge",
        "check whether object and background are swapped",
    ),
    "unusual-share": Kind(
        "warning",
        "objects of an unusual size",
        "check whether the mask belongs to another image, or was drawn by mistake",
    ),
    "near-duplicates": Kind(
        "warning",
        "nearly the same image in several groups",
        "train and test would share it: join the groups (--groups writes them) or keep one image",
    ),
    "label-conflict": Kind(
        "warning",
        "nearly the same image with different labels",
        "find out which label is right, or leave both out",
    ),
    "mask-conflict": Kind(
        "warning",
        "nearly the same image with contradicting masks",
        "draw one of the masks again, or leave both out",
    ),
    "overlap": Kind(
        "error",
        "objects that exclude each other, and overlap",
        "use --overlapping if a pixel may belong to both; otherwise name the object on top last",
    ),
    "absent-object": Kind(
        "error",
        "objects that are in no image",
        "correct --objects, or leave the object out: nothing can be learned about it",
    ),
    "rare-object": Kind(
        "note",
        "objects that only some groups have",
        "a split may leave few of them for training or for the test; give more images of them, or "
        "more folds",
    ),
    "unread": Kind(
        "warning",
        "files that belong to no case",
        "convert images to PNG, give masks the names of their images, or move the files elsewhere",
    ),
    "outline": Kind(
        "warning",
        "masks that are a thin closed line",
        "fill the outline in the program that drew it: only the line counts as the object",
    ),
    "unannotated": Kind(
        "note",
        "images without a mask",
        "they are left out of training and evaluation; draw masks, or let predict segment them",
    ),
    "unused-list": Kind(
        "note",
        "lists of parts or folds that are not used, and spreadsheets",
        "to use them, write them as the column split of a manifest.csv, or sort the files into "
        "folders train/, val/ and test/",
    ),
    "documents": Kind(
        "note",
        "documents, tables, columns and flags that no case is read from",
        "if one names patients, give --groups; if it says what to leave out, move that elsewhere",
    ),
    "unused-patients": Kind(
        "warning",
        "tables that name patients, and are not used",
        "write the columns key and group to a table and give --groups, so that no patient is in "
        "two parts of a split",
    ),
    "divided-patients": Kind(
        "warning",
        "images of one patient in several groups, or of several in one",
        "put the folders of a patient into one, or write the columns key and group to a table and "
        "give --groups, so that no patient is in two parts of a split",
    ),
    "shared-mask": Kind(
        "warning",
        "masks of several images",
        "check whether each image should have a mask of its own",
    ),
    "overlapping-masks": Kind(
        "warning",
        "masks of one image that cover the same",
        "they are united as parts of one object; keep one of them if they are versions of it, or "
        "of several annotators",
    ),
    "patient-names": Kind(
        "note",
        "names that look like patients, or were taken for patients",
        "give the pattern to check, finetune, study and evaluate, so that no patient is in two "
        "parts of a split",
    ),
    "burnt-in-marks": Kind(
        "note",
        "images that may have burned-in annotations",
        "a network may learn these instead of the object; prefer images without them",
    ),
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: One of `KINDS`.
        message: What was found and where; the remedy is that of the kind.
        files: The files concerned.
        keys: The cases concerned; none where the files did not become a case.
    """

    kind: str
    message: str
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        """`"error"`, `"warning"` or `"note"`."""
        return KINDS[self.kind].severity

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].remedy


@dataclass(frozen=True)
class Report:
    """What is wrong with a data set.

    Attributes:
        source: What was checked, as it was given.
        data: The data set; `None` if its cases could not be listed.
        problems: All problems that were found, errors first.
        groups: The group of every key, near-duplicates joined with the groups of the set.
    """

    source: str
    data: DataSet | None
    problems: tuple[Problem, ...]
    groups: Mapping[str, str] = field(default_factory=dict, hash=False)

    def by_kind(self) -> dict[str, list[Problem]]:
        """Return the problems by kind, in the order of `KINDS`; only kinds that occur."""
        sorted_out = {kind: [p for p in self.problems if p.kind == kind] for kind in KINDS}
        return {kind: found for kind, found in sorted_out.items() if found}

    def counts(self) -> dict[str, int]:
        """Return how many problems there are of each severity."""
        return {s: sum(p.severity == s for p in self.problems) for s in SEVERITIES}

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the images, ready for JSON."""
        return {
            "source": self.source,
            "name": self.data.name if self.data else None,
            "layout": self.data.layout if self.data else None,
            "cases": len(self.data) if self.data else None,
            "counts": self.counts(),
            "problems": [
                {"severity": p.severity, **vars(p), "remedy": p.remedy} for p in self.problems
            ],
        }


def as_html(report: Report) -> str:
    """Draw a report as an HTML page with thumbnails; masks are drawn into the images.

    The first 50 problems of each kind have thumbnails.
    """
    title = f"Check of {escape(Path(report.source).name)}"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1><p>{escape(summary(report))}</p>",
            *sections(report),
            "</body></html>\n",
        ]
    )


def sections(report: Report) -> list[str]:
    """Return the HTML of each kind of problem: title, remedy, every problem with thumbnails.

    Files are named relative to the data set, because reports are shared.
    """
    cases = {case.key: case for case in report.data.cases} if report.data else {}
    root = os.path.abspath(report.source)
    return [
        _section(kind, found, cases=cases, root=root) for kind, found in report.by_kind().items()
    ]


def first_names(names: Sequence[str]) -> str:
    """List the first five names, and count the others."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def thumbnails(cases: Sequence[Case]) -> str:
    """Return HTML of the images of cases with their masks; unreadable ones are left out."""
    pictures = [(case.key, _picture(case)) for case in cases]
    return "".join(
        f'<img alt="{escape(key)}" title="{escape(key)}" src="data:image/png;base64,{_png(drawn)}">'
        for key, drawn in pictures
        if drawn is not None
    )


def summary(report: Report) -> str:
    """Return one line: what was checked, and how many problems there are."""
    data = report.data
    what = _what(data) if data else "cases not listed"
    counts = [f"{n} {s}{'' if n == 1 else 's'}" for s, n in report.counts().items() if n]
    return f"{what}: {', '.join(counts) or 'no problems'}"


def _what(data: DataSet) -> str:
    groups = groups_in_words(data.cases)
    of = f" of {groups}" if "patient" in groups else "" if data.citation else ", patients not known"
    count = "1 case" if len(data) == 1 else f"{len(data):,} cases"
    return f"{data.name} ({data.layout}), {count}{of}"


def _section(
    kind: str, problems: Sequence[Problem], *, cases: Mapping[str, Case], root: str
) -> str:
    severity, title, remedy = KINDS[kind]
    messages = [escape(_placeless(problem.message, root)) for problem in problems]
    items = [
        f"<li>{message}{_pictures(problem, cases)}</li>"
        for message, problem in zip(messages, problems[:_MOST_PICTURES], strict=False)
    ]
    items += [f"<li>{message}</li>" for message in messages[_MOST_PICTURES:]]
    heading = f'<h2><span class="{severity}">{severity}</span> {title} ({len(problems)})</h2>'
    return f"{heading}<p>{escape(remedy)}</p><ul>{''.join(items)}</ul>"


def _placeless(message: str, root: str) -> str:
    """Shorten the paths in a message: relative to the data set, or the mere name of other files."""
    return _FOLDERS.sub("", message.replace(f"{root}/", ""))


def _pictures(problem: Problem, cases: Mapping[str, Case]) -> str:
    tags = thumbnails([cases[key] for key in problem.keys])
    return f"<br>{tags}" if tags else ""


def _picture(case: Case) -> np.ndarray | None:
    """Draw the image with its mask, or alone if the mask is unreadable; `None` if both are."""
    try:
        image, mask, _ = case.load()
    except (OSError, ValueError):
        try:
            alone = _image_alone(case)
        except (OSError, ValueError):
            return None
        return None if alone is None else _fitted(alone)
    small, objects = _fitted(image), objects_of([case])
    if objects.several:
        return overlay_objects(small, resize_objects(mask, small.shape[:2], objects), objects)
    return overlay(small, resize_mask(mask, small.shape[:2]), TRUTH)


def _image_alone(case: Case) -> np.ndarray | None:
    if not isinstance(case, FileCase | AnnotatedCase | CaseOfObjects):
        return None
    return case.read_image()[0]


def _fitted(image: np.ndarray) -> np.ndarray:
    """Resize an image to uint8 RGB, the longer side 160 pixels."""
    scale = _SIDE / max(image.shape[:2])
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    return resize_image(image, (height, width), channels=3)


def _png(picture: np.ndarray) -> str:
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def pairing_problems(message: str) -> Iterator[Problem]:
    """Yield one problem per line of a reader's message.

    A heading, which ends in a colon, is left out, but put before lines that are only a name.
    """
    heading = ""
    for line in map(str.strip, message.splitlines()):
        if line.endswith(":"):
            heading = line
            continue
        file, colon, _ = line.partition(": ")
        text = line if colon else f"{heading} {line}".strip()
        yield Problem("pairing", text, (file,) if os.path.exists(file) else ())

"""A data set checked: every case by itself, then compared with the others; report and HTML page.

The HTML page needs no other file: its pictures are PNG in base64.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kerasunet.data.cases import AnnotatedCase, Case, DataSet, FileCase
from kerasunet.data.checking.data_set import (
    absent_objects,
    contradictions,
    different_codes,
    divided_duplicates,
    near_duplicates,
    unannotated,
    unnamed_patients,
    unread_files,
    unusual_shares,
    without_objects,
)
from kerasunet.data.checking.inspection import Problem, inspect
from kerasunet.data.checking.kinds import KINDS, SEVERITIES
from kerasunet.data.decoding import resize_image, resize_mask, resize_objects
from kerasunet.data.groups import group, with_group_pattern
from kerasunet.data.layouts.objects import CaseOfObjects
from kerasunet.data.layouts.pairing import files_below, image_stem
from kerasunet.data.loading import load
from kerasunet.data.readers import count_frames, read_image
from kerasunet.data.splits import groups_in_words
from kerasunet.drawing import TRUTH, overlay, overlay_objects
from kerasunet.files import collect_problems
from kerasunet.objects import objects_of
from kerasunet.options import ObjectChoice

_THREADS = 4
_SIDE = 160
_MOST_PICTURES = 50
_FOLDERS = re.compile(r"(?<![\w.~-])(?:[A-Za-z]:)?/(?:[^/\n:,;]+/)+")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
li { margin: .6rem 0; overflow-wrap: anywhere }
img { margin: .3rem .4rem 0 0; vertical-align: top }
.error { color: #a2261b } .warning { color: #8a5a00 } .note { color: #33558b }
"""


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


def check(
    name_or_path: str | os.PathLike,
    manual_dir: str | os.PathLike | None = None,
    objects: Sequence[str] = (),
    mask_threshold: int | None = None,
    *,
    overlapping: bool = False,
    group_pattern: str | None = None,
) -> Report:
    """Look at every case of a data set and compare the cases with each other.

    Files that do not pair up are reported, and the others are still checked. If no case is left, or
    the layout is unknown, every image file is at least opened.

    Args:
        name_or_path: As `kerasunet.data.load` takes it.
        manual_dir: For the name of a public set: a folder with its archives, or with their unpacked
            contents.
        objects: What counts as the object, as `kerasunet.data.load` takes it.
        mask_threshold: Grey level above which a pixel of a mask file is object.
        overlapping: Whether a pixel may be of several objects.
        group_pattern: A regular expression that tells patients apart by file name.

    Returns:
        The report.

    Raises:
        FileNotFoundError: There is no such folder, file or data set.
        ValueError: The name of a simulated set is wrong, the pattern does not fit the names, or
            an object is chosen twice.
    """
    source = os.fspath(name_or_path)
    ObjectChoice.parse_all(objects)
    with collect_problems() as found:
        try:
            data = load(
                source,
                manual_dir,
                objects=objects,
                mask_threshold=mask_threshold,
                overlapping=overlapping,
            )
        except ValueError as error:
            path = Path(source if manual_dir is None else manual_dir).expanduser()
            if not path.exists():
                raise
            # If the problems left no case, that there is none adds nothing.
            message = "\n".join(found) if found else str(error)
            unread = [file for file in files_below(path) if not image_stem(file.name)]
            problems = [
                *_pairing_problems(message),
                *_unreadable_files(path),
                *unread_files(unread),
            ]
            return Report(source, None, tuple(problems))
    known = [*_pairing_problems("\n".join(found))]
    reported = {file for problem in known for file in problem.files}
    known += unread_files([path for path in data.unread if str(path) not in reported])
    if group_pattern is not None:
        data = with_group_pattern(data, group_pattern)
    return _check_cases(source, data, [*known, *unannotated(data), *unnamed_patients(data)])


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
    named = f" of {groups}" if "patient" in groups else ""
    return f"{data.name} ({data.layout}), {len(data)} cases{named}"


def _check_cases(source: str, data: DataSet, known: list[Problem]) -> Report:
    with ThreadPoolExecutor(_THREADS) as pool:
        inspections = list(pool.map(inspect, data.cases))
    pairs = near_duplicates(inspections)
    joined = group([case.group for case in data.cases], pairs)
    groups = {case.key: name for case, name in zip(data.cases, joined, strict=True)}
    problems = known + [problem for found in inspections for problem in found.problems]
    problems += [Problem("left-out", remark) for remark in data.remarks]
    problems += without_objects(inspections)
    problems += absent_objects(inspections)
    problems += different_codes(inspections)
    problems += unusual_shares(inspections)
    problems += divided_duplicates(inspections, pairs, groups)
    problems += contradictions(inspections, pairs)
    order = list(KINDS)
    problems.sort(key=lambda problem: order.index(problem.kind))
    return Report(source, data, tuple(problems), groups=groups)


def _pairing_problems(message: str) -> Iterator[Problem]:
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


def _unreadable_files(folder: Path) -> Iterator[Problem]:
    with ThreadPoolExecutor(_THREADS) as pool:
        images = filter(lambda path: image_stem(path.name), files_below(folder))
        for path, fault in pool.map(_fault, images):
            if fault:
                yield Problem("unreadable", fault, (str(path),))


def _fault(path: Path) -> tuple[Path, str]:
    try:
        if count_frames(path) is not None:  # Not a segmentation, which is read with its image.
            read_image(path, frame=0)
    except (OSError, ValueError) as error:
        return path, str(error)
    return path, ""


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

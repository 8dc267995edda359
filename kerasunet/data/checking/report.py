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
from kerasunet.data.checking.inspection import KINDS, SEVERITIES, Inspection, Problem, inspect
from kerasunet.data.decoding import resize_image, resize_mask
from kerasunet.data.groups import NearDuplicates, find_near_duplicates, group
from kerasunet.data.layouts.pairing import image_stem
from kerasunet.data.loading import load
from kerasunet.data.readers import count_frames, read_image
from kerasunet.drawing import TRUTH, overlay
from kerasunet.files import collect_problems

_FEW_OBJECTS = 20
_DEVIATIONS, _LEAST_DEVIATION = 5.0, 0.2
_CONTRADICTION = 0.5
_SAME = 0.7
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


def check(name_or_path: str | os.PathLike, manual_dir: str | os.PathLike | None = None) -> Report:
    """Look at every case of a data set and compare the cases with each other.

    Files that do not pair up are reported, and the others are still checked. If no case is left, or
    the layout is unknown, every image file is at least opened.

    Args:
        name_or_path: As `kerasunet.data.load` takes it.
        manual_dir: For the name of a public set: a folder with its archives, or with their unpacked
            contents.

    Returns:
        The report.

    Raises:
        FileNotFoundError: There is no such folder, file or data set.
        ValueError: The name of a simulated set is wrong.
    """
    source = os.fspath(name_or_path)
    with collect_problems() as found:
        try:
            data = load(source, manual_dir)
        except ValueError as error:
            path = Path(source if manual_dir is None else manual_dir).expanduser()
            if not path.exists():
                raise
            # If the problems left no case, that there is none adds nothing.
            message = "\n".join(found) if found else str(error)
            problems = [*_pairing_problems(message), *_unreadable_files(path)]
            return Report(source, None, tuple(problems))
    return _check_cases(source, data, [*_pairing_problems("\n".join(found))])


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
    what = f"{data.name} ({data.layout}), {len(data)} cases" if data else "cases not listed"
    counts = [f"{n} {s}{'' if n == 1 else 's'}" for s, n in report.counts().items() if n]
    return f"{what}: {', '.join(counts) or 'no problems'}"


def _check_cases(source: str, data: DataSet, known: list[Problem]) -> Report:
    with ThreadPoolExecutor(_THREADS) as pool:
        inspections = list(pool.map(inspect, data.cases))
    pairs = near_duplicates(inspections)
    joined = group([case.group for case in data.cases], pairs)
    groups = {case.key: name for case, name in zip(data.cases, joined, strict=True)}
    problems = known + [problem for found in inspections for problem in found.problems]
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
        for path, fault in pool.map(_fault, _all_image_files(folder)):
            if fault:
                yield Problem("unreadable", fault, (str(path),))


def _all_image_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if image_stem(name) and not name.startswith("."):
                yield Path(parent) / name


def _fault(path: Path) -> tuple[Path, str]:
    try:
        if count_frames(path) is not None:  # Not a segmentation, which is read with its image.
            read_image(path, frame=0)
    except (OSError, ValueError) as error:
        return path, str(error)
    return path, ""


def unusual_shares(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield objects whose share of the image is far from the others'.

    An object is unusual if the log odds of its share, which put 1 % and 99 % equally far from the
    middle, lie more than five robust standard deviations from the median. With fewer than 20
    objects, none is unusual, and masks that seem inverted are not compared.
    """
    seen = [i for i in inspections if i.share is not None and 0 < i.share < 1]
    seen = [i for i in seen if all(problem.kind != "inverted-mask" for problem in i.problems)]
    if len(seen) < _FEW_OBJECTS:
        return
    shares = np.array([inspection.share for inspection in seen])
    odds = np.log(shares / (1 - shares))
    distance = np.abs(odds - np.median(odds))
    limit = _DEVIATIONS * max(1.4826 * float(np.median(distance)), _LEAST_DEVIATION)
    low, high = np.percentile(shares, [25, 75])
    for index in np.flatnonzero(distance > limit):
        location = seen[index].location
        text = (
            f"{location}: the object covers {shares[index]:.2%} of the image; in half of the "
            f"images it covers {low:.2%} to {high:.2%}"
        )
        yield Problem("unusual-share", text, (location,), keys=(seen[index].case.key,))


def near_duplicates(inspections: Sequence[Inspection]) -> list[NearDuplicates]:
    """Find near-duplicates among all cases with a readable image, by index of the inspections."""
    pictures = {i: one.thumbnail for i, one in enumerate(inspections) if one.thumbnail is not None}
    seen = list(pictures)
    pairs = find_near_duplicates(pictures.values())
    return [NearDuplicates(seen[a], seen[b], agreement) for a, b, agreement in pairs]


def divided_duplicates(
    inspections: Sequence[Inspection],
    pairs: Sequence[NearDuplicates],
    groups: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield near-duplicates that are in several groups; `groups` is the remedy, by key."""
    members: dict[str, set[int]] = {}
    for pair in pairs:
        if inspections[pair.first].case.group != inspections[pair.second].case.group:
            joined = groups[inspections[pair.first].case.key]
            members.setdefault(joined, set()).update((pair.first, pair.second))
    for indices in members.values():
        alike = [inspections[index] for index in sorted(indices)]
        locations = tuple(inspection.location for inspection in alike)
        text = f"{', '.join(locations)}: show nearly the same, but are in different groups"
        yield Problem("near-duplicates", text, locations, keys=tuple(i.case.key for i in alike))


def contradictions(
    inspections: Sequence[Inspection], pairs: Sequence[NearDuplicates]
) -> Iterator[Problem]:
    """Yield near-duplicates that differ in label, or whose masks have an IoU below 0.5.

    Only from a correlation of 0.7 on, and not within a file: they might be neighboring frames of
    one scan.
    """
    for pair in [pair for pair in pairs if pair.correlation >= _SAME]:
        one, other = inspections[pair.first], inspections[pair.second]
        if _in_one_file(one.case, other.case):
            continue
        locations, keys = (one.location, other.location), (one.case.key, other.case.key)
        names = f"{one.location} and {other.location} (correlation {pair.correlation:.2f})"
        if one.case.label != other.case.label:
            text = f"{names}: one is {one.case.label!r}, the other {other.case.label!r}"
            yield Problem("label-conflict", text, locations, keys=keys)
        overlap = _iou(one.mask, other.mask)
        if overlap < _CONTRADICTION:
            text = f"{names}: their masks overlap with an IoU of only {overlap:.2f}"
            yield Problem("mask-conflict", text, locations, keys=keys)


def _in_one_file(one: Case, other: Case) -> bool:
    image = getattr(one, "image", None)
    return image is not None and image == getattr(other, "image", None)


def _iou(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Return the IoU of packed masks; 1 where one is unknown or both are empty."""
    if one is None or other is None:
        return 1.0
    union = int(np.bitwise_count(one | other).sum())
    return int(np.bitwise_count(one & other).sum()) / union if union else 1.0


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
    small = _fitted(image)
    return overlay(small, resize_mask(mask, small.shape[:2]), TRUTH)


def _image_alone(case: Case) -> np.ndarray | None:
    if not isinstance(case, FileCase | AnnotatedCase):
        return None
    return read_image(case.image, frame=getattr(case, "frame", 0))[0]


def _fitted(image: np.ndarray) -> np.ndarray:
    """Resize an image to uint8 RGB, the longer side 160 pixels."""
    scale = _SIDE / max(image.shape[:2])
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    return resize_image(image, (height, width), channels=3)


def _png(picture: np.ndarray) -> str:
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    return base64.b64encode(encoded.tobytes()).decode("ascii")

"""The report as one HTML file that needs nothing else: pictures are inside, as PNG in base64."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from kerasunet.data.cases import Case
from kerasunet.data.checking.inspection import KINDS, Problem
from kerasunet.data.checking.report import Report
from kerasunet.data.decoding import resize_image, resize_mask
from kerasunet.data.readers import read_image
from kerasunet.drawing import TRUTH, overlay

_SIDE = 160
_MOST_PICTURES = 50
_FOLDERS = re.compile(r"(?<![\w.~-])(?:[A-Za-z]:)?/(?:[^/\n:,;]+/)+")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
li { margin: .6rem 0; overflow-wrap: anywhere }
img { margin: .3rem .4rem 0 0; vertical-align: top }
.error { color: #a2261b } .warning { color: #8a5a00 } .note { color: #33558b }
"""


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

    Files are named relative to the data set, because reports are passed on.
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
            return _fitted(read_image(case.image, frame=getattr(case, "frame", 0))[0])
        except (OSError, ValueError):
            return None
    small = _fitted(image)
    return overlay(small, resize_mask(mask, small.shape[:2]), TRUTH)


def _fitted(image: np.ndarray) -> np.ndarray:
    """Resize an image to uint8 RGB, the longer side 160 pixels."""
    scale = _SIDE / max(image.shape[:2])
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    return resize_image(image, (height, width), channels=3)


def _png(picture: np.ndarray) -> str:
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    return base64.b64encode(encoded.tobytes()).decode("ascii")

"""A comparison as files to keep: CSV for spreadsheets, an HTML report, and a zip of everything."""

from __future__ import annotations

import base64
import csv
import io
import re
import zipfile
from collections.abc import Sequence
from html import escape

import numpy as np

from kerasunet.comparison import Choice, Comparison, Score, Verdict
from kerasunet.data.decoding import resize_mask
from kerasunet.drawing import PREDICTION, TRUTH, draw_votes, overlay, png, shrunk, to_rgb

COLUMNS = (
    "image", "strategy", "model", "origin", "best", "seen", "dice", "iou", "hd95", "hd95_unit",
    "consensus_dice", "area_pixels", "area_mm2", "seconds", "trained_parameters", "threshold",
    "smallest_region_percent", "error",
)  # fmt: skip
# At the start of a cell, or where a spreadsheet that splits at semicolons or tabs sees one.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@])")
NOTICE = "Research use only. Not a medical device."
_AGREEMENT = "Dice with the consensus, which is agreement and not quality"
_ORIGIN = "Start, steps, size"
_SEEN = {True: "yes", False: "no", None: "unknown"}
_SIDE = 320
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: auto; padding: 1rem }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere }
.notice { font-weight: 600 }
.panels { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)) }
figure { margin: 0 } figcaption { font-size: .85rem; overflow-wrap: anywhere }
img { width: 100%; border-radius: 4px; display: block }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap }
tr { border-bottom: 1px solid #8886 }
th:first-child, td:first-child { text-align: left } .best { font-weight: 700 }
@media print {
  body { font-size: 11px } .panels { grid-template-columns: repeat(5, 1fr) }
}
"""
_OVERLAY_SIDE = 1024
_OTHER_PICTURES = ("consensus", "agreement", "truth")
"""Names of what lies beside the pictures of the masks."""
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def rows(image: str, scores: Sequence[Score], choice: Choice, *, object_: str = "") -> list[dict]:
    """Return one dictionary per score, with the keys of `COLUMNS`.

    Args:
        image: Its name.
        scores: The scores.
        choice: What they rest on.
        object_: The object that was compared, where there are several; adds the key `object`.
    """
    told = {"object": object_} if object_ else {}
    return [{**_table_row(image, line, choice), **told} for line in scores]


def as_csv(lines: Sequence[dict]) -> str:
    """Return rows as CSV with a header; what would be a formula gets an apostrophe before it.

    Args:
        lines: Rows as `rows` makes them; what is missing stays empty.
    """
    text = io.StringIO(newline="")
    columns = [*COLUMNS]
    if any("object" in line for line in lines):
        columns.insert(1, "object")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _defused(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def without_formulas(text: str) -> str:
    """Put an apostrophe before each cell of a CSV that a spreadsheet would take for a formula.

    Negative numbers stay numbers.
    """
    defused = io.StringIO(newline="")
    writer = csv.writer(defused, lineterminator="\n")
    writer.writerows(map(_defused, line) for line in csv.reader(io.StringIO(text, newline="")))
    return defused.getvalue()


def _table_row(image: str, line: Score, choice: Choice) -> dict:
    return {
        "image": image,
        "strategy": line.strategy,
        "model": line.name,
        "origin": line.origin,
        "best": "yes" if line.best else "",
        "seen": _SEEN[line.seen],
        "dice": _number(line.dice, 4),
        "iou": _number(line.iou, 4),
        "hd95": _number(line.hd95, 2),
        "hd95_unit": "" if line.hd95 is None else line.unit,
        "consensus_dice": _number(line.consensus_dice, 4),
        "area_pixels": line.area_pixels,
        "area_mm2": _number(line.area_mm2, 2),
        "seconds": _number(line.seconds, 4),
        "trained_parameters": "" if line.trained is None else line.trained,
        "threshold": choice.threshold,
        "smallest_region_percent": choice.smallest,
    }


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _defused(value: object) -> object:
    if not isinstance(value, str) or _is_number(value):
        return value
    return _FORMULA.sub(r"\1'", value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_html(
    title: str,
    comparison: Comparison,
    verdict: Verdict,
    *,
    scores: Sequence[Score],
    truth: np.ndarray | None = None,
) -> str:
    """Draw a comparison as a page to keep or print.

    Args:
        title: What was compared, such as the name of the image.
        comparison: The comparison.
        verdict: What was chosen.
        scores: How good each mask is.
        truth: True mask, bool, `(height, width)`, or `None`.
    """
    panels = "".join(_panels(comparison, verdict, scores, truth=truth))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="notice">{NOTICE}</p><p>{escape(_settings(comparison, verdict))}</p>',
            f'<div class="scroll">{score_table(scores)}</div>',
            f'<div class="panels">{panels}</div>',
            "</body></html>\n",
        ]
    )


def score_table(scores: Sequence[Score]) -> str:
    """Return the scores as an HTML table; its rows say in words which are best, and which not.

    The caption tells what it means that a model has seen the image, or does not mark the object.
    """
    against_truth = any(line.dice is not None for line in scores)
    columns = _columns(scores, against_truth)
    heads = "".join(f'<th scope="col"{_kind(head)}>{escape(head)}</th>' for head in columns)
    body = "".join(_row(line, columns) for line in scores)
    order = "Dice with the mask" if against_truth else _AGREEMENT
    return (
        f"<table><caption><span>Sorted by {order}.{escape(_warnings(scores))}</span></caption>"
        f"<thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def remark(line: Score) -> str:
    """Return in words why a mask cannot be the best; empty if it can."""
    if line.lacks:
        return f"not trained to mark {line.lacks}"
    return "has seen this image" if line.seen else ""


def _warnings(scores: Sequence[Score]) -> str:
    """Return sentences on what the rows rest on; empty where all is as it should be."""
    told = ""
    if any(line.seen for line in scores):
        told = (
            " A model that has seen this image was trained on it or chosen by it: it does better "
            "here than on new images, and is not called the best."
        )
    if unknown := [line.strategy for line in scores if line.seen is None]:
        told += f" Nobody knows whether this image was seen by {', '.join(unknown)}."
    return told


def _columns(scores: Sequence[Score], against_truth: bool) -> dict:
    """Return for each heading what a cell of that column says of a score."""
    unit = scores[0].unit if scores else "px"
    measured = {
        "Dice": lambda s: f"{s.dice:.3f}",
        "IoU": lambda s: f"{s.iou:.3f}",
        f"HD95 ({unit})": lambda s: f"{s.hd95:.1f}",
    }
    return {
        "Layers trained": _named,
        **(measured if against_truth else {}),
        "Dice with consensus": lambda s: f"{s.consensus_dice:.3f}",
        "Area (px)": lambda s: f"{s.area_pixels:,}",
        **({"Area (mm²)": lambda s: f"{s.area_mm2:,.1f}"} if unit == "mm" else {}),
        "Time (ms)": lambda s: f"{s.seconds * 1000:.0f}",
        "Weights trained": lambda s: "" if s.trained is None else f"{s.trained:,}",
        **({_ORIGIN: lambda s: s.origin} if any(s.origin for s in scores) else {}),
    }


def _named(line: Score) -> str:
    told = "best" if line.best else remark(line)
    return f"{line.strategy} ({told})" if told else line.strategy


def _row(line: Score, columns: dict) -> str:
    (_, first), *others = columns.items()
    best = ' class="best"' if line.best else ""
    cells = "".join(f"<td{_kind(head)}>{escape(say(line))}</td>" for head, say in others)
    name = f'<th scope="row">{escape(first(line))}</th>'
    return f'<tr{best} data-model="{escape(line.name)}">{name}{cells}</tr>'


def _kind(head: str) -> str:
    """Return the attribute of a cell that holds words, which may wrap."""
    return ' class="words"' if head == _ORIGIN else ""


def _settings(comparison: Comparison, verdict: Verdict) -> str:
    height, width = comparison.shape
    spacing = comparison.spacing
    scale = f"{spacing[0]:.3g} × {spacing[1]:.3g} mm" if spacing else "unknown"
    smallest = verdict.choice.smallest
    dropped = f"; regions below {smallest:g} % of the image dropped" if smallest else ""
    return (
        f"{width} × {height} pixels, pixel spacing {scale}; threshold "
        f"{verdict.choice.threshold:g}{dropped}."
    )


def _panels(comparison, verdict: Verdict, scores: Sequence[Score], *, truth) -> list[str]:
    image = shrunk(to_rgb(comparison.image), _SIDE)
    panels = [_figure("Image", image)]
    if truth is not None:
        panels.append(_figure("True mask", draw_mask(image, truth, TRUTH, longest=_SIDE)))
    for line in scores:
        if line.dice is None:
            value = f"Dice with the consensus {line.consensus_dice:.3f}"
        else:
            value = f"Dice {line.dice:.3f}"
        told = ", ".join(filter(None, (value, remark(line))))
        drawn = draw_mask(image, verdict.masks[line.name], PREDICTION, longest=_SIDE)
        panels.append(_figure(f"{line.strategy}: {told}", drawn))
    votes = draw_votes(comparison.image, verdict.votes, verdict.voters)
    panels.append(_figure(f"Agreement of {verdict.voters}", shrunk(votes, _SIDE)))
    consensus = draw_mask(image, verdict.consensus, PREDICTION, longest=_SIDE)
    panels.append(_figure("Consensus", consensus))
    return panels


def _figure(caption: str, picture: np.ndarray) -> str:
    data = base64.b64encode(png(picture)).decode("ascii")
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def as_zip(
    title: str,
    comparison: Comparison,
    verdict: Verdict,
    *,
    scores: Sequence[Score],
    truth: np.ndarray | None = None,
) -> bytes:
    """Pack a comparison.

    Args:
        title: What was compared, such as the name of the image; the report and table show it.
        comparison: The comparison.
        verdict: What was chosen.
        scores: How good each mask is.
        truth: True mask, bool, `(height, width)`, or `None`.

    Returns:
        The zip: `masks/NAME.png` (0 and 255), `consensus.png`, `votes.png` (how many masks mark
        each pixel, as gray levels), `overlays/…`, `table.csv`, `report.html`.
    """
    files = {f"masks/{name}.png": png(mask) for name, mask in mask_files(verdict).items()}
    files["consensus.png"] = png(verdict.consensus)
    files["votes.png"] = png(verdict.votes)
    files |= _overlays(comparison, verdict, truth)
    files["table.csv"] = as_csv(rows(title, scores, verdict.choice)).encode()
    files["report.html"] = as_html(title, comparison, verdict, scores=scores, truth=truth).encode()
    return pack(files)


def draw_mask(
    image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], *, longest: int
) -> np.ndarray:
    """Draw a mask on an image that is first scaled down, so that the contour stays visible."""
    small = shrunk(to_rgb(image), longest)
    return overlay(small, resize_mask(mask, small.shape[:2]), color)


def pack(files: dict[str, bytes]) -> bytes:
    """Pack files by name; equal contents give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            # A PNG is compressed already; a report is mostly PNG, and more effort gains little.
            method = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), data, method, compresslevel=1)
    return buffer.getvalue()


def mask_files(verdict: Verdict) -> dict[str, np.ndarray]:
    """Return the masks by names that are safe as file names, each its own in whatever case."""
    taken, files = {name.casefold() for name in _OTHER_PICTURES}, {}
    for name, mask in verdict.masks.items():
        safe, number = safe_name(name), 2
        while safe.casefold() in taken:
            safe, number = f"{safe_name(name)}_{number}", number + 1
        taken.add(safe.casefold())
        files[safe] = mask
    return files


def safe_name(text: str) -> str:
    """Turn text into a file name: word characters, dots and hyphens, neither of these first."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".-") or "image"


def _overlays(comparison: Comparison, verdict: Verdict, truth) -> dict[str, bytes]:
    image = shrunk(to_rgb(comparison.image), _OVERLAY_SIDE)
    pictures = {
        name: draw_mask(image, mask, PREDICTION, longest=_OVERLAY_SIDE)
        for name, mask in mask_files(verdict).items()
    }
    votes = draw_votes(comparison.image, verdict.votes, verdict.voters)
    pictures["agreement"] = shrunk(votes, _OVERLAY_SIDE)
    if truth is not None:
        pictures["truth"] = draw_mask(image, truth, TRUTH, longest=_OVERLAY_SIDE)
    return {f"overlays/{name}.png": png(picture) for name, picture in pictures.items()}

"""The scores as CSV, for spreadsheets: text that would be taken for a formula is defused."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from kerasunet.comparison.masks import Choice
from kerasunet.comparison.scores import Score

COLUMNS = (
    "image", "strategy", "model", "best", "dice", "iou", "hd95", "hd95_unit", "consensus_dice",
    "area_pixels", "area_mm2", "seconds", "trained_parameters", "threshold",
    "smallest_region_percent", "error",
)  # fmt: skip
# At the start of a cell, or where a spreadsheet that splits at semicolons or tabs sees one.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@])")


def rows(image: str, scores: Sequence[Score], choice: Choice) -> list[dict]:
    """One dictionary a score, with the keys of `COLUMNS`."""
    return [_row(image, line, choice) for line in scores]


def as_csv(lines: Sequence[dict]) -> str:
    """Writes rows as CSV with a header; what would be a formula gets an apostrophe before it.

    Args:
        lines: Rows as `rows` makes them; what is missing stays empty.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _defused(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def without_formulas(text: str) -> str:
    """CSV of any columns, with an apostrophe before what a spreadsheet would take for a formula.

    Negative numbers stay numbers.
    """
    defused = io.StringIO(newline="")
    writer = csv.writer(defused, lineterminator="\n")
    writer.writerows(map(_defused, line) for line in csv.reader(io.StringIO(text, newline="")))
    return defused.getvalue()


def _row(image: str, line: Score, choice: Choice) -> dict:
    return {
        "image": image,
        "strategy": line.strategy,
        "model": line.name,
        "best": "yes" if line.best else "",
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

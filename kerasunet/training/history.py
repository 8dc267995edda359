"""The history of a training, as it stands in `history.csv`."""

from __future__ import annotations

import csv
from pathlib import Path


def steps_taken(history: Path) -> int | None:
    """Return the last step in a history, fewer than asked for if the training ended early.

    Args:
        history: `history.csv`; `None` is returned if there is none, or no row in it.
    """
    if not history.is_file():
        return None
    with open(history, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return int(rows[-1]["step"]) if rows else None

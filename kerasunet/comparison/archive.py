"""Everything of a comparison in one zip: masks, overlays, agreement, table and report.

Masks and votes are PNG of the size of the image; overlays are for looking at, and scaled down
where they are larger than that needs. None carries metadata.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence

import numpy as np

from kerasunet.comparison.comparing import Comparison
from kerasunet.comparison.masks import Verdict
from kerasunet.comparison.pictures import draw_mask, draw_votes, png, shrunk
from kerasunet.comparison.report import as_html
from kerasunet.comparison.scores import Score
from kerasunet.comparison.table import as_csv, rows
from kerasunet.drawing import PREDICTION, TRUTH, to_rgb

_SIDE = 1024
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def as_zip(
    title: str,
    comparison: Comparison,
    verdict: Verdict,
    scores: Sequence[Score],
    truth: np.ndarray | None = None,
) -> bytes:
    """Packs a comparison.

    Args:
        title: What was compared, such as the name of the image; the report and table show it.
        comparison, verdict, scores: The comparison, what was chosen, how good each mask is.
        truth: True mask, bool, `(height, width)`, or `None`.

    Returns:
        The zip: `masks/NAME.png` (0 and 255), `consensus.png`, `votes.png` (how many masks mark
        each pixel, as grey levels), `overlays/…`, `table.csv`, `report.html`.
    """
    files = {f"masks/{name}.png": png(mask) for name, mask in mask_files(verdict).items()}
    files["consensus.png"] = png(verdict.consensus)
    files["votes.png"] = png(verdict.votes)
    files |= _overlays(comparison, verdict, truth)
    files["table.csv"] = as_csv(rows(title, scores, verdict.choice)).encode()
    files["report.html"] = as_html(title, comparison, verdict, scores, truth).encode()
    return pack(files)


def pack(files: dict[str, bytes]) -> bytes:
    """Packs files by name; equal contents give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            # A PNG is compressed already; a report is mostly PNG, and more effort gains little.
            method = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), data, method, compresslevel=1)
    return buffer.getvalue()


def mask_files(verdict: Verdict) -> dict[str, np.ndarray]:
    """The masks by names that are safe in paths."""
    return {safe_name(name): mask for name, mask in verdict.masks.items()}


def safe_name(text: str) -> str:
    """Text as a file name: letters, digits, dots, underscores and hyphens, the first no sign."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".-") or "image"


def _overlays(comparison: Comparison, verdict: Verdict, truth) -> dict[str, bytes]:
    image = shrunk(to_rgb(comparison.image), _SIDE)
    pictures = {
        name: draw_mask(image, mask, PREDICTION, _SIDE)
        for name, mask in mask_files(verdict).items()
    }
    votes = draw_votes(comparison.image, verdict.votes, verdict.voters)
    pictures["agreement"] = shrunk(votes, _SIDE)
    if truth is not None:
        pictures["truth"] = draw_mask(image, truth, TRUTH, _SIDE)
    return {f"overlays/{name}.png": png(picture) for name, picture in pictures.items()}

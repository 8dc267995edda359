"""A model on held-out cases: one row a case, and their summary with intervals."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet.data.decoding import DecodedCases
from kerasunet.files import write_text
from kerasunet.metrics import Interval, case_metrics, summarize
from kerasunet.mirroring import with_mirror
from kerasunet.training.loop import predict

CONSTANT = "WARNING: the model finds the same everywhere, in every pixel of every case"
"""What to tell people of an evaluation that is constant."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on some cases.

    Attributes:
        rows: One row a case: key, group and what `kerasunet.metrics.case_metrics` returns.
        summary: What `kerasunet.metrics.summarize` returns, as plain values for JSON.
        constant: Whether the model takes all pixels of all cases for foreground, or all for
            background, where that is not the truth.
    """

    rows: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    constant: bool

    @property
    def dice(self) -> Interval:
        """Mean per-case Dice with its 95 % interval."""
        return Interval(**self.summary["dice"])

    def write_csv(self, path: Path) -> None:
        """Writes the rows, atomically."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(path, text.getvalue())


def evaluate(
    model: keras.Model, cases: DecodedCases, threshold: float = 0.5, mirror: bool = False
) -> Evaluation:
    """Predicts and measures every case at the size it was decoded to.

    Distances are in millimetres where every case tells its pixel spacing, else in pixels.

    Args:
        model: A model of this package.
        cases: At least one decoded case.
        threshold: Probability from which a pixel counts as foreground.
        mirror: Average with the prediction of the mirror image.

    Returns:
        The evaluation. Intervals resample groups (patients), not cases.
    """
    network = partial(predict, model)
    probabilities = (with_mirror(network) if mirror else network)(cases.images)
    return evaluate_probabilities(probabilities, cases, threshold)


def evaluate_probabilities(
    probabilities: np.ndarray, cases: DecodedCases, threshold: float
) -> Evaluation:
    """Measures probabilities, `(cases, height, width)`, 0 to 1, against the cases' masks."""
    known = all(spacing is not None for spacing in cases.spacings)
    rows = tuple(
        {"key": key, "group": group, **case_metrics(mask, probability, threshold, spacing)}
        for key, group, mask, probability, spacing in zip(
            cases.keys,
            cases.groups,
            cases.masks,
            probabilities,
            cases.spacings if known else [None] * len(cases),
            strict=True,
        )
    )
    constant = _is_constant(probabilities >= threshold, cases.masks)
    return Evaluation(rows, _plain(summarize(rows, cases.groups)), constant)


def _is_constant(found: np.ndarray, truth: np.ndarray) -> bool:
    return bool(found.min() == found.max() and (truth != found).any())


def _plain(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        name: asdict(value) if isinstance(value, Interval) else value
        for name, value in summary.items()
    }

"""The picture panel: image, ground truth and what each model finds, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from kerasunet.data.decoding import resize_image, resize_mask
from kerasunet.drawing import PREDICTION, TRUTH, overlay
from kerasunet.study.figures.drawing import Drawing
from kerasunet.study.figures.style import INK, RC, WIDTH

TITLE = "What the models find"
_LONGER_SIDE = 320
_MARGIN = 0.28
_LEGEND = "Green: ground truth. Orange: prediction, with the Dice of this case below."


@dataclass(frozen=True)
class PanelCase:
    """A row of the panel.

    Attributes:
        kind: Why it was picked: `"typical"`, `"best"` or `"worst"`.
        key: Key of the case.
        image: Grey levels 0 to 255, `(height, width[, 3])`.
        truth: Bool, `(height, width)`.
        found: By model, the predicted mask, bool, `(height, width)`.
        dice: By model, the Dice of that mask.
    """

    kind: str
    key: str
    image: np.ndarray
    truth: np.ndarray
    found: Mapping[str, np.ndarray]
    dice: Mapping[str, float]


def draw_panel(name: str, rows: Sequence[PanelCase], caption: str) -> Drawing:
    """Draws a row for each case, a column for each model.

    Args:
        name: File name without suffix.
        rows: At least one case, all with the same models.
        caption: Data, models and how the cases were picked.
    """
    columns = ["image", "ground truth", *rows[0].found]
    cell = (WIDTH - _MARGIN) / len(columns)
    heights = [cell * row.truth.shape[0] / row.truth.shape[1] for row in rows]
    with matplotlib.rc_context(RC):
        figure = Figure(
            figsize=(WIDTH, sum(heights) + 0.2 * len(rows) + 0.35), layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.015, h_pad=0.01, wspace=0, hspace=0)
        grid = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=heights)
        for axes, heading in zip(grid[0], columns, strict=True):
            axes.set_title(heading, fontsize=7, loc="center")
        for axes, row in zip(grid, rows, strict=True):
            _draw_row(axes, row)
    return Drawing(name, TITLE, f"{caption} {_LEGEND}", _alt(rows), figure)


def _draw_row(cells: np.ndarray, row: PanelCase) -> None:
    dice = [None, None, *row.dice.values()]
    for axes, picture, value in zip(cells, _pictures(row), dice, strict=True):
        axes.imshow(picture, interpolation="lanczos")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel("" if value is None else f"{value:.3f}", fontsize=7, labelpad=2)
    cells[0].set_ylabel(row.kind, fontsize=7, color=INK, weight="bold")


def _pictures(row: PanelCase) -> list[np.ndarray]:
    height, width = row.truth.shape
    scale = _LONGER_SIDE / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    image, truth = resize_image(row.image, size, channels=3), resize_mask(row.truth, size)
    outlined = overlay(image, truth, TRUTH, opacity=0, thickness=2)
    found = [
        overlay(outlined, resize_mask(mask, size), PREDICTION, 0.15, 2)
        for mask in row.found.values()
    ]
    return [image, overlay(image, truth, TRUTH, thickness=2), *found]


def _alt(rows: Sequence[PanelCase]) -> str:
    sentences = [
        f"{row.kind} case {row.key}: "
        + ", ".join(f"{model} Dice {value:.3f}" for model, value in row.dice.items())
        for row in rows
    ]
    return f"Images with outlines of ground truth and predictions. {'. '.join(sentences)}."

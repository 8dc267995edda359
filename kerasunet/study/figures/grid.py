"""Panels of a figure: a row for each data set, a column for each training size."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kerasunet.study.figures.results import Results
from kerasunet.study.figures.style import new_figure
from kerasunet.study.figures.words import panel_title

_ABOVE_AND_BELOW, _TITLE = 0.5, 0.15


def panel_grid(
    results: Results, height: float, ylabel: str = "Dice", **options
) -> tuple[Figure, dict[tuple[str, int], Axes]]:
    """Makes a titled panel for each data set and training size that has results.

    Args:
        results: What will be drawn.
        height: Of a row, in inches.
        ylabel: Of the first column.
        options: As `matplotlib.figure.Figure.subplots` takes them.
    """
    sizes = sorted({size for _, size in results.panels})
    rows = len(results.data)
    height += _TITLE if len(sizes) > 2 else 0
    figure, grid = new_figure(height * rows + _ABOVE_AND_BELOW, rows, len(sizes), **options)
    axes = {}
    for row, data in zip(grid, results.data, strict=True):
        row[0].set_ylabel(ylabel)
        for place, size in zip(row, sizes, strict=True):
            if (data, size) in results.panels:
                axes[data, size] = place
                place.set_title(panel_title(data, size, narrow=len(sizes) > 2))
            else:
                place.set_axis_off()
    return figure, axes

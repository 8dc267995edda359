"""A comparison as one HTML page that needs nothing else: pictures are inside, as PNG in base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np

from kerasunet.comparison.comparing import Comparison
from kerasunet.comparison.masks import Verdict
from kerasunet.comparison.pictures import draw_mask, draw_votes, png, shrunk
from kerasunet.comparison.scores import Score
from kerasunet.drawing import PREDICTION, TRUTH, to_rgb

NOTICE = "Research use only. Not a medical device."
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


def as_html(
    title: str,
    comparison: Comparison,
    verdict: Verdict,
    scores: Sequence[Score],
    truth: np.ndarray | None = None,
) -> str:
    """Draws a comparison as a page to keep or print.

    Args:
        title: What was compared, such as the name of the image.
        comparison, verdict, scores: The comparison, what was chosen, how good each mask is.
        truth: True mask, bool, `(height, width)`, or `None`.
    """
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="notice">{NOTICE}</p><p>{escape(_settings(comparison, verdict))}</p>',
            f'<div class="scroll">{score_table(scores)}</div>',
            f'<div class="panels">{"".join(_panels(comparison, verdict, scores, truth))}</div>',
            "</body></html>\n",
        ]
    )


def score_table(scores: Sequence[Score]) -> str:
    """The scores as an HTML table; the best rows say so in words, too."""
    against_truth = any(line.dice is not None for line in scores)
    columns = _columns(scores, against_truth)
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in columns)
    body = "".join(_row(line, columns) for line in scores)
    order = "Dice with the mask" if against_truth else "Dice with the consensus"
    return (
        f"<table><caption>Sorted by {order}.</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _columns(scores: Sequence[Score], against_truth: bool) -> dict:
    """Heading to what a cell of that column says of a score."""
    unit = scores[0].unit if scores else "px"
    measured = {
        "Dice": lambda s: f"{s.dice:.3f}",
        "IoU": lambda s: f"{s.iou:.3f}",
        f"HD95 ({unit})": lambda s: f"{s.hd95:.1f}",
    }
    return {
        "Layers trained": lambda s: f"{s.strategy} (best)" if s.best else s.strategy,
        **(measured if against_truth else {}),
        "Dice with consensus": lambda s: f"{s.consensus_dice:.3f}",
        "Area (px)": lambda s: f"{s.area_pixels:,}",
        **({"Area (mm²)": lambda s: f"{s.area_mm2:,.1f}"} if unit == "mm" else {}),
        "Time (ms)": lambda s: f"{s.seconds * 1000:.0f}",
        "Weights trained": lambda s: "" if s.trained is None else f"{s.trained:,}",
    }


def _row(line: Score, columns: dict) -> str:
    first, *others = (escape(say(line)) for say in columns.values())
    kind = ' class="best"' if line.best else ""
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr{kind} data-model="{escape(line.name)}"><th scope="row">{first}</th>{cells}</tr>'


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


def _panels(comparison, verdict: Verdict, scores: Sequence[Score], truth) -> list[str]:
    image = shrunk(to_rgb(comparison.image), _SIDE)
    panels = [_figure("Image", image)]
    if truth is not None:
        panels.append(_figure("True mask", draw_mask(image, truth, TRUTH, _SIDE)))
    for line in scores:
        value = line.consensus_dice if line.dice is None else line.dice
        drawn = draw_mask(image, verdict.masks[line.name], PREDICTION, _SIDE)
        panels.append(_figure(f"{line.strategy}: Dice {value:.3f}", drawn))
    votes = draw_votes(comparison.image, verdict.votes, verdict.voters)
    panels.append(_figure(f"Agreement of {verdict.voters}", shrunk(votes, _SIDE)))
    consensus = draw_mask(image, verdict.consensus, PREDICTION, _SIDE)
    panels.append(_figure("Consensus", consensus))
    return panels


def _figure(caption: str, picture: np.ndarray) -> str:
    data = base64.b64encode(png(picture)).decode("ascii")
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )

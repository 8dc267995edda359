"""The panels of Compare: what the page needs to draw every mask by itself.

Each probability map travels as its level, the number of the thresholds 0.01, 0.02 … 0.99 that it
reaches. So the page marks the very pixels that the server does, at every position of the slider.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

import cv2
import gradio as gr
import numpy as np

from kerasunet.comparison import Comparison, Score
from kerasunet.comparison.pictures import colour_scale, png, shrunk
from kerasunet.drawing import to_rgb

_THRESHOLDS = np.array([-np.inf, *(np.arange(1, 100) / 100), np.inf], np.float32)
_LONGEST = 768
_CODE = Path(__file__).with_name("viewer.js")
_PAGE = """
<div class="viewer">
  <div class="tools" role="toolbar" aria-label="Zoom of all panels">
    <button type="button" data-zoom="in" aria-label="Zoom in">+</button>
    <button type="button" data-zoom="out" aria-label="Zoom out">−</button>
    <button type="button" data-zoom="fit">Fit</button>
    <span class="hint">Double-click, pinch or Ctrl + wheel to zoom, drag to move; all panels follow.
    Keys + − 0 and arrows.</span>
  </div>
  <div class="panels"><p class="empty">Give an image, or take one of the examples.</p></div>
  <p class="legend"></p>
</div>
"""


def viewer() -> gr.HTML:
    """The component; its value is what `scene` returns."""
    return gr.HTML(
        value="",
        html_template=_PAGE,
        js_on_load=_CODE.read_text(encoding="utf-8"),
        elem_id="viewer",
        label="Masks",
    )


def scene(
    comparison: Comparison,
    scores: tuple[Score, ...],
    truth: np.ndarray | None,
) -> str:
    """Packs a comparison for the page; what its controls say is not in it, they may move meanwhile.

    Args:
        comparison: The comparison; of more than 768 pixels a side it is shown smaller.
        scores: Of the chosen candidates, the best first.
        truth: True mask, bool, or `None`.

    Returns:
        JSON; pictures are PNG in base64.
    """
    height, width = comparison.shape
    image = shrunk(to_rgb(comparison.image), _LONGEST)
    answers = _ordered(comparison, scores)
    return json.dumps(
        {
            "key": secrets.token_hex(8),
            "width": image.shape[1],
            "height": image.shape[0],
            "full": height * width,
            "scale": image.shape[0] * image.shape[1] / (height * width),
            "image": data_url(image),
            "truth": None if truth is None else data_url(_shrunk_mask(truth, image.shape[:2])),
            "panels": [_panel(answer) for answer in answers],
            "colours": _colours(sum(answer.candidate.votes for answer in answers) or len(answers)),
        }
    )


def captions(scores: tuple[Score, ...]) -> dict:
    """By name, what a panel's caption says of its mask."""
    return {line.name: {"text": _caption(line), "best": line.best} for line in scores}


def levels(probability: np.ndarray) -> np.ndarray:
    """How many of the thresholds 0.01, 0.02 … 0.99 each pixel reaches.

    Args:
        probability: Float32, `(height, width)`, 0 to 1.

    Returns:
        Uint8, `(height, width)`, 0 to 99.
    """
    near = np.minimum((probability * np.float32(100)).astype(np.uint8), 99)
    near = near + (probability >= _THRESHOLDS[near + 1])
    return (near - (probability < _THRESHOLDS[near])).astype(np.uint8)


def _ordered(comparison: Comparison, scores: tuple[Score, ...]) -> list:
    """The pre-trained model first, then the best first, then those not chosen."""
    ranks = {line.name: rank for rank, line in enumerate(scores)}
    return sorted(
        comparison.answers,
        key=lambda a: (a.candidate.votes, ranks.get(a.candidate.name, len(ranks))),
    )


def _panel(answer) -> dict:
    candidate = answer.candidate
    trained = "" if candidate.trained is None else f"{_short(candidate.trained)} trained"
    return {
        "name": candidate.name,
        "label": candidate.strategy,
        "detail": trained,
        "votes": candidate.votes,
        "levels": data_url(levels(shrunk(answer.probability, _LONGEST))),
    }


def _caption(line: Score) -> str:
    if line.dice is not None:
        return f"Dice {line.dice:.3f}"
    return f"{line.consensus_dice:.3f} with consensus"


def _short(count: int) -> str:
    """A count in three digits or so: 188737 becomes 189k."""
    if count >= 1_000_000:
        return f"{count / 1_000_000:.2f}M"
    return f"{count / 1000:.0f}k" if count >= 10_000 else f"{count:,}"


def _colours(voters: int) -> dict:
    """For each number of voters the colour of each count; the colour of each level."""
    votes = [[[0, 0, 0], *colour_scale(max(count, 1)).tolist()] for count in range(voters + 1)]
    return {"votes": votes, "levels": colour_scale(100).tolist()}


def _shrunk_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    size = (shape[1], shape[0])
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def data_url(picture: np.ndarray) -> str:
    """A picture as PNG inside a URL."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")

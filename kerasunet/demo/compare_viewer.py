"""The picture panels of Compare, the gallery of examples, and two masks over each other.

The browser draws every mask itself, so that sliders need no server. Each probability map is sent
as levels: how many of the thresholds 0.01, 0.02 … 0.99 a pixel reaches. So the browser marks
exactly the pixels that the library does, at every position of the slider.
"""

from __future__ import annotations

import base64
import json
import secrets
from html import escape
from pathlib import Path

import cv2
import gradio as gr
import numpy as np

from kerasunet.comparison import Answer, Choice, Comparison, Score, judge
from kerasunet.comparison_report import remark
from kerasunet.data.decoding import resize_mask
from kerasunet.demo.context import QUIET, Context, Result
from kerasunet.demo.visitors import EXAMPLES, MODALITIES, new_file, simulate_example
from kerasunet.drawing import (
    BOTH,
    FIRST_ONLY,
    SECOND_ONLY,
    color_scale,
    draw_difference,
    object_color,
    overlay,
    png,
    shrunk,
    to_rgb,
)
from kerasunet.metrics import area_mm2, dice

_THRESHOLDS = np.array([-np.inf, *(np.arange(1, 100) / 100), np.inf], np.float32)
_LONGEST, _SHORTER = 768, 384
_CODE = Path(__file__).with_suffix(".js")
_TEMPLATE = """
<div class="viewer">
  <div class="tools" role="toolbar" aria-label="Zoom of all panels">
    <button type="button" data-zoom="in" aria-label="Zoom in">+</button>
    <button type="button" data-zoom="out" aria-label="Zoom out">−</button>
    <button type="button" data-zoom="fit">Fit</button>
    <span class="hint">Double-click, pinch or Ctrl + wheel to zoom, drag to move; all panels follow.
    Keys + − 0 and arrows.</span>
  </div>
  <div class="panels"><p class="empty">Add an image, or choose one of the examples.</p></div>
  <p class="legend"></p>
</div>
"""


def viewer() -> gr.HTML:
    """Make the component; its value is what `scene` returns."""
    return gr.HTML(
        value="",
        html_template=_TEMPLATE,
        js_on_load=_CODE.read_text(encoding="utf-8"),
        elem_id="viewer",
        label="Masks",
    )


def scene(
    comparison: Comparison,
    scores: tuple[Score, ...],
    truth: np.ndarray | None,
) -> str:
    """Pack a comparison for the browser, without the controls, which may move meanwhile.

    Args:
        comparison: The comparison; shown smaller if a side has more than 768 pixels.
        scores: Scores of the chosen candidates, the best first.
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
            "colors": _colors(sum(answer.candidate.votes for answer in answers) or len(answers)),
        }
    )


def captions(scores: tuple[Score, ...]) -> dict:
    """Return by model name what a panel's caption says of its mask."""
    return {line.name: {"text": _caption(line), "best": line.best} for line in scores}


def levels(probability: np.ndarray) -> np.ndarray:
    """Count the thresholds 0.01, 0.02 … 0.99 that each pixel reaches.

    Args:
        probability: Float32, `(height, width)`, 0 to 1.

    Returns:
        Uint8, `(height, width)`, 0 to 99.
    """
    near = np.minimum((probability * np.float32(100)).astype(np.uint8), 99)
    near = near + (probability >= _THRESHOLDS[near + 1])
    return (near - (probability < _THRESHOLDS[near])).astype(np.uint8)


def _ordered(comparison: Comparison, scores: tuple[Score, ...]) -> list:
    """Sort the answers: the pre-trained model, the others from the best, those not chosen."""
    ranks = {line.name: rank for rank, line in enumerate(scores)}
    return sorted(
        comparison.answers,
        key=lambda a: (a.candidate.votes, ranks.get(a.candidate.name, len(ranks))),
    )


def _panel(answer) -> dict:
    candidate = answer.candidate
    trained = "" if candidate.trained is None else f"{_short(candidate.trained)} trained"
    detail = " · ".join(filter(None, (trained, candidate.origin)))
    return {
        "name": candidate.name,
        "label": candidate.strategy,
        "detail": detail,
        "votes": candidate.votes,
        "levels": data_url(levels(shrunk(answer.probability, _LONGEST))),
        "mask": None if answer.mask is None else data_url(_shrunk_to(answer.mask, _LONGEST)),
    }


def _caption(line: Score) -> str:
    value = f"{line.consensus_dice:.3f} with consensus"
    if line.dice is not None:
        value = f"Dice {line.dice:.3f}"
    return ", ".join(filter(None, (value, remark(line))))


def _short(count: int) -> str:
    """Return a count in about three digits: 188737 becomes 189k."""
    if count >= 1_000_000:
        return f"{count / 1_000_000:.2f}M"
    return f"{count / 1000:.0f}k" if count >= 10_000 else f"{count:,}"


def _colors(voters: int) -> dict:
    """Return the color of each count of votes, by number of voters, and of each level."""
    votes = [[[0, 0, 0], *color_scale(max(count, 1)).tolist()] for count in range(voters + 1)]
    return {"votes": votes, "levels": color_scale(100).tolist()}


def _shrunk_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    size = (shape[1], shape[0])
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def _shrunk_to(mask: np.ndarray, longest: int) -> np.ndarray:
    height, width = shrunk(mask.astype(np.float32), longest).shape
    return _shrunk_mask(mask, (height, width))


def objects_html(result: Result) -> str:
    """Draw what models of several objects find: all objects in a picture, a table, the legend.

    Args:
        result: The image with the answers; true masks of the objects add their Dice.

    Returns:
        HTML; empty where no model finds several.
    """
    several = [answer for answer in result.whole.answers if answer.found.several]
    return "".join(_objects_of(answer, result) for answer in several)


def _objects_of(answer: Answer, result: Result) -> str:
    spacing, image = result.whole.spacing, shrunk(to_rgb(result.whole.image), _SHORTER)
    heads = ["Object", "Area (px)", *(["Area (mm²)"] if spacing else []), "Dice"]
    rows, drawn = [], image
    for number, name in enumerate(answer.found.names):
        about = answer.of(name)
        assert about is not None, "it finds this object"
        mask, color = about.masked(0.5), object_color(number)
        drawn = overlay(drawn, resize_mask(mask, image.shape[:2]), color)
        truth = result.truth_of(name)
        area = area_mm2(mask, spacing)
        cells = [
            f"{np.count_nonzero(mask):,}",
            *([] if area is None else [f"{area:,.1f}"]),
            "" if truth is None else f"{dice(truth, mask):.3f}",
        ]
        swatch = f'<i class="swatch" style="background:rgb{color}"></i>'
        listed = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{swatch} {escape(name)}</th>{listed}</tr>')
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    told = ", has seen this image" if answer.seen else ""
    label = escape(f"{answer.candidate.strategy}: {answer.found}{told}")
    return (
        f'<figure class="objects"><img alt="{label}" src="{data_url(drawn)}">'
        f"<figcaption>{label}</figcaption></figure>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def data_url(picture: np.ndarray) -> str:
    """Return a picture as PNG inside a URL."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


class DifferenceSlider:
    """Two masks over each other with a handle to drag; drawn only while that part is open."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open = gr.State(False)
        with gr.Accordion("Two strategies, one over the other", open=False) as self._part:
            with gr.Row():
                self._first = gr.Dropdown([], label="Left")
                self._second = gr.Dropdown([], label="Right")
            self._slider = gr.ImageSlider(
                label="Drag the handle",
                format="png",
                buttons=["fullscreen"],
                max_height=560,
                elem_id="compare-pair",
            )
            gr.HTML(_legend())

    @property
    def outputs(self) -> list:
        """The components that `choices` sets."""
        return [self._first, self._second]

    def connect(self, key: gr.State, threshold: gr.Slider, smallest: gr.Slider) -> None:
        self._inputs = [self._open, key, self._first, self._second, threshold, smallest]
        for event in (
            *(self._first.input, self._second.input),
            *(threshold.release, smallest.release),
        ):
            event(self._draw, self._inputs, self._slider, **QUIET)
        opened = self._part.expand(lambda: True, None, self._open, **QUIET)
        self.follow(opened)
        self._part.collapse(lambda: False, None, self._open, **QUIET)

    def follow(self, event) -> None:
        """Draw again after an event."""
        event.then(self._draw, self._inputs, self._slider, **QUIET)

    def choices(self, result: Result) -> dict:
        """Return updates with the models to choose among, the first and the last chosen."""
        ends = zip(self.outputs, (result.names[0], result.names[-1]), strict=True)
        return {part: gr.Dropdown(result.choices, value=name) for part, name in ends}

    def _draw(self, request: gr.Request, opened, key, first, second, threshold, smallest):
        result = self._context.results.get(key)
        if not opened or result is None or not {first, second} <= set(result.names):
            return None
        masks = judge(result.comparison, Choice(threshold, smallest, (first, second))).masks
        pictures = draw_difference(result.comparison.image, masks[first], masks[second])
        paths = [new_file("difference.png", png(picture)) for picture in pictures]
        self._context.files.keep(request, *paths)
        return tuple(str(path) for path in paths)


def _legend() -> str:
    meanings = {"only the left one": FIRST_ONLY, "only the right one": SECOND_ONLY, "both": BOTH}
    keys = (
        f'<span><i style="background:rgb{color}"></i>{words}</span>'
        for words, color in meanings.items()
    )
    return f'<p class="legend">{"".join(keys)}</p>'


_SIDE = 128
_EXAMPLES_CODE = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-index]");
  if (button) trigger("pick", { index: Number(button.dataset.index) });
});"""


def example_gallery(elem_id: str) -> gr.HTML:
    """Make the component; its event `pick` carries the index in `EXAMPLES`."""
    buttons = "".join(_button(*numbered) for numbered in enumerate(EXAMPLES))
    page = f'<div class="examples"><h3>Examples, simulated</h3><div>{buttons}</div></div>'
    return gr.HTML(page, js_on_load=_EXAMPLES_CODE, elem_id=elem_id, apply_default_css=False)


def _button(index: int, which: tuple[str, int]) -> str:
    modality, number = which
    picture = simulate_example(modality, number, _SIDE).pixels.astype(np.uint8)
    words = f"Example: {MODALITIES[modality]}, simulated, number {number}"
    return (
        f'<button type="button" data-index="{index}" aria-label="{words}" title="{words}">'
        f'<img alt="" src="{data_url(picture)}"></button>'
    )

"""Thumbnails of the built-in examples, each a button."""

from __future__ import annotations

import gradio as gr
import numpy as np
from context import MODALITIES
from subjects import EXAMPLES, example
from viewer import data_url

_SIDE = 128
_CODE = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-index]");
  if (button) trigger("pick", { index: Number(button.dataset.index) });
});"""


def gallery(elem_id: str) -> gr.HTML:
    """The component; its event `pick` tells the index in `EXAMPLES`."""
    buttons = "".join(_button(*numbered) for numbered in enumerate(EXAMPLES))
    page = f'<div class="examples"><h3>Examples, simulated</h3><div>{buttons}</div></div>'
    return gr.HTML(page, js_on_load=_CODE, elem_id=elem_id, apply_default_css=False)


def _button(index: int, which: tuple[str, int]) -> str:
    modality, number = which
    picture = example(modality, number, _SIDE).image.astype(np.uint8)
    words = f"Example: {MODALITIES[modality]}, simulated, number {number}"
    return (
        f'<button type="button" data-index="{index}" aria-label="{words}" title="{words}">'
        f'<img alt="" src="{data_url(picture)}"></button>'
    )

"""Compare: every strategy's mask of one image, side by side."""

from __future__ import annotations

import gradio as gr
from context import Context


def build(context: Context) -> None:
    gr.Markdown(f"{len(context.shelf.models)} models")

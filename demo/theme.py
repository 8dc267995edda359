"""How the page looks: colours, system fonts that need no download, and the header."""

from __future__ import annotations

import gradio as gr

_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]

THEME = gr.themes.Base(
    primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=_SANS, font_mono=_MONO
)


def header() -> str:
    """HTML of the top of the page: what it is, and what it is not for."""
    return (
        "<header><h1>kerasunet</h1>"
        "<p>Which layers of a pre-trained U-Net should be fine-tuned?</p>"
        '<p class="notice" role="note">Research use only. Not a medical device. '
        "Images stay on this server and go with the session.</p></header>"
    )

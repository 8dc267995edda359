"""A figure as SVG inside a page: one theme with the page, no clash of names."""

from __future__ import annotations

import io
import re

import matplotlib
from markupsafe import Markup, escape

from kerasunet.study.figures.drawing import Drawing
from kerasunet.study.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    HAIR,
    INK,
    PALE,
    PAPER,
    PURPLE,
    RC,
    VERMILLION,
)

THEME = {
    INK: "ink",
    FAINT: "faint",
    PALE: "pale",
    HAIR: "hair",
    PAPER: "paper",
    BLUE: "blue",
    VERMILLION: "vermillion",
    GREEN: "green",
    PURPLE: "purple",
}
"""Colours of the house style to the custom properties that stand for them in the page."""

_HEADER = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_NOISE = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_OPENING = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_MOST, _LEAST = 1.3, 0.8
_NAMES = re.compile(r'(\bid="|href="#|url\(#)')


def as_markup(drawing: Drawing) -> Markup:
    """Turns a figure into an SVG element with its alternative text."""
    text = _NOISE.sub("", _HEADER.sub("", _svg(drawing)))
    text = _NAMES.sub(rf"\g<1>{drawing.name}-", text)
    text = text.replace("xlink:href", "href")
    for colour, name in THEME.items():
        text = text.replace(colour, f"var(--{name})")
    attributes = f'class="drawing" role="img" aria-label="{escape(drawing.alt)}"'
    width = drawing.figure.get_figwidth()
    limits = f"max-width: {_MOST * width:.1f}in; min-width: {_LEAST * width:.1f}in"
    opening = _OPENING.match(text)
    head = f'<svg viewBox="{opening[1]}" {attributes} style="{limits}">'
    return Markup(head + text[opening.end() :])


def _svg(drawing: Drawing) -> str:
    file = io.StringIO()
    with matplotlib.rc_context(RC):
        drawing.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return file.getvalue()

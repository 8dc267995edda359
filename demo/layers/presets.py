"""Every strategy that has a name, as rows of buttons."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from kerasunet.strategies import StrategyError, expand, parse
from layers.start import Start

_COUNTED = {
    "shallow": "From the shallow end",
    "deep": "From the deep end",
    "outer": "Outer levels",
    "inner": "Inner levels",
}
_PARTS = ("none", "contracting", "expanding", "bottleneck", "all")
_KINDS = ("norm", "bias", "kernel")


def presets(strategy: str, start: Start) -> str:
    """HTML of the rows; the buttons of what trains the same as `strategy` are pressed."""
    pressed = _same(strategy, start)
    rows = [_row(title, buttons, pressed, start) for title, buttons in _rows(start)]
    return f'<div class="presets">{"".join(rows)}</div>'


def _rows(start: Start) -> Iterator[tuple[str, dict[str, str]]]:
    """Heading, and strategy by caption."""
    yield "Parts", {text: text for text in _PARTS}
    for rule, title in _COUNTED.items():
        texts = expand(f"{rule}:*", start.layout)
        yield title, {text.partition(":")[2]: text for text in texts}
    yield "Kinds of weight", {text: text for text in _KINDS if _exists(text, start)}
    yield "Your images choose", {"auto": "auto", "search": "auto:search"}


def _row(title: str, buttons: dict[str, str], pressed: object, start: Start) -> str:
    drawn = [_button(caption, text, pressed, start) for caption, text in buttons.items()]
    heading = f'<div role="group" aria-label="{title}"><span>{title}</span>'
    return f"{heading}<div>{''.join(drawn)}</div></div>"


def _button(caption: str, text: str, pressed: object, start: Start) -> str:
    state = "true" if _same(text, start) == pressed else "false"
    return (
        f'<button type="button" data-strategy="{text}" aria-label="{text}" title="{text}" '
        f'aria-pressed="{state}">{escape(caption)}</button>'
    )


def _same(text: str, start: Start) -> object:
    """Equal for strategies that train the same."""
    try:
        selected = start.select(text)
    except StrategyError:
        return None
    return str(parse(text)) if selected is None else selected


def _exists(text: str, start: Start) -> bool:
    return _same(text, start) is not None

"""The U-Net as a diagram of switches, and the buttons for presets and single layers: HTML and CSS.

Gradio scopes each style to its component.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import log10
from typing import NamedTuple

from kerasunet.demo.layers_network import PATHS, Selection, Start, with_other_path
from kerasunet.strategies import StrategyError, expand, parse

PICK_PRESET = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-strategy]");
  if (button) trigger("pick", {...button.dataset});
});
"""
"""Script that reports the clicked preset to Python."""
QUEUE_CLICKS = """
const clicks = (window.kerasunetClicks ??= { names: [], until: 0, send() {} });
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-name]");
  if (!button) return;
  clicks.names.push(button.dataset.name);
  clicks.send();
});
"""
"""Script that queues the names of clicked blocks and layers."""
SEND_CLICKS = f"""{QUEUE_CLICKS}
const PATIENCE = 4000;
clicks.send = () => {{
  if (!clicks.names.length || Date.now() < clicks.until) return;
  clicks.until = Date.now() + PATIENCE;
  setTimeout(clicks.send, PATIENCE);
  trigger("pick", {{ names: clicks.names.splice(0) }});
}};
watch("value", () => {{ clicks.until = 0; clicks.send(); }});
"""
"""Script that sends the queued clicks once the diagram shows the effect of those before: a fast
click starts from the strategy that the click before it made.
"""
_BUTTONS = """
button { font: inherit; color: var(--body-text-color); cursor: pointer;
  background: var(--background-fill-primary); border: 1.5px dashed var(--neutral-500);
  border-radius: 6px; }
button[aria-pressed=true] { background: #0f766e; border: 1.5px solid #0f766e; color: #fff; }
button[aria-pressed=true][data-shade] { color: var(--body-text-color);
  background: color-mix(in srgb, #0d9488 var(--shade), var(--background-fill-primary)); }
button[aria-pressed=mixed] { border: 1.5px solid #0d9488;
  background: repeating-linear-gradient(135deg, transparent 0 6px, #0d948833 6px 12px); }
button * { color: inherit; }
button:hover { filter: brightness(1.12); border-style: solid; }
button:focus-visible { outline: 3px solid var(--secondary-500); outline-offset: 2px; }
"""
DIAGRAM_STYLE = (
    _BUTTONS
    + """
.unet svg { display: block; width: 100%; max-width: 480px; margin: 0 auto; overflow: visible;
  font-size: 14px; }
.unet path { fill: none; stroke: var(--neutral-500); stroke-width: 1.5; }
.unet path.skip { stroke-dasharray: 5 4; }
.unet marker path { fill: var(--neutral-500); stroke: none; }
.unet text { fill: var(--body-text-color); text-anchor: middle; font-size: 12px; }
.unet foreignObject { overflow: visible; }
.unet button { width: 100%; height: 100%; padding: 0 2px; line-height: 1.35;
  white-space: nowrap; overflow: hidden; }
.unet small { font-size: 12px; }
"""
)
SINGLE_LAYERS_STYLE = (
    _BUTTONS
    + """
.single-layers { display: grid; gap: 6px; }
.single-layers > div { display: grid; grid-template-columns: 7em 1fr; align-items: start; }
.single-layers > div > div { display: flex; flex-wrap: wrap; gap: 6px; }
.single-layers span { font-weight: 600; line-height: 28px; }
.single-layers button { padding: 3px 9px; min-height: 28px; font-size: 13px; }
"""
)
PRESETS_STYLE = (
    _BUTTONS
    + """
.presets { display: grid; gap: 6px; }
.presets > div { display: grid; grid-template-columns: 11.5em 1fr; align-items: start; }
.presets > div > div { display: flex; flex-wrap: wrap; gap: 6px; }
.presets span { font-size: 14px; line-height: 28px; }
.presets button { padding: 3px 10px; min-width: 30px; min-height: 28px; font-size: 14px;
  border-style: solid; }
@media (max-width: 640px) {
  .presets > div { grid-template-columns: 1fr; }
  .presets button { min-width: 34px; min-height: 34px; }
}
"""
)
COST_STYLE = """
dl.facts { display: grid; grid-template-columns: 1fr; gap: 2px; margin: 0; }
dl.facts dt { font-size: 14px; } dl.facts dd { margin: 0 0 12px; }
dl.facts b { font-size: 24px; font-variant-numeric: tabular-nums; }
.bar { display: block; height: 8px; border-radius: 4px; margin: 4px 0 2px; overflow: hidden;
  background: rgb(100 116 139 / .35); }
.bar i { display: block; height: 100%; background: #0d9488; }
.share, .how { font-size: 14px; }
"""
_COUNTED = {
    "shallow": "From the shallow end",
    "deep": "From the deep end",
    "outer": "Outer levels",
    "inner": "Inner levels",
}
_PARTS = ("none", "contracting", "expanding", "bottleneck", "all")
_KINDS = ("norm", "bias", "kernel")


def presets_html(strategy: str, start: Start, other_rate: float = 0) -> str:
    """Return the rows of buttons as HTML; those that train the same as `strategy` are pressed.

    Args:
        strategy: The strategy that is shown.
        start: The network.
        other_rate: Rate at which the presets of a path train the other path; 0 freezes it.
    """
    pressed = _same(strategy, start)
    rows = [
        _row(title, buttons, pressed, start=start) for title, buttons in _rows(start, other_rate)
    ]
    return f'<div class="presets">{"".join(rows)}</div>'


def _rows(start: Start, other_rate: float) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the heading of each row, and its strategies by caption."""
    soft = {path: with_other_path(path, other_rate) for path in PATHS}
    yield "Parts", {text: soft.get(text, text) for text in _PARTS}
    for rule, title in _COUNTED.items():
        texts = expand(f"{rule}:*", start.layout)
        yield title, {text.partition(":")[2]: text for text in texts}
    yield "Kinds of weight", {text: text for text in _KINDS if _exists(text, start)}
    yield "Chosen from your images", {"auto": "auto", "search": "auto:search"}


def _row(title: str, buttons: dict[str, str], pressed: object, *, start: Start) -> str:
    drawn = [_button(caption, text, pressed, start=start) for caption, text in buttons.items()]
    heading = f'<div role="group" aria-label="{title}"><span>{title}</span>'
    return f"{heading}<div>{''.join(drawn)}</div></div>"


def _button(caption: str, text: str, pressed: object, *, start: Start) -> str:
    state = "true" if _same(text, start) == pressed else "false"
    return (
        f'<button type="button" data-strategy="{text}" aria-label="{text}" title="{text}" '
        f'aria-pressed="{state}">{escape(caption)}</button>'
    )


def _same(text: str, start: Start) -> object:
    """Return something that is equal for strategies that train the same."""
    try:
        selected = start.select(text)
    except StrategyError:
        return None
    return str(parse(text)) if selected is None else selected


def _exists(text: str, start: Start) -> bool:
    return _same(text, start) is not None


_WIDTH = 370
_BLOCK, _HEIGHT, _STRIDE, _MARGIN = 138, 54, 80, 4
_BOTTLENECK = 174
_SLANT = 4
"""How far an arm of the U moves inward from one level to the next."""


@dataclass(frozen=True)
class _Box:
    """Where a block is drawn."""

    block: str
    x: float
    y: float
    width: float = _BLOCK

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


class Undecided(NamedTuple):
    """What is said of each block or layer where nobody knows what trains: in words and in short."""

    words: str
    short: str


BY_IMAGES = Undecided("chosen from your images", "images decide")
NO_STRATEGY = Undecided("there is no such strategy", "–")


def diagram_html(selected: Selection | None, start: Start, undecided: Undecided = BY_IMAGES) -> str:
    """Draw the network.

    Args:
        selected: What trains; `None` where that is not known.
        start: The network.
        undecided: Why it is not known.

    Returns:
        HTML. Each button has the name of its block as `data-name`.
    """
    boxes = _boxes(start)
    height = boxes[start.layout.depth].y + _HEIGHT + _MARGIN
    blocks = [_block(box, selected, start, undecided=undecided) for box in boxes]
    parts = [*_arrows(boxes, start), *blocks]
    return (
        f'<div class="unet"><svg viewBox="0 0 {_WIDTH} {height}" role="group" '
        f'aria-label="U-Net with {len(boxes)} blocks">{_MARKER}{"".join(parts)}</svg></div>'
    )


_MARKER = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)


def _boxes(start: Start) -> list[_Box]:
    layout = start.layout
    boxes = []
    for number, block in enumerate(layout.blocks):
        level = layout.level_of(block)
        y = _MARGIN + _STRIDE * (level - 1)
        left = _MARGIN + min(_SLANT, 16 / layout.depth) * (level - 1)
        if level == layout.depth + 1:
            boxes.append(_Box(block, (_WIDTH - _BOTTLENECK) / 2, y, width=_BOTTLENECK))
        else:
            boxes.append(_Box(block, left if number < layout.depth else _WIDTH - _BLOCK - left, y))
    return boxes


def _arrows(boxes: list[_Box], start: Start) -> Iterator[str]:
    depth = start.layout.depth
    for box, other in zip(boxes[:depth], boxes[:depth:-1], strict=True):
        y = box.y + _HEIGHT / 2
        yield _path("skip", f"M{box.x + box.width} {y} H{other.x - 3}")
        side = start.image_size // 2 ** (start.layout.level_of(box.block) - 1)
        yield f'<text x="{_WIDTH / 2}" y="{y - 5}">{side} × {side}</text>'
    for box, other in zip(boxes[: depth - 1], boxes[1:depth], strict=True):
        yield _path("flow", f"M{box.middle} {box.y + _HEIGHT} V{other.y - 2}")
    for box, other in zip(boxes[depth + 1 : -1], boxes[depth + 2 :], strict=True):
        yield _path("flow", f"M{box.middle} {box.y} V{other.y + _HEIGHT + 2}")
    last, bottom, first = boxes[depth - 1 : depth + 2]
    y = bottom.y + _HEIGHT / 2
    yield _path("flow", f"M{last.middle} {last.y + _HEIGHT} V{y} H{bottom.x - 2}")
    yield _path("flow", f"M{bottom.x + bottom.width} {y} H{first.middle} V{first.y + _HEIGHT + 2}")


def _path(kind: str, way: str) -> str:
    return f'<path class="{kind}" d="{way}" marker-end="url(#tip)"/>'


def _block(box: _Box, selected: Selection | None, start: Start, *, undecided: Undecided) -> str:
    layers = start.layout.layers_of(box.block)
    filters = start.architecture.base_filters * 2 ** (start.layout.level_of(box.block) - 1)
    state = _state(selected, layers, start, undecided=undecided)
    button = (
        f'<button type="button" class="block" data-name="{box.block}" {state.attributes} '
        f'aria-label="{box.block}, {filters} filters: {state.words}" title="{state.words}">'
        f"<b>{box.block}</b> <small>{filters} filters</small><br>"
        f'<span class="state">{state.sign} {state.short}</span></button>'
    )
    return (
        f'<foreignObject x="{box.x}" y="{box.y}" width="{box.width}" height="{_HEIGHT}">'
        f"{button}</foreignObject>"
    )


@dataclass(frozen=True)
class _State:
    """What happens to a block or layer.

    Attributes:
        pressed: `true` if all its weights train, `false` if none does, else `mixed`.
        words: The same for a screen reader.
        short: The same, short enough for a block.
        rate: The factor of the learning rate if one holds for all, else 1.
    """

    pressed: str
    words: str
    short: str
    rate: float = 1

    @property
    def sign(self) -> str:
        return {"true": "●", "false": "○", "mixed": "◐"}[self.pressed]

    @property
    def attributes(self) -> str:
        """The attributes of the button: whether it is pressed; its shade below the full rate."""
        pressed = f'aria-pressed="{self.pressed}"'
        if self.rate >= 1:
            return pressed
        return f'{pressed} data-shade style="--shade:{_shade(self.rate):.0f}%"'


_DARKEST, _LIGHTEST, _DECADES = 50, 10, 3


def _shade(rate: float) -> float:
    """Return the percentage of color for a rate below 1: equal ratios are equal steps."""
    return max(_LIGHTEST, _DARKEST * (1 + log10(rate) / _DECADES))


def _state(
    selected: Selection | None, layers: tuple[str, ...], start: Start, *, undecided: Undecided
) -> _State:
    if selected is None:
        return _State("false", *undecided)
    own = [w for w in start.layout.weights if w.layer in layers]
    trained = [w for w in own if w in selected.weights]
    if not trained:
        if set(layers) & set(selected.statistics):
            return _State("false", "frozen, but its statistics follow the data", "statistics only")
        return _State("false", "frozen", "frozen")
    if selected.power is not None:
        return _State("mixed", "kernels train, at rates measured in training", "measured rates")
    words, short, rate = _at_rate(selected.rates_in(layers))
    if len(trained) == len(own):
        return _State("true", f"trains{words}", f"trains{short}", rate=rate)
    touched = len({w.layer for w in trained})
    if len(layers) == 1:
        return _State("mixed", f"trains in part{words}", "trains in part")
    part = f"{touched} of {len(layers)} layers"
    return _State("mixed", f"{part}{' train' if words else ''}{words}", part)


def _at_rate(rates: list[float]) -> tuple[str, str, float]:
    """Return the rates in words, in short, and the rate if there is only one, else 1."""
    if rates == [1]:
        return "", "", 1
    spelled = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"
    rate = rates[0] if len(rates) == 1 else 1
    return f" at {spelled} times the rate", f" at {spelled}×", rate


def single_layers_html(
    selected: Selection | None, start: Start, undecided: Undecided = BY_IMAGES
) -> str:
    """Return HTML: by block, a button for every layer with its name as `data-name`."""
    rows = [
        _layer_row(block, selected, start, undecided=undecided) for block in start.layout.blocks
    ]
    return f'<div class="single-layers">{"".join(rows)}</div>'


def _layer_row(
    block: str, selected: Selection | None, start: Start, *, undecided: Undecided
) -> str:
    buttons = [
        _layer_button(
            block, layer, start, state=_state(selected, (layer,), start, undecided=undecided)
        )
        for layer in start.layout.layers_of(block)
    ]
    return (
        f'<div role="group" aria-label="Layers of {block}"><span>{block}</span>'
        f"<div>{''.join(buttons)}</div></div>"
    )


def _layer_button(block: str, layer: str, start: Start, *, state: _State) -> str:
    count = start.network.layers[layer]
    weights = [w for w in start.layout.weights if w.layer == layer]
    number = sum(count.parameters(w.name) for w in weights)
    return (
        f'<button type="button" data-name="{layer}" {state.attributes} '
        f'aria-label="{layer}, {number:,} weights: {state.words}" '
        f'title="{number:,} weights: {state.words}">'
        f"{state.sign} {layer.removeprefix(f'{block}_')}</button>"
    )

"""The U-Net drawn as a U: an SVG of any depth, whose blocks are buttons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kerasunet.strategies import WeightRef
from layers.start import Start

_WIDTH = 370
_BLOCK, _HEIGHT, _STRIDE, _MARGIN = 138, 54, 80, 4
_BOTTLENECK = 174
_LEAN = 4
"""Units that an arm moves inwards from one level to the next."""


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


def diagram(selected: frozenset[WeightRef] | None, start: Start) -> str:
    """Draws the network.

    Args:
        selected: What trains; `None` where the training images decide.
        start: The network.

    Returns:
        HTML. Each button has the name of its block as `data-name`.
    """
    boxes = _boxes(start)
    height = boxes[start.layout.depth].y + _HEIGHT + _MARGIN
    parts = [*_arrows(boxes, start), *(_block(box, selected, start) for box in boxes)]
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
        left = _MARGIN + min(_LEAN, 16 / layout.depth) * (level - 1)
        if level == layout.depth + 1:
            boxes.append(_Box(block, (_WIDTH - _BOTTLENECK) / 2, y, _BOTTLENECK))
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


def _block(box: _Box, selected: frozenset[WeightRef] | None, start: Start) -> str:
    layers = start.layout.layers_of(box.block)
    filters = start.architecture.base_filters * 2 ** (start.layout.level_of(box.block) - 1)
    pressed, words = _state(selected, layers, start)
    button = (
        f'<button type="button" class="block" data-name="{box.block}" aria-pressed="{pressed}" '
        f'aria-label="{box.block}, {filters} filters: {words}">'
        f"<b>{box.block}</b> <small>{filters} filters</small><br>"
        f'<span class="state">{_SIGNS[pressed]} {words}</span></button>'
    )
    return (
        f'<foreignObject x="{box.x}" y="{box.y}" width="{box.width}" height="{_HEIGHT}">'
        f"{button}</foreignObject>"
    )


_SIGNS = {"true": "●", "false": "○", "mixed": "◐"}


def _state(
    selected: frozenset[WeightRef] | None, layers: tuple[str, ...], start: Start
) -> tuple[str, str]:
    """Value of `aria-pressed`, and the same in words."""
    if selected is None:
        return "false", "your images decide"
    own = [w for w in start.layout.weights if w.layer in layers]
    trained = [w for w in own if w in selected]
    if len(trained) == len(own):
        return "true", "trains"
    if not trained:
        return "false", "frozen"
    touched = len({w.layer for w in trained})
    return "mixed", f"{touched} of {len(layers)} layers" if len(layers) > 1 else "trains in part"


def single_layers(selected: frozenset[WeightRef] | None, start: Start) -> str:
    """HTML of a button for every layer, by block, with its name as `data-name`."""
    rows = [_layer_row(block, selected, start) for block in start.layout.blocks]
    return f'<div class="single-layers">{"".join(rows)}</div>'


def _layer_row(block: str, selected: frozenset[WeightRef] | None, start: Start) -> str:
    buttons = [
        _layer_button(block, layer, selected, start) for layer in start.layout.layers_of(block)
    ]
    return (
        f'<div role="group" aria-label="Layers of {block}"><span>{block}</span>'
        f"{''.join(buttons)}</div>"
    )


def _layer_button(
    block: str, layer: str, selected: frozenset[WeightRef] | None, start: Start
) -> str:
    pressed, words = _state(selected, (layer,), start)
    count = start.network.layers[layer]
    weights = [w for w in start.layout.weights if w.layer == layer]
    number = sum(count.parameters(w.name) for w in weights)
    return (
        f'<button type="button" data-name="{layer}" aria-pressed="{pressed}" '
        f'aria-label="{layer}, {number:,} weights: {words}" title="{number:,} weights">'
        f"{_SIGNS[pressed]} {layer.removeprefix(f'{block}_')}</button>"
    )

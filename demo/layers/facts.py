"""What a strategy costs, in numbers and bars."""

from __future__ import annotations

from kerasunet.strategies import WeightRef
from layers.start import Start

_GIGA = 1e9


def facts(selected: frozenset[WeightRef] | None, start: Start, batch_size: int) -> str:
    """HTML: trained parameters, and the estimated cost of a step, against training everything."""
    if selected is None:
        return (
            '<p class="facts">Which layers train is chosen from your training images when the run '
            "starts, so neither their number nor their cost is known yet.</p>"
        )
    network = start.network
    trained, parameters = network.parameters(selected), network.parameters()
    step = network.step_cost(selected, batch_size)
    most = network.step_cost(start.layout.weights, batch_size).total
    cost = f"{step.total / _GIGA:,.2f}" if selected else "0"
    return (
        '<dl class="facts">'
        f"<dt>Trained parameters</dt><dd><b>{trained:,}</b> of {parameters:,}"
        f"{_bar(trained / parameters)}</dd>"
        f"<dt>Expected cost of a step</dt><dd><b>{cost}</b> billion multiply-adds"
        f"{_bar(step.total / most)}</dd></dl>"
        f'<p class="how">{_how(selected, batch_size, start)}</p>'
    )


def _bar(share: float) -> str:
    return (
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="share">{100 * share:.3g} % of training all</span>'
    )


def _how(selected: frozenset[WeightRef], batch_size: int, start: Start) -> str:
    if not selected:
        return "Nothing trains: the network is used as it is."
    layers = [layer for layer in start.layout.layers if any(w.layer == layer for w in selected)]
    return (
        f"An estimate for {batch_size} images of {start.image_size} × {start.image_size}: forward "
        f"pass, gradients back to {layers[0]}, and gradients of the kernels that train. Seconds "
        "follow it only roughly."
    )

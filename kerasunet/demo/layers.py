"""The tab Layers: choose what trains; see its cost, its command and what the study found."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gradio as gr

from kerasunet import models
from kerasunet.architecture import Architecture
from kerasunet.demo.context import PRETRAINED, Context, problem_html
from kerasunet.demo.layers_diagram import (
    COST_STYLE,
    DIAGRAM_STYLE,
    NO_STRATEGY,
    PICK_PRESET,
    PRESETS_STYLE,
    QUEUE_CLICKS,
    SEND_CLICKS,
    SINGLE_LAYERS_STYLE,
    diagram_html,
    presets_html,
    single_layers_html,
)
from kerasunet.demo.layers_network import (
    SCRATCH,
    Selection,
    Start,
    command,
    cost_html,
    led_by,
    snippet,
    start_from,
    step_cost,
    with_other_path,
)
from kerasunet.demo.study import shipped
from kerasunet.demo.study_figures import findings
from kerasunet.demo.visitors import whole_number
from kerasunet.strategies import StrategyError, parse
from kerasunet.training.settings import FinetuneSettings

_USUAL = FinetuneSettings()
_FIRST = {
    "strategy": str(_USUAL.layers),
    "single": False,
    "other_rate": 0,
    "data": "",
    "image_size": _USUAL.image_size,
    "batch_size": _USUAL.optimization.batch_size,
    "normalization": "batch",
    **{name: getattr(Architecture(), name) for name in ("depth", "base_filters")},
}
_SIZE, _BATCH, _FILTERS = "Image size in pixels", "Images per step", "Filters of level 1"
_NO_COMMAND = "# Correct the fields above first."
_LIVE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build(context: Context) -> None:
    """Add the tab to the page that is being built."""
    names = [model.name for model in context.models.registered]
    first = _FIRST | {"init": PRETRAINED if PRETRAINED in names else SCRATCH}
    views = _views(first)
    fields: dict[str, gr.Component] = {}
    shown: dict[str, gr.Component] = {}
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            _draw_blocks(views, fields, shown)
        with gr.Column(scale=2, min_width=320):
            _draw_strategy(views, fields, shown)
            with gr.Accordion("Network and data", open=False):
                shape = _network_fields([*names, SCRATCH], first, fields)
    shown["command"] = _code(views["command"], None, "Command")
    shown["snippet"] = _code(views["snippet"], "python", "Python")
    gr.Markdown("### What the published study found")
    found = gr.HTML(elem_id="findings", apply_default_css=False)
    _wire(fields | shape, shape, shown, found=found)
    gr.api(describe_strategy, api_name="describe_strategy")


def _draw_blocks(
    views: dict[str, Any], fields: dict[str, gr.Component], shown: dict[str, gr.Component]
) -> None:
    gr.Markdown("Click a block to train it or to freeze it.")
    shown["diagram"] = _html(
        views["diagram"], DIAGRAM_STYLE, elem_id="layers-unet", js_on_load=SEND_CLICKS
    )
    shown["presets"] = _html(
        views["presets"], PRESETS_STYLE, elem_id="layers-presets", js_on_load=PICK_PRESET
    )
    fields["other_rate"] = gr.Slider(
        0,
        1,
        _FIRST["other_rate"],
        step=0.01,
        label="Rate of the other path",
        info="For the presets contracting and expanding; 0 freezes the other path",
        elem_id="layers-other-rate",
    )
    fields["single"] = gr.Checkbox(_FIRST["single"], label="Single layers")
    shown["layers"] = _html(
        "", SINGLE_LAYERS_STYLE, visible=False, elem_id="layers-single", js_on_load=QUEUE_CLICKS
    )


def _draw_strategy(
    views: dict[str, Any], fields: dict[str, gr.Component], shown: dict[str, gr.Component]
) -> None:
    fields["strategy"] = gr.Textbox(
        _FIRST["strategy"],
        label="Strategy",
        info="Changes with the blocks of the diagram, and changes them",
        elem_id="strategy",
    )
    shown["problem"] = gr.HTML(elem_id="strategy-problem", elem_classes="note")
    shown["facts"] = _html(views["facts"], COST_STYLE, elem_id="layers-facts")


def _html(value: str, css: str, **options: Any) -> gr.HTML:
    return gr.HTML(value, css_template=css, apply_default_css=False, **options)


def _code(value: str, language: str | None, label: str) -> gr.Code:
    return gr.Code(
        value,
        language=language,
        label=label,
        interactive=False,
        lines=1,
        wrap_lines=True,
        show_line_numbers=False,
        elem_id=f"layers-{label.lower()}",
    )


def _network_fields(
    starts: list[str], first: dict[str, Any], fields: dict[str, gr.Component]
) -> dict[str, gr.Component]:
    """Add the fields; return those that only `scratch` has."""
    fields["init"] = gr.Dropdown(
        starts, value=first["init"], label="Start from", info="A saved model, or random weights"
    )
    fields["data"] = gr.Textbox(label="Your data", placeholder="folder with images/ and masks/")
    fields["image_size"] = gr.Number(first["image_size"], step=16, label=_SIZE)
    fields["batch_size"] = gr.Number(first["batch_size"], label=_BATCH)
    hidden = {"visible": first["init"] == SCRATCH}
    return {
        "depth": gr.Slider(1, 6, first["depth"], step=1, label="Depth", **hidden),
        "base_filters": gr.Number(first["base_filters"], label=_FILTERS, **hidden),
        "normalization": gr.Radio(
            ["batch", "group", "none"], value="batch", label="Normalization", **hidden
        ),
    }


def _wire(
    fields: dict[str, gr.Component],
    shape: dict[str, gr.Component],
    shown: dict[str, gr.Component],
    *,
    found: gr.HTML,
) -> None:
    names, inputs = list(fields), list(fields.values())

    def show(*values: Any) -> list[Any]:
        return _show(dict(zip(names, values, strict=True)), list(shown))

    def pick(event: gr.EventData, *values: Any) -> str:
        return _picked(event, dict(zip(names, values, strict=True)))

    def find(*values: Any) -> Any:
        return _find(dict(zip(names, values, strict=True)))

    for component in (shown["diagram"], shown["presets"]):
        component.pick(pick, inputs, fields["strategy"], trigger_mode="multiple", **_LIVE)
    latest = {"trigger_mode": "always_last", **_LIVE}
    soften = [fields["strategy"], fields["other_rate"]]
    fields["other_rate"].input(_softened, soften, fields["strategy"], **latest)
    gr.on([c.change for c in inputs], show, inputs, list(shown.values()), **latest)
    fields["init"].change(_visibility, fields["init"], list(shape.values()), **_LIVE)
    tab = gr.context.Context.block
    gr.on([tab.select, *(c.change for c in inputs)], find, inputs, found, **latest)


def _visibility(init: str) -> list[Any]:
    return [gr.update(visible=init == SCRATCH)] * 3


def _picked(event: gr.EventData, given: dict[str, Any]) -> str:
    """Return the strategy after a click on a preset, or after clicks on blocks or layers."""
    preset = getattr(event, "strategy", None)
    if preset is not None:
        return preset
    strategy = given["strategy"]
    try:
        for name in event.names:
            strategy = _start(given).toggled(strategy, name)
    except ValueError:  # shown beside the strategy
        return given["strategy"]
    return strategy


def _softened(strategy: str, other_rate: float) -> Any:
    """Return the strategy with the other path at a new rate, if it is a path."""
    try:
        path = led_by(str(parse(strategy)))
    except StrategyError:  # shown beside the strategy
        path = None
    return gr.skip() if path is None else with_other_path(path, other_rate)


def _show(given: dict[str, Any], names: list[str]) -> list[Any]:
    """Show the strategy; if it is wrong, say so, and show nothing of another."""
    try:
        shown = {"problem": "", **_views(given)}
    except (ValueError, OSError) as error:
        shown = {"problem": problem_html(error), **_no_views(given)}
    return [shown.get(name, gr.skip()) for name in names]


def _no_views(given: dict[str, Any]) -> dict[str, Any]:
    """Return the views of a strategy that is none; the network is shown if there is one."""
    views: dict[str, Any] = {"facts": "", "command": _NO_COMMAND, "snippet": _NO_COMMAND}
    with suppress(ValueError, OSError):
        start = _start(given)
        layers = single_layers_html(None, start, NO_STRATEGY)
        views |= {
            "diagram": diagram_html(None, start, NO_STRATEGY),
            "layers": gr.update(value=layers, visible=given["single"]),
            "presets": presets_html(given["strategy"], start, given["other_rate"]),
        }
    return views


def _views(given: dict[str, Any]) -> dict[str, Any]:
    start, strategy = _start(given), str(parse(given["strategy"]))
    selected = start.select(strategy)
    return {
        "diagram": diagram_html(selected, start),
        "layers": gr.update(value=single_layers_html(selected, start), visible=given["single"]),
        "presets": presets_html(strategy, start, given["other_rate"]),
        "facts": cost_html(selected, start, whole_number(_BATCH, given["batch_size"], 1)),
        "command": command(strategy, start, given["data"]),
        "snippet": snippet(strategy, start, given["data"]),
    }


def _find(given: dict[str, Any]) -> Any:
    """Return what the study found; the first time, its statistics take some seconds."""
    try:
        strategy = str(parse(given["strategy"]))
        return findings(_start(given).select(strategy), strategy, shipped())
    except (ValueError, OSError):  # shown beside the strategy
        return ""


def _start(given: dict[str, Any]) -> Start:
    normalization = None if given["normalization"] == "none" else given["normalization"]
    filters = whole_number(_FILTERS, given["base_filters"], 1)
    scratch = Architecture(base_filters=filters, depth=given["depth"], normalization=normalization)
    return start_from(given["init"], whole_number(_SIZE, given["image_size"], 1), scratch)


def describe_strategy(
    strategy: str, init: str = PRETRAINED, image_size: int = 128, data: str = ""
) -> dict[str, Any]:
    """Describe a strategy: which layers of a U-Net train, what a step costs, how to run it.

    Args:
        strategy: Such as "shallow:3", "contracting", "blocks:1-3,7", "enc1_conv1+dec1" or
            "contracting+0.1*expanding", which trains the expanding path at 0.1 times the rate.
        init: A saved model to start from, such as "natural".
        image_size: Height and width of training images in pixels.
        data: Folder of training images and masks, for the command.

    Returns:
        The canonical text of the strategy, the trained layers, the rates of each as factors of the
        learning rate, the layers with moving statistics that follow the data though nothing else
        trains, numbers of parameters, billions of multiply-adds of a step of 8 images and their
        share of training all layers, the shell command and a Python snippet. Layers, rates,
        statistics and numbers are null for "auto", rates alone for "rgn", which measures them.
    """
    try:
        if init != SCRATCH and init not in models.list():
            raise ValueError(f"{init}: no such model; choose from {', '.join(models.list())}")
        start, text = start_from(init, image_size, Architecture()), str(parse(strategy))
        selected = start.select(text)
        return {"strategy": text, **_numbers(selected, start)} | {
            "command": command(text, start, data),
            "python": snippet(text, start, data),
        }
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from None


def _numbers(selected: Selection | None, start: Start) -> dict[str, Any]:
    network, all_weights = start.network, start.layout.weights
    if selected is None:
        decided = ("layers", "rates", "statistics")
        counted = ("trained", "step_giga_multiply_adds", "share_of_all")
        return {**dict.fromkeys(decided + counted), "parameters": network.parameters()}
    cost = step_cost(selected, start)
    rates = {layer: selected.rates_in([layer]) for layer in start.layout.layers}
    return {
        "layers": [layer for layer, found in rates.items() if found],
        "rates": None if selected.power else {n: found for n, found in rates.items() if found},
        "statistics": list(selected.statistics),
        "trained": network.parameters(selected.weights),
        "parameters": network.parameters(),
        "step_giga_multiply_adds": cost / 1e9,
        "share_of_all": cost / network.step_cost(all_weights).total,
    }

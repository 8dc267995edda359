"""Layers: the U-Net as a U, its blocks as switches, and the command that trains what is on."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr
from context import PRETRAINED, Context
from layers import style
from layers.commands import command, snippet
from layers.diagram import diagram, single_layers
from layers.facts import facts
from layers.findings import findings
from layers.presets import presets
from layers.start import SCRATCH, Start, start_from
from results import shipped

from kerasunet import zoo
from kerasunet.strategies import parse
from kerasunet.training.settings import Architecture, FinetuneSettings

_USUAL = FinetuneSettings()
_FIRST = {
    "strategy": _USUAL.layers,
    "single": False,
    "data": "",
    "image_size": _USUAL.image_size,
    "batch_size": _USUAL.optimization.batch_size,
    "normalization": "batch",
    **{name: getattr(Architecture(), name) for name in ("depth", "base_filters")},
}
_LIVE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build(context: Context) -> None:
    """Adds the tab to the page that is being built."""
    names = [model.name for model in context.shelf.models]
    first = _FIRST | {"init": PRETRAINED if PRETRAINED in names else SCRATCH}
    views = _views(first)
    fields: dict[str, gr.Component] = {}
    shown: dict[str, gr.Component] = {}
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            gr.Markdown("Click a block to train it or to freeze it.")
            shown["diagram"] = _html(
                views["diagram"], style.DIAGRAM, elem_id="layers-unet", js_on_load=style.TOGGLE
            )
            shown["presets"] = _html(
                views["presets"], style.PRESETS, elem_id="layers-presets", js_on_load=style.PRESET
            )
            fields["single"] = gr.Checkbox(first["single"], label="Single layers")
            shown["layers"] = _html(
                "",
                style.SINGLE_LAYERS,
                visible=False,
                elem_id="layers-single",
                js_on_load=style.COLLECT,
            )
        with gr.Column(scale=2, min_width=320):
            fields["strategy"] = gr.Textbox(
                first["strategy"],
                label="Strategy",
                info="It follows the blocks, and they follow it",
                elem_id="strategy",
            )
            shown["problem"] = gr.HTML(elem_id="strategy-problem", elem_classes="note")
            shown["facts"] = _html(views["facts"], style.FACTS, elem_id="layers-facts")
            with gr.Accordion("Network and data", open=False):
                shape = _network_fields([*names, SCRATCH], first, fields)
    shown["command"] = _code(views["command"], None, "Command")
    shown["snippet"] = _code(views["snippet"], "python", "Python")
    gr.Markdown("### What the published study found")
    found = gr.HTML(elem_id="findings", apply_default_css=False)
    _wire(fields | shape, shape, shown, found)
    gr.api(describe_strategy, api_name="describe_strategy")


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
    """Adds the fields; returns those that only `scratch` has."""
    fields["init"] = gr.Dropdown(
        starts, value=first["init"], label="Start from", info="A saved model, or random weights"
    )
    fields["data"] = gr.Textbox(label="Your data", placeholder="folder with images/ and masks/")
    fields["image_size"] = gr.Number(
        first["image_size"], precision=0, minimum=16, step=16, label="Image size in pixels"
    )
    fields["batch_size"] = gr.Number(
        first["batch_size"], precision=0, minimum=1, label="Images per step"
    )
    hidden = {"visible": first["init"] == SCRATCH}
    return {
        "depth": gr.Slider(1, 6, first["depth"], step=1, label="Depth", **hidden),
        "base_filters": gr.Number(
            first["base_filters"], precision=0, minimum=1, label="Filters of level 1", **hidden
        ),
        "normalization": gr.Radio(
            ["batch", "group", "none"], value="batch", label="Normalisation", **hidden
        ),
    }


def _wire(
    fields: dict[str, gr.Component],
    shape: dict[str, gr.Component],
    shown: dict[str, gr.Component],
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
    gr.on([c.change for c in inputs], show, inputs, list(shown.values()), **latest)
    fields["init"].change(_visibility, fields["init"], list(shape.values()), **_LIVE)
    tab = gr.context.Context.block
    gr.on([tab.select, *(c.change for c in inputs)], find, inputs, found, **latest)


def _visibility(init: str) -> list[Any]:
    return [gr.update(visible=init == SCRATCH)] * 3


def _picked(event: gr.EventData, given: dict[str, Any]) -> str:
    """The strategy after a click on a preset, or after one or several on blocks or layers."""
    preset = getattr(event, "strategy", None)
    if preset is not None:
        return preset
    strategy = given["strategy"]
    try:
        for name in event.names:
            strategy = _start(given).toggled(strategy, name)
    except ValueError:  # said beside the strategy when it is shown
        return given["strategy"]
    return strategy


def _show(given: dict[str, Any], names: list[str]) -> list[Any]:
    """What to show of the strategy; on a mistake everything else stays, and it is told."""
    try:
        shown = {"problem": "", **_views(given)}
    except (ValueError, OSError) as error:
        shown = {"problem": f'<p role="alert" class="problem">{escape(str(error))}</p>'}
    return [shown.get(name, gr.skip()) for name in names]


def _views(given: dict[str, Any]) -> dict[str, Any]:
    start, strategy = _start(given), str(parse(given["strategy"]))
    selected = start.select(strategy)
    return {
        "diagram": diagram(selected, start),
        "layers": gr.update(value=single_layers(selected, start), visible=given["single"]),
        "presets": presets(strategy, start),
        "facts": facts(selected, start, given["batch_size"]),
        "command": command(strategy, start, given["data"]),
        "snippet": snippet(strategy, start, given["data"]),
    }


def _find(given: dict[str, Any]) -> Any:
    """What is known of the strategy; the first time, the statistics take some seconds."""
    try:
        strategy = str(parse(given["strategy"]))
        return findings(_start(given).select(strategy), strategy, shipped())
    except (ValueError, OSError):  # said beside the strategy
        return gr.skip()


def _start(given: dict[str, Any]) -> Start:
    normalization = None if given["normalization"] == "none" else given["normalization"]
    scratch = Architecture(given["base_filters"], given["depth"], normalization)
    return start_from(given["init"], given["image_size"], scratch)


def describe_strategy(
    strategy: str, init: str = PRETRAINED, image_size: int = 128, data: str = ""
) -> dict[str, Any]:
    """Tells which layers of a U-Net a strategy trains, what a step costs, and how to run it.

    Args:
        strategy: Such as "shallow:3", "contracting", "blocks:1-3,7" or "enc1_conv1+dec1".
        init: A saved model to start from, such as "natural".
        image_size: Height and width of training images in pixels.
        data: Folder of training images and masks, for the command.

    Returns:
        The canonical text of the strategy, the trained layers, numbers of parameters, billions of
        multiply-adds of a step of 8 images and as a share of training all, the shell command and
        a Python snippet. Layers and numbers are null for "auto".
    """
    try:
        if init != SCRATCH and init not in zoo.list():
            raise ValueError(f"{init}: no such model; there are {', '.join(zoo.list())}")
        start, text = start_from(init, image_size, Architecture()), str(parse(strategy))
        selected = start.select(text)
        return {"strategy": text, **_numbers(selected, start)} | {
            "command": command(text, start, data),
            "python": snippet(text, start, data),
        }
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from None


def _numbers(selected: Any, start: Start) -> dict[str, Any]:
    network, all_weights = start.network, start.layout.weights
    if selected is None:
        names = ("layers", "trained", "step_giga_multiply_adds", "share_of_all")
        return {**dict.fromkeys(names), "parameters": network.parameters()}
    cost = network.step_cost(selected).total
    return {
        "layers": [n for n in start.layout.layers if any(w.layer == n for w in selected)],
        "trained": network.parameters(selected),
        "parameters": network.parameters(),
        "step_giga_multiply_adds": cost / 1e9,
        "share_of_all": cost / network.step_cost(all_weights).total,
    }

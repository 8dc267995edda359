"""The tab Layers: choose what trains; see its cost, its command and what the study found."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from kerasunet import models
from kerasunet.architecture import Architecture
from kerasunet.demo.context import PRETRAINED, Context, problem_html
from kerasunet.demo.layers_diagram import (
    COST_STYLE,
    DIAGRAM_STYLE,
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
    selection,
    snippet,
    start_from,
    step_cost,
    with_other_path,
)
from kerasunet.demo.study import shipped
from kerasunet.objects import modality_of
from kerasunet.strategies import NetworkLayout, StrategyError, parse
from kerasunet.study.results import Scenario
from kerasunet.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from kerasunet.study.stats import StudyStatistics

_NONE_YET = (
    "<p>No study results come with this copy. <code>kerasunet study --data my_folder</code> makes "
    "them for your images.</p>"
)


def findings(selected: Selection | None, strategy: str, statistics: StudyStatistics | None) -> str:
    """Return HTML: a table with a row for each data set and number of training images."""
    if statistics is None:
        return _NONE_YET
    results = statistics.results
    name = nearest(selected, strategy, statistics)
    if name is None:
        return f"<p>The published study has no run of <code>{escape(strategy)}</code>.</p>"
    rows = [_row(statistics.summary_of(s), s, name) for s in results.scenarios]
    return (
        f"<p>{_introduction(name, selected, results.depth)} Mean Dice on held-out cases, with its "
        "95 % interval.</p><div class=table><table><thead><tr><th scope=col>Data</th>"
        f"<th scope=col>Images</th>{_headings(name)}<th scope=col>Best</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def nearest(selected: Selection | None, strategy: str, statistics: StudyStatistics) -> str | None:
    """Return the studied strategy whose rates differ least, summed over all weights.

    What is frozen has the rate 0; `auto` has only itself.
    """
    studied = list(statistics.summary["strategy"].unique())
    if selected is None:
        return strategy if strategy in studied else None
    fixed = _fixed(studied, NetworkLayout.unet(statistics.results.depth))
    return min(fixed, key=lambda name: sum(fixed[name].difference(selected).values()), default=None)


def _fixed(strategies: Iterable[str], layout: NetworkLayout) -> dict[str, Selection]:
    """Return what strategies train, without those that fix no weights, such as `auto`."""
    fixed = {}
    for name in strategies:
        with suppress(StrategyError):
            selected = selection(name, layout)
            if selected is not None:
                fixed[name] = selected
    return fixed


def _introduction(name: str, selected: Selection | None, depth: int) -> str:
    text = f"<code>{escape(name)}</code>"
    if selected is None:
        return f"What {text} reached in the published study."
    different = _fixed([name], NetworkLayout.unet(depth))[name].difference(selected)
    if not different:
        return f"The published study has {text}."
    count = len({layer for layer, _ in different})
    layers = f"{count} layer{'s' if count > 1 else ''}"
    return f"Nearest in the published study: {text}, which differs in {layers}."


def _columns(name: str) -> dict[str, None]:
    return dict.fromkeys((name, "none", "all"))


def _headings(name: str) -> str:
    return "".join(f"<th scope=col>{escape(column)}</th>" for column in _columns(name))


def _row(summary: pd.DataFrame, scenario: Scenario, name: str) -> str:
    best = summary["mean"].idxmax()
    modality = modality_of(scenario.data)
    kind = "X-ray" if modality == "xray" else modality or ""
    cells = [_cell(summary, column) for column in _columns(name)]
    return (
        f"<tr><th scope=row>{escape(scenario.data)} <small>{kind}</small></th>"
        f"<td>{scenario.train_size}</td>"
        f"{''.join(cells)}<td>{escape(best)} <small>{summary['mean'].max():.3f}</small></td></tr>"
    )


def _cell(summary: pd.DataFrame, name: str) -> str:
    if name not in summary.index:
        return "<td>–</td>"
    row = summary.loc[name]
    return f"<td>{row['mean']:.3f} <small>{row['low']:.3f}–{row['high']:.3f}</small></td>"


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
        info="Changes with the blocks above, and changes them",
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
    """Show the strategy; if it is wrong, say so and leave all else as it is."""
    try:
        shown = {"problem": "", **_views(given)}
    except (ValueError, OSError) as error:
        shown = {"problem": problem_html(error)}
    return [shown.get(name, gr.skip()) for name in names]


def _views(given: dict[str, Any]) -> dict[str, Any]:
    start, strategy = _start(given), str(parse(given["strategy"]))
    selected = start.select(strategy)
    return {
        "diagram": diagram_html(selected, start),
        "layers": gr.update(value=single_layers_html(selected, start), visible=given["single"]),
        "presets": presets_html(strategy, start, given["other_rate"]),
        "facts": cost_html(selected, start, given["batch_size"]),
        "command": command(strategy, start, given["data"]),
        "snippet": snippet(strategy, start, given["data"]),
    }


def _find(given: dict[str, Any]) -> Any:
    """Return what the study found; the first time, its statistics take some seconds."""
    try:
        strategy = str(parse(given["strategy"]))
        return findings(_start(given).select(strategy), strategy, shipped())
    except (ValueError, OSError):  # shown beside the strategy
        return gr.skip()


def _start(given: dict[str, Any]) -> Start:
    normalization = None if given["normalization"] == "none" else given["normalization"]
    scratch = Architecture(
        base_filters=given["base_filters"], depth=given["depth"], normalization=normalization
    )
    return start_from(given["init"], given["image_size"], scratch)


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
        statistics and numbers are null for "auto".
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
        "rates": {layer: found for layer, found in rates.items() if found},
        "statistics": list(selected.statistics),
        "trained": network.parameters(selected.weights),
        "parameters": network.parameters(),
        "step_giga_multiply_adds": cost / 1e9,
        "share_of_all": cost / network.step_cost(all_weights).total,
    }

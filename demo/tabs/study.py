"""Study: what many runs found, both modalities side by side, and the claims with verdicts."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import gradio as gr
from context import Context
from results import Results, shipped
from study.claims import claims_table
from study.figures import draw_curves, draw_strategies
from study.numbers import numbers_table
from study.opening import open_files, open_folder

from kerasunet.data.modality import modality_of

_QUIET = {"api_visibility": "private", "concurrency_limit": 2}
_READING = "<p role=status>Reading the results of the study …</p>"
_NOTHING = (
    "<p>No study results come with this copy. Open a study of your own, or make one: "
    "<code>kerasunet study --data my_folder</code>.</p>"
)


class _Side(NamedTuple):
    """The components of one half: a modality."""

    column: gr.Column
    panel: gr.Dropdown
    curves: gr.Plot
    strategies: gr.Plot
    numbers: gr.HTML

    @property
    def drawn(self) -> list[gr.Component]:
        return [self.curves, self.strategies, self.numbers]


def build(context: Context) -> None:
    """Adds the tab to the page that is being built."""
    tab = gr.context.Context.block
    opened = gr.State(None, time_to_live=3600)
    note = gr.HTML(_READING, elem_id="study-note", elem_classes="note")
    with gr.Row():
        sides = [_draw_side(label) for label in ("Ultrasound", "X-ray")]
    gr.Markdown("### Do the paper's claims hold?")
    claims = gr.HTML(elem_id="study-claims", apply_default_css=False)
    with gr.Accordion("Open a study of your own", open=False):
        files, folder, button, back = _draw_opening(context)
    views = [note, claims]
    for side in sides:
        views += [side.column, side.panel, *side.drawn]
    tab.select(_show, opened, views, **_QUIET)
    for side in sides:
        side.panel.input(_draw, [opened, side.panel], side.drawn, **_QUIET)
    opening = {"show_progress": "minimal", **_QUIET}
    results = [opened, *views]
    files.upload(_open_files, files, results, **opening)
    if context.local:
        gr.on([button.click, folder.submit], _open_folder, folder, results, **opening)
    back.click(lambda: [None, *_show(None)], None, results, **opening)


def _draw_side(label: str) -> _Side:
    name = f"study-{label.lower()}"
    with gr.Column(min_width=340, visible=False) as column:
        panel = gr.Dropdown([], label=label, elem_id=name)
        curves = gr.Plot(
            label="Dice by number of tuned blocks", show_label=False, elem_id=f"{name}-curves"
        )
        strategies = gr.Plot(
            label="Dice by strategy", show_label=False, elem_id=f"{name}-strategies"
        )
        with gr.Accordion("Numbers", open=False):
            numbers = gr.HTML(apply_default_css=False, elem_id=f"{name}-numbers")
    return _Side(column, panel, curves, strategies, numbers)


def _draw_opening(context: Context) -> tuple[gr.Component, ...]:
    files = gr.File(
        label="cases.csv and runs.csv of a study",
        file_count="multiple",
        file_types=[".csv", ".json"],
        height=130,
        elem_id="study-files",
    )
    with gr.Row(visible=context.local, equal_height=True):
        folder = gr.Textbox(label="or its folder on this machine", scale=4, elem_id="study-folder")
        button = gr.Button("Open", scale=1)
    back = gr.Button("Back to the published results", size="sm")
    return files, folder, button, back


def _open_files(paths: list[str] | None) -> list[Any]:
    return _opened(open_files, paths or [])


def _opened(read: Any, given: Any) -> list[Any]:
    try:
        results = read(given)
        return [results, *_drawn(results, published=False)]
    except (ValueError, OSError) as error:
        return [gr.skip(), *_refused(error)]


def _refused(error: Exception) -> list[Any]:
    """The fault in the note, all else as it is."""
    return [f'<p role="alert" class="problem">{escape(str(error))}</p>', *[gr.skip()] * 11]


def _open_folder(text: str) -> list[Any]:
    return _opened(open_folder, text)


def _show(opened: Results | None) -> list[Any]:
    """What is opened, or the published results."""
    try:
        results = opened or shipped()
        if results is None:
            return [_NOTHING, "", *[gr.update(visible=False), *[gr.skip()] * 4] * 2]
        return _drawn(results, published=opened is None)
    except (ValueError, OSError) as error:
        return _refused(error)


def _drawn(results: Results, published: bool) -> list[Any]:
    """The note, the claims, and for each side its column, its choices and what they draw."""
    views = [_told(results, published), claims_table(results.claims)]
    for panels in _halves(results):
        views += _show_side(results, panels)
    return views


def _show_side(results: Results, panels: list[tuple[str, int]]) -> list[Any]:
    if not panels:
        return [gr.update(visible=False), *[gr.skip()] * 4]
    choices = [_name(*panel) for panel in panels]
    chosen = gr.update(choices=choices, value=choices[0])
    return [gr.update(visible=True), chosen, *_drawings(results, panels[0])]


def _draw(opened: Results | None, name: str) -> list[Any]:
    results = opened or shipped()
    panels = {_name(*panel): panel for panel in results.panels}
    return _drawings(results, panels[name])


def _drawings(results: Results, panel: tuple[str, int]) -> list[Any]:
    return [
        draw_curves(results, *panel),
        draw_strategies(results, *panel),
        numbers_table(results, *panel),
    ]


def _halves(results: Results) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The parts with X-rays to the right, all others to the left."""
    right = [panel for panel in results.panels if modality_of(panel[0]) == "x-ray"]
    return [panel for panel in results.panels if panel not in right], right


def _name(data: str, train_size: int) -> str:
    return f"{data}, {train_size} training images"


def _told(results: Results, published: bool) -> str:
    finished = int((results.runs["status"] == "finished").sum())
    failed = int((results.runs["status"] == "failed").sum())
    whose = "The published study" if published else "Your study"
    data = ", ".join(dict(results.panels))
    failures = f", {failed} failed" if failed else ""
    return f"<p role=status>{whose}: {finished:,} finished runs{failures}, on {escape(data)}.</p>"

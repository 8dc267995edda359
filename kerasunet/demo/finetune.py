"""The tab Fine-tune: check images and masks, train chosen layers, watch, keep the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from kerasunet.comparison.report import without_formulas
from kerasunet.data.checking import Report
from kerasunet.demo.context import QUIET, Context, problem_html
from kerasunet.demo.finetune_adaptation import AdaptationForm
from kerasunet.demo.finetune_jobs import (
    IMAGE_SIZES,
    OPTIMIZATION,
    STRATEGIES,
    MaskChoice,
    TrainingJobs,
    Workspace,
    settings,
)
from kerasunet.demo.finetune_rendering import (
    check_html,
    curves_figure,
    pictures_html,
    result_html,
    status_html,
)
from kerasunet.demo.model_store import PRETRAINED, SavedModel
from kerasunet.runs.directory import RunDirectory
from kerasunet.runs.preparation import fitting_start
from kerasunet.training.settings import FinetuneSettings, Optimization

_BUSY = {"api_visibility": "private", "show_progress": "minimal"}
_SECONDS_BETWEEN_POLLS = 1.0
_EXAMPLE = "simulated-ultrasound:40"
_DOWNLOADS = ("model.keras", "model.md", "model.json", "history.csv", "layers.txt")
_OFF = (
    "<p>Training is off, because others share this machine. Run <code>kerasunet demo</code> on "
    "your own machine, or turn training on with <code>--allow-training</code>.</p>"
)
_FORMATS = (
    "<p>A zip of <code>images/</code> and <code>masks/</code> with the same file names, or of "
    "<code>scan.png</code> beside <code>scan_mask.png</code>.</p>"
)


def build(context: Context) -> None:
    """Add the tab to the page that is being built."""
    if not (context.allow_training or context.local):
        gr.HTML(_OFF, elem_id="training-off")
        return
    tab = _Tab(context)
    gr.Markdown("### 1. Images and masks")
    tab.draw_data()
    gr.Markdown("### 2. Let the images choose")
    tab.adaptation.draw()
    gr.Markdown("### Or choose yourself what to train")
    tab.draw_settings()
    tab.draw_run()
    tab.connect()


class _Tab:
    """The components of the tab, and what happens between them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.jobs = TrainingJobs()
        self.adaptation = AdaptationForm(context, self.jobs)

    # What is shown

    def draw_data(self) -> None:
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.archive = gr.File(
                    label="Zip file", file_types=[".zip"], height=130, elem_id="finetune-zip"
                )
                gr.HTML(_FORMATS, elem_classes="note")
            with gr.Column(scale=2, min_width=300):
                with gr.Group(visible=self.context.local):
                    self.folder = gr.Textbox(
                        label="or a folder on this machine", elem_id="finetune-folder"
                    )
                    self.check = gr.Button("Check the folder")
                self.example = gr.Button("Try it with simulated ultrasound")
        with gr.Accordion("Which is the object?", open=False), gr.Row():
            self.objects = gr.Textbox(
                label="Object",
                placeholder="nodule, or lungs=150,200, or tumor=#ff0000",
                info="Labels, values or colors that are the object, if there are several",
                elem_id="finetune-objects",
            )
            self.threshold = gr.Number(
                None,
                label="Mask threshold",
                info="Grey level above which a pixel is object, for smoothed masks",
                elem_id="finetune-threshold",
            )
            self.choose = gr.Button("Check again")
        self.found = gr.HTML(elem_id="finetune-check", elem_classes="check")

    def draw_settings(self) -> None:
        names = [model.name for model in self.context.models.registered]
        with gr.Row():
            self.strategy = gr.Dropdown(
                list(STRATEGIES),
                value=STRATEGIES[0],
                allow_custom_value=True,
                label="Strategy",
                info="Any text of the Layers tab; with auto, your images choose",
                elem_id="finetune-strategy",
            )
            steps = OPTIMIZATION["steps"]
            self.steps = gr.Number(
                Optimization.steps,
                minimum=steps.minimum,
                maximum=steps.maximum,
                precision=0,
                label="Steps",
                info=f"{steps.help}, {Optimization.batch_size} images each",
                elem_id="finetune-steps",
            )
        self.draw_more(names)

    def draw_more(self, names: list[str]) -> None:
        with gr.Accordion("More", open=False), gr.Row():
            self.init = gr.Dropdown(
                names,
                value=PRETRAINED if PRETRAINED in names else None,
                label="Start from",
                info="Set to what fits your images; natural serves any",
                elem_id="finetune-init",
            )
            self.image_size = gr.Dropdown(
                list(IMAGE_SIZES),
                value=FinetuneSettings.image_size,
                label="Image size in pixels",
                elem_id="finetune-size",
            )
            rate = OPTIMIZATION["learning_rate"]
            self.rate = gr.Number(
                Optimization.learning_rate,
                label="Learning rate",
                info=rate.help,
                minimum=rate.above,
                step=1e-4,
            )

    def draw_run(self) -> None:
        with gr.Row():
            self.start = gr.Button("Train", variant="primary", interactive=False)
            self.cancel = gr.Button("Cancel", variant="stop", visible=False)
        self.status = gr.HTML(elem_id="finetune-status", elem_classes="note progress")
        with gr.Column(visible=False) as self.live:
            self.curves = gr.Plot(label="Loss and Dice by step", show_label=False)
            self.pictures = gr.HTML(elem_id="finetune-pictures", apply_default_css=False)
        self.result = gr.HTML(elem_id="finetune-result", apply_default_css=False)
        self.files = gr.File(
            label="Model, card and numbers", visible=False, interactive=False,
            elem_id="finetune-files",
        )  # fmt: skip
        self.timer = gr.Timer(_SECONDS_BETWEEN_POLLS, active=False)

    # What happens

    def connect(self) -> None:
        checked = [self.found, self.start, self.adaptation.start, self.init]
        chosen = [self.objects, self.threshold]
        self.adaptation.connect()
        self.archive.upload(self._open_archive, [self.archive, *chosen], checked, **_BUSY)
        again = [self.choose.click, self.objects.submit, self.threshold.submit]
        gr.on(again, self._choose, chosen, checked, **_BUSY)
        if self.context.local:  # Else strangers could look into folders of this machine.
            opened = [self.check.click, self.folder.submit]
            gr.on(opened, self._open_folder, [self.folder, *chosen], checked, **_BUSY)
        self.example.click(self._open_example, None, checked, **_BUSY)
        asked = [self.strategy, self.steps, self.init, self.image_size, self.rate]
        shown = [self.start, self.cancel, self.status, self.live, self.curves, self.pictures]
        shown += [self.result, self.files, self.timer, self.context.added]
        self.start.click(self._start, asked, shown, **_BUSY)
        self.timer.tick(self._poll, self.context.added, shown, **QUIET)
        self.cancel.click(self._cancel, None, None, **QUIET)
        gr.context.Context.root_block.unload(self._leave)

    def _open_archive(
        self, path: str | None, objects: str, threshold: float | None, request: gr.Request
    ) -> list[Any]:
        self.context.files.keep(request, path)

        def check() -> Report:
            self.context.require_training(request)
            chosen = MaskChoice.of(objects, threshold)
            return self._workspace(request).open_archive(Path(path or ""), chosen)

        return _checked(check)

    def _open_folder(
        self, text: str, objects: str, threshold: float | None, request: gr.Request
    ) -> list[Any]:
        def check() -> Report:
            self.context.require_folders(request)
            chosen = MaskChoice.of(objects, threshold)
            return self._workspace(request).open_data(text.strip(), chosen)

        return _checked(check)

    def _choose(self, objects: str, threshold: float | None, request: gr.Request) -> list[Any]:
        def check() -> Report:
            self.context.require_training(request)
            return self._workspace(request).choose(MaskChoice.of(objects, threshold))

        return _checked(check)

    def _open_example(self, request: gr.Request) -> list[Any]:
        def check() -> Report:
            self.context.require_training(request)
            return self._workspace(request).open_data(_EXAMPLE)

        return _checked(check)

    def _workspace(self, request: gr.Request) -> Workspace:
        return self.jobs.workspace(request.session_hash)

    def _start(self, request: gr.Request, *asked: Any) -> dict[gr.Component, Any]:
        try:
            self.context.require_training(request)
            known = self._workspace(request)
            wanted = settings(known.report, *asked, choice=known.choice)
            run = self.jobs.start(request.session_hash, wanted)
        except (ValueError, OSError) as error:
            return {self.status: problem_html(error)}
        return {
            self.status: status_html(run.progress()),
            self.start: gr.update(interactive=False),
            self.cancel: gr.update(visible=True),
            self.live: gr.update(visible=False),
            self.result: "",
            self.files: gr.update(value=None, visible=False),
            self.timer: gr.update(active=True),
        }

    def _poll(self, added: tuple[SavedModel, ...], request: gr.Request) -> dict[gr.Component, Any]:
        """Show what is new about the run; curves and pictures only after a validation."""
        workspace = self._workspace(request)
        if workspace.run is None or workspace.end_shown:
            return {self.timer: gr.update(active=False)}
        progress = workspace.run.progress()
        shown: dict[gr.Component, Any] = {self.status: status_html(progress)}
        if len(progress.history) > max(workspace.validations_shown, 0):
            workspace.validations_shown = len(progress.history)
            shown[self.live] = gr.update(visible=True)
            shown[self.curves] = curves_figure(progress)
            shown[self.pictures] = pictures_html(progress)
        if progress.is_over:
            workspace.end_shown = True
            shown |= {
                self.start: gr.update(interactive=True),
                self.cancel: gr.update(visible=False),
                self.timer: gr.update(active=False),
            }
            if progress.phase == "finished":
                name = f"yours-{workspace.runs}"
                shown |= self._show_result(workspace.run.directory, name, added)
        return shown

    def _show_result(
        self, directory: Path, name: str, added: tuple[SavedModel, ...]
    ) -> dict[gr.Component, Any]:
        """Show the numbers and files of a finished run; its model joins Compare by this name."""
        return {
            self.result: result_html(RunDirectory(directory).read_summary()),
            self.files: gr.update(value=_downloads(directory), visible=True),
            self.context.added: (*added, SavedModel(name, str(directory / "model.keras"), "")),
        }

    def _cancel(self, request: gr.Request) -> None:
        run = self._workspace(request).run
        if run is not None:
            run.cancel()

    def _leave(self, request: gr.Request) -> None:
        workspace = self.jobs.clear(request.session_hash)
        if workspace is not None:
            self.context.models.forget(workspace.folder)


def _checked(check: Callable[[], Report]) -> list[Any]:
    """Return what the check found, whether training may begin, and the start that fits."""
    try:
        report = check()
    except (ValueError, OSError) as error:
        return [problem_html(error), *[gr.update(interactive=False)] * 2, gr.update()]
    if report.data is None or report.counts()["error"]:
        return [check_html(report), *[gr.update(interactive=False)] * 2, gr.update()]
    fitting = fitting_start(report.data)
    return [check_html(report), *[gr.update(interactive=True)] * 2, gr.update(value=fitting)]


def _downloads(directory: Path) -> list[str]:
    """Return the files to download; image names in tables are made harmless for spreadsheets."""
    table = directory / "download" / "cases.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text(without_formulas((directory / table.name).read_text()))
    files = [directory / name for name in _DOWNLOADS if (directory / name).is_file()]
    return [str(path) for path in (*files, table)]

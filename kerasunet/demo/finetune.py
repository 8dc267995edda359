"""The tab Fine-tune: check images and masks, train chosen layers, watch, keep the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from kerasunet.adapt.background import RESULT, AdaptProgress, BackgroundAdaptation
from kerasunet.adapt.settings import BUDGETS, AdaptSettings
from kerasunet.data.checking import Report
from kerasunet.demo import finetune_rendering as rendering
from kerasunet.demo.context import QUIET, Context, SavedModel, problem_html
from kerasunet.demo.finetune_jobs import (
    STRATEGIES,
    MaskChoice,
    TrainingJobs,
    Workspace,
    adapt_settings,
    files_of_adaptation,
    files_of_run,
    settings,
)
from kerasunet.runs.background import BackgroundRun, Progress
from kerasunet.runs.directory import RunDirectory
from kerasunet.runs.preparation import fitting_start
from kerasunet.training.settings import FinetuneSettings

_BUSY = {"api_visibility": "private", "show_progress": "minimal"}
_SECONDS_BETWEEN_POLLS = 1.0
_NO_FILES = gr.update(value=None, visible=False)
_EXAMPLE = "simulated-ultrasound:40"


def build(context: Context) -> None:
    """Add the tab to the page that is being built."""
    if not (context.allow_training or context.local):
        gr.HTML(rendering.OFF_HTML, elem_id="training-off")
        return
    jobs = TrainingJobs()
    data, adaptation, run = _Data(context, jobs), _Adaptation(context, jobs), _Run(context, jobs)
    gr.Markdown("### 1. Images and masks")
    data.draw()
    gr.Markdown("### 2. Find the best start and layers")
    adaptation.draw()
    gr.Markdown("### Or choose what to train yourself")
    run.draw()
    data.connect(run, adaptation)
    adaptation.connect()
    run.connect()
    gr.context.Context.root_block.unload(data.leave)


_Updates = dict[gr.Component, Any]
_NAMED_ALONE = f"(text) => {list(STRATEGIES)}.includes(text) ? text : null"


class _Part:
    """A part of the tab, which knows the page and the jobs of all sessions."""

    def __init__(self, context: Context, jobs: TrainingJobs) -> None:
        self.context = context
        self.jobs = jobs


class _Data(_Part):
    """The images and masks of a visitor, checked as soon as they are given."""

    def draw(self) -> None:
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                # Of any type: Gradio would refuse another, but leave what an earlier one led to.
                self.archive = gr.File(label="Zip file", height=130, elem_id="finetune-zip")
                gr.HTML(rendering.FORMATS_HTML, elem_classes="note")
            with gr.Column(scale=2, min_width=300):
                with gr.Group(visible=self.context.local):
                    self.folder = gr.Textbox(
                        label="or a folder on this machine", elem_id="finetune-folder"
                    )
                    self.check = gr.Button("Check the folder")
                self.example = gr.Button("Try it with simulated ultrasound")
        with gr.Accordion("What is an object?", open=False), gr.Row():
            self.objects = gr.Textbox(
                label="Objects",
                placeholder="nodule, or lungs=150,200 heart=250, or tumor=#ff0000",
                info="Labels, values or colors that make up an object; a space starts another",
                elem_id="finetune-objects",
            )
            # A text, since an empty number field is sent as 0 once it has been shown.
            self.threshold = gr.Textbox(
                label="Mask threshold",
                info="Gray level above which a pixel belongs to the object, for smoothed masks",
                elem_id="finetune-threshold",
            )
            self.choose = gr.Button("Check again")
        self.found = gr.HTML(elem_id="finetune-check", elem_classes="check")

    def connect(self, run: _Run, adaptation: _Adaptation) -> None:
        """Say what happens, to the two jobs as well."""
        self.run, self.adaptation = run, adaptation
        checked = [self.found, self.archive, self.folder, run.init]
        checked += [part for job in (run, adaptation) for part in (job.start, *job.shown_parts)]
        chosen = [self.objects, self.threshold]
        self.archive.upload(self._open_archive, [self.archive, *chosen], checked, **_BUSY)
        self.archive.clear(self._forget, None, checked, **_BUSY)
        again = [self.choose.click, self.objects.submit, self.threshold.submit]
        gr.on(again, self._choose, chosen, checked, **_BUSY)
        if self.context.local:  # Else strangers could look into folders of this machine.
            opened = [self.check.click, self.folder.submit]
            gr.on(opened, self._open_folder, [self.folder, *chosen], checked, **_BUSY)
        self.example.click(self._open_example, None, checked, **_BUSY)

    def leave(self, request: gr.Request) -> None:
        """Clear up after a session."""
        workspace = self.jobs.clear(request.session_hash)
        if workspace is not None:
            self.context.models.forget(workspace.folder)

    def _open_archive(
        self, path: str | None, objects: str, threshold: str | None, request: gr.Request
    ) -> _Updates:
        self.context.files.keep(request, path)
        archive = Path(path or "")
        checked = self._checked(
            request, lambda own: own.open_archive(archive, MaskChoice.of(objects, threshold))
        )
        return {**checked, self.folder: ""}

    def _open_folder(
        self, text: str, objects: str, threshold: str | None, request: gr.Request
    ) -> _Updates:
        def check(own: Workspace) -> Report:
            return own.open_data(text.strip(), MaskChoice.of(objects, threshold))

        return {**self._checked(request, check, self.context.require_folders), self.archive: None}

    def _choose(self, objects: str, threshold: str | None, request: gr.Request) -> _Updates:
        return self._checked(request, lambda own: own.choose(MaskChoice.of(objects, threshold)))

    def _open_example(self, request: gr.Request) -> _Updates:
        checked = self._checked(request, lambda own: own.open_data(_EXAMPLE))
        return {**checked, self.archive: None, self.folder: ""}

    def _forget(self, request: gr.Request) -> _Updates:
        workspace = self.jobs.workspace(request.session_hash)
        workspace.forget_data()
        return {self.found: "", **self._idle(workspace), **self._ready(False)}

    def _checked(
        self,
        request: gr.Request,
        check: Callable[[Workspace], Report],
        require: Callable[[gr.Request], None] | None = None,
    ) -> _Updates:
        """Return what the check found, whether training may begin, and the start that fits.

        What came out for earlier images goes.
        """
        try:
            (require or self.context.require_training)(request)
            workspace = self.jobs.workspace(request.session_hash)
            report = check(workspace)
        except (ValueError, OSError) as error:
            return {self.found: problem_html(error), **self._ready(False)}
        shown = {self.found: rendering.check_html(report), **self._idle(workspace)}
        if report.data is None or report.counts()["error"]:
            return shown | self._ready(False)
        return shown | self._ready(True) | {self.run.init: fitting_start(report.data)}

    def _ready(self, is_ready: bool) -> _Updates:
        """Return whether training may begin."""
        return {job.start: gr.update(interactive=is_ready) for job in (self.run, self.adaptation)}

    def _idle(self, workspace: Workspace) -> _Updates:
        """Return updates that take away what came out for earlier images, if nothing runs."""
        if workspace.is_training:
            return {}
        return {**self.run.nothing(), **self.adaptation.nothing()}


class _Job(_Part, ABC):
    """What runs and adaptations have in common: start, follow, stop, show what comes out."""

    name: str
    """The model appears in Compare under this name and a number."""
    start: gr.Button
    cancel: gr.Button
    status: gr.HTML
    result: gr.HTML
    asked: list[gr.Component]
    """Fields that are sent with the start."""
    more: list[gr.Component]
    """Further components that are shown."""

    @abstractmethod
    def settings(self, workspace: Workspace, *asked: Any) -> FinetuneSettings | AdaptSettings:
        """Return the settings that a visitor asks for."""

    @abstractmethod
    def latest(self, workspace: Workspace) -> BackgroundRun | BackgroundAdaptation | None:
        """Return the latest job of a visitor."""

    @abstractmethod
    def shown(self, progress: Any, workspace: Workspace) -> _Updates:
        """Return updates that show how far the job has come."""

    @abstractmethod
    def outcome(self, progress: Any, directory: Path) -> tuple[str, list[str], Path] | None:
        """Return the result as HTML, files to download, and the model; `None` unless finished."""

    def draw_files(self, label: str, elem_id: str) -> None:
        """Add what holds the files, and the clock, to the page."""
        self.files = gr.File(label=label, visible=False, interactive=False, elem_id=elem_id)
        self.timer = gr.Timer(_SECONDS_BETWEEN_POLLS, active=False)

    @property
    def shown_parts(self) -> list[gr.Component]:
        """The components that show what came out, which are empty before and after."""
        return [self.status, self.result, self.files, *self.more]

    def nothing(self) -> _Updates:
        """Return updates that take away what came out."""
        hidden = {part: gr.update(visible=False) for part in self.more[:1]}
        return {self.status: "", self.result: "", self.files: _NO_FILES, **hidden}

    def connect(self) -> None:
        """Say what happens."""
        shown = [self.start, self.cancel, self.timer, *self.shown_parts, self.context.added]
        self.start.click(self._start, self.asked, shown, **_BUSY)
        self.timer.tick(self._poll, self.context.added, shown, **QUIET)
        self.cancel.click(self._cancel, None, None, **QUIET)

    def _start(self, request: gr.Request, *asked: Any) -> _Updates:
        try:
            self.context.require_training(request)
            wanted = self.settings(self.jobs.workspace(request.session_hash), *asked)
            workspace = self.jobs.start(request.session_hash, wanted)
        except (ValueError, OSError) as error:
            return {self.status: problem_html(error)}
        job = self.latest(workspace)
        return {
            **(self.shown(job.progress(), workspace) if job else {}),
            self.start: gr.update(interactive=False),
            self.cancel: gr.update(visible=True),
            self.result: "",
            self.files: _NO_FILES,
            self.timer: gr.update(active=True),
        }

    def _poll(self, added: tuple[SavedModel, ...], request: gr.Request) -> _Updates:
        """Show what is new about the job, and in the end what came out of it."""
        workspace = self.jobs.workspace(request.session_hash)
        job = self.latest(workspace)
        if job is None:
            return {self.timer: gr.update(active=False)}
        progress = job.progress()
        shown = self.shown(progress, workspace)
        if not progress.is_over:
            return shown
        shown |= {
            self.start: gr.update(interactive=True),
            self.cancel: gr.update(visible=False),
            self.timer: gr.update(active=False),
        }
        outcome = self.outcome(progress, job.directory)
        if outcome is not None:
            html, files, model = outcome
            shown |= {self.result: html, self.files: gr.update(value=files, visible=True)}
            name = f"{self.name}-{workspace.runs}"
            if model.is_file() and all(one.name != name for one in added):
                shown[self.context.added] = (*added, SavedModel.of_visitor(name, model))
        return shown

    def _cancel(self, request: gr.Request) -> None:
        job = self.latest(self.jobs.workspace(request.session_hash))
        if job is not None:
            job.cancel()


class _Adaptation(_Job):
    """Start and layers chosen by the images."""

    name = "adapted"

    def draw(self) -> None:
        """Add the components to the page that is being built."""
        gr.HTML(rendering.ADAPTATION_HTML, elem_classes="note")
        with gr.Row():
            choices = [(f"{n}: about {one.minutes:g} minutes", n) for n, one in BUDGETS.items()]
            self.budget = gr.Dropdown(
                choices, value="quick", label="Budget", elem_id="adapt-budget", min_width=260,
                info="on two cores, with images of 128 pixels",
            )  # fmt: skip
            self.start = gr.Button(
                "Find the best start and layers", variant="primary", interactive=False,
                elem_id="adapt-start",
            )  # fmt: skip
            self.cancel = gr.Button("Stop", variant="stop", visible=False, elem_id="adapt-cancel")
        self.status = gr.HTML(elem_id="adapt-status", elem_classes="note progress")
        self.result = gr.HTML(elem_id="adapt-answer", apply_default_css=False)
        self.draw_files("Model, card and report", "adapt-files")
        self.asked, self.more = [self.budget], []

    def settings(self, workspace: Workspace, *asked: Any) -> AdaptSettings:
        return adapt_settings(workspace.report, *asked, choice=workspace.choice)

    def latest(self, workspace: Workspace) -> BackgroundAdaptation | None:
        return workspace.adaptation

    def shown(self, progress: AdaptProgress, workspace: Workspace) -> _Updates:
        return {self.status: rendering.adaptation_html(progress)}

    def outcome(
        self, progress: AdaptProgress, directory: Path
    ) -> tuple[str, list[str], Path] | None:
        if progress.state != "finished":
            return None
        folder = directory / RESULT
        return rendering.answer_html(folder), files_of_adaptation(folder), folder / "model.keras"


class _Run(_Job):
    """A fine-tuning of which the visitor chooses start and layers."""

    name = "yours"

    def draw(self) -> None:
        """Add the components to the page that is being built."""
        fields = rendering.run_fields([model.name for model in self.context.models.registered])
        self.usual, *self.asked = fields
        self.strategy, _, self.init, *_ = self.asked
        with gr.Row():
            self.start = gr.Button("Train", variant="primary", interactive=False)
            self.cancel = gr.Button("Cancel", variant="stop", visible=False)
        self.status = gr.HTML(elem_id="finetune-status", elem_classes="note progress")
        with gr.Column(visible=False) as self.live:
            self.curves = gr.Plot(label="Loss and Dice by step", show_label=False)
            self.pictures = gr.HTML(elem_id="finetune-pictures", apply_default_css=False)
        self.result = gr.HTML(elem_id="finetune-result", apply_default_css=False)
        self.draw_files("Model, card and numbers", "finetune-files")
        self.more = [self.live, self.curves, self.pictures]

    def connect(self) -> None:
        super().connect()
        self.usual.input(None, self.usual, self.strategy, js="(name) => name")
        self.strategy.input(None, self.strategy, self.usual, js=_NAMED_ALONE)

    def settings(self, workspace: Workspace, *asked: Any) -> FinetuneSettings:
        return settings(workspace.report, *asked, choice=workspace.choice)

    def latest(self, workspace: Workspace) -> BackgroundRun | None:
        return workspace.run

    def shown(self, progress: Progress, workspace: Workspace) -> _Updates:
        """Return updates; curves and pictures only after a validation."""
        shown: _Updates = {self.status: rendering.status_html(progress)}
        if workspace.validations_shown < 0:
            workspace.validations_shown = 0
            shown[self.live] = gr.update(visible=False)
        if len(progress.history) > workspace.validations_shown:
            workspace.validations_shown = len(progress.history)
            shown[self.live] = gr.update(visible=True)
            shown[self.curves] = rendering.curves_figure(progress)
            shown[self.pictures] = rendering.pictures_html(progress)
        return shown

    def outcome(self, progress: Progress, directory: Path) -> tuple[str, list[str], Path] | None:
        if progress.phase != "finished":
            return None
        html = rendering.result_html(RunDirectory(directory).read_summary())
        return html, files_of_run(directory), directory / "model.keras"

"""The first part of the tab Fine-tune: let the images choose start and layers."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from kerasunet.adapt.background import RESULT, AdaptProgress, BackgroundAdaptation
from kerasunet.adapt.settings import BUDGETS, AdaptSettings
from kerasunet.data.checking import Report
from kerasunet.demo.context import QUIET, Context, problem_html
from kerasunet.demo.finetune_jobs import MaskChoice, TrainingJobs
from kerasunet.demo.model_store import SavedModel
from kerasunet.files import read_json

_BUSY = {"api_visibility": "private", "show_progress": "minimal"}
_DOWNLOADS = ("model.keras", "model.md", "model.json", "answer.md", "report.html", "cases.csv")
_LAST_NOTES = 6
_ABOUT = (
    "Every start is tried untouched, a few strategies are trained in cross-validation, and the "
    "model is made from all images. You get the answer in words."
)


class AdaptationForm:
    """Budget, button, progress and answer.

    Args:
        context: Of the page.
        jobs: Of all sessions.
    """

    def __init__(self, context: Context, jobs: TrainingJobs) -> None:
        self.context = context
        self.jobs = jobs

    def draw(self) -> None:
        """Add the components to the page that is being built."""
        gr.HTML(f"<p>{_ABOUT}</p>", elem_classes="note")
        with gr.Row():
            choices = [
                (f"{name}: about {one.minutes:g} minutes", name) for name, one in BUDGETS.items()
            ]
            self.budget = gr.Dropdown(
                choices, value="quick", label="Budget", elem_id="adapt-budget",
                info="on two cores, with images of 128 pixels",
            )  # fmt: skip
            self.start = gr.Button(
                "Find the best start and layers", variant="primary", interactive=False,
                elem_id="adapt-start",
            )  # fmt: skip
            self.cancel = gr.Button("Stop", variant="stop", visible=False, elem_id="adapt-cancel")
        self.status = gr.HTML(elem_id="adapt-status", elem_classes="note progress")
        self.answer = gr.HTML(elem_id="adapt-answer", apply_default_css=False)
        self.files = gr.File(
            label="Model, card and report", visible=False, interactive=False,
            elem_id="adapt-files",
        )  # fmt: skip
        self.timer = gr.Timer(1.0, active=False)

    def connect(self) -> None:
        """Say what happens."""
        shown = [self.start, self.cancel, self.status, self.answer, self.files, self.timer]
        shown.append(self.context.added)
        self.start.click(self._start, self.budget, shown, **_BUSY)
        self.timer.tick(self._poll, self.context.added, shown, **QUIET)
        self.cancel.click(self._cancel, None, None, **QUIET)

    def _start(self, budget: str, request: gr.Request) -> dict[gr.Component, Any]:
        try:
            self.context.require_training(request)
            known = self.jobs.workspace(request.session_hash)
            asked = _settings(known.report, budget, known.choice)
            self.jobs.start_adaptation(request.session_hash, asked)
        except (ValueError, OSError) as error:
            return {self.status: problem_html(error)}
        return {
            self.status: _status(AdaptProgress("running")),
            self.start: gr.update(interactive=False),
            self.cancel: gr.update(visible=True),
            self.answer: "",
            self.files: gr.update(value=None, visible=False),
            self.timer: gr.update(active=True),
        }

    def _poll(self, added: tuple[SavedModel, ...], request: gr.Request) -> dict[gr.Component, Any]:
        workspace = self.jobs.workspace(request.session_hash)
        running = workspace.adaptation
        if running is None:
            return {self.timer: gr.update(active=False)}
        progress = running.progress()
        shown: dict[gr.Component, Any] = {self.status: _status(progress)}
        if progress.is_over:
            shown |= {
                self.start: gr.update(interactive=True),
                self.cancel: gr.update(visible=False),
                self.timer: gr.update(active=False),
            }
            if progress.state == "finished":
                shown |= self._result(running, f"adapted-{workspace.runs}", added)
        return shown

    def _result(
        self, running: BackgroundAdaptation, name: str, added: tuple[SavedModel, ...]
    ) -> dict[gr.Component, Any]:
        """Show the answer and its files; the model joins Compare by this name."""
        folder = running.directory / RESULT
        shown: dict[gr.Component, Any] = {
            self.answer: _answer(folder),
            self.files: gr.update(value=_files(folder), visible=True),
        }
        model = folder / "model.keras"
        if model.is_file() and all(one.name != name for one in added):
            shown[self.context.added] = (*added, SavedModel(name, str(model), ""))
        return shown

    def _cancel(self, request: gr.Request) -> None:
        running = self.jobs.workspace(request.session_hash).adaptation
        if running is not None:
            running.cancel()


def _settings(report: Report | None, budget: str, choice: MaskChoice) -> AdaptSettings:
    if report is None:
        raise ValueError("there are no images yet: give a zip file and wait for the check")
    if report.data is None or report.counts()["error"]:
        raise ValueError("the data has errors: correct them and check again")
    return AdaptSettings(data=report.source, budget=budget, **choice._asdict())


def _status(progress: AdaptProgress) -> str:
    if progress.state == "failed":
        return problem_html(f"Failed: {progress.message}")
    if progress.state == "cancelled":
        return "<p role=status>Cancelled.</p>"
    notes = "".join(f"<li>{escape(note)}</li>" for note in progress.notes[-_LAST_NOTES:])
    bar = ""
    if progress.steps and progress.state == "running":
        steps = f"step {progress.step} of {progress.steps}"
        bar = (
            f'<progress max={progress.steps} value={progress.step} aria-label="Training steps">'
            f"{steps}</progress> {steps}, about {progress.seconds / 60:.1f} minutes in all"
        )
    phase = "Finished" if progress.state == "finished" else f"{progress.phase.capitalize()} …"
    return f"<p role=status>{escape(phase)}</p>{bar}<ul>{notes}</ul>"


def _answer(folder: Path) -> str:
    """Return the answer as HTML: its sentences without the paths of this machine."""
    values = read_json(folder / "answer.json")
    sentences = [text for text in values["sentences"] if str(folder) not in text]
    first, *others = sentences
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in others)
    return f"<h4>{escape(first)}</h4>{paragraphs}<p>The model is now in Compare.</p>"


def _files(folder: Path) -> list[str]:
    return [str(path) for name in _DOWNLOADS if (path := folder / name).is_file()]

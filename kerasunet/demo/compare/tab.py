"""Buttons that write what is shown into a file and have the browser take it."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr

from kerasunet.comparison import Choice, as_csv, as_html, as_zip, compare
from kerasunet.comparison.report import rows, safe_name, score_table
from kerasunet.demo.compare import batch
from kerasunet.demo.compare.viewer import Pair, captions, gallery, scene, viewer
from kerasunet.demo.session import (
    EXAMPLES,
    GIVE_ANEW,
    MODALITIES,
    MODEL_QUEUE,
    SETTLED,
    Context,
    Model,
    Shown,
    Subject,
    example,
    read_subject,
    read_truth,
    refused,
    said,
)
from kerasunet.demo.visitors import new_file

_TAKE = """(file) => { if (!file) return;
  const link = document.createElement("a");
  link.href = file.url; link.download = file.orig_name || ""; link.click() }"""


class Downloads:
    """The row of buttons."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = gr.DownloadButton(visible=False)
        with gr.Row(visible=False) as self.row:
            self._makers = {
                gr.Button("Everything (zip)", size="sm", elem_id="download-zip"): _zip,
                gr.Button("Table (CSV)", size="sm", elem_id="download-csv"): _csv,
                gr.Button("Report (HTML)", size="sm", elem_id="download-html"): _html,
            }

    def connect(self, inputs: list) -> None:
        """Takes the ticket of what is shown, threshold, smallest region and chosen names."""
        for button, make in self._makers.items():
            made = button.click(
                self._writer(make),
                inputs,
                self._file,
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=button,
            )
            made.success(None, [self._file], None, js=_TAKE)

    def _writer(self, make):
        def write(request: gr.Request, ticket, threshold, smallest, chosen):
            shown = self._context.tickets.get(ticket)
            if shown is None:
                raise gr.Error(GIVE_ANEW, print_exception=False)
            suffix, data = make(shown, Choice(threshold, smallest, tuple(chosen)))
            path = new_file(f"kerasunet-{safe_name(shown.subject.name)}{suffix}", data)
            self._context.traces.keep(request, path)
            return str(path)

        return write


def _zip(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    subject = shown.subject
    verdict, scores = shown.evaluated(choice)
    truth = subject.truth
    return ".zip", as_zip(subject.name, shown.comparison, verdict, scores=scores, truth=truth)


def _html(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    subject = shown.subject
    verdict, scores = shown.evaluated(choice)
    page = as_html(subject.name, shown.comparison, verdict, scores=scores, truth=subject.truth)
    return ".html", page.encode()


def _csv(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    _, scores = shown.evaluated(choice)
    return ".csv", as_csv(rows(shown.subject.name, scores, choice)).encode()


_VIEWS = ("Overlay", "Outline", "Probability")
_FORMATS = "<p>PNG, JPEG, TIFF, BMP of 8 or 16 bits, DICOM, NIfTI. Drop, click or paste.</p>"
_SET_VIEWER = """(threshold, opacity, smallest, view, names) =>
  { window.kerasunetViewer?.set({ threshold, opacity, smallest, view, names }) }"""
_SET_SCORES = "(lines) => window.kerasunetViewer?.score(lines)"


def build(context: Context) -> None:
    """Draws the tab and connects its parts."""
    page = _Page(context)
    with gr.Row(elem_id="compare"):
        with gr.Column(scale=1, min_width=280, elem_classes="side"):
            page.draw_inputs()
        with gr.Column(scale=3, min_width=320):
            page.draw_results()
    page.connect()
    batch.build(context, page.threshold, page.smallest)


class _Page:
    """The components of the tab, by name, and what happens between them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.ticket = gr.State(None, time_to_live=3600)

    def draw_inputs(self) -> None:
        self.image = gr.File(label="Image", height=116, elem_id="compare-image")
        gr.HTML(_FORMATS, elem_classes="note")
        self.note = gr.HTML(elem_id="compare-note", elem_classes="note")
        self.examples = gallery("compare-examples")
        self.modality = gr.Radio(
            [("Guess", ""), *((label, key) for key, label in MODALITIES.items())],
            value="",
            label="What the image shows",
            elem_id="compare-modality",
        )
        self.truth = gr.File(label="True mask (optional)", height=116, elem_id="compare-truth")
        self.truth_note = gr.HTML(elem_id="compare-truth-note", elem_classes="note")
        with gr.Accordion("Files of several frames or slices", open=False):
            self.frame = gr.Number(
                0, label="Frame or slice, from 0", precision=0, minimum=0, elem_id="compare-frame"
            )
        self.loading = gr.HTML(
            said("Loading models."), elem_id="compare-loading", elem_classes="note"
        )
        self.timer = gr.Timer(1.0)

    def draw_results(self) -> None:
        with gr.Row(elem_id="compare-controls"):
            self.threshold = gr.Slider(0.01, 0.99, 0.5, step=0.01, label="Threshold")
            self.opacity = gr.Slider(0, 1, 0.35, step=0.05, label="Opacity")
            self.smallest = gr.Slider(0, 5, 0, step=0.05, label="Smallest region (%)")
        with gr.Row():
            self.view = gr.Radio(_VIEWS, value=_VIEWS[0], label="View", min_width=260)
            self.chosen = gr.CheckboxGroup([], label="Strategies shown", scale=3, visible=False)
        self.viewer = viewer()
        self.table = gr.HTML(elem_id="compare-table", elem_classes="table")
        self.captions = gr.JSON(visible=False)
        self.downloads = Downloads(self.context)
        self.pair = Pair(self.context)

    def connect(self) -> None:
        settings = [self.threshold, self.opacity, self.smallest, self.view, self.chosen]
        for control in settings:
            control.change(None, settings, None, js=_SET_VIEWER)
        self._connect_numbers()
        self.pair.connect(self.ticket, self.threshold, self.smallest)
        self._connect_images()
        opened = gr.context.Context.root_block.load
        for event in (opened, self.timer.tick):
            event(self._tell_loading, None, [self.loading, self.timer], **SETTLED)

    @property
    def _counted(self) -> list:
        """The controls that change what is counted."""
        return [self.threshold, self.smallest, self.chosen]

    def _connect_numbers(self) -> None:
        for control in self._counted:
            self._count(control.input, trigger_mode="always_last", concurrency_limit=4)
        self.captions.change(None, [self.captions], None, js=_SET_SCORES)
        self.downloads.connect([self.ticket, *self._counted])

    def _count(self, event, **how) -> None:
        """Tells the numbers of the controls as they are at an event."""
        given = [self.ticket, *self._counted]
        event(self._numbers, given, [self.table, self.captions], **how, **SETTLED)

    def _connect_images(self) -> None:
        given = [self.ticket, self.modality, self.context.added, *self._counted]
        results = [
            self.ticket, self.note, self.truth_note, self.image, self.truth, self.viewer,
            self.table, self.captions, self.chosen, *self.pair.outputs, self.downloads.row,
            self.frame, self.modality,
        ]  # fmt: skip
        running = {
            "api_visibility": "private",
            "show_progress": "minimal",
            "show_progress_on": self.viewer,
            **MODEL_QUEUE,
        }
        files = [self.image, self.frame, self.truth]
        opened = [
            self.image.upload(self._open_new, [*files, *given], results, **running),
            self.frame.input(self._open_file, [*files, *given], results, **running),
            self.examples.pick(self._open_example, given, results, **running),
            self.modality.input(self._open_again, given, results, **running),
            self.context.added.change(self._open_again, given, results, **running),
        ]
        for event in opened:
            self.pair.follow(event)
        told = [
            event(self._set_truth, [self.truth, *given], results, **running)
            for event in (self.truth.upload, self.truth.clear)
        ]
        for event in (*opened, *told):
            self._count(event.then)  # The controls may have moved while the models ran.

    # What happens when an image comes

    def _open_new(self, request: gr.Request, path, frame, truth, ticket, *given):
        return self._open_file(request, path, 0, truth, ticket, *given) | {self.frame: 0}

    def _open_file(self, request: gr.Request, path, frame, truth, ticket, *given):
        self.context.traces.keep(request, path, truth)
        shown = self.context.tickets.get(ticket)
        if path is None:
            return {self.note: said("Give an image first.")}
        try:
            subject = read_subject(path, int(frame or 0))
        except ValueError as error:
            return {self.note: refused(error)}
        forgotten = {self.truth: None, self.truth_note: ""} if ticket else {}
        if truth and not ticket:
            subject, forgotten = self._with_truth(subject, truth)
        return self._compared(subject, shown, *given) | forgotten

    def _open_example(self, event: gr.EventData, ticket, modality, *given):
        subject, shown = example(*EXAMPLES[event.index]), self.context.tickets.get(ticket)
        cleared = {self.image: None, self.truth: None, self.truth_note: "", self.frame: 0}
        return self._compared(subject, shown, "", *given) | cleared | {self.modality: ""}

    def _open_again(self, ticket, *given):
        shown = self.context.tickets.get(ticket)
        if shown is None:
            return {self.note: said(GIVE_ANEW) if ticket else gr.skip()}
        return self._compared(shown.subject, shown, *given)

    def _set_truth(self, request: gr.Request, path, ticket, *given):
        self.context.traces.keep(request, path)
        shown = self.context.tickets.get(ticket)
        if shown is None:
            return {self.truth_note: said("It is used as soon as there is an image.")}
        subject, told = self._with_truth(shown.subject, path)
        return self._drawn(Shown(subject, shown.comparison), *given[2:]) | told

    def _with_truth(self, subject: Subject, path: str | None) -> tuple[Subject, dict]:
        """The subject with the mask in a file, and what is to be told of it."""
        if path is None:
            return replace(subject, truth=None), {self.truth_note: ""}
        try:
            truth = read_truth(path, subject.image.shape[:2])
        except ValueError as error:
            return replace(subject, truth=None), {self.truth_note: refused(error)}
        covered = f"{100 * truth.mean():.1f} % of the image"
        return replace(subject, truth=truth), {self.truth_note: said(f"The mask covers {covered}.")}

    def _compared(
        self, subject: Subject, shown: Shown | None, modality, added, threshold, smallest, chosen
    ) -> dict:
        """Runs the models."""
        subject = subject.taken_as(modality)
        models = self.context.shelf.of(subject.modality, added)
        if not models:
            return {self.note: refused("There are no saved models to compare.")}
        try:
            candidates = [self.context.shelf.candidate(model) for model in models]
            now = Shown(subject, compare(subject.image, candidates, subject.spacing))
        except ValueError as error:
            return {self.note: refused(error)}
        told = {
            self.note: _description(subject, models),
            self.downloads.row: gr.Row(visible=True),
        }
        if shown is None or shown.choices != now.choices:
            told |= self._all_chosen(now) | self.pair.choices(now)
            chosen = now.names
        return self._drawn(now, threshold, smallest, chosen) | told

    def _all_chosen(self, now: Shown) -> dict:
        names = list(now.names)
        return {self.chosen: gr.CheckboxGroup(now.choices, value=names, visible=len(names) > 1)}

    def _drawn(self, now: Shown, threshold, smallest, chosen) -> dict:
        _, scores = now.evaluated(Choice(threshold, smallest, tuple(chosen)))
        return {
            self.ticket: self.context.tickets.keep(now),
            self.viewer: scene(now.comparison, scores, now.subject.truth),
            self.table: score_table(scores),
            self.captions: captions(scores),
        }

    def _numbers(self, ticket, threshold, smallest, chosen):
        shown = self.context.tickets.get(ticket)
        if shown is None:
            return gr.skip(), gr.skip()
        _, scores = shown.evaluated(Choice(threshold, smallest, tuple(chosen)))
        return score_table(scores), captions(scores)

    # While the models load

    def _tell_loading(self):
        return self._loading_text(), gr.Timer(active=not self.context.shelf.finished)

    def _loading_text(self) -> str:
        shelf = self.context.shelf
        missing = len(shelf.models) - shelf.ready
        if shelf.finished:
            return refused(f"Models that cannot be loaded: {missing}.") if missing else ""
        return said(f"Loading models: {shelf.ready} of {len(shelf.models)} ready.")


def _description(subject: Subject, models: tuple[Model, ...]) -> str:
    height, width = subject.image.shape[:2]
    spacing = subject.spacing
    scale = f"{spacing[0]:.3g} × {spacing[1]:.3g} mm a pixel" if spacing else "unknown pixel size"
    label = MODALITIES[subject.modality]
    how = "a guess from its grain and symmetry; correct it below" if subject.guessed else "as told"
    words = f"{subject.name}: {width} × {height} pixels, {scale}. Taken as {label} ({how})."
    if not any(model.modality for model in models):
        words += " No model here was fine-tuned for that; the pre-trained one is shown."
    return said(words)

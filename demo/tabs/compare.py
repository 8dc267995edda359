"""Compare: every strategy's mask of one image, side by side.

The models run once an image. What comes back is kept for the session; sliders and choices work on
that, in the page itself for the pictures and here for the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

import batch
import examples
import gradio as gr
from context import MODALITIES, MODEL_QUEUE, Context, Model, new_file
from subjects import EXAMPLES, Subject, example, read_subject, read_truth
from viewer import captions, scene, viewer

from kerasunet.comparison import Choice, Comparison, as_csv, as_html, as_zip, compare, judge, score
from kerasunet.comparison.archive import safe_name
from kerasunet.comparison.pictures import draw_difference, png
from kerasunet.comparison.report import score_table
from kerasunet.comparison.table import rows

_SETTLED = {"api_visibility": "private", "show_progress": "hidden"}
_VIEWS = ("Overlay", "Outline", "Probability")
_FORMATS = "<p>PNG, JPEG, TIFF, BMP of 8 or 16 bits, DICOM, NIfTI. Drop, click or paste.</p>"
_SET_VIEWER = """(threshold, opacity, smallest, view, names) =>
  { window.kerasunetViewer?.set({ threshold, opacity, smallest, view, names }) }"""
_DOWNLOAD = """(file) => { if (!file) return;
  const link = document.createElement("a");
  link.href = file.url; link.download = file.orig_name || ""; link.click() }"""


@dataclass(frozen=True, eq=False)
class Shown:
    """What a session looks at."""

    subject: Subject
    comparison: Comparison

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(answer.candidate.name for answer in self.comparison.answers)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Label and value of each model, for a component to choose among."""
        return [(a.candidate.strategy, a.candidate.name) for a in self.comparison.answers]


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
        self.shown = gr.State(None, time_to_live=3600)
        self.pair_open = gr.State(False)

    def draw_inputs(self) -> None:
        self.image = gr.File(label="Image", height=116, elem_id="compare-image")
        gr.HTML(_FORMATS, elem_classes="note")
        self.note = gr.HTML(elem_id="compare-note", elem_classes="note")
        self.examples = examples.gallery("compare-examples")
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
        self.loading = gr.HTML(self._loading_text(), elem_id="compare-loading", elem_classes="note")
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
        self._draw_downloads()
        self._draw_pair()

    def _draw_downloads(self) -> None:
        self.ready = gr.DownloadButton(visible=False)
        with gr.Row(visible=False) as self.downloads:
            self.as_zip = gr.Button("Everything (zip)", size="sm", elem_id="download-zip")
            self.as_csv = gr.Button("Table (CSV)", size="sm", elem_id="download-csv")
            self.as_html = gr.Button("Report (HTML)", size="sm", elem_id="download-html")

    def _draw_pair(self) -> None:
        with gr.Accordion("Two strategies, one over the other", open=False) as self.pair_part:
            with gr.Row():
                self.first = gr.Dropdown([], label="Left")
                self.second = gr.Dropdown([], label="Right")
            self.pair = gr.ImageSlider(
                label="Drag the handle", format="png", buttons=["fullscreen"], max_height=560,
                elem_id="compare-pair",
            )  # fmt: skip
            gr.HTML(
                '<p class="legend"><span><i style="background:#e69f00"></i>only the left one</span>'
                '<span><i style="background:#56b4e9"></i>only the right one</span>'
                '<span><i style="background:#f0f0f0"></i>both</span></p>'
            )

    def connect(self) -> None:
        settings = [self.threshold, self.opacity, self.smallest, self.view, self.chosen]
        for control in settings:
            control.input(None, settings, None, js=_SET_VIEWER)
        self._connect_numbers()
        self._connect_images(settings)
        self._connect_downloads()
        self.timer.tick(self._tell_loading, None, [self.loading, self.timer], **_SETTLED)

    def _connect_numbers(self) -> None:
        counting = [self.shown, self.threshold, self.smallest, self.chosen]
        for control in counting[1:]:
            control.input(
                _numbers, counting, [self.table, self.captions], trigger_mode="always_last",
                concurrency_limit=4, **_SETTLED,
            )  # fmt: skip
        self.captions.change(
            None, [self.captions], None, js="(lines) => window.kerasunetViewer?.score(lines)"
        )
        self._connect_pair()

    def _connect_pair(self) -> None:
        self.pairing = (
            self._pair,
            [self.pair_open, self.shown, self.first, self.second, self.threshold, self.smallest],
            self.pair,
        )
        for event in (self.first.input, self.second.input, self.threshold.release,
                      self.smallest.release):  # fmt: skip
            event(*self.pairing, **_SETTLED)
        part, flag = self.pair_part, self.pair_open
        part.expand(lambda: True, None, flag, **_SETTLED).then(*self.pairing, **_SETTLED)
        part.collapse(lambda: False, None, flag, **_SETTLED)

    def _connect_images(self, settings: list) -> None:
        given = [self.shown, self.modality, self.context.added, *settings]
        results = [
            self.shown, self.note, self.truth_note, self.image, self.truth, self.viewer,
            self.table, self.captions, self.chosen, self.first, self.second, self.downloads,
            self.frame,
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
            event.then(*self.pairing, **_SETTLED)
        for event in (self.truth.upload, self.truth.clear):
            event(self._set_truth, [self.truth, *given], results, **running)

    def _connect_downloads(self) -> None:
        given = [self.shown, self.threshold, self.smallest, self.chosen]
        for button, make in (
            (self.as_zip, _make_zip), (self.as_csv, _make_csv), (self.as_html, _make_html)
        ):  # fmt: skip
            button.click(
                self._file_maker(make), given, self.ready, api_visibility="private",
                show_progress="minimal", show_progress_on=button,
            ).success(None, [self.ready], None, js=_DOWNLOAD)  # fmt: skip

    def _file_maker(self, make):
        def write(shown: Shown | None, threshold, smallest, chosen, request: gr.Request):
            if shown is None:
                raise gr.Error(
                    "Nothing to download yet: give an image first.", print_exception=False
                )
            suffix, data = make(shown, Choice(threshold, smallest, tuple(chosen)))
            path = new_file(f"kerasunet-{safe_name(shown.subject.name)}{suffix}", data)
            self.context.traces.keep(request, path)
            return str(path)

        return write

    # What happens when an image comes

    def _open_new(self, request: gr.Request, path, frame, truth, shown, *given):
        return self._open_file(request, path, 0, truth, shown, *given) | {self.frame: 0}

    def _open_file(self, request: gr.Request, path, frame, truth, shown, *given):
        self.context.traces.keep(request, path, truth)
        if path is None:
            return {self.note: _said("Give an image first.")}
        try:
            subject = read_subject(path, int(frame or 0))
        except ValueError as error:
            return {self.note: _refused(error)}
        forgotten = {self.truth: None, self.truth_note: ""} if shown else {}
        if truth and not shown:
            subject, forgotten = self._with_truth(subject, truth)
        return self._compared(subject, shown, *given) | forgotten

    def _open_example(self, event: gr.EventData, shown, *given):
        subject = example(*EXAMPLES[event.index])
        cleared = {self.image: None, self.truth: None, self.truth_note: "", self.frame: 0}
        return self._compared(subject, shown, *given) | cleared

    def _open_again(self, shown: Shown | None, *given):
        if shown is None:
            return {self.shown: gr.skip()}
        subject = shown.subject
        if not given[0] and not subject.name.startswith("simulated-"):
            subject = replace(subject, guessed=True)
        return self._compared(subject, shown, *given)

    def _set_truth(self, request: gr.Request, path, shown: Shown | None, *given):
        self.context.traces.keep(request, path)
        if shown is None:
            return {self.truth_note: _said("It is used as soon as there is an image.")}
        subject, told = self._with_truth(shown.subject, path)
        return self._drawn(Shown(subject, shown.comparison), *given[2:]) | told

    def _with_truth(self, subject: Subject, path: str | None) -> tuple[Subject, dict]:
        """The subject with the mask in a file, and what is to be told of it."""
        if path is None:
            return replace(subject, truth=None), {self.truth_note: ""}
        try:
            truth = read_truth(path, subject.image.shape[:2])
        except ValueError as error:
            return replace(subject, truth=None), {self.truth_note: _refused(error)}
        covered = f"{100 * truth.mean():.1f} % of the image"
        return replace(subject, truth=truth), {
            self.truth_note: _said(f"The mask covers {covered}.")
        }

    def _compared(self, subject: Subject, shown: Shown | None, modality, added, *settings):
        """Runs the models."""
        subject = subject.taken_as(modality)
        models = self.context.shelf.of(subject.modality, added)
        if not models:
            return {self.note: _refused("There are no saved models to compare.")}
        try:
            candidates = [self.context.shelf.candidate(model) for model in models]
        except ValueError as error:
            return {self.note: _refused(error)}
        now = Shown(subject, compare(subject.image, candidates, subject.spacing))
        *others, chosen = settings
        if shown is None or shown.names != now.names:
            chosen = list(now.names)
        return self._drawn(now, *others, chosen) | {
            self.note: _description(subject, models),
            self.chosen: gr.CheckboxGroup(now.choices, value=chosen, visible=len(models) > 1),
            self.downloads: gr.Row(visible=True),
            **self._pair_choices(now, shown),
        }

    def _pair_choices(self, now: Shown, before: Shown | None) -> dict:
        if before is not None and before.names == now.names:
            return {}
        ends = (now.names[0], now.names[-1])
        parts = zip((self.first, self.second), ends, strict=True)
        return {part: gr.Dropdown(now.choices, value=name) for part, name in parts}

    def _drawn(self, now: Shown, threshold, opacity, smallest, view, chosen) -> dict:
        choice = Choice(threshold, smallest, tuple(chosen))
        verdict = judge(now.comparison, choice)
        scores = score(now.comparison, verdict, now.subject.truth)
        look = {"opacity": opacity, "view": view}
        return {
            self.shown: now,
            self.viewer: scene(now.comparison, scores, now.subject.truth, choice, look),
            self.table: score_table(scores),
            self.captions: captions(scores),
        }

    def _pair(
        self, request: gr.Request, opened, shown: Shown | None, first, second, threshold, smallest
    ):
        if not opened or shown is None or not {first, second} <= set(shown.names):
            return None
        masks = judge(shown.comparison, Choice(threshold, smallest, (first, second))).masks
        pictures = draw_difference(shown.comparison.image, masks[first], masks[second])
        paths = [new_file("difference.png", png(picture)) for picture in pictures]
        self.context.traces.keep(request, *paths)
        return tuple(str(path) for path in paths)

    # While the models load

    def _tell_loading(self):
        return self._loading_text(), gr.Timer(active=not self.context.shelf.finished)

    def _loading_text(self) -> str:
        shelf = self.context.shelf
        missing = len(shelf.models) - shelf.ready
        if shelf.finished:
            return _refused(f"Models that cannot be loaded: {missing}.") if missing else ""
        return _said(f"Loading models: {shelf.ready} of {len(shelf.models)} ready.")


def _numbers(shown: Shown | None, threshold, smallest, chosen):
    if shown is None:
        return gr.skip(), gr.skip()
    verdict = judge(shown.comparison, Choice(threshold, smallest, tuple(chosen)))
    scores = score(shown.comparison, verdict, shown.subject.truth)
    return score_table(scores), captions(scores)


def _evaluated(shown: Shown, choice: Choice) -> tuple:
    verdict = judge(shown.comparison, choice)
    scores = score(shown.comparison, verdict, shown.subject.truth)
    return shown.subject.name, shown.comparison, verdict, scores, shown.subject.truth


def _make_zip(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    return ".zip", as_zip(*_evaluated(shown, choice))


def _make_html(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    return ".html", as_html(*_evaluated(shown, choice)).encode()


def _make_csv(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    name, _, _, scores, _ = _evaluated(shown, choice)
    return ".csv", as_csv(rows(name, scores, choice)).encode()


def _description(subject: Subject, models: tuple[Model, ...]) -> str:
    height, width = subject.image.shape[:2]
    spacing = subject.spacing
    scale = f"{spacing[0]:.3g} × {spacing[1]:.3g} mm a pixel" if spacing else "unknown pixel size"
    label = MODALITIES[subject.modality]
    how = "a guess from its grain and symmetry; correct it below" if subject.guessed else "as told"
    words = f"{subject.name}: {width} × {height} pixels, {scale}. Taken as {label} ({how})."
    if not any(model.modality for model in models):
        words += " No model here was fine-tuned for that; the pre-trained one is shown."
    return _said(words)


def _said(words: str) -> str:
    return f'<p role="status">{escape(words)}</p>'


def _refused(error: object) -> str:
    return f'<p role="alert" class="problem">{escape(str(error))}</p>'

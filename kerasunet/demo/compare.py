"""The tab Compare: an image in; the mask of every model, their scores and downloads out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gradio as gr

from kerasunet.comparison import Choice, compare
from kerasunet.comparison_report import as_csv, as_html, as_zip, rows, safe_name, score_table
from kerasunet.demo import compare_batch as batch
from kerasunet.demo.compare_viewer import (
    DifferenceSlider,
    captions,
    example_gallery,
    objects_html,
    scene,
    viewer,
)
from kerasunet.demo.context import (
    MODEL_QUEUE,
    QUIET,
    Context,
    Result,
    SavedModel,
    note_html,
    problem_html,
)
from kerasunet.demo.visitors import (
    COLORED,
    EXAMPLES,
    FRAME,
    MODALITIES,
    InputImage,
    new_file,
    open_image,
    simulate_example,
    whole_number,
    with_truth,
)

_GIVE_AGAIN = (
    "Add an image first. An earlier one may have been removed to make room for other visitors'."
)
_SAVE = """(file) => { if (!file) return;
  const link = document.createElement("a");
  link.href = file.url; link.download = file.orig_name || ""; link.click() }"""


class Downloads:
    """A row of buttons that write the result into a file, which the browser then saves."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = gr.DownloadButton(visible=False)
        with gr.Row(visible=False) as self.row:
            self._writers = {
                gr.Button("Everything (zip)", size="sm", elem_id="download-zip"): _zip,
                gr.Button("Table (CSV)", size="sm", elem_id="download-csv"): _csv,
                gr.Button("Report (HTML)", size="sm", elem_id="download-html"): _html,
            }

    def connect(self, inputs: list) -> None:
        """Connect the buttons.

        Args:
            inputs: Key of the result, threshold, smallest region and chosen names.
        """
        for button, write in self._writers.items():
            written = button.click(
                self._file_writer(write),
                inputs,
                self._file,
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=button,
            )
            written.success(None, [self._file], None, js=_SAVE)

    def _file_writer(self, write: Callable[[Result, Choice], tuple[str, bytes]]):
        def write_file(request: gr.Request, key, threshold, smallest, chosen):
            result = self._context.results.get(key)
            if result is None:
                raise gr.Error(_GIVE_AGAIN, print_exception=False)
            suffix, data = write(result, Choice(threshold, smallest, tuple(chosen)))
            path = new_file(f"kerasunet-{safe_name(result.image.title)}{suffix}", data)
            self._context.files.keep(request, path)
            return str(path)

        return write_file


def _zip(result: Result, choice: Choice) -> tuple[str, bytes]:
    verdict, scores = result.evaluate(choice)
    packed = as_zip(_title(result), result.comparison, verdict, scores=scores, truth=result.truth)
    return ".zip", packed


def _html(result: Result, choice: Choice) -> tuple[str, bytes]:
    verdict, scores = result.evaluate(choice)
    page = as_html(_title(result), result.comparison, verdict, scores=scores, truth=result.truth)
    return ".html", page.encode()


def _csv(result: Result, choice: Choice) -> tuple[str, bytes]:
    _, scores = result.evaluate(choice)
    return ".csv", as_csv(rows(result.image.title, scores, choice, object_=result.shown)).encode()


def _title(result: Result) -> str:
    return ", ".join(filter(None, (result.image.title, result.shown)))


_VIEWS = ("Overlay", "Outline", "Probability")
_FORMATS = "<p>PNG, JPEG, TIFF or BMP of 8 or 16 bits, DICOM, NIfTI. Drop, click or paste.</p>"
_SET_VIEWER = """(threshold, opacity, smallest, view, names) =>
  { window.kerasunetViewer?.set({ threshold, opacity, smallest, view, names }) }"""
_SET_SCORES = "(lines) => window.kerasunetViewer?.score(lines)"


def build(context: Context) -> None:
    """Add the tab to the page that is being built."""
    tab = _Tab(context)
    with gr.Row(elem_id="compare"):
        with gr.Column(scale=1, min_width=280, elem_classes="side"):
            tab.draw_inputs()
        with gr.Column(scale=3, min_width=320):
            tab.draw_results()
    tab.connect()
    batch.build(context, tab.threshold, tab.smallest)


class _Tab:
    """The components of the tab, and what happens between them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.key = gr.State(None, time_to_live=3600)

    def draw_inputs(self) -> None:
        self.image = gr.File(label="Image", height=116, elem_id="compare-image")
        gr.HTML(_FORMATS, elem_classes="note")
        self.note = gr.HTML(elem_id="compare-note", elem_classes="note")
        self.examples = example_gallery("compare-examples")
        self.modality = gr.Radio(
            [("Guess", ""), *((label, key) for key, label in MODALITIES.items())],
            value="",
            label="Kind of image",
            elem_id="compare-modality",
        )
        self.truth = gr.File(label="True mask (optional)", height=116, elem_id="compare-truth")
        self.truth_note = gr.HTML(elem_id="compare-truth-note", elem_classes="note")
        with gr.Accordion("Files of several frames or slices", open=False):
            self.frame = gr.Number(0, label=FRAME, elem_id="compare-frame")
        self.loading = gr.HTML(
            note_html("Loading models."), elem_id="compare-loading", elem_classes="note"
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
        self.object = gr.Radio(
            [], label="Object to compare", visible=False, elem_id="compare-object"
        )
        self.viewer = viewer()
        self.table = gr.HTML(elem_id="compare-table", elem_classes="table")
        self.objects = gr.HTML(elem_id="compare-objects", elem_classes="table")
        self.captions = gr.JSON(visible=False)
        self.downloads = Downloads(self.context)
        self.difference = DifferenceSlider(self.context)

    def connect(self) -> None:
        settings = [self.threshold, self.opacity, self.smallest, self.view, self.chosen]
        for control in settings:
            control.change(None, settings, None, js=_SET_VIEWER)
        self._connect_scores()
        self.difference.connect(self.key, self.threshold, self.smallest)
        self._connect_images()
        opened = gr.context.Context.root_block.load
        for event in (opened, self.timer.tick):
            event(self._show_loading, None, [self.loading, self.timer], **QUIET)

    @property
    def _no_truth(self) -> dict:
        """The updates that take away the true mask."""
        return {self.truth: None, self.truth_note: ""}

    @property
    def _scored(self) -> list:
        """The controls that change the scores."""
        return [self.threshold, self.smallest, self.chosen]

    def _connect_scores(self) -> None:
        for control in self._scored:
            self._show_scores_on(control.input, trigger_mode="always_last")
        self.captions.change(None, [self.captions], None, js=_SET_SCORES)
        self.downloads.connect([self.key, *self._scored])

    def _show_scores_on(self, event, **settings) -> None:
        """Show on an event the scores for the controls as they are then."""
        given, in_order = [self.key, *self._scored], {"concurrency_id": "scores"}
        event(self._scores, given, [self.table, self.captions], **in_order, **settings, **QUIET)

    def _connect_images(self) -> None:
        given = [self.key, self.modality, self.context.added, *self._scored]
        results = [
            self.key, self.note, self.truth_note, self.image, self.truth, self.viewer,
            self.table, self.captions, self.chosen, *self.difference.outputs, self.downloads.row,
            self.frame, self.modality, self.object, self.objects,
        ]  # fmt: skip
        running = {
            "api_visibility": "private",
            "show_progress": "minimal",
            "show_progress_on": self.viewer,
            **MODEL_QUEUE,
        }
        files = [self.image, self.frame, self.truth]
        chosen = [self.object, self.key, self.threshold, self.smallest]
        opened = [
            self.image.upload(self._open_new, [*files, *given], results, **running),
            self.frame.input(self._open_file, [*files, *given], results, **running),
            self.examples.pick(self._open_example, given, results, **running),
            self.modality.input(self._open_again, given, results, **running),
            self.context.added.change(self._open_again, given, results, **running),
            self.object.input(self._choose_object, chosen, results, **running),
        ]
        cleared = self.image.clear(self._clear, self.key, results, **running)
        for event in (*opened, cleared):
            self.difference.follow(event)
        told = [
            event(self._set_truth, [self.truth, *given], results, **running)
            for event in (self.truth.upload, self.truth.clear)
        ]
        for event in (*opened, *told):
            # The controls may have moved while the models ran.
            self._show_scores_on(event.then)

    # What happens when an image comes or goes

    def _open_new(self, request: gr.Request, path, frame, truth, key, *given):
        return self._open_file(request, path, 0, truth, key, *given) | {self.frame: 0}

    def _clear(self, key):
        """Take the image away, and what was found in it; what was chosen stays for the next one."""
        result = self.context.results.get(key)
        if result is None:
            return {self.note: ""}
        return {
            self.key: self.context.results.keep(replace(result, is_cleared=True)),
            **dict.fromkeys((self.viewer, self.table, self.objects, self.note), ""),
            self.captions: {},
            self.object: gr.Radio(visible=False),
            self.downloads.row: gr.Row(visible=False),
            **self._no_truth,
        }

    def _open_file(self, request: gr.Request, path, frame, truth, key, *given):
        self.context.files.keep(request, path, truth)
        before = self.context.results.get(key, even_cleared=True)
        if path is None:
            return {self.note: note_html("Add an image first.")}
        try:
            image = open_image(path, whole_number(FRAME, frame or 0, 0))
        except ValueError as error:
            return {self.note: problem_html(error)}
        cleared = self._no_truth if key else {}
        if truth and not key:
            image, cleared = self._with_truth(image, truth)
        return self._compare(image, before, *given) | cleared

    def _open_example(self, event: gr.EventData, key, modality, *given):
        image = simulate_example(*EXAMPLES[event.index])
        before = self.context.results.get(key, even_cleared=True)
        cleared = {self.image: None, self.frame: 0, **self._no_truth}
        return self._compare(image, before, "", *given) | cleared | {self.modality: ""}

    def _open_again(self, key, *given):
        before = self.context.results.get(key)
        if before is None:
            return {self.note: note_html(_GIVE_AGAIN) if key else gr.skip()}
        return self._compare(before.image, before, *given)

    def _set_truth(self, request: gr.Request, path, key, *given):
        self.context.files.keep(request, path)
        before = self.context.results.get(key)
        if before is None:
            later = note_html("It will be used as soon as there is an image.")
            return {self.key: None, self.truth_note: later if path else ""}
        image, note = self._with_truth(before.image, path)
        return self._show(replace(before, image=image), *given[2:]) | note

    def _choose_object(self, name, key, threshold, smallest):
        """Compare another object: other models may take part, so all that find it are shown."""
        before = self.context.results.get(key)
        if before is None:
            return {self.note: note_html(_GIVE_AGAIN) if key else gr.skip()}
        result = replace(before, object=name)
        shown = self._show(result, threshold, smallest, result.names)
        return shown | self._choose_all(result) | self.difference.choices(result)

    def _with_truth(self, image: InputImage, path: str | None) -> tuple[InputImage, dict]:
        """Return the image with the mask of a file, and the note on that mask."""
        bare = replace(image, truth=None, parts={})
        if path is None:
            return bare, {self.truth_note: ""}
        try:
            given = with_truth(image, path, self._objects_for(image))
        except ValueError as error:
            return bare, {self.truth_note: problem_html(error)}
        assert given.truth is not None, "it has just been read"
        parts = f" as {', '.join(given.parts)}" if given.parts else ""
        words = f"The mask covers {100 * given.truth.mean():.1f} % of the image{parts}."
        if not parts and self._objects_for(image):
            words += " It counts as that of the object that you compare."
        return given, {self.truth_note: note_html(words)}

    def _objects_for(self, image: InputImage) -> tuple[str, ...]:
        """Return the objects of the first model for an image that finds several, if any."""
        fitting = self.context.models.for_modality(image.modality)
        return next((model.objects for model in fitting if len(model.objects) > 1), ())

    def _compare(
        self, image: InputImage, before: Result | None, modality, added, threshold, smallest, chosen
    ) -> dict:
        """Run the models."""
        image = image.with_modality(modality)
        models = self.context.models.for_modality(image.modality, added)
        if not models:
            return {self.note: problem_html("There are no saved models to compare.")}
        try:
            candidates = [self.context.models.candidate(model) for model in models]
            result = Result(image, compare(image.pixels, candidates, image.spacing))
        except ValueError as error:
            return {self.note: problem_html(error)}
        updates = {
            self.note: _description(image, models),
            self.downloads.row: gr.Row(visible=True),
        }
        if result.whole.objects:
            kept = before.object if before and before.object in result.whole.objects else ""
            result = replace(result, object=kept or result.whole.objects[0])
        objects = [*result.whole.objects]
        value = {"value": result.object or None, "visible": bool(objects)}
        updates |= {self.object: gr.Radio(objects, **value)}
        if before is None or before.choices != result.choices:
            updates |= self._choose_all(result) | self.difference.choices(result)
            chosen = result.names
        return self._show(result, threshold, smallest, chosen) | updates

    def _choose_all(self, result: Result) -> dict:
        names = list(result.names)
        return {self.chosen: gr.CheckboxGroup(result.choices, value=names, visible=len(names) > 1)}

    def _show(self, result: Result, threshold, smallest, chosen) -> dict:
        _, scores = result.evaluate(Choice(threshold, smallest, tuple(chosen)))
        return {
            self.key: self.context.results.keep(result),
            self.viewer: scene(result.comparison, scores, result.truth),
            self.objects: objects_html(result),
            self.table: score_table(scores),
            self.captions: captions(scores),
        }

    def _scores(self, key, threshold, smallest, chosen):
        result = self.context.results.get(key)
        if result is None:
            return gr.skip(), gr.skip()
        _, scores = result.evaluate(Choice(threshold, smallest, tuple(chosen)))
        return score_table(scores), captions(scores)

    # While the models load

    def _show_loading(self):
        return self._loading_html(), gr.Timer(active=not self.context.models.finished)

    def _loading_html(self) -> str:
        store = self.context.models
        count, loaded = len(store.registered), store.loaded_count
        if not store.finished:
            return note_html(f"Loading models: {loaded} of {count} ready.")
        if loaded < count:
            return problem_html(f"Models that cannot be loaded: {count - loaded}.")
        return ""


def _description(image: InputImage, models: tuple[SavedModel, ...]) -> str:
    words = image.description
    if not any(model.modality for model in models):
        words += (
            " No model here was fine-tuned for this kind of image; the pre-trained one is shown."
        )
    warning = problem_html(f"{image.name}: {COLORED}") if image.is_colored else ""
    return note_html(words) + warning

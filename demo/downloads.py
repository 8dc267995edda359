"""Buttons that write what is shown into a file and have the browser take it."""

from __future__ import annotations

import gradio as gr
from context import Context
from shown import GIVE_ANEW, Shown
from traces import new_file

from kerasunet.comparison import Choice, as_csv, as_html, as_zip
from kerasunet.comparison.archive import safe_name
from kerasunet.comparison.table import rows

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
    return ".zip", as_zip(subject.name, shown.comparison, *shown.evaluated(choice), subject.truth)


def _html(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    subject = shown.subject
    page = as_html(subject.name, shown.comparison, *shown.evaluated(choice), subject.truth)
    return ".html", page.encode()


def _csv(shown: Shown, choice: Choice) -> tuple[str, bytes]:
    _, scores = shown.evaluated(choice)
    return ".csv", as_csv(rows(shown.subject.name, scores, choice)).encode()

"""What every tab is built with, and what all of them say and do alike."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape

import gradio as gr

from kerasunet.demo.compare.results import ResultStore
from kerasunet.demo.model_store import ModelStore
from kerasunet.demo.visitor_files import VisitorFiles

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
"""Settings of events that answer at once."""
MODEL_QUEUE = {"concurrency_id": "models", "concurrency_limit": 1}
"""Settings of every event that runs a model: one at a time, so that none slows the others."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Context:
    """What a tab is built with.

    Attributes:
        models: The saved models to compare.
        added: State of the session, a tuple of `SavedModel`: those that the visitor fine-tuned.
            A tab that adds one returns the longer tuple; Compare listens for the change.
        allow_training: Whether visitors may train on this machine.
        local: Whether only this machine reaches the page, so that visitors may name its folders.
        files: The files of each session.
        results: What each session looks at in Compare.
    """

    models: ModelStore
    added: gr.State
    allow_training: bool
    local: bool = False
    files: VisitorFiles = field(default_factory=VisitorFiles)
    results: ResultStore = field(default_factory=ResultStore)


def is_local(host: str | None) -> bool:
    """Return whether only this machine reaches a page that is served at `host`."""
    address = host or os.environ.get("GRADIO_SERVER_NAME") or _LOOPBACK[0]
    return address in _LOOPBACK and "SPACE_ID" not in os.environ


def note_html(words: str) -> str:
    """Return a note as HTML."""
    return f'<p role="status">{escape(words)}</p>'


def problem_html(problem: object) -> str:
    """Return an error, or words that describe a problem, as HTML."""
    return f'<p role="alert" class="problem">{escape(str(problem))}</p>'

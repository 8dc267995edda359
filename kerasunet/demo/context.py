"""What the tabs are built with: the models, the comparisons and files of the sessions; notes."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import gradio as gr
import numpy as np

from kerasunet.comparison import Choice, Comparison, Score, Verdict, judge, score
from kerasunet.demo.images import InputImage
from kerasunet.demo.model_store import ModelStore
from kerasunet.demo.visitors import VisitorFiles

_MOST_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class Result:
    """An image with the answers of all models, and which of several objects is looked at.

    Attributes:
        image: The image.
        whole: The answers about all objects.
        object: Which object is compared, where there are several; empty for the first.
    """

    image: InputImage
    whole: Comparison
    object: str = ""

    @cached_property
    def comparison(self) -> Comparison:
        """The answers about the object that is looked at."""
        return self.whole.of(self.object)

    @property
    def shown(self) -> str:
        """The object that is looked at; empty where there are not several."""
        return self.object or next(iter(self.whole.objects), "")

    @property
    def truth(self) -> np.ndarray | None:
        """The true mask of that object, bool, or `None`."""
        return self.image.parts.get(self.shown, self.image.truth)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(answer.candidate.name for answer in self.comparison.answers)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Label and name of each model, for a component to choose among."""
        return [(a.candidate.strategy, a.candidate.name) for a in self.comparison.answers]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        arrays = [self.whole.image, *(answer.probability for answer in self.whole.answers)]
        arrays += [answer.mask for answer in self.whole.answers if answer.mask is not None]
        arrays += [*self.image.parts.values()]
        truth = self.image.truth
        return sum(array.nbytes for array in arrays) + (0 if truth is None else truth.nbytes)

    def evaluate(self, choice: Choice) -> tuple[Verdict, tuple[Score, ...]]:
        """Return the masks of a choice and how good they are; no model runs."""
        verdict = judge(self.comparison, choice)
        return verdict, score(self.comparison, verdict, self.truth)


class ResultKey:
    """Stands for a result in the state of a session, so that the result can make room."""


class ResultStore:
    """The results of all sessions; safe to use from several threads.

    A result is dropped with its key, or when newer ones need its memory.

    Args:
        most_bytes: Limit for all together; the newest is kept even if it alone is larger.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._results: WeakKeyDictionary[ResultKey, Result] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def keep(self, result: Result) -> ResultKey:
        """Store a result, and drop those used longest ago until there is room."""
        key = ResultKey()
        with self._lock:
            self._results[key] = result
            kept = dict(self._results)
            total = sum(other.nbytes for other in kept.values())
            for other in kept:
                if total <= self._most_bytes or other is key:
                    break
                total -= self._results.pop(other).nbytes
        return key

    def get(self, key: ResultKey | None) -> Result | None:
        """Return the result of a key; `None` for none, or where it had to make room."""
        with self._lock:
            if key is None or key not in self._results:
                return None
            result = self._results.pop(key)
            self._results[key] = result  # The last is the one used last.
            return result


QUIET = {"api_visibility": "private", "show_progress": "hidden"}
"""Settings of events that answer at once."""
MODEL_QUEUE = {"concurrency_id": "models", "concurrency_limit": 1}
"""Settings of every event that runs a model: one at a time, so that none slows the others."""
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Context:
    """What a tab is built with.

    Attributes:
        models: The saved models to compare.
        added: State of the session, a tuple of `SavedModel`: those that the visitor fine-tuned.
            A tab that adds one returns the longer tuple; Compare listens for the change.
        allow_training: Whether visitors may train on this machine, from wherever they come.
        local: Whether the page listens to this machine only, so that visitors who come straight
            from it may train and name its folders.
        files: The files of each session.
        results: What each session looks at in Compare.
    """

    models: ModelStore
    added: gr.State
    allow_training: bool
    local: bool = False
    files: VisitorFiles = field(default_factory=VisitorFiles)
    results: ResultStore = field(default_factory=ResultStore)

    def require_folders(self, request: gr.Request) -> None:
        """Refuse to look into folders of this machine for those who come from elsewhere.

        Raises:
            PermissionError: The page is not local, or the request came through another machine.
        """
        if not (self.local and is_from_here(request)):
            raise PermissionError("folders can be named only on this machine: give a zip file")

    def require_training(self, request: gr.Request) -> None:
        """Refuse to train for those who may not.

        Raises:
            PermissionError: The request came through another machine, and only this one may train.
        """
        if not (self.allow_training or (self.local and is_from_here(request))):
            raise PermissionError(
                "training is off for visitors from other machines; --allow-training turns it on"
            )


def is_from_here(request: gr.Request) -> bool:
    """Return whether a request came straight from this machine: through no tunnel, no proxy.

    A tunnel or a proxy connects from this machine, too, but asks for another host, or says for whom
    it asks.
    """
    headers = request.headers
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    return host in _LOOPBACK and not any(name in headers for name in _FORWARDED)


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

"""What the tabs are built with: the saved models, the sessions' comparisons and files; notes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import gradio as gr
import numpy as np

from kerasunet import models
from kerasunet.comparison import (
    Candidate,
    Choice,
    Comparison,
    Score,
    Verdict,
    judge,
    score,
)
from kerasunet.demo.layers_network import trained_parameters
from kerasunet.demo.visitors import MODALITIES, InputImage, VisitorFiles, in_page_words
from kerasunet.objects import ONE_OBJECT, modality_of

_MOST_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class Result:
    """An image with the answers of all models, and which of several objects is looked at.

    Attributes:
        image: The image.
        whole: The answers about all objects.
        object: Which object is compared, where there are several; empty for the first.
        is_cleared: Whether the visitor has taken the image away.
    """

    image: InputImage
    whole: Comparison
    object: str = ""
    is_cleared: bool = False

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
        return self.truth_of(self.shown)

    def truth_of(self, name: str) -> np.ndarray | None:
        """Return the true mask of an object; one of a single object is of what is looked at."""
        is_known_apart = bool(name and self.image.parts)
        truth = self.image.truth if name == self.shown and not is_known_apart else None
        return self.image.parts.get(name, truth)

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

    def get(self, key: ResultKey | None, even_cleared: bool = False) -> Result | None:
        """Return the result of a key; `None` for none, or where it was cleared or made room."""
        with self._lock:
            if key is None or key not in self._results:
                return None
            result = self._results.pop(key)
            self._results[key] = result  # The last is the one used last.
        return None if result.is_cleared and not even_cleared else result


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
    return f'<p role="alert" class="problem">{escape(in_page_words(str(problem)))}</p>'


_USUAL_OBJECTS = {"xray": ("lungs",)}
PRETRAINED = models.NATURAL
"""Registered name of the pre-trained network that all others start from."""


@dataclass(frozen=True)
class SavedModel:
    """A saved model that can be compared.

    Attributes:
        name: Unique name; of a registered model its name there, such as `ultrasound-shallow-3`.
        file: What `kerasunet.models` opens: the registered name or the path of a `.keras` file.
        modality: A key of `MODALITIES`, or empty for a model that serves any.
    """

    name: str
    file: str
    modality: str

    @classmethod
    def of_visitor(cls, name: str, path: Path) -> SavedModel:
        """Return the model that a visitor trained, of the kind of image that its card names."""
        kind = models.card(path).kind_of_image
        return cls(name, str(path), kind if kind in MODALITIES else "")

    @cached_property
    def card(self) -> models.ModelCard:
        return models.card(self.file)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of what it finds; none where neither its card nor its modality says."""
        if self.is_pretrained:
            return ()
        names = self.card.marked.names
        usual = () if self.is_visitors else _USUAL_OBJECTS.get(self.modality, ())
        return usual if names == ONE_OBJECT.names else names

    @property
    def is_pretrained(self) -> bool:
        """Whether it is the pre-trained network itself, or a copy with nothing trained."""
        if self.name == PRETRAINED:
            return True
        return not (self.card.is_fine_tuned or self.card.is_start)

    @property
    def is_visitors(self) -> bool:
        """Whether a visitor trained it."""
        return self.file != self.name

    @property
    def label(self) -> str:
        """The text to show: which weights were trained; a visitor's model also has its name."""
        return f"{self._trained} ({self.name})" if self.is_visitors else self._trained

    @property
    def _trained(self) -> str:
        if self.is_pretrained:
            return "none (pre-trained)"
        return f"start: {self.name}" if self.card.is_start else self.card.trained_layers


@dataclass
class ModelStore:
    """The registered models, each loaded once and kept; safe to use from several threads.

    Attributes:
        finished: Whether loading in the background has ended.
    """

    _loaded: dict[str, Candidate] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False
    finished: bool = False

    @cached_property
    def registered(self) -> tuple[SavedModel, ...]:
        """All registered models, sorted by name."""
        return tuple(SavedModel(name, name, _modality(name)) for name in models.list())

    @property
    def loaded_count(self) -> int:
        """How many models are loaded."""
        return len(self._loaded)

    def for_modality(
        self, modality: str, added: tuple[SavedModel, ...] = ()
    ) -> tuple[SavedModel, ...]:
        """Return the models to compare on images of a modality, the pre-trained one once."""
        fitting = [m for m in (*self.registered, *added) if m.modality == modality]
        fitting += [m for m in added if not m.modality]
        if any(model.is_pretrained for model in fitting):
            return tuple(fitting)
        return (*(m for m in self.registered if m.name == PRETRAINED), *fitting)

    def candidate(self, model: SavedModel) -> Candidate:
        """Return the model, ready to run; load it first if need be.

        Raises:
            ValueError: It cannot be loaded.
        """
        with self._lock:
            if model.file not in self._loaded:
                self._loaded[model.file] = _load(model)
            return self._loaded[model.file]

    def forget(self, folder: Path) -> None:
        """Drop the models in a folder: those of a session that has ended."""
        with self._lock:
            kept = {f: c for f, c in self._loaded.items() if folder not in Path(f).parents}
            self._loaded = kept

    def load_in_background(self) -> None:
        """Load all registered models, one after the other, in a thread."""
        threading.Thread(target=self._load_all, name="models", daemon=True).start()

    def close(self) -> None:
        """Wait until no model is being loaded, and load none any more.

        Python could not end meanwhile: its last act would wait for what HDF5 has locked.
        """
        self._closed = True
        self._lock.acquire()

    def _load_all(self) -> None:
        for model in self.registered:
            if self._closed:  # A lock is not fair: this thread might take it again and again.
                return
            with suppress(ValueError):  # The page says so where the model is used.
                self.candidate(model)
        self.finished = True


def _modality(name: str) -> str:
    """Return what a registered model is for: by its name, or if it finds several, by its data."""
    first = name.partition("-")[0]
    if first in MODALITIES:
        return first
    with suppress(FileNotFoundError, ValueError):  # The page says so where the model is used.
        known = models.card(name)
        of_data = modality_of(known.data.name) if known.marked.several else None
        return of_data if of_data in MODALITIES else ""
    return ""


def _load(model: SavedModel) -> Candidate:
    """Load a model and run it once, because the first run compiles it."""
    import numpy as np

    from kerasunet.inference.segmenter import Segmenter

    # What the other engines compile stays on disk; a visitor's model must not.
    engine = "keras" if model.is_visitors else "auto"
    try:
        segment = Segmenter(model.file, engine=engine)
        segment(np.zeros((32, 32), np.uint8))
        trained = _trained(model)
        seen, complete = models.seen_images(model.card)
    except Exception as error:  # Each engine has its own errors; the page must stay usable.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"model {model.name} cannot be loaded: {reason}") from error
    return Candidate(
        model.name,
        model.label,
        trained,
        votes=not model.is_pretrained,
        segment=segment,
        origin=", ".join(model.card.origin.values()),
        objects=model.objects,
        seen=seen,
        lists_all=complete and bool(seen),
    )


def _trained(model: SavedModel) -> int | None:
    """Return how many weights were fine-tuned; `None` for a start, whose training was another."""
    if model.is_pretrained:
        return 0
    return None if model.card.is_start else trained_parameters(model.card)

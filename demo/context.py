"""What the tabs share: the models, loaded behind the page, and what this session has added."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr
from tickets import Tickets
from traces import Traces

from kerasunet import zoo
from kerasunet.comparison import Candidate, trained_parameters

MODEL_QUEUE = {"concurrency_id": "models", "concurrency_limit": 1}
"""Settings of every event that runs a model: one at a time, so that none slows the others."""

MODALITIES = {"ultrasound": "Breast ultrasound", "xray": "Chest X-ray"}
PRETRAINED = "natural"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Model:
    """A saved model that can be compared.

    Attributes:
        name: Unique name: of a registered model its name, such as `ultrasound-shallow-3`.
        file: What `kerasunet.zoo` opens: the registered name or the path of a `.keras` file.
        modality: A key of `MODALITIES`, or empty for a model that serves any.
    """

    name: str
    file: str
    modality: str

    @cached_property
    def card(self) -> dict[str, Any]:
        return zoo.card(self.file)

    @property
    def is_pretrained(self) -> bool:
        """Whether it is the pre-trained network itself, or a copy with nothing trained."""
        return self.name == PRETRAINED or self.card["strategy"] == "none"

    @property
    def strategy(self) -> str:
        """Text to show: which weights were trained; of a visitor's model, that it is theirs."""
        return f"{self._trained} ({self.name})" if self.is_added else self._trained

    @property
    def is_added(self) -> bool:
        """Whether a visitor trained it."""
        return self.file != self.name

    @property
    def _trained(self) -> str:
        if self.is_pretrained:
            return "none (pre-trained)"
        chosen = self.card["strategy"]
        layers = self.card["settings"].get("layers", chosen)
        return f"{layers}: {chosen}" if layers.startswith("auto") else layers


@dataclass
class Shelf:
    """The registered models, each loaded once and kept; safe to use from several threads.

    Attributes:
        finished: Whether loading in the background has come to its end.
    """

    _loaded: dict[str, Candidate] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    finished: bool = False

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """All registered models, sorted by name."""
        return tuple(Model(name, name, _modality(name)) for name in zoo.list())

    @property
    def ready(self) -> int:
        """How many models are loaded."""
        return len(self._loaded)

    def of(self, modality: str, added: tuple[Model, ...] = ()) -> tuple[Model, ...]:
        """The models to compare on an image of a modality; the pre-trained one once."""
        fitting = [m for m in (*self.models, *added) if m.modality == modality]
        fitting += [m for m in added if not m.modality]
        if any(model.is_pretrained for model in fitting):
            return tuple(fitting)
        return (*(m for m in self.models if m.name == PRETRAINED), *fitting)

    def candidate(self, model: Model) -> Candidate:
        """The model, ready to run; waits while it is being loaded.

        Raises:
            ValueError: It cannot be loaded.
        """
        with self._lock:
            if model.file not in self._loaded:
                self._loaded[model.file] = _load(model)
            return self._loaded[model.file]

    def forget(self, folder: Path) -> None:
        """Lets go of the models in a folder: those of a session that has ended."""
        with self._lock:
            kept = {f: c for f, c in self._loaded.items() if folder not in Path(f).parents}
            self._loaded = kept

    def load_in_background(self) -> None:
        """Loads all registered models, one after the other, in a thread."""
        threading.Thread(target=self._load_all, name="models", daemon=True).start()

    def _load_all(self) -> None:
        for model in self.models:
            with suppress(ValueError):  # Told where the model is used.
                self.candidate(model)
        self.finished = True


@dataclass(frozen=True)
class Context:
    """What a tab is built with.

    Attributes:
        shelf: The registered models.
        added: State of the session, a tuple of `Model`: those that the visitor fine-tuned. A tab
            that adds one returns the longer tuple; Compare listens for its change.
        allow_training: Whether visitors may train on this machine.
        local: Whether only this machine reaches the page, so that visitors may name its folders.
        traces: The files of each session.
        tickets: What each session looks at in Compare.
    """

    shelf: Shelf
    added: gr.State
    allow_training: bool
    local: bool = False
    traces: Traces = field(default_factory=Traces)
    tickets: Tickets = field(default_factory=Tickets)


def is_local(host: str | None) -> bool:
    """Whether a page served at an address is reached by this machine alone."""
    address = host or os.environ.get("GRADIO_SERVER_NAME") or _LOOPBACK[0]
    return address in _LOOPBACK and "SPACE_ID" not in os.environ


def _modality(name: str) -> str:
    first = name.partition("-")[0]
    return first if first in MODALITIES else ""


def _load(model: Model) -> Candidate:
    """Loads a model and runs it once: the first run compiles it."""
    import numpy as np

    from kerasunet.segmenter import Segmenter

    # What the other engines compile stays on disk, and a visitor's model must not.
    engine = "keras" if model.is_added else "auto"
    try:
        segment = Segmenter(model.file, engine=engine)
        segment(np.zeros((32, 32), np.uint8))
        trained = 0 if model.is_pretrained else trained_parameters(model.card)
    except Exception as error:  # Engines have errors of their own; the page must go on.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"model {model.name} cannot be loaded: {reason}") from error
    return Candidate(model.name, model.strategy, trained, not model.is_pretrained, segment)

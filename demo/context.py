"""What the tabs share: the models, loaded behind the page, and what this session has added."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gradio as gr

from kerasunet import zoo

if TYPE_CHECKING:
    from kerasunet.segmenter import Segmenter

MODEL_QUEUE = {"concurrency_id": "models", "concurrency_limit": 1}
"""Settings of every event that runs a model: one at a time, so that none slows the others."""

MODALITIES = {"ultrasound": "Breast ultrasound", "xray": "Chest X-ray"}
PRETRAINED = "natural"


@dataclass(frozen=True)
class Model:
    """A saved model that can be compared.

    Attributes:
        name: Unique name: of a registered model its name, such as `ultrasound-shallow-3`.
        file: What `kerasunet.zoo` opens: the registered name or the path of a `.keras` file.
        modality: A key of `MODALITIES`, or empty for a model that is none's.
    """

    name: str
    file: str
    modality: str

    @cached_property
    def card(self) -> dict[str, Any]:
        return zoo.card(self.file)

    @property
    def strategy(self) -> str:
        """Text to show: which weights were trained."""
        if self.name == PRETRAINED:
            return "pre-trained"
        layers = self.card["settings"].get("layers", self.card["strategy"])
        return f"auto = {self.card['strategy']}" if layers == "auto" else layers


@dataclass
class Shelf:
    """The registered models, each loaded once and kept; safe to use from several threads."""

    _loaded: dict[str, Segmenter] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """All registered models, sorted by name."""
        return tuple(Model(name, name, _modality(name)) for name in zoo.list())

    def of(self, modality: str) -> tuple[Model, ...]:
        """The pre-trained model, if there is one, and those of a modality."""
        chosen = [model for model in self.models if model.name == PRETRAINED]
        return (*chosen, *(model for model in self.models if model.modality == modality))

    def segmenter(self, model: Model) -> Segmenter:
        """The model, ready to run; waits while it is being loaded."""
        with self._lock:
            if model.file not in self._loaded:
                self._loaded[model.file] = _warm(model.file)
            return self._loaded[model.file]

    def load_in_background(self) -> None:
        """Loads all registered models, one after the other, in a thread."""
        threading.Thread(target=self._load_all, name="models", daemon=True).start()

    def _load_all(self) -> None:
        for model in self.models:
            self.segmenter(model)


@dataclass(frozen=True)
class Context:
    """What a tab is built with.

    Attributes:
        shelf: The registered models.
        added: State of the session, a tuple of `Model`: those that the visitor fine-tuned. A tab
            that adds one returns the longer tuple; Compare listens for its change.
        allow_training: Whether visitors may train on this machine.
    """

    shelf: Shelf
    added: gr.State
    allow_training: bool


@contextmanager
def workspace() -> Iterator[None]:
    """Has Gradio keep its files in a folder of this process' own, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="kerasunet-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield


def _modality(name: str) -> str:
    first = name.partition("-")[0]
    return first if first in MODALITIES else ""


def _warm(file: str) -> Segmenter:
    """Loads a model and runs it once: the first run compiles it."""
    import numpy as np

    from kerasunet.segmenter import Segmenter

    segmenter = Segmenter(file)
    segmenter(np.zeros((32, 32), np.uint8))
    return segmenter

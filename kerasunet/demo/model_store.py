"""The saved models that the page compares: which there are, each loaded once and kept."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kerasunet import models
from kerasunet.comparison import Candidate, trained_parameters
from kerasunet.data.modality import modality_of
from kerasunet.demo.images import MODALITIES
from kerasunet.objects import ONE_OBJECT

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

    @cached_property
    def card(self) -> models.ModelCard:
        return models.card(self.file)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of what it finds; none where neither its card nor its modality tells."""
        if self.is_pretrained:
            return ()
        names = self.card.marked.names
        return _USUAL_OBJECTS.get(self.modality, ()) if names == ONE_OBJECT.names else names

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

    def _load_all(self) -> None:
        for model in self.registered:
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
        trained = 0 if model.is_pretrained else trained_parameters(model.card)
    except Exception as error:  # Each engine has its own errors; the page must go on.
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
    )

"""What is compared on: an uploaded image with its mask, or a simulated example."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
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
    guess_modality,
    judge,
    score,
    trained_parameters,
)
from kerasunet.data.cases import MaskCoding
from kerasunet.data.readers import read_image, read_mask_values
from kerasunet.data.simulation import simulate
from kerasunet.demo.visitors import Traces

PIXEL_LIMIT = 12_000_000
EXAMPLES = (
    ("ultrasound", 3), ("ultrasound", 8), ("ultrasound", 14),
    ("xray", 2), ("xray", 5), ("xray", 9),
)  # fmt: skip
_SIMULATORS = {"ultrasound": "breast-ultrasound", "xray": "chest-xray"}
_EXAMPLE_SEED, _EXAMPLE_SIZE = 2020, 512


@dataclass(frozen=True, eq=False)
class Subject:
    """An image to compare on.

    Attributes:
        name: Name of the file, without folder.
        image: Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        spacing: Millimetres per pixel, (row, column), or `None`.
        modality: What it is taken for: a key of `MODALITIES`.
        truth: True mask, bool, `(height, width)`, or `None`.
        known: The modality where it is known without asking; empty where it has to be guessed.
        guessed: Whether `modality` is a guess.
    """

    name: str
    image: np.ndarray
    spacing: tuple[float, float] | None
    modality: str
    truth: np.ndarray | None = None
    known: str = ""
    guessed: bool = False

    def taken_as(self, modality: str) -> Subject:
        """The same, taken for what somebody says; empty leaves it to what is known or seems."""
        told = modality or self.known
        return replace(self, modality=told or guess_modality(self.image), guessed=not told)


def read_subject(path: str, frame: int = 0) -> Subject:
    """Reads an uploaded image.

    Raises:
        ValueError: In plain words and without a folder's name, what is wrong with the file.
    """
    try:
        image, spacing = read_image(path, frame=frame, size_limit=PIXEL_LIMIT)
    except (OSError, ValueError) as error:
        raise _plain(error, path) from None
    return Subject(Path(path).name, image, spacing, "").taken_as("")


def read_truth(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Reads an uploaded mask, bool, `(height, width)`.

    Raises:
        ValueError: It is no mask, or has another size than the image.
    """
    name = Path(path).name
    try:
        values = read_mask_values(path, size_limit=PIXEL_LIMIT)
    except (OSError, ValueError) as error:
        raise _plain(error, path) from None
    if values.shape != shape:
        raise ValueError(
            f"{name}: has {values.shape[1]} × {values.shape[0]} pixels, the image "
            f"{shape[1]} × {shape[0]}; a mask has the size of its image"
        )
    return MaskCoding().decode(values, name)


def example(modality: str, index: int, size: int = _EXAMPLE_SIZE) -> Subject:
    """Simulates an example, with its exact mask."""
    sample = simulate(_SIMULATORS[modality], _EXAMPLE_SEED, index, size=size)
    name = f"simulated-{modality}-{index}"
    image = sample.image.astype(np.float32)
    return Subject(name, image, sample.spacing, modality, sample.mask, known=modality)


def _plain(error: Exception, path: str) -> ValueError:
    return ValueError(str(error).replace(str(path), Path(path).name).replace("size_limit", "it"))


SETTLED = {"api_visibility": "private", "show_progress": "hidden"}
"""Settings of events that answer at once."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A subject with the answers of all models."""

    subject: Subject
    comparison: Comparison

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(answer.candidate.name for answer in self.comparison.answers)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Label and value of each model, for a component to choose among."""
        return [(a.candidate.strategy, a.candidate.name) for a in self.comparison.answers]

    @property
    def nbytes(self) -> int:
        """Memory of all that belongs to it."""
        arrays = [self.comparison.image, *(a.probability for a in self.comparison.answers)]
        truth = self.subject.truth
        return sum(array.nbytes for array in arrays) + (0 if truth is None else truth.nbytes)

    def evaluated(self, choice: Choice) -> tuple[Verdict, tuple[Score, ...]]:
        """The masks of a choice and how good they are; no model runs."""
        verdict = judge(self.comparison, choice)
        return verdict, score(self.comparison, verdict, self.subject.truth)


GIVE_ANEW = "Give an image first; one that was here may have made room for those of others."


def said(words: str) -> str:
    """HTML of a note."""
    return f'<p role="status">{escape(words)}</p>'


def refused(error: object) -> str:
    """HTML of what is wrong."""
    return f'<p role="alert" class="problem">{escape(str(error))}</p>'


_MOST_BYTES = 2 << 30


class Ticket:
    """Stands for what a session looks at."""


class Tickets:
    """What all sessions look at; safe to use from several threads.

    Args:
        most_bytes: Limit for all together; what came last is kept even if it alone is larger.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held: WeakKeyDictionary[Ticket, Shown] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def keep(self, shown: Shown) -> Ticket:
        """Takes in what a session now looks at, and lets go of others until there is room."""
        ticket = Ticket()
        with self._lock:
            self._held[ticket] = shown
            held = dict(self._held)
            total = sum(other.nbytes for other in held.values())
            for other in held:
                if total <= self._most_bytes or other is ticket:
                    break
                total -= self._held.pop(other).nbytes
        return ticket

    def get(self, ticket: Ticket | None) -> Shown | None:
        """What a ticket stands for; `None` for none, or where it had to go."""
        with self._lock:
            shown = None if ticket is None else self._held.pop(ticket, None)
            if shown is not None:
                self._held[ticket] = shown  # Used last.
            return shown


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
    def is_pretrained(self) -> bool:
        """Whether it is the pre-trained network itself, or a copy with nothing trained."""
        return self.name == PRETRAINED or self.card.strategy == "none"

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
        chosen = self.card.strategy
        layers = self.card.settings.get("layers", chosen)
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
        return tuple(Model(name, name, _modality(name)) for name in models.list())

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

    from kerasunet.inference.segmenter import Segmenter

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

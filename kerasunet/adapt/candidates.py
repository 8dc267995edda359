"""Candidates: the few strategies to try from each start, and their trainings.

Each training is kept under a digest of all that it depends on. So whatever is asked for twice is
trained once: by two folds of one adaptation, after an interruption, or when annotations were added
to other folds.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kerasunet import models
from kerasunet.adapt.settings import AdaptSettings, Listener
from kerasunet.adapt.starts import (
    NewHead,
    Pictures,
    Untouched,
    kind_found,
    load_start,
    short_name,
)
from kerasunet.data.decoding import content_digest
from kerasunet.files import write_atomically
from kerasunet.layer_selection.evidence import Belief, Evidence, Nearness
from kerasunet.layer_selection.selection import candidates as fitting_strategies
from kerasunet.models import ModelCard
from kerasunet.objects import Modality
from kerasunet.strategies import parse
from kerasunet.training.evaluation import predict
from kerasunet.training.learner import Network
from kerasunet.training.settings import to_json

UNTOUCHED = "none"
"""The strategy that trains nothing."""
_MOST_NETWORKS = 6
_HALF = np.finfo(np.float16)
_CLOSE_STARTS = 0.02
"""Standard deviation, in Dice, of the order that untouched Dice gives close starts."""
_PER_START = 4


class Candidate(NamedTuple):
    """What may be trained.

    Attributes:
        start: Name or file of the start.
        image_size: Height and width in pixels.
        strategy: Text of the strategy, with its rates.
    """

    start: str
    image_size: int
    strategy: str

    @property
    def is_untouched(self) -> bool:
        """Whether nothing is trained."""
        return self.strategy == UNTOUCHED

    def __str__(self) -> str:
        size = "" if self.image_size == 128 else f" at {self.image_size} pixels"
        what = "untouched" if self.is_untouched else self.strategy
        return f"{short_name(self.start)}, {what}{size}"


@dataclass(frozen=True)
class Contenders:
    """What may be tried: all starts at all sizes, and what studies say about strategies.

    Attributes:
        untouched: Each start that marks the same objects, at each of its sizes.
        cards: The card of each start.
        evidence: Findings of studies.
        modality: The kind of image; `None` where it is not known.
        new_heads: The starts that mark other objects.
        is_guessed: Whether the kind of image is a guess from what the images look like.
    """

    untouched: tuple[Untouched, ...]
    cards: Mapping[str, ModelCard]
    evidence: Evidence
    modality: Modality | None
    new_heads: tuple[NewHead, ...] = ()
    is_guessed: bool = False

    def kind(self, keys: Sequence[str]) -> Modality | None:
        """Return what kind of image some cases are: if guessed, also by what the starts find."""
        if not self.is_guessed:
            return self.modality
        return kind_found(self.modality, self.untouched, keys)

    def best_sizes(self, keys: Sequence[str]) -> tuple[Untouched, ...]:
        """Return each start at the size at which it does best on some cases, best start first."""
        best: dict[str, Untouched] = {}
        for one in sorted(self.untouched, key=lambda one: -one.mean(keys)):
            best.setdefault(one.start, one)
        return tuple(best.values())

    def beliefs(self, keys: Sequence[str]) -> dict[Candidate, Belief]:
        """Tell how far each candidate is expected to be behind the best.

        Close starts are ordered by what they find untouched. Starts for other objects in the same
        kind of image come next, between close and far ones; they are tuned like far ones, because a
        new head needs the same rates. Far starts are assumed to be as far behind close ones as they
        were in studies. Only the most general far start is taken, which was trained on photographs:
        what another organ's network finds by chance says little.

        Args:
            keys: The cases to judge by, those to train on.

        Returns:
            By candidate, the one least behind first.
        """
        starts, images, kind = self.best_sizes(keys), len(keys), self.kind(keys)
        close = [one for one in starts if one.nearness(keys, kind) == "close"]
        akin = [one for one in self.new_heads if one.nearness(kind) == "close"]
        far: list[Untouched | NewHead] = [one for one in starts if one not in close]
        far += [one for one in self.new_heads if one not in akin]
        to_far = self.evidence.far_starts(kind, images)
        found: dict[Candidate, Belief] = {}
        for one in close:
            gap = Belief(
                close[0].mean(keys) - one.mean(keys), 0.0 if one is close[0] else _CLOSE_STARTS
            )
            found |= self._of_start(one, "close", keys, gap=gap)
        for other in akin:
            gap = Belief(0.0, 0.0 if other is akin[0] else _CLOSE_STARTS)
            found |= self._of_start(other, "far", keys, gap=_halfway(to_far) if close else gap)
        if far:
            gap = to_far if close or akin else Belief(0.0, 0.0)
            found |= self._of_start(_most_general(far), "far", keys, gap=gap)
        return dict(sorted(found.items(), key=lambda item: item[1].behind))

    def _of_start(
        self, one: Untouched | NewHead, nearness: Nearness, keys: Sequence[str], *, gap: Belief
    ) -> dict[Candidate, Belief]:
        known = self.evidence.strategies(nearness, self.kind(keys), len(keys))
        layout = self.cards[one.start].architecture.layout()
        trained = {text: belief for text, belief in known.items() if text != UNTOUCHED}
        is_new = isinstance(one, NewHead)
        chosen = fitting_strategies(trained, layout, _PER_START, new_head=is_new)
        if not is_new and nearness == "close":
            chosen[UNTOUCHED] = known.get(UNTOUCHED, Belief(0.0, 0.02))
        return {
            Candidate(one.start, one.image_size, text): Belief(
                gap.behind + belief.behind, (gap.error**2 + belief.error**2) ** 0.5
            )
            for text, belief in chosen.items()
        }

    def shortlist(self, keys: Sequence[str], trained: int) -> dict[Candidate, Belief]:
        """Return the candidates to try: untouched ones, which cost nothing, and the likeliest.

        Args:
            keys: The cases to judge by.
            trained: How many candidates to train, at least 1: the favorite, then those least behind
                after subtracting one standard deviation, as what was rarely tried may be better
                than it looks.
        """
        beliefs = self.beliefs(keys)
        favorite, *others = [one for one in beliefs if not one.is_untouched]
        others.sort(key=lambda one: beliefs[one].behind - beliefs[one].error)
        costly = [favorite, *others][:trained]
        return {c: b for c, b in beliefs.items() if c.is_untouched or c in costly}


def _most_general(far: Sequence[Untouched | NewHead]) -> Untouched | NewHead:
    general = [one for one in far if one.modality == "photograph"]
    return (general or list(far))[0]


def _halfway(gap: Belief) -> Belief:
    """Return what is expected of something that lies between the best and what is behind."""
    return Belief(gap.behind / 2, (gap.error**2 + (gap.behind / 2) ** 2) ** 0.5)


@dataclass(eq=False)
class Fits:
    """Trains candidates, or takes them from the folder where they are kept.

    Attributes:
        folder: Receives a file of weights, in half precision, for each training.
        pictures: The cases.
        settings: Of the adaptation.
        steps: Optimizer steps of each training.
        listener: Is told of every step.
        begin: Called before the first training, with the number of those that were kept.
    """

    folder: Path
    pictures: Pictures
    settings: AdaptSettings
    steps: int
    listener: Listener
    begin: Callable[[int], None] = lambda kept: None

    def __post_init__(self):
        self._networks: OrderedDict[Candidate, Network] = OrderedDict()
        self._digests: dict[str, str] = {}
        self.trained, self._kept = 0, set[Path]()

    def probabilities(
        self, candidate: Candidate, training: Sequence[str], wanted: Sequence[str]
    ) -> np.ndarray:
        """Train a candidate on some cases, and predict others.

        Args:
            candidate: The candidate, whose strategy trains something.
            training: Keys to train on.
            wanted: Keys to predict.

        Returns:
            Float32, 0 to 1, as `predict` gives them; all 0 if its weights became NaN or infinite.
        """
        model = self.model(candidate, training)
        images = self.pictures.at(candidate.image_size).select(wanted).images
        return np.nan_to_num(predict(model, images), nan=0.0, posinf=0.0)

    def model(self, candidate: Candidate, training: Sequence[str]) -> keras.Model:
        """Return a candidate trained on some cases; the next call changes its weights."""
        path = self.folder / f"{self._digest(candidate, sorted(training))}.npz"
        network = self._network(candidate)
        weights = _read(path, path.stem) if path.is_file() else None
        if weights is not None:
            self._kept.add(path)
            if self.trained:  # Those before are not among the steps to come.
                self.listener.step(self.steps)
        else:
            weights = self._train(candidate, network, sorted(training))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda temporary: np.savez(temporary, *weights, fit=path.stem))
        network.model.set_weights([array.astype(np.float32) for array in weights])
        return network.model

    def _train(
        self, candidate: Candidate, network: Network, training: Sequence[str]
    ) -> list[np.ndarray]:
        if not self.trained:
            self.begin(len(self._kept))
        self.trained += 1
        network.fit(
            self.pictures.at(candidate.image_size).select(training),
            optimization=self._optimization,
            augmentation=self.settings.augmentation,
            on_step=self.listener.step,
        )
        return [_halved(array) for array in network.model.get_weights()]

    def _network(self, candidate: Candidate) -> Network:
        network = self._networks.pop(candidate, None)
        if network is None:
            seed = self.settings.optimization.seed
            network = Network(load_start(candidate.start, self.pictures.objects, seed))
            network.set_up(parse(candidate.strategy), self._optimization)
        self._networks[candidate] = network
        if len(self._networks) > _MOST_NETWORKS:
            self._networks.popitem(last=False)
        return network

    @property
    def _optimization(self):
        return replace(self.settings.optimization, steps=self.steps, validate_every=self.steps)

    def _digest(self, candidate: Candidate, training: Sequence[str]) -> str:
        if candidate.start not in self._digests:
            self._digests[candidate.start] = models.digest(candidate.start)
        cases = self.pictures.at(candidate.image_size).select(training)
        facts = {
            "start": self._digests[candidate.start],
            "strategy": candidate.strategy,
            "image size": candidate.image_size,
            "optimization": to_json(self._optimization),
            "augmentation": to_json(self.settings.augmentation),
            "cases": content_digest([cases]),
        }
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _halved(array: np.ndarray) -> np.ndarray:
    """Round weights to half precision where that can hold them."""
    finite = np.isfinite(array).all()
    return array.astype(np.float16) if finite and np.abs(array).max() < _HALF.max else array


def _read(path: Path, fit: str) -> list[np.ndarray] | None:
    """Return the weights in a file; `None` if damaged or of another training: then train again."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = [name for name in file.files if name != "fit"]  # Earlier versions had none.
            if "fit" in file.files and str(file["fit"]) != fit:
                return None
            return [file[f"arr_{number}"] for number in range(len(names))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None

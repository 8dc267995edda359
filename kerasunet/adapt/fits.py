"""Trained candidates, each kept under a digest of all that it depends on.

Whatever is asked for twice is trained once: by two folds of one adaptation, after an interruption,
or when annotations were added to other folds.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from kerasunet import models
from kerasunet.adapt.candidates import Candidate, Pictures, load_start
from kerasunet.adapt.settings import AdaptSettings, Listener
from kerasunet.data.decoding import content_digest
from kerasunet.files import write_atomically
from kerasunet.strategies import parse
from kerasunet.training.evaluation import predict
from kerasunet.training.loop import Network
from kerasunet.training.settings import to_json

_MOST_NETWORKS = 6
_HALF = np.finfo(np.float16)


@dataclass(eq=False)
class Fits:
    """Trains candidates, or takes them from the folder where they are kept.

    Attributes:
        folder: Receives a file of weights, in half precision, for each training.
        pictures: The cases.
        settings: Of the adaptation.
        steps: Optimizer steps of each training.
        listener: Is told of every step.
    """

    folder: Path
    pictures: Pictures
    settings: AdaptSettings
    steps: int
    listener: Listener

    def __post_init__(self):
        self._networks: OrderedDict[Candidate, Network] = OrderedDict()
        self._digests: dict[str, str] = {}
        self.trained = 0

    def probabilities(
        self, candidate: Candidate, training: Sequence[str], wanted: Sequence[str]
    ) -> np.ndarray:
        """Train a candidate on some cases, and predict others.

        Args:
            candidate: The candidate, whose strategy trains something.
            training: Keys to train on.
            wanted: Keys to predict.

        Returns:
            Float32, `(cases, height, width)`, 0 to 1; all 0 if its weights became NaN or infinite.
        """
        model = self.model(candidate, training)
        images = self.pictures.at(candidate.image_size).select(wanted).images
        return np.nan_to_num(predict(model, images), nan=0.0, posinf=0.0)

    def model(self, candidate: Candidate, training: Sequence[str]) -> keras.Model:
        """Return a candidate trained on some cases; the next call changes its weights."""
        path = self.folder / f"{self._digest(candidate, sorted(training))}.npz"
        network = self._network(candidate)
        weights = _read(path) if path.is_file() else None
        if weights is not None:
            self.listener.step(self.steps)
        else:
            weights = self._train(candidate, network, sorted(training))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda temporary: np.savez(temporary, *weights))
        network.model.set_weights([array.astype(np.float32) for array in weights])
        return network.model

    def _train(
        self, candidate: Candidate, network: Network, training: Sequence[str]
    ) -> list[np.ndarray]:
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
            network = Network(load_start(candidate.start))
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


def _read(path: Path) -> list[np.ndarray] | None:
    """Return the weights in a file; `None` if it is damaged, so that they are trained again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[f"arr_{number}"] for number in range(len(file.files))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None

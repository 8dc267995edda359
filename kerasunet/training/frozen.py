"""What the frozen beginning of a network computes, kept, so that only the rest has to train.

With a limited number of views of each image, the layers before the first trained one give the same
activations in every pass. They are computed once, and so are the skips that cross the cut.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kerasunet.files import writing
from kerasunet.training.batches import Batches, Place

_BYTES = np.dtype(np.float32).itemsize


@dataclass(frozen=True)
class Cut:
    """A network in two parts that share their layers with it.

    Attributes:
        frozen: From the image to everything that the other part takes from this one.
        trained: From there to the output; it starts with the first layer that trains.
    """

    frozen: keras.Model
    trained: keras.Model


def cut_before_training(model: keras.Model) -> Cut | None:
    """Cuts a functional model before the first layer that trains.

    Args:
        model: Layers in the order of data flow, each called once; some weights train.

    Returns:
        The two parts; `None` if no weights lie before the cut, so that nothing would be saved.
    """
    layers = model.layers
    first = next(i for i, layer in enumerate(layers) if layer.trainable_weights)
    if not any(layer.weights for layer in layers[:first]):
        return None
    wanted = {id(t) for layer in layers[first:] for t in keras.tree.flatten(layer.input)}
    crossing = [layer.output for layer in layers[:first] if id(layer.output) in wanted]
    return Cut(keras.Model(model.input, crossing), keras.Model(crossing, model.output))


class FrozenBatches:
    """Batches as the trained part of a cut network takes them.

    Activations lie in an unnamed file, mapped into memory: the system keeps in memory what fits,
    and the file is gone with the process, however it ends.

    Args:
        batches: The batches of images; their views must be limited.
        frozen: The frozen part.
        cases: Number of training cases.
        views: Number of views of each.
        folder: Where the unnamed file lies; its disk holds all activations of all views.
    """

    def __init__(self, batches: Batches, frozen: keras.Model, cases: int, views: int, folder: Path):
        self._batches, self._frozen, self._views = batches, frozen, views
        self._known = np.zeros(cases * views, bool)
        self._folder = folder
        self._arrays: list[np.ndarray] = []

    def steps(self, first: int, last: int) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Makes the batches of steps `first` to `last - 1`: activations, and masks."""
        for step in range(first, last):
            places = self._batches.places(step)
            self._compute([place for place in places if not self._known[self._row(place)]])
            *activations, masks = (array[self._rows(places)] for array in self._arrays)
            yield activations, masks

    def _compute(self, places: Sequence[Place]) -> None:
        places = list(dict.fromkeys(places))
        if not places:
            return
        images, masks = self._batches.draw(places)
        activations = keras.tree.flatten(self._frozen.predict_on_batch(images))
        arrays = [np.asarray(values, np.float32) for values in (*activations, masks)]
        self._arrays = self._arrays or [self._room(array.shape[1:]) for array in arrays]
        for kept, array in zip(self._arrays, arrays, strict=True):
            kept[self._rows(places)] = array
        self._known[self._rows(places)] = True

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        whole = (len(self._known), *shape)
        with writing(self._folder), tempfile.TemporaryFile(dir=self._folder) as file:
            # A full disk has to tell now: later, the system would end the process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, math.prod(whole) * _BYTES)
            return np.memmap(file, np.float32, "w+", shape=whole)

    def _row(self, place: Place) -> int:
        return place.case * self._views + place.view

    def _rows(self, places: Sequence[Place]) -> list[int]:
        return [self._row(place) for place in places]

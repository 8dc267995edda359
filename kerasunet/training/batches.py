"""Training batches as a pure function of (seed, step): nothing to restore when resuming.

Where the beginning of a network is frozen and each image has few views, its activations are cached.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kerasunet.data.augmentation import augment
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases, resize_image, resize_objects
from kerasunet.files import writing
from kerasunet.freezing import moves_statistics

_ORDER, _VIEW, _SIDE = 0, 1, 2
_THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))  # The other half trains.
_PREFETCH = _THREADS + 1


class View(NamedTuple):
    """A view of an image: the index of its case, and its own number among those of the case."""

    case: int
    number: int


class Batches:
    """Augmented batches of an endless stream of passes over the cases.

    Each pass has its own order. Step s takes positions s·batch to (s+1)·batch of the
    stream, so that small data sets need no padding and every strategy sees the same images in
    the same order. Indices are shuffled, images stay where they are.

    Args:
        cases: Decoded training cases, at least one.
        batch_size: Images per batch.
        augmentation: How far the views differ from the images.
        seed: Seed of order and views.
        views: Number of different views of each image, which come round again; `None` draws a
            new one in every pass.
        sides: Heights and widths of which each step takes one at random, in pixels; smaller ones
            more often, so that all cost about the same. None for the size of the cases.
    """

    def __init__(
        self,
        cases: DecodedCases,
        batch_size: int,
        augmentation: Augmentation,
        *,
        seed: int,
        views: int | None = None,
        sides: Sequence[int] = (),
    ):
        self.views = views
        self._sides = np.array(sides)
        self._cases = cases
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self._cases)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Make the batch of a step.

        Args:
            step: Global step, from 0.

        Returns:
            Images, float32 `(batch, height, width, channels)`, 0 to 255, and masks, float32
            `(batch, height, width, 1)`, 0 or 1; of several objects uint8 of that shape, labels or
            bits as in `DecodedCases`.
        """
        return self.draw(self.views_of(step), self._side_of(step))

    def views_of(self, step: int) -> list[View]:
        """Return the views that make up the batch of a step."""
        first = step * self._batch_size
        return [self._view_at(position) for position in range(first, first + self._batch_size)]

    def draw(self, views: Sequence[View], side: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Make views, as a batch like that of `batch`, of the cases' size or of another side."""
        images, masks = zip(*(self._draw(view, side) for view in views), strict=True)
        kind = np.uint8 if self._cases.objects.several else np.float32
        return np.stack(images), np.stack(masks)[..., None].astype(kind)

    def steps(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Make the batches of steps `first` to `last - 1`, a few ahead, in threads."""
        with ThreadPoolExecutor(_THREADS) as pool:
            waiting = [
                pool.submit(self.batch, s) for s in range(first, min(first + _PREFETCH, last))
            ]
            for step in range(first, last):
                batch = waiting.pop(0).result()
                if step + _PREFETCH < last:
                    waiting.append(pool.submit(self.batch, step + _PREFETCH))
                yield batch

    def _view_at(self, position: int) -> View:
        number, rank = divmod(position, len(self._cases))
        case = int(_order(self._seed, number, len(self._cases))[rank])
        return View(case, number if self.views is None else number % self.views)

    def _side_of(self, step: int) -> int | None:
        if not len(self._sides):
            return None
        cheap = 1 / self._sides**2
        rng = np.random.default_rng([self._seed, _SIDE, step])
        return int(rng.choice(self._sides, p=cheap / cheap.sum()))

    def _draw(self, view: View, side: int | None) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, _VIEW, view.number, view.case])
        image, mask = self._cases.images[view.case], self._cases.masks[view.case]
        if side is not None and mask.shape != (side, side):
            channels = image.shape[2]
            image = resize_image(image.squeeze(), (side, side), channels)
            mask = resize_objects(mask, (side, side), self._cases.objects)
        return augment(image, mask, self._augmentation, rng=rng)


@lru_cache(maxsize=8)
def _order(seed: int, number: int, count: int) -> np.ndarray:
    """Return the order of the cases in a pass; cached, as every view of the pass asks for it."""
    return np.random.default_rng([seed, _ORDER, number]).permutation(count)


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
    """Cut a functional model before the first layer that trains.

    Args:
        model: Layers in the order of data flow, each called once; some weights train.

    Returns:
        The two parts; `None` if no weights lie before the cut, so that nothing would be saved.
    """
    layers = model.layers
    first = next(
        i for i, layer in enumerate(layers) if layer.trainable_weights or moves_statistics(layer)
    )
    if not any(layer.weights for layer in layers[:first]):
        return None
    wanted = {id(t) for layer in layers[first:] for t in keras.tree.flatten(layer.input)}
    crossing = [layer.output for layer in layers[:first] if id(layer.output) in wanted]
    return Cut(keras.Model(model.input, crossing), keras.Model(crossing, model.output))


class ActivationCache:
    """Batches as the trained part of a cut network takes them; the frozen part runs once a view.

    Activations lie in an unnamed file, mapped into memory: the system keeps in memory what fits,
    and the file is gone with the process, however it ends.

    Args:
        batches: The batches of images; their views must be limited.
        frozen: The frozen part.
        folder: Where the unnamed file lies; its disk holds all activations of all views.

    Raises:
        ValueError: The views of the batches are not limited.
    """

    def __init__(self, batches: Batches, frozen: keras.Model, folder: Path):
        if batches.views is None:
            raise ValueError(
                "activations can be cached only for a limited number of views; set views"
            )
        self._batches, self._frozen, self._views = batches, frozen, batches.views
        self._known = np.zeros(len(batches) * self._views, np.bool_)
        self._folder = folder
        self._arrays: list[np.ndarray] = []

    def steps(self, first: int, last: int) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Make the batches of steps `first` to `last - 1`: activations, and masks."""
        for step in range(first, last):
            views = self._batches.views_of(step)
            self._compute([view for view in views if not self._known[self._row(view)]])
            *activations, masks = (array[self._rows(views)] for array in self._arrays)
            yield activations, masks

    def _compute(self, views: Sequence[View]) -> None:
        views = list(dict.fromkeys(views))
        if not views:
            return
        images, masks = self._batches.draw(views)
        activations = keras.tree.flatten(self._frozen.predict_on_batch(images))
        arrays = [np.asarray(values, np.float32) for values in (*activations, masks)]
        self._arrays = self._arrays or [self._room(array.shape[1:]) for array in arrays]
        for kept, array in zip(self._arrays, arrays, strict=True):
            kept[self._rows(views)] = array
        self._known[self._rows(views)] = True

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        whole = (len(self._known), *shape)
        with writing(self._folder), tempfile.TemporaryFile(dir=self._folder) as file:
            # A full disk has to show now: later, the system would end the process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, math.prod(whole) * _BYTES)
            return np.memmap(file, np.float32, "w+", shape=whole)

    def _row(self, view: View) -> int:
        return view.case * self._views + view.number

    def _rows(self, views: Sequence[View]) -> list[int]:
        return [self._row(view) for view in views]

"""Training batches as a pure function of (seed, step): nothing to restore when resuming."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kerasunet.data.augmentation import augment
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.views import Augmentation

_ORDER, _VIEW = 0, 1
_THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))  # The other half trains.
_PREFETCH = _THREADS + 1


class Place(NamedTuple):
    """A view: the position of its case among the training cases, and its number, from 0."""

    case: int
    view: int


class Batches:
    """Augmented batches of an endless stream of passes over the cases.

    Each pass has an order of its own. Step s takes positions s·batch to (s+1)·batch of the
    stream, so that small data sets need no padding and every strategy sees the same images in
    the same order. Indices are shuffled, images stay where they are.

    Args:
        cases: Decoded training cases, at least one.
        batch_size: Images per batch.
        augmentation: How far the views differ from the images.
        seed: Seed of order and views.
        views: Number of different views of each image, which come round again; `None` draws a
            new one in every pass.
    """

    def __init__(
        self,
        cases: DecodedCases,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        views: int | None = None,
    ):
        self._cases = cases
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed
        self._views = views

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes the batch of a step.

        Args:
            step: Global step, from 0.

        Returns:
            Images, float32 `(batch, height, width, channels)`, 0 to 255, and masks, float32
            `(batch, height, width, 1)`, 0 or 1.
        """
        return self.draw(self.places(step))

    def places(self, step: int) -> list[Place]:
        """Tells which views make up the batch of a step."""
        first = step * self._batch_size
        return [self._place(position) for position in range(first, first + self._batch_size)]

    def draw(self, places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
        """Makes views, as a batch like that of `batch`."""
        images, masks = zip(*(self._view(*place) for place in places), strict=True)
        return np.stack(images), np.stack(masks)[..., None].astype(np.float32)

    def steps(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Makes the batches of steps `first` to `last - 1`, a few ahead, in threads."""
        with ThreadPoolExecutor(_THREADS) as pool:
            waiting = [
                pool.submit(self.batch, s) for s in range(first, min(first + _PREFETCH, last))
            ]
            for step in range(first, last):
                batch = waiting.pop(0).result()
                if step + _PREFETCH < last:
                    waiting.append(pool.submit(self.batch, step + _PREFETCH))
                yield batch

    def _place(self, position: int) -> Place:
        number, place = divmod(position, len(self._cases))
        index = int(_order(self._seed, number, len(self._cases))[place])
        return Place(index, number if self._views is None else number % self._views)

    def _view(self, index: int, view: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, _VIEW, view, index])
        return augment(self._cases.images[index], self._cases.masks[index], self._augmentation, rng)


@lru_cache(maxsize=8)
def _order(seed: int, number: int, count: int) -> np.ndarray:
    """The order of the cases in a pass; cached, as every view of the pass asks for it."""
    return np.random.default_rng([seed, _ORDER, number]).permutation(count)

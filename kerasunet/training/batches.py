"""Training batches as a pure function of (seed, step): nothing to restore when resuming."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from kerasunet.data.augmentation import Augmentation, augment
from kerasunet.data.decoding import DecodedCases

_ORDER, _VIEW = 0, 1
_THREADS = 2


class Batches(keras.utils.PyDataset):
    """Augmented batches; one Keras epoch is one stretch between two validations.

    The images come in an endless stream of passes, each pass in an order of its own. Step s takes
    positions s·batch to (s+1)·batch of that stream, so that small data sets need no padding and
    every strategy sees the same images in the same order.

    Args:
        cases: Decoded training cases.
        batch_size: Images per batch.
        steps_per_epoch: Batches between two validations.
        steps: Batches in all; the last epoch is shorter if need be.
        augmentation: How far the views differ from the images.
        seed: Seed of order and views.
        first_epoch: Where to go on after an interruption.
    """

    def __init__(
        self,
        cases: DecodedCases,
        batch_size: int,
        steps_per_epoch: int,
        steps: int,
        augmentation: Augmentation,
        seed: int,
        first_epoch: int = 0,
    ):
        super().__init__(workers=1, use_multiprocessing=False)
        self._cases = cases
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._steps = steps
        self._augmentation = augmentation
        self._seed = seed
        self._epoch = first_epoch
        self._pool = ThreadPoolExecutor(_THREADS)

    def __len__(self) -> int:
        return min(self._steps_per_epoch, self._steps - self._epoch * self._steps_per_epoch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batch(self._epoch * self._steps_per_epoch + index)

    def on_epoch_end(self) -> None:
        self._epoch += 1

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes the batch of a step.

        Args:
            step: Global step, from 0.

        Returns:
            Images, float32 `(batch, height, width, channels)`, 0 to 255, and masks, float32
            `(batch, height, width, 1)`, 0 or 1.
        """
        first = step * self._batch_size
        views = self._pool.map(self._view, range(first, first + self._batch_size))
        images, masks = zip(*views, strict=True)
        return np.stack(images), np.stack(masks)[..., None].astype(np.float32)

    def _view(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        number, place = divmod(position, len(self._cases))
        index = int(self._order(number)[place])
        rng = np.random.default_rng([self._seed, _VIEW, number, index])
        return augment(self._cases.images[index], self._cases.masks[index], self._augmentation, rng)

    def _order(self, number: int) -> np.ndarray:
        return np.random.default_rng([self._seed, _ORDER, number]).permutation(len(self._cases))

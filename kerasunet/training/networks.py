"""A network that trains many times: compiled once, brought back to its initial weights."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.freezing import Description, apply_strategy, describe
from kerasunet.network import plain_copy
from kerasunet.strategies import Strategy
from kerasunet.training.batches import Batches
from kerasunet.training.loop import compile_for_training, learner_of
from kerasunet.training.settings import Optimization


class Network:
    """A network with its initial weights, and what was compiled for its training.

    Building and compiling take seconds, and depend neither on the images nor on their order.

    Args:
        model: The network that fine-tuning starts from.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.layers: Description | None = None
        self._learner: keras.Model | None = None
        self._plain: keras.Model | None = None
        self._initial: list[tuple[keras.Variable, np.ndarray]] = []

    def set_up(self, strategy: Strategy, optimization: Optimization) -> Description:
        """Freeze by a strategy and compile, unless that is done; return what trains."""
        if self.layers is None:
            apply_strategy(self.model, strategy)
            self.layers = describe(self.model)
            variables = list(self.model.weights)
            if self.layers.changes:
                compile_for_training(self.model, optimization)
                variables += self.model.optimizer.variables
            self._initial = [(v, keras.ops.convert_to_numpy(v.value)) for v in variables]
        return self.layers

    def learner(self) -> keras.Model:
        """Return the network whose steps train the model: compiled once, good for many runs."""
        self._learner = self._learner or learner_of(self.model)
        return self._learner

    def fit(
        self,
        training: DecodedCases,
        *,
        optimization: Optimization,
        augmentation: Augmentation,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """Train from the initial weights, all steps in one go; weights may become NaN or infinite.

        Args:
            training: Training cases; none are needed where nothing trains.
            optimization: As given to `set_up`, which comes first; only the seed may differ.
            augmentation: How far the views differ from the images.
            on_step: Called after every step.
        """
        self.reset()
        if self.layers is None or not self.layers.changes:
            return
        batches = Batches(training, optimization.batch_size, augmentation, seed=optimization.seed)
        for images, masks in batches.steps(0, optimization.steps):
            self.learner().train_on_batch(images, masks)
            if on_step is not None:
                on_step()

    def plain(self) -> keras.Model:
        """Return a network with the present weights, in float32 and all set to train."""
        if self._plain is None:
            self._plain = plain_copy(self.model)
        else:
            self._plain.set_weights(self.model.get_weights())
        return self._plain

    def reset(self) -> None:
        """Return to the initial weights and a fresh optimizer."""
        for variable, value in self._initial:
            variable.assign(value)
        if self._learner is not None:
            self._learner.reset_metrics()

"""The network that a run starts from: its head for other objects, and what is kept of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from kerasunet import models
from kerasunet.architecture import Architecture, plain_copy, rebuilt
from kerasunet.freezing import Description, apply_strategy, describe
from kerasunet.objects import ONE_OBJECT, Objects
from kerasunet.runs.preparation import has_new_head
from kerasunet.strategies import Strategy, parse
from kerasunet.training.loop import compile_for_training, learner_of
from kerasunet.training.settings import FinetuneSettings, Optimization

HEAD = "head"
_MOST_KEPT = 8


def initial_model(settings: FinetuneSettings, objects: Objects = ONE_OBJECT) -> keras.Model:
    """Build the network that fine-tuning starts from.

    Args:
        settings: Of the run.
        objects: What its data mark; where the start marks others, the head starts anew, and all
            other weights are kept.
    """
    if settings.init == "scratch":
        return settings.architecture.build(objects.channels, overlapping=objects.overlapping)
    start = models.load(settings.init)
    if not has_new_head(settings.init, objects):
        return rebuilt(start)
    return with_new_head(start, objects)


def with_new_head(start: keras.Model, objects: Objects) -> keras.Model:
    """Return a network with the weights of a start, but a random head for some objects."""
    model = Architecture.of(start).build(
        objects.channels,
        size=start.input_shape[1:3],
        name=start.name,
        overlapping=objects.overlapping,
    )
    for layer in model.layers:
        if layer.weights and layer.name != HEAD:
            layer.set_weights(start.get_layer(layer.name).get_weights())
    return model


def with_trained_head(strategy: Strategy, settings: FinetuneSettings, objects: Objects) -> Strategy:
    """Return the strategy that `auto` chose, with the head where that starts anew."""
    if not has_new_head(settings.init, objects) or str(strategy) == "all":
        return strategy
    return parse(f"{strategy}+{HEAD}")


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


class KeptNetworks:
    """The networks that a process keeps: those that its last few strategies used."""

    def __init__(self):
        self._networks: OrderedDict[object | None, Network] = OrderedDict()

    def get(
        self,
        settings: FinetuneSettings,
        build: Callable[[], keras.Model],
        objects: Objects = ONE_OBJECT,
    ) -> Network:
        """Return a network as if newly made for the settings.

        Args:
            settings: Settings of a run.
            build: Builds the network that fine-tuning starts from.
            objects: What the data mark.
        """
        shared = _shared(settings, objects)
        network = self._networks.pop(shared, None)
        if network is None:
            network = Network(build())
        else:
            network.reset()
        if shared is not None:
            self._networks[shared] = network
        if len(self._networks) > _MOST_KEPT:
            self._networks.popitem(last=False)
        return network


def _shared(settings: FinetuneSettings, objects: Objects) -> object | None:
    """Return what building and compiling depend on; `None` where on images or seed as well."""
    measured = settings.stages or settings.strategy.is_measured
    random = settings.init == "scratch" or has_new_head(settings.init, objects)
    if measured or random or settings.views is not None:
        return None
    optimization = replace(settings.optimization, seed=0)
    return settings.init, settings.architecture, settings.strategy, optimization, objects

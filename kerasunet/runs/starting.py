"""The network that a run starts from: its head for other objects, and what is kept of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import keras

from kerasunet import models
from kerasunet.network import rebuilt, with_new_head
from kerasunet.objects import ONE_OBJECT, Objects
from kerasunet.runs.preparation import HEAD, has_new_head, trains_head
from kerasunet.strategies import Strategy, parse
from kerasunet.training.networks import Network
from kerasunet.training.settings import FinetuneSettings

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
    return with_new_head(start, objects.channels, overlapping=objects.overlapping)


def with_trained_head(strategy: Strategy, settings: FinetuneSettings, objects: Objects) -> Strategy:
    """Return the strategy that `auto` chose, with the head where that starts anew."""
    if not has_new_head(settings.init, objects) or trains_head(strategy, settings):
        return strategy
    return parse(f"{strategy}+{HEAD}")


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

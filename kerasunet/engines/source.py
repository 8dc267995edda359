"""The network that an engine is made of: told apart by a digest, loaded only when it must be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasunet import zoo

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Source:
    """A network for the engines.

    Attributes:
        digest: Tells networks apart: equal digests compute the same.
        channels: Channels of an image.
        load: Returns the network without batch normalisation; only this imports Keras.
    """

    digest: str
    channels: int
    load: Callable[[], keras.Model]

    @classmethod
    def saved(cls, name_or_path: str | os.PathLike) -> Source:
        """A saved model by name or path; its file is verified against its card when loaded.

        Raises:
            FileNotFoundError: There is no such model, or it has no card.
        """

        def load() -> keras.Model:
            from kerasunet.engines.folding import folded

            return folded(zoo.load(name_or_path))

        channels = zoo.card(name_or_path)["architecture"]["channels"]
        return cls(zoo.digest(name_or_path), channels, load)

    @classmethod
    def of(cls, model: keras.Model) -> Source:
        """A network in memory, as it is now."""
        from kerasunet.engines.folding import folded

        known = hashlib.sha256(json.dumps(model.get_config(), sort_keys=True).encode())
        for weight in model.get_weights():
            known.update(weight.tobytes())
        return cls(known.hexdigest(), model.input_shape[-1], lambda: folded(model))

    @classmethod
    def of_many(cls, sources: Iterable[Source]) -> Source:
        """Several networks as one, whose outputs follow each other; what is equal runs once.

        Raises:
            ValueError: Their images differ in the number of channels.
        """

        sources = list(sources)

        def load() -> keras.Model:
            from kerasunet.engines.merging import merged

            return merged([source.load() for source in sources])

        channels = {source.channels for source in sources}
        if len(channels) != 1:
            raise ValueError(f"models of {sorted(channels)} channels cannot run as one network")
        digest = hashlib.sha256(" ".join(source.digest for source in sources).encode())
        return cls(digest.hexdigest(), channels.pop(), load)

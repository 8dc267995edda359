"""Several models on one image at the cost of what they do not have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from kerasunet.data.decoding import resize_image
from kerasunet.inference.engines import Source, open_engine
from kerasunet.inference.segmenter import Segmentation, at_size, pixels_of
from kerasunet.models import ModelCard, card


class SideBySide:
    """Segments an image with several saved models, such as every strategy of a comparison.

    What the models have in common is computed once: blocks that were frozen since the same
    pre-trained model are equal to the last bit. Models of different image sizes run one after the
    other.

    Args:
        models: Names of registered models or paths of `.keras` files, each once.
        engine: As in `kerasunet.Segmenter`.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: A model file cannot be trusted or loaded, no model is given, or the engine is
            unknown or not installed.
    """

    def __init__(self, models: Sequence[str | os.PathLike], engine: str = "auto"):
        self._models = [os.fspath(model) for model in models]
        if not self._models:
            raise ValueError("give at least one model to compare")
        cards = {model: card(model) for model in self._models}
        self.thresholds = {model: card.threshold for model, card in cards.items()}
        self._groups = [
            (group, open_engine(Source.of_many(map(Source.saved, group)), (side, side), engine))
            for (side, _), group in _by_shape(cards).items()
        ]

    def __call__(self, image: str | os.PathLike | np.ndarray) -> dict[str, Segmentation]:
        """Segments one image with every model.

        Args:
            image: As in `kerasunet.Segmenter`.

        Returns:
            By model, in the given order, its segmentation at the size of the image.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a readable image, or the array not of such a shape.
        """
        pixels, spacing = pixels_of(image)
        found = {}
        for group, engine in self._groups:
            height, width, channels = engine.shape
            output = engine(resize_image(pixels, (height, width), channels)[None])[0]
            classes = output.shape[-1] // len(group)
            for index, model in enumerate(group):
                probability = at_size(
                    np.ascontiguousarray(output[..., index * classes]), pixels.shape[:2]
                )
                mask = probability >= self.thresholds[model]
                found[model] = Segmentation(pixels, probability, mask, spacing)
        return {model: found[model] for model in self._models}


def _by_shape(cards: dict[str, ModelCard]) -> dict[tuple[int, tuple], list[str]]:
    """The models by image size and what the shape of input and output depends on."""
    groups: dict[tuple[int, tuple], list[str]] = {}
    for model, known in cards.items():
        shape = (known.architecture.channels, known.classes)
        groups.setdefault((known.image_size, shape), []).append(model)
    return groups

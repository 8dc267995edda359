"""What models say of one image: probabilities, masks and areas, and how undecided they are.

Uncertainty is in bits, so from 0, where the answer is certain, to 1, where it is a coin toss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kerasunet.metrics import area_mm2
from kerasunet.objects import ONE_OBJECT, Objects

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Segmentation:
    """The result of a model on one image.

    Attributes:
        image: The image, float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        probability: Foreground probability, float32, `(height, width)`, 0 to 1; for several
            objects, that of each, `(objects, height, width)`.
        mask: True where the probability reaches the threshold, bool, `(height, width)`. For several
            objects, uint8, as `kerasunet.objects.Objects.encode` gives it: the number of the most
            probable object from 1, 0 for background; or a bit for each of overlapping ones.
        spacing: Millimeters per pixel, (row, column), or `None` where unknown.
        objects: What the mask marks.
    """

    image: np.ndarray
    probability: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float] | None
    objects: Objects = ONE_OBJECT

    @property
    def labels(self) -> np.ndarray:
        """Number of the object of each pixel, from 1, 0 for background, uint8, `(height, width)`.

        Raises:
            ValueError: The objects overlap, so a pixel may belong to several.
        """
        if self.objects.overlapping:
            raise ValueError(f"{self.objects}: a pixel may belong to several; take each from `of`")
        return self.mask.astype(np.uint8)

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """The mask of each object by its name, bool, `(height, width)`."""
        return dict(zip(self.objects.names, self.objects.planes(self.mask), strict=True))

    @property
    def foreground(self) -> np.ndarray:
        """Probability of any object, float32, `(height, width)`; if they overlap, the largest."""
        if not self.objects.several:
            return self.probability
        if self.objects.overlapping:
            return self.probability.max(axis=0)
        return np.minimum(self.probability.sum(axis=0), 1)

    @property
    def area_pixels(self) -> int:
        """Number of foreground pixels, of whatever object."""
        return int(np.count_nonzero(self.mask))

    @property
    def area_mm2(self) -> float | None:
        """Foreground area in square millimeters, `None` where the spacing is unknown."""
        return area_mm2(self.mask, self.spacing)

    def of(self, name: str) -> Segmentation:
        """Return what was found of one object, as if the model found nothing else.

        Raises:
            ValueError: There is no such object.
        """
        if name not in self.objects.names:
            raise ValueError(f"{name}: the model finds {self.objects}")
        if not self.objects.several:
            return self
        number = self.objects.names.index(name)
        return replace(
            self,
            probability=self.probability[number],
            mask=self.objects.planes(self.mask)[number],
            objects=Objects((name,)),
        )


def averaged(found: Sequence[Segmentation], threshold: float) -> Segmentation:
    """Average the probabilities of several models of the same objects on one image.

    Args:
        found: What each found.
        threshold: Probability from which a pixel is of an object; see `Objects.decide`.
    """
    first, objects = found[0], found[0].objects
    mean = sum((one.probability for one in found[1:]), first.probability) / len(found)
    if not objects.several:
        return replace(first, probability=mean, mask=mean >= threshold)
    outputs = np.moveaxis(mean, 0, -1)
    if objects.exclusive:
        outputs = np.concatenate([1 - outputs.sum(axis=-1, keepdims=True), outputs], axis=-1)
    return replace(first, probability=mean, mask=objects.decide(outputs, threshold))


def segmentation(
    image: np.ndarray,
    outputs: np.ndarray,
    threshold: float,
    *,
    spacing: tuple[float, float] | None,
    objects: Objects,
) -> Segmentation:
    """Decide what a model's outputs mean.

    Args:
        image: The image.
        outputs: The outputs at its size, float32, `(height, width, channels)`.
        threshold: Probability from which a pixel is of an object; see `Objects.decide`.
        spacing: Millimeters per pixel, (row, column), or `None` where unknown.
        objects: What the model finds.
    """
    squeezed = objects.squeezed(outputs)
    mask = objects.decide(squeezed, threshold)
    probability = np.ascontiguousarray(objects.probabilities(squeezed))
    return Segmentation(
        image,
        probability if objects.several else probability[0],
        mask,
        spacing=spacing,
        objects=objects,
    )


def entropy(probability: np.ndarray) -> np.ndarray:
    """Return the binary entropy of foreground probabilities, in bits, float32, of any shape."""
    found = np.clip(probability, 0, 1).astype(np.float32)
    return _bits(found) + _bits(1 - found)


def disagreement(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return where models disagree: the entropy of their mean, less the mean of their entropies.

    This is the information that a label would give about which model is right (Houlsby et al.,
    Bayesian Active Learning for Classification and Preference Learning, 2011). Where all of them
    are undecided alike, it is 0.

    Args:
        probabilities: Foreground probabilities of each model, of one shape.

    Raises:
        ValueError: There is no model.
    """
    if not probabilities:
        raise ValueError("give the probabilities of at least one model")
    own = np.mean([entropy(found) for found in probabilities], axis=0)
    return np.maximum(entropy(np.mean(probabilities, axis=0)) - own, 0)


def uncertainty(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return the disagreement of several models, or the entropy of a single one.

    Args:
        probabilities: Of each model, `(height, width)`, or for several objects `(objects, height,
            width)`.

    Returns:
        Float32, `(height, width)`, 0 to 1; for several objects, that of the least certain one.
    """
    found = entropy(probabilities[0]) if len(probabilities) == 1 else disagreement(probabilities)
    return over_objects(found)


def over_objects(bits: np.ndarray) -> np.ndarray:
    """Return the largest over objects, `(height, width)`, where there are several."""
    return bits.max(axis=0) if bits.ndim == 3 else bits


def _bits(share: np.ndarray) -> np.ndarray:
    return -share * np.log2(np.maximum(share, _TINY))

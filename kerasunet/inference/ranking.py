"""The order in which images are best annotated: undecided ones first, no two of them alike.

The next image is the one whose gain, times its distance from the nearest one chosen before, is
largest (k-center, as in Sener and Savarese, Active Learning for Convolutional Neural Networks: A
Core-Set Approach, ICLR 2018, here weighted by uncertainty).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kerasunet.data.groups import find_near_duplicates, group, thumbnail
from kerasunet.inference.uncertainty import disagreement, entropy, over_objects

_MEANT = 0.05  # Below this probability, to every model, a pixel is surely background.
_FEWEST = 0.01  # Share of the pixels that counts in any case, the likeliest ones.


class PoolImage(NamedTuple):
    """An image that may be annotated.

    Attributes:
        key: Its unique name, for tables.
        group: Its patient, or the key where it has no other.
        path: Its file.
        frame: Which frame of it, from 0; `None` where it has no other.
    """

    key: str
    group: str
    path: Path
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """What models see in an image.

    Attributes:
        disagreement: Of several models, in bits, the mean over the pixels that any of them may
            mean; 0 of a single model.
        entropy: Of the models' mean, likewise.
        features: What tells images apart, float32, `(features,)`.
        thumbnail: What near-duplicates are found by, uint8, `(64, 64)`.
    """

    disagreement: float
    entropy: float
    features: np.ndarray
    thumbnail: np.ndarray

    @classmethod
    def of(cls, probabilities: Sequence[np.ndarray], features: np.ndarray, image: np.ndarray):
        """Sum up what models say of an image.

        Args:
            probabilities: Of the foreground, of each model, `(height, width)`, or of several
                objects `(objects, height, width)`.
            features: What tells images apart, of any length.
            image: The image, `(height, width[, 3])`, 0 to 255.
        """
        likeliest = over_objects(np.max(probabilities, axis=0))
        least = min(_MEANT, float(np.quantile(likeliest, 1 - _FEWEST)))
        meant = likeliest >= least
        return cls(
            float(over_objects(disagreement(probabilities))[meant].mean()),
            float(over_objects(entropy(np.mean(probabilities, axis=0)))[meant].mean()),
            np.asarray(features, np.float32).ravel(),
            thumbnail(image),
        )


class Ranked(NamedTuple):
    """An image in its place.

    Attributes:
        image: The image.
        score: Gain times distance, by which it was chosen.
        gain: Disagreement of several models, or entropy of one, in bits.
        disagreement: As in `Look`.
        entropy: As in `Look`.
        distance: From the nearest image that was chosen before or is annotated, 0 to 1; 1 where
            there is none.
    """

    image: PoolImage
    score: float
    gain: float
    disagreement: float
    entropy: float
    distance: float


def rank(
    images: Sequence[PoolImage],
    looks: Sequence[Look],
    number: int,
    *,
    annotated: Sequence[Look] = (),
    one_per_group: bool = False,
    by_disagreement: bool = True,
) -> list[Ranked]:
    """Choose images to annotate next, the most useful first.

    An image that shows the same as an annotated one, or as one chosen before, is not chosen.

    Args:
        images: The images that may be annotated.
        looks: What models see in each.
        number: How many are wanted.
        annotated: What models see in images that are annotated.
        one_per_group: Choose no more than one of a group.
        by_disagreement: Whether the gain is the disagreement, or the entropy.

    Returns:
        As many as are wanted, or fewer where all others show the same.
    """
    if not images:
        return []
    gains = np.array([one.disagreement if by_disagreement else one.entropy for one in looks])
    distances = _Distances([*looks, *annotated])
    shown = _shown(looks, annotated)
    taken = {shown[len(images) + index] for index in range(len(annotated))}
    distances.add(*range(len(images), len(shown)))
    chosen: list[Ranked] = []
    groups: set[str] = set()
    while len(chosen) < number:
        free = [
            index
            for index, image in enumerate(images)
            if shown[index] not in taken and not (one_per_group and image.group in groups)
        ]
        if not free:
            break
        scores = gains * distances.nearest[: len(images)]
        best = max(free, key=scores.__getitem__)  # The first of equals.
        chosen.append(_ranked(images[best], looks[best], gains[best], distances.nearest[best]))
        taken.add(shown[best])
        groups.add(images[best].group)
        distances.add(best)
    return chosen


def _ranked(image: PoolImage, look: Look, gain: float, distance: float) -> Ranked:
    values = (gain * distance, gain, look.disagreement, look.entropy, distance)
    return Ranked(image, *map(float, values))


def _shown(looks: Sequence[Look], annotated: Sequence[Look]) -> list[str]:
    """Return a name of what each image shows: near-duplicates have the same."""
    thumbnails = [one.thumbnail for one in (*looks, *annotated)]
    return group([str(index) for index in range(len(thumbnails))], find_near_duplicates(thumbnails))


class _Distances:
    """How far each image is from the nearest of those that were added.

    Features are compared by the angle between their differences from the mean: 0 for the same
    direction, 1 for opposite ones.
    """

    def __init__(self, looks: Sequence[Look]):
        features = np.stack([one.features for one in looks]).astype(np.float64)
        features -= features.mean(axis=0)
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        self._features = features / np.where(norms > 0, norms, 1)
        self.nearest = np.ones(len(looks))

    def add(self, *indices: int) -> None:
        """Take images as chosen."""
        for index in indices:
            angles = (1 - self._features @ self._features[index]) / 2
            self.nearest = np.minimum(self.nearest, np.clip(angles, 0, 1))

"""Which images of a folder to annotate next: undecided ones first, no two of them alike.

The next image is the one whose gain, times its distance from the nearest one chosen before, is
largest (k-center, as in Sener and Savarese, Active Learning for Convolutional Neural Networks: A
Core-Set Approach, ICLR 2018, here weighted by uncertainty).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kerasunet import models as saved_models
from kerasunet.data import layouts
from kerasunet.data.cases import AnnotatedCase, Case, FileCase, UnannotatedCase, file_stem
from kerasunet.data.decoding import resize_image
from kerasunet.data.groups import find_near_duplicates, group, match_groups
from kerasunet.data.identification import thumbnail
from kerasunet.data.layouts.contents import image_files, json_files
from kerasunet.data.layouts.folders import images_alone
from kerasunet.data.layouts.manifests import MANIFESTS
from kerasunet.data.layouts.pairing import masks_by_name, pair_annotated
from kerasunet.data.readers import count_frames, read_image
from kerasunet.files import expanded
from kerasunet.inference.segmentation import disagreement, entropy, over_objects
from kerasunet.inference.segmenter import SideBySide, require_same_objects
from kerasunet.schema import typed

if TYPE_CHECKING:
    import keras

_INNERMOST = "bottleneck_"
_POOLED = 2  # Rows and columns of the grid over which features are averaged.
_MEANT = 0.05  # Below this probability, to every model, a pixel is surely background.
_FEWEST = 0.01  # Share of the pixels that counts in any case, the likeliest ones.


class Pool(NamedTuple):
    """The images of a folder.

    Attributes:
        images: Those that may be annotated.
        annotated: Those that are annotated.
    """

    images: list[PoolImage]
    annotated: list[PoolImage]


class NextImages(NamedTuple):
    """The images to annotate next.

    Attributes:
        ranked: The most useful first.
        failures: Images that could not be read, a line each.
        several: Whether several models were asked, so that the gain is their disagreement.
    """

    ranked: list[Ranked]
    failures: list[str]
    several: bool


def next_images(
    models: Sequence[str | os.PathLike],
    pool: Pool,
    number: int,
    *,
    one_per_group: bool = False,
    engine: str = "auto",
) -> NextImages:
    """Rank the images of a pool by what a model would learn from their annotation.

    The gain of an image is the disagreement of the models, such as those of several folds or
    strategies, or the entropy of a single one; see `rank`.

    Args:
        models: Names of registered models or paths of `.keras` files; equal files count once.
        pool: As `pool_of` lists it.
        number: How many images are wanted.
        one_per_group: Choose no more than one of a group, such as a patient.
        engine: As in `kerasunet.Segmenter`.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: Models cannot be loaded or find different objects, or the engine is missing.
    """
    number = typed("number", "int", number)
    looker = Looker(models, engine)
    failures: list[str] = []
    seen = dict(_looks(pool.images, looker, failures.append))
    annotated = [look for _, look in _looks(pool.annotated, looker, failures.append)]
    several = len(looker.models) > 1
    ranked = rank(
        list(seen),
        list(seen.values()),
        number,
        annotated=annotated,
        one_per_group=one_per_group,
        by_disagreement=several,
    )
    return NextImages(ranked, failures, several)


def _looks(
    images: Sequence[PoolImage], looker: Looker, fail: Callable[[str], None]
) -> Iterator[tuple[PoolImage, Look]]:
    for image in images:
        try:
            pixels, _ = read_image(image.path, frame=image.frame)
        except (OSError, ValueError) as error:
            fail(str(error))
        else:
            yield image, looker(pixels)


class Looker:
    """Looks at images with one model or several; arguments and errors are as in `next_images`."""

    def __init__(self, models: Sequence[str | os.PathLike], engine: str = "auto"):
        several = not isinstance(models, str | os.PathLike)
        self.models = saved_models.each_once(models) if several else models
        require_same_objects(self.models if several else ())  # `SideBySide` refuses one.
        self._segment = SideBySide(self.models, engine)
        self._features = _Features(self.models[0])

    def __call__(self, image: np.ndarray) -> Look:
        """Look at an image, `(height, width[, 3])`, gray levels 0 to 255."""
        found = [one.foreground for one in self._segment(image).values()]
        return Look.of(found, self._features(image), image)


class _Features:
    """What the innermost block of a saved model says about an image."""

    def __init__(self, model: str | os.PathLike):
        self._card = saved_models.card(model)
        self._network = innermost(saved_models.load(model))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        side = self._card.image_size
        pixels = resize_image(image, (side, side), self._card.architecture.channels)
        return features(self._network, pixels[None])[0]


def innermost(model: keras.Model) -> keras.Model:
    """Return the part of a U-Net that ends with its innermost block."""
    import keras

    layers = [layer for layer in model.layers if layer.name.startswith(_INNERMOST)]
    return keras.Model(model.input, layers[-1].output)


def features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return what distinguishes images: activations, averaged over the four quarters of each image.

    Args:
        network: As `innermost` returns it.
        images: `(images, height, width, channels)`, 0 to 255, of a size that the network takes.

    Returns:
        Float32, `(images, features)`.
    """
    maps = np.asarray(network.predict_on_batch(images.astype(np.float32)))
    quarters = [
        part.mean(axis=(1, 2))
        for half in np.array_split(maps, min(_POOLED, maps.shape[1]), axis=1)
        for part in np.array_split(half, min(_POOLED, maps.shape[2]), axis=2)
    ]
    return np.concatenate(quarters, axis=1)


def pool_of(folder: str | os.PathLike, group_pattern: str | None = None) -> Pool:
    """List the images of a folder that may be annotated, every frame, and those that are.

    Args:
        folder: Images without masks, alone or in `images/`; or a data set, of which the images
            without a mask may be annotated.
        group_pattern: Finds the patient in a file name, as in `--group-pattern`.

    Raises:
        FileNotFoundError: There is no such folder, or no image without a mask in it.
        ValueError: The folder is in no known layout, or a file name lacks the pattern.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    unannotated = _alone(folder)
    annotated: list[FileCase | AnnotatedCase] = []
    if not unannotated:
        data = layouts.read_folder(folder)
        unannotated = list(data.unannotated)
        annotated = [case for case in data.cases if isinstance(case, FileCase | AnnotatedCase)]
    if not unannotated:
        raise FileNotFoundError(f"{folder}: every image has a mask; nothing is left to annotate")
    images = [frame for case in unannotated for frame in _frames(case)]
    known = [PoolImage(c.key, c.group, c.image, frame=getattr(c, "frame", None)) for c in annotated]
    return Pool(_grouped(images, group_pattern), known)


def _alone(folder: Path) -> list[UnannotatedCase]:
    """Return the images of a folder that has nothing but images; none of other folders."""
    files = image_files(folder)
    if not files:
        return _without_mask(images_alone(folder))
    listed = any((folder / name).is_file() for name in MANIFESTS)
    if listed or masks_by_name(files) or json_files(folder):
        return []
    return _without_mask(pair_annotated(files, {}))


def _without_mask(cases: Sequence[Case]) -> list[UnannotatedCase]:
    return [case for case in cases if isinstance(case, UnannotatedCase)]


def _frames(case: UnannotatedCase) -> Iterator[PoolImage]:
    try:
        count = count_frames(case.image) or 1
    except (OSError, ValueError):
        count = 1  # Said when it is read.
    for frame in range(count):
        key = f"{case.key}-frame{frame:04d}" if count > 1 else case.key
        yield PoolImage(key, case.group, case.image, frame=frame if count > 1 else None)


def _grouped(images: list[PoolImage], pattern: str | None) -> list[PoolImage]:
    if pattern is None:
        return images
    try:
        names = match_groups([file_stem(image.key) for image in images], pattern)
    except re.error as error:
        raise ValueError(f"group pattern {pattern}: not a regular expression ({error})") from None
    missing = [image.key for image, name in zip(images, names, strict=True) if not name]
    if missing:
        raise ValueError(f"group pattern {pattern}: is not in these names: {', '.join(missing)}")
    named = zip(images, names, strict=True)
    return [image._replace(group=f"patient-{name}") for image, name in named]


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
            mark; 0 for a single model.
        entropy: Of the models' mean, likewise.
        features: What distinguishes images, float32, `(features,)`.
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
            features: What distinguishes images, of any length.
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
        chosen.append(_ranked(images[best], looks[best], (gains[best], distances.nearest[best])))
        taken.add(shown[best])
        groups.add(images[best].group)
        distances.add(best)
    return chosen


def _ranked(image: PoolImage, look: Look, factors: tuple[float, float]) -> Ranked:
    score = factors[0] * factors[1]
    return Ranked(image, score, factors[0], look.disagreement, look.entropy, factors[1])


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

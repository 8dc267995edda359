"""Which images of a folder to annotate next: what models see in each, and the order then."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kerasunet import models as saved_models
from kerasunet.data import layouts
from kerasunet.data.cases import AnnotatedCase, Case, FileCase, UnannotatedCase, file_stem
from kerasunet.data.decoding import resize_image
from kerasunet.data.groups import match_groups
from kerasunet.data.layouts.folders import images_alone
from kerasunet.data.layouts.pairing import image_files, json_files, masks_by_name, pair_annotated
from kerasunet.data.layouts.tables import MANIFESTS
from kerasunet.data.readers import count_frames, read_image
from kerasunet.inference.ranking import Look, PoolImage, Ranked, rank
from kerasunet.inference.segmenter import SideBySide

if TYPE_CHECKING:
    import keras

_INNERMOST = "bottleneck_"
_POOLED = 2  # Rows and columns of the grid over which features are averaged.


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
    strategies, or the entropy of a single one; see `kerasunet.inference.ranking`.

    Args:
        models: Names of registered models or paths of `.keras` files, each once.
        pool: As `pool_of` lists it.
        number: How many images are wanted.
        one_per_group: Choose no more than one of a group, such as a patient.
        engine: As in `kerasunet.Segmenter`.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: A model file cannot be trusted or loaded, or the engine is not installed.
    """
    looker = Looker(models, engine)
    failures: list[str] = []
    seen = dict(_looks(pool.images, looker, failures.append))
    annotated = [look for _, look in _looks(pool.annotated, looker, failures.append)]
    several = len(models) > 1
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
    """Looks at images with one model or several.

    Args:
        models: Names of registered models or paths of `.keras` files, each once.
        engine: As in `kerasunet.Segmenter`.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: A model file cannot be trusted or loaded, or the engine is not installed.
    """

    def __init__(self, models: Sequence[str | os.PathLike], engine: str = "auto"):
        self._segment = SideBySide(models, engine)
        self._features = _Features(models[0])

    def __call__(self, image: np.ndarray) -> Look:
        """Look at an image, `(height, width[, 3])`, grey levels 0 to 255."""
        found = [one.foreground for one in self._segment(image).values()]
        return Look.of(found, self._features(image), image)


class _Features:
    """What the innermost block of a saved model has to say of an image."""

    def __init__(self, model: str | os.PathLike):
        card = saved_models.card(model)
        self._size = (card.image_size, card.image_size)
        self._channels = card.architecture.channels
        self._network = innermost(saved_models.load(model))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        pixels = resize_image(image, self._size, self._channels)
        return features(self._network, pixels[None])[0]


def innermost(model: keras.Model) -> keras.Model:
    """Return the part of a U-Net that ends with its innermost block."""
    import keras

    layers = [layer for layer in model.layers if layer.name.startswith(_INNERMOST)]
    return keras.Model(model.input, layers[-1].output)


def features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return what tells images apart: activations, averaged over the four quarters of each image.

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


def pool_of(folder: Path, group_pattern: str | None = None) -> Pool:
    """List the images of a folder that may be annotated, every frame, and those that are.

    Args:
        folder: Images without masks, alone or in `images/`; or a data set, of which the images
            without a mask may be annotated.
        group_pattern: What tells patients apart in file names, as in `--group-pattern`.

    Raises:
        FileNotFoundError: There is no such folder, or no image without a mask in it.
        ValueError: The folder is in no known layout, or a file name lacks the pattern.
    """
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
    known = [_annotated(case) for case in annotated]
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
        yield PoolImage(key, case.group, case.image, frame if count > 1 else None)


def _annotated(case: FileCase | AnnotatedCase) -> PoolImage:
    frame = case.frame if isinstance(case, FileCase) else None
    return PoolImage(case.key, case.group, case.image, frame)


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
    return [
        image._replace(group=f"patient-{name}") for image, name in zip(images, names, strict=True)
    ]

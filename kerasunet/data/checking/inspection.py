"""Looks at one case: reads all that can be read of it, whatever is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from kerasunet.data.cases import AnnotatedCase, Case, FileCase
from kerasunet.data.checking.marks import describe_marks
from kerasunet.data.checking.problem import Problem
from kerasunet.data.decoding import resize_mask
from kerasunet.data.duplicates import thumbnail
from kerasunet.data.problems import wrong_size
from kerasunet.data.reading import read_image

T = TypeVar("T")
_MASK_SIDE = 64
_INVERTED = 0.75


@dataclass(frozen=True)
class Inspection:
    """What is kept of a case after it was looked at: some kilobytes, whatever the image's size.

    Attributes:
        case: The case.
        problems: What is wrong with it, taken alone.
        thumbnail: Of the image, for the search for duplicates; `None` if it cannot be read.
        mask: 64×64 pixels, packed into bits; `None` if it cannot be read.
        share: The share of the image that the mask covers, 0 to 1; `None` if it cannot be read.
    """

    case: Case
    problems: tuple[Problem, ...]
    thumbnail: np.ndarray | None = None
    mask: np.ndarray | None = None
    share: float | None = None

    @property
    def place(self) -> str:
        """The image file, or the key of a case without one."""
        return place_of(self.case)


def place_of(case: Case) -> str:
    """The image file of a case, and which of its frames; or the key of a case without a file."""
    frame = getattr(case, "frame", 0)
    return f"{getattr(case, 'image', case.key)}{f' frame {frame}' if frame else ''}"


def inspect(case: Case) -> Inspection:
    """Reads a case and looks for mistakes that show without comparing it to others."""
    problems: list[Problem] = []
    image, mask = _read(case, problems)
    if image is not None:
        problems += _image_problems(case, image)
    if mask is None:
        return Inspection(case, tuple(problems), None if image is None else thumbnail(image))
    problems += _mask_problems(case, mask)
    packed = np.packbits(resize_mask(mask, (_MASK_SIDE, _MASK_SIDE)))
    return Inspection(case, tuple(problems), thumbnail(image), packed, float(mask.mean()))


def _read(case: Case, problems: list[Problem]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Image and mask, each `None` if there is no usable one."""
    if isinstance(case, FileCase):
        return _read_files(case, problems)
    if isinstance(case, AnnotatedCase):
        return _read_annotated(case, problems)
    image, mask, _ = case.load()
    return image, mask


def _read_files(case: FileCase, problems: list[Problem]):
    image = _attempt(case, case.image, "unreadable", problems, lambda: case.read_image()[0])
    masks = [_read_mask(case, path, problems) for path in case.masks]
    if image is None:
        return None, None
    shape = image.shape[:2]
    for path, mask in zip(case.masks, masks, strict=True):
        if mask is not None and mask.shape != shape:
            text = wrong_size(path, mask.shape, shape, f"its image {case.image.name}")
            problems.append(Problem("wrong-size", text, (str(path),), (case.key,)))
    usable = all(mask is not None and mask.shape == shape for mask in masks)
    return image, np.logical_or.reduce([np.zeros(shape, bool), *masks]) if usable else None


def _read_mask(case: FileCase, path: Path, problems: list[Problem]) -> np.ndarray | None:
    values = _attempt(case, path, "unreadable", problems, partial(case.read_mask_values, path))
    if values is None:
        return None
    decode = partial(case.coding.decode, values, str(path))
    return _attempt(case, path, "not-binary", problems, decode)


def _read_annotated(case: AnnotatedCase, problems: list[Problem]):
    image = _attempt(case, case.image, "unreadable", problems, lambda: read_image(case.image)[0])
    if image is None:
        return None, None
    draw = partial(case.annotation.mask, image.shape[:2])
    return image, _attempt(case, case.image, "annotation", problems, draw)


def _attempt(
    case: Case, path: Path, kind: str, problems: list[Problem], call: Callable[[], T]
) -> T | None:
    try:
        return call()
    except (OSError, ValueError) as error:
        problems.append(Problem(kind, str(error), (str(path),), (case.key,)))
        return None


def _image_problems(case: Case, image: np.ndarray) -> Iterator[Problem]:
    place = place_of(case)
    if np.ptp(image) == 0:
        text = f"{place}: every pixel has the grey level {image.flat[0]:g}"
        yield Problem("constant-image", text, (place,), (case.key,))
    marks = describe_marks(image)
    if marks:
        yield Problem("burnt-in-marks", f"{place}: {marks}", (place,), (case.key,))


def _mask_problems(case: Case, mask: np.ndarray) -> Iterator[Problem]:
    place = place_of(case)
    if mask.all():
        yield Problem("full-mask", f"{place}: every pixel is object", (place,), (case.key,))
    elif _edge(mask).mean() > _INVERTED:
        text = f"{place}: {_edge(mask).mean():.0%} of the pixels at the edge are object"
        yield Problem("inverted-mask", text, (place,), (case.key,))
    # A case that names no mask says that there is nothing to draw.
    expected = case.label.lower() != "normal" and getattr(case, "masks", True)
    if expected and not mask.any():
        label = f", its label is {case.label}" if case.label else ""
        text = f"{place}: the mask has no object{label}"
        yield Problem("empty-mask", text, (place,), (case.key,))


def _edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of the outermost rows and columns."""
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])

"""Cases and data sets: what every reader produces and everything else consumes.

A case is one image, its mask, its key and its group. Images stay on disk (or are simulated) until
`load` is called, so that a data set of any size costs no more than its index.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from kerasunet.data import readers, simulation
from kerasunet.files import call_all, is_plain, raise_all
from kerasunet.objects import OF_OBJECT, Objects, objects_of
from kerasunet.schema import check

_MOST_NAMED = 10
_NEARLY, _LEAST_BRIGHT = 2, 64
NEAR_DUPLICATES = "near-duplicates"
"""How groups of near-duplicates are asked for, and how names of such groups begin."""


class Sample(NamedTuple):
    """One decoded case.

    Attributes:
        image: Float32, `(height, width)` or `(height, width, 3)`, gray levels 0 to 255.
        mask: Bool, `(height, width)`; of several objects uint8, as `Objects.encode` gives it.
        spacing: Millimeters per pixel, (row, column), or `None` where unknown.
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float] | None


class Grouped(Protocol):
    """What a split needs to know of a case."""

    @property
    def key(self) -> str:
        """Unique name."""

    @property
    def group(self) -> str:
        """What splits keep together, such as a patient."""

    @property
    def label(self) -> str:
        """Finding of the whole image, which splits balance; may be empty."""


class Case(Grouped, Protocol):
    """What every kind of case offers; each kind is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def load(self) -> Sample:
        """Read or make the image and its mask."""


@dataclass(frozen=True)
class MaskCoding:
    """How a mask file codes the object.

    By default a mask is binary: 0 and one other value, or black and one other color. `above` cuts
    an anti-aliased mask of 0 to 255 (one of 0 and 1 has nothing to cut), `labels` and `colors` pick
    values and colors (`"#ff0000"`) out of a label image.

    Attributes:
        classes: The table of classes that comes with the masks: the name of each, and its value
            or color.
        void: Whether there may be an outline, 255 beside classes, that belongs to no object.
        segments: Labels or numbers of the segments of DICOM segmentations that count.
        any_color: Whether all that is brighter than `above` is the object, whatever its hue.
    """

    above: int | None = None
    labels: tuple[int, ...] = ()
    colors: tuple[str, ...] = ()
    classes: tuple[tuple[str, int | str], ...] = ()
    void: bool = False
    segments: tuple[str, ...] = ()
    any_color: bool = False

    def __post_init__(self):
        check(self)
        object.__setattr__(self, "colors", tuple(map(str.lower, self.colors)))
        if self.above is not None and self.above < 0:
            raise ValueError(f"above must be a gray level from 0 on, not {self.above}")

    @property
    def is_compared(self) -> bool:
        """Whether masks may contradict each other: nobody chose the object, or by its number."""
        return bool(self.labels) or self == MaskCoding(void=self.void)

    def codes(self, values: readers.MaskValues, mask: np.ndarray) -> tuple[str, ...]:
        """Return what codes the object, or the color of each number that was chosen."""
        if not self.labels:
            return (values.name_of(mask),) if self.is_compared and mask.any() else ()
        colors = values.colors() if values.numbered and values.palette is not None else {}
        owner = f"value {{}}{OF_OBJECT}" if len(self.labels) > 1 else ""
        return tuple(owner.format(n) + colors[n] for n in self.labels if n in colors)

    def decode(self, values: readers.MaskValues | np.ndarray, name: str) -> np.ndarray:
        """Turn the values of a mask file into a bool mask of the same shape, (height, width).

        Raises:
            ValueError: The mask should be binary and is not, or has other values or colors than
                the table of classes; the message begins with `name`.
        """
        mask = readers.MaskValues(values) if isinstance(values, np.ndarray) else values
        try:
            if self.colors:
                listed = [code for _, code in self.classes]
                _check_near(mask.colors().values(), self.colors, listed)
            return readers.object_pixels(
                mask,
                above=self.above,
                wanted=(*self.labels, *self.colors),
                listed=[code for _, code in self.classes],
                void=self.void,
                any_color=self.any_color,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _check_near(
    present: Collection[str], wanted: Collection[str], listed: Collection[str | int]
) -> None:
    """Refuse a mask without the wanted colors, but with one of no class that looks the same.

    Programs round colors in different ways. Dark ones may be numbers of labels, so they are exact.
    """
    if {*present} & {*wanted}:
        return
    for color, other in product(wanted, {*present} - {*listed}):
        one, two = (bytes.fromhex(text[1:]) if text[0] == "#" else b"" for text in (color, other))
        apart = [abs(a - b) for a, b in zip(one, two, strict=False)]
        if apart and max(apart) <= _NEARLY and max(one) >= _LEAST_BRIGHT:
            raise ValueError(
                f"has the color {other}, which is nearly {color}; if it means the same, choose "
                f"both: --objects NAME={color},{other}"
            )


@dataclass(frozen=True)
class FileCase:
    """A case in files: one image and any number of mask files, which are united.

    No mask file at all means that there is no object: an empty mask. `frame`, counted from 0, is
    the frame to read from image and masks alike, where files have several.
    """

    key: str
    group: str
    image: Path
    masks: tuple[Path, ...]
    label: str = ""
    coding: MaskCoding = MaskCoding()
    frame: int = 0

    def load(self) -> Sample:
        """Read image and masks; the message of an error lists every file that cannot be used."""
        readings: list[Callable[[], Any]] = [
            self.read_image,
            *(partial(self._read_mask, path) for path in self.masks),
        ]
        (image, spacing), *masks = call_all(readings)
        return Sample(image, self._united(masks, image.shape[:2]), spacing)

    def read_mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Read the masks, bool, of an image of this height and width."""
        return self._united(call_all(partial(self._read_mask, path) for path in self.masks), shape)

    def _united(self, masks: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
        sizes = zip(self.masks, (mask.shape for mask in masks), strict=True)
        wrong = [(path, size) for path, size in sizes if size != shape]
        its = f"its image {self.image.name}"
        raise_all([readers.wrong_size(path, size, shape, image=its) for path, size in wrong])
        return np.logical_or.reduce([np.zeros(shape, bool), *masks])

    def read_image(self) -> tuple[np.ndarray, tuple[float, float] | None]:
        """Read the image and its spacing, as `kerasunet.data.read_image` does."""
        return readers.read_image(self.image, frame=self.frame)

    def read_mask_values(self, path: Path) -> readers.MaskValues:
        """Read one of the mask files, laid on the image, undecoded."""
        return readers.read_mask(
            path, frame=self.frame, image=self.image, segments=self.coding.segments
        )

    def _read_mask(self, path: Path) -> np.ndarray:
        return self.coding.decode(self.read_mask_values(path), str(path))


class Annotation(Protocol):
    """A mask that is described rather than stored, as by polygons."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of what is drawn, except those that stand for background."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What cannot be drawn and is left out, a line each that names the file."""

    def of(self, labels: Collection[str]) -> Annotation:
        """Return the annotation with only what has one of these labels."""

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the bool mask, (height, width); a `ValueError` names the file and the fault."""


@dataclass(frozen=True)
class AnnotatedCase:
    """A case of one image file and an annotation from which the mask is drawn."""

    key: str
    group: str
    image: Path
    annotation: Annotation
    label: str = ""

    def load(self) -> Sample:
        """Read the image and draw the mask."""
        image, spacing = self.read_image()
        return Sample(image, self.read_mask(image.shape[:2]), spacing)

    def read_mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the mask, bool, for an image of this height and width."""
        return self.annotation.mask(shape)

    def read_image(self) -> tuple[np.ndarray, tuple[float, float] | None]:
        """Read the image and its spacing, as `kerasunet.data.read_image` does."""
        sized = getattr(self.annotation, "size", ()) is not None
        return readers.read_image(self.image, outlined=True, sized=sized)


@dataclass(frozen=True)
class UnannotatedCase:
    """An image file without a mask: nobody has said yet where the object is, or that there is none.

    It is in no split. `FileCase` with no mask file says that there is no object.
    """

    key: str
    group: str
    image: Path
    label: str = ""

    def load(self) -> Sample:
        """Raise a `ValueError`, because there is no mask."""
        raise ValueError(f"{self.image}: has no mask")


@dataclass(frozen=True)
class SimulatedCase:
    """A case that is drawn when asked for: a pure function of simulator, seed and index."""

    simulator: str
    seed: int
    index: int
    size: int = 128
    label: str = ""

    @property
    def key(self) -> str:
        return f"{self.simulator}-{self.seed}-{self.index:05d}"

    @property
    def group(self) -> str:
        return self.key

    def load(self) -> Sample:
        """Simulate image and mask."""
        made = simulation.simulate(self.simulator, self.seed, self.index, size=self.size)
        return Sample(made.image.astype(np.float32), made.mask, made.spacing)


@dataclass(frozen=True)
class DataSet:
    """A named, ordered collection of cases.

    Attributes:
        name: Short name, such as `"bus_bra"`.
        cases: The cases, sorted by key; keys are unique.
        layout: The file layout that was recognized, for messages.
        terms: License or terms of use of the data, for model cards.
        citation: How to cite the data.
        remarks: What was left out of the annotations, one line each.
        official: The divisions that come with the data, by name. Each maps the key of every case
            to the fold that tests it, from 0, or to its part: `"train"`, `"validation"` or
            `"test"`.
        unannotated: Images without a mask, sorted by key; they take part in nothing but `predict`.
        unread: Files of a folder that belong to no case, sorted; documents are not among them.
    """

    name: str
    cases: tuple[Case, ...]
    layout: str
    terms: str = "not stated"
    citation: str = ""
    official: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict, hash=False)
    remarks: tuple[str, ...] = ()
    unannotated: tuple[UnannotatedCase, ...] = ()
    unread: tuple[Path, ...] = ()

    def __post_init__(self):
        if not self.cases:
            raise ValueError(f"{self.name}: {_why_empty(self.unannotated)}")
        keys = [case.key for case in self.cases]
        named = [*self.cases, *self.unannotated]
        words = [self.name, *(word for c in named for word in (c.key, c.group, c.label))]
        unprintable = sorted({repr(w) for w in words if not (isinstance(w, str) and is_plain(w))})
        if unprintable:
            raise ValueError(
                f"{self.name!r}: these names are not text, or have characters that tables and "
                f"terminals cannot show; rename them: {', '.join(unprintable[:_MOST_NAMED])}"
            )
        if repeated := _repeated(keys):
            raise ValueError(f"{self.name}: these keys stand for several cases: {repeated}")
        if clashes := _repeated(key.casefold() for key in keys):
            alike = [key for key in keys if key.casefold() in clashes]
            text = "keys differ only in upper and lower case, or in ligatures; rename some"
            raise ValueError(f"{self.name}: {text}: {alike}")

    def __len__(self) -> int:
        return len(self.cases)

    def select(self, keys: Iterable[str]) -> tuple[Case, ...]:
        """Return the cases of these keys, in the order of the keys."""
        by_key = {case.key: case for case in self.cases}
        return tuple(by_key[key] for key in keys)

    def with_labels(self, labels: Collection[str]) -> DataSet:
        """Return the data set with only the cases that have one of these labels.

        Raises:
            ValueError: A label is unknown; the message names the known ones.
        """
        known = sorted({case.label for case in self.cases})
        if unknown := sorted(set(labels) - set(known)):
            raise ValueError(
                f"labels {', '.join(unknown)}: {self.name} has the labels "
                f"{', '.join(filter(None, known)) or 'none'}"
            )
        return replace(
            self,
            cases=tuple(case for case in self.cases if case.label in labels),
            unannotated=tuple(case for case in self.unannotated if case.label in labels),
        )

    @property
    def objects(self) -> Objects:
        """What the masks mark."""
        return objects_of(self.cases)

    @property
    def digest(self) -> str:
        """SHA-256 over keys, groups, labels and several objects: the same on every machine."""
        lines = [f"{case.key}\t{case.group}\t{case.label}" for case in self.cases]
        if self.objects.several:
            lines.append(f"objects: {self.objects}")
        return hashlib.sha256("\n".join([self.name, *lines]).encode()).hexdigest()


def file_stem(key: str) -> str:
    """Return the name of a case's file without folders and without the number of a frame."""
    return re.sub(r"-frame\d{4,}$", "", key.rpartition("/")[2])


def by_annotation(cases: Iterable[Case]) -> tuple[tuple[Case, ...], tuple[UnannotatedCase, ...]]:
    """Sort cases by key, those with and those without an annotation apart."""
    ordered = sorted(cases, key=lambda case: case.key)
    unannotated = tuple(case for case in ordered if isinstance(case, UnannotatedCase))
    return tuple(c for c in ordered if not isinstance(c, UnannotatedCase)), unannotated


def _why_empty(unannotated: Collection[UnannotatedCase]) -> str:
    if not unannotated:
        return "no cases found"
    return f"none of the {len(unannotated):,} images has a mask; draw masks, or correct their names"


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, count in Counter(keys).items() if count > 1]

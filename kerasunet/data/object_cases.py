"""Cases of several objects: one image, and for each object a case that marks it alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from kerasunet.data import simulation
from kerasunet.data.cases import AnnotatedCase, FileCase, Sample, SimulatedCase
from kerasunet.files import call_all
from kerasunet.objects import Objects

_MOST_HIDDEN = 0.1


@dataclass(frozen=True)
class CaseOfObjects:
    """A case in files with several objects.

    Attributes:
        key, group, label: As of every case.
        parts: For each object, the case that marks it alone, all of one image.
        objects: The objects.
    """

    key: str
    group: str
    label: str
    parts: tuple[FileCase | AnnotatedCase, ...]
    objects: Objects

    @property
    def image(self) -> Path:
        """The image file."""
        return self.parts[0].image

    @property
    def frame(self) -> int:
        """The frame to read from image and masks, from 0."""
        return getattr(self.parts[0], "frame", 0)

    @property
    def masks(self) -> tuple[Path, ...]:
        """The mask files of all objects."""
        found = (path for part in self.parts for path in getattr(part, "masks", ()))
        return tuple(dict.fromkeys(found))

    @property
    def annotation_file(self) -> Path | None:
        """The file in which the objects are drawn, if one is."""
        return getattr(getattr(self.parts[0], "annotation", None), "path", None)

    def load(self) -> Sample:
        """Read the image and the masks of all objects.

        Raises:
            ValueError: Files cannot be used; or objects that exclude each other overlap by more
                than a narrow seam.
        """
        image, spacing = self.read_image()
        shape = image.shape[:2]
        planes = call_all([partial(part.read_mask, shape) for part in self.parts])
        return Sample(image, self.joined(planes), spacing)

    def joined(self, planes: list[np.ndarray]) -> np.ndarray:
        """Join the masks of all objects, bool, `(height, width)`, as `Objects.encode` does.

        Raises:
            ValueError: Objects that exclude each other overlap by more than a narrow seam.
        """
        if self.objects.exclusive:
            self._require_apart(planes)
        return self.objects.encode(planes)

    def read_image(self) -> tuple[np.ndarray, tuple[float, float] | None]:
        """Read the image and its spacing, as `kerasunet.data.read_image` does."""
        return self.parts[0].read_image()

    def _require_apart(self, planes: list[np.ndarray]) -> None:
        """Refuse to hide much of an object below those that are named after it."""
        names = self.objects.names
        for number, plane in enumerate(planes):
            above = np.logical_or.reduce([np.zeros_like(plane), *planes[number + 1 :]])
            hidden, area = np.count_nonzero(plane & above), np.count_nonzero(plane)
            if hidden > _MOST_HIDDEN * area:
                later = ", ".join(names[number + 1 :])
                raise ValueError(
                    f"{self.image}: {hidden / area:.0%} of {names[number]} is also {later}; give "
                    f"--overlapping if a pixel may be both, or name {names[number]} last to put "
                    "it on top"
                )


@dataclass(frozen=True)
class SimulatedCaseOfObjects(SimulatedCase):
    """A case that is drawn when asked for, with objects other than the simulator's usual one.

    Attributes:
        sources: For each object, which of the simulator's parts are united to it.
        objects: The objects.
    """

    sources: tuple[tuple[str, ...], ...] = ()
    objects: Objects = Objects()

    def load(self) -> Sample:
        """Simulate image and masks."""
        made = simulation.simulate(self.simulator, self.seed, self.index, size=self.size)
        planes = [
            np.logical_or.reduce([made.parts[name] for name in sources]) for sources in self.sources
        ]
        return Sample(made.image.astype(np.float32), self.objects.encode(planes), made.spacing)

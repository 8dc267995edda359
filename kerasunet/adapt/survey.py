"""A first look at a lab's folder: what is in it, what is wrong with it, what to keep in mind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kerasunet.adapt.settings import AdaptSettings
from kerasunet.data.cases import DataSet
from kerasunet.data.checking import Report, check
from kerasunet.data.checking.data_set import proposal_for
from kerasunet.data.checking.report import as_html
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.identification import image_statistics, modality_of_data
from kerasunet.data.loading import require_objects
from kerasunet.data.splits import groups_in_words
from kerasunet.drawing import contact_sheet, write_png
from kerasunet.files import write_text
from kerasunet.models import ModelCard, Span
from kerasunet.objects import MODALITY_LABELS, Modality, modality_of
from kerasunet.runs.preparation import load_data

OBJECT_SIDE_OF = 128
"""Object sizes are in pixels of an image whose sides have this many pixels."""
_SHEET = 48
_LOOKS = {
    "brightness": "the mean gray level (0 to 255)",
    "contrast": "the spread of gray levels",
    "aspect": "width divided by height",
}
MARK = b"kerasunet adapt"


@dataclass(frozen=True, eq=False)
class Survey:
    """What a folder holds.

    Attributes:
        data: The annotated cases, near-duplicates joined to groups.
        report: What the check found.
        modality: The kind of image; `None` if unknown.
        is_guessed: Whether that is a guess from the images.
        object_side: Median side of an object, the square root of its area, in pixels of 128; for
            several objects, that of the smallest.
        empty: Number of masks without an object.
        absent: For several objects, the number of masks that lack each, by name.
        images: What the images are like: the medians.
        is_corrected: Whether the guess was different before the starts were tried.
    """

    data: DataSet
    report: Report
    modality: Modality | None
    is_guessed: bool
    object_side: float
    empty: int
    absent: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, float] = field(default_factory=dict)
    is_corrected: bool = False

    @property
    def groups(self) -> str:
        """What the groups are, in words: patients that somebody named, or images."""
        return groups_in_words(self.data.cases)

    @property
    def kind(self) -> str:
        """The kind of image, in a word."""
        return "unknown kind" if self.modality is None else MODALITY_LABELS[self.modality]

    def lines(self) -> list[str]:
        """Return what is worth knowing, one line per item."""
        data, counts = self.data, self.report.counts()
        how = "guessed from the images" + ", corrected by what the starts find" * self.is_corrected
        guess = f" ({how})" if self.is_guessed else ""
        of = f" ({self.groups})" if self.groups != f"{len(data):,} images" else ""
        lines = [
            f"{len(data):,} annotated images{of}, {self.kind}{guess}; read as {data.layout}",
        ]
        if data.unannotated:
            images = f"{bare:,} images" if (bare := len(data.unannotated)) > 1 else "1 image"
            lines.append(f"{images} without a mask, left out of training")
        if self.empty:
            lines.append(f"{self.empty:,} masks are empty" if self.empty > 1 else "1 mask is empty")
        if data.objects.several:
            lacking = [f"{name} is absent from {n:,} masks" for name, n in self.absent.items() if n]
            lines.append("; ".join([f"objects: {data.objects}", *lacking]))
        found = [f"{n} {kind}" if n == 1 else f"{n} {kind}s" for kind, n in counts.items() if n]
        if found:
            lines.append(f"the check found {', '.join(found)}: see check.html")
        proposal = proposal_for(data) if hasattr(data.cases[0], "image") else None
        if proposal is not None:
            lines.append(
                f"no patients are named, but the file names suggest {len(proposal.groups):,}; if "
                f"that is right, add --group-pattern '{proposal.pattern}', or the estimate will be "
                "too optimistic"
            )
        return lines

    def unlike(self, name: str, card: ModelCard) -> list[str]:
        """Return how the images differ from those that a start was trained on, one line per item.

        Args:
            name: What to call the start.
            card: Its card, which may not know what these were like.
        """
        lines = []
        for kind, words in _LOOKS.items():
            known: Span | None = getattr(card.images, kind, None)
            found = self.images.get(kind)
            if known is not None and found is not None and not known.low <= found <= known.high:
                lines.append(
                    f"{words} has a median of {found:.3g} in these images; {name} was trained on "
                    f"{known.low:.3g} to {known.high:.3g}"
                )
        return lines

    def write(self, folder: Path) -> None:
        """Write `check.html` and `pairs.png`, some pairs to look at."""
        write_text(folder / "check.html", as_html(self.report))
        step = max(1, len(self.data) // _SHEET)
        cases = self.data.cases[::step][:_SHEET]
        samples = [case.load() for case in cases]
        captions = [f"{case.key} {case.label}".strip() for case in cases]
        images, masks = [s.image for s in samples], [s.mask for s in samples]
        sheet = contact_sheet(images, masks, captions, objects=self.data.objects)
        write_png(folder / "pairs.png", sheet, mark=MARK)


def load_cases(settings: AdaptSettings) -> DataSet:
    """List the annotated cases in the requested groups; nothing heavy is imported for that.

    Raises:
        FileNotFoundError: The data do not exist.
        ValueError: The data cannot be used, or a pattern assigns all images to one patient.
    """
    data = load_data(settings.of_run("all", "natural", OBJECT_SIDE_OF))
    pattern = settings.group_pattern
    if pattern is not None and len(data) > 1 and len({case.group for case in data.cases}) == 1:
        raise ValueError(
            f"group pattern {pattern}: assigns all {len(data):,} images of {data.name} "
            "to one patient, so nothing could be tested on other patients; put in parentheses what "
            "differs between patients, such as ([0-9]+), or leave the pattern out"
        )
    return data


def survey(settings: AdaptSettings, data: DataSet, cases: DecodedCases) -> Survey:
    """Look at a data set.

    Args:
        settings: What was asked for.
        data: The annotated cases, in their groups.
        cases: The same, decoded to 128 pixels.

    Raises:
        ValueError: The data cannot be used, or no mask has one of several objects.
    """
    if cases.objects.several:
        require_objects(data.cases, cases)
    shares = cases.objects.planes(cases.masks).mean((2, 3))
    looks = image_statistics(data.cases)._asdict()
    sides = [np.sqrt(np.median(one[one > 0])) * OBJECT_SIDE_OF for one in shares]
    return Survey(
        data=data,
        report=check(
            settings.data,
            settings.manual_dir,
            settings.objects,
            mask_threshold=settings.mask_threshold,
            overlapping=settings.overlapping,
            group_pattern=settings.group_pattern,
        ),
        modality=modality_of_data(data),
        is_guessed=modality_of(data.name) is None,
        object_side=float(min(sides)),
        empty=int((shares == 0).all(axis=0).sum()),
        absent=dict(zip(cases.objects.names, (shares == 0).sum(axis=1).tolist(), strict=True)),
        images={kind: float(np.median(values)) for kind, values in looks.items()},
    )

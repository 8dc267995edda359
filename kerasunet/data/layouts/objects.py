"""Which labels, values, colors, files or simulated parts are an object, as the user chose.

Where there are several, a case has a part for each, which marks it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from kerasunet.data import simulation
from kerasunet.data.annotations import NO_OBJECT
from kerasunet.data.cases import (
    AnnotatedCase,
    Case,
    DataSet,
    FileCase,
    MaskCoding,
    Sample,
    SimulatedCase,
)
from kerasunet.data.layouts.coco import CocoOutlines
from kerasunet.data.layouts.contents import image_stem
from kerasunet.data.layouts.tables import (
    KNOWN_CLASSES,
    Classes,
    check_named,
    classes_of_files,
    coded,
    misspelled,
    with_background,
)
from kerasunet.data.readers import segments
from kerasunet.files import call_all, raise_all, report_all
from kerasunet.objects import (
    ObjectChoice,
    Objects,
    is_code,
    nothing_drawn,
    require_known,
    require_labels,
    require_names,
    require_one_meaning,
    require_one_type,
    several_in_words,
)

_SEGMENTED = (".dcm", ".dicom", ".nrrd")
_GROUND = (*NO_OBJECT, "bg", "void", "ignore", "ignored", "unlabeled", "unlabelled")
_MOST_HIDDEN = 0.1


def with_objects(
    data: DataSet,
    objects: Sequence[str],
    mask_threshold: int | None,
    *,
    overlapping: bool = False,
) -> DataSet:
    """Apply the choice of objects to every case.

    Args:
        data: A data set as it was listed.
        objects: The choice, text for each object, as `ObjectChoice.parse` reads it; empty for
            what the data say.
        mask_threshold: Gray level of mask files above which a pixel is object; `None`: masks are
            binary.
        overlapping: Whether a pixel may belong to several objects.

    Returns:
        The data set; what annotations have left out is in its `remarks`.

    Raises:
        ValueError: Nothing was chosen and the data have several labels or classes, or what was
            chosen is not among them.
    """
    choices = ObjectChoice.parse_all(objects)
    if mask_threshold is not None and mask_threshold < 0:
        raise ValueError(f"--mask-threshold {mask_threshold}: a gray level, so it is 0 or more")
    if overlapping and len(choices) < 2:
        raise ValueError(
            "--overlapping: only several objects can overlap; name each, such as --objects lesion "
            "caliper"
        )
    if choices and mask_threshold is None and (parts := simulated_parts(data)):
        return _simulated(data, choices, parts, overlapping=overlapping)
    chosen = [source for choice in choices for source in choice.sources]
    if len(choices) < 2:
        return _with_object(data, objects, mask_threshold, of_all=chosen)
    alone = [_with_object(data, [text], mask_threshold, of_all=chosen) for text in objects]
    named = Objects(tuple(choice.name for choice in choices), overlapping)
    cases = tuple(
        CaseOfObjects(case.key, case.group, case.label, parts=tuple(parts), objects=named)
        for case, *parts in zip(data.cases, *(one.cases for one in alone), strict=True)
    )
    return replace(data, cases=cases, remarks=alone[0].remarks)


def simulated_parts(data: DataSet) -> tuple[str, ...]:
    """Return the objects among which a simulated data set leaves the choice; none for others."""
    kinds = {getattr(case, "simulator", "") for case in data.cases}
    return simulation.PARTS.get(kinds.pop(), ()) if len(kinds) == 1 else ()


def _simulated(
    data: DataSet, choices: Sequence[ObjectChoice], parts: Sequence[str], *, overlapping: bool
) -> DataSet:
    unknown = [s for choice in choices for s in choice.sources if s not in parts]
    if unknown:
        raise ValueError(
            f"--objects {', '.join(unknown)}: {data.name} has no such object; it has "
            f"{', '.join(parts)}"
        )
    objects = Objects(tuple(choice.name for choice in choices), overlapping)
    sources = tuple(choice.sources for choice in choices)
    cases = (case for case in data.cases if isinstance(case, SimulatedCase))
    made = [SimulatedCaseOfObjects(**vars(c), sources=sources, objects=objects) for c in cases]
    return replace(data, cases=tuple(made))


def _with_object(
    data: DataSet, objects: Sequence[str], mask_threshold: int | None, *, of_all: Sequence[str]
) -> DataSet:
    """Apply the choice of one object, or none, to every case."""
    choice = ObjectChoice.parse(objects[0]) if objects else None
    data = _with_known_classes(data, choice)
    annotated = [case for case in data.cases if isinstance(case, AnnotatedCase)]
    files = [case for case in data.cases if isinstance(case, FileCase)]
    _check_request(data, choice, mask_threshold, annotated=annotated, files=files)
    paths = dict.fromkeys(path for case in files for path in case.masks)
    segmented = _labels_of_segments(paths, of_all)
    faults = tuple(fault for case in annotated for fault in case.annotation.faults)
    drawn = [*(case.annotation.labels for case in annotated), *segmented.values()]
    counts = Counter(label for labels in drawn for label in labels)
    classes, by_file = _named(files), classes_of_files(files)
    if choice and objects[0] in {*counts, *classes}:
        choice = ObjectChoice((objects[0],), objects[0])  # A label that has a comma, or `=`.
    parts = dict.fromkeys(by_file.values())
    chosen = {*choice.sources} if choice else set()
    if choice:
        names = {*counts, *classes, *parts}
        require_known(choice, data.name, names, by_value=len(paths) > len(segmented))
        _check_spelling(data.name, of_all, names)
        outlined = {label for case in annotated for label in case.annotation.labels}
        require_labels(choice, data.name, outlined, chosen=of_all)
    if choice and chosen & parts.keys():
        check_named([c for c in files if not {*c.masks} & {*segmented}], by_file, chosen=True)
        pick = partial(_of_files, choice=choice, threshold=mask_threshold, labels={*counts})
        cases = tuple(pick(case, by_file, segmented={*segmented}) for case in data.cases)
        told = _without(choice, files, by_file) if len(of_all) == len(chosen) else ()
        return replace(data, cases=cases, remarks=(*faults, *told))
    if choice and not any(map(is_code, of_all)):
        bare = (path for c in files if not c.coding.classes for path in c.masks)
        require_names(choice, [path for path in bare if path not in {*segmented, *by_file}])
    if not chosen and (counts or classes) and len({*counts, *classes, *parts}) > 1:
        report_all([several_in_words(data.name, counts, (*classes, *parts))], "")
    elif len(parts) > 1 and not (chosen and chosen <= counts.keys()):
        report_all([several_in_words(data.name, Counter(), parts)], "")
    elif by_file:
        check_named(files, by_file, chosen=False)
    elif not (chosen or counts) and _are_coco(data.cases):
        report_all([nothing_drawn(data.name, len(data))], "")
    cases = tuple(_chosen(c, choice, mask_threshold, segmented={*segmented}) for c in data.cases)
    return replace(data, cases=cases, remarks=faults)


def _check_request(
    data: DataSet,
    choice: ObjectChoice | None,
    mask_threshold: int | None,
    *,
    annotated: Sequence[AnnotatedCase],
    files: Sequence[FileCase],
) -> None:
    """Refuse a choice where there is none, and a threshold beside a choice of values."""
    if (choice or mask_threshold is not None) and not (annotated or files):
        raise ValueError(
            f"{data.name}: its masks are made for one object, there is nothing to choose; leave "
            "out --objects and --mask-threshold"
        )
    tabled = next((case.image for case in files if case.coding.classes), None)
    if mask_threshold is not None and tabled:
        text = f"the mask of {tabled} comes with a table of classes, which says what its values are"
        raise ValueError(f"--mask-threshold {mask_threshold}: {text}; leave out one of the two")
    require_one_meaning(choice.sources if choice else (), [c.coding.classes for c in files])
    by_value = choice is not None and not {*choice.sources} <= {*classes_of_files(files).values()}
    if mask_threshold is not None and (by_value or not files):
        raise ValueError(
            f"--mask-threshold {mask_threshold}: cuts mask files at a gray level, "
            + ("so it cannot be combined with --objects" if files else f"{data.name} has none")
        )


def _with_known_classes(data: DataSet, choice: ObjectChoice | None) -> DataSet:
    """Let the classes of a published set be chosen by name."""
    table = KNOWN_CLASSES.get(data.name, ())
    if choice is None or not data.citation or not {*choice.sources} & {name for name, _ in table}:
        return data
    return replace(data, cases=tuple(coded(data.cases, with_background(table))))


def _of_files(
    case: Case,
    by_file: Mapping[Path, str],
    *,
    choice: ObjectChoice,
    threshold: int | None,
    labels: Set[str],
    segmented: Set[Path],
) -> Case:
    if not isinstance(case, FileCase) or segmented & {*case.masks}:
        return _chosen(case, choice, threshold, segmented=segmented)
    masks = tuple(path for path in case.masks if by_file.get(path) in choice.sources)
    codes = tuple(s for s in choice.sources if s not in {*by_file.values(), *labels})
    of_values = ObjectChoice(codes, choice.name) if codes else None
    is_coded = codes or threshold is not None
    coding = _coding(case.coding, of_values, threshold) if is_coded else case.coding
    return replace(case, masks=masks, coding=coding)


def _without(
    choice: ObjectChoice, files: Sequence[FileCase], by_file: Mapping[Path, str]
) -> Iterator[str]:
    """Name the images that have masks, but none of the object."""
    by_image = {case.image: {by_file.get(path) for path in case.masks} - {None} for case in files}
    of = [image for image, known in by_image.items() if known and not known & {*choice.sources}]
    if of:
        more = f" and {len(of) - 1:,} others have" if of[1:] else " has"
        yield f"{of[0]}{more} masks of other objects only, and no {choice.name}"


def _labels_of_segments(paths: Iterable[Path], chosen: Sequence[str]) -> dict[Path, list[str]]:
    """Return the labels of each segmentation that names its segments."""
    found = {path: of for path in paths if (of := _segments(path))}
    require_one_type(chosen, found)
    return {path: labels for path, of in found.items() if (labels := [n for n, _ in of if n])}


def _segments(path: Path) -> tuple[tuple[str, str], ...]:
    """Return label and type of the segments of a mask, if it is a segmentation."""
    may_be_one = path.suffix.lower() in _SEGMENTED or image_stem(path.name) is None
    with suppress(OSError, ValueError):  # Said when the mask is read.
        return segments(path) if may_be_one else ()
    return ()


def _chosen(
    case: Case, choice: ObjectChoice | None, threshold: int | None, *, segmented: Set[Path]
) -> Case:
    if isinstance(case, AnnotatedCase) and choice:
        return replace(case, annotation=case.annotation.of(choice.sources))
    if isinstance(case, FileCase) and segmented & {*case.masks}:
        segments = choice.sources if choice else ()
        return replace(case, coding=replace(case.coding, segments=segments))
    if isinstance(case, FileCase):
        coding = _coding(case.coding, choice, threshold)
        return case if coding is case.coding else replace(case, coding=coding)
    return case


def _coding(coding: MaskCoding, choice: ObjectChoice | None, threshold: int | None) -> MaskCoding:
    if threshold is not None:
        return MaskCoding(above=threshold)
    table = list(_objects_of(coding.classes))
    sources = choice.sources if choice else tuple(name for name, _ in table)
    codes = [code for name, code in table if name in sources]
    codes += [int(s) if s.isdecimal() else s.lower() for s in sources if s not in dict(table)]
    if not codes:
        return coding
    return replace(
        coding,
        above=None,
        labels=tuple(code for code in codes if isinstance(code, int)),
        colors=tuple(code for code in codes if isinstance(code, str)),
    )


def _objects_of(classes: Classes) -> Iterator[tuple[str, int | str]]:
    return ((name, code) for name, code in classes if name.lower() not in _GROUND)


def _are_coco(cases: Iterable[Case]) -> bool:
    return all(isinstance(getattr(case, "annotation", None), CocoOutlines) for case in cases)


def _named(files: Iterable[FileCase]) -> dict[str, None]:
    """Return the names of all classes of the tables that come with mask files."""
    tables = dict.fromkeys(case.coding.classes for case in files)
    return dict.fromkeys(name for classes in tables for name, _ in _objects_of(classes))


def _check_spelling(data: str, chosen: Sequence[str], names: Set[str]) -> None:
    """Refuse names that are there in another spelling, too, of which nobody has thought."""
    others = sorted(names - {*chosen})
    for name in chosen:
        found = [text for text in misspelled([name, *others], "object") if repr(name) in text]
        raise_all([f"{data}: {text}, or name both" for text in found])


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
        planes = call_all([partial(part.read_mask, image.shape[:2]) for part in self.parts])
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
        parts = ([made.parts[name] for name in sources] for sources in self.sources)
        planes = list(map(np.logical_or.reduce, parts))
        return Sample(made.image.astype(np.float32), self.objects.encode(planes), made.spacing)

"""Which labels, values, colors, files or simulated parts are an object, as the user chose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from kerasunet.data.cases import (
    AnnotatedCase,
    Case,
    DataSet,
    FileCase,
    MaskCoding,
    SimulatedCase,
)
from kerasunet.data.layouts.annotations import NO_OBJECT
from kerasunet.data.layouts.coco import CocoOutlines
from kerasunet.data.layouts.pairing import EVERY_MASK_FOLDER, image_stem
from kerasunet.data.layouts.tables import Classes, with_ground
from kerasunet.data.object_cases import CaseOfObjects, SimulatedCaseOfObjects
from kerasunet.data.readers import segment_labels
from kerasunet.data.simulation import PARTS
from kerasunet.files import report_all
from kerasunet.objects import Objects
from kerasunet.options import ObjectChoice

_SEGMENTED = (".dcm", ".dicom", ".nrrd")
_COLOR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_GROUND = (*NO_OBJECT, "bg", "void", "ignore", "ignored", "unlabeled", "unlabelled")
_CLASS_AT_END = re.compile(r"_mask[_ -]([^\W\d_][^\W_]*(?:[_ -][^\W\d_]+)*)$", re.IGNORECASE)
KNOWN_CLASSES: dict[str, Classes] = {
    "jsrt": (("right_lung", 150), ("left_lung", 200), ("heart", 250)),
}
"""What the values of a published set's masks stand for, where they mark several objects."""


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
        objects: The choice, a text for each object, as `ObjectChoice.parse` reads it; empty for
            what the data say.
        mask_threshold: Grey level of mask files above which a pixel is object; `None`: masks are
            binary.
        overlapping: Whether a pixel may be of several objects.

    Returns:
        The data set; what annotations have left out is in its `remarks`.

    Raises:
        ValueError: Nothing was chosen and the data have several labels or classes, or what was
            chosen is not among them.
    """
    choices = ObjectChoice.parse_all(objects)
    if overlapping and len(choices) < 2:
        raise ValueError(
            "--overlapping: only several objects can overlap; name each, such as --objects lesion "
            "caliper"
        )
    if choices and mask_threshold is None and (parts := simulated_parts(data)):
        return _simulated(data, choices, parts, overlapping=overlapping)
    if len(choices) < 2:
        return _with_object(data, objects, mask_threshold)
    alone = [_with_object(data, [text], mask_threshold) for text in objects]
    named = Objects(tuple(choice.name for choice in choices), overlapping)
    cases = tuple(
        CaseOfObjects(case.key, case.group, case.label, parts=tuple(parts), objects=named)
        for case, *parts in zip(data.cases, *(one.cases for one in alone), strict=True)
    )
    return replace(data, cases=cases, remarks=alone[0].remarks)


def simulated_parts(data: DataSet) -> tuple[str, ...]:
    """Return the objects among which a simulated data set leaves the choice; none for others."""
    kinds = {getattr(case, "simulator", "") for case in data.cases}
    return PARTS.get(kinds.pop(), ()) if len(kinds) == 1 else ()


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
    made = tuple(
        SimulatedCaseOfObjects(**vars(case), sources=sources, objects=objects) for case in cases
    )
    return replace(data, cases=made)


def _with_object(data: DataSet, objects: Sequence[str], mask_threshold: int | None) -> DataSet:
    """Apply the choice of one object, or none, to every case."""
    choice = ObjectChoice.parse(objects[0]) if objects else None
    data = _with_known_classes(data, choice)
    annotated = [case for case in data.cases if isinstance(case, AnnotatedCase)]
    files = [case for case in data.cases if isinstance(case, FileCase)]
    _check_request(data, choice, mask_threshold, annotated=annotated, files=files)
    paths = dict.fromkeys(path for case in files for path in case.masks)
    segmented = {path: labels for path in paths if (labels := _segment_labels(path))}
    drawn = [*(case.annotation.labels for case in annotated), *segmented.values()]
    counts = Counter(label for labels in drawn for label in labels)
    classes, by_file = _named(files), classes_of_files(files)
    if choice and objects[0] in {*counts, *classes}:
        choice = ObjectChoice((objects[0],), objects[0])  # A label that has a comma, or `=`.
    if choice and {*choice.sources} <= {*by_file.values()}:
        cases = tuple(_of_files(case, choice, by_file, mask_threshold) for case in data.cases)
        return replace(data, cases=cases)
    if choice:
        named = (*classes, *dict.fromkeys(by_file.values()))
        _check(choice, data.name, counts, named, by_value=len(paths) > len(segmented))
    elif len(counts) > 1 or len(classes) > 1:
        report_all([_several(data.name, counts, classes)], "")
    elif len(folders := dict.fromkeys(_classes_of_folders(files).values())) > 1:
        report_all([_several(data.name, Counter(), folders)], "")
    elif not counts and all(_is_coco(case) for case in data.cases):
        report_all([_nothing_drawn(data)], "")
    cases = tuple(
        _with_segments(case, choice)
        if segmented.keys() & set(getattr(case, "masks", ()))
        else _chosen(case, choice, mask_threshold)
        for case in data.cases
    )
    remarks = tuple(fault for case in annotated for fault in case.annotation.faults)
    return replace(data, cases=cases, remarks=remarks)


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
    by_file = {*classes_of_files(files).values()}
    by_value = choice is not None and not {*choice.sources} <= by_file
    if mask_threshold is not None and (by_value or not files):
        raise ValueError(
            f"--mask-threshold {mask_threshold}: cuts mask files at a grey level, "
            + ("so it cannot be combined with --objects" if files else f"{data.name} has none")
        )


def _with_known_classes(data: DataSet, choice: ObjectChoice | None) -> DataSet:
    """Let the classes of a published set be chosen by name."""
    table = KNOWN_CLASSES.get(data.name, ())
    if choice is None or not data.citation or not {*choice.sources} & {name for name, _ in table}:
        return data
    known = with_ground(table)
    cases = (
        replace(case, coding=replace(case.coding, classes=known))
        if isinstance(case, FileCase)
        else case
        for case in data.cases
    )
    return replace(data, cases=tuple(cases))


def classes_of_files(files: Iterable[FileCase]) -> dict[Path, str]:
    """Return the class of each mask file whose folder or name tells it.

    Those are `masks/heart/x.png`, a folder a class, and `x_mask_heart.png`.
    """
    files = tuple(files)
    found = _classes_of_folders(files)
    for case in files:
        for path in case.masks:
            stem = image_stem(path.name) or path.name
            if path not in found and (match := _CLASS_AT_END.search(stem)):
                found[path] = match[1]
    return found


def _classes_of_folders(files: Iterable[FileCase]) -> dict[Path, str]:
    """Return the class of each mask file that lies in a folder of its class."""
    return {
        path: path.parent.name
        for case in files
        for path in case.masks
        if path.parent.parent.name.lower() in EVERY_MASK_FOLDER
        and path.parent.name != PurePosixPath(case.key).parent.name
        and case.image.parent.name != path.parent.name
    }


def _of_files(
    case: Case, choice: ObjectChoice, by_file: Mapping[Path, str], threshold: int | None
) -> Case:
    if not isinstance(case, FileCase):
        return case
    masks = tuple(path for path in case.masks if by_file.get(path) in choice.sources)
    coding = case.coding if threshold is None else MaskCoding(above=threshold)
    return replace(case, masks=masks, coding=coding)


def _segment_labels(path: Path) -> tuple[str, ...]:
    """Return the labels of the segments of a mask, if it is a segmentation that names them."""
    if path.suffix.lower() not in _SEGMENTED and image_stem(path.name) is not None:
        return ()
    try:
        return tuple(label for label in segment_labels(path) if label)
    except (OSError, ValueError):  # Said when the mask is read.
        return ()


def _with_segments(case: Case, choice: ObjectChoice | None) -> Case:
    if choice is None or not isinstance(case, FileCase):
        return case
    return replace(case, coding=replace(case.coding, segments=choice.sources))


def _chosen(case: Case, choice: ObjectChoice | None, threshold: int | None) -> Case:
    if isinstance(case, AnnotatedCase) and choice:
        return replace(case, annotation=case.annotation.of(choice.sources))
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
    codes += [_code(source) for source in sources if source not in dict(table)]
    if not codes:
        return coding
    return replace(
        coding,
        above=None,
        labels=tuple(code for code in codes if isinstance(code, int)),
        colors=tuple(code for code in codes if isinstance(code, str)),
    )


def _code(source: str) -> int | str:
    return int(source) if source.isdecimal() else source.lower()


def _is_code(source: str) -> bool:
    return source.isdecimal() or _COLOR.fullmatch(source) is not None


def _objects_of(classes: Classes) -> Iterator[tuple[str, int | str]]:
    return ((name, code) for name, code in classes if name.lower() not in _GROUND)


def _is_coco(case: Case) -> bool:
    return isinstance(case, AnnotatedCase) and isinstance(case.annotation, CocoOutlines)


def _nothing_drawn(data: DataSet) -> str:
    return (
        f"{data.name}: none of its {len(data):,} images has an annotation; some programs write "
        "polygons to COCO, but brushes only to PNG masks: export these"
    )


def _named(files: Iterable[FileCase]) -> dict[str, None]:
    """Return the names of all classes of the tables that come with mask files."""
    tables = dict.fromkeys(case.coding.classes for case in files)
    return dict.fromkeys(name for classes in tables for name, _ in _objects_of(classes))


def _several(name: str, counts: Counter[str], classes: Iterable[str]) -> str:
    """Say that there are several objects, and how to choose."""
    drawn = [f"{label or 'no label'} ({count})" for label, count in counts.most_common()]
    names = list(dict.fromkeys([*counts, *classes]))
    listing = ", ".join([*drawn, *(name for name in classes if name not in counts)])
    one, all_ = _quoted(names[0]), _quoted(",".join(names))
    each = " ".join(map(_quoted, names))
    return (
        f"{name}: has several objects, {listing}; say which is meant: --objects {one} takes one, "
        f"--objects {all_} unites them, --objects {each} keeps them apart"
    )


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[\s&;|<>()$]", text) else text


def _check(
    choice: ObjectChoice, name: str, counts: Counter[str], classes: Iterable[str], *, by_value: bool
) -> None:
    """Require that what was chosen occurs.

    Raises:
        ValueError: It does not; the message names what does.
    """
    names = {*counts, *classes}
    unknown = [s for s in choice.sources if s not in names and not (by_value and _is_code(s))]
    if not unknown:
        return
    if names:
        raise ValueError(
            f"--objects {', '.join(unknown)}: {name} has no such label; it has "
            f"{', '.join(sorted(names))}"
        )
    if by_value:
        raise ValueError(
            f"--objects {', '.join(unknown)}: the masks of {name} come without a table of names; "
            f"give values or colors, such as --objects {choice.name}=1 or {choice.name}=#ff0000"
        )
    raise ValueError(f"--objects {', '.join(unknown)}: {name} has no shape with a label")

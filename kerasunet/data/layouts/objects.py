"""Which labels, values or colors are the object: tables of classes, and what the user chose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerasunet.data.cases import AnnotatedCase, Case, DataSet, FileCase, MaskCoding
from kerasunet.data.layouts.annotations import ENCODINGS, NO_OBJECT
from kerasunet.data.layouts.coco import CocoOutlines
from kerasunet.data.layouts.pairing import image_stem, read_rows
from kerasunet.data.readers import segment_labels
from kerasunet.files import read_json, report_all
from kerasunet.options import ObjectChoice

_SEGMENTED = (".dcm", ".dicom", ".nrrd")
_COLOR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_GROUND = (*NO_OBJECT, "bg", "void", "ignore", "ignored", "unlabeled", "unlabelled")
Classes = tuple[tuple[str, int | str], ...]


def with_objects(data: DataSet, objects: Sequence[str], mask_threshold: int | None) -> DataSet:
    """Apply the choice of objects to every case.

    Args:
        data: A data set as it was listed.
        objects: The choice, as `ObjectChoice.parse` reads it; empty for what the data say.
        mask_threshold: Grey level of mask files above which a pixel is object; `None`: masks are
            binary.

    Returns:
        The data set; what annotations have left out is in its `remarks`.

    Raises:
        ValueError: Nothing was chosen and the data have several labels or classes, or what was
            chosen is not among them.
    """
    choice = ObjectChoice.parse(objects)
    annotated = [case for case in data.cases if isinstance(case, AnnotatedCase)]
    files = [case for case in data.cases if isinstance(case, FileCase)]
    if (choice or mask_threshold is not None) and not (annotated or files):
        raise ValueError(
            f"{data.name}: its masks are made for one object, there is nothing to choose; leave "
            "out --objects and --mask-threshold"
        )
    if mask_threshold is not None and (choice or not files):
        raise ValueError(
            f"--mask-threshold {mask_threshold}: cuts mask files at a grey level, "
            + ("so it cannot be combined with --objects" if files else f"{data.name} has none")
        )
    paths = dict.fromkeys(path for case in files for path in case.masks)
    segmented = {path: labels for path in paths if (labels := _segment_labels(path))}
    drawn = [*(case.annotation.labels for case in annotated), *segmented.values()]
    counts = Counter(label for labels in drawn for label in labels)
    classes = _named(files)
    if choice and objects[0] in {*counts, *classes}:
        choice = ObjectChoice((objects[0],), objects[0])  # A label that has a comma, or `=`.
    if choice:
        _check(choice, data.name, counts, classes, by_value=len(paths) > len(segmented))
    elif len(counts) > 1 or len(classes) > 1:
        report_all([_several(data.name, counts, classes)], "")
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
    return (
        f"{name}: has several objects, {listing}; say which is meant: --objects {one} takes one, "
        f"--objects {all_} unites them"
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


def with_classes(folder: Path, cases: Sequence[Case]) -> list[Case]:
    """Let mask files be read by the table of classes in a folder, if there is one."""
    classes = classes_in(folder)
    if not classes:
        return list(cases)
    return [
        replace(case, coding=replace(case.coding, classes=classes))
        if isinstance(case, FileCase) and not case.coding.classes
        else case
        for case in cases
    ]


def classes_in(folder: Path) -> Classes:
    """Read the table of classes that comes with masks.

    That is `labelmap.txt` (CVAT), `label_colors.txt` (CamVid), `class_names.txt` (labelme),
    `_classes.csv` (Roboflow), `dataset.json` (nnU-Net) or `obj_class_to_machine_color.json`
    (Supervisely).

    Returns:
        The name and the value or color of each class, of the ground as well; empty if there is no
        table.

    Raises:
        ValueError: The table cannot be read.
    """
    for name, read in _TABLES.items():
        path = folder / name
        if path.is_file():
            try:
                return _with_ground(tuple(read(path)))
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{path}: not a readable table of classes ({error})") from error
    return ()


def _with_ground(classes: Classes) -> Classes:
    """Add the ground, which some tables take for granted."""
    if not classes or any(name.lower() in NO_OBJECT for name, _ in classes):
        return classes
    return (("background", 0), ("background", "#000000"), *classes)


def _cvat(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read lines such as `lung:128,0,0::`; a mere list of names is another kind of file."""
    lines = _lines(path)
    for line in lines if any(":" in line for line in lines) else ():
        name, color, *_ = line.split(":")
        yield name, _hex([int(part) for part in color.split(",")])


def _camvid(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read lines such as `128 0 0 lung`."""
    for line in _lines(path):
        *color, name = line.split(maxsplit=3)
        yield name, _hex([int(part) for part in color])


def _labelme(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read names whose line is their value, from `_background_` on."""
    lines = [line for line in _lines(path) if line != "__ignore__"]
    if lines and lines[0].lower() in NO_OBJECT:
        yield from ((name, number) for number, name in enumerate(lines))


def _roboflow(path: Path) -> Iterator[tuple[str, int | str]]:
    for _, row in read_rows(path):
        cells = {column.strip(): cell.strip() for column, cell in row.items()}
        yield cells["class"], int(cells["pixel value"])


def _nnunet(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read `{"lung": 1}`, or `{"1": "lung"}` of the first version; a region has several values."""
    labels = _dictionary(path, "labels")
    if any(name.lower() == "background" and value == 0 for name, value in labels.items()):
        for name, value in labels.items():
            yield from ((name, int(one)) for one in (value if isinstance(value, list) else [value]))
    elif str(labels.get("0")).lower() == "background":
        yield from ((str(name), int(value)) for value, name in labels.items())


def _supervisely(path: Path) -> Iterator[tuple[str, int | str]]:
    for name, color in _dictionary(path).items():
        yield name, _hex(color)


def _dictionary(path: Path, part: str = "") -> dict[str, Any]:
    content = read_json(path, ENCODINGS)
    found = content.get(part, {}) if part and isinstance(content, dict) else content
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _hex(color: Sequence[int]) -> str:
    if len(color) != 3:
        raise ValueError("a color has three numbers")
    return f"#{bytes(color).hex()}"


_TABLES: dict[str, Callable[[Path], Iterator[tuple[str, int | str]]]] = {
    "labelmap.txt": _cvat,
    "label_colors.txt": _camvid,
    "class_names.txt": _labelme,
    "_classes.csv": _roboflow,
    "dataset.json": _nnunet,
    "obj_class_to_machine_color.json": _supervisely,
}

"""Tables of classes that come with mask files: the name of each value or color."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerasunet.data.cases import Case, FileCase
from kerasunet.data.layouts.annotations import ENCODINGS, NO_OBJECT
from kerasunet.data.layouts.pairing import read_rows
from kerasunet.files import read_json

Classes = tuple[tuple[str, int | str], ...]


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
                return with_ground(tuple(read(path)))
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{path}: not a readable table of classes ({error})") from error
    return ()


def with_ground(classes: Classes) -> Classes:
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

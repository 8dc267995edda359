"""Tables that come with images: manifests, and the classes of mask files, by value or color.

A manifest is a CSV or TSV table with the columns image and mask, optionally group, label, split. An
image with several masks has several rows, one without an object has an empty mask cell. Paths are
relative to the manifest's folder and stay inside it; a file elsewhere needs an absolute path, which
nobody gives by mistake.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from kerasunet.data.annotations import ENCODINGS, NO_OBJECT
from kerasunet.data.cases import Case, DataSet, FileCase, misspelled
from kerasunet.data.layouts import EVERY_MASK_FOLDER, pairing
from kerasunet.data.layouts.folders import PARTS
from kerasunet.data.layouts.pairing import image_stem, keys_of
from kerasunet.files import is_plain, raise_all, read_json, report_all

MANIFESTS = ("manifest.csv", "manifest.tsv")
_MOST_BYTES = 64 << 20  # Of a table; one row per image takes a hundred.
_MOST_COLUMNS = 1000
_LONGEST_HEADER = 1 << 16
_CLASS_AT_END = re.compile(
    rf"[_-](?:masks?|annotations|labels|{pairing.OTHER_WORDS})"
    r"[_ -]([^\W\d_][^\W_]*(?:[_ -][^\W\d_]+)*?)(?:[_ -]\d+)?$",
    re.IGNORECASE,
)
_REQUIRED, _OPTIONAL = ("image", "mask"), ("group", "label", "split")
Classes = tuple[tuple[str, int | str], ...]
KNOWN_CLASSES: dict[str, Classes] = {
    "jsrt": (("right_lung", 150), ("left_lung", 200), ("heart", 250)),
}
"""What the values of a published set's masks stand for, where they mark several objects."""


class _Row(NamedTuple):
    where: str
    image: Path
    mask: Path | None
    group: str
    label: str
    split: str


def manifest_in(folder: Path) -> DataSet | None:
    """Read the `manifest.csv` or `manifest.tsv` of a folder; `None` if there is none."""
    path = next((folder / name for name in MANIFESTS if (folder / name).is_file()), None)
    sheets = [folder / f"manifest{suffix}" for suffix in pairing.SHEETS]
    if path is None and (sheet := next(filter(Path.is_file, sheets), None)):
        raise ValueError(f"{sheet}: a spreadsheet is not read; save it as manifest.csv, CSV UTF-8")
    return None if path is None else read_manifest(path)


def read_manifest(path: Path) -> DataSet:
    """Read a manifest.

    Args:
        path: A `.tsv` file, or a `.csv` file with commas or semicolons.

    Returns:
        The data set; a column `split` becomes its official division `"manifest"`.

    Raises:
        ValueError: Columns are missing, files do not exist or rows contradict each other; the
            message lists every row concerned.
    """
    cells = read_rows(path, _delimiter(path))
    columns = list(cells[0][1]) if cells else []
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: has no column {', '.join(missing)}, or no rows (its first line names "
            f"{', '.join(columns) or 'none'}); the columns are {', '.join(_REQUIRED)} and "
            f"optionally {', '.join(_OPTIONAL)}, with commas between them"
        )
    faults = {line: list(_faults(path, line, row)) for line, row in cells}
    by_image: dict[Path, list[_Row]] = {}
    for row in (_row(path, line, row) for line, row in cells if not faults[line]):
        by_image.setdefault(row.image, []).append(row)
    contradictions = {image: list(_contradictions(rows)) for image, rows in by_image.items()}
    groups = (row.get("group", "").strip() for _, row in cells)
    misspellings = [f"{path}: {fault}" for fault in misspelled(filter(None, groups))]
    faulty = (*faults.values(), *contradictions.values(), misspellings)
    problems = [fault for found in faulty for fault in found]
    report_all(problems, f"{len(problems)} faults in a manifest:")
    by_image = {image: rows for image, rows in by_image.items() if not contradictions[image]}
    used = [name for name in (*_REQUIRED, *_OPTIONAL) if name in columns]
    return _data_set(path, by_image, f"manifest with {', '.join(used)}")


def _data_set(path: Path, by_image: Mapping[Path, list[_Row]], layout: str) -> DataSet:
    keys = keys_of(by_image)
    cases = [_case(keys[image], rows) for image, rows in by_image.items()]
    parts = {keys[image]: PARTS[rows[0].split] for image, rows in by_image.items() if rows[0].split}
    return DataSet(
        path.parent.absolute().name if path.name in MANIFESTS else path.stem,
        tuple(sorted(cases, key=lambda case: case.key)),
        layout,
        official={"manifest": parts} if parts else {},
    )


def _delimiter(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(_LONGEST_HEADER)
    return ";" if ";" in header and "," not in header else ","


def _row(path: Path, line: int, cells: Mapping[str, str]) -> _Row:
    values = {name: (cells.get(name) or "").strip() for name in (*_REQUIRED, *_OPTIONAL)}
    return _Row(
        f"{path}:{line}",
        _located(path.parent, values["image"]),
        _located(path.parent, values["mask"]) if values["mask"] else None,
        values["group"],
        values["label"],
        values["split"].lower(),
    )


def _located(folder: Path, text: str) -> Path:
    """Return the absolute path of a cell; backslashes separate folders as slashes do.

    Accents have two forms in Unicode; that of the disk counts.
    """
    text = text.replace("\\", "/")
    forms = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))
    text = next((form for form in forms if os.path.isfile(folder / form)), text)
    located = os.path.abspath(folder / text)
    # Two slashes at the start, which Unix keeps, would be another root.
    return Path(located if os.name == "nt" else f"/{located.lstrip('/')}")


def _faults(path: Path, line: int, cells: Mapping[str, str]) -> Iterable[str]:
    where = f"{path}:{line}"
    if not cells["image"].strip():
        yield f"{where}: the image is empty"
    for text in filter(None, (cells["image"].strip(), cells["mask"].strip())):
        located = _located(path.parent, text)
        if "://" in text:
            yield f"{where}: {text} is an address; download the file and give its path"
        elif not os.path.isabs(text) and not located.is_relative_to(path.parent.absolute()):
            yield f"{where}: {text} leaves the manifest's folder; give an absolute path"
        elif not os.path.isfile(located):  # `Path.is_file` fails on names that are too long.
            yield f"{where}: no such file: {located}"
    for name in ("group", "label"):
        if not is_plain(cells.get(name) or ""):
            yield f"{where}: the {name} has control characters, {cells[name]!r}; remove them"
    if "group" in cells and not cells["group"].strip():
        yield f"{where}: the group is empty; give every image of a patient the same group"
    if "split" in cells and cells["split"].strip().lower() not in PARTS:
        yield f"{where}: split is one of {', '.join(PARTS)}, not {cells['split']!r}"


def _contradictions(rows: list[_Row]) -> Iterable[str]:
    """Yield contradictions between the rows of one image."""
    for column in _OPTIONAL:
        values = {getattr(row, column) for row in rows}
        if len(values) > 1:
            yield f"{rows[-1].where}: {rows[0].image.name} has several values of {column}"
    masks = [row.mask for row in rows]
    if len(set(masks)) < len(masks) or (None in masks and len(masks) > 1):
        yield f"{rows[-1].where}: {rows[0].image.name} has a mask twice, or a row without one"


def _case(key: str, rows: list[_Row]) -> FileCase:
    masks = tuple(row.mask for row in rows if row.mask is not None)
    return FileCase(key, rows[0].group or key, rows[0].image, masks=masks, label=rows[0].label)


def read_rows(path: Path, delimiter: str = ",") -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header.

    Returns:
        Line number and cells of each row, the cells by the name of their column in lower case.

    Raises:
        ValueError: The file is not UTF-8 text, columns share a name, or a row is too long.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter, restval="")
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        _check_columns(path, columns)
        reader.fieldnames = columns
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: not a readable table ({error})") from error
    raise_all([f"{path}:{line}: more cells than columns" for line, row in rows if None in row])
    return rows


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: larger than {_MOST_BYTES >> 20} MB, so it is not such a table")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason}); save it as CSV UTF-8"
        ) from error


def _check_columns(path: Path, columns: list[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise ValueError(f"{path}: {len(columns):,} columns, so it is not such a table")
    if len(set(columns)) < len(columns):
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        raise ValueError(f"{path}: several columns have the same name: {', '.join(repeated)}")


def read_table(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Read the rows of a CSV file with a header, by their value in the column `key`."""
    rows = read_rows(path)
    if rows and key not in rows[0][1]:
        raise ValueError(f"{path}: has no column {key}")
    return {row[key]: row for _, row in rows}


def with_classes(folder: Path, cases: Sequence[Case]) -> list[Case]:
    """Let mask files be read by the table of classes in a folder, if there is one."""
    return coded(cases, classes_in(folder))


def coded(cases: Sequence[Case], classes: Classes) -> list[Case]:
    """Let mask files without a table of classes be read by this one; an empty one says nothing."""
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
        The name and the value or color of each class, also of the background; empty if there is no
        table.

    Raises:
        ValueError: The table cannot be read.
    """
    for name, read in _TABLES.items():
        path = folder / name
        if path.is_file():
            try:
                return with_background(tuple(read(path)))
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{path}: not a readable table of classes ({error})") from error
    return ()


def with_background(classes: Classes) -> Classes:
    """Add the background, which some tables take for granted."""
    if not classes or any(name.lower() in NO_OBJECT for name, _ in classes):
        return classes
    return (("background", 0), ("background", "#000000"), *classes)


def classes_of_files(files: Iterable[FileCase]) -> dict[Path, str]:
    """Return the class of each mask file whose folder or name says it.

    Those are `masks/heart/x.png`, a folder a class, and `x_mask_heart.png`, `x_mask_heart_1.png`.
    """
    files = tuple(files)
    found = _classes_of_folders(files)
    for case in files:
        named = ((path, _class_in_name(path, case.image)) for path in case.masks)
        found |= {path: name for path, name in named if name and path not in found}
    return found


def check_named(files: Iterable[FileCase], classes: Mapping[Path, str], *, chosen: bool) -> None:
    """Refuse masks whose names say no class beside others that do.

    Args:
        files: The cases.
        classes: The class of each mask file that says one.
        chosen: Whether a class was chosen, so that the other masks would be left out.

    Raises:
        ValueError: There are some in the set or, if nothing was chosen, for the same image.
    """
    named = next(iter(classes), None)
    groups = [case.masks for case in files]
    mixed = [path for masks in groups if chosen or {*masks} & {*classes} for path in masks]
    bare = [path for path in mixed if path not in classes]
    if named and bare:
        more = f", and {len(bare) - 1:,} others" if bare[1:] else ""
        raise ValueError(
            f"{bare[0]}: its name does not say which object it marks, as that of {named} does "
            f"({classes[named]}); rename it{more}, or keep them elsewhere"
        )


def _class_in_name(mask: Path, image: Path) -> str:
    """Return the class that the name of a mask says beyond that of its image; empty for none."""
    stems = (image_stem(mask.name) or mask.name, image_stem(image.name) or image.name)
    match = _CLASS_AT_END.search(stems[0].removeprefix(stems[1]))
    return match[1] if match else ""


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

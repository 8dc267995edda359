"""Manifests: CSV or TSV tables with the columns image and mask, optionally group, label, split.

An image with several masks has several rows, one without an object has an empty mask cell. Paths
are relative to the manifest's folder and stay inside it; a file elsewhere needs an absolute path,
which nobody gives by mistake.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from kerasunet.data.cases import DataSet, FileCase
from kerasunet.data.layouts.folders import PARTS
from kerasunet.data.layouts.pairing import keys_of, read_rows
from kerasunet.files import is_plain, report_all

MANIFESTS = ("manifest.csv", "manifest.tsv")
_LONGEST_HEADER = 1 << 16
_REQUIRED, _OPTIONAL = ("image", "mask"), ("group", "label", "split")


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
            f"{path}: has no column {', '.join(missing)}, or no rows; the columns are "
            f"{', '.join(_REQUIRED)} and optionally {', '.join(_OPTIONAL)}"
        )
    faults = {line: list(_faults(path, line, row)) for line, row in cells}
    by_image: dict[Path, list[_Row]] = {}
    for row in (_row(path, line, row) for line, row in cells if not faults[line]):
        by_image.setdefault(row.image, []).append(row)
    contradictions = {image: list(_contradictions(rows)) for image, rows in by_image.items()}
    problems = [fault for found in (*faults.values(), *contradictions.values()) for fault in found]
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
    """Return the absolute path of a cell; backslashes separate folders as slashes do."""
    located = os.path.abspath(folder / text.replace("\\", "/"))
    # Two slashes at the start, which Unix keeps, would be another root.
    return Path(located if os.name == "nt" else f"/{located.lstrip('/')}")


def _faults(path: Path, line: int, cells: Mapping[str, str]) -> Iterable[str]:
    where = f"{path}:{line}"
    if not cells["image"].strip():
        yield f"{where}: the image is empty"
    for text in filter(None, (cells["image"].strip(), cells["mask"].strip())):
        located = _located(path.parent, text)
        if not os.path.isabs(text) and not located.is_relative_to(path.parent.absolute()):
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

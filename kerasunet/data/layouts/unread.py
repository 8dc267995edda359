"""What a folder holds that is not read: files of no case, annotations of other programs, archives.

They are named, not passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kerasunet.data.annotations import ENCODINGS
from kerasunet.data.cases import Case, DataSet
from kerasunet.data.layouts.pairing import ARCHIVES, files_below, is_no_document, subfolders
from kerasunet.files import read_json

YOLO = re.compile(rb"\d+( \d*\.\d+){4,}\s")
_OUTLINES_IN_TABLE = re.compile(
    rb"\A[^\n]*(EncodedPixels|region_shape_attributes|\brle\b|polygon)"
    rb"|\A[^\0]*(polygon|brush)labels",
    re.IGNORECASE,
)
_END_BYTES = 4096
_OUTLINES = {
    ".json": re.compile(
        rb'"(shapes|annotations|segmentation|regions|_via_\w+|geometry|geometryType)"'
    ),
    ".xml": re.compile(rb"<(polygon|polyline|mask)\b"),
    ".txt": YOLO,
    ".csv": _OUTLINES_IN_TABLE,
}
"""What shows, near the beginning or the end of a file, that it holds outlines."""
_REGIONS = ("roiset.zip",)
SHEETS = (".xlsx", ".xls", ".ods")


def unread_files(folder: Path, data: DataSet) -> tuple[Path, ...]:
    """Return the files below a folder that belong to no image of a data set, sorted.

    Documents, tables and archives are left out, and so is what is hidden. Annotations count, those
    of programs that are not read among them: a set that has mask files makes no use of them.
    """
    cases = [*data.cases, *data.unannotated]
    used = {os.path.abspath(path) for case in cases for path in _files_of(case)}
    folders = {*map(os.path.dirname, used)}
    linked = {os.fspath(parent) for path in folders for parent in Path(path, "x").parents}
    files = files_below(folder, lambda path: is_no_document(path) or _has_outlines(path), linked)
    unread = [path for path in files if os.path.abspath(path) not in used]
    used |= {*map(os.path.realpath, used)} if unread else set()  # Links give files more names.
    return tuple(path for path in unread if os.path.realpath(path) not in used)


def _files_of(case: Case) -> Iterator[Path]:
    drawn = getattr(case, "annotation_file", None)
    yield from filter(None, [getattr(case, "image", None), *getattr(case, "masks", ()), drawn])
    described = getattr(getattr(case, "annotation", None), "path", None)
    if described is not None:
        yield described


def _has_outlines(path: Path) -> bool:
    """Return whether a file holds outlines, by its first and last bytes."""
    if path.name.lower() in _REGIONS:
        return True
    outlines = _OUTLINES.get(path.suffix.lower())
    if outlines is None or not path.is_file():
        return False
    with open(path, "rb") as file:
        ends = file.read(_END_BYTES)
        if outlines is YOLO:
            return outlines.match(ends) is not None
        file.seek(max(path.stat().st_size - _END_BYTES, 0))
        ends += file.read()
    return outlines.search(ends) is not None


def remedy_for(path: Path) -> str:
    """Return how an archive or a spreadsheet is turned into a data set; empty for other files."""
    remedies = dict.fromkeys(ARCHIVES, "; unpack it and give the folder")
    return (remedies | dict.fromkeys(SHEETS, "; save it as CSV UTF-8")).get(path.suffix.lower(), "")


def foreign_in(folder: Path, depth: int = 2) -> str:
    """Say which annotations a folder or one below it holds that are not read; empty for none."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and (found := _foreign_file(path)):
            return f"{path}: {found}"
    inner = (foreign_in(path, depth - 1) for path in subfolders(folder) if depth)
    return next(filter(None, inner), "")


def _foreign_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".json", ".geojson"):
        content = read_json(path, ENCODINGS)
        return next((words for is_it, words in _FOREIGN if is_it(content)), "")
    head = _head(path)
    if suffix == ".xml" and b"<annotation" in head:
        return "annotations in XML, which are not read; export as COCO or as masks"
    if (suffix == ".txt" and YOLO.match(head)) or path.name.lower() == "data.yaml":
        return "outlines or boxes of YOLO, which are not read; export as COCO or as masks"
    if suffix == ".csv" and _OUTLINES_IN_TABLE.match(head):
        return "outlines in a table, such as run lengths, which are not read; export masks, or COCO"
    if suffix == ".roi" or path.name == "RoiSet.zip":
        return (
            "regions of ImageJ, which are not read; export masks (Edit > Selection > Create Mask)"
        )
    return ""


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)


def foreign(content: Any) -> str:
    """Say what JSON is that is not what was expected, and how it becomes something that is read."""
    known = (words for is_it, words in _FOREIGN if is_it(content))
    return next(known, "it has neither images and annotations nor shapes; export COCO or labelme")


def _has(content: Any, *names: str) -> bool:
    return isinstance(content, dict) and all(name in content for name in names)


def _is_via(content: Any) -> bool:
    images = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
    entries = list(images.values()) if isinstance(images, dict) else []
    return bool(entries) and all(_has(one, "filename", "regions") for one in entries)


def _is_tasks(content: Any) -> bool:
    tasks = content if isinstance(content, list) else []
    return any(_has(one, name) for one in tasks for name in ("annotations", "data", "image"))


def _is_geojson(content: Any) -> bool:
    features = content if isinstance(content, list) else [content]
    kinds = {one["type"] for one in features if _has(one, "type") and isinstance(one["type"], str)}
    return bool(kinds) and kinds <= {"FeatureCollection", "Feature"}


_HEAD_BYTES = 4096
_FOREIGN: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (_is_via, "a project of the VGG Image Annotator, which is not read; export it as COCO"),
    (
        _is_geojson,
        "GeoJSON, as QuPath writes it, which is not read; export labeled images from QuPath",
    ),
    (
        _is_tasks,
        "tasks of Label Studio, which are not read; export as COCO, or brushes as PNG masks",
    ),
    (
        lambda content: _has(content, "objects", "size"),
        "an annotation of Supervisely, which is not read; export as COCO or as machine masks",
    ),
    (
        lambda content: _has(content, "items", "categories"),
        "a data set of Datumaro, which is not read; export as COCO or as segmentation masks",
    ),
    (
        lambda content: _has(content, "item", "annotations"),
        "annotations of V7, which are not read; export as COCO or as semantic masks",
    ),
    (
        lambda content: _has(content, "info", "objects"),
        "annotations of ISAT, which are not read; export as COCO or as masks",
    ),
    (
        lambda content: _has(content, "project_name", "images"),
        "a project of Hasty, which is not read; export as COCO or as masks",
    ),
    (
        lambda content: _has(content, "images", "annotations"),
        "COCO, but named like an image; give it another name",
    ),
)

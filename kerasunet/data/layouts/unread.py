"""Which files of a folder belong to no image of a data set: they are named, not passed over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from kerasunet.data.cases import Case, DataSet
from kerasunet.data.layouts.folders import YOLO
from kerasunet.data.layouts.pairing import TABLES, is_hidden

_END_BYTES = 4096
_OUTLINES = {
    ".json": re.compile(
        rb'"(shapes|annotations|segmentation|regions|_via_\w+|geometry|geometryType)"'
    ),
    ".xml": re.compile(rb"<(polygon|polyline|mask)\b"),
    ".txt": YOLO,
}
"""What shows, near the beginning or the end of a file, that it holds outlines."""
_REGIONS = ("roiset.zip",)
_DOCUMENTS = (
    *TABLES, ".tgz", ".tar", ".rar", ".7z", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls",
    ".xlsx", ".ods", ".odt", ".yaml", ".yml", ".toml", ".ini", ".log", ".py", ".ipynb", ".m", ".r",
    ".sh", ".bib", ".rst", ".bak", ".db", ".lnk", ".url", ".sha256", ".md5", ".cff",
)  # fmt: skip
_DOCUMENT_NAMES = ("dicomdir", "readme", "license", "licence", "makefile", "changelog", "version")


def unread_files(folder: Path, data: DataSet) -> tuple[Path, ...]:
    """Return the files below a folder that belong to no image of a data set, sorted.

    Documents, tables and archives are left out, and so is what is hidden. Annotations count, those
    of programs that are not read among them: a set that has mask files makes no use of them.
    """
    cases = [*data.cases, *data.unannotated]
    used = {os.path.abspath(path) for case in cases for path in _files_of(case)}
    files = _files_below(folder, lambda path: _is_no_document(path) or _has_outlines(path))
    return tuple(path for path in files if os.path.abspath(path) not in used)


def _files_of(case: Case) -> Iterator[Path]:
    drawn = getattr(case, "annotation_file", None)
    yield from filter(None, [getattr(case, "image", None), *getattr(case, "masks", ()), drawn])
    described = getattr(getattr(case, "annotation", None), "path", None)
    if described is not None:
        yield described


def own_files(folder: Path) -> list[Path]:
    """Return the files of a folder itself, except documents and what is hidden."""
    files = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    return [path for path in files if not path.is_dir() and _is_no_document(path)]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and all its subfolders, except documents and what is hidden."""
    return _files_below(folder, _is_no_document)


def _files_below(folder: Path, counts: Callable[[Path], bool]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        paths = (Path(parent, name) for name in sorted(names) if not is_hidden(name))
        yield from filter(counts, paths)


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


def _is_no_document(path: Path) -> bool:
    name = path.name.lower()
    is_table = name.endswith(_DOCUMENTS) and not name.endswith(".nii.gz")
    return not is_table and name not in _DOCUMENT_NAMES

"""Files of a folder that its cases do not use: what cannot be read, lists of parts, tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from kerasunet.data.cases import DataSet, UnannotatedCase, file_stem
from kerasunet.data.checking.report import Problem, first_names
from kerasunet.data.groups import columns_of_patients
from kerasunet.data.layouts.contents import SHEETS, files_below, image_stem
from kerasunet.data.layouts.folders import PARTS
from kerasunet.data.layouts.manifests import MANIFESTS, PATIENT_COLUMN
from kerasunet.data.layouts.tables import listed_names, read_rows
from kerasunet.data.readers import count_frames, read_image
from kerasunet.data.splits import groups_in_words
from kerasunet.files import suffix_of

_THREADS = 4
_OF_PART = rf"{'|'.join(PARTS)}|split|k?fold|cv|dataset_?\d|data_?list"
_OF_LIST = rf"({_OF_PART}|list|file|image|name|id|patient|case|data|set|final|bool)s?"
_OF_PARTS = re.compile(rf"(?=.*({_OF_PART}))[\d_ .-]*({_OF_LIST}[\d_ .-]*)+\.(txt|csv|json|ya?ml)")
_TABLES = (".csv", ".tsv", ".txt")
_COLUMNS_OF_PARTS = {"fold", "set", "subset", "part", "partition", "phase", "usage", "exclude"}
_PARTS_ANYWHERE = {"split", "fold", "partition", "exclude"}


def unreadable_files(folder: Path) -> Iterator[Problem]:
    """Yield the image files of a folder that cannot be read, whatever their layout."""
    with ThreadPoolExecutor(_THREADS) as pool:
        images = filter(lambda path: image_stem(path.name), files_below(folder))
        for path, fault in pool.map(_fault, images):
            if fault:
                yield Problem("unreadable", fault, (str(path),))


def _fault(path: Path) -> tuple[Path, str]:
    try:
        if count_frames(path) is not None:  # Not a segmentation, which is read with its image.
            read_image(path, frame=0)
    except (OSError, ValueError) as error:
        return path, str(error)
    return path, ""


def unread_files(files: Sequence[Path]) -> Iterator[Problem]:
    """Yield files that belong to no case, by folder and suffix."""
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        kinds.setdefault((path.parent, suffix_of(path)), []).append(path)
    for (folder, suffix), paths in kinds.items():
        names = [path.name for path in paths]
        text = f"{folder}/: {len(paths):,} {suffix}, {first_names(names)}"
        yield Problem("unread", text, tuple(map(str, paths)))


def unannotated(data: DataSet) -> Iterator[Problem]:
    """Yield the images without a mask; some may be a mask, by their names."""
    named = {case.key for case in (*data.cases, *data.unannotated)}
    for case in data.unannotated:
        hint = _annotation_beside(case) or _image_of(case, named)
        yield Problem("unannotated", f"{case.image}: has no mask{hint}", (str(case.image),))


def _annotation_beside(case: UnannotatedCase) -> str:
    path = case.image.with_suffix(".json")
    if not path.is_file():
        return ""
    return f"; {path.name} beside it is not read, because other images have mask files"


def _image_of(case: UnannotatedCase, keys: Collection[str]) -> str:
    """Name the image of which this may be a mask, going by its name."""
    match = re.match(r"(.+?)[ _-]+[A-Za-z]+\d*$", case.key)
    if not match or match[1] not in keys:
        return ""
    return f"; if it is the mask of {match[1]}, give it a name like the others"


def unused_lists(folder: Path, data: DataSet) -> Iterator[Problem]:
    """Yield the lists of parts and the tables below a folder that nothing is read from."""
    if data.citation:  # A published set, whose lists are known.
        return
    used = {getattr(getattr(case, "annotation", None), "path", None) for case in data.cases}
    used |= {getattr(case, "annotation_file", None) for case in data.cases}
    lists = partial(_lists_parts, names={file_stem(case.key) for case in data.cases})
    for path in sorted({*files_below(folder, lists)} - used):
        yield Problem("unused-list", str(path), (str(path),))
    tables = files_below(folder, lambda path: path.suffix.lower() in (*_TABLES, *SHEETS))
    for path in sorted({folder, *tables}):
        if path.suffix.lower() in _TABLES and path.is_file():
            yield from _unused_columns(path, data, path == folder or path.name.lower() in MANIFESTS)
        elif path.suffix.lower() in SHEETS:
            yield Problem("unused-list", f"{path}: a spreadsheet, which is not read", (str(path),))


def _unused_columns(path: Path, data: DataSet, is_manifest: bool) -> Iterator[Problem]:
    """Yield columns of a table that name parts, or patients where nothing else does."""
    try:
        rows = [row for _, row in read_rows(path)] or [{}]
    except (OSError, ValueError):  # A table of something else.
        return
    parts = _COLUMNS_OF_PARTS if is_manifest else _PARTS_ANYWHERE
    if not (is_manifest and "split" in rows[0]):
        for column in sorted(parts & {*rows[0]}):
            yield Problem("unused-list", f"{path}: its column {column}", (str(path),))
    if "patient" not in groups_in_words(data.cases) and not (is_manifest and "group" in rows[0]):
        for column in columns_of_patients(rows, PATIENT_COLUMN):
            yield Problem("unused-patients", f"{path}: its column {column}", (str(path),))


def _lists_parts(path: Path, names: Set[str]) -> bool:
    """Return whether a file divides images into parts or folds, or names some of the images."""
    name = path.name.lower()
    listed = listed_names(path) if re.search(rf"\.txt$|({_OF_PART}).*\.csv$", name) else set()
    some = bool(listed & names) and len(listed - names) <= 1 and not names <= listed
    return some or _OF_PARTS.fullmatch(name) is not None

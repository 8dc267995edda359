"""Files of a folder that its cases do not use: what cannot be read, lists of parts, tables."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

from kerasunet.data.annotations import ENCODINGS
from kerasunet.data.cases import DataSet, UnannotatedCase, file_stem
from kerasunet.data.checking.report import Problem, first_names
from kerasunet.data.groups import columns_of_patients
from kerasunet.data.layouts.contents import SHEETS, files_below, image_stem, is_no_document
from kerasunet.data.layouts.folder_names import PARTS, PATIENT, kind_of_name
from kerasunet.data.layouts.labelme import IGNORED
from kerasunet.data.layouts.manifests import COLUMNS, MANIFESTS, PATIENT_COLUMN
from kerasunet.data.layouts.tables import TABLES_OF_CLASSES, text_of
from kerasunet.data.readers import count_frames, read_image
from kerasunet.data.splits import groups_in_words
from kerasunet.files import read_json, suffix_of

_THREADS = 4
_OF_PART = rf"{'|'.join(PARTS)}|split|k?fold|cv|dataset_?\d|data_?list"
_OF_LIST = rf"({_OF_PART}|list|file|image|name|id|patient|case|data|set|final|bool)s?"
_OF_PARTS = re.compile(rf"(?=.*({_OF_PART}))[\d_ .-]*({_OF_LIST}[\d_ .-]*)+\.(txt|csv|json|ya?ml)")
_TABLES, _JSON = (".csv", ".tsv", ".txt"), (".json", ".jsonl")
_OTHERS = (".yaml", ".yml", ".toml", ".ini")
_READ_FROM = (*_TABLES, *_JSON, *SHEETS, *_OTHERS)
_TELL_NOTHING = (
    *(".py", ".ipynb", ".m", ".r", ".sh", ".bib", ".cff", ".log", ".lnk", ".url", ".bak"),
    *(".sha256", ".md5", "thumbs.db"),
)
_OF_PUBLISHED = re.compile(
    r"bus_data\.csv|(5|10)-fold-cv\.csv|jsrt_metadata\.csv|near_duplicate\w+\.csv|CHNCXR_\d+_[01]\.txt",
    re.IGNORECASE,
)
_ABOUT = ("readme", "license", "licence", "changelog", "version", "makefile", "dicomdir")
_DELIMITERS, _FIRST_LINES = ",;\t|", 10
_OF_PATIENTS = re.compile("patient|subject|participant|person|group|(^|[^a-z])(pid|mrn)")
_PARTS_OR_FOLDS = re.compile(rf"({_OF_PART})s?([ _-]?\d+)?", re.IGNORECASE)
_COLUMNS_OF_PARTS = {"fold", "set", "subset", "part", "partition", "phase", "usage", "exclude"}
_PARTS_ANYWHERE = {"split", "fold", "partition", "exclude"}
_NAMED = {"group", *_COLUMNS_OF_PARTS, *_PARTS_ANYWHERE}
_FLAGS, _OFF = ("flags", "attributes", "metadata", "extra"), ("ignore", "deleted")
_IN_ALL = {"id", "url", "color", "creator", "dataset_id", "milliseconds", "events", "difficult"}
_FIELDS = {
    "": "info licenses images annotations categories type videos version name shapes imagePath "
    "imageData imageHeight imageWidth lineColor fillColor",
    "images": "file_name width height license coco_url flickr_url date_captured path category_ids "
    "deleted video_id annotating num_annotations regenerate_thumbnail is_modified",
    "annotations": "image_id category_id category_name segmentation bbox area iscrowd caption "
    "ignore keypoints num_keypoints isbbox deleted width height",
    "shapes": "label points shape_type mask holes group_id kie_linking line_color fill_color "
    "direction",
    "categories": "name supercategory isthing keypoints skeleton keypoint_colors",
}
"""The fields of COCO and labelme files that are read, or that say nothing of what is drawn."""


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


def unread_files(files: Iterable[Path], kind: str = "unread") -> Iterator[Problem]:
    """Yield files that belong to no case, by folder and suffix."""
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        kinds.setdefault((path.parent, suffix_of(path)), []).append(path)
    for (folder, suffix), paths in kinds.items():
        names = [path.name for path in paths]
        text = f"{folder}/: {len(paths):,} {suffix}, {first_names(names)}"
        yield Problem(kind, text, tuple(map(str, paths)))


def unread_documents(folder: Path, data: DataSet, named: Collection[str]) -> Iterator[Problem]:
    """Yield the documents and tables below a folder that no case is read from.

    Args:
        folder: The folder.
        data: What was read from it.
        named: Files that are named anyway.
    """
    if not folder.is_dir():
        return
    used = {*_annotations(data), *map(Path, named), *data.unread}
    documents = files_below(
        folder, lambda path: not (is_no_document(path) or _is_known(path, data))
    )
    masks = (mask for case in data.cases for mask in getattr(case, "masks", ()))
    places = {os.path.abspath(parent) for mask in masks for parent in mask.parents}
    found = [path for path in documents if path not in used and _may_tell(path)]
    yield from unread_files([p for p in found if not _is_read(p, data, places)], "documents")


def _is_read(path: Path, data: DataSet, places: Collection[str]) -> bool:
    """Return whether a file is a manifest of the data, or a table of classes in such a place."""
    name = path.name.lower()
    is_table = name in TABLES_OF_CLASSES and os.path.abspath(path.parent) in places
    return is_table or (name in MANIFESTS and "manifest" in data.layout)


def _is_known(path: Path, data: DataSet) -> bool:
    """Return whether a document is part of a published set."""
    return bool(data.citation) and _OF_PUBLISHED.fullmatch(path.name) is not None


def _may_tell(path: Path) -> bool:
    """Return whether a document may tell something about the images that nobody has read."""
    return not (path.name.lower().endswith(_TELL_NOTHING) or path.stem.lower().startswith(_ABOUT))


def _annotations(data: DataSet) -> set[Path]:
    """Return the files that hold the annotations of cases, apart from masks."""
    described = (getattr(getattr(case, "annotation", None), "path", None) for case in data.cases)
    drawn = (getattr(case, "annotation_file", None) for case in data.cases)
    return {path for path in (*described, *drawn) if path is not None}


def unused_flags(data: DataSet) -> Iterator[Problem]:
    """Yield flags, attributes and fields of labelme and COCO files that are set, and not read."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_annotations(data)):
        for name in sorted({*_flags(_content(path))}):
            found.setdefault(name, []).append(path)
    for name, paths in sorted(found.items()):
        names = first_names([path.name for path in paths])
        text = f"{paths[0].parent}/: {len(paths):,} with the {name}, {names}"
        yield Problem("documents", text, tuple(map(str, paths)))


def _flags(content: Any) -> Iterator[str]:
    entries = content if isinstance(content, dict) else {}
    for place, fields in _FIELDS.items():
        listed = entries.get(place) if place else [entries]
        for one in listed if isinstance(listed, list) else ():
            yield from _set_in(one, {*_IN_ALL, *_FLAGS, *fields.split()})


def _set_in(entry: Any, known: Set[str]) -> Iterator[str]:
    entry = entry if isinstance(entry, dict) else {}
    flags = (*(entry.get(name) for name in _FLAGS), {"difficult": entry.get("difficult")})
    for of in (found for found in flags if isinstance(found, dict)):
        yield from (f"flag {name}" for name, on in of.items() if on and name not in IGNORED)
    for name in entry.keys() - known:
        is_set = entry[name] not in (None, "", [], {}) and (entry[name] or name not in _OFF)
        if is_set and not PATIENT_COLUMN.fullmatch(name):
            yield f"field {name}"


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
    """Yield the lists of parts and the tables below a folder that nothing is read from.

    Beside a file that was given instead of a folder, yield what names patients.
    """
    if data.citation and not folder.is_dir():
        return
    used, names = _annotations(data), {file_stem(case.key) for case in data.cases}
    groups = {case.group for case in data.cases}
    lists = {*files_below(folder, partial(_lists_parts, named=(names, groups)))}
    lists = {path for path in lists - used if not _is_known(path, data)}
    for path in sorted(lists):
        yield Problem("unused-list", str(path), (str(path),))
    single = used if len(used) == len(data.cases) else set()  # One file of each image.
    tables = {folder, *files_below(folder, _is_table)} - single
    for path in sorted(path for path in tables if path.is_file() and not _is_known(path, data)):
        is_manifest = path == folder or _is_read(path, data, ())
        yield from _unused_of(path, data, names, is_manifest=is_manifest, is_known=path in lists)
    beside = filter(_is_table, folder.parent.iterdir()) if folder.is_file() else ()
    for path in sorted({*beside} - {folder}):
        found = _unused_of(path, data, names, is_manifest=False, is_known=False)
        yield from (problem for problem in found if problem.kind == "unused-patients")


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in _READ_FROM and path.is_file()


def _unused_of(
    path: Path, data: DataSet, names: Set[str], *, is_manifest: bool, is_known: bool
) -> Iterator[Problem]:
    """Yield what a file says of parts, and of patients where nothing else does."""
    kind = path.suffix.lower()
    if kind in _TABLES:
        yield from _unused_columns(path, data, is_manifest)
    elif kind in SHEETS:
        yield Problem("unused-list", f"{path}: a spreadsheet, which is not read", (str(path),))
    elif kind in _OTHERS:
        if _OF_PATIENTS.search(path.stem.lower()) and _lacks_patients(data):
            yield Problem("unused-patients", f"{path}: by its name", (str(path),))
    else:
        yield from _unused_entries(path, data, names, is_known=is_known)


def _unused_columns(path: Path, data: DataSet, is_manifest: bool) -> Iterator[Problem]:
    """Yield columns of a table that name parts, or patients where nothing else does.

    Of a manifest, yield the others that are not read as well.
    """
    rows = _rows(path) or [{}]
    named = set()
    parts = _COLUMNS_OF_PARTS if is_manifest else _PARTS_ANYWHERE
    if not (is_manifest and "split" in rows[0]):
        named = parts & {*rows[0]}
        for column in sorted(named):
            yield Problem("unused-list", f"{path}: its column {column}", (str(path),))
    if _lacks_patients(data) and not (is_manifest and "group" in rows[0]):
        for column in columns_of_patients(rows, PATIENT_COLUMN):
            named.add(column)
            yield Problem("unused-patients", f"{path}: its column {column}", (str(path),))
    for column in sorted({*rows[0]} - named - {*COLUMNS}) if is_manifest else ():
        if cells := [row[column] for row in rows if row[column]]:
            files = any(os.path.isfile(path.parent / cell) for cell in cells)
            text = f"{path}: its column {column}{', which names files' if files else ''}"
            yield Problem("documents", text, (str(path),))


def _lacks_patients(data: DataSet) -> bool:
    return "patient" not in groups_in_words(data.cases)


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table in any encoding, whatever else would be refused in it.

    Its header is the first line with a column that matters, below a title perhaps, or else the
    first line.
    """
    try:
        lines = [line for line in text_of(path, guessed=True).splitlines() if line.strip()]
        tables = [[*csv.reader(lines, delimiter=mark)] for mark in _DELIMITERS]
    except (OSError, ValueError, csv.Error):  # A table of something else.
        return []
    tables.sort(key=lambda table: -len(table[0]) if table else 0)
    starts = ((table, n) for table in tables for n in range(min(len(table), _FIRST_LINES)))
    found = (start for start in starts if any(map(_matters, _columns(*start))))
    table, first = next(found, (tables[0], 0))
    columns = _columns(table, first)
    below = (row[: len(columns)] for row in table[first + 1 :])
    return [dict(zip_longest(columns, row, fillvalue="")) for row in below if any(row)]


def _columns(table: Sequence[Sequence[str]], line: int) -> list[str]:
    return [cell.strip().lower() for cell in table[line]] if table else []


def _matters(column: str) -> bool:
    return column in _NAMED or PATIENT_COLUMN.fullmatch(column) is not None


def _unused_entries(
    path: Path, data: DataSet, names: Set[str], *, is_known: bool
) -> Iterator[Problem]:
    """Yield what JSON says of parts, and of patients where nothing else does."""
    content = _content(path)
    kind, meaning = _meaning(path, content, names)
    if kind == "unused-list" and not is_known:
        yield Problem(kind, f"{path}: {meaning}", (str(path),))
    if not _lacks_patients(data):
        return
    if kind == "unused-patients":
        yield Problem(kind, f"{path}: {meaning}", (str(path),))
    found = {
        name for rows in _records(content) for name in columns_of_patients(rows, PATIENT_COLUMN)
    }
    for name in sorted(found):
        yield Problem("unused-patients", f"{path}: its entries {name}", (str(path),))


def _content(path: Path) -> Any:
    """Return the content of JSON, or of JSON by lines; nothing if it is broken."""
    try:
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text_of(path).splitlines() if line.strip()]
        return read_json(path, ENCODINGS)
    except (OSError, ValueError, RecursionError):
        return None


def _meaning(path: Path, content: Any, names: Set[str]) -> tuple[str, str]:
    """Return what entries say of most images, and the kind of problem; empty if nothing."""
    entries = content if isinstance(content, dict) else {}
    by_image = {_stem(key): str(of) for key, of in entries.items() if _is_plain(of)}
    lists = {key: of for key, of in entries.items() if isinstance(of, list) and of}
    listed = {_stem(one) for of in lists.values() for one in of if isinstance(one, str)}
    if len(by_image.keys() & names) * 2 > len(by_image):
        values = {*by_image.values()}
        recur = 1 < len(values) < len(by_image)
        if all(map(_PARTS_OR_FOLDS.fullmatch, values)):
            return "unused-list", "gives the part of each image"
        if _OF_PATIENTS.search(path.stem.lower()) or (
            recur and all(map(_is_patient, entries.values()))
        ):
            return "unused-patients", "gives the patient or group of each image"
    numbers = all(isinstance(one, int) for of in lists.values() for one in of)
    are_parts = len(lists) > 1 and all(map(_PARTS_OR_FOLDS.fullmatch, lists))
    if are_parts and (numbers or listed & names):
        return "unused-list", "lists the images of each part"
    named_so = _OF_PATIENTS.search(path.stem.lower()) or all(map(_is_patient, lists))
    if named_so and len(listed & names) * 2 > len(listed):
        return "unused-patients", "lists the images of each patient or group"
    return "", ""


def _is_patient(name: Any) -> bool:
    """Return whether a name may be a patient's: with a number, and not of an image or a class."""
    is_numbered = isinstance(name, str) and any(map(str.isdigit, name)) and not image_stem(name)
    return is_numbered and kind_of_name(name.lower()) == PATIENT


def _stem(name: str) -> str:
    file = PurePosixPath(name.replace("\\", "/")).name
    return image_stem(file) or file


def _records(content: Any) -> Iterator[list[dict[str, str]]]:
    """Yield lists of records in JSON, by lower names; of COCO's, only the images."""
    parts = content if isinstance(content, dict) else {"": content}
    parts = {"": parts["images"]} if "images" in parts else parts
    for part in (*parts.values(), [*parts.values()]):
        records = [one for one in part if isinstance(one, dict)] if isinstance(part, list) else []
        if len(records) > 1:
            plain = ([(key, of) for key, of in one.items() if _is_plain(of)] for one in records)
            yield [{key.lower(): str(of) for key, of in entries} for entries in plain]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _lists_parts(path: Path, named: Sequence[Set[str]]) -> bool:
    """Return whether a file divides images into parts or folds, or names some images or groups."""
    name = path.name.lower()
    listed = _listed_names(path) if re.search(rf"\.txt$|({_OF_PART}).*\.csv$", name) else set()
    some = (listed & all_ and len(listed - all_) <= 1 and not all_ <= listed for all_ in named)
    return any(some) or _OF_PARTS.fullmatch(name) is not None


def _listed_names(path: Path) -> set[str]:
    """Return what the lines of a text begin with, without folders and the suffix of an image."""
    try:
        lines = text_of(path, guessed=True).splitlines()
    except (OSError, ValueError):  # No text.
        return set()
    cells = [re.split("[,;\t]", line)[0].strip(' "') for line in lines]
    names = [PurePosixPath(cell.replace("\\", "/")).name for cell in cells if cell]
    return {image_stem(name) or name for name in names}

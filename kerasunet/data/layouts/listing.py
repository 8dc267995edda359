"""What is in a folder: image files by stem, subfolders, rows of a table; hidden things ignored."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Collection
from pathlib import Path

from kerasunet.data.problems import raise_all
from kerasunet.data.reading import IMAGE_SUFFIXES

Files = dict[str, list[Path]]

_MOST_BYTES = 64 << 20  # Of a table; one row an image takes a hundred.
_MOST_COLUMNS = 1000

_NO_IMAGES = ("DICOMDIR",)
_OTHERS = (".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".zip", ".gz", ".mat", ".npy")

_LONGEST_FIRST = sorted(IMAGE_SUFFIXES, key=len, reverse=True)


def image_stem(name: str) -> str | None:
    """The name of an image file without its suffix, in Unicode form NFC; `None` for other files.

    File systems differ in how they spell accents; one form gives the same keys on all of them.
    """
    lowered = name.lower()
    suffix = next((suffix for suffix in _LONGEST_FIRST if lowered.endswith(suffix)), None)
    return None if suffix is None else unicodedata.normalize("NFC", name[: -len(suffix)])


def image_files(folder: Path) -> Files:
    """The image files of a folder, by stem; several files only where suffixes differ.

    DICOM exports often have names without a suffix: such files are told by their first bytes. A
    link that leads nowhere counts as a file, so that it is reported instead of overlooked.
    """
    found: Files = {}
    for entry in _visible(folder):
        stem = image_stem(entry.name) or _dicom_name(entry)
        if stem and not _is_folder(entry):
            found.setdefault(stem, []).append(Path(entry.path))
    return found


def nested_image_files(folder: Path) -> Files:
    """The image files of a folder and its subfolders, those keyed `subfolder/stem`.

    Raises:
        ValueError: There are subfolders of subfolders, which would be overlooked.
    """
    found = image_files(folder)
    for inner in subfolders(folder):
        deeper = subfolders(inner)
        if deeper:
            raise ValueError(f"{deeper[0]}: images are read from one level of subfolders only")
        name = unicodedata.normalize("NFC", inner.name)
        found |= {f"{name}/{stem}": paths for stem, paths in image_files(inner).items()}
    return found


def json_files(folder: Path) -> dict[str, Path]:
    """The JSON files of a folder, by stem."""
    files = [Path(entry.path) for entry in _visible(folder) if not _is_folder(entry)]
    return {
        unicodedata.normalize("NFC", path.stem): path
        for path in files
        if path.suffix.lower() == ".json"
    }


def keys_of(images: Collection[Path]) -> dict[Path, str]:
    """Keys by file: its path below the folder that all share, without the suffix."""
    root = Path(os.path.commonpath([image.parent for image in images])) if images else Path()
    keys = {}
    for image in images:
        stem = image_stem(image.name) or image.name
        folder = unicodedata.normalize("NFC", image.parent.relative_to(root).as_posix())
        keys[image] = stem if folder == "." else f"{folder}/{stem}"
    return keys


def subfolders(folder: Path) -> list[Path]:
    """The subfolders, sorted."""
    return [Path(entry.path) for entry in _visible(folder) if _is_folder(entry)]


def subfolder(folder: Path, *names: str) -> Path | None:
    """The one subfolder that has one of these names, in upper or lower case.

    Raises:
        ValueError: There are several.
    """
    found = [path for path in subfolders(folder) if path.name.lower() in names]
    if len(found) > 1:
        listing = ", ".join(f"{path.name}/" for path in found)
        raise ValueError(f"{folder}: {listing} are there; keep one of them")
    return found[0] if found else None


def read_rows(path: Path, delimiter: str = ",") -> list[tuple[int, dict[str, str]]]:
    """Reads a CSV file with a header.

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
        raise ValueError(f"{path}: larger than {_MOST_BYTES >> 20} MB, so it is no such table")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason}); save it as CSV UTF-8"
        ) from error


def _check_columns(path: Path, columns: list[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise ValueError(f"{path}: {len(columns):,} columns, so it is no such table")
    if len(set(columns)) < len(columns):
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        raise ValueError(f"{path}: several columns have the same name: {', '.join(repeated)}")


def read_table(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Reads a CSV file with a header: its rows, by the value of the column `key`."""
    rows = read_rows(path)
    if rows and key not in rows[0][1]:
        raise ValueError(f"{path}: has no column {key}")
    return {row[key]: row for _, row in rows}


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself; reading it tells.
        return False


def _dicom_name(entry: os.DirEntry) -> str | None:
    """The name of a DICOM file, such as `IM000001` or `1.2.840.10008`; `None` for other files."""
    if entry.name in _NO_IMAGES or entry.name.lower().endswith(_OTHERS) or not entry.is_file():
        return None
    try:
        with open(entry.path, "rb") as file:
            head = file.read(132)
    except OSError:
        return None
    return unicodedata.normalize("NFC", entry.name) if head[128:] == b"DICM" else None


def _visible(folder: Path) -> list[os.DirEntry]:
    """Entries sorted by name; unlike paths they know what is a folder without asking the disk."""
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(shown, key=lambda entry: entry.name)

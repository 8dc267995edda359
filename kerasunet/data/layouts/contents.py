"""What a folder holds: images by stem, documents, what systems hide, and what is not read.

Files of no case, annotations of other programs and archives are named, not passed over.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from kerasunet.data.annotations import ENCODINGS
from kerasunet.data.cases import Case, DataSet
from kerasunet.data.layouts import EVERY_MASK_FOLDER
from kerasunet.data.readers import IMAGE_SUFFIXES, is_dicom
from kerasunet.files import read_json

Files = dict[str, list[Path]]
_OF_SLICER = ".seg.nrrd"
_DICOM_HEAD_BYTES = 352
_OF_SYSTEMS = ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information")
_NO_IMAGES = ("DICOMDIR",)
_TABLES = (".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".zip", ".gz")
_OTHERS = (*_TABLES, ".mat", ".npy")
_DOCUMENTS = (
    *_TABLES, ".tgz", ".tar", ".rar", ".7z", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls",
    ".xlsx", ".ods", ".odt", ".yaml", ".yml", ".toml", ".ini", ".log", ".py", ".ipynb", ".m", ".r",
    ".sh", ".bib", ".rst", ".bak", "thumbs.db", ".lnk", ".url", ".sha256", ".md5", ".cff",
)  # fmt: skip
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".rar", ".7z", ".bz2", ".xz")
_DOCUMENT_NAMES = ("dicomdir", "readme", "license", "licence", "makefile", "changelog", "version")
_LONGEST_FIRST = sorted(IMAGE_SUFFIXES, key=len, reverse=True)
_OUTLINES_IN_TEXT = re.compile(
    rb"\A(\d+( \d*\.\d+){4,}\s|([ \t]*[\d.eE+-]+[ ,;\t]+[\d.eE+-]+[ \t\r]*\n){3,})"
)  # Of YOLO; a point in each line.
_OUTLINES_IN_TABLE = re.compile(
    rb"\A[^\n]*(EncodedPixels|region_shape_attributes|\brle\b|polygon)"
    rb"|\A[^\0]*(polygon|brush)labels",
    re.IGNORECASE,
)
_HEAD_BYTES = _END_BYTES = 4096
_OUTLINES = {
    ".json": re.compile(
        rb'"(shapes|annotations|segmentation|regions|_via_\w+|geometry|geometryType|poly2d)"'
    ),
    ".xml": re.compile(rb"<(polygon|polyline|mask)\b"),
    ".txt": _OUTLINES_IN_TEXT,
    ".csv": _OUTLINES_IN_TABLE,
}
"""What shows, near the beginning or the end of a file, that it holds outlines."""
_REGIONS = ("roiset.zip",)
_MANUAL, _OF_VIEW = ("1st_manual", "manual1"), re.compile(r"\d\d_(training|test|dr|g|h)_mask")
SHEETS = (".xlsx", ".xls", ".ods")


@lru_cache(1 << 19)  # Each is asked for several times.
def image_stem(name: str) -> str | None:
    """Return an image file's name without suffix, in Unicode form NFC; `None` for other files.

    File systems spell accents differently; one form gives the same keys on all of them. Slicer's
    `x.seg.nrrd` counts as `x_seg`.
    """
    lowered = name.lower()
    if lowered.endswith(_OF_SLICER):
        name = f"{name[: -len(_OF_SLICER)]}_seg{name[-5:]}"
    suffix = next((suffix for suffix in _LONGEST_FIRST if lowered.endswith(suffix)), None)
    return None if suffix is None else unicodedata.normalize("NFC", name[: -len(suffix)])


def image_files(folder: Path) -> Files:
    """Return the image files of a folder, by stem; several files only where suffixes differ.

    DICOM exports often have names without a suffix: such files are known by their first bytes. A
    broken link counts as a file, so that it is reported instead of overlooked.
    """
    found: Files = {}
    for entry in _visible(folder):
        stem = image_stem(entry.name) or _dicom_name(entry)
        if stem and not _is_folder(entry):
            found.setdefault(stem, []).append(Path(entry.path))
    return found


def nested_image_files(folder: Path, depth: int = 2) -> Files:
    """Return the image files of a folder and of two levels below it, keyed `subfolder/stem`.

    Deeper subfolders would be overlooked, so they are a `ValueError`.
    """
    found = image_files(folder)
    for inner in subfolders(folder):
        if not depth:
            raise ValueError(f"{inner}: images are read from only two levels of subfolders")
        name, below = unicodedata.normalize("NFC", inner.name), nested_image_files(inner, depth - 1)
        found |= {f"{name}/{stem}": paths for stem, paths in below.items()}
    return found


def json_files(folder: Path) -> dict[str, Path]:
    """Return the JSON files of a folder, by stem."""
    files = [Path(entry.path) for entry in _visible(folder) if not _is_folder(entry)]
    found = (path for path in files if path.suffix.lower() == ".json")
    return {unicodedata.normalize("NFC", path.stem): path for path in found}


def own_files(folder: Path) -> list[Path]:
    """Return the files of a folder itself, except documents and what is hidden."""
    files = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    return [path for path in files if not path.is_dir() and is_no_document(path)]


def files_below(
    folder: Path,
    counts: Callable[[Path], bool] = lambda path: is_no_document(path),
    linked: Collection[str] = (),
) -> Iterator[Path]:
    """Yield the files of a folder and all its subfolders that count, except what is hidden.

    By default, documents do not count. Of links to folders, those in `linked` are followed.
    """
    for parent, folders, names in os.walk(folder, followlinks=True):
        inner = {name: os.path.join(parent, name) for name in sorted(folders)}
        visible = {name: path for name, path in inner.items() if not is_hidden(name)}
        folders[:] = [
            name
            for name, path in visible.items()
            if not os.path.islink(path) or os.path.abspath(path) in linked
        ]
        paths = (Path(parent, name) for name in sorted(names) if not is_hidden(name))
        yield from filter(counts, paths)


def is_no_document(path: Path) -> bool:
    """Return whether a file is more than text or a table about data, or an archive of it."""
    name = path.name.lower()
    is_of_image = name.endswith((*ARCHIVES, ".bak", ".lnk")) and image_stem(name.rpartition(".")[0])
    is_table = name.endswith(_DOCUMENTS) and not (image_stem(name) or is_of_image)
    return not is_table and name not in _DOCUMENT_NAMES


def keys_of(images: Collection[Path]) -> dict[Path, str]:
    """Return the key of each file: its path below the folder that all share, without the suffix."""
    root = Path(os.path.commonpath([image.parent for image in images])) if images else Path()
    keys = {}
    for image in images:
        stem = image_stem(image.name) or image.name
        folder = unicodedata.normalize("NFC", image.parent.relative_to(root).as_posix())
        keys[image] = stem if folder == "." else f"{folder}/{stem}"
    return keys


def images_below(folder: Path, depth: int = 3) -> Iterator[Path]:
    """Yield the image files of a folder and of some levels below it."""
    for paths in image_files(folder).values():
        yield from paths
    for inner in subfolders(folder) if depth else ():
        yield from images_below(inner, depth - 1)


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders, sorted."""
    return [Path(entry.path) for entry in _visible(folder) if _is_folder(entry)]


def subfolder(folder: Path, *names: str) -> Path | None:
    """Return the one subfolder that has one of these names, in upper or lower case.

    If it holds nothing but a folder of the same name, as archives of Kaggle do, that is returned.

    Raises:
        ValueError: There are several.
    """
    found = [path for path in subfolders(folder) if path.name.lower() in names]
    if len(found) > 1:  # One may hold texts, as YOLO's `labels/` does.
        found = [path for path in found if any(images_below(path))] or found
    if len(found) > 1:
        listing = ", ".join(f"{path.name}/" for path in found)
        raise ValueError(f"{folder}: has {listing}; keep one of them")
    while found and not image_files(found[0]) and len(inner := subfolders(found[0])) == 1:
        if inner[0].name.lower() != found[0].name.lower():
            break
        found = inner
    return found[0] if found else None


def version_of(folder: Path, *names: str) -> Path | None:
    """Return the one subfolder whose name begins with one of these, such as `masks_v2/`."""
    begin = tuple(f"{name}{mark}" for name in names for mark in "_- .")
    found = [path for path in subfolders(folder) if path.name.lower().startswith(begin)]
    return found[0] if len(found) == 1 else None


def mask_folder(folder: Path, *names: str) -> Path | None:
    """Return the subfolder of masks, as `subfolder` does.

    Sets of vessels have masks in `1st_manual/` or `manual1/`, and in `mask/` the field of view.
    """
    manual, found = subfolder(folder, *_MANUAL), subfolder(folder, *names)
    if found and shows_view(found):
        return manual
    others = {*EVERY_MASK_FOLDER, "manual2"} - {"mask"}
    if manual and (found := subfolder(folder, *others)):
        raise ValueError(f"{manual}/ and {found}/ both hold masks; keep one of them")
    return manual or found


def shows_view(folder: Path) -> bool:
    """Return whether a folder holds fields of view, going by the names that DRIVE and HRF give."""
    stems = image_files(folder) if folder.name.lower() == "mask" else {}
    return bool(stems) and all(map(_OF_VIEW.fullmatch, stems))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, which is reported when it is read.
        return False


def _dicom_name(entry: os.DirEntry) -> str | None:
    """Return the name of a DICOM file such as `IM000001`; `None` for other files."""
    if entry.name in _NO_IMAGES or entry.name.lower().endswith(_OTHERS) or not entry.is_file():
        return None
    try:
        with open(entry.path, "rb") as file:
            head = file.read(_DICOM_HEAD_BYTES)
    except OSError:
        return None
    return unicodedata.normalize("NFC", entry.name) if is_dicom(head) else None


def is_hidden(name: str) -> bool:
    """Return whether a system keeps a file or folder for itself, such as thumbnails of a disk.

    What iCloud has moved away counts as a file, which is not read.
    """
    return (name.startswith(".") and not name.endswith(".icloud")) or name in _OF_SYSTEMS


def _visible(folder: Path) -> list[os.DirEntry]:
    """List entries by name; unlike paths they know folders without asking the disk."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not is_hidden(entry.name)]
    return sorted(visible, key=lambda entry: entry.name)


def unread_files(folder: Path, data: DataSet) -> tuple[Path, ...]:
    """Return the files below a folder that belong to no image of a data set, sorted.

    Documents, tables and archives are left out, and so is what is hidden. Annotations count, those
    of programs that are not read among them: a set that has mask files makes no use of them. So do
    archives in a subfolder of images or masks, which may hold more of these.
    """
    cases = [*data.cases, *data.unannotated]
    used = {os.path.abspath(path) for case in cases for path in _files_of(case)}
    folders = {*map(os.path.dirname, used)}
    linked = {os.fspath(parent) for path in folders for parent in Path(path, "x").parents}
    mixed = folders - {os.path.abspath(folder)}
    files = files_below(folder, lambda path: _counts(path, mixed), linked)
    unread = [path for path in files if os.path.abspath(path) not in used]
    used |= {*map(os.path.realpath, used)} if unread else set()  # Links give files more names.
    return tuple(path for path in unread if os.path.realpath(path) not in used)


def _counts(path: Path, mixed: Collection[str]) -> bool:
    packed = path.suffix.lower() in ARCHIVES and os.path.abspath(path.parent) in mixed
    return packed or is_no_document(path) or _has_outlines(path)


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
        file.seek(max(path.stat().st_size - _END_BYTES, 0))
        ends += file.read()
    return outlines.search(ends) is not None


def remedy_for(path: Path) -> str:
    """Return how an archive or a spreadsheet is turned into a data set; empty for other files."""
    remedies = dict.fromkeys(ARCHIVES, "; unpack it and give the folder")
    return (remedies | dict.fromkeys(SHEETS, "; save it as CSV UTF-8")).get(path.suffix.lower(), "")


def foreign_in(folder: Path, depth: int = 2) -> str:
    """Say which annotations or views a folder or one below it has that are not read, or nothing."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and (found := _foreign_file(path)):
            return f"{path}: {found}"
    for path in filter(shows_view, subfolders(folder)):
        return (
            f"{path}/: its files are called like the fields of view of DRIVE and HRF, which are no "
            "masks, and there is no 1st_manual/ or manual1/; if they are masks, call it masks/"
        )
    inner = (foreign_in(path, depth - 1) for path in subfolders(folder) if depth)
    return next(filter(None, inner), "")


def _foreign_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".json", ".geojson"):
        content = read_json(path, ENCODINGS)
        return _said_of(content)
    head = _head(path)
    if suffix == ".xml" and b"<annotation" in head:
        return "annotations in XML, which are not read; export as COCO or as masks"
    if suffix == ".txt" and _OUTLINES_IN_TEXT.match(head) or path.name.lower() == "data.yaml":
        return "outlines or boxes in text, as YOLO has, which are not read; export COCO or masks"
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
    other = "it has neither images and annotations nor shapes; export COCO or labelme"
    return _said_of(content) or other


def _said_of(content: Any) -> str:
    for is_it, what, remedy in _FOREIGN:
        if is_it(content):
            verb = "are" if what.partition(" ")[0].endswith("s") else "is"
            return f"{what}, which {verb} not read; export {remedy}"
    named_so = "COCO, but named like an image, or not in UTF-8; rename it, or save it in UTF-8"
    return named_so if _has(content, "images", "annotations") else ""


def is_coco(content: Any) -> bool:
    """Return whether JSON lists images and annotations, as COCO does."""
    names = ("images", "annotations")
    return _has(content, *names) and all(isinstance(content[name], list) for name in names)


def _has(content: Any, *names: str) -> bool:
    return isinstance(content, dict) and all(name in content for name in names)


def _is_via(content: Any) -> bool:
    images = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
    entries = list(images.values()) if isinstance(images, dict) else []
    return bool(entries) and all(_has(one, "filename", "regions") for one in entries)


def _is_tasks(content: Any) -> bool:
    tasks = content if isinstance(content, list) else []
    return any(_has(one, name) for one in tasks for name in ("annotations", "data", "image"))


def _is_labels(content: Any) -> bool:
    return isinstance(content, list) and any(_has(one, "name", "labels") for one in content)


def _is_geojson(content: Any) -> bool:
    features = content if isinstance(content, list) else [content]
    kinds = {one["type"] for one in features if _has(one, "type") and isinstance(one["type"], str)}
    return bool(kinds) and kinds <= {"FeatureCollection", "Feature"}


def _with(*names: str) -> Callable[[Any], bool]:
    return lambda content: _has(content, *names)


_FOREIGN: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (_is_via, "a project of the VGG Image Annotator", "it as COCO"),
    (_is_geojson, "GeoJSON, as QuPath writes it", "labeled images from QuPath"),
    (_is_tasks, "tasks of Label Studio", "as COCO, or brushes as PNG masks"),
    (_with("objects", "size"), "an annotation of Supervisely", "as COCO or as machine masks"),
    (_with("items", "categories"), "a data set of Datumaro", "as COCO or as segmentation masks"),
    (_with("item", "annotations"), "annotations of V7", "as COCO or as semantic masks"),
    (_with("info", "objects"), "annotations of ISAT", "as COCO or as masks"),
    (_is_labels, "labels of Scalabel or BDD", "as COCO or as masks"),
    (_with("project_name", "images"), "a project of Hasty", "as COCO or as masks"),
)

"""Pairing images and masks by key: the files of a folder by stem, hidden ones ignored."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from kerasunet.data.cases import Case, FileCase, MaskCoding, UnannotatedCase
from kerasunet.data.readers import IMAGE_SUFFIXES, is_dicom
from kerasunet.files import raise_all, report_all

Files = dict[str, list[Path]]
_HEAD_BYTES = 352
_OF_SLICER, _OME = ".seg.nrrd", ".ome"
_OF_SYSTEMS = ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information")
_NO_IMAGES = ("DICOMDIR",)
_TABLES = (".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".zip", ".gz")
_OTHERS = (*_TABLES, ".mat", ".npy")
_DOCUMENTS = (
    *_TABLES, ".tgz", ".tar", ".rar", ".7z", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls",
    ".xlsx", ".ods", ".odt", ".yaml", ".yml", ".toml", ".ini", ".log", ".py", ".ipynb", ".m", ".r",
    ".sh", ".bib", ".rst", ".bak", ".db", ".lnk", ".url", ".sha256", ".md5", ".cff",
)  # fmt: skip
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".rar", ".7z", ".bz2", ".xz")
_DOCUMENT_NAMES = ("dicomdir", "readme", "license", "licence", "makefile", "changelog", "version")
_LONGEST_FIRST = sorted(IMAGE_SUFFIXES, key=len, reverse=True)
# "x_mask", "x_mask_1", "x_mask2", "x_mask_left", but not "face_masks_7", which is an image.
_REST = r"(?P<rest>\d*|\(\d+\)|[_ -].*)"
_BESIDE = re.compile(rf"(?P<key>.+)_mask{_REST}", re.IGNORECASE)
OTHER_WORDS = "seg|segmentation|gt|ground_?truth|annotation|label"
_BESIDE_OTHERWISE = re.compile(
    rf"(?P<key>.+)(?P<word>_(?:{OTHER_WORDS})|-(?:mask|{OTHER_WORDS})){_REST}", re.IGNORECASE
)
_IN_MASK_FOLDER = re.compile(
    rf"(?P<key>.+)[_-](?P<word>masks?|annotations|labels|{OTHER_WORDS}){_REST}", re.IGNORECASE
)
# What programs and people add to the name of a copy or a version: "- Copy", "_2024-01-31T1200" …
_OF_COPY = re.compile(
    r"[_ -]+(copy|kopi[ea]|copie|c[oó]pia)(?![^\W\d_])[_ -]?(\(\d+\)|\d*)"
    r"|[_ -]*\([^()]*\b(copy|kopi[ea]|copie|c[oó]pia)\b[^()]*\)"
    r"|-(desktop|laptop)-[a-z\d]+(-\d+)?$"
    r"|(^|[_ -]+)\(?(19|20)\d\d[_.-]?(0[1-9]|1[0-2])[_.-]?(0[1-9]|[12]\d|3[01])"
    r"([t_ -]?([01]\d|2[0-3])[:.-]?[0-5]\d([:.-]?[0-5]\d)?)?\)?(?!\d)",
    re.IGNORECASE,
)
# Beside a name without it, the number is that of a copy; macOS calls a copy of `x_mask` `x_mask 2`.
_OF_NUMBERED_COPY = re.compile(r"[_ -]?\(\d+\)$|^ \d+$")


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


def nested_image_files(folder: Path) -> Files:
    """Return the image files of a folder and its subfolders, those keyed `subfolder/stem`.

    Raises:
        ValueError: There are subfolders of subfolders, which would be overlooked.
    """
    found = image_files(folder)
    for inner in subfolders(folder):
        deeper = subfolders(inner)
        if deeper:
            raise ValueError(f"{deeper[0]}: images are read from only one level of subfolders")
        name = unicodedata.normalize("NFC", inner.name)
        found |= {f"{name}/{stem}": paths for stem, paths in image_files(inner).items()}
    return found


def json_files(folder: Path) -> dict[str, Path]:
    """Return the JSON files of a folder, by stem."""
    files = [Path(entry.path) for entry in _visible(folder) if not _is_folder(entry)]
    return {
        unicodedata.normalize("NFC", path.stem): path
        for path in files
        if path.suffix.lower() == ".json"
    }


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

    Args:
        folder: The folder.
        counts: Whether a file counts; by default, documents do not.
        linked: Links to folders that are followed.
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
    is_packed = name.endswith(ARCHIVES) and image_stem(name.rpartition(".")[0])
    is_table = name.endswith(_DOCUMENTS) and not (image_stem(name) or is_packed)
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


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders, sorted."""
    return [Path(entry.path) for entry in _visible(folder) if _is_folder(entry)]


def subfolder(folder: Path, *names: str) -> Path | None:
    """Return the one subfolder that has one of these names, in upper or lower case.

    Raises:
        ValueError: There are several.
    """
    found = [path for path in subfolders(folder) if path.name.lower() in names]
    if len(found) > 1:
        listing = ", ".join(f"{path.name}/" for path in found)
        raise ValueError(f"{folder}: has {listing}; keep one of them")
    return found[0] if found else None


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
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    return unicodedata.normalize("NFC", entry.name) if is_dicom(head) else None


def is_hidden(name: str) -> bool:
    """Return whether a system keeps a file or folder for itself, such as thumbnails of a disk."""
    return name.startswith(".") or name in _OF_SYSTEMS


def _visible(folder: Path) -> list[os.DirEntry]:
    """List entries by name; unlike paths they know folders without asking the disk."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not is_hidden(entry.name)]
    return sorted(visible, key=lambda entry: entry.name)


def pair(
    images: Files,
    masks: Files,
    coding: MaskCoding = MaskCoding(),
    *,
    group: Callable[[str], str] = lambda key: key,
    label: Callable[[str], str] = lambda key: "",
) -> list[FileCase]:
    """Make cases as `pair_annotated` does, of images that all have a mask.

    Args:
        images, masks, coding: As there.
        group, label: Return the group and the label of a key.
    """
    cases = pair_annotated(images, masks, coding, complete=True)
    files = (case for case in cases if isinstance(case, FileCase))
    return [replace(case, group=group(case.key), label=label(case.key)) for case in files]


def pair_annotated(
    images: Files, masks: Files, coding: MaskCoding = MaskCoding(), *, complete: bool = False
) -> list[Case]:
    """Make a case of every image and the masks of the same key; images without one may be there.

    Args:
        images: Image files by key, one for each.
        masks: Mask files by key; several of one key are united.
        coding: How the masks code the object.
        complete: Whether every image must have a mask.

    Returns:
        The cases, sorted by key, those without a mask as `UnannotatedCase`.

    Raises:
        ValueError: Masks have no image, or files differ in suffix only; the message lists every
            one.
    """
    problems = [*doubled(images), *doubled(masks)]
    problems += [*(_alone(images, masks, "mask") if complete else ())]
    problems += [*_alone(masks, images, "image")]
    report_all(problems, f"{len(problems)} files cannot be paired; a manifest.csv pairs any names:")
    return [
        FileCase(key, key, paths[0], masks=tuple(masks[key]), coding=coding)
        if key in masks
        else UnannotatedCase(key, key, paths[0])
        for key, paths in sorted(images.items())
        if key in masks or not complete
    ]


def by_image(masks: Files, images: Files) -> Files:
    """Assign the files of a mask folder to images: `x`, `x_mask`, `x_seg_2`, `x.jpg` … are of `x`.

    Raises:
        ValueError: Masks of an image have several such words, or differ in nothing but how their
            names are written, so that they may be of different things.
    """
    full_names = {name: key for key in images for name in _full_names(key, images[key][0])}
    sorted_masks: Files = {}
    endings: dict[str, dict[str, tuple[str, str]]] = {}
    for stem, paths in masks.items():
        names = {stem: ("", ""), stem.removesuffix(_OME): ("", "")}
        if match := _IN_MASK_FOLDER.fullmatch(stem):
            names[match["key"]] = (match["word"].lower().rstrip("s"), match["rest"].lower())
        name = next((name for name in names if name in images or name in full_names), stem)
        key = name if name in images else full_names.get(name, stem)
        sorted_masks.setdefault(key, []).extend(paths)
        endings.setdefault(key, {})[stem] = names[name]
    mixed = [" and ".join(found) for found in endings.values() if not _are_parts(found.values())]
    raise_all(mixed, "an image has masks of several kinds, keep one of them:")
    _check_copies([{stem: rest for stem, (_, rest) in found.items()} for found in endings.values()])
    return sorted_masks


def _are_parts(endings: Collection[tuple[str, str]]) -> bool:
    """Return whether names of masks have one word, and what follows it tells them apart."""
    return len({word for word, _ in endings}) == 1 and len({*endings}) == len(endings)


def _check_copies(endings: Iterable[Mapping[str, str]]) -> None:
    """Refuse copies and dated versions, given what follows `_mask` in each mask of each image."""
    copies = [found for found in endings if _has_copies(found.values())]
    raise_all(
        [" and ".join(f"'{stem}'" for stem in found) for found in copies],
        "these look like copies or versions of one mask; keep one of them, or, if they are parts "
        "of one object, give them numbers such as _1 and _2:",
    )


def _has_copies(rests: Collection[str]) -> bool:
    """Return whether endings differ only in what tells copies apart; any others are of parts."""
    originals = [_OF_COPY.sub("", rest) for rest in rests]
    numbered = filter(_OF_NUMBERED_COPY.search, originals)
    copied = {_OF_NUMBERED_COPY.sub("", original) for original in numbered}
    return len({*originals}) < len(originals) or not copied.isdisjoint(originals)


def _full_names(key: str, image: Path) -> Iterator[str]:
    """Yield other names of an image: `x.jpg`, and `x` for `x.IMA` and `x.ome.tif`."""
    folder = key.removesuffix(key.rpartition("/")[2])
    yield f"{folder}{_composed(image.name)}"
    yield key.removesuffix(_OME)
    if image_stem(image.name) is None and image.suffix[1:].isalpha():
        yield f"{folder}{_composed(image.stem)}"


def images_beside_masks(files: Files) -> tuple[Files, Files]:
    """Separate `x` from `x_mask`, `x_mask_1` … of one folder: images and masks, by key.

    Where no name has `_mask`, masks may be `x_seg`, `x_gt`, `x-label` … instead; such a word counts
    if `x` is there for one of its names at least. Beside `_mask`, `x-label` is an image.

    Raises:
        ValueError: Several such words are in use, so that masks may be of different things.
    """
    key_of = _keys_beside(files)
    masks: Files = {}
    for stem, key in key_of.items():
        masks.setdefault(key, []).extend(files[stem])
    return {stem: paths for stem, paths in files.items() if stem not in key_of}, masks


def _keys_beside(files: Files) -> dict[str, str]:
    """Return the key of every mask, by its stem."""
    usual = [match for stem in files if (match := _BESIDE.fullmatch(stem))]
    others = [match for stem in files if (match := _BESIDE_OTHERWISE.fullmatch(stem))]
    words = {match["word"].lower() for match in others if match["key"] in files}
    words = {word for word in words if word[0] == "_" or not usual}
    if len(words) + bool(usual) > 1:
        known = ", ".join(f"x{word}" for word in sorted(words | ({"_mask"} if usual else set())))
        folder = next(iter(files.values()))[0].parent
        raise ValueError(f"{folder}: has masks of several kinds, {known}; keep one of them")
    found = usual or [match for match in others if match["word"].lower() in words]
    # An image may be called `x_mask_1` where there is no `x`, but a mask of it.
    key_of = {match[0]: match["key"] for match in found}
    images = {key for key in key_of.values() if key in key_of and key_of[key] not in files}
    masks = [match for match in found if match[0] not in images]
    endings: dict[str, dict[str, str]] = {}
    for match in masks:
        endings.setdefault(match["key"], {})[match[0]] = match["rest"]
    _check_copies(endings.values())
    return {match[0]: match["key"] for match in masks}


def masks_by_name(files: Files) -> set[str]:
    """Return the stems of one folder that are those of another with `_mask`, `_seg` or the like."""
    patterns = (_BESIDE, _BESIDE_OTHERWISE)
    matches = (pattern.fullmatch(stem) for stem in files for pattern in patterns)
    return {match[0] for match in matches if match and match["key"] in files}


def doubled(files: Files) -> Iterator[str]:
    """Yield problems with files that differ in their suffix only."""
    for paths in files.values():
        stems: dict[str | None, str] = {}
        for path in paths:
            first = stems.setdefault(image_stem(path.name), path.name)
            if first != path.name:
                same = _composed(path.name) == _composed(first)
                what = "the Unicode form of its accents" if same else "its suffix"
                yield f"{path}: differs from {first} only in {what}; keep one of them"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _difference(key: str, name: str) -> str:
    case = key.rpartition("/")[2].casefold() == image_stem(name.casefold())
    return "upper and lower case" if case else "spaces, zeros before numbers or case"


def _loosely(key: str) -> str:
    """Return a key without what people overlook: case, spaces, zeros before numbers."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", "".join(key.casefold().split()))


def _alone(files: Files, partners: Files, wanted: str) -> Iterator[str]:
    spellings = {_loosely(key): paths[0].name for key, paths in partners.items()}
    unread = _of_other_kinds(partners) if wanted == "image" else {}
    for key in sorted(files.keys() - partners.keys()):
        alike = spellings.get(_loosely(key))
        hint = f" ({alike} differs only in {_difference(key, alike)})" if alike else ""
        if not hint and (other := unread.get(key)):
            hint = f" ({other} is of a kind that is not read; convert it to PNG)"
        for path in files[key]:
            yield f"{path}: has no {wanted}{hint}"


def _of_other_kinds(images: Files) -> dict[str, str]:
    """Return the names, by stem, of files beside images that are none of a kind that is read."""
    folders = {paths[0].parent for paths in images.values()}
    beside = [entry for folder in folders for entry in _visible(folder) if not _is_folder(entry)]
    names = (entry.name for entry in beside if not image_stem(entry.name))
    others = filter(lambda name: is_no_document(Path(name)), names)
    return {_composed(image_stem(Path(name).stem) or Path(name).stem): name for name in others}

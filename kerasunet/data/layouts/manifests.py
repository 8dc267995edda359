"""Manifests (CSV, TSV), nnU-Net's folders with a dataset.json, and folders of other challenges.

A manifest has the columns image and mask, and optionally group, label, split.

An image with several masks has several rows, one without an object has an empty mask cell. Paths
are relative to the manifest's folder and stay inside it; a file elsewhere needs an absolute path,
which nobody gives by mistake.
"""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from kerasunet.data.annotations import ENCODINGS
from kerasunet.data.cases import Case, DataSet, FileCase
from kerasunet.data.layouts import pairing
from kerasunet.data.layouts.contents import (
    SHEETS,
    Files,
    image_files,
    image_stem,
    keys_of,
    shows_view,
    subfolders,
)
from kerasunet.data.layouts.folder_names import CLASS, PARTS, kind_of_name
from kerasunet.data.layouts.folders import FOLDS, PATIENTS, under
from kerasunet.data.layouts.tables import misspelled, read_rows
from kerasunet.files import FileWarning, is_plain, raise_all, read_json, report_all

MANIFESTS, _TRAINING = ("manifest.csv", "manifest.tsv"), {"imagesTr", "labelsTr"}
_CHANNEL = re.compile(r"_\d{4}$")
_IN_COLOR, _PICTURES = (3, 4), (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_REQUIRED, _OPTIONAL = ("image", "mask"), ("group", "label", "split")
COLUMNS = (*_REQUIRED, *_OPTIONAL)
PATIENT_COLUMN = re.compile(
    r"(patient|patienten|subject|participant)s?[ _-]?(id|name|number|nummer|no|nr)?|pid|mrn|"
    r"pat[ _-]?(id|name|no|nr)"
)
_OBJECTS = re.compile(r"(object|class|category|organ|annotator|rater|reader)s?([ _-]?(id|name))?")
_SEVERAL = "masks of several objects or annotators; write a manifest for each"
_LAYOUT, _MOST_FOLDERS = "manifest with", 20
_NO_IMAGE, _NO_MASK = "_superpixels", "_attribute_"  # ISIC's, beside images, and of another task.
_PART = re.compile(rf"(?:^|[^a-z])({'|'.join(PARTS)}|trainval)(?:$|[^a-z])", re.IGNORECASE)
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class _Row(NamedTuple):
    where: str
    image: Path
    mask: Path | None
    group: str
    label: str
    split: str
    object: str


def manifest_in(folder: Path) -> DataSet | None:
    """Read the `manifest.csv` or `manifest.tsv` of a folder; `None` if there is none.

    Raises:
        ValueError: There are several, or a spreadsheet instead.
    """
    sheets = tuple(f"manifest{suffix}" for suffix in SHEETS)
    names = sorted(name for name in os.listdir(folder) if name.lower() in (*MANIFESTS, *sheets))
    found = [name for name in names if name.lower() in MANIFESTS and (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder}: has {' and '.join(found)}; keep one of them")
    if names and not found:
        raise ValueError(
            f"{folder / names[0]}: a spreadsheet is not read; save it as manifest.csv, CSV UTF-8"
        )
    return read_manifest(folder / found[0]) if found else None


def read_manifest(path: Path) -> DataSet:
    """Read a manifest.

    Args:
        path: A `.tsv` file, or a `.csv` file with commas, semicolons or tabs.

    Returns:
        The data set; a column `split` becomes its official division `"manifest"`.

    Raises:
        ValueError: Columns are missing, files do not exist or rows contradict each other; the
            message lists every row concerned.
    """
    cells = read_rows(path)
    columns = list(cells[0][1]) if cells else []
    _check_columns(path, columns)
    faults = {line: list(_faults(path, line, row)) for line, row in cells}
    by_image: dict[Path, list[_Row]] = {}
    for row in (_row(path, line, row) for line, row in cells if not faults[line]):
        by_image.setdefault(row.image, []).append(row)
    contradictions = {image: list(_contradictions(rows)) for image, rows in by_image.items()}
    problems = [fault for found in (*faults.values(), *contradictions.values()) for fault in found]
    problems += [f"{path}: {fault}" for fault in _misspelled(cells)]
    report_all(problems, f"{len(problems)} faults in a manifest:")
    by_image = {image: rows for image, rows in by_image.items() if not contradictions[image]}
    used = [name for name in COLUMNS if name in columns]
    return _data_set(path, by_image, f"{_LAYOUT} {', '.join(used)}")


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: has no column {', '.join(missing)}, or no rows (its first line names "
            f"{', '.join(columns) or 'none'}); the columns are {', '.join(_REQUIRED)} and "
            f"optionally {', '.join(_OPTIONAL)}, with commas between them"
        )
    patients = [name for name in columns if PATIENT_COLUMN.fullmatch(name)]
    if patients and "group" not in columns:
        raise ValueError(
            f"{path}: has a column {patients[0]}, but none of the name group, by which the images "
            "of a patient stay together; rename it to group, or to what else it is"
        )


def _misspelled(cells: Sequence[tuple[int, Mapping[str, str]]]) -> Iterator[str]:
    for what in ("group", "label"):
        yield from misspelled(filter(None, (row.get(what, "").strip() for _, row in cells)), what)


def check_inner(folder: Path, layout: str, found: Collection[DataSet]) -> None:
    """Refuse folders in which others say again, or otherwise, what they themselves say.

    Args:
        folder: The folder of the folders.
        layout: What they are.
        found: What is in each of them.

    Raises:
        ValueError: Manifests in folders of patients name groups, or each fold has parts, which
            then hold the same images.
    """
    if layout.startswith(FOLDS) and any(data.official for data in found):
        raise ValueError(
            f"{folder}: each of its folds has parts such as train, so they hold the same images; "
            "give the folder of one fold, or all images once"
        )
    grouped = (data.layout.startswith(_LAYOUT) and "group" in data.layout for data in found)
    if layout.startswith(PATIENTS) and any(grouped):
        raise ValueError(
            f"{folder}: its folders look like patients, but manifests in them name groups; put one "
            "manifest.csv above them"
        )


def _data_set(path: Path, by_image: Mapping[Path, list[_Row]], layout: str) -> DataSet:
    keys = keys_of(by_image)
    cases = [_case(keys[image], rows) for image, rows in by_image.items()]
    parts = {keys[image]: PARTS[rows[0].split] for image, rows in by_image.items() if rows[0].split}
    return DataSet(
        os.path.basename(os.path.abspath(path.parent)) if path.name in MANIFESTS else path.stem,
        tuple(sorted(cases, key=lambda case: case.key)),
        layout,
        official={"manifest": parts} if parts else {},
    )


def _row(path: Path, line: int, cells: Mapping[str, str]) -> _Row:
    values = {name: (cells.get(name) or "").strip() for name in COLUMNS}
    return _Row(
        f"{path}:{line}",
        _located(path.parent, values["image"]),
        _located(path.parent, values["mask"]) if values["mask"] else None,
        group=values["group"],
        label=values["label"],
        split=values["split"].lower(),
        object=next((cells[name] for name in cells if _OBJECTS.fullmatch(name)), ""),
    )


def _located(folder: Path, text: str) -> Path:
    """Return the absolute path of a cell, with slashes, and accents in the form of the disk."""
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
        elif os.name != "nt" and _OF_WINDOWS.match(text):
            yield (
                f"{where}: {text} is a path of Windows, which this machine does not have; give "
                "paths from the manifest's folder on"
            )
        elif not os.path.isabs(text) and not located.is_relative_to(os.path.abspath(path.parent)):
            yield f"{where}: {text} leaves the manifest's folder; give an absolute path"
        elif not os.path.isfile(located):  # `Path.is_file` fails on names that are too long.
            yield f"{where}: no such file: {located}"
    for name, text in ((name, text.strip()) for name, text in cells.items() if "mask" in name):
        if text and text != cells["mask"].strip() and os.path.isfile(_located(path.parent, text)):
            yield f"{where}: the {name} {text} is not read; give each mask a row of its own"
    for name in ("group", "label"):
        if not is_plain(cells.get(name) or ""):
            yield f"{where}: the {name} has control characters, {cells[name]!r}; remove them"
    if "group" in cells and not cells["group"].strip():
        yield f"{where}: the group is empty; give every image of a patient the same group"
    if "split" in cells and cells["split"].strip().lower() not in PARTS:
        yield f"{where}: split is one of {', '.join(PARTS)}, not {cells['split']!r}"


def _contradictions(rows: list[_Row]) -> Iterable[str]:
    """Yield contradictions between the rows of one image."""
    for column in (*_OPTIONAL, "object"):
        if len({getattr(row, column) for row in rows}) > 1:
            what = f"several values of {column}" if column != "object" else _SEVERAL
            yield f"{rows[-1].where}: {rows[0].image.name} has {what}"
    masks = [row.mask for row in rows]
    if len(set(masks)) < len(masks) or (None in masks and len(masks) > 1):
        yield f"{rows[-1].where}: {rows[0].image.name} has a mask twice, or a row without one"


def _case(key: str, rows: list[_Row]) -> FileCase:
    masks = tuple(row.mask for row in rows if row.mask is not None)
    return FileCase(key, rows[0].group or key, rows[0].image, masks=masks, label=rows[0].label)


def nnunet(folder: Path) -> Sequence[Case] | None:
    """Read nnU-Net's `imagesTr/x_0000.png` with `labelsTr/x.png`, also without `_0000`.

    Images in `imagesTs/` are the test part if there is a `labelsTs/`, and unannotated otherwise.

    Raises:
        ValueError: Images have several channels, which are files of their own; or masks have no
            image.
    """
    if not all((folder / name).is_dir() for name in _TRAINING):
        return None
    training = _files_of_part(folder, "Tr")
    _check_listed(folder / "dataset.json", training[0])
    has_channels = training[0].keys().isdisjoint(training[1])
    found = (training, _files_of_part(folder, "Ts"))
    parts = [_nnunet_cases(images, masks, has_channels) for images, masks in found]
    if not (folder / "labelsTs").is_dir():
        return [case for cases in parts for case in cases]
    return [*under("train", parts[0]), *under("test", parts[1])]


def _check_listed(path: Path, images: Files) -> None:
    """Refuse a table that pairs images otherwise than their names do, or lists missing ones."""
    read = read_json(path, ENCODINGS) if path.is_file() else {}
    content = read if isinstance(read, dict) else {}
    _warn_of_channels(path, content.get("channel_names") or content.get("modality"), images)
    there = {_CHANNEL.sub("", stem) for stem in images}
    missing = []
    for named in _listed_pairs(content):
        names = (name.replace("\\", "/").rpartition("/")[2] for name in named)
        stems = {_CHANNEL.sub("", image_stem(name) or name) for name in names}
        folders = {Path(name).parent.name for name in named if (path.parent / name).is_file()}
        if len(stems) > 1 or not folders <= _TRAINING:
            raise ValueError(
                f"{path}: pairs {' and '.join(named)}, unlike their names or folders; list the "
                "images and masks in a manifest.csv"
            )
        missing += [] if stems & there else [named[1]]
    raise_all(missing, f"{path}: lists images that are missing; add them or correct the list:")
    count = content.get("numTraining")
    if isinstance(count, int) and count > len(there):
        text = f"{path}: says numTraining {count:,}, but {len(there):,} are there; add the others"
        warnings.warn(text, FileWarning, stacklevel=2)


def _warn_of_channels(path: Path, channels: Any, images: Files) -> None:
    """Warn of channels that are in no file; pictures may hold red, green and blue in one."""
    count = len(channels) if isinstance(channels, dict) else 1
    suffixes = {paths[0].suffix.lower() for paths in images.values()}
    if count == 1 or (count in _IN_COLOR and suffixes <= {*_PICTURES}):
        return
    names = ", ".join(map(str, channels.values()))
    text = f"{path}: lists {count} channels ({names}), of which only the first, _0000, is read"
    warnings.warn(text, FileWarning, stacklevel=2)


def _listed_pairs(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield label and first image of each entry: of nnU-Net, with its key, and of the Decathlon."""
    listed = content.get("dataset")
    for key, entry in listed.items() if isinstance(listed, dict) else ():
        if isinstance(entry, dict) and {"label", "images"} <= entry.keys():
            yield (entry["label"], *entry["images"][:1], key)
    listed = content.get("training")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and {"label", "image"} <= entry.keys():
            image = entry["image"]
            yield entry["label"], image if isinstance(image, str) else image[0]


def _files_of_part(folder: Path, part: str) -> tuple[Files, Files]:
    paths = (folder / f"{kind}{part}" for kind in ("images", "labels"))
    images, masks = (image_files(path) if path.is_dir() else {} for path in paths)
    return images, masks


def _nnunet_cases(images: Files, masks: Files, has_channels: bool) -> list[Case]:
    if not has_channels:
        return pairing.pair_annotated(images, masks)
    channels = {stem: _CHANNEL.search(stem) for stem in images}
    further = [
        f"{images[stem][0]}: is a further channel of its image; keep only the first, _0000"
        for stem, found in channels.items()
        if found and found[0] != "_0000"
    ]
    report_all(further, f"{len(further)} channels cannot be read beside the first:")
    first = {stem for stem, found in channels.items() if not found or found[0] == "_0000"}
    twice = [images[stem][0] for stem in sorted(first) if f"{stem}_0000" in first]
    raise_all([f"{path}: is there with _0000, too; keep one of them" for path in twice])
    return pairing.pair_annotated({_CHANNEL.sub("", stem): images[stem] for stem in first}, masks)


def challenge(folder: Path) -> Sequence[Case] | None:
    """Read folders of images and of masks that are paired by names: `train/` and `train_masks/`.

    Such are those of ISIC and Carvana. Folders may be of different parts; those of images that have
    no folder of masks are unannotated. `None` where it is not clear which masks are of which.
    """
    inner = (path for path in subfolders(folder) if not shows_view(path))
    every = {path: found for path in inner if (found := image_files(path))}
    files = {path: of for path, of in every.items() if not all(_NO_MASK in stem for stem in of)}
    if len(files) > _MOST_FOLDERS:  # Of patients; pairs would be too many.
        return None
    pairs = {
        (a, b): keys
        for a, b in permutations(files, 2)
        if (keys := pairing.keys_of_masks(files[b], b.name, files[a], image_folder=a.name))
    }
    ends = [path for pair in pairs for path in pair]
    others = files.keys() - {*ends}
    left = any(pairing.OF_MASK.search(path.name) for path in others)
    if not pairs or len({*ends}) < len(ends) or left:
        return None
    known = {key for keys in pairs.values() for key in keys}
    bare = [path for path in others if not _extend(files[path], known)]
    read = {images: keys for (images, _), keys in pairs.items()} | {path: {} for path in bare}
    parts = {path: _part_of(path.name) for path in read}
    if len(read) > 1 and (None in parts.values() or len({*parts.values()}) < len(read)):
        return None
    cases = []
    for path, masks in read.items():
        images = {key: of for key, of in files[path].items() if not key.endswith(_NO_IMAGE)}
        paired = pairing.pair_annotated(images, masks)
        cases += under(parts[path] or "", paired) if len(read) > 1 else paired
    return cases


def _extend(files: Files, known: Collection[str]) -> bool:
    """Return whether all names are those of known images, or begin so, as other maps of them do."""
    parts = (stem.split("_") for stem in files)
    return all(any("_".join(p[:n]) in known for n in range(1, len(p) + 1)) for p in parts)


def _part_of(name: str) -> str | None:
    if found := _PART.search(name):
        return PARTS[found[1].lower().replace("trainval", "train")]
    word = pairing.without(pairing.OF_IMAGE, name).rstrip("_ -").lower()
    return word if kind_of_name(word) == CLASS else None


def mvtec(folder: Path) -> Sequence[Case] | None:
    """Read MVTec's `test/KIND/x.png` with `ground_truth/KIND/x_mask.png`; `good/` has no object."""
    paths = (folder / part / "good" for part in ("train", "test"))
    good = {path: found for path in paths if path.is_dir() and (found := image_files(path))}
    truth = folder / "ground_truth"
    if not good or not truth.is_dir():
        return None
    for path in subfolders(truth):
        if subfolders(path) or (path.name == "good" and image_files(path)):
            raise ValueError(
                f"{path}/: is not as in MVTec, whose masks are in ground_truth/KIND/, and whose "
                "good images have none; list images and masks in a manifest.csv"
            )
    cases: list[Case] = []
    for path, found in good.items():
        names = {f"{path.parent.name}/good/{key}": of[0] for key, of in found.items()}
        cases += [FileCase(key, key, of, masks=(), label="good") for key, of in names.items()]
    for path in subfolders(truth):
        inner = folder / "test" / path.name
        images = image_files(inner) if inner.is_dir() else {}
        paired = pairing.pair_annotated(images, pairing.by_image(image_files(path), images))
        cases += [replace(case, label=path.name) for case in under(f"test/{path.name}", paired)]
    return cases

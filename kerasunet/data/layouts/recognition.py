"""Recognizing the file layout of a folder: a published data set, or one of the common layouts.

Published sets are read as they come out of their archives: mask values, labels, folds, terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kerasunet.data.cases import Case, DataSet, MaskCoding, by_annotation
from kerasunet.data.layouts import manifests
from kerasunet.data.layouts.coco import coco, image_root, read_coco
from kerasunet.data.layouts.contents import (
    Files,
    files_below,
    foreign_in,
    image_files,
    remedy_for,
    shows_view,
    subfolders,
    unread_files,
)
from kerasunet.data.layouts.folders import (
    PATIENTS,
    frames_apart,
    images_alone,
    images_and_masks,
    images_and_masks_of_other_names,
    interpret,
    masks_beside_images,
    pascal_voc,
    under,
)
from kerasunet.data.layouts.labelme import labelme
from kerasunet.data.layouts.pairing import by_image, images_beside_masks, pair, pair_annotated
from kerasunet.data.layouts.tables import read_table, with_classes
from kerasunet.files import call_all, kinds_in_words, raise_all

_DEPTH, _TWO_FOLDERS = 2, "images/ and masks/"
_OWN: dict[str, Callable[[Path], Sequence[Case] | None]] = {
    "Pascal VOC": pascal_voc,
    "nnU-Net": manifests.nnunet,
    "MVTec": manifests.mvtec,
    _TWO_FOLDERS: images_and_masks,
    "x beside x_mask": masks_beside_images,
    "COCO": coco,
    "labelme": labelme,
    "folders of images and of masks": manifests.challenge,
}
_ANTI_ALIASED = MaskCoding(above=127)
_LUNGS = MaskCoding(labels=(150, 200))
_BUSI_LABELS = ("benign", "malignant", "normal")
_BUS_BRA_FOLDS = (5, 10)
PUBLISHED: dict[str, tuple[str, str]] = {
    "duts": (
        "none stated; ImageNet photographs, research use",
        "Wang et al., Learning to Detect Salient Objects with Image-level Supervision, CVPR 2017",
    ),
    "ecssd": (
        "none stated; research use",
        "Shi et al., Hierarchical Image Saliency Detection on Extended CSSD, TPAMI 2016",
    ),
    "bus_bra": (
        "free use and redistribution with notice and citation",
        "Gómez-Flores et al., BUS-BRA, Medical Physics 2024, doi 10.5281/zenodo.8231412",
    ),
    "busi": (
        "citation asked; mirrors state CC0 or CC BY 4.0",
        "Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020, "
        "doi 10.1016/j.dib.2019.104863",
    ),
    "jsrt": (
        "research and education; redistribution and commercial use prohibited",
        "Shiraishi et al., AJR 2000; lung masks: van Ginneken et al., Medical Image Analysis 2006",
    ),
    "shenzhen": (
        "images: NLM, cite; masks: CC BY-NC-SA 4.0",
        "Jaeger et al., QIMS 2014; masks: Stirenko et al. 2018",
    ),
}
"""Terms of use and citation of each published data set."""


def read_folder(folder: Path, name: str | None = None) -> DataSet:
    """Recognize the layout of a folder and list its cases.

    Args:
        folder: A published data set as it comes out of its archive; or your own folder, in one of
            the layouts of `docs/guide/data.md`, such as `images/` and `masks/`; or a folder of such
            folders, one for each patient, part (`train/`, `test/`) or class (`benign/` …).
        name: The published data set that is said to be there, perhaps in part.

    Returns:
        The data set; its `layout` says which layout was recognized.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The layout is not known, or images and masks do not pair up; the message
            lists every file concerned.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = _read(folder, _DEPTH, name)
    if found is None:
        raise ValueError(
            foreign_in(folder)
            or f"{folder}: no known layout; expected images/ and masks/ with equal file names, "
            "x.png beside x_mask.png, a manifest.csv, labelme, COCO, Pascal VOC or nnU-Net files, "
            f"a folder of such folders, or one of {', '.join(PUBLISHED)}; it holds "
            f"{kinds_in_words(files_below(folder)) or 'no images'}"
        )
    found = frames_apart(found)
    return replace(found, unread=unread_files(folder, found))


def read_file(path: Path) -> DataSet:
    """Read a data set that one file describes: a manifest (CSV, TSV) or COCO's JSON.

    Raises:
        ValueError: The file is none of these, or has problems; the message lists every one.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _data_set(image_root(path), read_coco(path), "COCO")
    if suffix in (".csv", ".tsv"):
        return frames_apart(_with_classes(path.parent, manifests.read_manifest(path)))
    raise ValueError(
        f"{path}: a data set is a folder, a manifest (.csv, .tsv) or a COCO file (.json)"
        f"{remedy_for(path)}"
    )


def is_folder_of_folders(folder: Path) -> bool:
    """Return whether a folder is in no layout and holds no images, so that those in it are read."""
    with suppress(OSError, ValueError):
        return not image_files(folder) and _read(folder, 0, None) is None
    return False


def _is_published(data: DataSet) -> bool:
    return data.name in PUBLISHED and bool(data.citation)


def _read(folder: Path, depth: int, name: str | None) -> DataSet | None:
    data, listed = read_published(folder, name), manifests.manifest_in(folder)
    if data and listed:
        raise ValueError(f"{folder}: is {data.name}, and has a manifest; give the path of that")
    if data or listed:
        return data or (listed and _with_classes(folder, listed))
    for layout, reader in _OWN.items():
        if (cases := reader(folder)) is not None:
            return _data_set(folder, with_classes(folder, cases), layout)
    if depth and (inner := _read_subfolders(folder, depth - 1, name)):
        return inner
    cases = images_and_masks_of_other_names(folder)
    return _data_set(folder, with_classes(folder, cases), _TWO_FOLDERS) if cases else None


def _read_subfolders(folder: Path, depth: int, name: str | None) -> DataSet | None:
    inner = [path for path in subfolders(folder) if not shows_view(path)]
    results = call_all(partial(_read, path, depth, name) for path in inner)
    found = {path.name: data for path, data in zip(inner, results, strict=True) if data}
    published = {data.name: data for data in found.values() if _is_published(data)}
    if name in published or len(published) == 1:
        return published.get(name or "") or next(iter(published.values()))
    if published:
        names = ", ".join(published)
        raise ValueError(f"{folder}: holds several published data sets; give one of them: {names}")
    others = [path for path in inner if path.name not in found and _holds_images(path)]
    bare = {path.name: images_alone(path) for path in others}
    if found:
        raise_all(
            [f"{path}/" for path in others if not bare[path.name]],
            "images in these folders are in no known layout (images without masks belong in a "
            "folder named images/):",
        )
    return _united(folder, found, bare) if found else None


def _holds_images(folder: Path) -> bool:
    return any(image_files(path) for path in (folder, *subfolders(folder)))


def _united(
    folder: Path, found: Mapping[str, DataSet], bare: Mapping[str, Sequence[Case]]
) -> DataSet:
    """Make one data set of those in the subfolders, and of images without masks in others."""
    without_masks = [case for name, cases in bare.items() for case in under(name, cases)]
    if len(found) == 1:
        (only,) = found.values()
        _, unannotated = by_annotation([*only.unannotated, *without_masks])
        renamed = replace(only, name=folder.absolute().name, unannotated=unannotated)
        return _with_classes(folder, renamed)
    if any(data.layout.startswith(PATIENTS) for data in found.values()):
        found = {name: _of_one_patient(folder / name, data) for name, data in found.items()}
    cases = [
        case
        for name, data in found.items()
        for case in under(name, [*data.cases, *data.unannotated])
    ] + without_masks
    layout = " or ".join(sorted({data.layout for data in found.values()}))
    united = _data_set(folder, cases, layout)
    manifests.check_inner(folder, united.layout, found.values())
    return _with_classes(folder, united)


def _of_one_patient(folder: Path, data: DataSet) -> DataSet:
    """Name the patient if a folder holds that of one alone, as others beside it hold several."""
    inner = subfolders(folder)
    if len(inner) != 1 or data.layout.startswith(PATIENTS) or _read(folder, 0, None):
        return data
    return _data_set(folder, under(inner[0].name, [*data.cases, *data.unannotated]), data.layout)


def _with_classes(folder: Path, data: DataSet) -> DataSet:
    return replace(data, cases=tuple(with_classes(folder, data.cases)))


def _data_set(folder: Path, cases: Sequence[Case], layout: str) -> DataSet:
    meant, folders, official = interpret(cases)
    annotated, unannotated = by_annotation(meant)
    return DataSet(
        folder.absolute().name,
        annotated,
        f"{folders}: {layout}" if folders else layout,
        official=official,
        unannotated=unannotated,
    )


def read_published(folder: Path, name: str | None = None) -> DataSet | None:
    """Read the published data set that was unpacked here; `None` if there is none.

    A set is recognized by its folders and by the names, and for want of telling names the number,
    of its images: other data in folders of such names have other masks and other terms.

    Args:
        folder: The folder.
        name: A set that somebody says is here; its folders suffice, so it may be a part of it.
    """
    archive = _archive_in(folder, name)
    if archive is None:
        return None
    cases, official = archive.read(folder)
    annotated, unannotated = by_annotation(cases)
    terms, citation = PUBLISHED[archive.name]
    return DataSet(
        archive.name,
        annotated,
        f"{archive.name} archive",
        terms=terms,
        citation=citation,
        official=official,
        unannotated=unannotated,
    )


class _Archive(NamedTuple):
    """What a published set looks like.

    Attributes:
        name: A name in `PUBLISHED`.
        entries: What its folder has, as glob patterns.
        images: Its folders of images.
        stems: A pattern for all file names in these, without suffix.
        read: Lists its cases, and its official divisions.
        number: How many images there are, where their names could be anybody's.
    """

    name: str
    entries: tuple[str, ...]
    images: tuple[str, ...]
    stems: str
    read: Callable[[Path], tuple[Iterable[Case], Mapping]]
    number: int | None = None

    def has_entries(self, folder: Path) -> bool:
        return all(any(folder.glob(entry)) for entry in self.entries)

    def has_images(self, folder: Path) -> bool:
        names = [
            stem
            for part in self.images
            if (folder / part).is_dir()
            for stem in image_files(folder / part)
        ]
        known = all(re.fullmatch(self.stems, name) for name in names)
        return known and self.number in (None, len(names))


def _archive_in(folder: Path, name: str | None) -> _Archive | None:
    found = (archive for archive in _ARCHIVES if archive.has_entries(folder))
    return next((a for a in found if a.name == name or a.has_images(folder)), None)


def _duts(root: Path):
    images, masks = image_files(root / "DUTS-TR-Image"), image_files(root / "DUTS-TR-Mask")
    return pair(images, masks, _ANTI_ALIASED), {}


def _ecssd(root: Path):
    images, masks = image_files(root / "images"), image_files(root / "ground_truth_mask")
    return pair(images, masks, _ANTI_ALIASED), {}


def _bus_bra(root: Path):
    images = image_files(root / "Images")
    masks = {
        stem.replace("mask", "bus", 1): paths for stem, paths in image_files(root / "Masks").items()
    }
    rows = _rows(root / "bus_data.csv", "id", images)
    cases = pair(
        images,
        masks,
        group=lambda key: f"patient-{rows[key]['case']}",
        label=lambda key: rows[key]["pathology"],
    )
    return cases, _bus_bra_folds(root, images)


def _bus_bra_folds(root: Path, images: Files) -> dict[str, dict[str, int]]:
    """Read the official folds, but not their `valid_` columns, which divide patients."""
    official = {}
    for folds in _BUS_BRA_FOLDS:
        path = root / f"{folds}-fold-cv.csv"
        if path.is_file():
            rows = _rows(path, "id", images)
            official[f"{folds}-fold"] = {key: int(rows[key]["kfold"]) - 1 for key in images}
    return official


def _busi(root: Path):
    groups = _near_duplicates(root)
    images: Files = {}
    masks: Files = {}
    labels: dict[str, str] = {}
    for label in filter(lambda name: (root / name).is_dir(), _BUSI_LABELS):
        its_images, its_masks = images_beside_masks(image_files(root / label))
        labels |= dict.fromkeys(its_images, label)
        images |= its_images
        masks |= its_masks
    return pair(images, masks, group=lambda key: groups.get(key, key), label=labels.__getitem__), {}


def _near_duplicates(root: Path) -> dict[str, str]:
    """Return the group of near-duplicate scans, from a table beside the archive if there is one."""
    path = root.parent / "near_duplicate_groups.csv"
    rows = read_table(path, "stem") if path.is_file() else {}
    return {stem: f"near-duplicates-{row['group']}" for stem, row in rows.items()}


def _jsrt(root: Path):
    images = image_files(root / "images")
    path = root / "jsrt_metadata.csv"
    states = {Path(name).stem: row for name, row in read_table(path, "study_id").items()}
    _require_rows(path, states, images)
    masks = image_files(root / "masks")
    return pair(images, masks, _LUNGS, label=lambda key: states[key]["state"]), {}


def _shenzhen(root: Path):
    """Read 662 images, of which 566 have a mask."""
    images = image_files(root / "CXR_png")
    masks = by_image(image_files(root / "mask"), images)
    labels = {"0": "normal", "1": "tuberculosis"}
    cases = pair_annotated(images, masks, _ANTI_ALIASED)
    return [replace(case, label=labels.get(case.key[-1], "")) for case in cases], {}


def _rows(path: Path, column: str, images: Files) -> dict[str, dict[str, str]]:
    rows = read_table(path, column)
    _require_rows(path, rows, images)
    return rows


def _require_rows(path: Path, rows: Mapping[str, dict], images: Files) -> None:
    missing = sorted(images.keys() - rows.keys())
    raise_all(missing, f"{path}: has no row for these images:")


_ARCHIVES = (
    _Archive("duts", ("DUTS-TR-Image", "DUTS-TR-Mask"), ("DUTS-TR-Image",), ".+", _duts),
    _Archive("ecssd", ("images", "ground_truth_mask"), ("images",), r"\d{4}", _ecssd, 1000),
    _Archive("bus_bra", ("Images", "Masks", "bus_data.csv"), ("Images",), "bus_.+", _bus_bra),
    _Archive(
        "busi",
        ("benign/benign (*).png", "malignant/malignant (*).png"),
        _BUSI_LABELS,
        r"(benign|malignant|normal) \(\d+\)(_mask(_\d+)?)?",
        _busi,
    ),
    _Archive("jsrt", ("images", "masks", "jsrt_metadata.csv"), ("images",), "JPC[LN]N.+", _jsrt),
    _Archive("shenzhen", ("CXR_png", "mask"), ("CXR_png",), r"CHNCXR_\d+_[01]", _shenzhen),
)

"""Recognizing the file layout of a folder: a published data set, or one of the common layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kerasunet.data.cases import Case, DataSet, FileCase, MaskCoding
from kerasunet.data.layouts.annotations import coco, image_root, labelme, read_coco
from kerasunet.data.layouts.folders import (
    frames_apart,
    images_and_masks,
    interpret,
    masks_beside_images,
    pascal_voc,
    under,
)
from kerasunet.data.layouts.manifest import manifest_in, read_manifest
from kerasunet.data.layouts.pairing import (
    Files,
    by_image,
    image_files,
    images_beside_masks,
    pair,
    read_table,
    subfolders,
)
from kerasunet.files import call_all, raise_all

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
_DEPTH = 2
_OWN: dict[str, Callable[[Path], Sequence[Case] | None]] = {
    "Pascal VOC": pascal_voc,
    "images/ and masks/": images_and_masks,
    "x beside x_mask": masks_beside_images,
    "COCO": coco,
    "labelme": labelme,
}


def read_folder(folder: Path) -> DataSet:
    """Recognize the layout of a folder and list its cases.

    Args:
        folder: A published data set as it comes out of its archive; or your own folder, with
            `images/` and `masks/`, with `x.png` beside `x_mask.png` (and `x_mask_1.png` …), with
            a `manifest.csv`, with labelme, COCO or Pascal VOC files; or a folder of such folders,
            one for each patient, part (`train/`, `test/`) or class (`benign/`, `malignant/`).

    Returns:
        The data set; its `layout` says which layout was recognized.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The layout is not known, or images and masks do not pair up; the message
            lists every file concerned.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = _read(folder, _DEPTH)
    if found is None:
        raise ValueError(
            f"{folder}: no known layout; expected images/ and masks/ with equal file names, "
            "x.png beside x_mask.png, a manifest.csv, labelme, COCO or Pascal VOC files, a folder "
            "of such folders, or one of " + ", ".join(PUBLISHED)
        )
    return frames_apart(found)


def read_file(path: Path) -> DataSet:
    """Read a data set that one file describes: a manifest (CSV, TSV) or COCO's JSON.

    Raises:
        ValueError: The file is none of these, or has problems; the message lists every one.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _data_set(image_root(path), read_coco(path), "COCO")
    if suffix in (".csv", ".tsv"):
        return frames_apart(read_manifest(path))
    raise ValueError(
        f"{path}: a data set is a folder, a manifest (.csv, .tsv) or a COCO file (.json)"
    )


def read_published(folder: Path) -> DataSet | None:
    """Read the published data set that was unpacked here; `None` if there is none."""
    archive = _archive_in(folder)
    if archive is None:
        return None
    cases, official = archive.read(folder)
    terms, citation = PUBLISHED[archive.name]
    return DataSet(
        archive.name,
        tuple(cases),
        f"{archive.name} archive",
        terms=terms,
        citation=citation,
        official=official,
    )


class _Archive(NamedTuple):
    name: str
    entries: tuple[str, ...]
    read: Callable[[Path], tuple[Iterable[FileCase], Mapping]]


def _archive_in(folder: Path) -> _Archive | None:
    """Return the archive whose entries, which are glob patterns, a folder has."""
    return next((a for a in _ARCHIVES if all(any(folder.glob(entry)) for entry in a.entries)), None)


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
    """Read the 566 of 662 images that have a mask; leave the others out."""
    images = image_files(root / "CXR_png")
    masks = by_image(image_files(root / "mask"), images)
    labels = {"0": "normal", "1": "tuberculosis"}
    masked = {key: paths for key, paths in images.items() if key in masks}
    return pair(masked, masks, _ANTI_ALIASED, label=lambda key: labels.get(key[-1], "")), {}


def _rows(path: Path, column: str, images: Files) -> dict[str, dict[str, str]]:
    rows = read_table(path, column)
    _require_rows(path, rows, images)
    return rows


def _require_rows(path: Path, rows: Mapping[str, dict], images: Files) -> None:
    missing = sorted(images.keys() - rows.keys())
    raise_all(missing, f"{path}: has no row for these images:")


_ARCHIVES = (
    _Archive("duts", ("DUTS-TR-Image", "DUTS-TR-Mask"), _duts),
    _Archive("ecssd", ("images", "ground_truth_mask"), _ecssd),
    _Archive("bus_bra", ("Images", "Masks", "bus_data.csv"), _bus_bra),
    _Archive("busi", ("benign/benign (*).png", "malignant/malignant (*).png"), _busi),
    _Archive("jsrt", ("images", "masks", "jsrt_metadata.csv"), _jsrt),
    _Archive("shenzhen", ("CXR_png", "mask"), _shenzhen),
)


def _read(folder: Path, depth: int) -> DataSet | None:
    data = read_published(folder) or manifest_in(folder)
    if data is not None:
        return data
    for layout, reader in _OWN.items():
        cases = reader(folder)
        if cases is not None:
            return _data_set(folder, cases, layout)
    return _read_subfolders(folder, depth - 1) if depth else None


def _read_subfolders(folder: Path, depth: int) -> DataSet | None:
    inner = subfolders(folder)
    results = call_all(partial(_read, path, depth) for path in inner)
    found = {path.name: data for path, data in zip(inner, results, strict=True) if data}
    published = [data for data in found.values() if data.name in PUBLISHED and data.citation]
    if len(published) > 1:
        listing = ", ".join(data.name for data in published)
        raise ValueError(
            f"{folder}: holds several published data sets; give one of them: {listing}"
        )
    if published:
        return published[0]
    unread = [path for path in inner if path.name not in found and _holds_images(path)]
    if found:
        raise_all(
            [f"{path}/" for path in unread], "images in these folders are in no known layout:"
        )
    return _united(folder, found) if found else None


def _holds_images(folder: Path) -> bool:
    return any(image_files(path) for path in (folder, *subfolders(folder)))


def _united(folder: Path, found: Mapping[str, DataSet]) -> DataSet:
    if len(found) == 1:
        (only,) = found.values()
        return replace(only, name=folder.absolute().name)
    cases = [case for name, data in found.items() for case in under(name, data.cases)]
    return _data_set(folder, cases, " or ".join(sorted({data.layout for data in found.values()})))


def _data_set(folder: Path, cases: Sequence[Case], layout: str) -> DataSet:
    meant, folders, official = interpret(cases)
    return DataSet(
        folder.absolute().name,
        tuple(sorted(meant, key=lambda case: case.key)),
        f"{folders}: {layout}" if folders else layout,
        official=official,
    )

"""Published data sets as they come out of their archives: mask values, labels, folds, terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from kerasunet.data.cases import DataSet, FileCase, MaskCoding
from kerasunet.data.layouts.pairing import (
    Files,
    by_image,
    image_files,
    images_beside_masks,
    pair,
    read_table,
)
from kerasunet.files import raise_all

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

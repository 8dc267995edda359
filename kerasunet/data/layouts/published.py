"""Published data sets as they come out of their archives: mask values, labels, folds, terms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from kerasunet.data.cases import Case, DataSet, MaskCoding, UnannotatedCase, by_annotation
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
    masked = {key: paths for key, paths in images.items() if key in masks}
    cases = pair(masked, masks, _ANTI_ALIASED, label=lambda key: labels.get(key[-1], ""))
    bare = [
        UnannotatedCase(key, key, paths[0], label=labels.get(key[-1], ""))
        for key, paths in images.items()
        if key not in masks
    ]
    return [*cases, *bare], {}


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

"""Folder layouts: how images, masks and groups are found in a folder, always paired by key.

Each layout is a function that takes the folder and returns its cases, or `None` where the folder
is not of that layout. `read_folder` asks them in turn, the published data sets first.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from kerasunet.data.cases import DataSet, FileCase, MaskCoding
from kerasunet.data.reading import IMAGE_SUFFIXES

_ANTI_ALIASED = MaskCoding(above=127)
_LUNGS = MaskCoding(labels=(150, 200))
_MASK_NAME = re.compile(r"(?P<key>.+)_mask(_\d+)?")


def read_folder(folder: Path) -> DataSet:
    """Recognises the layout of a folder and lists its cases.

    Args:
        folder: A published data set as it comes out of its archive, a folder with `images/` and
            `masks/`, or a folder with `x.png` beside `x_mask.png` (and `x_mask_1.png` …).

    Returns:
        The data set; its `layout` tells which layout was recognised.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The layout is not known, or images and masks do not pair up; the message
            lists every file concerned.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    for layout in LAYOUTS:
        found = layout(folder)
        if found is not None:
            return found
    raise ValueError(
        f"{folder}: no known layout; expected images/ and masks/ with equal file names, or "
        "x.png beside x_mask.png, or one of " + ", ".join(PUBLISHED)
    )


def duts(folder: Path) -> DataSet | None:
    root = _find(folder, "DUTS-TR-Image", "DUTS-TR-Mask")
    if root is None:
        return None
    cases = _paired(_images(root / "DUTS-TR-Image"), _images(root / "DUTS-TR-Mask"), _ANTI_ALIASED)
    return _published("duts", cases)


def ecssd(folder: Path) -> DataSet | None:
    root = _find(folder, "images", "ground_truth_mask")
    if root is None:
        return None
    cases = _paired(_images(root / "images"), _images(root / "ground_truth_mask"), _ANTI_ALIASED)
    return _published("ecssd", cases)


def bus_bra(folder: Path) -> DataSet | None:
    root = _find(folder, "Images", "Masks", "bus_data.csv")
    if root is None:
        return None
    with open(root / "bus_data.csv", newline="", encoding="utf-8") as file:
        rows = {row["ID"]: row for row in csv.DictReader(file)}
    masks = {key.replace("mask", "bus", 1): path for key, path in _images(root / "Masks").items()}
    images = _images(root / "Images")
    unknown = sorted(set(images) - set(rows))
    if unknown:
        raise ValueError(f"{root / 'bus_data.csv'}: no row for {', '.join(unknown)}")
    cases = _paired(
        images,
        masks,
        group=lambda key: f"patient-{rows[key]['Case']}",
        label=lambda key: rows[key]["Pathology"],
    )
    return _published("bus_bra", cases)


def busi(folder: Path) -> DataSet | None:
    root = _find(folder, "benign", "malignant", "normal")
    if root is None:
        return None
    groups = _group_table(folder / "near_duplicate_groups.csv")
    cases: list[FileCase] = []
    for label in ("benign", "malignant", "normal"):
        images, masks = _images_beside_masks(root / label)
        cases += _paired(
            images, masks, group=lambda key: groups.get(key, key), label=lambda _, kind=label: kind
        )
    return _published("busi", cases)


def jsrt(folder: Path) -> DataSet | None:
    root = _find(folder, "images", "masks", "jsrt_metadata.csv")
    if root is None:
        return None
    with open(root / "jsrt_metadata.csv", newline="", encoding="utf-8") as file:
        states = {Path(row["study_id"]).stem: row["state"] for row in csv.DictReader(file)}
    cases = _paired(
        _images(root / "images"), _images(root / "masks"), _LUNGS, label=lambda key: states[key]
    )
    return _published("jsrt", cases)


def shenzhen(folder: Path) -> DataSet | None:
    root = _find(folder, "CXR_png", "mask")
    if root is None:
        return None
    masks = {_mask_key(key): path for key, path in _images(root / "mask").items()}
    images = {key: path for key, path in _images(root / "CXR_png").items() if key in masks}
    label = {"0": "normal", "1": "tuberculosis"}
    cases = _paired(images, masks, _ANTI_ALIASED, label=lambda key: label[key.rsplit("_", 1)[1]])
    return _published("shenzhen", cases)


def images_and_masks(folder: Path) -> DataSet | None:
    root = _find(folder, "images", "masks")
    if root is None:
        return None
    masks = _images(root / "masks")
    images = _images(root / "images")
    if not set(masks) & set(images):
        masks = {_mask_key(key): path for key, path in masks.items()}
    return DataSet(folder.name, _sorted(_paired(images, masks)), "images/ and masks/")


def masks_beside_images(folder: Path) -> DataSet | None:
    images, masks = _images_beside_masks(folder)
    if not masks:
        return None
    return DataSet(folder.name, _sorted(_paired(images, masks)), "x beside x_mask")


LAYOUTS: tuple[Callable[[Path], DataSet | None], ...] = (
    duts,
    ecssd,
    bus_bra,
    busi,
    jsrt,
    shenzhen,
    images_and_masks,
    masks_beside_images,
)

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


def _published(name: str, cases: Iterable[FileCase]) -> DataSet:
    terms, citation = PUBLISHED[name]
    return DataSet(name, _sorted(cases), f"{name} archive", terms, citation)


def _sorted(cases: Iterable[FileCase]) -> tuple[FileCase, ...]:
    return tuple(sorted(cases, key=lambda case: case.key))


def _find(folder: Path, *entries: str) -> Path | None:
    """The folder itself or its one level of subfolders that has all the entries."""
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return next((c for c in candidates if all((c / entry).exists() for entry in entries)), None)


def _images(folder: Path) -> dict[str, Path]:
    """The image files of a folder by key: the file name without its suffix."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    by_key = {path.stem: path for path in files}
    doubled = [str(path) for path in files if by_key[path.stem] is not path]
    if doubled:
        raise ValueError(f"several image files of one name: {', '.join(doubled)}")
    return by_key


def _mask_key(stem: str) -> str:
    match = _MASK_NAME.fullmatch(stem)
    return match["key"] if match else stem


def _images_beside_masks(folder: Path) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    files = _images(folder)
    masks: dict[str, list[Path]] = {}
    for stem, path in files.items():
        if _MASK_NAME.fullmatch(stem):
            masks.setdefault(_mask_key(stem), []).append(path)
    return {key: path for key, path in files.items() if not _MASK_NAME.fullmatch(key)}, masks


def _group_table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row["stem"]: f"near-duplicates-{row['group']}" for row in csv.DictReader(file)}


def _paired(
    images: dict[str, Path],
    masks: dict[str, Path] | dict[str, list[Path]],
    coding: MaskCoding = MaskCoding(),
    group: Callable[[str], str] = lambda key: key,
    label: Callable[[str], str] = lambda key: "",
) -> list[FileCase]:
    """Pairs images with masks by key; what has no partner is an error that lists all of them."""
    alone = [f"{images[key]}: has no mask" for key in sorted(set(images) - set(masks))]
    alone += [f"{masks[key]}: has no image" for key in sorted(set(masks) - set(images))]
    if alone:
        raise ValueError(f"{len(alone)} files have no partner:\n  " + "\n  ".join(alone))
    return [
        FileCase(key, group(key), image, _as_tuple(masks[key]), label(key), coding)
        for key, image in images.items()
    ]


def _as_tuple(paths: Path | list[Path]) -> tuple[Path, ...]:
    return tuple(paths) if isinstance(paths, list) else (paths,)

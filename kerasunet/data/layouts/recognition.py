"""Recognizing the file layout of a folder: a published data set, or one of the common layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kerasunet.data.cases import Case, DataSet, by_annotation
from kerasunet.data.layouts.annotations import foreign_in
from kerasunet.data.layouts.coco import coco, image_root, read_coco
from kerasunet.data.layouts.folders import (
    frames_apart,
    images_alone,
    images_and_masks,
    interpret,
    masks_beside_images,
    nnunet,
    pascal_voc,
    under,
)
from kerasunet.data.layouts.labelme import labelme
from kerasunet.data.layouts.pairing import (
    files_below,
    image_files,
    subfolders,
    unread_files,
)
from kerasunet.data.layouts.published import PUBLISHED, read_published
from kerasunet.data.layouts.tables import manifest_in, read_manifest, with_classes
from kerasunet.files import call_all, kinds_in_words, raise_all

_DEPTH = 2
_OWN: dict[str, Callable[[Path], Sequence[Case] | None]] = {
    "Pascal VOC": pascal_voc,
    "nnU-Net": nnunet,
    "images/ and masks/": images_and_masks,
    "x beside x_mask": masks_beside_images,
    "COCO": coco,
    "labelme": labelme,
}


def read_folder(folder: Path, name: str | None = None) -> DataSet:
    """Recognize the layout of a folder and list its cases.

    Args:
        folder: A published data set as it comes out of its archive; or your own folder, with
            `images/` and `masks/`, with `x.png` beside `x_mask.png` (and `x_mask_1.png` …), with
            a `manifest.csv`, with labelme, COCO, Pascal VOC or nnU-Net files; or a folder of such
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
    if found is None and (found_instead := foreign_in(folder)):
        raise ValueError(found_instead)
    if found is None:
        raise ValueError(
            f"{folder}: no known layout; expected images/ and masks/ with equal file names, "
            "x.png beside x_mask.png, a manifest.csv, labelme, COCO, Pascal VOC or nnU-Net files, "
            f"a folder of such folders, or one of {', '.join(PUBLISHED)}; {_contents(folder)}"
        )
    found = frames_apart(found)
    return found if _is_published(found) else replace(found, unread=unread_files(folder, found))


def read_file(path: Path) -> DataSet:
    """Read a data set that one file describes: a manifest (CSV, TSV) or COCO's JSON.

    Raises:
        ValueError: The file is none of these, or has problems; the message lists every one.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _data_set(image_root(path), read_coco(path), "COCO")
    if suffix in (".csv", ".tsv"):
        return frames_apart(_with_classes(path.parent, read_manifest(path)))
    raise ValueError(
        f"{path}: a data set is a folder, a manifest (.csv, .tsv) or a COCO file (.json)"
    )


def _contents(folder: Path) -> str:
    """Return what a folder holds, for a message."""
    return f"it holds {kinds_in_words(files_below(folder)) or 'no images'}"


def _is_published(data: DataSet) -> bool:
    return data.name in PUBLISHED and bool(data.citation)


def _read(folder: Path, depth: int, name: str | None) -> DataSet | None:
    data = read_published(folder, name)
    if data is not None:
        return data
    if (listed := manifest_in(folder)) is not None:
        return _with_classes(folder, listed)
    for layout, reader in _OWN.items():
        cases = reader(folder)
        if cases is not None:
            return _data_set(folder, with_classes(folder, cases), layout)
    return _read_subfolders(folder, depth - 1, name) if depth else None


def _read_subfolders(folder: Path, depth: int, name: str | None) -> DataSet | None:
    inner = subfolders(folder)
    results = call_all(partial(_read, path, depth, name) for path in inner)
    found = {path.name: data for path, data in zip(inner, results, strict=True) if data}
    published = [data for data in found.values() if _is_published(data)]
    if len(published) > 1:
        listing = ", ".join(data.name for data in published)
        raise ValueError(
            f"{folder}: holds several published data sets; give one of them: {listing}"
        )
    if published:
        return published[0]
    others = [path for path in inner if path.name not in found and _holds_images(path)]
    bare = {path.name: images_alone(path) for path in others}
    if found:
        raise_all(
            [f"{path}/" for path in others if not bare[path.name]],
            "images in these folders are in no known layout (without masks, they belong into a "
            "folder images/):",
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
    cases = [
        case
        for name, data in found.items()
        for case in under(name, [*data.cases, *data.unannotated])
    ] + without_masks
    layout = " or ".join(sorted({data.layout for data in found.values()}))
    return _with_classes(folder, _data_set(folder, cases, layout))


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

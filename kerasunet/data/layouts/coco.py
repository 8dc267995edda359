"""COCO annotations: one JSON file for all images (Lin et al., ECCV 2014)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kerasunet.data.cases import AnnotatedCase, Case
from kerasunet.data.layouts.listing import image_files, json_files, keys_of
from kerasunet.data.layouts.outlines import (
    MALFORMED,
    decode_run_lengths,
    polygon_mask,
    run_length_mask,
)
from kerasunet.data.problems import raise_all, wrong_size
from kerasunet.files import read_json

_FOLDER = "annotations"


def coco(folder: Path) -> list[Case] | None:
    """Reads the one COCO file in a folder or its `annotations/`; `None` if there is none.

    Raises:
        ValueError: There are several.
    """
    images = image_files(folder)
    files = [path for stem, path in json_files(folder).items() if stem not in images]
    if (folder / _FOLDER).is_dir():
        files += json_files(folder / _FOLDER).values()
    found = [path for path in files if _is_coco(read_json(path))]
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise ValueError(f"{folder}: has several COCO files, give the path of one: {names}")
    return read_coco(found[0]) if found else None


def read_coco(path: Path) -> list[Case]:
    """Reads a COCO file; all annotations of an image, whatever their category, are united.

    Image files are looked for in the folder of the JSON file and in `images/` there, or, where
    that folder is `annotations/`, beside it. An image without annotations has no object.

    Args:
        path: The JSON file.

    Returns:
        The cases.

    Raises:
        ValueError: It is no COCO file, or images are missing; the message lists every one.
    """
    content = read_json(path)
    if not _is_coco(content):
        raise ValueError(f"{path}: not a COCO file, it has no lists of images and annotations")
    try:
        return _cases(path, content["images"], content["annotations"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: an image or annotation is incomplete: {error}") from error


def image_root(path: Path) -> Path:
    """The folder in and below which the images of a COCO file are looked for."""
    return path.parent.parent if path.parent.name == _FOLDER else path.parent


def _cases(path: Path, images: list[Mapping], annotations: list[Mapping]) -> list[Case]:
    files = {image["id"]: _image_file(image_root(path), image["file_name"]) for image in images}
    drawn: dict[Any, list[Mapping]] = {image: [] for image in files}
    problems = [f"{path}: {problem}" for problem in _missing(images, files)]
    for annotation in annotations:
        if annotation["image_id"] in drawn:
            drawn[annotation["image_id"]].append(annotation)
        else:
            problems.append(f"{path}: annotation {annotation['id']}: there is no such image")
    raise_all(problems, f"{len(problems)} faults in a COCO file:")
    keys = keys_of([file for file in files.values() if file])
    return [_case(path, image, files[image["id"]], keys, drawn[image["id"]]) for image in images]


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    )


def _image_file(root: Path, name: str) -> Path | None:
    """The file of an image below the folder; `None` if it is not there or leaves the folder."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts:
        return None
    places = (root / relative, root / "images" / relative)
    # `Path.is_file` fails on names that are too long.
    return next((path for path in places if os.path.isfile(path)), None)


def _missing(images: list[Mapping], files: Mapping[Any, Path | None]) -> Iterator[str]:
    for image in images:
        if files[image["id"]] is None:
            yield f"image {image['file_name']}: no such file in this folder or its images/"
    if len(files) < len(images):
        yield "several images have the same id"


def _case(
    path: Path,
    image: Mapping,
    file: Path,
    keys: Mapping[Path, str],
    annotations: list[Mapping],
) -> Case:
    outlines = CocoOutlines(path, (image["height"], image["width"]), tuple(annotations))
    return AnnotatedCase(keys[file], keys[file], file, outlines)


@dataclass(frozen=True)
class CocoOutlines:
    """The annotations of one image: polygons or run lengths.

    Attributes:
        path: The COCO file, for messages.
        size: Height and width of the image as the file has them.
        annotations: What the file has under `annotations` for this image.
    """

    path: Path
    size: tuple[int, int]
    annotations: tuple[Mapping[str, Any], ...] = field(hash=False)

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draws the bool mask, (height, width)."""
        if self.size != shape:
            raise ValueError(wrong_size(self.path, self.size, shape))
        mask = np.zeros(shape, bool)
        for annotation in self.annotations:
            try:
                mask |= _draw(annotation.get("segmentation"), shape)
            except MALFORMED as error:
                place = f"{self.path}: annotation {annotation.get('id')}"
                raise ValueError(f"{place}: {error}") from error
        return mask


def _draw(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    if not segmentation:
        raise ValueError("has no segmentation; a bounding box is not enough")
    if isinstance(segmentation, list):
        parts = [polygon_mask(list(zip(p[::2], p[1::2], strict=True)), shape) for p in segmentation]
        return np.logical_or.reduce(parts)
    counts = segmentation["counts"]
    return run_length_mask(decode_run_lengths(counts) if isinstance(counts, str) else counts, shape)

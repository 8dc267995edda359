"""Segment images, every frame: lossless PNG masks at their size, overlays, and a CSV of areas."""

from __future__ import annotations

import argparse
import csv
import io
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kerasunet import models
from kerasunet.backend import quiet_start
from kerasunet.cli import options as shared
from kerasunet.options import Option
from kerasunet.runs.directory import exclusive
from kerasunet.runs.predictions import PredictionDirectory, mask_file
from kerasunet.training.settings import LARGEST_SIDE

if TYPE_CHECKING:
    from kerasunet.inference.segmenter import Segmentation, Segmenter


_THRESHOLD = Option(
    "probability of foreground (default: the model card's)", float, minimum=0, maximum=1
)
_TILE = Option(
    "cut large images instead of resizing them", int, 1, maximum=LARGEST_SIDE, metavar="PIXELS"
)
_OVERLAP = Option(
    "overlap of neighboring tiles (a quarter of a tile)",
    int,
    0,
    maximum=LARGEST_SIDE,
    metavar="PIXELS",
)
_FRAME = Option("of files with several: which frame, from 0 (all)", int, 0, metavar="NUMBER")
_COLUMNS = (
    "image",
    "frame",
    "height",
    "width",
    "area_pixels",
    "area_share",
    "area_mm2",
    "largest_probability",
    "mask",
)
_TABLE = "areas.csv"
_SECONDS_BETWEEN_TABLES = 20.0  # What a kill may cost.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    add("images", nargs="+", type=Path, help="image files, or folders of them")
    add(
        "--unannotated",
        action="store_true",
        help="of folders that are data sets, segment the images that have no mask yet",
    )
    add("--output", type=Path, default=Path("predictions"), help="folder (predictions)")
    shared.add_option(parser, "frame", _FRAME)
    shared.add_option(parser, "threshold", _THRESHOLD)
    add("--engine", default="auto", help="auto, openvino, onnx, litert or keras (auto)")
    shared.add_option(parser, "tile", _TILE)
    shared.add_option(parser, "overlap", _OVERLAP)
    add("--mirror", action="store_true", help="average with the prediction for the mirror image")
    add("--no-overlays", action="store_true", help="write masks and table only")


def run(options: argparse.Namespace) -> int:
    from kerasunet.inference.segmenter import check_request

    models.check(options.model)
    check_request(
        models.card(options.model), options.engine, tile=options.tile, overlap=options.overlap
    )
    paths = _image_files(options.images, options.unannotated)
    _require_apart(options.output, paths)
    images = _images(paths, options.frame)
    with exclusive(options.output):
        directory = PredictionDirectory.open(options.output, _facts(options))
        directory.require_free(_paths(images), _files(images, options))
        return _predict(options, images, directory)


class _Image(NamedTuple):
    """A frame to segment; `frame` is only told where there may be several."""

    path: Path
    label: str
    number: int
    frame: int | str


def _images(paths: Sequence[Path], chosen: int | None) -> dict[str, _Image]:
    """Return every frame to segment by the name of its mask, without suffix."""
    images: dict[str, _Image] = {}
    for path, name, label in zip(paths, _output_names(paths), _labels(paths), strict=True):
        frames = _frames(path, chosen)
        several = len(frames) > 1 or chosen is not None
        for frame in frames:
            of_frame = f"{name}-frame{frame:04d}" if several else name
            if of_frame in images:
                raise ValueError(f"{path}: {of_frame} would name two masks; rename the file")
            images[of_frame] = _Image(path, label, frame, frame if several else "")
    return images


def _paths(images: Mapping[str, _Image]) -> dict[str, Path]:
    return {name: image.path for name, image in images.items()}


def _predict(
    options: argparse.Namespace, images: dict[str, _Image], directory: PredictionDirectory
) -> int:
    """Segment image by image; whatever ends this, the table then has what was segmented."""
    from kerasunet.data.readers import read_image

    segmenter = cache(lambda: _segmenter(options))  # Opening takes seconds: not for bad images.
    done, failures, written = 0, [], time.monotonic()
    try:
        for name, given in images.items():
            try:
                image, spacing = read_image(given.path, frame=given.number)
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            found = replace(segmenter()(image), spacing=spacing)
            if not done:
                directory.begin(_paths(images), _files(images, options))
            pictures = _write_pictures(options, name, found)
            directory.keep(name, _row(given, name, found), pictures)
            done += 1
            if time.monotonic() - written > _SECONDS_BETWEEN_TABLES:
                _write_table(directory)
                written = time.monotonic()
    except KeyboardInterrupt:
        if not done:
            raise
        kept = f"{done} of {len(images)} images are segmented, see {options.output}/"
        raise KeyboardInterrupt(kept) from None
    finally:
        if done:
            _write_table(directory)
            directory.end()
    if done:
        print(f"{done} of {len(images)} images segmented, see {options.output}/")
    if failures:
        raise ValueError("not segmented:\n  " + "\n  ".join(failures))
    return 0


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the masks depend on beside the images; engines agree."""
    card = models.card(options.model)
    return {
        "model": card.name,
        "sha256": models.digest(options.model),
        "threshold": card.threshold if options.threshold is None else options.threshold,
        "tile": options.tile,
        "overlap": options.overlap,
        "mirror": options.mirror,
    }


def _files(images: Iterable[str], options: argparse.Namespace) -> list[str]:
    """Return the paths of all files but the record within the output folder."""
    return [_TABLE, *(file for name in images for file in _pictures(name, options))]


def _pictures(name: str, options: argparse.Namespace) -> list[str]:
    return [mask_file(name), *([] if options.no_overlays else [f"overlays/{name}.png"])]


def _write_table(directory: PredictionDirectory) -> None:
    from kerasunet.files import sha256, write_text

    path = directory.path / _TABLE
    write_text(path, _csv(directory.rows))
    directory.files[_TABLE] = sha256(path)
    directory.save()


def _require_apart(output: Path, paths: list[Path]) -> None:
    """Refuse to write masks where a reader of data would take them for annotations."""
    for path in paths:
        if output.resolve() in list(path.resolve().parents)[:2]:
            raise ValueError(
                f"{output}: {path} is in it, and masks written beside images would be taken for "
                "their annotations; give another folder with --output"
            )


def _frames(path: Path, chosen: int | None) -> Sequence[int]:
    """Return the frames to segment; the first if they cannot be counted, which reading reports."""
    from kerasunet.data.readers import count_frames

    if chosen is not None:
        return [chosen]
    try:
        return range(count_frames(path) or 1)
    except (OSError, ValueError):
        return [0]


def _segmenter(options: argparse.Namespace) -> Segmenter:
    from kerasunet.inference.segmenter import Segmenter

    with quiet_start():
        return Segmenter(
            options.model,
            options.threshold,
            engine=options.engine,
            tile=options.tile,
            overlap=options.overlap,
            flip=options.mirror,
        )


def _write_pictures(options: argparse.Namespace, name: str, found: Segmentation) -> list[str]:
    """Write mask and overlay; return their paths within the output folder."""
    from kerasunet.drawing import overlay, write_png

    names = _pictures(name, options)
    write_png(options.output / names[0], found.mask)
    for picture in names[1:]:
        write_png(options.output / picture, overlay(found.image, found.mask, thickness=2))
    return names


def _image_files(given: list[Path], unannotated: bool) -> list[Path]:
    from kerasunet.files import is_plain

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += _without_mask(path) if unannotated else _images_in(path)
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder, or not a regular file")
    files = _each_once(files)
    for file, label in zip(files, _labels(files), strict=True):
        if not is_plain(label):
            raise ValueError(f"{file}: its name cannot be written into a table; rename it")
    return files


def _without_mask(folder: Path) -> list[Path]:
    """Return the images of a data set that have no mask."""
    from kerasunet.data import layouts

    data = layouts.read_folder(folder)
    if not data.unannotated:
        raise FileNotFoundError(f"{folder}: every image has a mask; leave out --unannotated")
    return [case.image for case in data.unannotated]


def _images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, and say what else is in it: masks, and files of no image."""
    from kerasunet.data.layouts.pairing import (
        image_files,
        masks_by_name,
        own_files,
    )
    from kerasunet.data.readers import IMAGE_SUFFIXES
    from kerasunet.files import kinds_in_words

    files = image_files(folder)
    masks = masks_by_name(files)
    found = [path for stem, paths in files.items() if stem not in masks for path in paths]
    if not found:
        raise FileNotFoundError(
            f"{folder}: holds no image; expected {', '.join(IMAGE_SUFFIXES)}; --unannotated finds "
            "the images without a mask in the folders of a data set"
        )
    if masks:
        print(f"{folder}: left out {len(masks)} masks beside their images")
    known = {path for paths in files.values() for path in paths}
    other = [path for path in own_files(folder) if path not in known]
    if other:
        print(shared.printable(f"{folder}: not read: {kinds_in_words(other)}"))
    return sorted(found)


def _each_once(files: Iterable[Path]) -> list[Path]:
    unique: dict[str, Path] = {}
    for file in files:
        unique.setdefault(os.path.abspath(file), file)
    return list(unique.values())


def _labels(paths: Sequence[Path]) -> list[str]:
    """File names, with as many of their folders as it takes to tell equal names apart."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    depths = [1] * len(paths)
    while True:
        labels = ["/".join(one[-depth:]) for one, depth in zip(parts, depths, strict=True)]
        repeated = {label for label, count in Counter(labels).items() if count > 1}
        if not repeated:
            return labels
        depths = [depth + (label in repeated) for depth, label in zip(depths, labels, strict=True)]


def _output_names(paths: Sequence[Path]) -> list[str]:
    """File stems, with the suffix or a number added where stems repeat, in whatever case."""
    names: dict[str, str] = {}
    for path in paths:
        name = path.stem
        if name.casefold() in names:
            name = path.name.replace(".", "_")
        number = 2
        while name.casefold() in names:
            name = f"{path.stem}_{number}"
            number += 1
        names[name.casefold()] = name
    return list(names.values())


def _row(given: _Image, name: str, found: Segmentation) -> dict[str, Any]:
    height, width = found.mask.shape
    area_mm2 = found.area_mm2
    return {
        "image": given.label,
        "frame": given.frame,
        "height": height,
        "width": width,
        "area_pixels": found.area_pixels,
        "area_share": f"{found.area_pixels / (height * width):.4f}",
        "area_mm2": "" if area_mm2 is None else f"{area_mm2:.1f}",
        "largest_probability": f"{found.probability.max():.4f}",
        "mask": f"{name}.png",
    }


def _csv(rows: list[dict]) -> str:
    """Return the table; names that a spreadsheet would take for formulas get an apostrophe."""
    from kerasunet.comparison.report import without_formulas

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return without_formulas(text.getvalue())

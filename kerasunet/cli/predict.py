"""Segment images, every frame: lossless PNG masks at their size, overlays, and a CSV of areas."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet import models
from kerasunet.backend import quiet_start
from kerasunet.cli import options as shared
from kerasunet.options import Option
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
)


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
    from kerasunet.files import write_text
    from kerasunet.inference.segmenter import check_request

    models.check(options.model)
    check_request(
        models.card(options.model), options.engine, tile=options.tile, overlap=options.overlap
    )
    paths = _image_files(options.images, options.unannotated)
    names = _output_names(paths)
    segmenter = cache(lambda: _segmenter(options))  # Opening takes seconds: not for bad images.
    rows: list[dict] = []
    failures: list[str] = []
    for path, name in zip(paths, names, strict=True):
        rows += _predict_file(options, path, name, segmenter, failures)
    if rows:
        write_text(options.output / "areas.csv", _csv(rows))
        total = len(rows) + len(failures)
        print(f"{len(rows)} of {total} images segmented, see {options.output}/")
    if failures:
        raise ValueError("not segmented:\n  " + "\n  ".join(failures))
    return 0


def _predict_file(
    options: argparse.Namespace,
    path: Path,
    name: str,
    segmenter: Callable[[], Segmenter],
    failures: list[str],
) -> Iterator[dict]:
    """Segment every wanted frame of a file; yield the rows of the table."""
    from kerasunet.data.readers import read_image

    frames = _frames(path, options.frame)
    for frame in frames:
        try:
            image, spacing = read_image(path, frame=frame)
        except (OSError, ValueError) as error:
            failures.append(str(error))
            continue
        found = replace(segmenter()(image), spacing=spacing)
        several = len(frames) > 1 or options.frame is not None
        _write_pictures(options, f"{name}-frame{frame:04d}" if several else name, found)
        yield _row(path, found, frame if several else "")


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


def _write_pictures(options: argparse.Namespace, name: str, found: Segmentation) -> None:
    from kerasunet.drawing import overlay, write_png

    write_png(options.output / "masks" / f"{name}.png", found.mask)
    if not options.no_overlays:
        picture = overlay(found.image, found.mask, thickness=2)
        write_png(options.output / "overlays" / f"{name}.png", picture)


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
    for file in files:
        if not is_plain(file.name):
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


def _output_names(paths: list[Path]) -> list[str]:
    """File stems, with the suffix or a number added where stems repeat."""
    names: list[str] = []
    for path in paths:
        name = path.stem
        if name in names:
            name = path.name.replace(".", "_")
        number = 2
        while name in names:
            name = f"{path.stem}_{number}"
            number += 1
        names.append(name)
    return names


def _row(path: Path, found: Segmentation, frame: int | str) -> dict:
    height, width = found.mask.shape
    area_mm2 = found.area_mm2
    return {
        "image": path.name,
        "frame": frame,
        "height": height,
        "width": width,
        "area_pixels": found.area_pixels,
        "area_share": f"{found.area_pixels / (height * width):.4f}",
        "area_mm2": "" if area_mm2 is None else f"{area_mm2:.1f}",
        "largest_probability": f"{found.probability.max():.4f}",
    }


def _csv(rows: list[dict]) -> str:
    """Return the table; names that a spreadsheet would take for formulas get an apostrophe."""
    from kerasunet.comparison.report import without_formulas

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return without_formulas(text.getvalue())

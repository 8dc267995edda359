"""The verb `predict`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet import models
from kerasunet.backend import cheap_start
from kerasunet.cli import options as shared
from kerasunet.data import layouts, readers
from kerasunet.files import is_plain, kinds_in_words, noting, write_text
from kerasunet.runs.directory import exclusive
from kerasunet.runs.predictions import (
    FORMATS,
    Frame,
    PredictionDirectory,
    as_csv,
    each_once,
    frames_of,
    labels_of,
    paths_of,
    rows_of,
)
from kerasunet.schema import Option
from kerasunet.training.settings import LARGEST_SIDE

if TYPE_CHECKING:
    import numpy as np

    from kerasunet.inference.segmenter import Segmentation
    from kerasunet.runs.prediction_files import Found, PredictionFiles


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
_FRAME = Option(
    "frame to segment in files that have several, counted from 0 (all)", int, 0, metavar="NUMBER"
)
_TABLE = "areas.csv"
_SECONDS_BETWEEN_TABLES = 20.0  # What a kill may cost.


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    add("images", nargs="+", type=Path, help="image files, or folders of them")
    add(
        "--unannotated",
        action="store_true",
        help="in folders that are data sets, segment only the images without a mask",
    )
    add("--output", type=Path, default=Path("predictions"), help="folder (predictions)")
    shared.add_option(parser, "frame", _FRAME)
    shared.add_option(parser, "threshold", _THRESHOLD)
    add("--engine", default="auto", help="auto, openvino, onnx, litert or keras (auto)")
    shared.add_option(parser, "tile", _TILE)
    shared.add_option(parser, "overlap", _OVERLAP)
    add("--mirror", action="store_true", help="average with the prediction for the mirror image")
    add("--no-overlays", action="store_true", help="write masks and table only")
    add(
        "--format",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help=f"formats of the masks: one or several of {', '.join(FORMATS)} (png); also writes "
        "what is needed to read corrected masks back as annotations",
    )
    add(
        "--also",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="more models; the probabilities of all are averaged",
    )
    add(
        "--uncertainty",
        action="store_true",
        help="write maps of uncertainty, 0 to 1: entropy of one model, disagreement of several",
    )


def run_predict(options: argparse.Namespace) -> int:
    """Segment images, every frame: masks at their size, overlays, and a CSV of areas.

    Masks are lossless PNG files, or in formats of other programs: NIfTI, DICOM segmentations,
    labelme, COCO.
    """
    from kerasunet.inference.segmenter import check_request
    from kerasunet.runs.prediction_files import check_formats

    for model in _models(options):
        models.check(model)
        check_request(
            models.card(model),
            options.engine,
            tile=options.tile,
            overlap=options.overlap,
            threshold=options.threshold,
        )
    _require_same_objects(options)
    paths = image_files(options.images, options.unannotated)
    folders = [path for path in options.images if path.is_dir()] if options.format else []
    require_apart(options.output, paths, folders)
    check_formats(options.format, paths)
    frames = frames_of(paths, options.frame)
    files = _files(options)
    with exclusive(options.output):
        directory = PredictionDirectory.open(options.output, _facts(options))
        shared = {name: files.of_file(frame) for name, frame in frames.items()}
        directory.require_free(paths_of(frames), [_TABLE, *files.all_of(frames.values())], shared)
        with noting(directory.record):
            return _predict(options, frames, _Output(directory, files))


def _require_same_objects(options: argparse.Namespace) -> None:
    """Refuse models of different objects, and formats that cannot hold objects that overlap."""
    from kerasunet.inference.segmenter import require_same_objects

    require_same_objects([options.model, *options.also])
    objects = models.card(options.model).marked
    if objects.overlapping and (others := [form for form in options.format if form != "png"]):
        raise ValueError(
            f"--format {others[0]}: holds one object per pixel, but {objects}; use png, which has "
            "one bit per object"
        )


def _models(options: argparse.Namespace) -> list[str]:
    return [str(model) for model in models.each_once([options.model, *options.also])]


def _files(options: argparse.Namespace) -> PredictionFiles:
    from kerasunet import __version__
    from kerasunet.data.writers import Algorithm
    from kerasunet.runs.prediction_files import PredictionFiles

    facts = {name: str(value) for name, value in _facts(options).items() if value is not None}
    model, digest = facts.pop("model"), facts.pop("sha256")
    return PredictionFiles(
        options.output,
        tuple(dict.fromkeys(options.format)) or ("png",),
        models.card(options.model).marked,
        algorithm=Algorithm(model, digest, __version__, parameters=facts),
        overlays=not options.no_overlays,
        uncertainty=options.uncertainty,
        manifests=bool(options.format),
    )


@dataclass
class _Output:
    """The directory of predictions and the files in it, as they are written."""

    directory: PredictionDirectory
    files: PredictionFiles
    done: int = 0
    written: float = field(default_factory=time.monotonic)

    def begin(self, frames: Mapping[str, Frame]) -> None:
        """Read what is there; record what is about to be written."""
        self.files.recall()
        names = [_TABLE, *self.files.all_of(frames.values())]
        self.directory.begin(paths_of(frames), names)

    def add(self, found: Found, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write what was found in a frame, a row for each object."""
        frame = found.frame
        entry: dict[str, Any] = {"mask": self.files.mask_of(frame)}
        if pair := self.files.pair(frame):  # Without manifests, rows of earlier ones stay.
            entry["pair"] = pair
        if frame.total > 1:
            entry["shared"] = self.files.of_file(frame)
        if len(rows) > 1:
            entry |= {"rows": [dict(row) for row in rows]}
        self.directory.keep(frame.name, rows[0], self.files.write_frame(found), **entry)
        self.done += 1
        if time.monotonic() - self.written > _SECONDS_BETWEEN_TABLES:
            _write_table(self)


def _write_table(output: _Output) -> None:
    """Write the files that cover all images, and the record."""
    directory = output.directory
    write_text(directory.path / _TABLE, as_csv(directory.rows))
    directory.note([_TABLE, *output.files.write_all(directory.images.values())])
    directory.save()
    output.written = time.monotonic()


def _predict(options: argparse.Namespace, frames: Mapping[str, Frame], output: _Output) -> int:
    """Segment file by file; whatever ends this, the tables then have what was segmented."""
    segment = cache(lambda: _Segmenters(options))  # Opening takes seconds: not for bad images.
    failures: list[str] = []
    try:
        for _, group in groupby(frames.values(), key=lambda frame: frame.path):
            failures += _predict_file(list(group), segment, output, frames=frames)
    except KeyboardInterrupt:
        if not output.done:
            raise
        kept = f"{output.done} of {len(frames)} images are segmented, see {options.output}/"
        raise KeyboardInterrupt(kept) from None
    finally:
        if output.done:
            _write_table(output)
            output.directory.end()
    if output.done:
        print(f"{output.done} of {len(frames)} images segmented, see {options.output}/")
    if failures:
        raise ValueError("not segmented:\n  " + "\n  ".join(failures))
    return 0


def _predict_file(
    group: Sequence[Frame],
    segment: Callable[[], _Segmenters],
    output: _Output,
    *,
    frames: Mapping[str, Frame],
) -> list[str]:
    """Segment the frames of a file; return what went wrong."""
    from kerasunet.runs.prediction_files import Found

    kept, failures = [], []
    for frame in group:
        try:
            image, spacing = readers.read_image(frame.path, frame=frame.number or 0)
        except (OSError, ValueError) as error:
            failures.append(str(error))
            continue
        segmentation, doubts = segment()(image)
        segmentation = replace(segmentation, spacing=spacing)
        if not output.done:
            output.begin(frames)
        labels = segmentation.mask.astype("uint8")
        found = Found(
            frame,
            labels,
            image,
            spacing=spacing,
            uncertainty=doubts if output.files.uncertainty else None,
        )
        output.add(found, rows_of(frame, segmentation, Path(output.files.mask_of(frame)).name))
        kept += [found] if output.files.keeps_frames else []
    if kept and not failures:
        try:
            output.directory.note(output.files.write_file(kept))
        except ValueError as error:
            failures.append(str(error))
    return failures


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the masks depend on apart from the images; all engines give the same masks."""
    card = models.card(options.model)
    facts = {
        "model": card.name,
        "sha256": models.digest(options.model),
        "threshold": card.threshold if options.threshold is None else options.threshold,
        "tile": options.tile,
        "overlap": options.overlap,
        "mirror": options.mirror,
    }
    if options.also:
        facts["also"] = [models.digest(model) for model in _models(options)[1:]]
    return facts


class _Segmenters:
    """One model, or several whose probabilities are averaged."""

    def __init__(self, options: argparse.Namespace):
        from kerasunet.inference.segmenter import Segmenter

        with cheap_start():
            self._each = [
                Segmenter(
                    model,
                    options.threshold,
                    engine=options.engine,
                    tile=options.tile,
                    overlap=options.overlap,
                    flip=options.mirror,
                )
                for model in _models(options)
            ]

    def __call__(self, image: np.ndarray) -> tuple[Segmentation, np.ndarray]:
        """Return the segmentation and the map of uncertainty."""
        from kerasunet.inference.segmentation import averaged, uncertainty

        found = [segment(image) for segment in self._each]
        probabilities = [one.probability for one in found]
        doubts = uncertainty(probabilities)
        if len(found) == 1:
            return found[0], doubts
        return averaged(found, self._each[0].threshold), doubts


def image_files(given: Iterable[Path], unannotated: bool) -> list[Path]:
    """Return image files, each once, and print what of a folder is left out.

    Args:
        given: Image files, or folders of them.
        unannotated: Whether folders are data sets, of which the images without a mask are wanted.

    Raises:
        FileNotFoundError: There is no such file, or no such image in a folder.
        ValueError: A name cannot be written into a table, or a folder is in no known layout.
    """
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += _without_mask(path) if unannotated else _images_in(path)
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder, or not a regular file")
    files = each_once(files)
    for file, label in zip(files, labels_of(files), strict=True):
        if not is_plain(label):
            raise ValueError(f"{str(file)!r}: this name cannot be written into a table; rename it")
    return files


def _without_mask(folder: Path) -> list[Path]:
    """Return the images of a data set that have no mask."""
    data = layouts.read_folder(folder)
    if not data.unannotated:
        raise FileNotFoundError(f"{folder}: every image has a mask; leave out --unannotated")
    return [case.image for case in data.unannotated]


def _images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, and say what else is in it: masks, and files of no image."""
    from kerasunet.data.layouts import contents, pairing

    files = contents.image_files(folder)
    masks = pairing.masks_by_name(files)
    found = [path for stem, paths in files.items() if stem not in masks for path in paths]
    if not found:
        raise FileNotFoundError(
            f"{folder}: holds no image; expected {', '.join(readers.IMAGE_SUFFIXES)}; "
            "--unannotated finds the images without a mask in the folders of a data set"
        )
    if masks:
        print(f"{folder}: left out {len(masks)} masks beside their images")
    known = {path for paths in files.values() for path in paths}
    other = [path for path in contents.own_files(folder) if path not in known]
    if other:
        print(shared.printable(f"{folder}: not read: {kinds_in_words(other)}"))
    shared.tell_subfolders(folder)
    return sorted(found)


def require_apart(output: Path, paths: Sequence[Path], folders: Sequence[Path]) -> None:
    """Refuse to write masks where a reader of data would take them for annotations.

    Args:
        output: The folder for masks.
        paths: The images.
        folders: Folders of images for which a table will say which mask belongs to which image: it
            would be found from there, too.
    """
    here = output.resolve()
    found_from = {folder.resolve() for folder in folders}
    for path in paths:
        places = list(path.resolve().parents)[:2]
        if here in places or (here.parent in found_from and here.parent == places[0]):
            raise ValueError(
                f"{output}: {path} is in it or beside it, and masks written there would be taken "
                "for annotations; give another folder with --output"
            )

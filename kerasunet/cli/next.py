"""The verb `next`."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet import models
from kerasunet.backend import quiet_start, start_backend
from kerasunet.cli import options as shared
from kerasunet.options import Option

if TYPE_CHECKING:
    import numpy as np

    from kerasunet.inference.annotation_choice import NextImages, Ranked

_COLUMNS = (
    "rank",
    "file",
    "frame",
    "group",
    "score",
    "gain",
    "disagreement",
    "entropy",
    "distance",
)
_MARK = b"kerasunet next"
_NUMBER = Option("how many images to choose", int, 1, maximum=10_000)


def add_next_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="saved models' names or .keras files")
    add(
        "data",
        type=Path,
        metavar="FOLDER",
        help="folder of images, or a data set in which some images have no mask",
    )
    shared.add_option(parser, "number", _NUMBER, default=20)
    add("--one-per-group", action="store_true", help="no more than one image of a patient")
    add(
        "--group-pattern",
        metavar="REGEX",
        help="regular expression that finds the patient in a file name, such as '^([0-9]+)_'",
    )
    add("--csv", type=Path, default=Path("next.csv"), metavar="FILE", help="table (next.csv)")
    add("--sheet", type=Path, metavar="PNG", help="write a contact sheet of the images, in order")
    add("--engine", default="auto", help="auto, openvino, onnx, litert or keras (auto)")


def next_marks() -> dict[str, bytes]:
    return {"csv": ",".join(_COLUMNS).encode() + b"\n", "sheet": _MARK}


def run_next(options: argparse.Namespace) -> int:
    """Rank images without a mask by what a model would learn from annotating them.

    The gain of an image is the disagreement of several models, such as those of the folds or
    strategies of a study, or the entropy of a single one. Of images that look alike, one is chosen.
    """
    from kerasunet.files import write_text
    from kerasunet.inference.engines import chosen_engine

    asked = list(dict.fromkeys(options.models))
    for model in asked:
        models.check(model)
        models.card(model)
    chosen_engine(options.engine)
    from kerasunet.inference.annotation_choice import next_images, pool_of

    pool = pool_of(options.data, options.group_pattern)
    start_backend()
    with quiet_start():
        found = next_images(
            asked,
            pool,
            options.number,
            one_per_group=options.one_per_group,
            engine=options.engine,
        )
    write_text(options.csv, _table(found, options.data))
    if options.sheet and found.ranked:
        _write_sheet(options, found.ranked, asked[0])
    _tell(options, found, len(pool.images), len(pool.annotated))
    if found.failures:
        raise ValueError("skipped:\n  " + "\n  ".join(found.failures))
    return 0


def _tell(options: argparse.Namespace, found: NextImages, images: int, annotated: int) -> None:
    by = "disagreement" if found.several else "entropy"
    known = f", beside {annotated:,} annotated ones" if annotated else ""
    print(f"{len(found.ranked):,} of {images:,} images chosen by {by}{known}: {options.csv}")
    if len(found.ranked) < min(options.number, images):
        others = ", or of a patient already chosen" if options.one_per_group else ""
        print(f"every other image is a near-duplicate of a chosen or an annotated one{others}")
    for place, one in enumerate(found.ranked[:5], 1):
        print(shared.printable(f"{place:>5}  {one.image.key}  {by} {one.gain:.3f}"))


def _table(found: NextImages, folder: Path) -> str:
    """Return the table; names that a spreadsheet would take for formulas get an apostrophe."""
    from kerasunet.comparison_report import without_formulas

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for place, one in enumerate(found.ranked, 1):
        path = one.image.path
        file = path.relative_to(folder) if path.is_relative_to(folder) else path
        frame = "" if one.image.frame is None else one.image.frame
        numbers = (one.score, one.gain, one.disagreement, one.entropy, one.distance)
        row = [place, file.as_posix(), frame, one.image.group, *(f"{n:.4f}" for n in numbers)]
        writer.writerow(row)
    return without_formulas(text.getvalue())


def _write_sheet(options: argparse.Namespace, ranked: list[Ranked], model: str) -> None:
    from kerasunet.drawing import contact_sheet, write_png
    from kerasunet.inference.segmenter import Segmenter

    with quiet_start():
        segment = Segmenter(model, engine=options.engine)
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for one in ranked:
        found = segment(one.image.path, frame=one.image.frame)
        images.append(found.image)
        masks.append(found.mask)
    captions = [f"{place} {one.image.key}" for place, one in enumerate(ranked, 1)]
    sheet = contact_sheet(images, masks, captions, objects=segment.objects)
    write_png(options.sheet, sheet, mark=_MARK)
    print(f"predictions of {model}: {options.sheet}")

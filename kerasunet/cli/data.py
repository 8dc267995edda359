"""The verbs about data.

`check` finds mistakes, `show` draws pairs, `cache` says what is kept, and `next` which images to
annotate.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet import models
from kerasunet.backend import quiet_start, start_backend
from kerasunet.cli import options as shared
from kerasunet.schema import Option, declared
from kerasunet.training.settings import LARGEST_SIDE, Optimization

if TYPE_CHECKING:
    import numpy as np

    from kerasunet.data.checking import Problem, Report
    from kerasunet.inference.annotation_choice import NextImages, Ranked

_SHEET_MARK = b"kerasunet show"
_SHOWN = 10


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="folder, manifest or COCO file, or name of a data set")
    add(
        "--manual-dir",
        metavar="FOLDER",
        help="with the name of a public set: the folder that holds its files",
    )
    shared.add_object_choice(parser)
    add(
        "--groups",
        type=Path,
        metavar="CSV",
        help="write the key and group of each case, near-duplicates joined",
    )
    shared.add_shared(parser, "group_pattern")
    add("--html", type=Path, metavar="FILE", help="write a report with thumbnails to this file")
    add("--json", action="store_true", help="print all problems as JSON")


def check_marks() -> dict[str, bytes]:
    return {"html": b"<title>Check of "}


def run_check(options: argparse.Namespace) -> int:
    """Find every mistake in a data set in one pass, before training.

    Errors would stop training or are not masks at all; warnings need a look; notes are suspicions.
    The exit status is 1 if there are errors, 0 if there are none, 2 after wrong arguments.
    """
    from kerasunet.data.checking import check

    report = check(
        options.data,
        options.manual_dir,
        **shared.object_choice(options),
        group_pattern=options.group_pattern,
    )
    print(_json(report) if options.json else shared.printable(_listing(report)))
    _write_files(report, options)
    return 1 if report.counts()["error"] else 0


def _write_files(report: Report, options: argparse.Namespace) -> None:
    from kerasunet.data.checking import write_groups
    from kerasunet.data.checking.report import as_html
    from kerasunet.files import write_text

    if options.html:
        write_text(options.html, as_html(report))
    if options.groups:
        if not report.data:
            raise ValueError(
                f"{options.groups}: not written, because the cases could not be listed; correct "
                "the errors above first"
            )
        _require_own_groups(options.groups, report.groups)
        write_groups(options.groups, report.groups)


def _require_own_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Refuse to replace any other table than that of these groups: it may have been edited."""
    from kerasunet.data.checking import write_groups

    if not path.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        write_groups(Path(folder) / path.name, groups)
        written = (Path(folder) / path.name).read_bytes()
    if path.read_bytes() not in (b"", written):
        raise FileExistsError(
            f"{path}: holds something other than these groups, perhaps yours; give another file, "
            "or move it away"
        )


def _json(report: Report) -> str:
    import json

    return json.dumps(report.as_dict(), indent=2, ensure_ascii=False)


def _listing(report: Report) -> str:
    from kerasunet.data.checking.report import summary

    sections = [_section(kind, found) for kind, found in report.by_kind().items()]
    return "\n\n".join([summary(report), *sections])


def _section(kind: str, problems: list[Problem]) -> str:
    """Every error that differs; of warnings and notes the first few, because there can be many."""
    from kerasunet.data.checking import KINDS

    severity, title, remedy = KINDS[kind]
    told = [f"    {problem.message}" for problem in problems]
    shown = list(shared.condensed(told)) if severity == "error" else told[:_SHOWN]
    lines = [f"{severity}: {title} ({len(problems)})", f"  {remedy}", *shown]
    if len(shown) < len(told):
        lines.append(f"    --json and --html show all {len(told)}")
    return "\n".join(lines)


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_shared(parser, "data", "manual_dir", data="simulated-ultrasound")
    shared.add_object_choice(parser)
    add("--sheet", type=Path, metavar="PNG", help="write a contact sheet of pairs")
    shared.add_option(
        parser, "count", Option("number of pairs on the sheet", int, 1, maximum=1000), default=24
    )
    add("--layers", metavar="STRATEGY", help="print which layers this strategy trains")
    add(
        "--model",
        help="saved model for --layers (default: a new U-Net of the architecture below)",
    )
    add("--overfit-one-batch", action="store_true", help="train on 8 pairs until they are learned")
    steps = replace(declared(Optimization)["steps"], help="steps of --overfit-one-batch")
    shared.add_option(parser, "steps", steps, default=100)
    size = Option("of --overfit-one-batch", int, 1, maximum=LARGEST_SIDE)
    shared.add_option(parser, "image_size", size, default=128)
    shared.add_architecture(parser, "of --layers and --overfit-one-batch")


def show_marks() -> dict[str, bytes]:
    return {"sheet": _SHEET_MARK}


def run_show(options: argparse.Namespace) -> int:
    """Look before you train: a contact sheet of image/mask pairs, a table of the layers that a
    strategy trains, and a check that a network can learn the masks at all.
    """
    if not (options.sheet or options.layers or options.overfit_one_batch):
        raise ValueError("nothing to show: give --sheet, --layers or --overfit-one-batch")
    if options.sheet:
        _write_sheet(options)
    if options.layers:
        _print_layers(options)
    return _overfit(options) if options.overfit_one_batch else 0


def _write_sheet(options: argparse.Namespace) -> None:
    from kerasunet.data import load
    from kerasunet.drawing import contact_sheet, write_png

    data = load(options.data, options.manual_dir, **shared.object_choice(options))
    cases = data.cases[:: max(len(data) // options.count, 1)][: options.count]
    samples = [case.load() for case in cases]
    captions = [f"{case.key} {case.label}".strip() for case in cases]
    sheet = contact_sheet(
        [s.image for s in samples], [s.mask for s in samples], captions, objects=data.objects
    )
    write_png(options.sheet, sheet, mark=_SHEET_MARK)
    print(shared.describe_data(data))
    print(f"{len(cases)} of {len(data)} pairs of {data.name} ({data.layout}): {options.sheet}")


def _print_layers(options: argparse.Namespace) -> None:
    from kerasunet.strategies import parse

    architecture = shared.architecture(options)
    strategy = parse(options.layers)
    if options.model:
        models.check(options.model)
    else:
        strategy.select(architecture.layout())

    start_backend()
    from kerasunet.freezing import apply_strategy, describe

    model = models.load(options.model) if options.model else architecture.build()
    apply_strategy(model, strategy)
    print(describe(model))


def _overfit(options: argparse.Namespace) -> int:
    from kerasunet.data import decode, load
    from kerasunet.data.loading import require_objects, require_one_code

    shape = shared.architecture(options)
    data = load(options.data, options.manual_dir, **shared.object_choice(options))
    if not options.sheet:
        print(shared.describe_data(data))
    cases = data.cases[:8]
    require_one_code(cases)
    batch = decode(cases, (options.image_size, options.image_size), shape.channels)
    require_objects(cases, batch)

    start_backend()
    from kerasunet.training.evaluation import overfit_one_batch

    for step, loss, reached in overfit_one_batch(batch, options.steps, shape):
        print(f"step {step:>4}  loss {loss:.3f}  Dice {reached:.3f}", flush=True)
    if reached < 0.9:
        raise ValueError(
            f"the network reached a Dice of only {reached:.2f} on {len(cases)} pairs that it "
            "saw repeatedly; look at the pairs with --sheet, or give it more --steps"
        )
    print("the network can learn these masks")
    return 0


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove all entries")


def run_cache(options: argparse.Namespace) -> int:
    """Show where decoded images are kept, and how many there are; --clear removes them.

    KERASUNET_CACHE sets another folder, or off for no cache. Beyond the size in
    KERASUNET_CACHE_LIMIT (such as 500MB), the least recently used images are removed.
    """
    from kerasunet.data.cache import Store, cache_folder, cache_limit

    folder = cache_folder()
    if folder is None:
        print("no cache: KERASUNET_CACHE is set to off")
        return 0
    store = Store(folder, cache_limit())
    packs, entries, size = store.usage()
    print(f"{folder}: {entries:,} entries in {packs:,} files, {_megabytes(size)}", end="")
    print(f" (limit {_megabytes(cache_limit())})")
    if options.clear:
        store.clear()
        print("removed")
    return 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


_RANKED_COLUMNS = (
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
_RANKED_MARK = b"kerasunet next"
_NUMBER = Option("how many images to choose", int, 1, maximum=10_000)


def add_next_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="names or .keras files of saved models")
    add(
        "data",
        type=Path,
        metavar="FOLDER",
        help="folder of images, or a data set in which some images have no mask",
    )
    shared.add_option(parser, "number", _NUMBER, default=20)
    add("--one-per-group", action="store_true", help="at most one image per patient")
    add(
        "--group-pattern",
        metavar="REGEX",
        help="regular expression that finds the patient in a file name, such as '^([0-9]+)_'",
    )
    add("--csv", type=Path, default=Path("next.csv"), metavar="FILE", help="table (next.csv)")
    add("--sheet", type=Path, metavar="PNG", help="write a contact sheet of the images, in order")
    add("--engine", default="auto", help="auto, openvino, onnx, litert or keras (auto)")


def next_marks() -> dict[str, bytes]:
    return {"csv": ",".join(_RANKED_COLUMNS).encode() + b"\n", "sheet": _RANKED_MARK}


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
    if not pool.annotated and {image.path.parent for image in pool.images} == {options.data}:
        shared.tell_subfolders(options.data)
    start_backend()
    with quiet_start():
        found = next_images(
            asked,
            pool,
            options.number,
            one_per_group=options.one_per_group,
            engine=options.engine,
        )
    write_text(options.csv, _ranked_table(found, options.data))
    if options.sheet and found.ranked:
        _write_ranked_sheet(options, found.ranked, asked[0])
    _tell_ranked(options, found, len(pool.images), annotated=len(pool.annotated))
    if found.failures:
        raise ValueError("skipped:\n  " + "\n  ".join(found.failures))
    return 0


def _tell_ranked(
    options: argparse.Namespace, found: NextImages, images: int, *, annotated: int
) -> None:
    by = "disagreement" if found.several else "entropy"
    known = f", beside {annotated:,} annotated ones" if annotated else ""
    chosen = f"{len(found.ranked):,} of {images:,} images chosen by {by} and distance"
    print(f"{chosen}{known}: {options.csv}")
    if len(found.ranked) < min(options.number, images):
        others = ", or of a patient already chosen" if options.one_per_group else ""
        print(f"every other image is a near-duplicate of a chosen or an annotated one{others}")
    for place, one in enumerate(found.ranked[:5], 1):
        told = f"{by} {one.gain:.3f} × distance {one.distance:.3f} = {one.score:.3f}"
        print(shared.printable(f"{place:>5}  {one.image.key}  {told}"))


def _ranked_table(found: NextImages, folder: Path) -> str:
    """Return the table; names that a spreadsheet would take for formulas get an apostrophe."""
    from kerasunet.comparison_report import without_formulas

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_RANKED_COLUMNS)
    for place, one in enumerate(found.ranked, 1):
        path = one.image.path
        file = path.relative_to(folder) if path.is_relative_to(folder) else path
        frame = "" if one.image.frame is None else one.image.frame
        numbers = (one.score, one.gain, one.disagreement, one.entropy, one.distance)
        row = [place, file.as_posix(), frame, one.image.group, *(f"{n:.4f}" for n in numbers)]
        writer.writerow(row)
    return without_formulas(text.getvalue())


def _write_ranked_sheet(options: argparse.Namespace, ranked: list[Ranked], model: str) -> None:
    from kerasunet.drawing import PREDICTION, contact_sheet, write_png
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
    sheet = contact_sheet(images, masks, captions, color=PREDICTION, objects=segment.objects)
    write_png(options.sheet, sheet, mark=_RANKED_MARK)
    print(f"predictions of {model}: {options.sheet}")

"""The verbs about data: `check` finds mistakes, `show` draws pairs, `cache` tells what is kept."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet import models
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.options import Option, declared
from kerasunet.training.settings import LARGEST_SIDE, Optimization

if TYPE_CHECKING:
    from kerasunet.data.checking import Problem, Report


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

    Errors would stop training or cannot be masks; warnings need a look; notes are suspicions. The
    exit status is 1 if there are errors, 0 if there are none, 2 after wrong arguments.
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
    """Every error; of warnings and notes the first few, for they can be very many."""
    from kerasunet.data.checking import KINDS

    severity, title, remedy = KINDS[kind]
    shown = problems if severity == "error" else problems[:_SHOWN]
    lines = [f"{severity}: {title} ({len(problems)})", f"  {remedy}"]
    lines += [f"    {problem.message}" for problem in shown]
    if len(shown) < len(problems):
        lines.append(f"    … and {len(problems) - len(shown)} more; --json and --html show all")
    return "\n".join(lines)


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_shared(parser, "data", "manual_dir", data="simulated-ultrasound")
    shared.add_object_choice(parser)
    add("--sheet", type=Path, metavar="PNG", help="write a contact sheet of pairs")
    shared.add_option(
        parser, "count", Option("pairs on the sheet", int, 1, maximum=1000), default=24
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
    from kerasunet.data.cache import Store
    from kerasunet.files import cache_folder, cache_limit

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

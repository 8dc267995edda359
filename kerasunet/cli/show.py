"""Look before you train: a contact sheet of image/mask pairs, a table of the layers that a strategy
trains, and a check that a network can learn the masks at all."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from kerasunet import models
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.options import Option, declared
from kerasunet.training.settings import LARGEST_SIDE, Optimization

_MARK = b"kerasunet show"


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def marks() -> dict[str, bytes]:
    return {"sheet": _MARK}


def run(options: argparse.Namespace) -> int:
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
    write_png(options.sheet, sheet, mark=_MARK)
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

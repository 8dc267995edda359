"""Export a saved model for other runtimes, checked against Keras image by image."""

from __future__ import annotations

import argparse
from pathlib import Path

from kerasunet import models
from kerasunet.backend import quiet_start, start_backend
from kerasunet.cli import options as shared
from kerasunet.inference.export_requests import FORMATS, check_request, sidecar_of
from kerasunet.options import Option

EPILOG = "formats:\n" + "\n".join(
    f"  {name:<11} {facts.purpose}{'' if facts.any_size else ' (one image size)'}"
    for name, facts in FORMATS.items()
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    add("--format", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    add("--output", type=Path, metavar="PATH", help="file or folder (default: NAME.SUFFIX here)")
    add("--int8", action="store_true", help="eight-bit weights and activations; also needs --data")
    shared.add_shared(parser, "data", "manual_dir", data="simulated-ultrasound:64")
    shared.add_object_choice(parser)
    images = Option("largest number of images to check on", int, 1, maximum=1_000_000)
    shared.add_option(parser, "images", images, default=64)


def run(options: argparse.Namespace) -> int:
    from kerasunet.data import load

    models.check(options.model)
    card = models.card(options.model)
    path = options.output or _default_path(card.name, options.format)
    check_request(options.format, path, options.int8)
    sidecar_of(path, options.format, options.int8, source=models.digest(options.model))
    data = load(options.data, options.manual_dir, **shared.object_choice(options, card))
    print(shared.describe_data(data), flush=True)

    start_backend()
    from kerasunet.inference.export import Images, export

    images = Images.of(
        data,
        size=card.image_size,
        channels=card.architecture.channels,
        count=options.images,
        calibrate=options.int8,
    )
    with quiet_start():  # Converters, too, write notes past `sys.stderr`.
        done = export(options.model, options.format, path, images=images, int8=options.int8)
    print(_summary(done.comparison, images.data))
    print(f"written: {done.path}, {done.sidecar}")
    return 0


def _default_path(name: str, format: str) -> Path:
    return Path(name + (FORMATS[format].suffix if format in FORMATS else ""))


def _summary(comparison: dict, data: str) -> str:
    loss = comparison["dice_loss"]
    return (
        f"against Keras on {comparison['images']} images of {data}: probabilities differ by at "
        f"most {comparison['max_abs_delta']:.2g}, {comparison['changed_pixels']:.3%} of the "
        f"pixels change sides\nDice {comparison['dice_keras']:.4f} before, "
        f"{comparison['dice_exported']:.4f} after; loss {loss['mean']:.4f} "
        f"({loss['low']:.4f} to {loss['high']:.4f})"
    )

"""Pre-train a U-Net on natural images with salient-object masks, in grey.

With --data oxford_iiit_pet it downloads photographs that need no registration. Killed and started
again with the same command, it goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kerasunet import models
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.runs.directory import clear
from kerasunet.training.settings import PretrainSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = PretrainSettings()
    shared.add_data(parser, default.data)
    add = parser.add_argument
    add(
        "--validation-data",
        default=default.validation_data,
        metavar="NAME|FOLDER",
        help=f"({default.validation_data})",
    )
    add("--image-size", type=int, default=default.image_size, help=f"({default.image_size})")
    add("--init", default=default.init, help="scratch, or weights to go on from (scratch)")
    add("--output", type=Path, default=Path("runs/natural"), help="(runs/natural)")
    add("--save-as", metavar="NAME", help="also register the model as saved_models/NAME.keras")
    add("--restart", action="store_true", help="remove an earlier run in the output folder first")
    shared.add_optimization(parser, default.optimization)
    shared.add_architecture(parser, "with --init scratch")


def run(options: argparse.Namespace) -> int:
    settings = PretrainSettings(
        data=options.data,
        manual_dir=options.manual_dir,
        validation_data=options.validation_data,
        image_size=options.image_size,
        init=options.init,
        architecture=shared.architecture(options),
        optimization=shared.optimization(options),
        augmentation=PRESETS[options.augmentation],
    )
    _check_early(settings, options.save_as)
    if options.restart:
        clear(options.output)

    start_backend()
    from kerasunet.cli.progress import ProgressBar
    from kerasunet.runs.pretraining import pretrain
    from kerasunet.training.evaluation import CONSTANT

    trained = pretrain(settings, options.output, [ProgressBar(settings.optimization)])
    dice = trained.dice
    print(
        f"Dice on {dice.n} validation cases  {dice.mean:.3f}  ({dice.low:.3f} to {dice.high:.3f})\n"
        f"model  {options.output / 'model.keras'}"
    )
    if trained.summary["constant_prediction"]:
        print(CONSTANT)
    if options.save_as:
        print(f"registered  {models.register(options.output / 'model.keras', options.save_as)}")
    return 0


def _check_early(settings: PretrainSettings, save_as: str | None) -> None:
    """Finds wrong weights and data before TensorFlow is imported; says which layouts data have."""
    from kerasunet.data.loading import load

    if save_as is not None:
        models.check_name(save_as)
    if settings.init != "scratch":
        models.check(settings.init)
    for data in (load(settings.data, settings.manual_dir), load(settings.validation_data)):
        print(shared.describe_data(data), flush=True)

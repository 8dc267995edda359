"""Pre-train a U-Net on natural images with salient-object masks, in grey, or on images of a lab.

With --data oxford_iiit_pet it downloads photographs that need no registration. What comes out is
a start, which finetune --init takes. If it is stopped or killed, the same command resumes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kerasunet import models, runs
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.training.settings import PretrainSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_settings(parser, PretrainSettings)
    add("--output", type=Path, default=Path("runs/natural"), help="(runs/natural)")
    add("--save-as", metavar="NAME", help="also register the model as saved_models/NAME.keras")
    add("--half-precision", action="store_true", help="with --save-as: a file of half the size")
    add("--restart", action="store_true", help="remove an earlier run in the output folder first")
    shared.add_optimization(parser, PretrainSettings.optimization)
    shared.add_architecture(parser, "with --init scratch")


def run(options: argparse.Namespace) -> int:
    settings = PretrainSettings(
        **shared.values_of(options, PretrainSettings),
        architecture=shared.architecture(options),
        optimization=shared.optimization(options),
        augmentation=PRESETS[options.augmentation],
    )
    files = runs.RunDirectory(options.output)
    if options.save_as is not None:
        models.check_name(options.save_as, None if options.restart else files.model)
    if settings.init != "scratch":
        models.check(settings.init)
    data = runs.load_pretraining_data(settings)
    for part in data:
        print(shared.describe_data(part), flush=True)
    if options.restart:
        files.require_removable(settings)

    start_backend()
    from kerasunet.cli.progress import ProgressBar

    with ProgressBar(settings.optimization) as bar:
        trained = runs.pretrain(settings, options.output, [bar], data=data, restart=options.restart)
    print(_report(trained))
    if options.save_as:
        saved = models.register(trained.files.model, options.save_as, options.half_precision)
        print(f"registered  {saved}")
    return 0


def _report(trained: runs.Pretrained) -> str:
    from kerasunet.training.evaluation import CONSTANT

    dice = trained.dice
    lines = [
        f"Dice on {dice.n} validation cases  {dice.mean:.3f}  ({dice.low:.3f} to {dice.high:.3f})",
        f"model  {trained.files.model}",
    ]
    return "\n".join([*lines, CONSTANT] if trained.summary["constant_prediction"] else lines)

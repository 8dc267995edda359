"""Fine-tune chosen layers of a pre-trained U-Net, and see what it brings on held-out cases.

With nothing but --layers it works offline: shipped weights, simulated breast ultrasound.
Killed and started again with the same command, it goes on.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from kerasunet import models
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.runs.directory import clear
from kerasunet.strategies import describe_grammar, parse
from kerasunet.training.settings import FinetuneSettings

EPILOG = f"strategies for --layers:\n{describe_grammar()}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = FinetuneSettings()
    add = parser.add_argument
    add("--layers", default=default.layers, help=f"strategy: what trains ({default.layers})")
    add(
        "--init",
        default=default.init,
        help=f"initial weights: a saved model's name or file, or scratch ({default.init})",
    )
    shared.add_data(parser, default.data)
    add(
        "--train-size",
        default=str(default.train_size),
        metavar="N",
        help="training images, or all (40)",
    )
    add(
        "--validation-size",
        type=int,
        default=default.validation_size,
        metavar="N",
        help=f"validation images ({default.validation_size})",
    )
    add("--fold", type=int, default=default.fold, help=f"which fold is tested ({default.fold})")
    add("--folds", type=int, default=default.folds, help=f"number of folds ({default.folds})")
    shared.add_labels(parser)
    shared.add_views(parser)
    shared.add_division(parser)
    add(
        "--image-size",
        type=int,
        default=default.image_size,
        help=f"height and width that images are stretched to ({default.image_size})",
    )
    add("--threshold", type=float, default=default.threshold, help=f"({default.threshold})")
    add("--output", type=Path, help="run directory (default: runs/DATA_LAYERS)")
    add("--save-as", metavar="NAME", help="also register the model as saved_models/NAME.keras")
    add("--half-precision", action="store_true", help="with --save-as: a file of half the size")
    add("--restart", action="store_true", help="remove an earlier run in the output folder first")
    shared.add_optimization(parser, default.optimization)
    shared.add_architecture(parser, "with --init scratch")


def run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    _check_early(settings, options.save_as)
    directory = options.output or _default_directory(settings)
    if options.restart:
        clear(directory)

    start_backend()
    from kerasunet.cli.progress import ProgressBar
    from kerasunet.runs.finetuning import finetune

    finished = finetune(settings, directory, [ProgressBar(settings.optimization)])
    print(_report(settings, finished))
    if options.save_as:
        print(f"registered  {_register(directory, options)}")
    return 0


def _register(directory: Path, options: argparse.Namespace) -> Path:
    return models.register(directory / "model.keras", options.save_as, options.half_precision)


def _settings(options: argparse.Namespace) -> FinetuneSettings:
    return FinetuneSettings(
        layers=str(parse(options.layers)),
        init=options.init,
        data=options.data,
        manual_dir=options.manual_dir,
        train_size=_train_size(options.train_size),
        validation_size=options.validation_size,
        fold=options.fold,
        folds=options.folds,
        labels=tuple(options.labels),
        views=options.views,
        **shared.division(options),
        image_size=options.image_size,
        threshold=options.threshold,
        architecture=shared.architecture(options),
        optimization=shared.optimization(options),
        augmentation=PRESETS[options.augmentation],
    )


def _train_size(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--train-size {text}: give a whole number of at least 1, or all")
    return int(text)


def _check_early(settings: FinetuneSettings, save_as: str | None) -> None:
    """Finds wrong strategies, weights and data before TensorFlow is imported; tells the data."""
    from kerasunet.runs.inputs import load_data, split_data

    if save_as is not None:
        models.check_name(save_as)
    architecture = settings.architecture
    if settings.init != "scratch":
        models.check(settings.init)
        architecture = models.card(settings.init).architecture
    if not parse(settings.layers).is_auto:
        parse(settings.layers).select(architecture.layout())
    data = load_data(settings)
    if not settings.stratify_sizes:  # Which reads every mask.
        split_data(settings, data)
    print(shared.describe_data(data), flush=True)


def _default_directory(settings: FinetuneSettings) -> Path:
    data = Path(settings.data).name
    return Path("runs") / re.sub(r"[^A-Za-z0-9._&+-]+", "-", f"{data}_{settings.layers}")


def _report(settings: FinetuneSettings, finished) -> str:
    from kerasunet.training.evaluation import CONSTANT

    summary, directory = finished.summary, finished.directory
    before, after = summary["before"]["dice"], summary["after"]["dice"]
    test = summary["split"]["test"]
    lines = [
        "",
        (directory / "layers.txt").read_text(encoding="utf-8").rstrip(),
        "",
        f"Dice on {test} held-out cases (mean, 95 % interval)",
        f"  before  {_interval(before)}",
        f"  after   {_interval(after)}",
        f"  missed  {summary['after']['missed']} of {test}",
    ]
    if summary["constant_prediction"]:
        lines.append(f"  {CONSTANT}")
    lines += [
        "",
        f"trained     {_trained(summary)}: "
        f"{summary['trained']:,} of {summary['parameters']:,} weights",
        f"everything  {directory}/",
        f"overlays    {directory / 'overlays'}/",
        f'load        keras.models.load_model("{(directory / "model.keras").as_posix()}")',
    ]
    return "\n".join(lines)


def _trained(summary: dict) -> str:
    asked, chosen = summary["settings"]["layers"], summary["chosen"]
    return asked if asked == chosen else f"{asked}, which chose {chosen}"


def _interval(interval: dict) -> str:
    return f"{interval['mean']:.3f}  ({interval['low']:.3f} to {interval['high']:.3f})"

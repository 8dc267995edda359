"""The verb `adapt`."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from kerasunet import models
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.options import declared
from kerasunet.training.settings import Optimization


def add_adapt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", metavar="FOLDER", help="images and masks, in any layout that kerasunet check reads"
    )
    shared.add_settings(parser, AdaptSettings, without=("data",))
    names = {*declared(Optimization)} - {"seed", "precision"}
    shared.add_settings(parser, AdaptSettings.optimization, without=names)
    parser.add_argument("--output", type=Path, help="output folder (default: runs/adapt_FOLDER)")
    parser.add_argument(
        "--save-as", metavar="NAME", help="also register the model as saved_models/NAME.keras"
    )


def run_adapt(options: argparse.Namespace) -> int:
    """From a folder of images and masks to the best model for it: an answer in plain words.

    Every start is tried untouched, a few strategies are trained, the choice is tested in
    cross-validation, and the final model is trained on all annotated images. If it is stopped or
    killed, the same command resumes it; with new annotations it trains only what these change.
    """
    settings = AdaptSettings(
        **shared.values_of(options, AdaptSettings),
        optimization=replace(
            AdaptSettings.optimization, seed=options.seed, precision=options.precision
        ),
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(settings.data).name)
    directory = options.output or Path("runs") / f"adapt_{name}"
    if options.save_as is not None:
        models.check_name(options.save_as, directory / "model.keras")
    from kerasunet.adapt.survey import load_cases

    data = load_cases(settings)  # What is wrong with it is said before TensorFlow starts.
    start_backend()
    from kerasunet.adapt import adapt
    from kerasunet.adapt.adapting import registered
    from kerasunet.cli.progress import AdaptProgress

    with AdaptProgress() as progress:
        answer = adapt(settings, directory, progress, data=data)
    print(shared.printable("\n\n".join(answer.sentences())))
    print(f"\neverything  {directory}/report.html, answer.md, cases.csv, pairs.png")
    if options.save_as:
        print(f"registered  {registered(options.save_as, True, answer)}")
    return 0

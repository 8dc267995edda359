"""Starts for a modality: trials that leave a hospital out, and the networks that are shipped.

    python benchmarks/starts.py train NAME --data SETS --output RUNS
    python benchmarks/starts.py evaluate NAME --data SETS --output RUNS
    python benchmarks/starts.py table

SETS holds the folders bus_bra, busi, jsrt and shenzhen. A training that was stopped goes on where
it was. The groups of a hospital that is left out are halved: trials are compared on one half, the
other (`evaluate --half read`) is for the networks that were chosen. Rows go to docs/starts/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data.augmentation_settings import (
    PRESETS,
    ULTRASOUND_AUGMENTATION,
    XRAY_AUGMENTATION,
    Augmentation,
)
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.groups import regroup
from kerasunet.data.loading import load
from kerasunet.data.splits import split_cases
from kerasunet.files import read_json, write_json
from kerasunet.training.settings import Optimization, PretrainSettings

HOME = Path(__file__).resolve().parent.parent / "docs" / "starts"
HALVES = ("choose", "read")
SEED = 19
SIDES = (128, 160, 192)
MARKED = 0.005
"""Share of a normal image above which its foreground is a false mark."""


@dataclass(frozen=True)
class Trial:
    """One network.

    Attributes:
        train: Data sets to train on; `NAME/choose` and `NAME/read` are halves of one.
        target: The data set, or half of one, that it is measured on; empty for a shipped network.
        augmentation: How far the views differ from the images.
        steps: Optimizer steps.
        sides: The smallest and largest size to train at; empty for 128 pixels alone.
        simulated: Simulated cases to mix in.
        init: Initial weights.
        batch: Images a step.
    """

    train: tuple[str, ...]
    target: str = ""
    augmentation: Augmentation = ULTRASOUND_AUGMENTATION
    steps: int = 1500
    sides: tuple[int, ...] = (96, 192)
    simulated: int = 0
    init: str = "natural"
    batch: int = 8
    more: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> PretrainSettings:
        """Return the settings of the training."""
        smallest, largest = self.sides or (None, None)
        return PretrainSettings(
            data="+".join(self.train),
            validation_data=self.target or "simulated",
            smallest_size=smallest,
            largest_size=largest,
            init=self.init,
            optimization=Optimization(
                steps=self.steps,
                batch_size=self.batch,
                validate_every=250,
                precision="mixed_bfloat16",
                **self.more,
            ),
            augmentation=self.augmentation,
        )


_OF_BUS_BRA = Trial(("bus_bra",), "busi/choose")
_OF_SHENZHEN = Trial(("shenzhen",), "jsrt/choose", XRAY_AUGMENTATION, steps=750)
_MILD = Augmentation(
    scale=0.35,
    shift=0.1,
    gamma=0.4,
    contrast=0.2,
    speckle=0.15,
    grain=0.02,
    aspect=0.3,
    gain=0.15,
    blur=0.006,
    shadow=0.15,
    frame=0.2,
    marks=0.25,
)
TRIALS = {
    "bus_bra-mild-further": replace(_OF_BUS_BRA, augmentation=_MILD, init="ultrasound-all"),
    "bus_bra-full": replace(_OF_BUS_BRA, augmentation=PRESETS["full"], sides=()),
    "bus_bra-wide": _OF_BUS_BRA,
    "shenzhen-wide": _OF_SHENZHEN,
}


def part(data: Path, name: str) -> DataSet:
    """Return a data set, or the half of its groups that follows a `/` in the name."""
    name, _, half = name.partition("/")
    whole = regroup(load(str(data / name)), "near-duplicates")
    if not half:
        return whole
    split = split_cases(whole.cases, fold=HALVES.index(half), folds=2, seed=SEED, validation_size=0)
    return replace(whole, cases=whole.select(sorted(split.test)))


def training_set(trial: Trial, data: Path) -> DataSet:
    """Return all cases that a trial trains on, as one data set."""
    sets = [part(data, name) for name in trial.train]
    if trial.simulated:
        sets.append(load(f"simulated-ultrasound:{trial.simulated}"))
    cases = sorted((case for one in sets for case in one.cases), key=lambda case: case.key)
    return replace(
        sets[0],
        name="+".join(one.name for one in sets),
        cases=tuple(cases),
        terms="; ".join(f"{one.name}: {one.terms}" for one in sets),
        citation=" ".join(one.citation for one in sets),
        official={},
    )


def validation_set(trial: Trial, data: Path) -> DataSet:
    """Return the cases on which the Dice is followed, which chooses nothing."""
    if not trial.target:
        kind = "xray" if "shenzhen" in trial.train else "ultrasound"
        return load(f"simulated-{kind}:100")
    target = part(data, trial.target)
    return (
        replace(target, cases=tuple(c for c in target.cases if c.label != "normal"))
        if ("busi" in trial.target)
        else target
    )


def train(options: argparse.Namespace) -> int:
    import keras

    from kerasunet import runs

    class Told(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            print(options.name, epoch, {k: round(v, 4) for k, v in logs.items()}, flush=True)

    trial = TRIALS[options.name]
    data = training_set(trial, options.data), validation_set(trial, options.data)
    made = runs.pretrain(trial.settings(), options.output / options.name, [Told()], data=data)
    print(options.name, made.dice)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure a network on a hospital, at several sizes."""
    from kerasunet import models
    from kerasunet.training.evaluation import evaluate as measure
    from kerasunet.training.loop import predict

    trial = TRIALS.get(options.name)
    target = options.target or trial.target.partition("/")[0]
    cases = part(options.data, f"{target}/{options.half}" if options.half else target).cases
    file = options.output / options.name / "model.keras"
    model = models.load(file if file.is_file() else options.name)
    rows = []
    for side in SIDES:
        with_object = [case for case in cases if target != "busi" or case.label != "normal"]
        found = measure(model, decode(with_object, (side, side)))
        row = {"side": side, "dice": asdict(found.dice), **_by_label(with_object, found.rows)}
        row["by_size"] = _by_size(decode(with_object, (side, side)), found.rows)
        if normals := [case for case in cases if case not in with_object]:
            marked = predict(model, decode(normals, (side, side)).images) >= 0.5
            shares = marked.mean((1, 2))
            row["normals"] = len(normals)
            row["falsely_marked"] = float((shares > MARKED).mean())
        rows.append(row)
        print(options.name, target, options.half, row, flush=True)
    name = "-".join(filter(None, (options.name, target, options.half)))
    write_json(HOME / f"{name}.json", {"trial": _described(trial), "rows": rows})
    return 0


def _described(trial: Trial | None) -> dict[str, Any] | None:
    return None if trial is None else asdict(trial)


def _by_label(cases: Sequence, rows: Sequence[dict]) -> dict[str, Any]:
    labels = sorted({case.label for case in cases})
    return {
        "by_label": {
            label: float(
                np.mean([r["dice"] for c, r in zip(cases, rows, strict=True) if c.label == label])
            )
            for label in labels
        }
    }


def _by_size(decoded: DecodedCases, rows: Sequence[dict]) -> dict[str, float]:
    shares = decoded.masks.mean((1, 2))
    bounds = np.quantile(shares, [1 / 3, 2 / 3])
    which = np.digitize(shares, bounds)
    dice = np.array([row["dice"] for row in rows])
    names = ("small", "medium", "large")
    return {name: float(dice[which == number].mean()) for number, name in enumerate(names)}


def table(_: argparse.Namespace) -> int:
    """Print the trials as Markdown."""
    print("| network | measured on | size | Dice | 95 % interval | normals marked |")
    print("|---|---|---|---|---|---|")
    for file in sorted(HOME.glob("*.json")):
        for row in read_json(file)["rows"]:
            dice = row["dice"]
            marked = f"{row['falsely_marked']:.0%}" if "falsely_marked" in row else ""
            print(
                f"| {file.stem} | {dice['n']} | {row['side']} | {dice['mean']:.3f} | "
                f"{dice['low']:.3f} to {dice['high']:.3f} | {marked} |"
            )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    for function in (train, evaluate, table):
        verb = verbs.add_parser(function.__name__)
        verb.set_defaults(run=function)
        if function is not table:
            verb.add_argument("name")
            verb.add_argument("--data", type=Path, required=True)
            verb.add_argument("--output", type=Path, required=True)
    verb = verbs.choices["evaluate"]
    verb.add_argument("--target", default="", help="another data set than the trial's")
    verb.add_argument("--half", choices=("", *HALVES), default="choose")
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())

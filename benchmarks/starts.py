"""Starts for a modality: trials that leave a hospital out, and the networks that are shipped.

    python benchmarks/starts.py pack SETS --data DATA
    python benchmarks/starts.py train NAME --data SETS --output RUNS
    python benchmarks/starts.py evaluate NAME --data SETS --output RUNS
    python benchmarks/starts.py ship NAME --data SETS --output RUNS
    python benchmarks/starts.py describe NAME --data SETS --output RUNS
    python benchmarks/starts.py table

SETS holds the folders bus_bra, busi, jsrt and shenzhen, and duts and ecssd for `natural-base`. A
training that was stopped goes on where it was. `pack` writes copies of duts, ecssd, bus_bra and
busi, as zip files to be unpacked into folders of these names. They are small enough to be carried
to a machine with a GPU, where the networks of 32 filters take minutes (KERAS_BACKEND=jax); `ship`
takes the sets themselves. The groups of a hospital that is left out are halved: trials are compared
on one half, the other (`evaluate --half read`) is for the networks that were chosen. Rows go to
docs/starts/; `ship` registers a network in half precision, with these rows in its card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from second_study import write_packed

from kerasunet.architecture import Architecture
from kerasunet.data.augmentation_settings import (
    PRESETS,
    ULTRASOUND_AUGMENTATION,
    XRAY_AUGMENTATION,
    Augmentation,
)
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.groups import regroup
from kerasunet.data.identification import united
from kerasunet.data.loading import load
from kerasunet.data.splits import split_cases
from kerasunet.drawing import draw_comparison
from kerasunet.files import read_json, write_json
from kerasunet.training.settings import Optimization, PretrainSettings

HOME = Path(__file__).resolve().parent.parent / "docs" / "starts"
HALVES = ("choose", "read")
SEED = 19
SIDES = (128, 160, 192)
PHOTOGRAPHS = ("duts", "ecssd")
COPIES = {"duts": (144, 66), "ecssd": (144, 66), "bus_bra": (192, 88), "busi": (192, 88)}
"""Side in pixels and JPEG quality of the copies for another machine."""
WORST, DRAWN = 5, 3
"""Cases of simulated data that a card names as failures, and those that are drawn."""
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
        repeated: How often an image without a lesion counts; there are few of them.
        init: Initial weights: a saved model's name, or another trial.
        batch: Images a step.
        architecture: The shape of the network, that of `init`.
        side: The size that it is measured at while it trains, and trains at unless there are
            `sides`, in pixels.
        average: Names of trials or saved models whose weights are averaged, in place of a training
            (Wortsman et al., Model soups, ICML 2022); they have an ancestor in common.
    """

    train: tuple[str, ...]
    target: str = ""
    augmentation: Augmentation = ULTRASOUND_AUGMENTATION
    steps: int = 1500
    sides: tuple[int, ...] = (96, 192)
    simulated: int = 0
    repeated: int = 1
    init: str = "natural"
    batch: int = 8
    architecture: Architecture = Architecture()
    side: int = 128
    average: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def settings(self, runs: Path) -> PretrainSettings:
        """Return the settings of the training; `runs` holds the other trials."""
        smallest, largest = self.sides or (None, None)
        return PretrainSettings(
            data="+".join(self.train),
            validation_data=self.target or "simulated",
            smallest_size=smallest,
            largest_size=largest,
            image_size=self.side,
            architecture=self.architecture,
            init=file_of(self.init, runs),
            optimization=Optimization(
                steps=self.steps,
                batch_size=self.batch,
                validate_every=max(250, self.steps // 8),
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
_JOINT = Trial(("bus_bra", "busi"), "", _MILD, steps=750, init="bus_bra-mild-further")
_JOINT_8 = replace(_JOINT, init="ultrasound-all", steps=1500, repeated=8)
_JOINT_24 = replace(_JOINT, steps=1000, repeated=24)
_BASE = {"architecture": Architecture(base_filters=32), "batch": 16, "steps": 3000}
_FROM_BASE = {**_BASE, "init": "natural-base"}
_SOUP = ("ultrasound-contracting", "ultrasound-all", "bus_bra-wide", "bus_bra-mild-further")
TRIALS = {
    "bus_bra-average": replace(_OF_BUS_BRA, average=_SOUP),
    "bus_bra-average-3": replace(_OF_BUS_BRA, average=_SOUP[1:]),
    "bus_bra-average-2": replace(_OF_BUS_BRA, average=_SOUP[2:]),
    "bus_bra-mild-further": replace(_OF_BUS_BRA, augmentation=_MILD, init="ultrasound-all"),
    "bus_bra-full": replace(_OF_BUS_BRA, augmentation=PRESETS["full"], sides=()),
    "bus_bra-wide": _OF_BUS_BRA,
    "busi-mild": Trial(("busi",), "bus_bra/choose", _MILD, steps=1000),
    "busi-mild-further": Trial(
        ("busi",), "bus_bra/choose", _MILD, steps=1500, init="busi-mild", repeated=4
    ),
    "shenzhen-wide": _OF_SHENZHEN,
    "xray": replace(_OF_SHENZHEN, init="shenzhen-wide", steps=1000),
    "joint-choose": replace(_JOINT, train=("bus_bra", "busi/choose"), target="busi/read"),
    "joint-read": replace(_JOINT, train=("bus_bra", "busi/read"), target="busi/choose"),
    "joint": replace(_JOINT, steps=1500),
    "joint-choose-8": replace(_JOINT_8, train=("bus_bra", "busi/choose"), target="busi/read"),
    "joint-read-8": replace(_JOINT_8, train=("bus_bra", "busi/read"), target="busi/choose"),
    "joint-choose-24": replace(
        _JOINT_24, train=("bus_bra", "busi/choose"), target="busi/read", init="joint-choose-8"
    ),
    "joint-read-24": replace(
        _JOINT_24, train=("bus_bra", "busi/read"), target="busi/choose", init="joint-read-8"
    ),
    "joint-choose-8-24": replace(
        _JOINT,
        train=("bus_bra", "busi/choose"),
        target="busi/read",
        average=("joint-choose-8", "joint-choose-24"),
    ),
    "joint-read-8-24": replace(
        _JOINT,
        train=("bus_bra", "busi/read"),
        target="busi/choose",
        average=("joint-read-8", "joint-read-24"),
    ),
    "ultrasound": replace(_JOINT, init="joint", repeated=8),
    "natural-base": Trial(
        ("duts",),
        "ecssd",
        PRESETS["full"],
        **{**_BASE, "batch": 32, "steps": 10_000},
        sides=(),
        side=144,
        init="scratch",
    ),
    "bus_bra-base": replace(_OF_BUS_BRA, augmentation=_MILD, **_FROM_BASE),
    "bus_bra-base-wide": replace(_OF_BUS_BRA, **_FROM_BASE),
    "bus_bra-base-simulated": replace(
        _OF_BUS_BRA, augmentation=_MILD, simulated=1000, **_FROM_BASE
    ),
    "busi-base": Trial(("busi",), "bus_bra/choose", _MILD, repeated=2, **_FROM_BASE),
    "joint-base-choose": replace(
        _JOINT, train=("bus_bra", "busi/choose"), target="busi/read", repeated=8, **_FROM_BASE
    ),
    "joint-base-read": replace(
        _JOINT, train=("bus_bra", "busi/read"), target="busi/choose", repeated=8, **_FROM_BASE
    ),
    "ultrasound-base": replace(_JOINT, repeated=4, **_FROM_BASE),
}


@dataclass(frozen=True)
class Product:
    """What the card of a shipped network says beside what its training knows.

    Attributes:
        title: One line.
        modality: What images it is for.
        use: What it is meant for.
        rows: Files of rows, without their suffix, of hospitals that were left out.
        side: The size that it is best used at, in pixels.
    """

    title: str
    modality: str
    use: str
    rows: tuple[str, ...]
    side: int = 128


_USE = (
    "A start for fine-tuning on {what} of your own hospital, and a first look at them without any; "
    "other organs and other objects need a fine-tuning. Images are stretched to squares."
)
PRODUCTS = {
    "ultrasound": Product(
        "start for breast ultrasound, lesions",
        "ultrasound",
        _USE.format(what="breast ultrasound images"),
        (
            "bus_bra-mild-further-busi-read",
            "busi-mild-further-bus_bra-read",
            "busi-mild-bus_bra-read",
            "joint-choose-busi-read",
            "joint-read-busi-choose",
        ),
    ),
    "xray": Product(
        "start for chest X-rays, both lungs",
        "xray",
        _USE.format(what="chest X-rays")
        + " Trained on Shenzhen alone; the masks' terms, CC BY-NC-SA, forbid commercial use.",
        ("xray-jsrt-read",),
        side=160,
    ),
}


def pack(options: argparse.Namespace) -> int:
    """Write gray copies of four sets, with their groups, into a zip file each."""
    options.data.mkdir(parents=True, exist_ok=True)
    for name, (side, quality) in COPIES.items():
        whole = load(str(options.sets / name))
        if name not in PHOTOGRAPHS:
            whole = regroup(whole, "near-duplicates")
        write_packed(options.data / f"{name}.zip", whole.cases, side, jpeg_quality=quality)
    return 0


def file_of(name: str, runs: Path) -> str:
    """Return the file of a trial, or the name of a saved model."""
    return str(runs / name / "model.keras") if name in TRIALS else name


def part(data: Path, name: str) -> DataSet:
    """Return a data set, or the half of its groups that follows a `/` in the name."""
    name, _, half = name.partition("/")
    whole = load(str(data / name))
    if not half:
        return whole
    if not (data / name / "manifest.csv").is_file():  # A copy names its groups.
        whole = regroup(whole, "near-duplicates")
    split = split_cases(whole.cases, fold=HALVES.index(half), folds=2, seed=SEED, validation_size=0)
    return replace(whole, cases=whole.select(sorted(split.test)))


def training_set(trial: Trial, data: Path) -> DataSet:
    """Return all cases that a trial trains on, as one data set."""
    sets = [part(data, name) for name in trial.train]
    if trial.simulated:
        sets.append(load(f"simulated-ultrasound:{trial.simulated}"))
    cases = [case for one in sets for case in one.cases]
    cases += [
        replace(case, key=f"{case.key} again {number}")
        for number in range(1, trial.repeated)
        for case in cases
        if case.label == "normal" and "shenzhen" not in trial.train
    ]
    cases.sort(key=lambda case: case.key)
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
    if trial.average:
        return average(trial, options)
    data = training_set(trial, options.data), validation_set(trial, options.data)
    made = runs.pretrain(
        trial.settings(options.output), options.output / options.name, [Told()], data=data
    )
    print(options.name, made.dice)
    return 0


def average(trial: Trial, options: argparse.Namespace) -> int:
    """Save the network whose weights are the means of several networks'."""
    from kerasunet import models

    names = [file_of(name, options.output) for name in trial.average]
    networks = [models.load(name) for name in names]
    weights = zip(*(network.get_weights() for network in networks), strict=True)
    networks[0].set_weights([np.mean(arrays, axis=0) for arrays in weights])
    cards = [models.card(name) for name in names]
    card = replace(
        cards[-1],
        seen=united(text for one in cards for text in one.seen),
        settings={**cards[-1].settings, "average": [*trial.average]},
    )
    path = options.output / options.name / "model.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    models.save(networks[0], path, card)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure a network on a hospital, at several sizes."""
    from kerasunet import models
    from kerasunet.training.evaluation import evaluate as measure, predict

    trial = TRIALS.get(options.name)
    target = options.target or trial.target.partition("/")[0]
    cases = part(options.data, f"{target}/{options.half}" if options.half else target).cases
    model = models.load(file_of(options.name, options.output))
    rows = []
    for side in SIDES:
        with_object = [case for case in cases if target != "busi" or case.label != "normal"]
        found = measure(model, decode(with_object, (side, side)))
        row = {"side": side, "dice": asdict(found.dice), **_by_label(with_object, found.rows)}
        row["by_size"] = _by_size(decode(with_object, (side, side)), found.rows)
        row |= _by_sex(options.data / target / "jsrt_metadata.csv", found.rows)
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


def _by_sex(table: Path, rows: Sequence[dict]) -> dict[str, Any]:
    """Return the mean Dice of women and men, where a table beside the images tells."""
    if not table.is_file():
        return {}
    sexes = {Path(one.study_id).stem: one.gender.lower() for one in pd.read_csv(table).itertuples()}
    found = pd.Series([row["dice"] for row in rows], [sexes[row["key"]] for row in rows])
    return {"by_sex": found.groupby(level=0).mean().to_dict()}


def _by_size(decoded: DecodedCases, rows: Sequence[dict]) -> dict[str, float]:
    shares = decoded.masks.mean((1, 2))
    bounds = np.quantile(shares, [1 / 3, 2 / 3])
    which = np.digitize(shares, bounds)
    dice = np.array([row["dice"] for row in rows])
    names = ("small", "medium", "large")
    return {name: float(dice[which == number].mean()) for number, name in enumerate(names)}


def ship(options: argparse.Namespace) -> int:
    """Register a network, and describe it in its card."""
    from kerasunet import models

    models.register(file_of(options.trial or options.name, options.output), options.name, True)
    return describe(options)


def describe(options: argparse.Namespace) -> int:
    """Write into the card of a registered network what it is for and how well it does."""
    from kerasunet import models
    from kerasunet.models.model_card import write_card
    from kerasunet.training.evaluation import evaluate as measure

    product, trial = PRODUCTS[options.name], TRIALS[options.name]
    judged = decode(validation_set(trial, options.data).cases, (product.side, product.side))
    model = models.load(options.name)
    measured, worst = measure(model, judged), _worst_simulated(model, product, options.name)
    left_out = [one for rows in product.rows if (one := _left_out(rows, product.side)) is not None]
    card = models.card(options.name)
    card = replace(
        card,
        title=product.title,
        use=product.use,
        modality=product.modality,
        init=models.NATURAL,
        seen=united(card.seen),
        image_size=product.side,
        metrics=measured.summary,
        left_out=tuple(left_out),
        failures=worst,
    )
    write_card(models.folder() / f"{options.name}.keras", card)
    print(f"{options.name}: {len(card.seen):,} images, {len(left_out)} hospitals left out")
    return 0


def _worst_simulated(model: Any, product: Product, name: str) -> dict[str, float]:
    """Return the Dice of the worst simulated cases by their keys, and draw the worst three."""
    from kerasunet.training.evaluation import evaluate as measure, predict

    cases = load(f"simulated-{product.modality}:100").cases
    decoded = decode(cases, (product.side, product.side))
    dice = [row["dice"] for row in measure(model, decoded).rows]
    order = np.argsort(dice, kind="stable")[:WORST]
    panels = [
        draw_comparison(
            decoded.images[i],
            decoded.masks[i],
            {name: predict(model, decoded.images[i : i + 1])[0] >= 0.5},
            name=f"{dice[i]:.3f}",
        )
        for i in order[:DRAWN]
    ]
    picture = HOME.parent / "images" / f"{name}-failures.jpg"
    cv2.imwrite(str(picture), np.vstack(panels)[..., ::-1])
    return {cases[i].key: round(dice[i], 4) for i in order}


def _left_out(name: str, side: int) -> Any:
    """Return what a card says of a file of rows, at one size; nothing if it is not there."""
    from kerasunet.models import LeftOut

    file = HOME / f"{name}.json"
    if not file.is_file():
        return None
    found = read_json(file)
    (row,) = (row for row in found["rows"] if row["side"] == side)
    return LeftOut(
        trained_on=" + ".join(found["trial"]["train"]),
        data=found["trial"]["target"].partition("/")[0],
        cases=row["dice"]["n"],
        image_size=row["side"],
        dice={bound: row["dice"][bound] for bound in ("mean", "low", "high")},
        parts={**row["by_label"], **row["by_size"], **row.get("by_sex", {})},
        empty=row.get("normals", 0),
        marked=row.get("falsely_marked"),
    )


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
    print("\n| joint network, over both halves of BUSI | size | Dice | normals marked |")
    print("|---|---|---|---|")
    for file in sorted(HOME.glob("joint-choose*-busi-read.json")):
        other = file.with_name(
            file.name.replace("choose", "read", 1).replace("busi-read", "busi-choose")
        )
        if other.is_file():
            print(*_over_halves(file, other), sep="\n")
    return 0


def _over_halves(*files: Path) -> Iterator[str]:
    """Yield a row for each size: each half measured by the network that has not seen it."""
    name = files[0].stem.replace("-choose", "").removesuffix("-busi-read")
    for halves in zip(*(read_json(file)["rows"] for file in files), strict=True):
        cases = [one["dice"]["n"] for one in halves]
        dice = np.average([one["dice"]["mean"] for one in halves], weights=cases)
        marked = round(sum(one["falsely_marked"] * one["normals"] for one in halves))
        normals = sum(one["normals"] for one in halves)
        told = f"{marked} of {normals} ({marked / normals:.0%})"
        yield f"| {name} | {halves[0]['side']} | {dice:.3f} | {told} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("pack")
    verb.set_defaults(run=pack)
    verb.add_argument("sets", type=Path)
    verb.add_argument("--data", type=Path, required=True)
    for function in (train, evaluate, ship, describe, table):
        verb = verbs.add_parser(function.__name__)
        verb.set_defaults(run=function)
        if function is not table:
            verb.add_argument("name")
            verb.add_argument("--data", type=Path, required=True)
            verb.add_argument("--output", type=Path, required=True)
    verb = verbs.choices["evaluate"]
    verb.add_argument("--target", default="", help="another data set than the trial's")
    verb.add_argument("--half", choices=("", *HALVES), default="choose")
    verb = verbs.choices["ship"]
    verb.add_argument("--trial", default="", help="the network, if not that of this name")
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())

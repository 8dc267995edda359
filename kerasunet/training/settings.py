"""Settings of a pre-training and of a fine-tuning, written as JSON beside what they produced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasunet.architecture import Architecture
from kerasunet.data.augmentation_settings import Augmentation

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def _require(holds: bool, name: str, value: Any, right: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {right}, not {value}")


def _require_choice(name: str, value: Any, choices: tuple) -> None:
    _require(value in choices, name, repr(value), "one of " + ", ".join(choices))


@dataclass(frozen=True)
class Optimization:
    """How weights are updated: Adam for a fixed number of steps.

    Attributes:
        steps: Optimiser steps in all; every strategy gets the same number.
        batch_size: Images per step.
        learning_rate: Peak learning rate.
        warmup: Share of the steps over which the rate rises linearly from 0.
        schedule: `"cosine"` falls to 0 at the last step, `"constant"` stays.
        clip_norm: Largest global norm of the gradient; `None` for no clipping.
        validate_every: Steps between two validations, each also a checkpoint.
        patience: Stop after so many validations without a better Dice; `None` uses every step.
        keep: Which weights the run ends with: `"last"`, or `"best"` by validation Dice.
        precision: Keras dtype policy.
        deterministic: Bit-identical results on the same machine and backend, at some speed.
        seed: Seed of initialisation, order and augmentation.
    """

    steps: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: float = 0.05
    schedule: str = "cosine"
    clip_norm: float | None = 1.0
    validate_every: int = 50
    patience: int | None = None
    keep: str = "last"
    precision: str = "float32"
    deterministic: bool = False
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "validate_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(
            self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more"
        )
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "0 to below 1")
        _require(
            self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0"
        )
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require_choice("schedule", self.schedule, ("cosine", "constant"))
        _require_choice("keep", self.keep, ("last", "best"))
        _require_choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class PretrainSettings:
    """One pre-training: natural images in, a model that finds the salient object out.

    Attributes:
        data: Training data, as `kerasunet.data.load` takes it.
        manual_dir: Folder with the archives of a public set that `data` names.
        validation_data: Validation data.
        image_size: Height and width in pixels that images are stretched to.
        init: `"scratch"`, or the weights to go on from: a registered name or a file.
    """

    data: str = "simulated-natural"
    manual_dir: str | None = None
    validation_data: str = "simulated-natural:50"
    image_size: int = 128
    init: str = "scratch"
    architecture: Architecture = Architecture()
    optimization: Optimization = Optimization(steps=6600, batch_size=16, validate_every=660)
    augmentation: Augmentation = Augmentation()


@dataclass(frozen=True)
class FinetuneSettings:
    """One fine-tuning run.

    Attributes:
        layers: Strategy text: which weights train.
        init: `"natural"`, another registered name, a file, or `"scratch"`.
        data: Data, as `kerasunet.data.load` takes it.
        manual_dir: Folder with the archives of a public set that `data` names.
        labels: Use only cases with one of these labels, such as `("benign", "malignant")`; empty
            for all.
        train_size: Number of training images; `None` for all outside the test fold.
        validation_size: Number of validation images.
        fold: Which fold is tested.
        folds: Number of folds.
        split_seed: Seed of the split.
        division: Name of a division that comes with the data, one of `DataSet.official`, such as
            `"5-fold"` of BUS-BRA; `None` makes folds of its own.
        groups: What stays in one part of a split: `"near-duplicates"`, the groups of the data
            joined where images are nearly the same; `"given"`, the groups of the data alone; or a
            CSV file with the columns key and group, as `kerasunet check --groups` writes it.
            `None` is near-duplicates, or with a `division`, given.
        stratify_sizes: Whether folds also balance the size of the object; reads every mask once.
        image_size: Height and width in pixels that images are stretched to.
        threshold: Probability from which a pixel counts as foreground.
        architecture: Used with `init="scratch"`; otherwise the initial model decides.
        views: Number of different augmented views of each training image. The frozen beginning
            of the network then computes each of them once, which is much faster where few, deep
            blocks train. `None` draws a new view in every pass.
    """

    layers: str = "shallow:3"
    init: str = "natural"
    data: str = "simulated-ultrasound"
    manual_dir: str | None = None
    labels: tuple[str, ...] = ()
    train_size: int | None = 40
    validation_size: int = 20
    fold: int = 0
    folds: int = 5
    split_seed: int = 0
    division: str | None = None
    groups: str | None = None
    stratify_sizes: bool = False
    image_size: int = 128
    threshold: float = 0.5
    architecture: Architecture = Architecture()
    optimization: Optimization = Optimization()
    augmentation: Augmentation = Augmentation()
    views: int | None = None

    def __post_init__(self):
        _require(self.views is None or self.views >= 1, "views", self.views, "at least 1")
        _require(0 < self.threshold < 1, "threshold", self.threshold, "between 0 and 1")
        _require(self.image_size >= 16, "image_size", self.image_size, "at least 16")


def to_json(settings: Any) -> dict[str, Any]:
    """Turns settings into plain values as JSON has them: a tuple becomes a list."""
    return json.loads(json.dumps(asdict(settings)))


def without_places(settings: Any, **names: str) -> dict[str, Any]:
    """Plain values that may be published: data by name and initial weights by file name only."""
    places = {"init": Path(settings.init).name, "manual_dir": None}
    if getattr(settings, "groups", None):
        places["groups"] = Path(settings.groups).name
    return {**to_json(settings), **places, **names}


def finetune_settings(values: Mapping[str, Any]) -> FinetuneSettings:
    """Makes settings from the plain values that `to_json` made of them."""
    parts = {
        "labels": tuple(values["labels"]),
        "architecture": Architecture(**values["architecture"]),
        "optimization": Optimization(**values["optimization"]),
        "augmentation": Augmentation(**values["augmentation"]),
    }
    return FinetuneSettings(**{**values, **parts})

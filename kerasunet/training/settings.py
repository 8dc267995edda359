"""Settings of a pre-training and of a fine-tuning, written as JSON beside what they produced.

Every field that is an option says its default, help and range once; the command line and the
demo's form are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from kerasunet.architecture import Architecture
from kerasunet.backend import AUTO, PRECISIONS
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.objects import ObjectChoice
from kerasunet.schema import check, declared, option
from kerasunet.strategies import Stage, Strategy, parse, parse_stages

LARGEST_SEED = 2**31 - 1
LARGEST_SIDE = 2048
SIDE_STEP = 32
_DATA_HELP = (
    "simulated-ultrasound, simulated-xray or simulated-natural (with :N for N cases); a "
    "published data set's folder; your own folder (images/ + masks/, x.png beside x_mask.png, "
    "labelme, COCO, Pascal VOC, one folder per patient); or a CSV manifest"
)
_MANUAL_DIR_HELP = (
    "with --data NAME of a public set: the folder that holds its archives, or their contents"
)
_OBJECTS_HELP = (
    "what counts as an object, one text for each: labels or classes, joined by commas (cyst,mass), "
    "or a name with values or colors of the masks (lungs=150,200 heart=250, tumor=#ff0000); not "
    "needed where the data mark one object"
)
_OVERLAPPING_HELP = (
    "let a pixel belong to several objects; otherwise it belongs to at most one, and where "
    "drawings overlap, the object named last is on top"
)
_MASK_THRESHOLD_HELP = (
    "gray level above which a pixel of a mask belongs to the object, for masks that were smoothed "
    "or saved as JPEG, such as 127"
)
_DIVISION = "division into training, validation and test cases"
NOT_SET = (
    "the cosine schedule sets it at every step, so a callback cannot; give "
    'Optimization(schedule="constant") for a callback that does'
)
"""Why the learning rate of such a training refuses to be set."""


@dataclass(frozen=True)
class Optimization:
    """How weights are updated: Adam for a fixed number of steps, the same for every strategy."""

    steps: int = option(200, "optimizer steps", minimum=1, maximum=100_000_000)
    batch_size: int = option(8, "images per step", minimum=1, maximum=4096)
    learning_rate: float = option(1e-3, "peak learning rate of Adam", above=0)
    warmup: float = option(
        0.05,
        "share of the steps over which the learning rate rises linearly from 0",
        minimum=0,
        below=1,
        metavar="SHARE",
    )
    schedule: str = option(
        "cosine",
        "learning rate after the warm-up: cosine falls to 0 at the last step, constant stays",
        choices=("cosine", "constant"),
    )
    clip_norm: float | None = option(
        1.0, "largest global norm of the gradient, 0 for no clipping", above=0, none=0
    )
    pull: float = option(
        0.0,
        "strength of the pull of trained weights toward their initial values (an L2-SP penalty)",
        minimum=0,
        maximum=1000,
        implied=0.0,
    )
    validate_every: int = option(
        50,
        "steps between validations; each also writes a checkpoint",
        minimum=1,
        maximum=100_000_000,
        metavar="STEPS",
    )
    patience: int | None = option(
        None, "stop after this many validations without a better Dice", minimum=1
    )
    keep: str = option(
        "last",
        "keep the last weights, or the best by validation Dice",
        choices=("last", "best"),
    )
    precision: str = option(
        "float32",
        "Keras dtype policy; auto is mixed_bfloat16 where the CPU has instructions for it, "
        "otherwise float32",
        choices=(AUTO, *PRECISIONS),
    )
    deterministic: bool = option(
        False, ("bit-identical results on this machine, at some cost in speed")
    )
    seed: int = option(
        0, "seed of initialization, order and augmentation", minimum=0, maximum=LARGEST_SEED
    )

    def __post_init__(self):
        check(self)

    @property
    def computation(self) -> dict[str, Any]:
        """How numbers are computed, as `kerasunet.backend.prepared_backend` takes it."""
        names = ("precision", "seed", "deterministic")
        return {name: getattr(self, name) for name in names}

    def require_validation(self, cases: int) -> None:
        """Refuse to choose by validation cases where there are none.

        Raises:
            ValueError: The best weights are asked for, or patience.
        """
        if not cases and (self.keep == "best" or self.patience):
            raise ValueError(
                "keep='best' and patience need validation cases, but there are none; set a "
                "validation size of at least 1, or keep the last weights without patience"
            )


@dataclass(frozen=True)
class PretrainSettings:
    """One pre-training: natural images in, a model that finds the salient object out."""

    data: str = option("simulated-natural", _DATA_HELP, metavar="NAME|FOLDER")
    manual_dir: str | None = option(None, _MANUAL_DIR_HELP, metavar="FOLDER")
    objects: tuple[str, ...] = option((), _OBJECTS_HELP, metavar="NAME[=V,V]", implied=[])
    overlapping: bool = option(False, _OVERLAPPING_HELP, implied=False, unwritten=True)
    mask_threshold: int | None = option(
        None, _MASK_THRESHOLD_HELP, minimum=0, maximum=65534, metavar="LEVEL"
    )
    validation_data: str = option("simulated-natural:50", "validation data", metavar="NAME|FOLDER")
    image_size: int = option(
        128,
        "height and width that images are resized to, in pixels",
        minimum=16,
        maximum=LARGEST_SIDE,
    )
    smallest_size: int | None = option(
        None,
        "smallest of several training sizes, in multiples of 32 pixels; the shipped starts for a "
        "modality were trained at 96 to 192",
        minimum=32,
        maximum=LARGEST_SIDE,
    )
    largest_size: int | None = option(
        None,
        "largest of several training sizes; images are read at this one",
        minimum=32,
        maximum=LARGEST_SIDE,
    )
    init: str = option(
        "scratch", ("scratch, or weights to start from: a saved model's name or file")
    )
    architecture: Architecture = Architecture()
    optimization: Optimization = Optimization(steps=6600, batch_size=16, validate_every=660)
    augmentation: Augmentation = Augmentation()

    def __post_init__(self):
        check(self)
        ObjectChoice.parse_all(self.objects)
        if (self.smallest_size is None) is not (self.largest_size is None):
            raise ValueError("smallest_size and largest_size belong together; give both")
        if self.smallest_size is not None and not self.sides:
            raise ValueError(
                f"smallest_size {self.smallest_size} and largest_size {self.largest_size}: there "
                f"is no multiple of {SIDE_STEP} between them"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """The sizes to train at, in pixels, where there are several."""
        if self.smallest_size is None or self.largest_size is None:
            return ()
        first = -(-self.smallest_size // SIDE_STEP) * SIDE_STEP
        return tuple(range(first, self.largest_size + 1, SIDE_STEP))


@dataclass(frozen=True)
class FinetuneSettings:
    """One fine-tuning run.

    `layers` takes text or a parsed strategy, and holds a parsed one. `architecture` is used with
    `init="scratch"`; otherwise the initial model decides.
    """

    layers: str | Strategy = option("shallow:3", "strategy: what trains")
    unfreeze: tuple[str, ...] = option(
        (),
        "gradual unfreezing, in place of layers: what trains from which step on, such as deep:1@0 "
        "deep:3@50 all@100; steps are multiples of validate-every",
        metavar="S@STEP",
        implied=[],
    )
    init: str = option("natural", "initial weights: a saved model's name or file, or scratch")
    data: str = option("simulated-ultrasound", _DATA_HELP, metavar="NAME|FOLDER")
    manual_dir: str | None = option(None, _MANUAL_DIR_HELP, metavar="FOLDER")
    objects: tuple[str, ...] = option((), _OBJECTS_HELP, metavar="NAME[=V,V]", implied=[])
    overlapping: bool = option(False, _OVERLAPPING_HELP, implied=False, unwritten=True)
    mask_threshold: int | None = option(
        None, _MASK_THRESHOLD_HELP, minimum=0, maximum=65534, metavar="LEVEL"
    )
    labels: tuple[str, ...] = option(
        (), "use only cases with these labels, such as benign malignant (all)", metavar="LABEL"
    )
    train_size: int | None = option(
        None, "training images, or all outside the test fold", minimum=1, none="all", metavar="N"
    )
    validation_size: int | None = option(
        None,
        "validation images, or auto: a fifth of what is outside the test fold, at most 20",
        minimum=0,
        maximum=10_000_000,
        none="auto",
        metavar="N",
    )
    fold: int = option(0, "fold to test on, numbered from 0")
    folds: int = option(5, "number of folds", minimum=2, maximum=1000)
    split_seed: int = option(
        0, "seed of the split", minimum=0, maximum=LARGEST_SEED, group=_DIVISION
    )
    division: str | None = option(
        None,
        "division that comes with the data: 5-fold, 10-fold, splits",
        metavar="NAME",
        group=_DIVISION,
    )
    disjoint: bool = option(
        False,
        "train on images of the fold and test on all others, so that training sets of different "
        "folds share no group",
        group=_DIVISION,
        implied=False,
    )
    development_size: int = option(
        0,
        "images, in whole groups, to set aside for choosing settings; they are neither trained on "
        "nor tested",
        minimum=0,
        maximum=10_000_000,
        metavar="N",
        group=_DIVISION,
        implied=0,
    )
    development: bool = option(
        False,
        "use only the development images, for training and for testing",
        group=_DIVISION,
        implied=False,
    )
    groups: str | None = option(
        None,
        "groups that the split keeps together: near-duplicates (default: patients or images, "
        "joined if nearly the same), given (those of the data; default with --division), or a CSV "
        "file of key and group, as check --groups writes",
        metavar="WHICH",
        group=_DIVISION,
    )
    group_pattern: str | None = option(
        None,
        "regular expression that finds the patient in a file name, as check proposes it: in "
        "ABCD_001.png, ([A-Z]+)_ finds ABCD",
        metavar="REGEX",
        group=_DIVISION,
    )
    stratify_sizes: bool = option(
        False,
        "also balance the folds by object size; reads every mask once",
        group=_DIVISION,
    )
    image_size: int = option(
        128,
        "height and width that images are resized to, in pixels",
        minimum=16,
        maximum=LARGEST_SIDE,
    )
    threshold: float = option(
        0.5,
        "probability from which a pixel of a test case counts as foreground; validation uses 0.5",
        above=0,
        below=1,
    )
    architecture: Architecture = Architecture()
    optimization: Optimization = Optimization()
    augmentation: Augmentation = Augmentation()
    views: int | None = option(
        None,
        "draw only N views of each image instead of a new one in every pass; the output of "
        "frozen layers for them is computed only once",
        minimum=1,
        maximum=1_000_000,
        metavar="N",
    )

    def __post_init__(self):
        if not isinstance(self.layers, Strategy):
            object.__setattr__(self, "layers", parse(self.layers))
        check(self)
        self._check_stages()
        ObjectChoice.parse_all(self.objects)
        if len(self.objects) > 1 and not self.overlapping and self.threshold != 0.5:
            raise ValueError(
                f"threshold {self.threshold:g}: objects that exclude each other have no "
                "threshold, because a pixel belongs to the most probable one; leave it out, or "
                "give overlapping"
            )
        if self.development and not self.development_size:
            raise ValueError("development needs development images; set development_size, too")
        if self.disjoint and self.division:
            raise ValueError(
                f"division {self.division} and disjoint both say what is tested; give one of them"
            )

    def _check_stages(self) -> None:
        """Require stages that begin where an epoch does; the last one is what `layers` holds."""
        if not self.stages:
            return
        every, steps = self.optimization.validate_every, self.optimization.steps
        wrong = [str(s) for s in self.stages if s.step % every or s.step >= steps]
        if wrong:
            raise ValueError(
                f"unfreeze {' '.join(wrong)}: steps must be multiples of validate_every, {every}, "
                f"and below steps, {steps}"
            )
        if self.views is not None:
            raise ValueError("views need layers that stay frozen; give either views or unfreeze")
        last = self.stages[-1].strategy
        if self.strategy not in (last, parse(str(FinetuneSettings.layers))):
            raise ValueError(
                f"layers {self.layers} and unfreeze {' '.join(self.unfreeze)} both say what "
                "trains; give one of them"
            )
        object.__setattr__(self, "layers", last)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of gradual unfreezing, parsed; none for a training in one go."""
        return parse_stages(self.unfreeze)

    @property
    def strategy(self) -> Strategy:
        """The parsed strategy, which is what `layers` holds."""
        return cast(Strategy, self.layers)

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """What trains at some time: the strategies of the stages, or the one."""
        return tuple(stage.strategy for stage in self.stages) or (self.strategy,)


def to_json(settings: Any) -> dict[str, Any]:
    """Return settings as the values of JSON: a tuple becomes a list, a strategy its text."""
    omitted = {
        name
        for name, known in declared(settings).items()
        if known.unwritten and getattr(settings, name) == known.implied
    }
    names = (item.name for item in fields(settings) if item.name not in omitted)
    return {name: _plain(getattr(settings, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, Strategy):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_json(value) if is_dataclass(value) else value


def without_paths(settings: Any, **names: str) -> dict[str, Any]:
    """Return values that may be published: data and initial weights by name, not by path."""
    paths = {"init": Path(settings.init).name, "manual_dir": None}
    if getattr(settings, "groups", None):
        paths["groups"] = Path(settings.groups).name
    return {**to_json(settings), **paths, **names}


def finetune_settings(values: Mapping[str, Any]) -> FinetuneSettings:
    """Return the settings that `to_json` made these values of."""
    parts = {
        "labels": tuple(values["labels"]),
        "objects": tuple(values.get("objects", ())),
        "architecture": Architecture(**values["architecture"]),
        "optimization": Optimization(**values["optimization"]),
        "augmentation": Augmentation(**values["augmentation"]),
    }
    return FinetuneSettings(**{**values, **parts})

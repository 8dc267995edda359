"""Settings of an adaptation, and what its budget buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.objects import ObjectChoice
from kerasunet.schema import check, option
from kerasunet.training.settings import FinetuneSettings, Optimization, to_json

if TYPE_CHECKING:
    from kerasunet.data.cases import Case, DataSet

_SHARED = {item.name: item for item in fields(FinetuneSettings)}
FOLDS = 4
"""Folds of the cross-validation, unless there are fewer groups."""
SMALLEST = 8
"""Annotated images below which nothing is trained: a fold would hold one image."""


class Budget(NamedTuple):
    """What may be spent.

    Attributes:
        minutes: Aimed at, on two cores and with images of 128 pixels.
        candidates: Strategies that are trained, at most.
        steps: Optimizer steps of each training, at most.
        fewest_steps: At least so many; rather than take fewer, candidates are dropped.
    """

    minutes: float
    candidates: int
    steps: int
    fewest_steps: int


BUDGETS = {
    "quick": Budget(4, 2, 100, fewest_steps=40),
    "normal": Budget(15, 3, 200, fewest_steps=60),
    "thorough": Budget(60, 6, 600, fewest_steps=100),
}


def _as_in_finetune(name: str) -> Any:
    item = _SHARED[name]
    return field(default=item.default, metadata=item.metadata)


@dataclass(frozen=True)
class AdaptSettings:
    """One adaptation: a lab's folder in, an answer, a model and an honest estimate out."""

    data: str = _as_in_finetune("data")
    manual_dir: str | None = _as_in_finetune("manual_dir")
    objects: tuple[str, ...] = _as_in_finetune("objects")
    overlapping: bool = _as_in_finetune("overlapping")
    mask_threshold: int | None = _as_in_finetune("mask_threshold")
    labels: tuple[str, ...] = _as_in_finetune("labels")
    groups: str | None = _as_in_finetune("groups")
    group_pattern: str | None = _as_in_finetune("group_pattern")
    starts: tuple[str, ...] = option(
        (), "starts to try: names of saved models or files (all that are meant as starts)"
    )
    budget: str = option(
        "normal",
        "what to spend: about 4, 15 or 60 minutes on two cores",
        choices=tuple(BUDGETS),
    )
    minutes: float | None = option(
        None, "plan for about this many minutes instead", above=0, metavar="MINUTES"
    )
    ensemble: bool = option(
        False, "save the average of the folds' models, in one file, as the final model"
    )
    without_evidence: tuple[str, ...] = option(
        (), "data sets whose published results are not used as evidence", metavar="NAME"
    )
    optimization: Optimization = Optimization()
    augmentation: Augmentation = Augmentation()

    def __post_init__(self):
        check(self)
        ObjectChoice.parse_all(self.objects)

    @property
    def limits(self) -> Budget:
        """What may be spent: the budget's, or between budgets by the minutes given."""
        if self.minutes is None:
            return BUDGETS[self.budget]
        least, *others = BUDGETS.values()
        fitting = [one for one in others if one.minutes <= self.minutes]
        return (fitting[-1] if fitting else least)._replace(minutes=self.minutes)

    @property
    def chosen_objects(self) -> str:
        """What counts as an object, however it is spelled; empty for what the data say.

        The name of a single object makes no difference.
        """
        choices = ObjectChoice.parse_all(self.objects)
        sources = [",".join(sorted(one.sources)) for one in choices]
        if len(choices) < 2:
            return "".join(sources)
        named = [f"{one.name}={each}" for one, each in zip(choices, sources, strict=True)]
        return " ".join(named) + " (overlapping)" * self.overlapping

    def of_run(
        self, layers: str, init: str, image_size: int, **optimization: Any
    ) -> FinetuneSettings:
        """Return the settings of a fine-tuning on all images, as the card of a model has them."""
        return FinetuneSettings(
            layers=layers,
            init=init,
            data=self.data,
            manual_dir=self.manual_dir,
            objects=self.objects,
            overlapping=self.overlapping,
            mask_threshold=self.mask_threshold,
            labels=self.labels,
            groups=self.groups,
            group_pattern=self.group_pattern,
            image_size=image_size,
            optimization=Optimization(**{**vars(self.optimization), **optimization}),
            augmentation=self.augmentation,
        )


def record_of(settings: AdaptSettings, data: DataSet) -> dict[str, Any]:
    """Return what the directory of an adaptation says of it: data set, objects, images, settings.

    Args:
        settings: Of the adaptation; files and folders are recorded by their names.
        data: The annotated cases.
    """
    from kerasunet.data.identification import image_identities

    named = replace(
        settings,
        data=data.name,
        manual_dir=None,
        starts=tuple(Path(start).name for start in settings.starts),
        groups=settings.groups and Path(settings.groups).name,
        optimization=replace(settings.optimization, precision=AdaptSettings.optimization.precision),
    )
    return {
        "data": data.name,
        "objects": settings.chosen_objects or str(data.objects),
        "images": sorted(image_identities(data.cases).values()),
        "settings": to_json(named),
    }


def suffice(cases: Sequence[Case]) -> bool:
    """Whether cases are enough to tune layers and to test on groups left out."""
    return len(cases) >= SMALLEST and len({case.group for case in cases}) > 1


def fit_count(candidates: int, folds: int) -> int:
    """Return how many trainings there are: of pairs of folds, of single folds, and the last one."""
    pairs = folds * (folds - 1) // 2 if folds > 2 else 0
    return candidates * pairs + folds + 1


class Listener(Protocol):
    """Receives the progress of an adaptation."""

    def phase(self, text: str) -> None:
        """Take note of what begins now, in a few words."""

    def note(self, text: str) -> None:
        """Take note of a finding: a line or several."""

    def planned(self, steps: int, seconds: float) -> None:
        """Take note of how many optimizer steps are to come, and how long they should take."""

    def step(self, done: int = 1) -> None:
        """Take note of optimizer steps that are done, or not needed any more."""


class Silent:
    """Listens to nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def planned(self, steps: int, seconds: float) -> None:
        """Do nothing."""

    def step(self, done: int = 1) -> None:
        """Do nothing."""

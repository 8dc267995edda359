"""Settings of a study: one fine-tuning run as the template, and what varies over the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.training.settings import FinetuneSettings, Optimization, without_places

STRATEGIES = ("none", "scratch", "contracting", "expanding", "shallow:*", "deep:*", "all")
_LEAST_SEARCH_VALIDATION = 5


@dataclass(frozen=True)
class StudySettings:
    """A study: strategies × folds × training sizes × seeds on one data set.

    Attributes:
        run: What all runs share. Its `layers`, `fold`, `train_size`, seed and, for `scratch`,
            `init` are set by the plan.
        strategies: Strategy texts or patterns such as `shallow:*`; `scratch` trains everything
            from random weights.
        train_sizes: Numbers of training images; the smaller sets are parts of the larger ones.
        seeds: Seeds of order, augmentation and, for `scratch`, initial weights.
        only_folds: The folds to run now, of those that `run.folds` counts; `None` for all.
        learning_rates: Empty: every run uses the template's learning rate. Else each run trains
            once with each of these, and the one with the best mean Dice on the validation cases
            counts. Test cases have no say.
    """

    run: FinetuneSettings = FinetuneSettings(
        validation_size=0, optimization=Optimization(validate_every=100)
    )
    strategies: tuple[str, ...] = STRATEGIES
    train_sizes: tuple[int, ...] = (20,)
    seeds: tuple[int, ...] = (0,)
    only_folds: tuple[int, ...] | None = None
    learning_rates: tuple[float, ...] = ()

    def __post_init__(self):
        for name in ("strategies", "train_sizes", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be given, each once, not {values}")
        if min(self.train_sizes) < 1:
            raise ValueError(f"train_sizes are at least 1, not {self.train_sizes}")
        wrong = [fold for fold in self.only_folds or () if not 0 <= fold < self.run.folds]
        if wrong:
            raise ValueError(f"only_folds {wrong}: folds are 0 to {self.run.folds - 1}")
        if self.learning_rates and self.run.validation_size < _LEAST_SEARCH_VALIDATION:
            raise ValueError(
                f"choosing a learning rate needs at least {_LEAST_SEARCH_VALIDATION} validation "
                f"cases, not {self.run.validation_size}: set the validation size"
            )

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds to run."""
        return self.only_folds if self.only_folds is not None else tuple(range(self.run.folds))


def protocol(settings: StudySettings) -> dict[str, Any]:
    """What may not change while a study grows: everything but the axes of the grid.

    It may be published: files are told by name, not by place.
    """
    template = without_places(settings.run, data=Path(settings.run.data).name)
    for varying in ("layers", "fold", "train_size"):
        del template[varying]
    del template["optimization"]["seed"]
    return {"run": template, "learning_rates": list(settings.learning_rates)}

"""Settings of a study: one fine-tuning run as the template, and what varies over the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from kerasunet.runs.directory import RunDirectory, refuse_differences
from kerasunet.schema import OBJECT, TEXT, check, declared, read_values
from kerasunet.strategies import NetworkLayout, expand, parse
from kerasunet.strategies.naming import folder_name
from kerasunet.training.settings import FinetuneSettings, Optimization, to_json, without_paths

_REQUEST = {"settings": {"init": TEXT}, "digests?": OBJECT}
USUAL_SIZE = 20
"""Training images of a study that names no number."""
STRATEGIES = ("none", "scratch", "contracting", "expanding", "shallow:*", "deep:*", "all")
LEAST_SEARCH_VALIDATION = 5


@dataclass(frozen=True)
class StudySettings:
    """A study: strategies × folds × training sizes × seeds on one data set.

    Attributes:
        run: What all runs share. Its `layers`, `fold`, `train_size`, seed and, for `scratch`,
            `init` are set by the plan.
        strategies: Strategy texts or patterns such as `shallow:*`; `scratch` trains everything
            from random weights.
        train_sizes: Numbers of training images; the smaller sets are parts of the larger ones.
            Empty stands for 20, or for all that are left where those are fewer.
        seeds: Seeds of order, augmentation and, for `scratch`, initial weights. With disjoint
            training sets, each set has its own seeds.
        only_folds: The folds to run now, of those that `run.folds` counts; `None` for all.
        learning_rates: Empty: every run uses the template's learning rate. Else each run trains
            once with each of these, and the one with the best mean Dice on the validation cases
            counts. Test cases play no part.
    """

    run: FinetuneSettings = FinetuneSettings(
        validation_size=0, optimization=Optimization(validate_every=100)
    )
    strategies: tuple[str, ...] = STRATEGIES
    train_sizes: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    only_folds: tuple[int, ...] | None = None
    learning_rates: tuple[float, ...] = ()

    def __post_init__(self):
        check(self)
        for name in ("strategies", "train_sizes", "seeds", "only_folds", "learning_rates"):
            values = getattr(self, name) or ()
            needed = name in ("strategies", "seeds")
            if (needed and not values) or len(set(values)) < len(values):
                raise ValueError(f"{name} must be given, each once, not {values}")
        if min(self.train_sizes, default=1) < 1:
            raise ValueError(f"train_sizes must be at least 1, not {self.train_sizes}")
        for rate in self.learning_rates:
            declared(Optimization)["learning_rate"].check("learning_rates", rate)
        if self.run.unfreeze:
            raise ValueError("a study compares strategies without stages; leave out unfreeze")
        wrong = [fold for fold in self.only_folds or () if not 0 <= fold < self.run.folds]
        if wrong:
            raise ValueError(f"only_folds {wrong}: folds must be 0 to {self.run.folds - 1}")

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds to run."""
        return self.only_folds if self.only_folds is not None else tuple(range(self.run.folds))


def protocol(settings: StudySettings) -> dict[str, Any]:
    """Return what must not change while a study grows: everything but the axes of the grid.

    It may be published: it names files, not their paths.
    """
    template = without_paths(settings.run, data=Path(settings.run.data).name)
    for varying in ("layers", "fold", "train_size"):
        del template[varying]
    del template["optimization"]["seed"]
    return {"run": template, "learning_rates": list(settings.learning_rates)}


SCRATCH = "scratch"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        strategy: Strategy text, or `scratch`.
        fold: The fold that is tested.
        train_size: Number of training images.
        seed: Seed of order, augmentation and random weights.
        settings: All that the run needs.
        learning_rates: Learning rates to choose from on the validation cases; empty for none.
        in_pixels: Whether distances are in pixels even where all held-out images have a spacing,
            because others have none.
        digests: Of the data and the start of the study; results of others are refused.
    """

    strategy: str
    fold: int
    train_size: int
    seed: int
    settings: FinetuneSettings
    learning_rates: tuple[float, ...] = ()
    in_pixels: bool = False
    digests: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """What distinguishes the run from the others in its study."""
        return self.strategy, self.fold, self.train_size, self.seed

    @property
    def name(self) -> str:
        """Folder name: unique within a study, readable, safe on every file system."""
        return folder_name(*self.identity)

    def failed(self, data_name: str, reason: str) -> dict[str, Any]:
        """Return the row of the run in `runs.csv` if it has failed, for a reason in words."""
        optimization = self.settings.optimization
        return {
            "data": data_name,
            "strategy": self.strategy,
            "fold": self.fold,
            "train_size": self.train_size,
            "seed": self.seed,
            "chosen": self.strategy,
            "learning_rate": optimization.learning_rate,
            "steps": optimization.steps,
            **dict.fromkeys(("trained", "parameters", "seconds", "wall_seconds"), ""),
            "precision": optimization.precision,
            **dict.fromkeys(("device", "versions"), ""),
            "status": "failed",
            "note": " ".join(reason.split()),
        }


def plan(settings: StudySettings, layout: NetworkLayout) -> tuple[PlannedRun, ...]:
    """List the runs, fold by fold, so that an unfinished study covers whole folds.

    Args:
        settings: The study.
        layout: The network that is fine-tuned.

    Returns:
        The runs in the order of execution.

    Raises:
        StrategyError: A strategy is unknown or selects nothing.
    """
    strategies = distinct_strategies(settings.strategies, layout)
    layers = {text: parse("all" if text == SCRATCH else text) for text in strategies}
    axes = product(settings.folds, settings.train_sizes, settings.seeds, strategies)
    return tuple(
        PlannedRun(
            strategy,
            fold,
            train_size,
            seed=_seed(settings, seed, fold),
            settings=replace(
                settings.run,
                layers=layers[strategy],
                init="scratch" if strategy == SCRATCH else settings.run.init,
                fold=fold,
                train_size=train_size,
                optimization=replace(settings.run.optimization, seed=_seed(settings, seed, fold)),
            ),
            learning_rates=() if strategy == "none" else settings.learning_rates,
        )
        for fold, train_size, seed, strategy in axes
    )


def _seed(settings: StudySettings, seed: int, fold: int) -> int:
    """Return a separate seed for each of the disjoint training sets; all strategies share it."""
    return seed * settings.run.folds + fold if settings.run.disjoint else seed


def distinct_strategies(patterns: Sequence[str], layout: NetworkLayout) -> tuple[str, ...]:
    """Expand patterns, and keep one strategy of those that train the same weights alike.

    Of equal ones, the shortest pattern without a number stays: `contracting`, not `shallow:5`.
    """
    texts = dict.fromkeys(text for pattern in patterns for text in _expanded(pattern, layout))
    named_first = sorted(texts, key=lambda text: ":" in text)
    kept: dict[object, str] = {}
    for text in named_first:
        kept.setdefault(_what_trains(text, layout), text)
    return tuple(text for text in texts if text in kept.values())


def _expanded(pattern: str, layout: NetworkLayout) -> list[str]:
    return [SCRATCH] if pattern.strip().lower() == SCRATCH else expand(pattern, layout)


def _what_trains(text: str, layout: NetworkLayout) -> object:
    if text == SCRATCH:
        return text
    strategy = parse(text)
    return strategy if strategy.is_auto else strategy.effect(layout)


def require_same(planned: PlannedRun, directory: Path) -> None:
    """Refuse the results of another run, such as those in a folder that was renamed.

    Raises:
        ValueError: What the run was asked for differs, in more than the places of files, or
            cannot be read.
    """
    path, what = RunDirectory(directory).specification, "the request for a run of a study"
    if path.is_file():
        record = read_values(path, _REQUEST, what, remedy="remove its folder, then start again")
        known, asked = record["settings"], to_json(planned.settings)
        for settings in (known, asked):
            settings["start"] = "scratch" if settings["init"] == "scratch" else "a model"
        was = {"settings": known, "digests": record.get("digests", {})}  # Older ones have none.
        refuse_differences(directory, was, {"settings": asked, "digests": {**planned.digests}})

"""From settings to the list of runs, each strategy that trains the same weights once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from kerasunet.strategies import Layout, expand, parse
from kerasunet.study.settings import StudySettings
from kerasunet.training.settings import FinetuneSettings

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
    """

    strategy: str
    fold: int
    train_size: int
    seed: int
    settings: FinetuneSettings
    learning_rates: tuple[float, ...] = ()

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """What tells the run from the others of its study."""
        return self.strategy, self.fold, self.train_size, self.seed

    @property
    def name(self) -> str:
        """Folder name: unique in a study, readable, safe on every file system."""
        strategy = re.sub(r"[^a-z0-9_.+&,-]", "_", self.strategy.replace("*", "ANY"))
        return f"fold{self.fold}-train{self.train_size}-seed{self.seed}-{strategy}"


def plan(settings: StudySettings, layout: Layout) -> tuple[PlannedRun, ...]:
    """Lists the runs, fold by fold, so that an unfinished study covers whole folds.

    Args:
        settings: The study.
        layout: The network that is fine-tuned.

    Returns:
        The runs in the order of execution.

    Raises:
        StrategyError: A strategy is unknown or selects nothing.
    """
    strategies = distinct_strategies(settings.strategies, layout)
    axes = product(settings.folds, settings.train_sizes, settings.seeds, strategies)
    return tuple(
        PlannedRun(
            strategy,
            fold,
            train_size,
            seed,
            _run_settings(settings, strategy, fold, train_size, seed),
            () if strategy == "none" else settings.learning_rates,
        )
        for fold, train_size, seed, strategy in axes
    )


def distinct_strategies(patterns: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """Expands patterns, and keeps one strategy of those that train the same weights.

    Of equal ones, the shortest pattern without a number stays: `contracting`, not `shallow:5`.
    """
    texts = dict.fromkeys(text for pattern in patterns for text in _expanded(pattern, layout))
    named_first = sorted(texts, key=lambda text: ":" in text)
    kept: dict[object, str] = {}
    for text in named_first:
        kept.setdefault(_what_trains(text, layout), text)
    return tuple(text for text in texts if text in kept.values())


def _expanded(pattern: str, layout: Layout) -> list[str]:
    return [SCRATCH] if pattern.strip().lower() == SCRATCH else expand(pattern, layout)


def _what_trains(text: str, layout: Layout) -> object:
    if text == SCRATCH or parse(text).is_auto:
        return text
    return parse(text).select(layout)


def _run_settings(
    settings: StudySettings, strategy: str, fold: int, train_size: int, seed: int
) -> FinetuneSettings:
    is_scratch = strategy == SCRATCH
    return replace(
        settings.run,
        layers="all" if is_scratch else strategy,
        init="scratch" if is_scratch else settings.run.init,
        fold=fold,
        train_size=train_size,
        optimization=replace(settings.run.optimization, seed=seed),
    )

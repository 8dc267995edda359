"""`auto:search`: short trials of candidate strategies, by successive halving."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import keras
import numpy as np

from kerasunet.architecture import rebuilt
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import split_cases
from kerasunet.freezing import apply_strategy, layout_of
from kerasunet.layer_selection.choice import Choice, Trial
from kerasunet.layer_selection.gradients import choose_by_gradients
from kerasunet.strategies import NetworkLayout, parse
from kerasunet.training.batches import Batches
from kerasunet.training.loop import compile_for_training, mean_dice
from kerasunet.training.settings import Optimization

RUNS = 3
"""A search takes as many steps as so many runs, unless told otherwise."""
SMALLEST = 4
_FOLDS = 4
Arm = TypeVar("Arm")


def default_candidates(layout: NetworkLayout, by_gradients: str) -> tuple[str, ...]:
    """List strategies that differ much from each other, and the choice by gradients.

    Everything; each path; one block, and half as many blocks as one path has and one more, from
    either end; the outer and the inner half of the levels; the normalizations where there are any.

    Args:
        layout: The network.
        by_gradients: The strategy that relative gradient norms chose.

    Returns:
        Strategy texts, no two of which train the same weights.
    """
    several, half = (layout.depth + 2) // 2, (layout.depth + 1) // 2
    texts = ["all", "contracting", "expanding"]
    texts += [f"{end}:{count}" for end in ("shallow", "deep") for count in (1, several)]
    texts += [f"outer:{half}", f"inner:{half}"]
    texts += ["norm"] if any(weight.kind == "norm" for weight in layout.weights) else []
    return distinct([*texts, by_gradients], layout)


def distinct(texts: Sequence[str], layout: NetworkLayout) -> tuple[str, ...]:
    """Keep the first of those strategies that train the same weights.

    Raises:
        StrategyError: A strategy does not fit the network, or is itself automatic.
    """
    kept: dict[object, str] = {}
    for text in texts:
        kept.setdefault(parse(text).effect(layout), text)
    return tuple(kept.values())


class Rung(NamedTuple):
    """One rung: how many arms there are, and the steps that each has had when it is compared."""

    arms: int
    steps: int


def ladder(arms: int, budget: int, longest: int) -> tuple[Rung, ...]:
    """Plan successive halving (Jamieson and Talwalkar, AISTATS 2016, algorithm 1).

    Every rung gets the same share of the budget, divided evenly among its arms, and the better
    half of them (rounded down) goes on. There are floor(log2(arms)) rungs, so that none is spent
    on an arm that is alone.

    Args:
        arms: Number of arms, at least 1.
        budget: Steps in all. Every arm gets at least one step a rung, even above the budget.
        longest: Most steps for one arm, as many as it can use.

    Returns:
        The rungs; none for a single arm.
    """
    count = arms.bit_length() - 1
    rungs: list[Rung] = []
    for _ in range(count):
        before = rungs[-1].steps if rungs else 0
        more = max(1, budget // (arms * count))
        rungs.append(Rung(arms, min(before + more, max(longest, before))))
        arms //= 2
    return tuple(rungs)


def climb(
    arms: Sequence[Arm],
    rungs: Sequence[Rung],
    advance: Callable[[Arm, int, int], float],
) -> list[list[tuple[Arm, float]]]:
    """Run the rungs.

    Args:
        arms: The arms.
        rungs: What `ladder` planned for as many arms.
        advance: Trains an arm from one number of steps to another and returns its score.

    Returns:
        Per rung, the arms with their scores, best first; of equal ones the earlier arm first.
    """
    left, reached, results = list(arms), 0, []
    for rung in rungs:
        scored = [(arm, advance(arm, reached, rung.steps)) for arm in left]
        scored.sort(key=lambda pair: -pair[1])
        results.append(scored)
        left, reached = [arm for arm, _ in scored[: rung.arms // 2]], rung.steps
    return results


class _Member(NamedTuple):
    """A decoded case as `split_cases` needs it; labels are no longer known here."""

    key: str
    group: str
    label: str = ""


def inner_split(cases: DecodedCases, seed: int) -> tuple[DecodedCases, DecodedCases]:
    """Hold out about a quarter of the groups, the same on every machine.

    Args:
        cases: Training cases, at least 4 in at least 2 groups.
        seed: Seed of the split.

    Returns:
        The cases to train on and those to compare on; no group is in both.

    Raises:
        ValueError: There are too few cases or groups.
    """
    groups = len(set(cases.groups))
    if len(cases) < SMALLEST or groups < 2:
        raise ValueError(
            f"auto:search divides the training images once more: it needs at least {SMALLEST} "
            f"images in at least 2 groups, but there are {len(cases)} in {groups}"
        )
    members = [_Member(*pair) for pair in zip(cases.keys, cases.groups, strict=True)]
    split = split_cases(members, folds=min(_FOLDS, groups), seed=seed)
    return _select(cases, split.train), _select(cases, split.test)


def _select(cases: DecodedCases, keys: tuple[str, ...]) -> DecodedCases:
    rows = [cases.keys.index(key) for key in keys]
    return DecodedCases(
        keys,
        tuple(cases.groups[row] for row in rows),
        np.ascontiguousarray(cases.images[rows]),
        masks=np.ascontiguousarray(cases.masks[rows]),
        spacings=tuple(cases.spacings[row] for row in rows),
    )


def choose_by_search(
    model: keras.Model,
    training: DecodedCases,
    *,
    optimization: Optimization,
    augmentation: Augmentation,
    candidates: Sequence[str] | None = None,
    budget: int | None = None,
) -> Choice:
    """Choose by successive halving (Jamieson and Talwalkar, AISTATS 2016).

    About a quarter of the training images, in whole groups, is held out. Every candidate starts
    the run that it would be, with the schedule of the settings, on the other images; the half
    with the better Dice on those held out goes on. A diverged candidate predicts nothing and has
    the Dice of that. With a dozen images the comparison rests on three or four: a small
    difference in Dice means little, and `Choice.trials` shows it.

    Args:
        model: The network that the run starts from; it is not changed.
        training: The training cases of the run, at least 4 in at least 2 groups.
        optimization: Settings of the run; the candidates are never trained longer than it.
        augmentation: Augmentation of the run.
        candidates: Strategy texts; `None` for those of `default_candidates`.
        budget: Optimizer steps in all; `None` for as many as 3 runs have.

    Returns:
        The choice, with the ladder of trials. Nothing is written.

    Raises:
        ValueError: There are too few images or groups, or no candidates, or one does not fit.
    """
    started = time.perf_counter()
    inner, held_out = inner_split(training, optimization.seed)
    # The held-out images judge the choice by gradients too, so they have no part in making it.
    by_gradients = choose_by_gradients(
        model, inner, optimization=optimization, augmentation=augmentation
    )
    layout = layout_of(model)
    if candidates is None:
        texts = default_candidates(layout, by_gradients.strategy)
    else:
        texts = distinct(candidates, layout)
    budget = RUNS * optimization.steps if budget is None else budget
    batches = Batches(inner, optimization.batch_size, augmentation, seed=optimization.seed)
    contenders = [_contender(model, text, optimization) for text in texts]
    rungs = ladder(len(texts), budget, optimization.steps)
    trials = _search(contenders, rungs, batches, held_out=held_out)
    return Choice(
        "auto:search",
        _winner(texts, trials),
        by_gradients.scores,
        trials,
        len(inner),
        len(held_out),
        time.perf_counter() - started,
    )


@dataclass(frozen=True, eq=False)
class _Contender:
    strategy: str
    model: keras.Model

    def train(self, batches: Batches, first: int, last: int) -> None:
        # A strategy that trains nothing has nothing to compute.
        if self.model.trainable_variables:
            for images, masks in batches.steps(first, last):
                self.model.train_on_batch(images, masks)


def _search(
    contenders: Sequence[_Contender],
    rungs: Sequence[Rung],
    batches: Batches,
    *,
    held_out: DecodedCases,
) -> tuple[Trial, ...]:
    def advance(contender: _Contender, first: int, last: int) -> float:
        contender.train(batches, first, last)
        return mean_dice(contender.model, held_out)

    results = climb(contenders, rungs, advance)
    return tuple(
        Trial(number, contender.strategy, rung.steps, dice=dice, kept=rank < rung.arms // 2)
        for number, (rung, scored) in enumerate(zip(rungs, results, strict=True), start=1)
        for rank, (contender, dice) in enumerate(scored)
    )


def _contender(model: keras.Model, strategy: str, optimization: Optimization) -> _Contender:
    copy = rebuilt(model)
    apply_strategy(copy, strategy)
    compile_for_training(copy, optimization)
    return _Contender(strategy, copy)


def _winner(texts: Sequence[str], trials: Sequence[Trial]) -> str:
    if not texts:
        raise ValueError("no candidates: auto:search needs at least one strategy to try")
    last = max((trial.rung for trial in trials), default=0)
    return next((trial.strategy for trial in trials if trial.rung == last), texts[0])

"""`auto:search`: candidate strategies compete in short trainings on the training images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from kerasunet.choosing.candidates import default_candidates, distinct
from kerasunet.choosing.choice import Choice, Trial
from kerasunet.choosing.halving import climb, ladder
from kerasunet.choosing.inner_split import inner_split
from kerasunet.choosing.selection import choose_by_gradients
from kerasunet.data.augmentation import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.freezing import apply_strategy, layout_of
from kerasunet.training.batches import Batches
from kerasunet.training.loop import compile_for_training, mean_dice
from kerasunet.training.settings import Optimization
from kerasunet.unet import rebuilt

RUNS = 3


def choose_by_search(
    model: keras.Model,
    training: DecodedCases,
    optimization: Optimization,
    augmentation: Augmentation,
    candidates: Sequence[str] | None = None,
    budget: int | None = None,
) -> Choice:
    """Chooses by successive halving (Jamieson and Talwalkar, AISTATS 2016).

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
        budget: Optimiser steps in all; `None` for as many as 3 runs have.

    Returns:
        The choice, with the ladder of trials. Nothing is written.

    Raises:
        ValueError: There are too few images or groups, or no candidates, or one does not fit.
    """
    started = time.perf_counter()
    inner, held_out = inner_split(training, optimization.seed)
    # The held-out images judge the choice by gradients too, so they have no part in making it.
    by_gradients = choose_by_gradients(model, inner, optimization, augmentation)
    layout = layout_of(model)
    if candidates is None:
        texts = default_candidates(layout, by_gradients.strategy)
    else:
        texts = distinct(candidates, layout)
    budget = RUNS * optimization.steps if budget is None else budget
    trials = _search(model, texts, inner, held_out, optimization, augmentation, budget)
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
    model: keras.Model,
    texts: Sequence[str],
    inner: DecodedCases,
    held_out: DecodedCases,
    optimization: Optimization,
    augmentation: Augmentation,
    budget: int,
) -> tuple[Trial, ...]:
    batches = Batches(inner, optimization.batch_size, augmentation, optimization.seed)

    def advance(contender: _Contender, first: int, last: int) -> float:
        contender.train(batches, first, last)
        return mean_dice(contender.model, held_out)

    rungs = ladder(len(texts), budget, optimization.steps)
    results = climb([_contender(model, text, optimization) for text in texts], rungs, advance)
    return tuple(
        Trial(number, contender.strategy, rung.steps, dice, place < rung.arms // 2)
        for number, (rung, scored) in enumerate(zip(rungs, results, strict=True), start=1)
        for place, (contender, dice) in enumerate(scored)
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

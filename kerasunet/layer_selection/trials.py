"""Trials: candidates trained for a short time, and compared on images left out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import keras
import numpy as np

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import split_cases
from kerasunet.layer_selection.evidence import Belief, Weighed, weigh
from kerasunet.network import rebuilt
from kerasunet.strategies import parse
from kerasunet.training.evaluation import dice_of_cases
from kerasunet.training.loop import Network
from kerasunet.training.settings import Optimization

RUNS = 3
"""A search takes at most as many steps as so many runs."""
FOLDS = 3
SMALLEST = 4
THRESHOLD = 0.5


class Member(NamedTuple):
    """A decoded case as `split_cases` needs it; labels are no longer known here."""

    key: str
    group: str
    label: str = ""


@runtime_checkable
class TrialListener(Protocol):
    """A callback of a training that also wants to know how a search is going."""

    def on_trial_end(self, strategy: str, fold: int, folds: int, dice: float) -> None:
        """Take note of a trial: its strategy, its fold from 1, and its Dice on that fold."""


def folds_of(cases: DecodedCases, folds: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Deal cases out to folds in whole groups; return the keys of each."""
    members = [Member(*pair) for pair in zip(cases.keys, cases.groups, strict=True)]
    return tuple(
        split_cases(members, fold=fold, folds=folds, seed=seed).test for fold in range(folds)
    )


def search(
    model_factory: Callable[[], keras.Model],
    priors: Mapping[str, Belief],
    training: DecodedCases,
    *,
    optimization: Optimization,
    augmentation: Augmentation,
    listeners: Sequence[TrialListener] = (),
) -> tuple[tuple[Weighed[str], ...], int, int]:
    """Train each candidate in cross-validation, and weigh the scores against the studies.

    Args:
        model_factory: Makes the network that the run starts from.
        priors: What studies say about each candidate.
        training: The training cases of the run, at least 4 in at least 2 groups.
        optimization: Settings of the run; all trials together take at most 3 times its steps.
        augmentation: Augmentation of the run.
        listeners: Are told of every trial.

    Returns:
        The candidates, best first, the number of folds and the steps of a trial.

    Raises:
        ValueError: There are too few images or groups.
    """
    groups = len(set(training.groups))
    if len(training) < SMALLEST or groups < 2:
        raise ValueError(
            f"auto:search divides the training images once more: it needs at least {SMALLEST} "
            f"images in at least 2 groups, but there are {len(training)} in {groups}"
        )
    folds = min(FOLDS, groups)
    steps = max(1, RUNS * optimization.steps // (folds * len(priors)))
    shorter = replace(optimization, steps=min(steps, optimization.steps), validate_every=steps)
    parts = folds_of(training, folds, optimization.seed)
    order = [training.keys.index(key) for part in parts for key in part]
    scores = {}
    for text in priors:
        network = Network(rebuilt(model_factory()))
        network.set_up(parse(text), shorter)
        found = []
        for number, part in enumerate(parts, start=1):
            dice = _score(network, training, part, optimization=shorter, augmentation=augmentation)
            found += dice.tolist()
            for listener in listeners:
                listener.on_trial_end(text, number, folds, float(dice.mean()))
        scores[text] = found
    weighed = weigh(priors, scores, [training.groups[row] for row in order], folds=folds)
    return weighed, folds, shorter.steps


def _score(
    network: Network,
    cases: DecodedCases,
    held_out: Sequence[str],
    *,
    optimization: Optimization,
    augmentation: Augmentation,
) -> np.ndarray:
    """Return the Dice of each case that is held out, after training on the others."""
    tested = cases.select(held_out)
    kept = cases.select([key for key in cases.keys if key not in set(held_out)])
    network.fit(kept, optimization=optimization, augmentation=augmentation)
    return dice_of_cases(network.model, tested, THRESHOLD)

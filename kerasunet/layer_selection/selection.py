"""`auto` and `auto:search`: layers selected by evidence from studies, and by short trials.

In a trial a candidate is trained for a short time, and compared on images left out of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import keras
import numpy as np

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.identification import guess_of_all
from kerasunet.data.splits import split_cases
from kerasunet.freezing import layout_of
from kerasunet.layer_selection.evidence import Belief, Evidence, Nearness, Weighed, weigh
from kerasunet.network import rebuilt
from kerasunet.objects import Modality, modality_of
from kerasunet.strategies import NetworkLayout, Strategy, StrategyError, parse
from kerasunet.training.evaluation import dice_of_cases, mean_dice
from kerasunet.training.learner import Network
from kerasunet.training.settings import Optimization

AUTO, SEARCH = "auto", "auto:search"
LEAST_OF_CLOSE = 0.5
"""Mean Dice on the training images below which a start is not close to them, whatever it saw."""
UNTOUCHED = "none"
_EXPANDING = parse("expanding&kernel")
_LOOKED_AT = 40
_TRIED = 4
RUNS = 3
"""A search takes at most as many steps as so many runs."""
FOLDS = 3
SMALLEST = 4
THRESHOLD = 0.5


@dataclass(frozen=True)
class Choice:
    """A strategy chosen from evidence and training images; `str()` gives the report as text.

    Attributes:
        asked: `"auto"` or `"auto:search"`.
        strategy: The chosen strategy text.
        nearness: Whether the start knows this kind of image.
        modality: The kind of image; empty where it is not known.
        images: Training images.
        untouched: Mean Dice of the start, untouched, on them, 0 to 1; NaN where it was not asked.
        candidates: What was weighed, best first; empty where no study had such a start.
        folds: Folds of the trials; 0 without trials.
        steps: Optimizer steps of each trial.
        seconds: Wall-clock time; two choices that differ in nothing else are equal.
        is_guess: Whether the kind of image is a guess from what they look like.
    """

    asked: str
    strategy: str
    nearness: Nearness
    modality: str
    images: int
    untouched: float
    candidates: tuple[Weighed[str], ...] = ()
    folds: int = 0
    steps: int = 0
    seconds: float = field(default=0.0, compare=False)
    is_guess: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = {**asdict(self), "seconds": round(self.seconds, 2)}
        values["untouched"] = _number(self.untouched)
        values["candidates"] = [
            {**asdict(one), "dice": _number(one.dice)} for one in self.candidates
        ]
        return values

    def __str__(self) -> str:
        lines = [f"{self.asked} chose {self.strategy} in {self.seconds:.1f} s", "", self.why()]
        if self.folds:
            lines.append(
                f"trials: {self.folds} folds of the training images, {self.steps} steps each"
            )
        return "\n".join([*lines, "", *candidate_table(self.candidates)])

    def why(self) -> str:
        """Return in a sentence what the candidates were taken from."""
        kind = {"ultrasound": "ultrasound ", "xray": "X-ray "}.get(self.modality, "")
        guess = ""
        if kind and self.is_guess:
            unsafe = f"; unsafe with fewer than {_LOOKED_AT}" * (self.images < _LOOKED_AT)
            guess = f" (a guess from what they look like{unsafe})"
        known = (
            f"the start, untouched, has Dice {self.untouched:.3f} on them"
            if self.nearness == "close"
            else "the start is not close to them"
        )
        return f"{self.images} {kind}images{guess}, and {known}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def candidate_table(candidates: tuple[Weighed[str], ...]) -> list[str]:
    """Return the lines of a table of what evidence and trials say, in Dice behind the best."""
    if not candidates:
        return []
    lines = [f"{'strategy':<34} {'studies say':>16} {'trials say':>16} {'together':>16}"]
    for one in candidates:
        told = "-" if one.trial is None else f"{-one.trial.behind:+.3f} ± {one.trial.error:.3f}"
        evidence = f"{-one.evidence.behind:+.3f} ± {one.evidence.error:.3f}"
        together = f"{-one.behind:+.3f} ± {one.error:.3f}"
        lines.append(f"{one.candidate:<34} {evidence:>16} {told:>16} {together:>16}")
    return lines


def choose(
    strategy: str | Strategy,
    model_factory: Callable[[], keras.Model],
    training: DecodedCases,
    *,
    optimization: Optimization,
    augmentation: Augmentation,
    start_modality: str = "",
    data: str = "",
    evidence: Evidence | None = None,
    new_head: bool = False,
    listeners: Sequence[TrialListener] = (),
) -> Choice:
    """Choose the strategy of a fine-tuning run.

    `auto` takes what was best in the studies, with starts as near and with about as many images. A
    start is near if it was trained on this kind of image and finds the objects of the training
    images untouched. `auto:search` also trains the best few in cross-validation on the training
    images, and weighs both.

    Args:
        strategy: `"auto"` or `"auto:search"`.
        model_factory: Makes the network that the run starts from.
        training: The training cases of the run.
        optimization: Settings of the run. Rate factors of the chosen strategy are of its rate, and
            mean those of the studies at 1e-3.
        augmentation: Augmentation of the run.
        start_modality: The kind of image that the start is for; empty where nobody knows.
        data: Name of the data set; where it does not say the kind of image, that is guessed.
        evidence: Findings to rely on; those that are published unless given.
        new_head: Whether the head starts with random weights; as in `candidates`.
        listeners: Are told of every trial.

    Returns:
        The choice: the same for the same weights, images and settings.

    Raises:
        ValueError: The strategy is not automatic, or there are too few images.
        FloatingPointError: The weights became NaN or infinite in every trial.
    """
    strategy = parse(strategy) if isinstance(strategy, str) else strategy
    if not strategy.is_auto:
        raise ValueError(f"{strategy}: nothing to choose; write auto or auto:search")
    started = time.perf_counter()
    model, named = model_factory(), modality_of(data)
    modality = named or _guessed(training)
    untouched = _untouched(model, training)
    nearness = nearness_of(untouched, start_modality, modality)
    priors = candidates(
        (evidence or Evidence.published()).strategies(nearness, modality, len(training)),
        layout_of(model),
        _TRIED,
        new_head=new_head,
    )
    if str(strategy) == SEARCH:
        weighed, folds, steps = search(
            model_factory,
            priors,
            training,
            optimization=optimization,
            augmentation=augmentation,
            listeners=listeners,
        )
    else:
        weighed, folds, steps = weigh(priors), 0, 0
    return Choice(
        asked=str(strategy),
        strategy=weighed[0].candidate,
        nearness=nearness,
        modality=modality or "",
        images=len(training),
        untouched=untouched,
        candidates=weighed,
        folds=folds,
        steps=steps,
        seconds=time.perf_counter() - started,
        is_guess=named is None,
    )


def nearness_of(untouched: float, start_modality: str | None, modality: str | None) -> Nearness:
    """Return whether a start is close to images, by the kind it was trained on and by its Dice."""
    known = bool(start_modality) and start_modality == modality
    return "close" if known and untouched >= LEAST_OF_CLOSE else "far"


def candidates(
    beliefs: Mapping[str, Belief], layout: NetworkLayout, count: int, *, new_head: bool = False
) -> dict[str, Belief]:
    """Take the best strategies that fit a network, no two of which train the same weights.

    Of a strategy at several rates, the best one is taken.

    Args:
        beliefs: What the studies say, best first.
        layout: The network.
        count: How many to take.
        new_head: Whether the head starts with random weights. Only strategies that train the whole
            expanding path at the full rate are taken then: on a frozen one, a new head fails from
            some training sets (docs/second-study/index.md, "Several objects").

    Returns:
        By text, best first; `all` alone where the studies say nothing that fits.
    """
    kept: dict[str, Belief] = {}
    seen: set[object] = set()
    for text, belief in beliefs.items():
        try:
            fits = not new_head or _trains_expanding_path(parse(text), layout)
            shares = parse(text).relative_effect(layout)
        except StrategyError:
            continue
        if fits and shares not in seen and len(kept) < count:
            seen.add(shares)
            kept[text] = belief
    return kept or {"all": Belief(0.0, 1.0)}


def _trains_expanding_path(strategy: Strategy, layout: NetworkLayout) -> bool:
    rates = strategy.rates(layout)
    return all(rates.get(weight, 0.0) >= 1 for weight in _EXPANDING.select(layout))


def _guessed(training: DecodedCases) -> Modality | None:
    some = training.images[:: max(1, len(training) // _LOOKED_AT)]
    return guess_of_all(np.squeeze(image) for image in some)


def _untouched(model: keras.Model, training: DecodedCases) -> float:
    return mean_dice(model, training.between(0, _LOOKED_AT))


class Member(NamedTuple):
    """A decoded case as `split_cases` needs it; labels are no longer known here."""

    key: str
    group: str
    label: str = ""


@runtime_checkable
class TrialListener(Protocol):
    """A callback of a training that also wants to know how a search is going."""

    def on_trial_end(self, strategy: str, fold: int, folds: int, *, dice: float) -> None:
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
                listener.on_trial_end(text, number, folds, dice=float(dice.mean()))
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

"""`auto` and `auto:search`: the one function for both ways of selecting layers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np

from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.modality import guess_of_all
from kerasunet.data.modality_names import Modality, modality_of
from kerasunet.freezing import layout_of
from kerasunet.layer_selection.evidence import Belief, Evidence, Nearness, Weighed, weigh
from kerasunet.layer_selection.trials import TrialListener, search
from kerasunet.strategies import NetworkLayout, Strategy, StrategyError, parse
from kerasunet.training.evaluation import mean_dice
from kerasunet.training.settings import Optimization

AUTO, SEARCH = "auto", "auto:search"
LEAST_OF_CLOSE = 0.5
"""Mean Dice on the training images below which a start does not know them, whatever it saw."""
UNTOUCHED = "none"
_LOOKED_AT = 40
_TRIED = 4


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
        known = (
            f"the start, untouched, has Dice {self.untouched:.3f} on them"
            if self.nearness == "close"
            else "the start does not know them"
        )
        return f"{self.images} {kind}images, and {known}"


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
        data: Name of the data set; where it does not tell the kind of image, that is guessed.
        evidence: Findings to rely on; those that are published unless given.
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
    model, modality = model_factory(), modality_of(data) or _guessed(training)
    untouched = _untouched(model, training)
    nearness = nearness_of(untouched, start_modality, modality)
    priors = candidates(
        (evidence or Evidence.published()).strategies(nearness, modality, len(training)),
        layout_of(model),
        _TRIED,
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
    )


def nearness_of(untouched: float, start_modality: str | None, modality: str | None) -> Nearness:
    """Tell whether a start knows images: by the kind it was trained on, and by its Dice on them."""
    known = bool(start_modality) and start_modality == modality
    return "close" if known and untouched >= LEAST_OF_CLOSE else "far"


def candidates(
    beliefs: Mapping[str, Belief], layout: NetworkLayout, count: int
) -> dict[str, Belief]:
    """Take the best strategies that fit a network, no two of which train the same weights.

    Of a strategy at several rates, the best one is taken.

    Args:
        beliefs: What the studies say, best first.
        layout: The network.
        count: How many to take.

    Returns:
        By text, best first; `all` alone where the studies say nothing.
    """
    kept: dict[str, Belief] = {}
    seen: set[object] = set()
    for text, belief in beliefs.items():
        try:
            shares = _shares(parse(text), layout)
        except StrategyError:
            continue
        if shares not in seen and len(kept) < count:
            seen.add(shares)
            kept[text] = belief
    return kept or {"all": Belief(0.0, 1.0)}


def _shares(strategy: Strategy, layout: NetworkLayout) -> object:
    """Return what trains and at which share of its highest rate: the same at any rate."""
    rates = strategy.rates(layout)
    highest = max(rates.values(), default=1.0)
    shares = frozenset((weight, round(rate / highest, 6)) for weight, rate in rates.items())
    return shares, strategy.statistics(layout)


def _guessed(training: DecodedCases) -> Modality | None:
    some = training.images[:: max(1, len(training) // _LOOKED_AT)]
    return guess_of_all(np.squeeze(image) for image in some)


def _untouched(model: keras.Model, training: DecodedCases) -> float:
    return mean_dice(model, training.between(0, _LOOKED_AT))

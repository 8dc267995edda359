"""What was chosen, and what the choice rests on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from kerasunet.layer_selection.evidence import Nearness
from kerasunet.layer_selection.weighing import Weighed


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
    lines = [f"{'strategy':<34} {'studies say':>16} {'trials say':>16} {'together':>9}"]
    for one in candidates:
        told = "-" if one.trial is None else f"{-one.trial.behind:+.3f} ± {one.trial.error:.3f}"
        evidence = f"{-one.evidence.behind:+.3f} ± {one.evidence.error:.3f}"
        lines.append(f"{one.candidate:<34} {evidence:>16} {told:>16} {-one.behind:>+9.3f}")
    return lines


@runtime_checkable
class TrialListener(Protocol):
    """A callback of a training that also wants to know how a search is going."""

    def on_trial_end(self, strategy: str, fold: int, folds: int, dice: float) -> None:
        """Take note of a trial: its strategy, its fold from 1, and its Dice on that fold."""

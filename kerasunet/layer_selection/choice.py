"""What was chosen, and what the choice rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SHARE = 0.5
"""A block trains if its relative gradient is at least this share of the largest."""


@dataclass(frozen=True)
class BlockScore:
    """One block as the gradients see it.

    Attributes:
        number: Position in data-flow order, from 1.
        block: Name.
        relative_gradient: Norm of the gradient over norm of the weights, 0 or larger.
        share: `relative_gradient` over the largest of all blocks, 0 to 1.
        chosen: Whether the rule lets the block train.
    """

    number: int
    block: str
    relative_gradient: float
    share: float
    chosen: bool


@dataclass(frozen=True)
class Trial:
    """One candidate at one rung of a search.

    Attributes:
        rung: From 1.
        strategy: Strategy text.
        steps: Optimizer steps that the candidate has had so far.
        dice: Mean Dice of the inner validation images, 0 to 1.
        kept: Whether the candidate went on to the next rung, or won.
    """

    rung: int
    strategy: str
    steps: int
    dice: float
    kept: bool


@dataclass(frozen=True)
class Choice:
    """A strategy chosen from training images; `str()` gives the report as text.

    Attributes:
        asked: `"auto"` or `"auto:search"`.
        strategy: The chosen strategy text.
        scores: The blocks in data-flow order.
        trials: The ladder of a search, rung by rung, best first; empty for `"auto"`.
        inner_training: Images that the candidates trained on; 0 for `"auto"`.
        inner_validation: Images that the candidates were compared on; 0 for `"auto"`.
        seconds: Wall-clock time; two choices that differ in nothing else are equal.
    """

    asked: str
    strategy: str
    scores: tuple[BlockScore, ...]
    trials: tuple[Trial, ...] = ()
    inner_training: int = 0
    inner_validation: int = 0
    seconds: float = field(default=0.0, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **asdict(self),
            "scores": [asdict(score) for score in self.scores],
            "trials": [asdict(trial) for trial in self.trials],
            "seconds": round(self.seconds, 2),
        }

    def __str__(self) -> str:
        lines = [f"{self.asked} chose {self.strategy} in {self.seconds:.1f} s", ""]
        lines += [f"{'block':<15} {'gradient/weights':>16} {'of largest':>11}  chosen"]
        lines += [_score_line(score) for score in self.scores]
        if self.trials:
            lines += ["", self._split_line()]
            lines += [f"{'rung':>4}  {'strategy':<20} {'steps':>6} {'Dice':>6}  kept"]
            lines += [_trial_line(trial) for trial in self.trials]
        return "\n".join(lines)

    def _split_line(self) -> str:
        return (
            f"candidates trained on {self.inner_training} of the training images, "
            f"compared on the other {self.inner_validation}"
        )


def _score_line(score: BlockScore) -> str:
    name = f"{score.number} {score.block}"
    chosen = "yes" if score.chosen else "no"
    return f"{name:<15} {score.relative_gradient:>16.3g} {score.share:>11.2f}  {chosen}"


def _trial_line(trial: Trial) -> str:
    kept = "yes" if trial.kept else "no"
    return f"{trial.rung:>4}  {trial.strategy:<20} {trial.steps:>6} {trial.dice:>6.3f}  {kept}"


def scores(norms: Mapping[str, float]) -> tuple[BlockScore, ...]:
    """Mark the blocks that train: those with at least half of the largest relative gradient.

    Auto-RGN of Lee et al. (ICLR 2023) trains each layer at the learning rate times its relative
    gradient norm over the largest one. A strategy knows only trained, 1, and frozen, 0, so this
    factor is rounded to the nearer of the two, a half upwards. The half follows from rounding; it
    was tuned on no data.

    Args:
        norms: Relative gradient norm by block, in data-flow order, each 0 or larger.

    Returns:
        A score per block; at least one, that of the largest norm, is chosen.

    Raises:
        ValueError: There are no blocks, or no norm is above 0.
    """
    largest = max(norms.values(), default=0.0)
    if not largest > 0:
        raise ValueError("no block has a gradient: the loss of these images cannot be lowered")
    return tuple(
        BlockScore(number, block, norm, share=norm / largest, chosen=norm / largest >= SHARE)
        for number, (block, norm) in enumerate(norms.items(), start=1)
    )


def blocks_to_train(table: tuple[BlockScore, ...]) -> str:
    """Write the chosen blocks as a strategy, such as `blocks:1-3,7`, or `all` if all are."""
    if all(score.chosen for score in table):
        return "all"
    ranges: list[list[int]] = []
    for number in (score.number for score in table if score.chosen):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return "blocks:" + ",".join(map(_spell, ranges))


def _spell(numbers: list[int]) -> str:
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])

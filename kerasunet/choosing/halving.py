"""Successive halving: many arms get a little budget, the better half gets more, and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

Arm = TypeVar("Arm")


class Rung(NamedTuple):
    """One rung: how many arms there are, and the steps that each has had when it is compared."""

    arms: int
    steps: int


def ladder(arms: int, budget: int, longest: int) -> tuple[Rung, ...]:
    """Plans successive halving (Jamieson and Talwalkar, AISTATS 2016, algorithm 1).

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
    """Runs the rungs.

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

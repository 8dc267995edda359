"""Times several ways of doing the same work in turns, so that a busy machine is busy for all.

Ratios are taken within a round and summed up as their median with the lowest and the highest;
milliseconds are the fastest call of all rounds, the one that was least disturbed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Side = Callable[[], object]
_PAUSE = 0.02  # Seconds in which thread pools that spin after their work come to rest.


@dataclass(frozen=True)
class Timings:
    """Seconds of each side, one entry a round: the fastest of the calls of that round."""

    seconds: dict[str, list[float]]

    def best(self, side: str) -> float:
        """Return the fastest call, in seconds."""
        return min(self.seconds[side])

    def fastest(self, sides: list[str]) -> list[float]:
        """Return the seconds of the fastest of several sides, round by round."""
        return [min(values) for values in zip(*map(self.seconds.get, sides), strict=True)]

    def ratio(self, side: str, to: str | list[float]) -> dict[str, float]:
        """Return median, lowest and highest of a side's seconds over another's, by round."""
        others = self.seconds[to] if isinstance(to, str) else to
        ratios = [one / other for one, other in zip(self.seconds[side], others, strict=True)]
        return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def alternate(
    sides: Mapping[str, Side],
    rounds: int,
    calls: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Time every side in every round, each round beginning with another side.

    Args:
        sides: By name, what to call.
        rounds: Number of rounds.
        calls: Calls of a side in a round, after one that is not timed.
        clock: Seconds that pass; `time.process_time` for those of the processor.

    Returns:
        The timings.
    """
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_PAUSE)
            sides[name]()
            seconds[name].append(min(timed(sides[name], clock) for _ in range(calls)))
    return Timings(seconds)


def timed(work: Side, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that one call takes."""
    started = clock()
    work()
    return clock() - started

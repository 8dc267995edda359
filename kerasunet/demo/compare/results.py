"""The comparisons that sessions look at, kept in memory up to a limit."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from kerasunet.comparison import Choice, Comparison, Score, Verdict, judge, score
from kerasunet.demo.images import InputImage

_MOST_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class Result:
    """An image with the answers of all models."""

    image: InputImage
    comparison: Comparison

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(answer.candidate.name for answer in self.comparison.answers)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Label and name of each model, for a component to choose among."""
        return [(a.candidate.strategy, a.candidate.name) for a in self.comparison.answers]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        arrays = [self.comparison.image, *(a.probability for a in self.comparison.answers)]
        truth = self.image.truth
        return sum(array.nbytes for array in arrays) + (0 if truth is None else truth.nbytes)

    def evaluate(self, choice: Choice) -> tuple[Verdict, tuple[Score, ...]]:
        """Return the masks of a choice and how good they are; no model runs."""
        verdict = judge(self.comparison, choice)
        return verdict, score(self.comparison, verdict, self.image.truth)


class ResultKey:
    """Stands for a result in the state of a session, so that the result can make room."""


class ResultStore:
    """The results of all sessions; safe to use from several threads.

    A result is dropped with its key, or when newer ones need its memory.

    Args:
        most_bytes: Limit for all together; the newest is kept even if it alone is larger.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._results: WeakKeyDictionary[ResultKey, Result] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def keep(self, result: Result) -> ResultKey:
        """Store a result, and drop those used longest ago until there is room."""
        key = ResultKey()
        with self._lock:
            self._results[key] = result
            kept = dict(self._results)
            total = sum(other.nbytes for other in kept.values())
            for other in kept:
                if total <= self._most_bytes or other is key:
                    break
                total -= self._results.pop(other).nbytes
        return key

    def get(self, key: ResultKey | None) -> Result | None:
        """Return the result of a key; `None` for none, or where it had to make room."""
        with self._lock:
            result = None if key is None else self._results.pop(key, None)
            if result is not None:
                self._results[key] = result  # The last is the one used last.
            return result

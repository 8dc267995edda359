"""What a session looks at in Compare, and how the page speaks of it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from subjects import Subject

from kerasunet.comparison import Choice, Comparison, Score, Verdict, judge, score

SETTLED = {"api_visibility": "private", "show_progress": "hidden"}
"""Settings of events that answer at once."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A subject with the answers of all models."""

    subject: Subject
    comparison: Comparison

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(answer.candidate.name for answer in self.comparison.answers)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Label and value of each model, for a component to choose among."""
        return [(a.candidate.strategy, a.candidate.name) for a in self.comparison.answers]

    @property
    def nbytes(self) -> int:
        """Memory of all that belongs to it."""
        arrays = [self.comparison.image, *(a.probability for a in self.comparison.answers)]
        truth = self.subject.truth
        return sum(array.nbytes for array in arrays) + (0 if truth is None else truth.nbytes)

    def evaluated(self, choice: Choice) -> tuple[Verdict, tuple[Score, ...]]:
        """The masks of a choice and how good they are; no model runs."""
        verdict = judge(self.comparison, choice)
        return verdict, score(self.comparison, verdict, self.subject.truth)


GIVE_ANEW = "Give an image first; one that was here may have made room for those of others."


def said(words: str) -> str:
    """HTML of a note."""
    return f'<p role="status">{escape(words)}</p>'


def refused(error: object) -> str:
    """HTML of what is wrong."""
    return f'<p role="alert" class="problem">{escape(str(error))}</p>'

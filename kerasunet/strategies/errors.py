"""The one error of the strategy language, and how its messages quote what was given."""

from collections.abc import Iterable

_LONGEST_QUOTE = 80
_CLOSE = 0.6


class StrategyError(ValueError):
    """A strategy is malformed, names something the network lacks, or selects nothing."""


def quote(text: str) -> str:
    """Return `text` fit for one line of an error message: printable, at most 80 characters."""
    if len(text) > _LONGEST_QUOTE:
        text = text[: _LONGEST_QUOTE - 1] + "…"
    return text if text.isprintable() else repr(text)[1:-1]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean X?` for the closest candidate, or nothing if none is close.

    Of equally close candidates the first one given is named.
    """
    from difflib import SequenceMatcher  # only needed once something has gone wrong

    matcher = SequenceMatcher(b=word)
    best, score = "", 0.0
    for candidate in candidates:
        matcher.set_seq1(candidate)
        if (ratio := matcher.ratio()) > score:
            best, score = candidate, ratio
    return f"; did you mean {best}?" if score >= _CLOSE else ""

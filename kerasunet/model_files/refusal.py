"""Why a model file is not opened."""

from __future__ import annotations


class Refused(ValueError):
    """A model file is not opened; the message tells cause and remedy, not yet the file's name."""


def other_digest(card: str) -> Refused:
    """Of a file that is not the one its card, of this name, was written for."""
    return Refused(
        f"is not the file that {card} describes, their SHA-256 digests differ; it was changed or "
        "damaged, restore both from where they came from"
    )

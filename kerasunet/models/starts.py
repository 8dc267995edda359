"""Starts: registered models to begin a fine-tuning with, and which images they have seen."""

from __future__ import annotations

from kerasunet.models import registry
from kerasunet.models.model_card import ModelCard

NATURAL = "natural"
"""The start that serves any kind of image."""


def starts_for(modality: str = "") -> tuple[str, ...]:
    """Return the names of the registered starts: those for a modality first, `natural` last.

    Args:
        modality: `"ultrasound"`, `"xray"`, `"photograph"`, or empty for all.
    """
    found = {name: one for name in registry.list() if (one := registry.card(name)).is_start}
    fitting = [n for n, one in found.items() if modality in ("", one.kind_of_image)]
    return (*(n for n in fitting if n != NATURAL), *(n for n in registry.list() if n == NATURAL))


def start_for(modality: str | None) -> str:
    """Return the start that fits a modality: that of its name, else the first, else `natural`."""
    found = starts_for(modality) if modality else ()
    return modality if modality in found else (*found, NATURAL)[0]


def seen_images(known: ModelCard) -> tuple[frozenset[str], bool]:
    """Return which images a model and its starts have seen, and whether these are all.

    Args:
        known: The card of the model.

    Returns:
        As `ModelCard.seen` has them, those of the registered models in `ModelCard.seen_by`
        included; and whether each of those has a card that lists images.
    """
    seen, complete = frozenset(known.seen), True
    for name in known.seen_by:
        found: frozenset[str] = frozenset()
        if registry.is_registered(name):
            found, complete_start = seen_images(registry.card(name))
            complete = complete and complete_start
        seen, complete = seen | found, complete and bool(found)
    return seen, complete

"""Starts: registered models to begin a fine-tuning with, and which images they have seen."""

from __future__ import annotations

from kerasunet import cost
from kerasunet.models import registry
from kerasunet.models.model_card import ModelCard
from kerasunet.objects import Objects

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


def marking(objects: Objects) -> tuple[str, ...]:
    """Return the registered models that mark these several objects, though not made as starts."""
    if not objects.several:
        return ()
    known = _tunable().items()
    return tuple(name for name, one in known if one.marked == objects and not one.is_start)


def fine_tuned_for(modality: str) -> tuple[str, ...]:
    """Return the registered models that were fine-tuned on a modality: starts if need be."""
    known = _tunable().items()
    return tuple(n for n, one in known if one.kind_of_image == modality and one.is_fine_tuned)


def _tunable() -> dict[str, ModelCard]:
    """Return the cards of registered networks of grey images; averages of several are none."""
    cards = {name: registry.card(name) for name in registry.list()}
    grey = {name: one for name, one in cards.items() if one.architecture.channels == 1}
    return {name: one for name, one in grey.items() if one.parameters < 2 * _of_one_network(one)}


def _of_one_network(known: ModelCard) -> int:
    """Return how many parameters a single network of the shape on a card has."""
    shape = known.architecture
    return cost.Network(
        shape.layout(), shape.base_filters, shape.size_multiple, classes=known.classes
    ).parameters()


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

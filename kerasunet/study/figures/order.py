"""The order in which strategies are listed, by family, and their families' names."""

from __future__ import annotations

from collections.abc import Iterable

FAMILIES = {
    "references": ("none", "scratch", "all", "auto"),
    "paths": ("contracting", "expanding", "bottleneck"),
    "shallow": ("shallow",),
    "deep": ("deep",),
    "outer": ("outer",),
    "inner": ("inner",),
}
OTHERS = "others"


def family_of(strategy: str) -> str:
    """The family of a strategy: a name of `FAMILIES`, or `OTHERS`."""
    head = strategy.partition(":")[0]
    return next((family for family, heads in FAMILIES.items() if head in heads), OTHERS)


def ordered(strategies: Iterable[str]) -> list[str]:
    """Each strategy once, family by family, counts rising."""
    return sorted(set(strategies), key=_rank)


def _rank(strategy: str) -> tuple:
    head, _, count = strategy.partition(":")
    family = family_of(strategy)
    place = [*FAMILIES, OTHERS].index(family)
    within = FAMILIES[family].index(head) if family in FAMILIES else 0
    return place, within, int(count) if count.isdecimal() else 0, strategy

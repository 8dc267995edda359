"""The strategies that a search tries unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from kerasunet.strategies import Layout, parse


def default_candidates(layout: Layout, by_gradients: str) -> tuple[str, ...]:
    """Lists strategies that differ much from each other, and the choice by gradients.

    Everything; each path; one block, and half as many blocks as one path has and one more, from
    either end; the outer and the inner half of the levels; the normalisations where there are any.

    Args:
        layout: The network.
        by_gradients: The strategy that relative gradient norms chose.

    Returns:
        Strategy texts, no two of which train the same weights.
    """
    several, half = (layout.depth + 2) // 2, (layout.depth + 1) // 2
    texts = ["all", "contracting", "expanding"]
    texts += [f"{end}:{count}" for end in ("shallow", "deep") for count in (1, several)]
    texts += [f"outer:{half}", f"inner:{half}"]
    texts += ["norm"] if any(weight.kind == "norm" for weight in layout.weights) else []
    return distinct([*texts, by_gradients], layout)


def distinct(texts: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """Keeps the first of those strategies that train the same weights.

    Raises:
        StrategyError: A strategy does not fit the network, or is itself automatic.
    """
    kept: dict[object, str] = {}
    for text in texts:
        kept.setdefault(parse(text).select(layout), text)
    return tuple(kept.values())

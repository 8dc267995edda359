"""Names of what trains: the shortest text for weights, and a strategy under another name."""

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache

from kerasunet.strategies.parser import parse
from kerasunet.strategies.strategy import Rate, Strategy, Term
from kerasunet.strategies.terms import (
    KINDS,
    PARTS,
    RULES,
    Blocks,
    Count,
    Kind,
    Name,
    NetworkLayout,
    Part,
    StrategyError,
    WeightRef,
)

Weights = frozenset[WeightRef]
Postfix = tuple[Term | Rate | str, ...]
_DEPTH = 4
"""Of the U-Net, where none is given."""


def name_of(selected: Collection[WeightRef], layout: NetworkLayout) -> str:
    """Return the canonical text of the strategy that trains exactly these weights.

    A part (`contracting`) comes before a count (`shallow:3`), a count before a kind (`norm`), that
    before a list of blocks (`blocks:1-3,7`). Where none fits, the shortest text is taken that adds
    blocks and layers to such a name or takes them from it (`shallow:3+dec1_up`), or intersects it
    with a kind (`shallow:3&norm`).

    Args:
        selected: Weights of `layout`, whole layers or what the terms above can tell.
        layout: The network.

    Raises:
        ValueError: It takes more than that to tell these weights from the others.
    """
    wanted = frozenset(selected)
    for term in (*_known(layout), _listed(_touched(wanted, layout), layout)):
        if term is not None and term.weights(layout) == wanted:
            return str(term)
    texts = [str(Strategy(postfix)) for postfix in _composed(wanted, layout)]
    if not texts:
        raise ValueError(f"no sum of blocks, layers and kinds equals these {len(wanted)} weights")
    return min(texts, key=len)


def _known(layout: NetworkLayout) -> tuple[Term, ...]:
    """Return parts, counts and kinds."""
    counts = [Count(rule, k) for rule in RULES for k in range(1, Count.limit(rule, layout) + 1)]
    return (*map(Part, PARTS), *counts, *_by_kind(layout))


def _listed(blocks: Collection[str], layout: NetworkLayout) -> Term | None:
    """Return the blocks as a list with ranges; a single one by name, none at all as no term."""
    if len(blocks) < 2:
        return Name(*blocks) if blocks else None
    runs: list[tuple[int, int]] = []
    for number in (layout.blocks.index(block) + 1 for block in layout.blocks if block in blocks):
        first = runs.pop()[0] if runs and runs[-1][1] == number - 1 else number
        runs.append((first, number))
    return Blocks(tuple(runs))


def _composed(wanted: Weights, layout: NetworkLayout) -> Iterator[Postfix]:
    by_name, by_kind = _by_name(layout), _by_kind(layout)
    kinds = {weight.kind for weight in wanted}
    whole = [block for block in layout.blocks if by_name[Name(block)] <= wanted]
    lists = (_listed(_touched(wanted, layout), layout), _listed(whole, layout))
    bases: dict[Weights, Term | None] = {frozenset(): None}
    for term in (*_known(layout), *lists):
        if term is not None:
            bases.setdefault(term.weights(layout), term)
    for covered, base in bases.items():
        of_kind = {weight for weight in covered if weight.kind in kinds}
        if base is not None and len(kinds) == 1 and wanted == of_kind:
            yield base, Kind(*kinds), "&"
        for table in (by_name, by_kind | by_name):
            added = _cover(wanted - covered, table, within=wanted)
            removed = _cover(covered - wanted, table, outside=wanted)
            if added is not None and removed is not None:
                yield _joined(base, added, removed)


def _joined(base: Term | None, added: list[Term], removed: list[Term]) -> Postfix:
    first, *rest = added if base is None else [base, *added]
    postfix: list[Term | Rate | str] = [first]
    for operator, names in (("+", rest), ("-", removed)):
        for name in names:
            postfix += [name, operator]
    return tuple(postfix)


def _cover(
    weights: Weights,
    table: Mapping[Term, Weights],
    within: Weights | None = None,
    *,
    outside: Weights = frozenset(),
) -> list[Term] | None:
    """Return few terms, all `within` and `outside`, that cover the weights; `None` if none do."""
    terms = []
    for term, covered in table.items():
        allowed = (within is None or covered <= within) and not covered & outside
        if allowed and covered & weights:
            terms.append(term)
            weights -= covered
    return None if weights else terms


def _touched(weights: Iterable[WeightRef], layout: NetworkLayout) -> list[str]:
    touched = {weight.block for weight in weights}
    return [block for block in layout.blocks if block in touched]


def _by_name(layout: NetworkLayout) -> dict[Term, Weights]:
    """Return the weights of every block, then of every layer."""
    members: dict[str, list[WeightRef]] = {name: [] for name in (*layout.blocks, *layout.layers)}
    for weight in layout.weights:
        members[weight.block].append(weight)
        members[weight.layer].append(weight)
    return {Name(name): frozenset(weights) for name, weights in members.items()}


def _by_kind(layout: NetworkLayout) -> dict[Term, Weights]:
    kinds = [kind for kind in KINDS if any(weight.kind == kind for weight in layout.weights)]
    return {Kind(kind): Kind(kind).weights(layout) for kind in kinds}


def find(wanted: str, available: Iterable[str], depth: int = _DEPTH) -> str | None:
    """Find a strategy among those of a study, even under another name.

    Args:
        wanted: Strategy text, such as `"shallow:5"`.
        available: Strategy texts of the study, such as `"contracting"`.
        depth: Depth of the U-Net.

    Returns:
        The text itself if it is available, else one that trains the same weights; else the only
        one that does so at another rate, such as `"3*contracting"`; else `None`.
    """
    available = tuple(available)
    if wanted in available:
        return wanted
    for text in available:
        if what_trains(text, depth) == what_trains(wanted, depth):
            return text
    shares = what_trains(wanted, depth, relative=True)
    others = [text for text in available if what_trains(text, depth, relative=True) == shares]
    return others[0] if len(others) == 1 else None


@lru_cache(maxsize=4096)
def what_trains(text: str, depth: int = _DEPTH, relative: bool = False) -> Hashable:
    """Return what a strategy trains, and at which rates; its text where that does not determine it.

    `scratch` and `auto` are such texts, and so are strategies that do not fit the network. With
    `relative`, rates count in proportion to the highest.
    """
    try:
        strategy = parse(text)
        effect = strategy.relative_effect if relative else strategy.effect
        return text if strategy.is_auto else effect(_network(depth))
    except StrategyError:
        return text


def trained_blocks(text: str, depth: int = _DEPTH) -> int:
    """Count the blocks of which a fixed strategy trains any weight."""
    return len({weight.block for weight in parse(text).select(_network(depth))})


@lru_cache(maxsize=8)
def _network(depth: int) -> NetworkLayout:
    return NetworkLayout.unet(depth)


def folder_name(strategy: str, fold: int, train_size: int, seed: int) -> str:  # noqa: PLR0917
    """Return the folder name of a run of a study: unique there, safe on every file system."""
    strategy = re.sub(r"[^a-z0-9_.+&,-]", "_", strategy.replace("*", "ANY"))
    return f"fold{fold}-train{train_size}-seed{seed}-{strategy}"

"""The words of the language: what one term of a strategy, such as `shallow:3`, selects."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import StrategyError, did_you_mean, quote
from .layout import KINDS, Layout, WeightRef

PARTS = ("all", "none", "contracting", "expanding", "bottleneck")
RULES = ("shallow", "deep", "outer", "inner")
_SPELLINGS = (*PARTS, *KINDS, *(f"{rule}:K" for rule in RULES), "auto", "auto:search")
_RANGE_END = re.compile(r"[0-9]+|enc[0-9]+|dec[0-9]+|bottleneck", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A named part of the network: one of `PARTS`."""

    name: str

    def __str__(self) -> str:
        return self.name

    def weights(self, layout: Layout) -> frozenset[WeightRef]:
        slices = {
            "all": slice(None),
            "none": slice(0),
            "contracting": slice(layout.depth + 1),
            "expanding": slice(layout.depth + 1, None),
            "bottleneck": slice(layout.depth, layout.depth + 1),
        }
        return _in_blocks(layout, layout.blocks[slices[self.name]])


@dataclass(frozen=True)
class Kind:
    """One kind of weight, everywhere: one of `KINDS`."""

    name: str

    def __str__(self) -> str:
        return self.name

    def weights(self, layout: Layout) -> frozenset[WeightRef]:
        found = frozenset(weight for weight in layout.weights if weight.kind == self.name)
        if not found:
            kinds = dict.fromkeys(weight.kind for weight in layout.weights)
            raise StrategyError(
                f"{self}: this U-Net has no {self.name} weights; it has {', '.join(kinds)}"
            )
        return found


@dataclass(frozen=True)
class Count:
    """K blocks or levels counted from one end, by one of `RULES`.

    `shallow` and `deep` count blocks in data-flow order (Amiri et al. 2019); `outer` and `inner`
    count resolution levels, both arms of the U (Amiri et al., IEEE TUFFC 2020).
    """

    rule: str
    count: int

    def __str__(self) -> str:
        return f"{self.rule}:{self.count}"

    @staticmethod
    def limit(rule: str, layout: Layout) -> int:
        """Return the largest K that `rule` takes on `layout`."""
        return len(layout.blocks) if rule in ("shallow", "deep") else layout.depth + 1

    def weights(self, layout: Layout) -> frozenset[WeightRef]:
        limit = self.limit(self.rule, layout)
        if not 1 <= self.count <= limit:
            unit = "blocks" if self.rule in ("shallow", "deep") else "levels"
            raise StrategyError(
                f"{quote(str(self))}: this U-Net has {limit} {unit}, K is 1 to {limit}"
            )
        return _in_blocks(layout, self._blocks(layout))

    def _blocks(self, layout: Layout) -> tuple[str, ...]:
        if self.rule == "shallow":
            return layout.blocks[: self.count]
        if self.rule == "deep":
            return layout.blocks[-self.count :]
        if self.rule == "outer":
            levels = range(1, self.count + 1)
        else:
            levels = range(layout.depth + 2 - self.count, layout.depth + 2)
        return tuple(block for block in layout.blocks if layout.level_of(block) in levels)


@dataclass(frozen=True)
class Blocks:
    """Listed blocks: pairs (first, last) of 1-based numbers, and names or globs."""

    items: tuple[tuple[int, int] | str, ...]

    def __str__(self) -> str:
        return "blocks:" + ",".join(map(self._spell, self.items))

    @property
    def could_start_range(self) -> bool:
        """Whether the text ends in a single block, so that `-` and a block would look a range."""
        last = self.items[-1]
        return last[0] == last[1] if isinstance(last, tuple) else not is_glob(last)

    def weights(self, layout: Layout) -> frozenset[WeightRef]:
        return _in_blocks(layout, [b for item in self.items for b in self._find(item, layout)])

    def _find(self, item: tuple[int, int] | str, layout: Layout) -> tuple[str, ...]:
        if isinstance(item, str):
            return self._named(item, layout)
        first, last = item
        if not 1 <= first <= last <= len(layout.blocks):
            raise StrategyError(
                f"{quote(str(self))}: this U-Net has {len(layout.blocks)} blocks, "
                f"numbers are 1 to {len(layout.blocks)}"
            )
        return layout.blocks[first - 1 : last]

    def _named(self, pattern: str, layout: Layout) -> tuple[str, ...]:
        found = _matches(pattern, layout.blocks)
        if not found:
            raise StrategyError(
                f"{quote(str(self))}: no block is named {quote(pattern)}"
                f"{_hint(pattern, layout.blocks, layout)}"
            )
        return found

    @staticmethod
    def _spell(item: tuple[int, int] | str) -> str:
        if isinstance(item, str):
            return item
        first, last = item
        return str(first) if first == last else f"{first}-{last}"


@dataclass(frozen=True)
class Name:
    """Blocks and layers by name; `*` stands for any text, `?` for one character."""

    pattern: str

    def __str__(self) -> str:
        return self.pattern

    def weights(self, layout: Layout) -> frozenset[WeightRef]:
        names = (*layout.blocks, *layout.layers)
        found = _matches(self.pattern, names)
        if not found:
            raise StrategyError(
                f"{quote(self.pattern)}: no block or layer of this name"
                f"{_hint(self.pattern, (*names, *_SPELLINGS), layout)}"
            )
        return frozenset(w for w in layout.weights if w.block in found or w.layer in found)


@dataclass(frozen=True)
class Auto:
    """The choice is left to the training images; `search` asks for a search over strategies."""

    search: bool

    def __str__(self) -> str:
        return "auto:search" if self.search else "auto"

    def weights(self, layout: Layout) -> frozenset[WeightRef]:
        raise StrategyError(
            f"{self}: auto is resolved from training images, it has no weights of its own"
        )


Term = Part | Kind | Count | Blocks | Name | Auto


def is_glob(pattern: str) -> bool:
    """Return whether `pattern` holds a wildcard."""
    return "*" in pattern or "?" in pattern


def is_range_end(word: str) -> bool:
    """Return whether `word` is a block number or the exact name of a block of some U-Net."""
    return _RANGE_END.fullmatch(word) is not None


def _in_blocks(layout: Layout, blocks: Container[str]) -> frozenset[WeightRef]:
    return frozenset(weight for weight in layout.weights if weight.block in blocks)


def _matches(pattern: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if fnmatchcase(name.lower(), pattern))


def _hint(word: str, candidates: Iterable[str], layout: Layout) -> str:
    return f"{did_you_mean(word, candidates) or '.'} Blocks: {', '.join(layout.blocks)}"

"""The terms of the strategy language: which weights of a network each one selects; its error."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import groupby

_LONGEST_QUOTE = 80
_CLOSE = 0.6
KINDS = ("norm", "bias", "kernel")
NORMALIZATIONS = ("batch", "group", None)
PARTS = ("all", "none", "contracting", "expanding", "bottleneck")
RULES = ("shallow", "deep", "outer", "inner")
STATISTICS = "statistics"
RGN, LARGEST_POWER = "rgn", 4
_SPELLINGS = (
    *PARTS,
    *KINDS,
    STATISTICS,
    *(f"{rule}:K" for rule in RULES),
    RGN,
    "auto",
    "auto:search",
)
_RANGE_END = re.compile(r"[0-9]+|enc[0-9]+|dec[0-9]+|bottleneck", re.IGNORECASE)


class StrategyError(ValueError):
    """A strategy is malformed, names something the network lacks, or selects nothing."""


@dataclass(frozen=True)
class WeightRef:
    """One trainable weight of a network, by name.

    Args:
        block: The block that claims the weight, such as `"enc1"`.
        layer: The layer that holds it, such as `"enc1_conv1"`.
        name: Its name within the layer: `"kernel"`, `"bias"`, `"gamma"` or `"beta"`.
        kind: `"kernel"`, `"bias"` or `"norm"` (the scale and offset of a normalization).

    Raises:
        ValueError: `kind` is none of the three.
    """

    block: str
    layer: str
    name: str
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"{self.layer}/{self.name}: kind is {self.kind!r}, must be one of {KINDS}; no "
                "strategy names weights that a layer got otherwise, as from enable_lora"
            )


@dataclass(frozen=True)
class NetworkLayout:
    """The weights of a U-Net in data-flow order, grouped by layer and block.

    Args:
        weights: The weights in data-flow order. The first `depth` blocks contract, the middle
            one is the bottleneck, the last `depth` blocks expand. Moving statistics are not
            weights.
        statistics: Names of the layers that keep moving statistics, in data-flow order.

    Raises:
        ValueError: The blocks are not 2 × depth + 1 runs of weights with depth ≥ 1, or a layer
            or weight is listed more than once.
    """

    weights: tuple[WeightRef, ...]
    statistics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse_repeats("block", [name for name, _ in groupby(w.block for w in self.weights)])
        _refuse_repeats(
            "layer", [layer for (_, layer), _ in groupby((w.block, w.layer) for w in self.weights)]
        )
        _refuse_repeats("weight", [f"{w.layer}/{w.name}" for w in self.weights])
        if len(self.blocks) < 3 or len(self.blocks) % 2 == 0:
            raise ValueError(
                f"a U-Net of depth D has 2D+1 blocks, 3 or more; got {len(self.blocks)}: "
                f"{', '.join(self.blocks)}"
            )

    @classmethod
    def unet(cls, depth: int = 4, normalization: str | None = "batch") -> "NetworkLayout":
        """Return the layout of a kerasunet U-Net, without building the network.

        Args:
            depth: Number of resolution halvings, at least 1.
            normalization: `"batch"`, `"group"` or None. A convolution has a bias only if no
                normalization follows it; upsampling convolutions and the head always have one.

        Raises:
            ValueError: `depth` or `normalization` is out of range.
        """
        if depth < 1:
            raise ValueError(f"depth={depth}: must be at least 1")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization={normalization!r}: must be one of {NORMALIZATIONS}")
        encoders = [f"enc{level}" for level in range(1, depth + 1)]
        decoders = [f"dec{level}" for level in range(depth, 0, -1)]
        weights = []
        for block in [*encoders, "bottleneck"]:
            weights += _double_convolution(block, normalization)
        for block in decoders:
            weights += _biased(block, f"{block}_up") + _double_convolution(block, normalization)
        norms = dict.fromkeys(weight.layer for weight in weights if weight.kind == "norm")
        statistics = tuple(norms) if normalization == "batch" else ()
        return cls((*weights, *_biased(decoders[-1], "head")), statistics)

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Block names in data-flow order."""
        return tuple(dict.fromkeys(weight.block for weight in self.weights))

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that hold weights, in data-flow order."""
        return tuple(dict.fromkeys(weight.layer for weight in self.weights))

    @property
    def depth(self) -> int:
        """Number of resolution halvings."""
        return len(self.blocks) // 2

    def layers_of(self, block: str) -> tuple[str, ...]:
        """Return the layers of `block` in data-flow order.

        Raises:
            ValueError: There is no such block.
        """
        self._index(block)
        return tuple(dict.fromkeys(w.layer for w in self.weights if w.block == block))

    def level_of(self, block: str) -> int:
        """Return the resolution level of `block`: 1 is the full size, depth + 1 the bottleneck.

        Raises:
            ValueError: There is no such block.
        """
        index = self._index(block)
        return 1 + min(index, len(self.blocks) - 1 - index)

    def _index(self, block: str) -> int:
        if block not in self.blocks:
            raise ValueError(f"{block}: no such block. Blocks: {', '.join(self.blocks)}")
        return self.blocks.index(block)


def _refuse_repeats(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"{what} {name} is listed twice: weights must be unique, in data-flow order, "
                f"each layer in one block"
            )
        seen.add(name)


def _double_convolution(block: str, normalization: str | None) -> list[WeightRef]:
    weights = []
    for number in (1, 2):
        convolution = f"{block}_conv{number}"
        if normalization is None:
            weights += _biased(block, convolution)
        else:
            weights.append(WeightRef(block, convolution, "kernel", kind="kernel"))
            norm = f"{block}_norm{number}"
            weights += [WeightRef(block, norm, name, kind="norm") for name in ("gamma", "beta")]
    return weights


def _biased(block: str, layer: str) -> list[WeightRef]:
    return [WeightRef(block, layer, name, kind=name) for name in ("kernel", "bias")]


@dataclass(frozen=True)
class Part:
    """A named part of the network: one of `PARTS`."""

    name: str

    def __str__(self) -> str:
        return self.name

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
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

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
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
    def limit(rule: str, layout: NetworkLayout) -> int:
        """Return the largest K that `rule` takes on `layout`."""
        return len(layout.blocks) if rule in ("shallow", "deep") else layout.depth + 1

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
        limit = self.limit(self.rule, layout)
        if not 1 <= self.count <= limit:
            unit = "blocks" if self.rule in ("shallow", "deep") else "levels"
            raise StrategyError(
                f"{quote(str(self))}: this U-Net has {limit} {unit}, so K must be 1 to {limit}"
            )
        return _in_blocks(layout, self._blocks(layout))

    def _blocks(self, layout: NetworkLayout) -> tuple[str, ...]:
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

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
        return _in_blocks(layout, [b for item in self.items for b in self._find(item, layout)])

    def _find(self, item: tuple[int, int] | str, layout: NetworkLayout) -> tuple[str, ...]:
        if isinstance(item, str):
            return self._named(item, layout)
        first, last = item
        if not 1 <= first <= last <= len(layout.blocks):
            raise StrategyError(
                f"{quote(str(self))}: this U-Net has {len(layout.blocks)} blocks, so numbers "
                f"must be 1 to {len(layout.blocks)}"
            )
        return layout.blocks[first - 1 : last]

    def _named(self, pattern: str, layout: NetworkLayout) -> tuple[str, ...]:
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

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
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

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
        raise StrategyError(
            f"{self}: auto is resolved from training images; it has no weights itself"
        )


def is_glob(pattern: str) -> bool:
    """Return whether `pattern` holds a wildcard."""
    return "*" in pattern or "?" in pattern


def is_range_end(word: str) -> bool:
    """Return whether `word` is a block number or the exact name of a block of some U-Net."""
    return _RANGE_END.fullmatch(word) is not None


def _in_blocks(layout: NetworkLayout, blocks: Container[str]) -> frozenset[WeightRef]:
    return frozenset(weight for weight in layout.weights if weight.block in blocks)


def _matches(pattern: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if fnmatchcase(name.lower(), pattern))


def _hint(word: str, candidates: Iterable[str], layout: NetworkLayout) -> str:
    return f"{did_you_mean(word, candidates) or '.'} Blocks: {', '.join(layout.blocks)}"


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

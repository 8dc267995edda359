"""The shape of a U-Net as far as strategies care: which weights it has, in which blocks."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

KINDS = ("norm", "bias", "kernel")
NORMALIZATIONS = ("batch", "group", None)


@dataclass(frozen=True)
class WeightRef:
    """One trainable weight of a network, by name.

    Args:
        block: the block that claims the weight, such as `"enc1"`.
        layer: the layer that holds it, such as `"enc1_conv1"`.
        name: its name within the layer: `"kernel"`, `"bias"`, `"gamma"` or `"beta"`.
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
                f"{self.layer}/{self.name}: kind is {self.kind!r}, must be one of {KINDS}"
            )


@dataclass(frozen=True)
class Layout:
    """The weights of a U-Net in data-flow order, grouped by layer and block.

    Moving statistics of batch normalization are not listed: they follow their layer.

    Args:
        weights: the weights in data-flow order. The first `depth` blocks contract, the middle
            one is the bottleneck, the last `depth` blocks expand.

    Raises:
        ValueError: the blocks are not 2 × depth + 1 runs of weights with depth ≥ 1, or a layer
            or weight is listed more than once.
    """

    weights: tuple[WeightRef, ...]

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
    def unet(cls, depth: int = 4, normalization: str | None = "batch") -> "Layout":
        """Return the layout of a kerasunet U-Net, without building the network.

        Args:
            depth: number of resolution halvings, at least 1.
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
        return cls((*weights, *_biased(decoders[-1], "head")))

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
            ValueError: there is no such block.
        """
        self._index(block)
        return tuple(dict.fromkeys(w.layer for w in self.weights if w.block == block))

    def level_of(self, block: str) -> int:
        """Return the resolution level of `block`: 1 is the full size, depth + 1 the bottleneck.

        Raises:
            ValueError: there is no such block.
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
            weights.append(WeightRef(block, convolution, "kernel", "kernel"))
            norm = f"{block}_norm{number}"
            weights += [WeightRef(block, norm, name, "norm") for name in ("gamma", "beta")]
    return weights


def _biased(block: str, layer: str) -> list[WeightRef]:
    return [WeightRef(block, layer, name, name) for name in ("kernel", "bias")]

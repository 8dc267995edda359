"""Blocks at which the training images pull most, by relative gradient norms.

Nothing uses these to choose layers any more. In the first study (`docs/study.md`) the blocks chosen
this way, the first one alone in every run, were 0.12 to 0.18 Dice behind the best strategy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import keras
import numpy as np

from kerasunet.data.augmentation import Batches
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.freezing import layout_of
from kerasunet.network import plain_copy
from kerasunet.training.optimizer import record_gradients, squared_norm, squared_norms

BATCHES = 5
SHARE = 0.5
"""A block trains if its relative gradient is at least this share of the largest."""


@dataclass(frozen=True)
class TensorNorm:
    """One weight tensor: the mean norm of its gradient over the batches, and its own norm."""

    layer: str
    name: str
    gradient: float
    weights: float

    @property
    def relative(self) -> float:
        """Gradient over weights; infinite for weights that are all 0, such as a new bias."""
        return self.gradient / self.weights if self.weights else math.inf


@dataclass(frozen=True)
class BlockNorm:
    """One block: norms over all its tensors together, and the tensors one by one."""

    block: str
    gradient: float
    weights: float
    tensors: tuple[TensorNorm, ...]

    @property
    def relative(self) -> float:
        """Gradient over weights, the relative gradient norm of the block."""
        return self.gradient / self.weights


@dataclass(frozen=True)
class BlockScore:
    """One block as the gradients see it.

    Attributes:
        number: Position in data-flow order, from 1.
        block: Name.
        relative_gradient: Norm of the gradient over norm of the weights, 0 or larger.
        share: `relative_gradient` over the largest of all blocks, 0 to 1.
        chosen: Whether the rule lets the block train.
    """

    number: int
    block: str
    relative_gradient: float
    share: float
    chosen: bool


def relative_gradient_norms(
    model: keras.Model,
    cases: DecodedCases,
    *,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    batches: int = BATCHES,
) -> tuple[BlockNorm, ...]:
    """Measure the gradient of the training loss at the weights that the model has.

    The relative gradient norm is that of Lee et al., "Surgical Fine-Tuning Improves Adaptation to
    Distribution Shifts", ICLR 2023 (arXiv 2210.11466), section 4: norm of the gradient over norm
    of the weights, averaged over batches. There it is one number a layer. Here a strategy takes or
    leaves whole blocks, so the norms run over all learnable tensors of a block together: the
    number says how far, relative to its length, one plain gradient step would move the block.
    A mean of the tensors' ratios would be ruled by biases and offsets, which are near 0 and have
    huge or infinite ratios of their own; these ratios are still reported, per tensor.

    The gradient is that of Dice plus cross-entropy in training mode, in float32, unclipped. It is
    measured on a float32 copy: the model given is not touched, whatever it was set to train.

    Args:
        model: A U-Net of this package.
        cases: Training cases, at least one.
        batch_size: Images per batch.
        augmentation: How far the views differ from the images.
        seed: Seed of order and views; the batches are those of the first steps of a training.
        batches: Number of batches, at least 1.

    Returns:
        The blocks in data-flow order.

    Raises:
        ValueError: There are no cases or no batches, or all weights of a block are 0.
        FloatingPointError: A gradient is NaN or infinite.
    """
    if not len(cases) or batches < 1:
        raise ValueError(f"{len(cases)} cases and {batches} batches: both must be at least 1")
    copy = plain_copy(model)
    recorder = record_gradients(copy)
    stream = Batches(cases, batch_size, augmentation, seed=seed)
    squares = [squared_norms(copy, recorder, *batch) for batch in stream.steps(0, batches)]
    own = {v.path: squared_norm(v) for v in copy.trainable_variables}
    refs = groupby(layout_of(copy).weights, key=lambda ref: ref.block)
    return tuple(_block_norm(block, list(members), squares, own=own) for block, members in refs)


def scores(norms: Mapping[str, float]) -> tuple[BlockScore, ...]:
    """Mark the blocks that train: those with at least half of the largest relative gradient.

    Auto-RGN of Lee et al. (ICLR 2023) trains each layer at the learning rate times its relative
    gradient norm over the largest one. A strategy knows only trained, 1, and frozen, 0, so this
    factor is rounded to the nearer of the two, a half upward. The half follows from rounding; it
    was tuned on no data.

    Args:
        norms: Relative gradient norm by block, in data-flow order, each 0 or larger.

    Returns:
        A score per block; at least one, that of the largest norm, is chosen.

    Raises:
        ValueError: There are no blocks, or no norm is above 0.
    """
    largest = max(norms.values(), default=0.0)
    if not largest > 0:
        raise ValueError("no block has a gradient: the loss of these images cannot be lowered")
    return tuple(
        BlockScore(number, block, norm, share=norm / largest, chosen=norm / largest >= SHARE)
        for number, (block, norm) in enumerate(norms.items(), start=1)
    )


def blocks_to_train(table: tuple[BlockScore, ...]) -> str:
    """Write the chosen blocks as a strategy, such as `blocks:1-3,7`, or `all` if all are."""
    if all(score.chosen for score in table):
        return "all"
    ranges: list[list[int]] = []
    for number in (score.number for score in table if score.chosen):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return "blocks:" + ",".join(map(_spell, ranges))


def _spell(numbers: list[int]) -> str:
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def _block_norm(block: str, refs: list, squares: list[dict], *, own: dict[str, float]) -> BlockNorm:
    paths = [f"{ref.layer}/{ref.name}" for ref in refs]
    weights = _norm(own[path] for path in paths)
    if not weights:
        raise ValueError(
            f"{block}: all its weights are 0, so its gradient cannot be taken relative to them"
        )
    tensors = tuple(
        TensorNorm(ref.layer, ref.name, _mean_norm([path], squares), weights=_norm([own[path]]))
        for ref, path in zip(refs, paths, strict=True)
    )
    return BlockNorm(block, _mean_norm(paths, squares), weights, tensors=tensors)


def _mean_norm(paths: list[str], squares: list[dict[str, float]]) -> float:
    return float(np.mean([_norm(batch[path] for path in paths) for batch in squares]))


def _norm(squares: Iterable[float]) -> float:
    return math.sqrt(sum(squares))

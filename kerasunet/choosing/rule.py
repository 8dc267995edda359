"""From relative gradient norms to a strategy: which blocks train."""

from __future__ import annotations

from collections.abc import Mapping

from kerasunet.choosing.choice import BlockScore

SHARE = 0.5


def scores(norms: Mapping[str, float]) -> tuple[BlockScore, ...]:
    """Marks the blocks that train: those with at least half of the largest relative gradient.

    Auto-RGN of Lee et al. (ICLR 2023) trains each layer at the learning rate times its relative
    gradient norm over the largest one. A strategy knows only trained, 1, and frozen, 0, so this
    factor is rounded to the nearer of the two, a half upwards. The half follows from rounding; it
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
        BlockScore(number, block, norm, norm / largest, norm / largest >= SHARE)
        for number, (block, norm) in enumerate(norms.items(), start=1)
    )


def blocks_to_train(table: tuple[BlockScore, ...]) -> str:
    """Writes the chosen blocks as a strategy, such as `blocks:1-3,7`, or `all` if all are."""
    if all(score.chosen for score in table):
        return "all"
    stretches: list[list[int]] = []
    for number in (score.number for score in table if score.chosen):
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    return "blocks:" + ",".join(map(_spell, stretches))


def _spell(stretch: list[int]) -> str:
    return f"{stretch[0]}-{stretch[-1]}" if len(stretch) > 1 else str(stretch[0])

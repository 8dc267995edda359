"""The claim that ultrasound differs from X-ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from kerasunet.data.modality import Modality, modality_of
from kerasunet.study.stats.claim import CURVES, PATHS, Claim, Measurements, evidence, judged
from kerasunet.study.stats.grid import Grid

_NAME = "ultrasound-differs-from-x-ray"
_STATEMENTS = {
    PATHS: "tuning the contracting path is further ahead of tuning the expanding path",
    CURVES: "tuning the first K blocks is further ahead of tuning the last K, on average over K,",
}


def claims_between(grids: Sequence[Grid], effect: str, measured: Measurements) -> list[Claim]:
    """Compares an effect between every ultrasound and every X-ray data set of a training size.

    Args:
        grids: Data sets and training sizes.
        effect: `PATHS` or `CURVES`.
        measured: The effect where it could be measured.

    Returns:
        The claims in order of training size; one undecided claim at a size that lacks either.
    """
    sizes = sorted({grid.train_size for grid in grids})
    return [claim for size in sizes for claim in _claims_at(size, grids, effect, measured)]


def _claims_at(
    size: int, grids: Sequence[Grid], effect: str, measured: Measurements
) -> list[Claim]:
    there = [grid.data for grid in grids if grid.train_size == size]
    ultrasound, x_ray = _of_modality(there, "ultrasound"), _of_modality(there, "x-ray")
    if not ultrasound or not x_ray:
        return [_without_partner(size, effect, ultrasound, x_ray)]
    return [
        _claim(size, effect, first, second, measured)
        for first, second in product(ultrasound, x_ray)
    ]


def _of_modality(names: Sequence[str], modality: Modality) -> list[str]:
    return [name for name in names if modality_of(name) == modality]


def _without_partner(
    size: int, effect: str, ultrasound: Sequence[str], x_ray: Sequence[str]
) -> Claim:
    kinds = {"ultrasound": ultrasound, "X-ray": x_ray}
    lacking = " and ".join(f"no {kind} data set" for kind, names in kinds.items() if not names)
    claim = _undecided(size, effect, [*ultrasound, *x_ray], "ultrasound", "X-ray")
    return replace(claim, explanation=f"there is {lacking} with {size} training images")


def _claim(size: int, effect: str, first: str, second: str, measured: Measurements) -> Claim:
    both = (first, second)
    claim = _undecided(size, effect, both, f"{first} (ultrasound)", f"{second} (X-ray)")
    sides = {data: measured[data, size, effect] for data in both}
    unknown = [data for data, side in sides.items() if side is None]
    if unknown:
        return replace(claim, explanation=f"runs are missing in {' and '.join(unknown)}")
    explanation = "; ".join(
        f"{data} {side.mean:+.4f}, {evidence(side)}" for data, side in sides.items()
    )
    return judged(claim, sides[first].drawn.minus(sides[second].drawn), explanation)


def _undecided(size: int, effect: str, names: Sequence[str], more: str, less: str) -> Claim:
    statement = f"{size} training images: {_STATEMENTS[effect]} in {more} than in {less}"
    return Claim(_NAME, statement, effect, ", ".join(names), size)

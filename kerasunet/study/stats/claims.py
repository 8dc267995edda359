"""The paper's three claims, checked on the tables of studies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from kerasunet.data.modality import modality_of
from kerasunet.study.stats.claim import (
    CONTRACTING,
    MODALITIES,
    SHALLOW,
    Claim,
    corrected,
    evidence,
    judged,
    tested,
    undecided,
)
from kerasunet.study.stats.effects import (
    Measured,
    Weights,
    contracting_minus_expanding,
    first_minus_second_curve,
    measure,
    missing,
)
from kerasunet.study.stats.equivalence import DEPTH
from kerasunet.study.stats.grid import Grid, grids
from kerasunet.study.stats.holm import holm

_PATHS, _CURVES = "contracting - expanding", "shallow - deep"
_CLAIM_OF = {_PATHS: CONTRACTING, _CURVES: SHALLOW}
_STATEMENTS = {
    _PATHS: "tuning the contracting path gives a higher Dice than tuning the expanding path",
    _CURVES: "tuning the first K blocks gives a higher Dice than tuning the last K, on average "
    "over K",
}
_SHORT = {
    _PATHS: "what the contracting path is ahead of the expanding path",
    _CURVES: "what the first K blocks are ahead of the last K",
}


def claims(cases: pd.DataFrame, runs: pd.DataFrame, depth: int = DEPTH) -> tuple[Claim, ...]:
    """Checks the claims of Amiri, Brooks and Rivaz (arXiv 2002.08438).

    1. `contracting-above-expanding`, on every data set at every training size: mean paired
       difference in Dice, with Wilcoxon's signed-rank test on patients.
    2. `shallow-first-above-deep-first`, likewise: area between the two curves.
    3. `ultrasound-differs-from-x-ray`, for every pair of an ultrasound and an X-ray data set at
       every training size that both have: either effect is larger in ultrasound. This is an
       interaction of independent patients, in Dice; as Dice cannot exceed 1, effects are bound to
       be small where all strategies come close to it.

    **Verdict.** *Supported*: the 95 % bootstrap interval lies above 0 and, for the first claim,
    p is below 0.05 after Holm's correction over all its data sets and training sizes.
    *Contradicted*: the same, below 0. *Undecided*: anything else, missing runs included.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.tables.read_tables` gives them.
        runs: Rows of the same studies; they tell which of the missing runs have failed.
        depth: Number of resolution halvings of the network.

    Returns:
        The claims, in the order above; a study that has not finished has undecided ones.

    Raises:
        ValueError: A column is missing, or a case stands there twice.
    """
    all_grids = grids(cases, depth=depth)
    effects = {_PATHS: contracting_minus_expanding()}
    effects[_CURVES] = first_minus_second_curve("shallow", "deep", depth)
    measured = {
        (grid.data, grid.train_size, effect): measure(grid, weights)
        for grid, (effect, weights) in product(all_grids, effects.items())
    }
    single = {
        effect: [
            _single(grid, effect, weights, measured[grid.data, grid.train_size, effect], runs)
            for grid in all_grids
        ]
        for effect, weights in effects.items()
    }
    between = [c for effect in effects for c in _between(all_grids, effect, measured)]
    return (*_corrected(single[_PATHS]), *single[_CURVES], *between)


def _single(
    grid: Grid, effect: str, weights: Weights, measured: Measured | None, runs: pd.DataFrame
) -> Claim:
    statement = f"{grid.where}: {_STATEMENTS[effect]}"
    claim = Claim(_CLAIM_OF[effect], statement, effect, grid.data, grid.train_size, "undecided")
    if measured is None:
        return undecided(claim, _what_is_missing(grid, weights, runs))
    claim = judged(claim, measured.drawn, evidence(measured))
    return tested(claim, measured) if effect == _PATHS else claim


def _what_is_missing(grid: Grid, weights: Weights, runs: pd.DataFrame) -> str:
    lacking = missing(grid, weights)
    if not lacking:
        return f"no case was tested with all of {', '.join(weights)} and the same seed"
    return "no finished run of " + ", ".join(
        strategy + _failures(strategy, grid, runs) for strategy in lacking
    )


def _failures(strategy: str, grid: Grid, runs: pd.DataFrame) -> str:
    here = (runs["data"] == grid.data) & (runs["train_size"] == grid.train_size)
    failed = runs[here & (runs["strategy"] == strategy) & (runs["status"] == "failed")]
    folds = ", ".join(str(fold) for fold in sorted(failed["fold"].unique()))
    return f" (failed in fold {folds})" if folds else ""


def _corrected(found: Sequence[Claim]) -> list[Claim]:
    """Applies Holm's correction to the claims that have a p-value."""
    adjusted = iter(holm([claim.p_value for claim in found if claim.p_value is not None]))
    return [
        claim if claim.p_value is None else corrected(claim, float(next(adjusted)))
        for claim in found
    ]


def _between(
    all_grids: Sequence[Grid],
    effect: str,
    measured: dict[tuple[str, int, str], Measured | None],
) -> list[Claim]:
    """Compares an effect between every ultrasound and every X-ray data set."""
    sizes = sorted({grid.train_size for grid in all_grids})
    there = {(grid.data, grid.train_size) for grid in all_grids}
    found = []
    for size in sizes:
        ultrasound, x_ray = (
            [data for data, at in sorted(there) if at == size and modality_of(data) == modality]
            for modality in ("ultrasound", "x-ray")
        )
        if not ultrasound or not x_ray:
            found.append(_one_sided(effect, size, ultrasound, x_ray))
        found += [
            _interaction(effect, size, first, second, measured)
            for first, second in product(ultrasound, x_ray)
        ]
    return found


def _one_sided(effect: str, size: int, ultrasound: list[str], x_ray: list[str]) -> Claim:
    lacking = [name for name, sets in (("ultrasound", ultrasound), ("X-ray", x_ray)) if not sets]
    statement = f"{size} training images: {_SHORT[effect]} is more in ultrasound than in X-ray"
    data = ", ".join([*ultrasound, *x_ray])
    claim = Claim(MODALITIES, statement, effect, data, size, "undecided")
    return undecided(claim, f"no {' and no '.join(lacking)} data set of this training size")


def _interaction(
    effect: str,
    size: int,
    first: str,
    second: str,
    measured: dict[tuple[str, int, str], Measured | None],
) -> Claim:
    statement = (
        f"{size} training images: {_SHORT[effect]} is more in {first} (ultrasound) than in "
        f"{second} (X-ray)"
    )
    claim = Claim(MODALITIES, statement, effect, f"{first}, {second}", size, "undecided")
    sides = {data: measured[data, size, effect] for data in (first, second)}
    unknown = [data for data, side in sides.items() if side is None]
    if unknown:
        return undecided(claim, f"runs are missing in {' and '.join(unknown)}")
    one, other = sides[first], sides[second]
    explanation = "; ".join(
        f"{data} {side.mean:+.4f}, {evidence(side)}" for data, side in sides.items()
    )
    return judged(claim, one.drawn.minus(other.drawn), explanation)

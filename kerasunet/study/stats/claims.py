"""One claim of the paper with its verdict, and how it comes by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from kerasunet.data.modality import Modality, modality_of
from kerasunet.study.stats.comparison import LEVEL, Verdict, holm, signed_rank, verdict
from kerasunet.study.stats.curves import (
    Measured,
    Weights,
    bounds,
    first_minus_second_curve,
    measure,
    missing,
)
from kerasunet.study.stats.grid import DEPTH, Grid, grids
from kerasunet.study.stats.resampling import Draws

PATHS, CURVES = "contracting - expanding", "shallow - deep"
"""The two effects that the claims are about."""
Measurements = Mapping[tuple[str, int, str], Measured | None]
"""Data set, training size and effect to what was measured; `None` where runs are missing."""


@dataclass(frozen=True)
class Claim:
    """A named statement, and what the studies say of it.

    Attributes:
        name: `"contracting-above-expanding"`, `"shallow-first-above-deep-first"` or
            `"ultrasound-differs-from-x-ray"`.
        statement: What is claimed, in words.
        effect: What is measured: `"contracting - expanding"`, or `"shallow - deep"` for the area
            between the curves.
        data: Name of the data set; `"A, B"` where the claim is about two.
        train_size: Number of training images.
        verdict: By the rule of `kerasunet.study.stats.comparison.verdict`.
        estimate: The effect, in Dice; of two data sets, the first's minus the second's. Above 0
            agrees with the claim. `None`, as are the other numbers, where runs are missing.
        low: Lower bound of the 95 % interval of the estimate.
        high: Upper bound.
        p_value: Of Wilcoxon's signed-rank test on patients, where the claim has a test.
        p_adjusted: After Holm's correction over all claims of this name.
        explanation: The numbers in words, or what is missing.
    """

    name: str
    statement: str
    effect: str
    data: str
    train_size: int
    verdict: Verdict = "undecided"
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    explanation: str = ""


def judged(claim: Claim, drawn: Draws, explanation: str) -> Claim:
    """The claim judged by its interval alone."""
    estimate, (low, high) = float(drawn.means[0]), bounds(drawn)
    return replace(
        claim,
        verdict=verdict(low, high),
        estimate=estimate,
        low=low,
        high=high,
        explanation=f"{_in_words(estimate, low, high)}; {explanation}",
    )


def tested(claim: Claim, measured: Measured) -> Claim:
    """The claim with the p-value of its test, which says nothing before it is corrected."""
    by_group = measured.per_case.groupby(level="group").mean()
    return replace(claim, p_value=signed_rank(by_group.round(10))[0])


def corrected(claim: Claim, p_adjusted: float) -> Claim:
    """The claim judged by its interval and its corrected test."""
    relation = "below" if p_adjusted < LEVEL else "not below"
    text = f"signed-rank p after Holm {p_adjusted:.2g}, {relation} {LEVEL}"
    return replace(
        claim,
        p_adjusted=p_adjusted,
        verdict=verdict(claim.low, claim.high, p_adjusted),
        explanation=f"{claim.explanation}; {text}",
    )


def evidence(measured: Measured) -> str:
    """How much an effect rests on, in words."""
    folds = measured.fold_means
    return (
        f"above 0 in {int((folds > 0).sum())} of {len(folds)} folds, "
        f"{len(measured.per_case)} cases in {measured.groups} groups"
    )


def _in_words(estimate: float, low: float, high: float) -> str:
    if low != low:
        return f"{estimate:+.4f} Dice, interval unknown: no fold has two groups (patients)"
    return f"{estimate:+.4f} Dice (95 % interval {low:+.4f} to {high:+.4f})"


_NAME = "ultrasound-differs-from-x-ray"
_STATEMENTS_BETWEEN = {
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
    ultrasound, x_ray = _of_modality(there, "ultrasound"), _of_modality(there, "xray")
    if not ultrasound or not x_ray:
        return [_without_partner(size, effect, ultrasound, x_ray)]
    return [
        _claim_between(size, effect, first, second, measured)
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


def _claim_between(
    size: int, effect: str, first: str, second: str, measured: Measurements
) -> Claim:
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
    statement = f"{size} training images: {_STATEMENTS_BETWEEN[effect]} in {more} than in {less}"
    return Claim(_NAME, statement, effect, ", ".join(names), size)


_NAMES = {PATHS: "contracting-above-expanding", CURVES: "shallow-first-above-deep-first"}
_STATEMENTS_WITHIN = {
    PATHS: "tuning the contracting path gives a higher Dice than tuning the expanding path",
    CURVES: "tuning the first K blocks gives a higher Dice than tuning the last K, on average "
    "over K",
}


def claims_within(
    grids: Sequence[Grid],
    effect: str,
    weights: Weights,
    measured: Measurements,
    runs: pd.DataFrame,
) -> list[Claim]:
    """Judges the claim about one effect on every data set at every training size.

    The claim about the two paths has its p-value, but no verdict before `with_holm`.

    Args:
        grids: Data sets and training sizes.
        effect: `PATHS` or `CURVES`.
        weights: The strategies that the effect is made of.
        measured: The effect where it could be measured.
        runs: Rows of the studies, to tell which runs failed.

    Returns:
        The claims in the order of the grids.
    """
    return [
        _claim_within(grid, effect, weights, measured[grid.data, grid.train_size, effect], runs)
        for grid in grids
    ]


def with_holm(claims: Sequence[Claim]) -> list[Claim]:
    """Judges claims by their tests too, corrected for how many there are."""
    adjusted = iter(holm([claim.p_value for claim in claims if claim.p_value is not None]))
    return [
        claim if claim.p_value is None else corrected(claim, float(next(adjusted)))
        for claim in claims
    ]


def _claim_within(
    grid: Grid, effect: str, weights: Weights, measured: Measured | None, runs: pd.DataFrame
) -> Claim:
    statement = f"{grid.where}: {_STATEMENTS_WITHIN[effect]}"
    claim = Claim(_NAMES[effect], statement, effect, grid.data, grid.train_size)
    if measured is None:
        return replace(claim, explanation=_what_is_missing(grid, weights, runs))
    claim = judged(claim, measured.drawn, evidence(measured))
    return tested(claim, measured) if effect == PATHS else claim


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
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        runs: Rows of the same studies; they tell which of the missing runs have failed.
        depth: Number of resolution halvings of the network.

    Returns:
        The claims, in the order above; a study that has not finished has undecided ones.

    Raises:
        ValueError: A column is missing, or a case stands there twice.
    """
    found = grids(cases, depth=depth)
    effects = _effects(depth)
    measured: Measurements = {
        (grid.data, grid.train_size, effect): measure(grid, weights)
        for grid, (effect, weights) in product(found, effects.items())
    }
    within = {
        effect: claims_within(found, effect, weights, measured, runs)
        for effect, weights in effects.items()
    }
    between = [claim for effect in effects for claim in claims_between(found, effect, measured)]
    return (*with_holm(within[PATHS]), *within[CURVES], *between)


def _effects(depth: int) -> dict[str, Weights]:
    return {
        PATHS: {"contracting": 1.0, "expanding": -1.0},
        CURVES: first_minus_second_curve("shallow", "deep", depth),
    }

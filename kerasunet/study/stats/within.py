"""The two claims about one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from kerasunet.study.stats.claim import (
    CURVES,
    PATHS,
    Claim,
    Measurements,
    corrected,
    evidence,
    judged,
    tested,
)
from kerasunet.study.stats.effects import Measured, Weights, missing
from kerasunet.study.stats.grid import Grid
from kerasunet.study.stats.holm import holm

_NAMES = {PATHS: "contracting-above-expanding", CURVES: "shallow-first-above-deep-first"}
_STATEMENTS = {
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
        _claim(grid, effect, weights, measured[grid.data, grid.train_size, effect], runs)
        for grid in grids
    ]


def with_holm(claims: Sequence[Claim]) -> list[Claim]:
    """Judges claims by their tests too, corrected for how many there are."""
    adjusted = iter(holm([claim.p_value for claim in claims if claim.p_value is not None]))
    return [
        claim if claim.p_value is None else corrected(claim, float(next(adjusted)))
        for claim in claims
    ]


def _claim(
    grid: Grid, effect: str, weights: Weights, measured: Measured | None, runs: pd.DataFrame
) -> Claim:
    statement = f"{grid.where}: {_STATEMENTS[effect]}"
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

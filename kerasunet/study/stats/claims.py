"""The paper's three claims, checked on the tables of studies."""

from __future__ import annotations

from itertools import product

import pandas as pd

from kerasunet.study.stats.between import claims_between
from kerasunet.study.stats.claim import CURVES, PATHS, Claim, Measurements
from kerasunet.study.stats.effects import Weights, first_minus_second_curve, measure
from kerasunet.study.stats.equivalence import DEPTH
from kerasunet.study.stats.grid import grids
from kerasunet.study.stats.within import claims_within, with_holm


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

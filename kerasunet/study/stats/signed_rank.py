"""Paired test and effect size on ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata, wilcoxon


def signed_rank(differences: ArrayLike) -> tuple[float, float]:
    """Tests paired differences with Wilcoxon's signed-rank test, two-sided.

    Zeros are left out (Wilcoxon, Biometrics Bulletin 1945). The effect size is the matched-pairs
    rank-biserial correlation (Kerby, "The simple difference formula", 2014): the share of rank
    sums in favour of the first minus the share against it.

    Args:
        differences: First minus second, one an independent pair, (n,).

    Returns:
        p-value and effect size, -1 to 1; 1 and 0 where all differences are zero.
    """
    d = np.asarray(differences, dtype=float)
    d = d[d != 0]
    if d.size == 0:
        return 1.0, 0.0
    ranks = rankdata(np.abs(d))
    return float(wilcoxon(d).pvalue), float((ranks * np.sign(d)).sum() / ranks.sum())

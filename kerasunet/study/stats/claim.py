"""One claim of the paper about one data set at one training size, with its verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from kerasunet.study.stats.effects import Measured, bounds
from kerasunet.study.stats.resampling import Draws
from kerasunet.study.stats.signed_rank import signed_rank
from kerasunet.study.stats.verdict import LEVEL, Verdict, verdict

CONTRACTING = "contracting-above-expanding"
SHALLOW = "shallow-first-above-deep-first"
MODALITIES = "ultrasound-differs-from-x-ray"


@dataclass(frozen=True)
class Claim:
    """A named statement, and what the study says of it.

    Attributes:
        name: `"contracting-above-expanding"`, `"shallow-first-above-deep-first"` or
            `"ultrasound-differs-from-x-ray"`.
        statement: What is claimed, in words.
        effect: What is measured: `"contracting - expanding"` or `"shallow - deep"` (the area
            between the curves).
        data: Name of the data set; `"A, B"` where the claim is about two.
        train_size: Number of training images.
        verdict: By the rule of `kerasunet.study.stats.verdict.verdict`.
        estimate: The effect, in Dice; of two data sets, its difference. Above 0 agrees with the
            claim. `None`, as are the other numbers, where runs are missing.
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
    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    explanation: str = ""


def undecided(claim: Claim, reason: str) -> Claim:
    """The claim of which nothing is known yet."""
    return replace(claim, verdict="undecided", explanation=reason)


def judged(claim: Claim, drawn: Draws, explanation: str) -> Claim:
    """The claim judged by its interval alone."""
    low, high = bounds(drawn)
    return replace(
        claim,
        verdict=verdict(low, high),
        estimate=float(drawn.means[0]),
        low=low,
        high=high,
        explanation=f"{_estimate_text(float(drawn.means[0]), low, high)}; {explanation}",
    )


def tested(claim: Claim, measured: Measured) -> Claim:
    """The claim with its p-value; the verdict awaits the correction."""
    by_group = measured.per_case.groupby(level="group").mean()
    return replace(claim, p_value=signed_rank(by_group.round(10))[0])


def corrected(claim: Claim, p_adjusted: float) -> Claim:
    """The claim judged by interval and corrected test."""
    level = "below" if p_adjusted < LEVEL else "not below"
    text = f"signed-rank p after Holm {p_adjusted:.2g}, {level} {LEVEL}"
    return replace(
        claim,
        p_adjusted=p_adjusted,
        verdict=verdict(claim.low, claim.high, p_adjusted),
        explanation=f"{claim.explanation}; {text}",
    )


def evidence(measured: Measured) -> str:
    """How much an effect rests on, in words."""
    folds: pd.Series = measured.fold_means
    count = len(measured.per_case)
    return (
        f"above 0 in {int((folds > 0).sum())} of {len(folds)} folds; "
        f"{count} cases of {measured.groups} patients or groups"
    )


def _estimate_text(mean: float, low: float, high: float) -> str:
    if low != low:
        return f"{mean:+.4f} Dice, interval unknown: no fold has two patients"
    return f"{mean:+.4f} Dice (95 % interval {low:+.4f} to {high:+.4f})"

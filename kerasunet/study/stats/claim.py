"""One claim of the paper with its verdict, and how it comes by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kerasunet.study.stats.effects import Measured, bounds
from kerasunet.study.stats.resampling import Draws
from kerasunet.study.stats.signed_rank import signed_rank
from kerasunet.study.stats.verdict import LEVEL, Verdict, verdict

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
        verdict: By the rule of `kerasunet.study.stats.verdict.verdict`.
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

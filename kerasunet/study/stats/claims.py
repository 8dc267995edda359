"""The paper's claims: what each says, how it is measured, and its verdict.

Two claims are about each scenario by itself, one about ultrasound against X-ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import pandas as pd

from kerasunet.objects import Modality, modality_of
from kerasunet.study.results import Scenario, StudyResults
from kerasunet.study.stats.comparison import signed_rank
from kerasunet.study.stats.scores import (
    BootstrapMeans,
    Contrast,
    ContrastEstimate,
    Scores,
    curve_contrast,
    scores_of,
)
from kerasunet.study.stats.training_sets import MeansOverSets, holm

Verdict = Literal["supported", "contradicted", "undecided"]
LEVEL = 0.05
PATHS, CURVES = "contracting - expanding", "shallow - deep"
"""The two effects that the claims are about."""
Estimates = Mapping[tuple[Scenario, str], ContrastEstimate | None]
"""Scenario and effect to what was measured; `None` where runs are missing."""


@dataclass(frozen=True)
class Claim:
    """A named statement, and what the studies say about it.

    Attributes:
        name: `"contracting-above-expanding"`, `"shallow-first-above-deep-first"` or
            `"ultrasound-differs-from-x-ray"`.
        statement: What is claimed, in words.
        effect: What is measured: `"contracting - expanding"`, or `"shallow - deep"` for the area
            between the curves.
        data: Name of the data set; `"A, B"` where the claim is about two.
        train_size: Number of training images.
        verdict: By the rule of `verdict`.
        estimate: The effect, in Dice; of two data sets, the first's minus the second's. Above 0
            agrees with the claim. `None`, as are the other numbers, where runs are missing.
        low: Lower bound of the 95 % interval of the estimate.
        high: Upper bound.
        p_value: Of Wilcoxon's signed-rank test on patients, or of Student's test over disjoint
            training sets, where the claim has a test.
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

    @property
    def measured(self) -> tuple[float, float, float] | None:
        """The estimate with both bounds; `None` where runs are missing."""
        if self.estimate is None or self.low is None or self.high is None:
            return None
        return self.estimate, self.low, self.high


def verdict(low: float, high: float, p_adjusted: float | None = None) -> Verdict:
    """Judge an effect that is claimed to be above zero.

    Args:
        low: Lower bound of the 95 % interval of the effect; NaN where it is unknown.
        high: Upper bound.
        p_adjusted: The p-value of the test after Holm's correction, where the claim has a test.

    Returns:
        `"supported"` where the interval lies above 0 and the test, if any, is below 0.05;
        `"contradicted"` where it lies below 0, the test likewise; else `"undecided"`.
    """
    if p_adjusted is not None and not p_adjusted < LEVEL:
        return "undecided"
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


def check_claims(results: StudyResults) -> tuple[Claim, ...]:
    """Check the claims of Amiri, Brooks and Rivaz (arXiv 2002.08438).

    1. `contracting-above-expanding`, on every data set at every training size: mean paired
       difference in Dice, with Wilcoxon's signed-rank test on patients.
    2. `shallow-first-above-deep-first`, likewise: area between the two curves.
    3. `ultrasound-differs-from-x-ray`, for every pair of an ultrasound and an X-ray data set at
       every training size that both have: either effect is larger in ultrasound. This is an
       interaction of independent patients, in Dice; because Dice cannot exceed 1, effects must be
       small where all strategies come close to it.

    **Verdict.** *Supported*: the 95 % bootstrap interval lies above 0 and, for the first claim,
    p is below 0.05 after Holm's correction over all its data sets and training sizes. In studies of
    disjoint training sets, interval and p are over sets and patients together.
    *Contradicted*: the same, below 0. *Undecided*: anything else, missing runs included.

    Args:
        results: Results of one or several studies; runs state which of the missing ones failed.

    Returns:
        The claims, in the order above; an unfinished study has undecided ones.

    Raises:
        ValueError: A column is missing, a value is not finite, or a case appears twice.
    """
    scores = scores_of(results)
    contrasts: Mapping[str, Contrast] = {
        PATHS: {"contracting": 1.0, "expanding": -1.0},
        CURVES: curve_contrast("shallow", "deep", results.depth),
    }
    estimates: Estimates = {
        (part.scenario, effect): part.estimate(contrast)
        for part, (effect, contrast) in product(scores, contrasts.items())
    }
    paths, curves = (
        [
            _about_scenario(part, effect, contrast, estimates=estimates, runs=results.runs)
            for part in scores
        ]
        for effect, contrast in contrasts.items()
    )
    scenarios = [part.scenario for part in scores]
    modalities = [
        c for effect in contrasts for c in _about_modalities(scenarios, effect, estimates)
    ]
    return (*_with_tests(paths), *curves, *modalities)


_NAMES = {PATHS: "contracting-above-expanding", CURVES: "shallow-first-above-deep-first"}
_STATEMENTS = {
    PATHS: "tuning the contracting path gives a higher Dice than tuning the expanding path",
    CURVES: "tuning the first K blocks gives a higher Dice than tuning the last K, on average "
    "over K",
}


def _about_scenario(
    scores: Scores,
    effect: str,
    contrast: Contrast,
    *,
    estimates: Estimates,
    runs: pd.DataFrame,
) -> Claim:
    """Judge a claim about one scenario by its interval; its test, if any, waits for the others."""
    estimate = estimates[scores.scenario, effect]
    statement = f"{scores.scenario}: {_STATEMENTS[effect]}"
    claim = Claim(_NAMES[effect], statement, effect, *scores.scenario)
    if estimate is None:
        return replace(claim, explanation=_what_is_missing(scores, contrast, runs))
    names = _other_names(scores, contrast)
    claim = _with_interval(claim, estimate.means, _basis(estimate) + names)
    return claim if effect != PATHS else replace(claim, p_value=_p_value(estimate))


def _p_value(estimate: ContrastEstimate) -> float:
    if isinstance(estimate.means, MeansOverSets):
        return estimate.means.p_value()
    by_group = estimate.per_case.groupby(level="group").mean()
    return signed_rank(by_group.round(10))[0]


def _other_names(scores: Scores, contrast: Contrast) -> str:
    """Tell which strategies stand for those of the claim where they have another rate."""
    found = [scores.find(strategy) for strategy in contrast]
    others = [name for name in found if name and "*" in name]
    return f"; measured by {', '.join(others)}" if others else ""


def _with_interval(claim: Claim, means: BootstrapMeans | MeansOverSets, explanation: str) -> Claim:
    estimate, (low, high) = float(means.means[0]), means.interval()
    return replace(
        claim,
        verdict=verdict(low, high),
        estimate=estimate,
        low=low,
        high=high,
        explanation=f"{_in_words(estimate, low, high)}; {explanation}",
    )


def _with_tests(claims: Sequence[Claim]) -> list[Claim]:
    """Judge claims by their tests too, corrected for how many there are."""
    adjusted = iter(holm([claim.p_value for claim in claims if claim.p_value is not None]))
    return [
        claim if claim.p_value is None else _with_test(claim, float(next(adjusted)))
        for claim in claims
    ]


def _with_test(claim: Claim, p_adjusted: float) -> Claim:
    assert claim.measured is not None, "only what was measured is tested"
    _, low, high = claim.measured
    relation = "below" if p_adjusted < LEVEL else "not below"
    text = f"p after Holm {p_adjusted:.2g}, {relation} {LEVEL}"
    return replace(
        claim,
        p_adjusted=p_adjusted,
        verdict=verdict(low, high, p_adjusted),
        explanation=f"{claim.explanation}; {text}",
    )


def _in_words(estimate: float, low: float, high: float) -> str:
    if low != low:
        return f"{estimate:+.4f} Dice, interval unknown: too few groups or training sets"
    return f"{estimate:+.4f} Dice (95 % interval {low:+.4f} to {high:+.4f})"


def _basis(estimate: ContrastEstimate) -> str:
    """Tell in words how much an estimate rests on."""
    folds = estimate.fold_means
    unit = "training sets" if isinstance(estimate.means, MeansOverSets) else "folds"
    return (
        f"above 0 in {int((folds > 0).sum())} of {len(folds)} {unit}, "
        f"{len(estimate.per_case)} cases in {estimate.groups} groups"
    )


def _what_is_missing(scores: Scores, contrast: Contrast, runs: pd.DataFrame) -> str:
    missing = scores.missing(contrast)
    if not missing:
        return f"no case was tested with all of {', '.join(contrast)} and the same seed"
    return "no finished run of " + ", ".join(
        strategy + _failures(strategy, scores.scenario, runs) for strategy in missing
    )


def _failures(strategy: str, scenario: Scenario, runs: pd.DataFrame) -> str:
    here = (runs["data"] == scenario.data) & (runs["train_size"] == scenario.train_size)
    failed = runs[here & (runs["strategy"] == strategy) & (runs["status"] == "failed")]
    folds = ", ".join(str(fold) for fold in sorted(failed["fold"].unique()))
    return f" (failed in fold {folds})" if folds else ""


_INTERACTION = "ultrasound-differs-from-x-ray"
_STATEMENTS_OF_INTERACTION = {
    PATHS: "tuning the contracting path is further ahead of tuning the expanding path",
    CURVES: "tuning the first K blocks is further ahead of tuning the last K, on average over K,",
}


def _about_modalities(
    scenarios: Sequence[Scenario], effect: str, estimates: Estimates
) -> list[Claim]:
    """Compare an effect between every ultrasound and every X-ray data set of a training size.

    Returns:
        The claims in order of training size; one undecided claim at a size that lacks either.
    """
    sizes = sorted({scenario.train_size for scenario in scenarios})
    return [
        claim
        for size in sizes
        for claim in _modalities_at(size, scenarios, effect, estimates=estimates)
    ]


def _modalities_at(
    size: int, scenarios: Sequence[Scenario], effect: str, *, estimates: Estimates
) -> list[Claim]:
    there = [scenario for scenario in scenarios if scenario.train_size == size]
    ultrasound, x_ray = _of_modality(there, "ultrasound"), _of_modality(there, "xray")
    if not ultrasound or not x_ray:
        return [_without_partner(size, effect, ultrasound, x_ray=x_ray)]
    return [
        _interaction(first, second, effect, estimates=estimates)
        for first, second in product(ultrasound, x_ray)
    ]


def _of_modality(scenarios: Sequence[Scenario], modality: Modality) -> list[Scenario]:
    return [scenario for scenario in scenarios if modality_of(scenario.data) == modality]


def _without_partner(
    size: int, effect: str, ultrasound: Sequence[Scenario], *, x_ray: Sequence[Scenario]
) -> Claim:
    kinds = {"ultrasound": ultrasound, "X-ray": x_ray}
    lacking = " and ".join(f"no {kind} data set" for kind, found in kinds.items() if not found)
    names = [scenario.data for scenario in (*ultrasound, *x_ray)]
    claim = _undecided(size, effect, names, sides=("ultrasound", "X-ray"))
    return replace(claim, explanation=f"there is {lacking} with {size} training images")


def _interaction(first: Scenario, second: Scenario, effect: str, *, estimates: Estimates) -> Claim:
    names = [first.data, second.data]
    sides = (f"{first.data} (ultrasound)", f"{second.data} (X-ray)")
    claim = _undecided(first.train_size, effect, names, sides=sides)
    both = (first, second)
    found = {s: estimate for s in both if (estimate := estimates[s, effect]) is not None}
    unknown = [scenario.data for scenario in both if scenario not in found]
    if unknown:
        return replace(claim, explanation=f"runs are missing in {' and '.join(unknown)}")
    explanation = "; ".join(
        f"{scenario.data} {estimate.mean:+.4f}, {_basis(estimate)}"
        for scenario, estimate in found.items()
    )
    difference = _difference(found[first].means, found[second].means)
    if difference is None:
        reason = "only one of the two studies has disjoint training sets"
        return replace(claim, explanation=f"{explanation}; not compared, because {reason}")
    return _with_interval(claim, difference, explanation)


def _difference(
    first: BootstrapMeans | MeansOverSets, second: BootstrapMeans | MeansOverSets
) -> BootstrapMeans | MeansOverSets | None:
    if isinstance(first, BootstrapMeans) and isinstance(second, BootstrapMeans):
        return first.minus(second)
    if isinstance(first, MeansOverSets) and isinstance(second, MeansOverSets):
        return first.minus(second)
    return None


def _undecided(size: int, effect: str, names: Sequence[str], *, sides: tuple[str, str]) -> Claim:
    more, less = sides
    lead = _STATEMENTS_OF_INTERACTION[effect]
    statement = f"{size} training images: {lead} in {more} than in {less}"
    return Claim(_INTERACTION, statement, effect, data=", ".join(names), train_size=size)

"""Paired comparisons of strategies: differences, intervals, Wilcoxon's test, Holm's correction.

The automatic choice is compared with the best and the worst fixed strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata, wilcoxon

from kerasunet.metrics import METRICS
from kerasunet.strategies import NetworkLayout, StrategyError, find, parse
from kerasunet.study.results import USUAL_DEPTH, Scenario, StudyResults
from kerasunet.study.stats.scores import (
    CASE,
    Contrast,
    Scores,
    scores_at,
    scores_of,
)
from kerasunet.study.stats.training_sets import MeansOverSets, holm

_NOT_FIXED = ("none", "scratch")
_COLUMNS = (
    *("data", "train_size", "auto", "chosen", "cases", "mean", "best", "best_mean"),
    *("worst", "worst_mean", "regret", "regret_low", "regret_high", "share"),
)


def signed_rank(differences: ArrayLike) -> tuple[float, float]:
    """Test paired differences with Wilcoxon's signed-rank test, two-sided.

    Zeros are left out (Wilcoxon, Biometrics Bulletin 1945). The effect size is the matched-pairs
    rank-biserial correlation (Kerby, "The simple difference formula", 2014): the share of rank sums
    in favor of the first minus the share against it.

    Args:
        differences: First minus second, one per independent pair, (n,).

    Returns:
        The p-value, and the effect size, -1 to 1; 1 and 0 where all differences are zero.
    """
    d = np.asarray(differences, dtype=float)
    d = d[d != 0]
    if d.size == 0:
        return 1.0, 0.0
    ranks = rankdata(np.abs(d))
    return float(wilcoxon(d).pvalue), float((ranks * np.sign(d)).sum() / ranks.sum())


Pair = tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """One strategy minus another, paired over cases and seeds.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        first: The one strategy, as the study names it.
        second: The other.
        cases: Cases that both were tested on.
        difference: Mean over cases, first minus second, in units of the metric.
        low: Lower bound of the 95 % interval of the difference.
        high: Upper bound.
        p_value: Of Wilcoxon's signed-rank test; where training sets are disjoint, of Student's
            test over these.
        p_adjusted: After Holm's correction over the comparisons made together.
        effect_size: Matched-pairs rank-biserial correlation, -1 to 1; above 0 where the first has
            the larger values.
        wins: Cases on which the first is better, whichever direction is better in the metric.
        losses: Cases on which the second is better.
        ties: Cases on which they are equal.
        groups: Patients that the cases come from.
        sets: Disjoint training sets that were resampled with the patients; 0 in a study whose sets
            overlap.
    """

    data: str
    train_size: int
    first: str
    second: str
    cases: int
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    effect_size: float
    wins: int
    losses: int
    ties: int
    groups: int
    sets: int = 0


def compare(
    results: StudyResults,
    first: str,
    second: str,
    *,
    data: str,
    train_size: int,
    metric: str = "dice",
) -> Comparison:
    """Compare two strategies on the cases that both were tested on.

    The interval is a bootstrap over patients within folds. The test is Wilcoxon's signed-rank
    test on one difference per patient, the mean over the patient's cases: several images of one
    patient are not independent, and a test that treats them as such finds differences too easily.
    In a study of disjoint training sets, interval and test are over sets and patients together
    (`kerasunet.study.stats.training_sets`).

    Args:
        results: Results of one or several studies.
        first: Strategy text; an equal strategy that the study ran under another name is found.
        second: Likewise.
        data: Name of the data set.
        train_size: Number of training images.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        The comparison; its adjusted p-value is the p-value, because it was made alone.

    Raises:
        ValueError: A strategy has no run there, or they share no case.
    """
    scores = scores_at(results, Scenario(data, train_size), metric)
    one, other = scores.find(first), scores.find(second)
    if one is None or other is None:
        missing = " and ".join(t for t, f in ((first, one), (second, other)) if f is None)
        raise ValueError(
            f"{scores.scenario}: no finished run of {missing}; choose from "
            f"{', '.join(scores.strategies)}"
        )
    compared = _compare(scores, [(one, other)], metric)
    if not compared:
        raise ValueError(f"{scores.scenario}: no case was tested with both {first} and {second}")
    return compared[0]


def compare_all(
    results: StudyResults, pairs: Sequence[Pair] | None = None, metric: str = "dice"
) -> tuple[Comparison, ...]:
    """Compare pairs of strategies in every scenario.

    Args:
        results: Results of one or several studies.
        pairs: Pairs of strategy texts; those that lack runs are left out. `None` takes
            `planned_pairs`; for all pairs, give `itertools.combinations` of the strategies.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        Comparisons in order of data set, training size and pair; p-values are adjusted by Holm's
        method within each data set and training size.
    """
    return tuple(
        comparison
        for scores in scores_of(results, metric)
        for comparison in _adjusted(_compare(scores, _available(scores, pairs), metric))
    )


def planned_pairs(strategies: Sequence[str], depth: int = USUAL_DEPTH) -> tuple[Pair, ...]:
    """Return the pairs of strategies that a study is made to compare.

    Contracting against expanding; the first K blocks against the last K; every strategy against
    training everything.

    Args:
        strategies: Strategies that were run.
        depth: Depth of the U-Net.

    Returns:
        Pairs of those strategies, each once.
    """
    counts = range(1, len(NetworkLayout.unet(depth).blocks))
    wanted = [("contracting", "expanding")]
    wanted += [(f"shallow:{count}", f"deep:{count}") for count in counts]
    wanted += [(strategy, "all") for strategy in strategies]
    found = ((find(a, strategies, depth), find(b, strategies, depth)) for a, b in wanted)
    return tuple(dict.fromkeys((a, b) for a, b in found if a and b and a != b))


def _available(scores: Scores, pairs: Sequence[Pair] | None) -> list[Pair]:
    if pairs is None:
        return list(planned_pairs(scores.strategies, scores.depth))
    found = [(scores.find(first), scores.find(second)) for first, second in pairs]
    return [(first, second) for first, second in found if first and second]


def _compare(scores: Scores, pairs: Sequence[Pair], metric: str) -> list[Comparison]:
    """Compare pairs on what they share; those that share no case are left out."""
    differences = scores.per_case([_contrast(*pair) for pair in pairs]) if pairs else pd.DataFrame()
    differences = differences.dropna(axis="columns", how="all")
    if differences.empty:
        return []
    means = scores.means(differences)
    bounds = zip(means.means, *means.intervals(), strict=True)
    higher_is_better = METRICS[metric].higher_is_better
    found = [
        _compared(
            scores.scenario,
            pairs[column],
            differences[column].dropna(),
            bounds=bound,
            higher_is_better=higher_is_better,
        )
        for column, bound in zip(differences.columns, bounds, strict=True)
    ]
    if not isinstance(means, MeansOverSets):
        return found
    return [_over_sets(one, means, column) for column, one in enumerate(found)]


def _over_sets(one: Comparison, means: MeansOverSets, column: int) -> Comparison:
    p_value, sets = means.p_value(column), int(means.freedom[column]) + 1
    return replace(one, p_value=p_value, p_adjusted=p_value, sets=sets)


def _contrast(first: str, second: str) -> Contrast:
    return {first: 1.0, second: -1.0} if first != second else {first: 0.0}


def _compared(
    scenario: Scenario,
    pair: Pair,
    differences: pd.Series,
    *,
    bounds: tuple[float, float, float],
    higher_is_better: bool,
) -> Comparison:
    """Test the differences of a pair case by case; `bounds` are their mean and its interval."""
    by_group = differences.groupby(level="group").mean()
    p_value, effect_size = signed_rank(by_group.round(10))
    better = differences if higher_is_better else -differences
    difference, low, high = map(float, bounds)
    return Comparison(
        data=scenario.data,
        train_size=scenario.train_size,
        first=pair[0],
        second=pair[1],
        cases=len(differences),
        difference=difference,
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=p_value,
        effect_size=effect_size,
        wins=int(np.sum(better > 0)),
        losses=int(np.sum(better < 0)),
        ties=int(np.sum(better == 0)),
        groups=len(by_group),
    )


def _adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    adjusted = holm([comparison.p_value for comparison in comparisons])
    return [
        replace(comparison, p_adjusted=float(p))
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]


def summarize_auto(results: StudyResults) -> pd.DataFrame:
    """Compare `auto` and `auto:search` with the best and the worst fixed strategy.

    Fixed strategies are those that tune some weights of the initial model, so neither `none` nor
    `scratch`; only those tested on all cases that the automatic choice was tested on are included.
    Best and worst are picked on the same cases on which they are then measured. No choice made from
    training images can have this hindsight, so regret is more likely over- than understated.

    Args:
        results: Results of one or several studies; runs state what was chosen.

    Returns:
        A row for each data set, training size and automatic variant. Columns: data, train_size,
        auto; chosen (`"fold 0: shallow:3, fold 1: all"`); cases; mean (Dice); best, best_mean,
        worst, worst_mean (fixed strategies); regret (best minus automatic) with the 95 % interval
        regret_low, regret_high; share (of the way from worst to best, 1 is best; NaN where these
        are equal). Without a fixed strategy to compare with, texts are empty and numbers are NaN.
    """
    rows = [
        _row(scores, strategy, results)
        for scores in scores_of(results)
        for strategy in scores.strategies
        if _is_auto(strategy)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _row(scores: Scores, auto: str, results: StudyResults) -> dict[str, object]:
    tested = scores.values[scores.values[auto].notna()]
    values = tested.groupby(level=CASE).mean()
    fixed = _fixed(tested)
    means = values[[auto, *fixed]].mean()
    row = {
        **scores.scenario._asdict(),
        "auto": auto,
        "chosen": _chosen(auto, results.at(scores.scenario).finished),
        "cases": len(values),
        "mean": means[auto],
    }
    return {**row, **(_against_fixed(scores, auto, means) if fixed else _without_fixed())}


def _against_fixed(scores: Scores, auto: str, means: pd.Series) -> dict[str, object]:
    fixed = means.drop(auto)
    best, worst = fixed.idxmax(), fixed.idxmin()
    regret = scores.means(scores.per_case([{best: 1.0, auto: -1.0}]))
    low, high = regret.interval()
    way = fixed[best] - fixed[worst]
    return {
        "best": best,
        "best_mean": fixed[best],
        "worst": worst,
        "worst_mean": fixed[worst],
        "regret": float(regret.means[0]),
        "regret_low": low,
        "regret_high": high,
        "share": (means[auto] - fixed[worst]) / way if way > 0 else np.nan,
    }


def _without_fixed() -> dict[str, object]:
    numbers = ("best_mean", "worst_mean", "regret", "regret_low", "regret_high", "share")
    return {"best": "", "worst": "", **dict.fromkeys(numbers, np.nan)}


def _fixed(tested: pd.DataFrame) -> list[str]:
    complete = tested.columns[tested.notna().all()]
    return [text for text in complete if text not in _NOT_FIXED and not _is_auto(text)]


def _is_auto(text: str) -> bool:
    try:
        return parse(text).is_auto
    except StrategyError:
        return False


def _chosen(auto: str, finished: pd.DataFrame) -> str:
    made = finished[finished["strategy"] == auto]
    by_fold = made.sort_values(["fold", "seed"]).groupby("fold")["chosen"]
    return ", ".join(f"fold {fold}: {' / '.join(texts.unique())}" for fold, texts in by_fold)

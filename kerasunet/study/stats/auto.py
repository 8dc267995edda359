"""Where the automatic choice lands between the best and the worst fixed strategy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kerasunet.strategies import StrategyError, parse
from kerasunet.study.results import StudyResults
from kerasunet.study.stats.bootstrap import bootstrap_means
from kerasunet.study.stats.scores import CASE, Scores, scores_of

_NOT_FIXED = ("none", "scratch")
_COLUMNS = (
    *("data", "train_size", "auto", "chosen", "cases", "mean", "best", "best_mean"),
    *("worst", "worst_mean", "regret", "regret_low", "regret_high", "share"),
)


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
    per_case = scores.per_case([{best: 1.0, auto: -1.0}])
    regret = bootstrap_means(per_case, scores.scenario.data)
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

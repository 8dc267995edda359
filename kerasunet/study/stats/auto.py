"""Where the automatic choice lands between the best and the worst fixed strategy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kerasunet.strategies import StrategyError, parse
from kerasunet.study.stats.grid import Grid, grids
from kerasunet.study.stats.resampling import resample

_NOT_FIXED = ("none", "scratch")
_COLUMNS = (
    *("data", "train_size", "auto", "chosen", "cases", "mean", "best", "best_mean"),
    *("worst", "worst_mean", "regret", "regret_low", "regret_high", "share"),
)


def auto_report(cases: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Places `auto` and `auto:search` among the fixed strategies.

    Fixed strategies are those that tune some weights of the initial model, so neither `none` nor
    `scratch`; only those tested on all cases that the automatic choice was tested on take part.
    Best and worst are picked by the very cases they are then measured on: hindsight that no
    choice made from training images can have, so regret is rather over- than understated.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.results.read_tables` gives them.
        runs: Rows of the same studies; they tell what was chosen.

    Returns:
        A row for each data set, training size and automatic variant. Columns: data, train_size,
        auto; chosen (`"fold 0: shallow:3, fold 1: all"`); cases; mean (Dice); best, best_mean,
        worst, worst_mean (fixed strategies); regret (best minus automatic) with the 95 % interval
        regret_low, regret_high; share (of the way from worst to best, 1 is best; NaN where these
        are equal). Without a fixed strategy to compare with, the texts are empty and the numbers
        NaN.
    """
    rows = [
        _row(grid, strategy, runs)
        for grid in grids(cases)
        for strategy in grid.strategies
        if _is_auto(strategy)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _row(grid: Grid, auto: str, runs: pd.DataFrame) -> dict[str, object]:
    tested = grid.values[grid.values[auto].notna()]
    values = tested.groupby(level=["fold", "group", "key"]).mean()
    fixed = _fixed(tested)
    means = values[[auto, *fixed]].mean()
    row = {
        "data": grid.data,
        "train_size": grid.train_size,
        "auto": auto,
        "chosen": _chosen(grid, auto, runs),
        "cases": len(values),
        "mean": means[auto],
    }
    return {**row, **(_place(grid, auto, means) if fixed else _nowhere())}


def _place(grid: Grid, auto: str, means: pd.Series) -> dict[str, object]:
    fixed = means.drop(auto)
    best, worst = fixed.idxmax(), fixed.idxmin()
    regret = resample(grid.per_case([{best: 1.0, auto: -1.0}]), grid.data)
    low, high = regret.intervals()
    way = fixed[best] - fixed[worst]
    return {
        "best": best,
        "best_mean": fixed[best],
        "worst": worst,
        "worst_mean": fixed[worst],
        "regret": float(regret.means[0]),
        "regret_low": float(low[0]),
        "regret_high": float(high[0]),
        "share": (means[auto] - fixed[worst]) / way if way > 0 else np.nan,
    }


def _nowhere() -> dict[str, object]:
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


def _chosen(grid: Grid, auto: str, runs: pd.DataFrame) -> str:
    here = (runs["data"] == grid.data) & (runs["train_size"] == grid.train_size)
    made = runs[here & (runs["strategy"] == auto) & (runs["status"] == "finished")]
    by_fold = made.sort_values(["fold", "seed"]).groupby("fold")["chosen"]
    return ", ".join(f"fold {fold}: {' / '.join(texts.unique())}" for fold, texts in by_fold)

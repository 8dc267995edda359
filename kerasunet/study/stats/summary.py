"""Every strategy with its mean and interval."""

from __future__ import annotations

import pandas as pd

from kerasunet.study.stats.grid import Grid, grids
from kerasunet.study.stats.resampling import resample

_PLACE = ["data", "train_size", "strategy"]


def summarize(cases: pd.DataFrame, metric: str = "dice") -> pd.DataFrame:
    """Averages a metric for every data set, training size and strategy.

    Seeds are averaged per case first; then come the mean over cases and its 95 % interval by
    bootstrap over patients within folds (`kerasunet.study.stats.resampling`). In a study that has
    not finished, strategies may rest on different folds: compare them with `compare`, which pairs.

    Args:
        cases: Rows of one or several studies, as `kerasunet.study.tables.read_tables` gives them.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        Columns data, train_size, strategy, cases (different ones), runs, mean, low, high, missed
        (lesions without a predicted pixel on them, averaged over seeds); in the order in which
        data sets, sizes and strategies first appear.

    Raises:
        ValueError: A column is missing, or a case stands there twice.
    """
    parts = [_of_grid(grid) for grid in grids(cases, metric)]
    columns = [*_PLACE, "cases", "runs", "mean", "low", "high", "missed"]
    if not parts:
        return pd.DataFrame(columns=columns)
    counted = pd.concat(parts, ignore_index=True).merge(_missed(cases), on=_PLACE, how="left")
    return counted[columns]


def _of_grid(grid: Grid) -> pd.DataFrame:
    per_case = grid.per_case([{strategy: 1.0} for strategy in grid.strategies])
    found = resample(per_case, grid.data)
    low, high = found.intervals()
    return pd.DataFrame(
        {
            "data": grid.data,
            "train_size": grid.train_size,
            "strategy": grid.strategies,
            "cases": per_case.notna().sum().to_numpy(),
            "runs": [_runs(grid.values[strategy]) for strategy in grid.strategies],
            "mean": found.means,
            "low": low,
            "high": high,
        }
    )


def _runs(values: pd.Series) -> int:
    return len(values.dropna().index.droplevel(["group", "key"]).unique())


def _missed(cases: pd.DataFrame) -> pd.DataFrame:
    if "outcome" not in cases.columns:
        raise ValueError("the table of cases has no column outcome")
    missed = (cases["outcome"] == "missed").groupby(
        [cases[name] for name in (*_PLACE, "fold", "key")]
    )
    return missed.mean().groupby(level=_PLACE).sum().rename("missed").reset_index()

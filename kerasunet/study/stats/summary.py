"""The mean of a metric, with its interval, for every strategy in every scenario."""

from __future__ import annotations

import pandas as pd

from kerasunet.study.results import StudyResults
from kerasunet.study.stats.bootstrap import bootstrap_means
from kerasunet.study.stats.scores import Scores, scores_of

_BY = ["data", "train_size", "strategy"]


def summarize(results: StudyResults, metric: str = "dice") -> pd.DataFrame:
    """Average a metric for every data set, training size and strategy.

    Seeds are averaged per case first; then come the mean over cases and its 95 % interval by
    bootstrap over patients within folds (`kerasunet.study.stats.bootstrap`). In a study that has
    not finished, strategies may rest on different folds: compare them with `compare`, which pairs.

    Args:
        results: Results of one or several studies.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        Columns data, train_size, strategy, cases (different ones), runs, mean, low, high, missed
        (lesions without a predicted pixel on them, averaged over seeds); in the order in which
        data sets, sizes and strategies first appear.

    Raises:
        ValueError: A column is missing, a value is not finite, or a case stands there twice.
    """
    parts = [_summarize(scores) for scores in scores_of(results, metric)]
    columns = [*_BY, "cases", "runs", "mean", "low", "high", "missed"]
    if not parts:
        return pd.DataFrame(columns=columns)
    missed = _missed(results.cases)
    return pd.concat(parts, ignore_index=True).merge(missed, on=_BY, how="left")[columns]


def _summarize(scores: Scores) -> pd.DataFrame:
    per_case = scores.per_case([{strategy: 1.0} for strategy in scores.strategies])
    means = bootstrap_means(per_case, scores.scenario.data)
    low, high = means.intervals()
    return pd.DataFrame(
        {
            "data": scores.scenario.data,
            "train_size": scores.scenario.train_size,
            "strategy": scores.strategies,
            "cases": per_case.notna().sum().to_numpy(),
            "runs": [_runs(scores.values[strategy]) for strategy in scores.strategies],
            "mean": means.means,
            "low": low,
            "high": high,
        }
    )


def _runs(values: pd.Series) -> int:
    return len(values.dropna().index.droplevel(["group", "key"]).unique())


def _missed(cases: pd.DataFrame) -> pd.DataFrame:
    if "outcome" not in cases.columns:
        raise ValueError("the table of cases has no column outcome")
    missed = (cases["outcome"] == "missed").groupby([cases[name] for name in (*_BY, "fold", "key")])
    return missed.mean().groupby(level=_BY).sum().rename("missed").reset_index()

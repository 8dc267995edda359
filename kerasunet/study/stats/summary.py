"""Means of a metric, by strategy and along curves of tuned blocks; all statistics of a study."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from kerasunet.metrics import DETECTION_IOU, METRICS
from kerasunet.models.card_fields import MAY_HAVE_SEEN, seen_in_words
from kerasunet.strategies import find, parse
from kerasunet.study.results import DIRECTIONS, Scenario, StudyRecord, StudyResults, points
from kerasunet.study.stats.claims import Claim, check_claims
from kerasunet.study.stats.comparison import Comparison, compare_all, summarize_auto
from kerasunet.study.stats.scores import Scores, curve_contrast, scores_at, scores_of

_BY = ["data", "train_size", "strategy"]


def summarize(results: StudyResults, metric: str = "dice") -> pd.DataFrame:
    """Average a metric for every data set, training size and strategy.

    Seeds are averaged per case first; then come the mean over cases and its 95 % interval by
    bootstrap over patients within folds (`kerasunet.study.stats.scores`); in a study of disjoint
    training sets, the mean over sets with an interval over sets and patients. In an unfinished
    study, strategies may rest on different folds: compare them with `compare`, which pairs cases.

    Args:
        results: Results of one or several studies.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        Columns data, train_size, strategy, cases (different ones), runs, mean, low, high, missed
        (lesions whose IoU is below `DETECTION_IOU`, averaged over seeds); in the order in which
        data sets, sizes and strategies first appear.

    Raises:
        ValueError: A column is missing, a value is not finite, or a case appears twice.
    """
    largest = math.inf if METRICS[metric].is_distance else 1.0
    parts = [_summarize(scores, largest) for scores in scores_of(results, metric)]
    columns = [*_BY, "cases", "runs", "mean", "low", "high", "missed"]
    if not parts:
        return pd.DataFrame(columns=columns)
    missed = _missed(results.cases)
    return pd.concat(parts, ignore_index=True).merge(missed, on=_BY, how="left")[columns]


def _summarize(scores: Scores, largest: float) -> pd.DataFrame:
    per_case = scores.per_case([{strategy: 1.0} for strategy in scores.strategies])
    means = scores.means(per_case)
    low, high = (bounds.clip(0, largest) for bounds in means.intervals())  # Of few sets are wide.
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
    found = cases["outcome"] == "detected"
    if "iou" in cases.columns:  # Tables of version 0.1.0 call any touching pixel a detection.
        found &= cases["iou"] >= DETECTION_IOU
    lost = cases["outcome"].isin(("missed", "detected")) & ~found
    missed = lost.groupby([cases[name] for name in (*_BY, "fold", "key")])
    return missed.mean().groupby(level=_BY).sum().rename("missed").reset_index()


def summarize_curves(summary: pd.DataFrame, depth: int) -> pd.DataFrame:
    """List the points of all four curves that a study has runs for.

    Equal strategies are one run: the curves from either end meet in `none` and `all`, and that
    from the shallow end goes through `contracting`, that from the deep end through `expanding`.

    Args:
        summary: What `kerasunet.study.stats.summarize` returns.
        depth: Depth of the U-Net.

    Returns:
        Columns data, train_size, direction (one of `DIRECTIONS`), count (the K of the strategy: a
        number of blocks, or of levels for `outer` and `inner`), blocks (how many train), strategy
        (as the study names it), mean, low, high. A direction is listed only where it has a
        separate strategy besides the two ends.
    """
    rows = [
        {"data": data, "train_size": size, "direction": direction, **row}
        for (data, size), part in summary.groupby(["data", "train_size"], sort=False)
        for direction in DIRECTIONS
        for row in _curve(direction, part.set_index("strategy"), depth)
    ]
    columns = ["data", "train_size", "direction", "count", "blocks", "strategy"]
    return pd.DataFrame(rows, columns=[*columns, "mean", "low", "high"])


def _curve(direction: str, summary: pd.DataFrame, depth: int) -> list[dict[str, object]]:
    found = [
        (point, find(point.strategy, summary.index, depth)) for point in points(direction, depth)
    ]
    inner = found[1:-1]
    if not any(name for _, name in inner):
        return []
    return [
        {
            "count": point.count,
            "blocks": point.blocks,
            "strategy": name,
            **{column: summary.at[name, column] for column in ("mean", "low", "high")},
        }
        for point, name in found
        if name is not None
    ]


@dataclass(frozen=True)
class AreaBetweenCurves:
    """How far one curve lies above another on average.

    Attributes:
        data: Name of the data set.
        train_size: Number of training images.
        first: Direction of the one curve.
        second: Direction of the other.
        cases: Cases that all strategies of both curves were tested on.
        mean: Mean height of the first above the second, in units of the metric.
        low: Lower bound of the 95 % interval.
        high: Upper bound.
    """

    data: str
    train_size: int
    first: str
    second: str
    cases: int
    mean: float
    low: float
    high: float


def area_between_curves(
    results: StudyResults,
    first: str = "shallow",
    second: str = "deep",
    *,
    data: str,
    train_size: int,
    metric: str = "dice",
) -> AreaBetweenCurves:
    """Measure the area between two curves over the number of tuned blocks.

    It is divided by the number of blocks, so that it reads as a mean difference. The interval is
    a bootstrap over patients within folds.

    Args:
        results: Results of one or several studies.
        first: `"shallow"`, `"deep"`, `"outer"` or `"inner"`.
        second: Likewise.
        data: Name of the data set.
        train_size: Number of training images.
        metric: A name of `kerasunet.metrics.METRICS`.

    Returns:
        The area.

    Raises:
        ValueError: The directions are the same or unknown, a strategy of the curves has no run
            there, or no case was tested with all of them.
    """
    if first == second:
        raise ValueError(f"{first} against {second}: give two different directions")
    scores = scores_at(results, Scenario(data, train_size), metric)
    contrast = curve_contrast(first, second, results.depth)
    if missing := scores.missing(contrast):
        raise ValueError(f"{scores.scenario}: no finished run of {', '.join(missing)}")
    estimate = scores.estimate(contrast)
    if estimate is None:
        raise ValueError(f"{scores.scenario}: no case was tested with all of {', '.join(contrast)}")
    cases = len(estimate.per_case)
    return AreaBetweenCurves(
        data, train_size, first, second, cases, estimate.mean, *estimate.interval
    )


class StudyStatistics:
    """What figures, reports, the command line and the demo say about study results.

    Attributes:
        results: The results of one study, or of several of different data sets.
    """

    def __init__(self, results: StudyResults):
        self.results = results

    @cached_property
    def of_objects(self) -> dict[str, StudyStatistics]:
        """The statistics of each object by its name, where there are several."""
        return {name: StudyStatistics(self.results.of(name)) for name in self.results.objects}

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Mean Dice with its interval, by data set, training size and strategy."""
        return summarize(self.results)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Mean Dice against the number of tuned blocks, by direction."""
        return summarize_curves(self.summary, self.results.depth)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The planned comparisons of strategies."""
        return compare_all(self.results)

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The paper's claims with their verdicts."""
        return check_claims(self.results)

    @cached_property
    def auto(self) -> pd.DataFrame:
        """The automatic choice against the best and the worst fixed strategy."""
        return summarize_auto(self.results)

    def summary_of(self, scenario: Scenario) -> pd.DataFrame:
        """Return the summary of one scenario, by strategy."""
        return _at(scenario, self.summary).set_index("strategy")

    def ranking_of(self, scenario: Scenario) -> pd.DataFrame:
        """Return the summary of the strategies of which no run has failed, best first.

        The mean of one that failed in a fold rests on the others, which may be easier. All are
        ranked if every one has failed somewhere.
        """
        runs, summary = self.results.at(scenario).runs, self.summary_of(scenario)
        whole = summary[~summary.index.isin(runs.loc[runs["status"] == "failed", "strategy"])]
        ranked = whole if len(whole) else summary
        return ranked.sort_values("mean", ascending=False, kind="stable")

    def best_fixed(self, scenario: Scenario) -> str:
        """Return the fixed strategy with the best mean Dice, which a model can be trained with.

        Those that choose again in every run, `auto` and `rgn`, are not candidates.

        Raises:
            ValueError: There is no fixed strategy.
        """
        ranked = [*self.ranking_of(scenario).index, *self.summary_of(scenario).index]
        fixed = [text for text in ranked if text == "scratch" or not parse(text).is_measured]
        if not fixed:
            raise ValueError(
                f"{scenario.data}: the study has no fixed strategy to train a model with"
            )
        return str(fixed[0])

    def curves_of(self, scenario: Scenario) -> pd.DataFrame:
        """Return the curves of one scenario."""
        return _at(scenario, self.curves)

    def comparisons_of(self, scenario: Scenario) -> list[Comparison]:
        """Return the planned comparisons in one scenario."""
        return [c for c in self.comparisons if (c.data, c.train_size) == scenario]

    def claim(self, name: str, scenario: Scenario) -> Claim:
        """Return the claim of this name about one scenario."""
        return next(c for c in self.claims if c.name == name and (c.data, c.train_size) == scenario)


def _at(scenario: Scenario, table: pd.DataFrame) -> pd.DataFrame:
    data, train_size = scenario
    return table[(table["data"] == data) & (table["train_size"] == train_size)]


def seen_by_starts(results: StudyResults) -> tuple[str, ...]:
    """Return which starts have seen held-out cases, or may have, in sentences."""
    found = ((study, _seen_by_start(results, study)) for study in results.studies)
    return tuple(
        f"{study.name}: the start, {study.protocol['run']['init']}, {told}."
        for study, told in found
        if told
    )


def _seen_by_start(results: StudyResults, study: StudyRecord) -> str:
    keys = set(results.cases.loc[results.cases["data"] == study.name, "key"])
    if study.start is None or study.protocol["run"]["init"] == "scratch":
        return ""
    if not study.start["is_known"]:
        return MAY_HAVE_SEEN
    count = len(keys.intersection(study.start["seen"]))
    return seen_in_words(count, len(keys)) if count else ""

"""What was measured in one scenario, case by case, and contrasts between its strategies.

A study runs strategies that train the same weights only once, so a strategy is looked up by what
it trains, not by its text alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from kerasunet.strategies import NetworkLayout, StrategyError, parse
from kerasunet.study.results import USUAL_DEPTH, Scenario, StudyResults
from kerasunet.study.stats.bootstrap import BootstrapMeans, bootstrap_means


def find(wanted: str, available: Iterable[str], depth: int = USUAL_DEPTH) -> str | None:
    """Find a strategy among those of a study, even under another name.

    Args:
        wanted: Strategy text, such as `"shallow:5"`.
        available: Strategy texts of the study, such as `"contracting"`.
        depth: Depth of the U-Net.

    Returns:
        The text itself if it is available, else one that trains the same weights, else `None`.
    """
    available = tuple(available)
    if wanted in available:
        return wanted
    trains = what_trains(wanted, depth)
    return next((text for text in available if what_trains(text, depth) == trains), None)


@lru_cache(maxsize=4096)
def what_trains(text: str, depth: int = USUAL_DEPTH) -> Hashable:
    """Return what a strategy trains, and at which rates; its text where that does not determine it.

    `scratch` and `auto` are such texts, and so are strategies that do not fit the network.
    """
    try:
        strategy = parse(text)
        return text if strategy.is_auto else strategy.effect(_network(depth))
    except StrategyError:
        return text


def trained_blocks(text: str, depth: int = USUAL_DEPTH) -> int:
    """Count the blocks of which a fixed strategy trains any weight."""
    return len({weight.block for weight in parse(text).select(_network(depth))})


@lru_cache(maxsize=8)
def _network(depth: int) -> NetworkLayout:
    return NetworkLayout.unet(depth)


CASE = ["fold", "group", "key"]
_IDENTITY = ["data", "strategy", "fold", "train_size", "seed", "key"]
Contrast = Mapping[str, float]
"""Strategy text to its weight in a weighted sum of means, as the analysis of variance calls it."""


@dataclass(frozen=True, eq=False)
class ContrastEstimate:
    """A contrast as measured in one scenario.

    Attributes:
        per_case: The contrast on each case, index fold, group, key.
        bootstrap: Its mean with the bootstrap distribution.
    """

    per_case: pd.Series
    bootstrap: BootstrapMeans

    @property
    def mean(self) -> float:
        """Mean over cases."""
        return float(self.bootstrap.means[0])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean; NaN where it is unknown."""
        return self.bootstrap.interval()

    @property
    def groups(self) -> int:
        """Number of patients."""
        return self.per_case.index.get_level_values("group").nunique()

    @property
    def fold_means(self) -> pd.Series:
        """Mean over the cases of each fold."""
        return self.per_case.groupby(level="fold").mean()


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured in one scenario.

    Attributes:
        scenario: Data set and training size.
        values: Index fold, group, key, seed; one column per strategy; NaN where a run is missing.
        depth: Depth of the U-Net, to know equal strategies by.
    """

    scenario: Scenario
    values: pd.DataFrame
    depth: int = USUAL_DEPTH

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies that any run was finished for."""
        return tuple(self.values.columns)

    def find(self, strategy: str) -> str | None:
        """Return the name under which a strategy was run here, `None` if it was not."""
        return find(strategy, self.strategies, self.depth)

    def per_case(self, contrasts: Sequence[Contrast]) -> pd.DataFrame:
        """Compute contrasts for every case, averaged over seeds.

        Strategies are contrasted within a case and seed, so a missing run removes its partners and
        does not upset the balance.

        Args:
            contrasts: Each gives weights to strategies as they are named here.

        Returns:
            Index fold, group, key; one column per contrast; NaN for cases that lack a strategy.
        """
        columns = [self._weighted(contrast) for contrast in contrasts]
        frame = pd.concat(columns, axis=1, keys=range(len(columns)))
        # Dice has five decimals in the tables: what is left beyond ten is rounding of sums.
        return frame.groupby(level=CASE, sort=True).mean().round(10)

    def missing(self, contrast: Contrast) -> tuple[str, ...]:
        """Return the strategies that a contrast needs and no finished run has."""
        return tuple(strategy for strategy in contrast if self.find(strategy) is None)

    def estimate(self, contrast: Contrast) -> ContrastEstimate | None:
        """Measure a contrast on the cases tested with every strategy it needs, if there are any."""
        names = {s: name for s in contrast if (name := self.find(s)) is not None}
        if len(names) < len(contrast):
            return None
        named = {names[strategy]: weight for strategy, weight in contrast.items()}
        per_case = self.per_case([named]).dropna()
        if per_case.empty:
            return None
        return ContrastEstimate(per_case[0], bootstrap_means(per_case, self.scenario.data))

    def _weighted(self, contrast: Contrast) -> pd.Series:
        return sum(weight * self.values[strategy] for strategy, weight in contrast.items())


def scores_of(results: StudyResults, metric: str = "dice") -> tuple[Scores, ...]:
    """Divide the cases of studies into scenarios.

    Args:
        results: Results of one or several studies.
        metric: The column of cases that is measured.

    Returns:
        Scores in order of data set and training size.

    Raises:
        ValueError: A column is missing, a value is not finite, or a case appears twice.
    """
    _check(results.cases, metric)
    return tuple(
        Scores(Scenario(str(data), int(size)), _wide(rows, metric), results.depth)
        for (data, size), rows in results.cases.groupby(["data", "train_size"], sort=True)
    )


def scores_at(results: StudyResults, scenario: Scenario, metric: str = "dice") -> Scores:
    """Return the scores of one scenario.

    Raises:
        ValueError: As `scores_of`; or there are no results for this data set and training size.
    """
    found = scores_of(results.at(scenario), metric)
    if not found:
        listing = ", ".join(f"{data} at {size}" for data, size in sorted(results.scenarios))
        raise ValueError(
            f"{scenario.data} at {scenario.train_size}: no such case; there are {listing or 'none'}"
        )
    return found[0]


def _check(cases: pd.DataFrame, metric: str) -> None:
    missing = [name for name in (*_IDENTITY, "group", metric) if name not in cases.columns]
    if missing:
        raise ValueError(f"the table of cases has no column {', '.join(missing)}")
    values = cases[metric]
    if not pd.api.types.is_numeric_dtype(values) or not values.between(-1e300, 1e300).all():
        raise ValueError(f"{metric}: every case needs a finite number")
    twice = cases[cases.duplicated(_IDENTITY)]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"{row['data']}: case {row['key']} of {row['strategy']} at {row['train_size']} "
            f"images, fold {row['fold']}, seed {row['seed']} appears twice; two studies of one "
            "data set cannot be combined"
        )


def _wide(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    alone = rows["group"].isna()
    rows = rows.assign(group=rows["group"].where(~alone, rows["key"]).astype(str))
    wide = rows.pivot(index=[*CASE, "seed"], columns="strategy", values=metric)
    return wide[list(rows["strategy"].unique())].astype(float)

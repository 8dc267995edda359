"""The statistics of a study, each computed when it is first asked for, and kept."""

from __future__ import annotations

from functools import cached_property

import pandas as pd

from kerasunet.study.results import Scenario, StudyResults
from kerasunet.study.stats.auto import summarize_auto
from kerasunet.study.stats.claims import Claim, check_claims
from kerasunet.study.stats.comparison import Comparison, compare_all
from kerasunet.study.stats.curves import summarize_curves
from kerasunet.study.stats.summary import summarize


class StudyStatistics:
    """What figures, reports, the command line and the demo tell of study results.

    Attributes:
        results: The results of one study, or of several of different data sets.
    """

    def __init__(self, results: StudyResults):
        self.results = results

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

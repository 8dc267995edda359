"""What a report tells: the statistics of its studies, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kerasunet.study import stats
from kerasunet.study.figures.results import Results
from kerasunet.study.stats import Claim, Comparison


@dataclass(frozen=True)
class Findings:
    """Statistics of one study, or of several together.

    Attributes:
        results: The tables.
        claims: The paper's claims with their verdicts.
        comparisons: Paired comparisons.
        auto: Where the automatic choice lands.
    """

    results: Results
    claims: Sequence[Claim]
    comparisons: Sequence[Comparison]
    auto: pd.DataFrame

    @classmethod
    def of(cls, results: Results) -> Findings:
        cases, runs, depth = results.cases, results.runs, results.depth
        return cls(
            results,
            stats.claims(cases, runs, depth),
            stats.compare_all(cases, depth=depth),
            stats.auto_report(cases, runs),
        )

    def claim(self, name: str, data: str, train_size: int) -> Claim:
        """The claim of this name about one data set at one training size."""
        wanted = (name, data, train_size)
        return next(c for c in self.claims if (c.name, c.data, c.train_size) == wanted)

    def compared(self, data: str, train_size: int) -> list[Comparison]:
        """The comparisons on one data set at one training size."""
        return [c for c in self.comparisons if (c.data, c.train_size) == (data, train_size)]

"""What a report tells: the statistics of its studies, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kerasunet.study import stats
from kerasunet.study.figures.results import Results
from kerasunet.study.figures.style import images, interval, signed
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


_PATHS, _CURVES = "contracting-above-expanding", "shallow-first-above-deep-first"
_CLAUSES = {
    _PATHS: {
        "supported": "tuning the contracting path was better than tuning the expanding path",
        "contradicted": "tuning the expanding path was better than tuning the contracting path",
        "undecided": "tuning the contracting and the expanding path could not be told apart",
        "missing": "the contracting and the expanding path could not be compared",
    },
    _CURVES: {
        "supported": "adding blocks from the shallow end was better than from the deep end",
        "contradicted": "adding blocks from the deep end was better than from the shallow end",
        "undecided": "adding blocks from either end could not be told apart",
        "missing": "adding blocks from either end could not be compared",
    },
}
_MARGIN = 0.01


def answer(findings: Findings) -> str:
    """One sentence: for each data set at its largest training size, verdicts and best strategy."""
    parts = [_about(findings, *panel) for panel in findings.results.largest]
    return "; ".join(parts) + "."


def advice(findings: Findings) -> tuple[str, ...]:
    """For each data set, the strategy with the fewest trained weights that is hardly worse."""
    found = [_frugal(findings.results, *panel) for panel in findings.results.largest]
    return tuple(text for text in found if text)


def reservations(results: Results) -> tuple[str, ...]:
    """What keeps a study from being final, in sentences; none for a finished one."""
    return tuple(text for study in results.studies for text in _reservations(results, study))


def _about(findings: Findings, data: str, train_size: int) -> str:
    clauses = [_clause(findings.claim(name, data, train_size)) for name in _CLAUSES]
    means = findings.results.means(data, train_size)["mean"]
    best = f"the best strategy was “{means.idxmax()}” (mean Dice {means.max():.3f})"
    return f"on {data} with {images(train_size)}, {', '.join(clauses)}, and {best}"


def _clause(claim: Claim) -> str:
    if claim.estimate is None:
        return _CLAUSES[claim.name]["missing"]
    numbers = f"{signed(claim.estimate)} Dice, {interval(claim.low, claim.high, signed)}"
    return f"{_CLAUSES[claim.name][claim.verdict]} ({numbers})"


def _frugal(results: Results, data: str, train_size: int) -> str:
    """Judged by the far end of the interval of what is lost against the best strategy."""
    trained = _trained_weights(results, data, train_size)
    best = results.means(data, train_size)["mean"].idxmax()
    cases = results.cases
    here = cases[(cases["data"] == data) & (cases["train_size"] == train_size)]
    cheaper = trained[trained < trained.get(best, 0)].sort_values()
    losses = stats.compare_all(here, [(best, name) for name in cheaper.index], depth=results.depth)
    close = {loss.second: loss for loss in losses if loss.high <= _MARGIN}
    chosen = next((name for name in cheaper.index if name in close), None)
    if chosen is None:
        return ""
    share = f"{100 * trained[chosen] / trained[best]:.0f} %"
    return (
        f"On {data} with {images(train_size)}, “{chosen}” trains {share} of the weights "
        f"that “{best}” trains, and loses {close[chosen].difference:.3f} Dice "
        f"({interval(close[chosen].low, close[chosen].high)})."
    )


def _trained_weights(results: Results, data: str, train_size: int):
    runs = results.runs
    here = runs[(runs["data"] == data) & (runs["train_size"] == train_size)]
    return here[here["status"] == "finished"].groupby("strategy")["trained"].mean()


def _reservations(results: Results, study) -> list[str]:
    name, planned = study.data["name"], study.protocol["run"]["folds"]
    runs = results.runs[results.runs["data"] == name]
    finished = runs[runs["status"] == "finished"]
    done, failed = finished["fold"].nunique(), len(runs) - len(finished)
    found = []
    if done < planned:
        found.append(f"{name}: {done} of {planned} folds have results.")
    uneven = finished.groupby(["train_size", "strategy"]).size()
    if uneven.nunique() > 1:
        found.append(
            f"{name}: strategies have from {uneven.min()} to {uneven.max()} finished runs each, so "
            "that their means rest on different cases; the paired comparisons do not."
        )
    if failed:
        found.append(f"{name}: {failed} run{'' if failed == 1 else 's'} failed, listed below.")
    return found

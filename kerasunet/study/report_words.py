"""What a study says in words: the answer, cheaper rivals, what is missing, how it ends."""

from __future__ import annotations

from collections.abc import Iterator

from kerasunet.study.figures.style import images, interval, signed
from kerasunet.study.results import Scenario, StudyRecord, StudyResults
from kerasunet.study.stats import Claim, StudyStatistics, compare_all

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


def answer(statistics: StudyStatistics) -> str:
    """Return one sentence: each data set's verdicts and best strategy at its largest size."""
    scenarios = statistics.results.largest_scenarios
    return "; ".join(_about(statistics, scenario) for scenario in scenarios) + "."


def advice(statistics: StudyStatistics) -> tuple[str, ...]:
    """Name, for each data set, the cheapest strategy that is hardly worse than the best."""
    found = [_frugal(statistics, scenario) for scenario in statistics.results.largest_scenarios]
    return tuple(text for text in found if text)


def closing(statistics: StudyStatistics) -> tuple[str, ...]:
    """Say, for each data set, what to tune, what to expect, and whether the lead is decided."""
    return tuple(
        sentence
        for scenario in statistics.results.largest_scenarios
        for sentence in _closing(statistics, scenario)
    )


def _closing(statistics: StudyStatistics, scenario: Scenario) -> Iterator[str]:
    summary = statistics.summary_of(scenario).sort_values("mean", ascending=False)
    best = summary.iloc[0]
    yield (
        f"On {_in_words(scenario)}, tune {best.name}: Dice {best['mean']:.3f} on images left out "
        f"({interval(best['low'], best['high'])})."
    )
    if len(summary) < 2:
        return
    here = statistics.results.at(scenario)
    second = str(summary.index[1])
    found = compare_all(here, [(str(best.name), second)])
    if not found:
        return
    lead = found[0]
    decided = "decided over these patients" if lead.low > 0 else "undecided: either may be better"
    yield (
        f"The next best, {second}, is {lead.difference:.3f} behind "
        f"({interval(lead.low, lead.high, signed)}); that is {decided}. Other training sets may "
        "order them otherwise."
    )


def reservations(results: StudyResults) -> tuple[str, ...]:
    """Return what keeps a study from being final, in sentences; empty for a finished study."""
    return tuple(text for study in results.studies for text in _reservations(results, study))


def _about(statistics: StudyStatistics, scenario: Scenario) -> str:
    clauses = [_clause(statistics.claim(name, scenario)) for name in _CLAUSES]
    means = statistics.summary_of(scenario)["mean"]
    best = f"the best strategy was “{means.idxmax()}” (mean Dice {means.max():.3f})"
    return f"on {_in_words(scenario)}, {', '.join(clauses)}, and {best}"


def _in_words(scenario: Scenario) -> str:
    return f"{scenario.data} with {images(scenario.train_size)}"


def _clause(claim: Claim) -> str:
    if claim.measured is None:
        return _CLAUSES[claim.name]["missing"]
    estimate, low, high = claim.measured
    numbers = f"{signed(estimate)} Dice, {interval(low, high, signed)}"
    return f"{_CLAUSES[claim.name][claim.verdict]} ({numbers})"


def _frugal(statistics: StudyStatistics, scenario: Scenario) -> str:
    """Judge by the far end of the interval of what is lost against the best strategy."""
    here = statistics.results.at(scenario)
    trained = here.finished.groupby("strategy")["trained"].mean()
    best = statistics.summary_of(scenario)["mean"].idxmax()
    cheaper = trained[trained < trained.get(best, 0)].sort_values()
    losses = compare_all(here, [(best, name) for name in cheaper.index])
    close = {loss.second: loss for loss in losses if loss.high <= _MARGIN}
    chosen = next((name for name in cheaper.index if name in close), None)
    if chosen is None:
        return ""
    share = f"{100 * trained[chosen] / trained[best]:.0f} %"
    return (
        f"On {_in_words(scenario)}, “{chosen}” trains {share} of the weights "
        f"that “{best}” trains, and loses {close[chosen].difference:.3f} Dice "
        f"({interval(close[chosen].low, close[chosen].high)})."
    )


def _reservations(results: StudyResults, study: StudyRecord) -> list[str]:
    name, state = study.name, results.completeness(study)
    found = []
    if state.folds < state.planned_folds:
        found.append(f"{name}: {state.folds} of {state.planned_folds} folds have results.")
    if state.fewest < state.most:
        found.append(
            f"{name}: strategies have from {state.fewest} to {state.most} finished runs each, so "
            "that their means rest on different cases; the paired comparisons do not."
        )
    if state.failed:
        runs = "1 run" if state.failed == 1 else f"{state.failed} runs"
        found.append(f"{name}: {runs} failed, listed below.")
    return found

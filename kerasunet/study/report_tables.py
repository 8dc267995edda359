"""What a report says in tables, and what keeps a study from being final."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from kerasunet.metrics import DETECTION_IOU, WITHOUT_SPACING, unit_in_words
from kerasunet.study.figures.style import images, interval, plain, signed, title_of
from kerasunet.study.results import Scenario, StudyRecord, StudyResults, ordered
from kerasunet.study.stats import Claim, Comparison, StudyStatistics, seen_by_starts


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        caption: What it shows.
        columns: Headings.
        rows: Cells; the first of each row is its heading.
        texts: Indices of the columns that hold text, which are not aligned like numbers.
        notable: Indices of the rows to emphasize.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: tuple[int, ...] = (0,)
    notable: tuple[int, ...] = ()


def strategy_table(statistics: StudyStatistics, data: str) -> Table:
    """Return every strategy on one data set: trained weights, and Dice at each training size."""
    sizes = statistics.results.train_sizes(data)
    summary = statistics.summary[statistics.summary["data"] == data]
    strategies = ordered(summary["strategy"])
    cells = {(r.strategy, r.train_size): r for r in summary.itertuples()}
    runs = int(summary["runs"].max())
    rows = tuple(
        (strategy, _trained(statistics.results, data, strategy))
        + tuple(text for size in sizes for text in _dice(cells.get((strategy, size)), runs))
        for strategy in strategies
    )
    columns = [text for size in sizes for text in (f"Dice, {images(size)}", "missed")]
    best = summary[summary["train_size"] == sizes[-1]].set_index("strategy")["mean"].idxmax()
    disjoint = statistics.results.is_disjoint(data)
    kind = "interval over training sets and groups" if disjoint else "bootstrap interval"
    return Table(
        f"{title_of(data)}: mean Dice of the held-out cases with 95 % {kind}, and "
        f"the number of cases in which the object was missed (IoU below {DETECTION_IOU}). The best "
        f"mean with "
        f"{images(sizes[-1])} is set in bold.",
        ("strategy", "trained weights", *columns),
        rows,
        notable=(strategies.index(best),),
    )


def comparison_table(comparisons: Sequence[Comparison], groups: str) -> Table:
    """Return the paired comparisons on one data set at one training size.

    Args:
        comparisons: At least one.
        groups: What the test pairs, such as "33 patients".
    """
    first = comparisons[0]
    test = f"bootstrap interval; p of Wilcoxon's signed-rank test over {groups}"
    if first.sets:
        test = f"interval and p of Student's test over {groups}"
    return Table(
        f"{title_of(first.data, first.train_size)}: paired differences in Dice with 95 % "
        f"{test} after Holm's correction for {len(comparisons)} comparisons; effect size is the "
        "rank-biserial correlation; wins are cases in which the first is better. In bold where p "
        "is below 0.05.",
        ("comparison", "difference", "95 % interval", "p (Holm)", "effect size", "wins", "losses"),
        tuple(_comparison(c) for c in comparisons),
        notable=tuple(n for n, c in enumerate(comparisons) if c.p_adjusted < 0.05),
    )


def claim_table(claims: Sequence[Claim]) -> Table:
    """Return the paper's claims, each with its verdict and effect."""
    return Table(
        "The claims of the paper: difference in Dice with 95 % bootstrap interval.",
        ("claim", "data", "measured", "verdict", "difference", "95 % interval"),
        tuple((c.name, _where(c), c.effect, c.verdict, *_effect(c)) for c in claims),
        texts=(0, 1, 2, 3),
    )


def auto_table(auto: pd.DataFrame) -> Table:
    """Return the automatic choice against the best and the worst fixed strategy."""
    return Table(
        "The automatic choice against the best and the worst strategy that tunes a fixed set of "
        "layers, both picked in hindsight. Regret is the Dice lost against the best.",
        ("data", "variant", "chose", "Dice", "best", "worst", "regret", "95 % interval"),
        tuple(
            (
                title_of(row.data, row.train_size),
                *(row.auto, row.chosen, _number(row.mean)),
                _named(row.best, row.best_mean),
                _named(row.worst, row.worst_mean),
                _number(row.regret),
                interval(row.regret_low, row.regret_high),
            )
            for row in auto.itertuples()
        ),
        texts=(0, 1, 2),
    )


def failure_table(results: StudyResults) -> Table:
    """Return the runs that failed, with the reason that each gave."""
    return Table(
        "Runs that failed; they are not counted above.",
        ("data", "strategy", "fold", "training images", "seed", "reason"),
        tuple(
            tuple(map(str, (r.data, r.strategy, r.fold, r.train_size, r.seed, r.note)))
            for r in results.failed.itertuples()
        ),
        texts=(0, 1, 5),
    )


def claim_frame(claims: Sequence[Claim]) -> pd.DataFrame:
    """Return the claims as a table for programs."""
    return pd.DataFrame([asdict(claim) for claim in claims])


def comparison_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return the comparisons as a table for programs."""
    return pd.DataFrame([asdict(comparison) for comparison in comparisons])


def frames(statistics: StudyStatistics) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by name."""
    each = {name: one.summary for name, one in statistics.of_objects.items()}
    of_objects = (
        {"objects": pd.concat(each, names=["object"]).reset_index("object")} if each else {}
    )
    return of_objects | {
        "strategies": statistics.summary,
        "curves": statistics.curves,
        "comparisons": comparison_frame(statistics.comparisons),
        "claims": claim_frame(statistics.claims),
        "auto": statistics.auto,
    }


def p_value(p: float | None) -> str:
    """Return a p-value as journals print it; nothing where there is none."""
    if p is None or pd.isna(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _trained(results: StudyResults, data: str, strategy: str) -> str:
    runs = results.finished
    here = (runs["data"] == data) & (runs["strategy"] == strategy)
    counts = runs.loc[here, "trained"].astype(int)
    least, most = counts.min(), counts.max()
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _dice(row, runs: int) -> tuple[str, str]:
    if row is None:
        return "", ""
    some = f", {row.runs} of {runs} runs" if row.runs < runs else ""
    return f"{row.mean:.3f} ({interval(row.low, row.high)}{some})", f"{row.missed:g}"


def _comparison(c: Comparison) -> tuple[str, ...]:
    return (
        f"{c.first} − {c.second}",
        signed(c.difference),
        interval(c.low, c.high, signed),
        p_value(c.p_adjusted),
        f"{c.effect_size:+.2f}".replace("-", "−"),
        str(c.wins),
        str(c.losses),
    )


def _number(value: float) -> str:
    return "" if pd.isna(value) else plain(value)


def _named(name: str, mean: float) -> str:
    return f"{name} ({mean:.3f})" if name else ""


def _where(claim: Claim) -> str:
    titles = [title_of(data) for data in claim.data.split(", ")]
    return f"{' against '.join(titles)}, {claim.train_size} images"


def _effect(claim: Claim) -> tuple[str, str]:
    if claim.measured is None:
        return "", claim.explanation
    estimate, low, high = claim.measured
    return signed(estimate), interval(low, high, signed)


_ABSENT = {None: "–", True: "yes", False: "no"}


def facts(results: StudyResults, study: StudyRecord) -> tuple[tuple[str, str], ...]:
    """Return data, size and versions of one study, as pairs of name and value."""
    data, runs = study.data, results.runs[results.runs["data"] == study.name]
    state, is_mixed = results.completeness(study), WITHOUT_SPACING in data
    listing = {
        "data": f"{data['name']}, {data['cases']} cases ({data['layout']})",
        "intervals over": results.groups_in_words(study.name),
        "distances": unit_in_words({"unit": "px", "n": data["cases"], **data}) * is_mixed,
        "terms of the data": data["terms"],
        "to cite": data["citation"],
        "digest of the data": study.digests["data"],
        "digest of the initial model": study.digests["init"],
        "runs": f"{state.finished} finished, {state.failed} failed",
        "folds with results": _listing(runs["fold"].unique()),
        "training images": _listing(runs["train_size"].unique()),
        "seeds": _listing(runs["seed"].unique()),
        "time of all runs": f"{runs['wall_seconds'].sum() / 3600:.1f} h",
        "versions": "; ".join(sorted(filter(None, runs["versions"].dropna().unique()))),
    }
    return tuple((name, str(value)) for name, value in listing.items() if value)


def settings_table(studies: Sequence[StudyRecord]) -> Table:
    """Return every setting that all runs of a study share, a column for each study."""
    columns = [dict((*_flat(study.protocol["run"]), *_flat(_rates(study)))) for study in studies]
    rows = [(name, *(column.get(name, "–") for column in columns)) for name in columns[0]]
    names = [study.name for study in studies]
    everywhere = tuple(range(len(studies) + 1))
    return Table("Settings of all runs.", ("setting", *names), tuple(rows), texts=everywhere)


def _rates(study: StudyRecord) -> dict[str, Any]:
    """Return the learning rates that were searched; an empty list is no search."""
    return {"learning rates to choose from": study.protocol["learning_rates"] or None}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ".replace("_", " "))
        else:
            yield prefix + name.replace("_", " "), _plain(value)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _ABSENT[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _listing(values) -> str:
    return ", ".join(str(value) for value in sorted(values))


def object_tables(statistics: StudyStatistics) -> list[Table]:
    """Return what was found of each of several objects; nothing where there is only one."""
    each = statistics.of_objects
    found = [
        _object_table(each, scenario)
        for scenario in statistics.results.largest_scenarios
        if any(scenario.data in one.results.data_sets for one in each.values())
    ]
    claims = [(name, claim) for name, one in each.items() for claim in one.claims]
    if claims:
        rows = [(name, c.name, _where(c), c.verdict, *_effect(c)) for name, c in claims]
        columns = ("object", "claim", "data", "verdict", "difference", "95 % interval")
        caption = "The claims of the paper, object by object: difference in Dice."
        found.append(Table(caption, columns, tuple(rows), texts=(0, 1, 2, 3)))
    return found


def _object_table(each: Mapping[str, StudyStatistics], scenario: Scenario) -> Table:
    """Return the Dice of every strategy, a column for each object; the best of each is notable."""
    here = {name: one.summary_of(scenario) for name, one in each.items()}
    here = {name: found for name, found in here.items() if len(found)}
    strategies = ordered(found for table in here.values() for found in table.index)
    rows = tuple(
        (strategy, *(_mean_of(table, strategy) for table in here.values()))
        for strategy in strategies
    )
    best = ", ".join(f"{name} {table['mean'].idxmax()}" for name, table in here.items())
    return Table(
        f"{title_of(scenario.data, scenario.train_size)}: mean Dice of each object with 95 % "
        f"bootstrap interval. Best strategy: {best}.",
        ("strategy", *here),
        rows,
    )


def _mean_of(table: pd.DataFrame, strategy: str) -> str:
    if strategy not in table.index:
        return ""
    row = table.loc[strategy]
    return f"{row['mean']:.3f} ({interval(row['low'], row['high'])})"


def markdown_document(statistics: StudyStatistics) -> str:
    """Write strategies, claims and automatic choice as Markdown tables under their captions."""
    data_sets = statistics.results.data_sets
    found = [strategy_table(statistics, data) for data in data_sets]
    found += object_tables(statistics)
    found.append(claim_table(statistics.claims))
    found += [auto_table(statistics.auto)] if len(statistics.auto) else []
    return "\n\n".join([*map(markdown, found), *seen_by_starts(statistics.results)])


def markdown(table: Table) -> str:
    """Write one table: its caption, its headings, its rows; notable rows in bold."""
    rule = ["---" if n in table.texts else "---:" for n in range(len(table.columns))]
    rows = [_cells(row, number in table.notable) for number, row in enumerate(table.rows)]
    lines = [table.columns, rule, *rows]
    return "\n".join([table.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _cells(cells: Sequence[str], notable: bool) -> list[str]:
    return [f"**{cell}**" if notable and cell else cell for cell in cells]


def reservations(results: StudyResults) -> tuple[str, ...]:
    """Return what keeps a study from being final, in sentences; empty for a finished study."""
    return tuple(text for study in results.studies for text in _reservations(results, study))


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

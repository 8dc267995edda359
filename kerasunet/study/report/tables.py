"""The tables of a report, as headings and cells of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from kerasunet.study.figures.results import Results, ordered
from kerasunet.study.figures.style import images, interval, panel_title, signed
from kerasunet.study.stats import Claim, Comparison


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        caption: What it shows.
        columns: Headings.
        rows: Cells; the first of each row is its heading.
        texts: Numbers of the columns that hold words, which are not aligned as numbers are.
        notable: Numbers of the rows to stand out.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: tuple[int, ...] = (0,)
    notable: tuple[int, ...] = ()


def strategy_table(results: Results, data: str) -> Table:
    """Every strategy on one data set: trained weights, and Dice at each training size."""
    sizes = [size for name, size in results.panels if name == data]
    summary = results.summary[results.summary["data"] == data]
    strategies = ordered(summary["strategy"])
    cells = {(r.strategy, r.train_size): r for r in summary.itertuples()}
    runs = int(summary["runs"].max())
    rows = tuple(
        (strategy, _trained(results, data, strategy))
        + tuple(text for size in sizes for text in _dice(cells.get((strategy, size)), runs))
        for strategy in strategies
    )
    columns = [text for size in sizes for text in (f"Dice, {images(size)}", "missed")]
    best = summary[summary["train_size"] == sizes[-1]].set_index("strategy")["mean"].idxmax()
    return Table(
        f"{panel_title(data)}: mean Dice of the held-out cases with 95 % bootstrap interval, and "
        f"the number of cases in which the object was missed. The best mean with "
        f"{images(sizes[-1])} is set in bold.",
        ("strategy", "trained weights", *columns),
        rows,
        notable=(strategies.index(best),),
    )


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Paired comparisons on one data set at one training size."""
    first = comparisons[0]
    return Table(
        f"{panel_title(first.data, first.train_size)}: paired differences in Dice with 95 % "
        "bootstrap interval; p of Wilcoxon's signed-rank test over patients after Holm's "
        f"correction for {len(comparisons)} comparisons; effect size is the rank-biserial "
        "correlation; wins are cases in which the first is better. In bold where p is below 0.05.",
        ("comparison", "difference", "95 % interval", "p (Holm)", "effect size", "wins", "losses"),
        tuple(_comparison(c) for c in comparisons),
        notable=tuple(n for n, c in enumerate(comparisons) if c.p_adjusted < 0.05),
    )


def auto_table(auto: pd.DataFrame) -> Table:
    """Where the automatic choice lands."""
    return Table(
        "The automatic choice against the best and the worst strategy that tunes a fixed set of "
        "layers, both picked in hindsight. Regret is the Dice lost against the best.",
        ("data", "variant", "chose", "Dice", "best", "worst", "regret", "95 % interval"),
        tuple(
            (
                panel_title(row.data, row.train_size),
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


def failure_table(results: Results) -> Table:
    """The runs that failed, with the reason that each gave."""
    failed = results.runs[results.runs["status"] != "finished"]
    return Table(
        "Runs that failed; they count for nothing above.",
        ("data", "strategy", "fold", "training images", "seed", "reason"),
        tuple(
            tuple(map(str, (r.data, r.strategy, r.fold, r.train_size, r.seed, r.note)))
            for r in failed.itertuples()
        ),
        texts=(0, 1, 5),
    )


def claim_frame(claims: Sequence[Claim]) -> pd.DataFrame:
    """The claims as a table for programs."""
    return pd.DataFrame([asdict(claim) for claim in claims])


def comparison_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The comparisons as a table for programs."""
    return pd.DataFrame([asdict(comparison) for comparison in comparisons])


def p_value(p: float | None) -> str:
    """A p-value as journals print it; nothing where there is none."""
    if p is None or pd.isna(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _trained(results: Results, data: str, strategy: str) -> str:
    runs = results.runs
    here = runs[(runs["data"] == data) & (runs["strategy"] == strategy)]
    counts = here.loc[here["status"] == "finished", "trained"].astype(int)
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
    return "" if pd.isna(value) else f"{value:.3f}"


def _named(name: str, mean: float) -> str:
    return f"{name} ({mean:.3f})" if name else ""

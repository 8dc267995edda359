"""Results of the second study, as tables for documents: comparisons, verdicts, evidence, power."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import optimize, stats
from second_study_design import (
    ADDED,
    AGAIN,
    CLOSE,
    EQUIVALENT,
    EVIDENCE,
    FACTORS,
    FAMILIES,
    FIRST_STUDY,
    FLOAT32,
    MARGINS,
    PAIRS,
    RATES_FILE,
    RGN_RATES,
    ROBUST_OF,
    SEARCHES,
    SHARED,
    SHARED_FAMILIES,
    SIDES,
    STARTS_FAMILIES,
    Cell,
    beyond_cells,
    family_of,
    rate_cells,
    rgn_rates_cells,
    searched_cells,
    starts_cells,
    strategies_cells,
    strategy,
)

from kerasunet.data.splits import split_cases
from kerasunet.files import read_json, write_json
from kerasunet.layer_selection.evidence import QUESTIONS, START_WORDS, Evidence, Nearness
from kerasunet.objects import Modality, modality_of
from kerasunet.study.stats.training_sets import SetComparison, compare_over_sets, holm
from kerasunet.study.tables import IDENTITY, RUNS, read_tables


def choose(options: argparse.Namespace) -> int:
    """Choose the factor with the best mean Dice over training sets, and write it down."""
    found: dict[str, dict[str, float]] = {}
    for cell, family, best, _ in by_factor(options.output):
        found.setdefault(cell, {})[family] = best
    write_json(options.output / RATES_FILE, found)
    return 0


def by_factor(output: Path) -> Iterator[tuple[str, str, float, dict[float, float]]]:
    """Yield cell, family, best factor, and mean Dice on development cases by factor."""
    for cell in rate_cells():
        if not (output / "rates" / cell.name / RUNS).is_file():
            continue
        cases, _ = read_tables(output / "rates" / cell.name)
        sets = cases.groupby(["strategy", "fold"])["dice"].mean().groupby("strategy")
        means = sets.mean()[sets.size() == cell.sets]
        for family in FAMILIES:
            known = {f: means[t] for f in FACTORS if (t := strategy(family, f)) in means}
            if known:
                yield cell.name, family, max(known, key=lambda factor: known[factor]), known


def evidence(options: argparse.Namespace) -> int:
    """Write what the finished cells say about strategies to the table that `auto` reads."""
    rows = []
    stages = {"rates": rate_cells(), "strategies": strategies_cells(), "starts": starts_cells()}
    for stage, cell in ((stage, cell) for stage, cells in stages.items() for cell in cells):
        folder = options.output / stage / cell.name
        cases = read_tables(folder)[0] if (folder / RUNS).is_file() else None
        if cases is not None and _is_finished(cell, cases):
            rows += _evidence_of(cell, stage, cases)
    pd.DataFrame(rows).to_csv(EVIDENCE, index=False, float_format="%.4f")
    print(f"{len(rows)} findings are in kerasunet/layer_selection/{EVIDENCE.name}\n")
    print(
        "| kind | images | start | tune | behind the best, expected | Dice in the studies "
        "(worst and best training set) |"
    )
    print("|---|---|---|---|---|---|")
    for modality, size, start in QUESTIONS:
        print(f"| {modality} | {size} | {START_WORDS[start]} | {_advice(modality, size, start)} |")
    _print_left_out(options.output, stages)
    _print_searches(options.output)
    return 0


def _is_finished(cell: Cell, cases: pd.DataFrame) -> bool:
    """Whether all strategies can be compared in all training sets of a cell, or in all but one."""
    sets = cases.groupby("strategy")["fold"].nunique()
    known = {family_of(text) for text in sets.index[sets >= cell.sets - 1]}
    return {*STARTS_FAMILIES} <= known


def _print_left_out(output: Path, stages: Mapping[str, Sequence[Cell]]) -> None:
    """Print what is lost where the evidence of a data set is left out, and it is chosen for."""
    known = Evidence.published()
    print("\n| set | images | start | chosen without it | regret, Dice | where |")
    print("|---|---|---|---|---|---|")
    for data, size, start in sorted({(o.data, o.images, o.start) for o in known.findings}):
        text = next(iter(known.without([data]).strategies(start, modality_of(data), size)))
        for stage, cell in ((stage, cell) for stage, cells in stages.items() for cell in cells):
            if (cell.data, cell.size, cell.nearness) != (data, size, start):
                continue
            if stage == "starts" and cell.name in SHARED:
                continue  # A row of its own, among the strategies.
            halves = Halves.of(output / stage / cell.name, output / "regrets" / cell.name)
            if halves is None:
                continue
            known_here = text in halves.strategies
            lost = _in_words(halves.regrets(text)) if known_here else "not run"
            where = f"{cell.sets} sets, {stage}"
            print(f"| {data} | {size} | {START_WORDS[start]} | `{text}` | {lost} | {where} |")


def _print_searches(output: Path) -> None:
    """Print what is lost where `auto:search` chooses, for each of some training sets."""
    print("\n| set | images | training sets | `auto:search` chose | regret, Dice |")
    print("|---|---|---|---|---|")
    for cell in searched_cells(output):
        files = sorted((output / SEARCHES).glob(f"{cell.name}-*.json"))
        if not files:
            continue
        chosen = {int(f.stem.rpartition("-")[2]): read_json(f)["strategy"] for f in files}
        halves = Halves.of(output / "strategies" / cell.name)
        if halves is None or not {*chosen.values()} <= {*halves.strategies}:
            raise ValueError(f"{cell.name}: lacks runs of what was chosen, {chosen}")
        lost = np.array([halves.regrets(text, fold) for fold, text in chosen.items()])
        counts = Counter(chosen.values()).most_common()
        listed = ", ".join(f"`{text}` ({count})" for text, count in counts)
        print(f"| {cell.data} | {cell.size} | {len(lost)} | {listed} | {_in_words(lost.mean(0))} |")


@dataclass(frozen=True)
class Halves:
    """Mean Dice of strategies on either half of the test groups of a cell, for many divisions.

    Attributes:
        dice: (divisions, 2, sets, strategies); NaN where there is no run.
        strategies: Their texts. Only those that were trained on all training sets, or on all but
            one, are compared.
        folds: Numbers of the training sets.
    """

    dice: np.ndarray
    strategies: tuple[str, ...]
    folds: tuple[int, ...]

    @classmethod
    def of(cls, folder: Path, *others: Path) -> Halves | None:
        """Return those of a cell; nothing if it has not been run.

        Args:
            folder: Holds its runs.
            others: May hold further strategies, trained on the same sets.
        """
        if not (folder / RUNS).is_file():
            return None
        found = (one for one in (folder, *others) if (one / RUNS).is_file())
        cases = pd.concat(read_tables(one)[0] for one in found)
        by_group = cases.groupby(["group", "fold", "strategy"])["dice"]
        sums, counts = by_group.sum().unstack(), by_group.count().unstack()
        sets = sums.groupby(level="fold").count().gt(0).sum()
        kept = sets.index[sets >= max(2, sets.max() - 1)]
        index = pd.MultiIndex.from_product(sums.index.levels)
        shape = (*map(len, sums.index.levels), len(kept))
        sums, counts = (
            table[kept].reindex(index).to_numpy(float).reshape(shape) for table in (sums, counts)
        )
        return cls(_divided(sums, counts), tuple(kept), tuple(index.levels[1]))

    def regrets(self, text: str, fold: int | None = None) -> np.ndarray:
        """Return how far a strategy is behind the one that is best on the other half.

        Args:
            text: The strategy.
            fold: The training set for which it was chosen; all of them if there is none.

        Returns:
            One regret for each division, (divisions,).
        """
        means = np.nanmean(self.dice, 2)
        best = means.argmax(2)[:, ::-1]
        here = means if fold is None else self.dice[:, :, self.folds.index(fold)]
        reached = np.take_along_axis(here, best[..., None], 2)[..., 0]
        return (reached - here[..., self.strategies.index(text)]).mean(1)


def _divided(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return means over the cases of either half of the groups, for each of some divisions."""
    groups, rng = len(sums), np.random.default_rng(0)
    first = np.zeros((DIVISIONS, groups))
    for row in first:
        row[rng.permutation(groups)[: groups // 2]] = 1
    halves = np.stack([first, 1 - first], 1)
    totals = [np.tensordot(halves, np.nan_to_num(table), 1) for table in (sums, counts)]
    with np.errstate(invalid="ignore"):
        return totals[0] / totals[1]


def _in_words(regrets: np.ndarray) -> str:
    numbers = np.round([regrets.mean(), *np.quantile(regrets, [0.05, 0.95])], 4) + 0.0
    return "{:.4f} ({:.4f} to {:.4f})".format(*numbers)


def _advice(modality: Modality, size: int, start: Nearness) -> str:
    """Return what the evidence says to tune, how sure it is, and what that reached."""
    strategy, belief, seen = Evidence.published().advice(modality, size, start)
    found = [
        f"{o.data}, {o.images} images, {o.sets} sets: {o.dice:.3f} "
        f"({o.lowest:.3f} to {o.highest:.3f})"
        for o in seen
    ]
    listed = "; ".join(found) or "none of this kind"
    return f"`{strategy}` | {belief.behind:.3f} ± {belief.error:.3f} | {listed}"


def _evidence_of(cell: Cell, stage: str, cases: pd.DataFrame) -> Iterator[dict]:
    """Yield, for each strategy of a cell, its Dice and how far it is behind the best one."""
    cases = cases[cases["strategy"] != "scratch"]  # No strategy, but another start.
    by_set = cases.groupby(["fold", "strategy"])["dice"].mean().unstack()
    by_set = by_set.loc[:, by_set.count() > 1]  # Of one training set nobody knows the error.
    best = by_set.loc[:, by_set.count() >= by_set.count().max() - 1].mean().idxmax()
    for text, dice in by_set.items():
        behind = (by_set[best] - dice).dropna()
        yield {
            "data": cell.data,
            "start": cell.nearness,
            "images": cell.size,
            "strategy": text,
            "dice": dice.mean(),
            "lowest": dice.min(),
            "highest": dice.max(),
            "behind": behind.mean(),
            "error": behind.std(ddof=1) / (len(behind) ** 0.5 if cell.disjoint else 1),
            "sets": len(behind),
            "stage": stage,
        }


def tables(options: argparse.Namespace) -> int:
    """Print the results of the finished cells as tables for a document."""
    print("### Rates\n\n| cell | strategy | best factor | Dice by factor |\n|---|---|---|---|")
    for name, family, best, known in by_factor(options.output):
        listing = ", ".join(f"{factor:g}: {dice:.4f}" for factor, dice in known.items())
        print(f"| {name} | `{family}` | {best:g} | {listing} |")
    for cell in rgn_rates_cells():
        if dice := _dice_of_rgn(options.output, cell):
            best = max(dice, key=dice.__getitem__)
            listing = ", ".join(f"{rate:g}: {value:.4f}" for rate, value in dice.items())
            print(f"| {cell.name} | `rgn`, base rate | {best:g} | {listing} |")
    print(f"\n### Beyond the edges\n\n| cell | strategy | {_EDGES} |\n|---|---|---|---|---|")
    for row in _beyond_edges(options.output):
        print(row)
    print("\n### Untouched, on the same cases\n\n| cell | Dice |\n|---|---|")
    for cell in rate_cells():
        cases, _ = read_tables(options.output / "rates" / cell.name)
        untouched = cases[cases["strategy"] == "none"].groupby("fold")["dice"].mean()
        print(f"| {cell.name} | {untouched.mean():.4f} |")
    stages = ("strategies", "robustness")
    overlapping = {cell.name for cell in strategies_cells() if not cell.disjoint}
    finished = (path for stage in stages for path in options.output.glob(f"{stage}/*/{RUNS}"))
    for folder in sorted(path.parent for path in finished):
        cases, runs = read_tables(folder)
        print(f"\n### {folder.name}\n")
        _print_means(cases, runs)
        if folder.name in overlapping:
            print("The training sets overlap, so nothing is inferred from their scatter.")
        else:
            _print_comparisons(cases, PAIRS)
        if folder.parent.name == "robustness":
            _print_usual(options.output / "strategies" / ROBUST_OF, cases)
    for cell in starts_cells():
        if folders_of_start(options.output, cell.name):
            _print_start(options.output, cell)
    _print_equivalences(options.output)
    return 0


_RUN = ["strategy", "fold"]
DIVISIONS = 200
"""Divisions of the test groups into halves, over which a regret is averaged."""


@dataclass(frozen=True)
class Hypothesis:
    """What was expected, as written down in docs/second-study/protocol.md.

    Attributes:
        name: Such as `"H1"`.
        stage: Stage whose cells are asked.
        data: Names of the data sets.
        sizes: Numbers of training images.
        pairs: Families of strategies that are compared, the one of which something is expected
            first.
        expected: `"better"`, `"equivalent"`, `"not worse"` than the best of the others, or `"not
            better"` by more than matters.
    """

    name: str
    stage: str
    data: tuple[str, ...]
    sizes: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...]
    expected: str

    def cells(self) -> Iterator[Cell]:
        """Yield the cells that are asked."""
        stage = strategies_cells() if self.stage == "strategies" else starts_cells()
        for cell in stage:
            is_planned = cell.name not in ADDED
            is_asked = is_planned and cell.data in self.data and cell.size in self.sizes
            if is_asked and (self.stage == "strategies" or cell.nearness == "close"):
                yield cell


_ULTRASOUND, _XRAY = ("bus_bra", "busi"), ("jsrt", "shenzhen")
_CLOSE_PAIRS = PAIRS[:-1]
HYPOTHESES = (
    Hypothesis("H1", "strategies", _ULTRASOUND, (20,), PAIRS[:1], "better"),
    Hypothesis("H2", "strategies", _ULTRASOUND, (20, 80), PAIRS[1:2], "better"),
    Hypothesis("H3", "strategies", _ULTRASOUND, (80,), PAIRS[:1], "equivalent"),
    Hypothesis("H4", "strategies", _ULTRASOUND, (20, 80), PAIRS[3:5], "not worse"),
    Hypothesis("H5", "strategies", _XRAY, (5, 20), PAIRS[1:2], "equivalent"),
    Hypothesis("H6", "strategies", (*_ULTRASOUND, *_XRAY), (5, 20, 80), PAIRS[-1:], "better"),
    Hypothesis(
        "H7",
        "starts",
        tuple(CLOSE),
        (20,),
        tuple((family, "none") for family in STARTS_FAMILIES),
        "not better",
    ),
    Hypothesis("H8", "starts", tuple(CLOSE), (20, 80), _CLOSE_PAIRS, "equivalent"),
)


@dataclass(frozen=True)
class Judged:
    """A hypothesis in one cell, and the tests that it passes or fails.

    Attributes:
        hypothesis: Which one.
        cell: Where.
        shown: The comparison that supports it least.
        p_for: The p value of what it says; of several comparisons, the largest.
        p_against: The p value of its contrary; of several, the smallest times their number.
    """

    hypothesis: Hypothesis
    cell: Cell
    shown: SetComparison
    p_for: float
    p_against: float

    @classmethod
    def of(cls, hypothesis: Hypothesis, cell: Cell, asked: Sequence[SetComparison]) -> Judged:
        tested = [p_values_of(one, hypothesis.expected) for one in asked]
        p_for, p_against = zip(*tested, strict=True)
        shown = asked[int(np.argmax(p_for))]
        return cls(hypothesis, cell, shown, max(p_for), min(1.0, len(asked) * min(p_against)))


def claims(options: argparse.Namespace) -> int:
    """Print the verdict on every hypothesis, in every cell that was run.

    As the protocol says, p values are corrected over the hypotheses within a data set.
    """
    print("| | set | images | comparison | expected | Dice | 95 % interval | p, Holm | verdict |")
    print("|---|---|---|---|---|---|---|---|---|")
    found = [one for hypothesis in HYPOTHESES for one in _judged_in(options.output, hypothesis)]
    adjusted: dict[Judged, tuple[float, float]] = {}
    for data in {one.cell.data for one in found}:
        family = [one for one in found if one.cell.data == data]
        both = (holm([one.p_for for one in family]), holm([one.p_against for one in family]))
        adjusted |= dict(zip(family, zip(*both, strict=True), strict=True))
    for one in found:
        _print_verdict(one, *adjusted[one])
    return 0


def _judged_in(output: Path, hypothesis: Hypothesis) -> Iterator[Judged]:
    for cell in hypothesis.cells():
        folder = output / hypothesis.stage / cell.name
        if (folder / RUNS).is_file():
            asked = _compared(read_tables(folder)[0], hypothesis.pairs)
            if asked:
                yield Judged.of(hypothesis, cell, asked)


def _print_verdict(one: Judged, p_for: float, p_against: float) -> None:
    verdict = "holds" if p_for < 0.05 else "contradicted" if p_against < 0.05 else "undecided"
    cell, shown, expected = one.cell, one.shown, one.hypothesis.expected
    numbers = f"{shown.difference:+.4f} | {shown.low:+.4f} to {shown.high:+.4f}"
    names = f"`{shown.first}` - `{shown.second}` | {expected}"
    p = f"{p_against if verdict == 'contradicted' else p_for:.2g}"
    print(
        f"| {one.hypothesis.name} | {cell.data} | {cell.size} | {names} | {numbers} | {p} | "
        f"{verdict} |"
    )


def p_values_of(one: SetComparison, expected: str) -> tuple[float, float]:
    """Return the p values of what is expected of a comparison, and of the contrary.

    Equivalence contradicts that one is better, a difference that matters contradicts equivalence.
    """
    student, margin = stats.t(one.sets - 1, one.difference, one.error), one.margin
    is_ahead = one.difference > 0
    worse = 1.0 if is_ahead else one.p_value
    beyond = 2 * min(student.cdf(margin), student.sf(-margin))
    return {
        "better": (one.p_value if is_ahead else 1.0, min(1.0, 2 * min(worse, one.p_equivalence))),
        "equivalent": (one.p_equivalence, min(1.0, beyond)),
        "not worse": (student.cdf(-margin), student.sf(-margin)),
        "not better": (student.sf(margin), student.cdf(margin)),
    }[expected]


_EDGES = "best factor | factor beyond | how much worse, set by set"


def _beyond_edges(output: Path) -> Iterator[str]:
    """Yield what the next factor gives where the best one lies at an edge, as rows of a table."""
    chosen = {
        (cell, family): (best, known[best]) for cell, family, best, known in by_factor(output)
    }
    for cell, family, factor, beyond in beyond_cells():
        folder = output / "beyond-rates" / beyond.name
        if not (folder / RUNS).is_file():
            continue
        best, dice = chosen[cell.name, family]
        there, _ = read_tables(folder)
        usual, _ = read_tables(output / "rates" / cell.name)
        usual = usual[usual["strategy"] == strategy(family, best)]
        by_set = [rows.groupby("fold")["dice"].mean() for rows in (usual, there)]
        if len(by_set[1]) < cell.sets:
            continue
        gaps = ", ".join(f"{gap:+.4f}" for gap in by_set[0] - by_set[1])
        numbers = f"{best:g}: {dice:.4f} | {factor:g}: {by_set[1].mean():.4f} | {gaps}"
        yield f"| {cell.name} | `{family}` | {numbers} |"


def _dice_of_rgn(output: Path, cell: Cell) -> dict[float, float]:
    """Return the mean Dice of `rgn` on development cases by base rate, where all sets are there."""
    found = {}
    for rate in RGN_RATES:
        folder = output / "rgn-rates" / f"{cell.name}-rgn-{rate:g}"
        if (folder / RUNS).is_file():
            sets = read_tables(folder)[0].groupby("fold")["dice"].mean()
            if len(sets) == cell.sets:
                found[rate] = float(sets.mean())
    return found


def _print_equivalences(output: Path) -> None:
    """Print whether other precisions, and other devices, give the same Dice."""
    folders = sorted(path.parent for path in output.glob("precision/*/runs.csv"))
    known = {folder.name: folder for folder in folders}
    head = "| difference | SD over sets | 90 % interval | verdict |\n" + "|---" * 7 + "|"
    print(f"\n### Precision\n\n| cell | float32 | bfloat16 {head}")
    for name, folder in known.items():
        if not name.endswith((FLOAT32, AGAIN)):
            usual = known.get(f"{name}{FLOAT32}", output / "strategies" / name)
            _print_equivalence(folder, usual)
    print(f"\n### The same runs on another device\n\n| cell | one | other {head}")
    for name, folder in known.items():
        cell = name.removesuffix(AGAIN).removesuffix(FLOAT32)
        if name.endswith((FLOAT32, AGAIN)) and (output / "strategies" / cell / RUNS).is_file():
            _print_equivalence(folder, output / "strategies" / cell)


def _print_equivalence(folder: Path, usual: Path) -> None:
    """Print whether the runs of a folder are as good as the same runs elsewhere."""
    again, first = read_tables(folder)[0], read_tables(usual)[0]
    pairs = again.merge(first, on=["strategy", "fold", "seed", "key"], suffixes=("_again", ""))
    gaps = (pairs["dice_again"] - pairs["dice"]).groupby(pairs["fold"]).mean()
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.9)
    verdict = "equal" if max(-low, high) < EQUIVALENT else "undecided"
    means = f"{pairs['dice'].mean():.4f} | {pairs['dice_again'].mean():.4f}"
    numbers = f"{gaps.mean():+.4f} | {gaps.std(ddof=1):.4f} | {low:+.4f} to {high:+.4f}"
    print(f"| {folder.name}, {len(gaps)} sets | {means} | {numbers} | {verdict} |")


def _print_means(cases: pd.DataFrame, runs: pd.DataFrame) -> None:
    by_set = cases.groupby(["strategy", "fold"])[["dice", "hd95"]].mean()
    print("| strategy | sets | Dice | SD over sets | HD95, pixels |\n|---|---|---|---|---|")
    for text, rows in by_set.groupby("strategy"):
        numbers = f"{rows.dice.mean():.4f} | {rows.dice.std(ddof=1):.4f} | {rows.hd95.mean():.1f}"
        print(f"| `{text}` | {len(rows)} | {numbers} |")
    devices = ", ".join(sorted(set(runs["device"]) | set(runs["precision"])))
    print(f"\nComputed on: {devices}.\n")


def _print_usual(usual: Path, cases: pd.DataFrame) -> None:
    """Print what the same strategies reach on the same training sets as usual."""
    shared = [frame.merge(cases[_RUN].drop_duplicates(), on=_RUN) for frame in read_tables(usual)]
    print("\nThe same training sets as usual:\n")
    _print_means(*shared)


def _print_start(output: Path, cell: Cell) -> None:
    """Print what strategies reach from a start; from a close one, also against its alternatives."""
    cases, runs = tables_of_start(output, cell.name)
    print(f"\n### From {cell.start}: {cell.data}, {cell.size} images\n")
    _print_means(cases, runs)
    _print_comparisons(cases, PAIRS)
    if cell.start == "natural":
        return
    print("\nAgainst leaving the start untouched:\n")
    _print_comparisons(cases, [(family, "none") for family in STARTS_FAMILIES])
    far = f"{cell.data}-{cell.size}-natural"
    if folders_of_start(output, far):
        print("\nThe start, untouched, against fine-tuning from photographs and from scratch:\n")
        others, _ = tables_of_start(output, far)
        others = others[others["strategy"] != "none"]
        both = pd.concat([cases[cases["strategy"] == "none"], others], ignore_index=True)
        _print_comparisons(both, [("none", f) for f in (*STARTS_FAMILIES, "scratch")])


def folders_of_start(output: Path, name: str) -> list[Path]:
    """Return where runs of a cell of stage 3 are, with those that it shares with stage 2."""
    folders = [output / "starts" / name]
    if name in SHARED:
        folders.append(output / "strategies" / SHARED[name])
    return [folder for folder in folders if (folder / RUNS).is_file()]


def _is_asked(folder: Path) -> Callable[[str], bool]:
    """Return what tells the strategies that stage 3 compares, of what a folder has."""
    of_stage_2 = folder.parent.name == "strategies"
    asked = SHARED_FAMILIES if of_stage_2 else (*STARTS_FAMILIES, "none", "scratch")
    return lambda text: family_of(text) in asked


def tables_of_start(output: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the cases and the runs of a cell of stage 3."""
    found = [
        tuple(table[table["strategy"].map(_is_asked(folder))] for table in read_tables(folder))
        for folder in folders_of_start(output, name)
    ]
    cases, runs = (pd.concat(tables, ignore_index=True) for tables in zip(*found, strict=True))
    run = list(IDENTITY)
    return cases.drop_duplicates([*run, "key"]), runs.drop_duplicates(run)


def _print_comparisons(cases: pd.DataFrame, families: Iterable[tuple[str, str]]) -> None:
    """Print comparisons of pairs of families, as far as the cases have them."""
    print("| comparison | Dice | 95 % interval | ahead in | p, Holm | verdict |")
    print("|---|---|---|---|---|---|")
    for one in _compared(cases, families):
        numbers = f"{one.difference:+.4f} | {one.low:+.4f} to {one.high:+.4f}"
        verdict = one.verdict + (", and by more than matters" if one.matters else "")
        ahead = f"{one.ahead} of {one.sets}"
        names = f"`{one.first}` - `{one.second}`"
        print(f"| {names} | {numbers} | {ahead} | {one.p_adjusted:.2g} | {verdict} |")


def _compared(
    cases: pd.DataFrame, families: Iterable[tuple[str, str]]
) -> tuple[SetComparison, ...]:
    """Compare pairs of families, as far as the cases have them."""
    known = {family_of(text): text for text in cases["strategy"].unique()}
    pairs = [(known[a], known[b]) for a, b in families if a in known and b in known]
    return compare_over_sets(cases, pairs, margin=MARGINS[cases["data"].iloc[0]])


def first_study(options: argparse.Namespace) -> int:
    """Print how the first study scatters over its five training sets, and that these overlap."""
    cases = [SimpleNamespace(key=f"{n}", group=f"{n}", label="") for n in range(600)]
    for size in (20, 80):
        sets = [set(split_cases(cases, size, fold=fold).train) for fold in range(5)]
        shared = np.mean([len(a & b) / size for a, b in combinations(sets, 2)])
        print(
            f"The five training sets of {size} hold {len(set.union(*sets))} images in all; two of "
            f"them share {shared:.0%}, if each image is a group of its own."
        )
    print("\n| data | images | comparison | Dice | smallest and largest of five sets |")
    print("|---|---|---|---|---|")
    for data in SIDES[128]:
        rows, _ = read_tables(FIRST_STUDY / data)
        means = rows.groupby(["train_size", "fold", "strategy"])["dice"].mean().unstack()
        for size, dice in means.groupby(level="train_size"):
            for one, other in PAIRS[:3]:
                gaps = dice[one] - dice[other]
                numbers = f"{gaps.mean():+.4f} | {gaps.min():+.4f} to {gaps.max():+.4f}"
                print(f"| {data} | {size} | `{one}` - `{other}` | {numbers} |")
    return 0


def power(options: argparse.Namespace) -> int:
    """Print which differences the second study can see, from the scatter in the first study."""
    print("cell          sets  comparison                 SD      80 % power from")
    for cell in (cell for cell in strategies_cells() if cell.disjoint):
        first = FIRST_STUDY / cell.data
        cases, _ = read_tables(first)
        size = 20 if cell.size < 80 else 80
        kept = cases[cases["train_size"] == size]
        means = kept.groupby(["fold", "strategy"])["dice"].mean().unstack()
        for one, other in (("contracting", "all"), ("contracting", "expanding")):
            scatter = float((means[one] - means[other]).std(ddof=1))
            least = _least_difference(scatter, cell.sets)
            pair = f"{one} - {other}"
            print(f"{cell.name:12}  {cell.sets:4}  {pair:25}  {scatter:.4f}  {least:.4f}")
    return 0


def _least_difference(scatter: float, sets: int, wanted: float = 0.8) -> float:
    """Return the difference that a paired, two-sided t test at 5 % finds with a given power."""
    limit = stats.t.ppf(0.975, sets - 1)

    def missing(difference: float) -> float:
        shift = difference / scatter * sets**0.5
        return float(stats.nct.sf(limit, sets - 1, shift)) - wanted

    return float(optimize.brentq(missing, 1e-9, 20 * scatter))

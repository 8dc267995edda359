"""Results of the second study, as tables for documents: comparisons, verdicts, evidence, power."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, stats
from second_study_design import (
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
    SIDES,
    STARTS_FAMILIES,
    Cell,
    family_of,
    rate_cells,
    rgn_rates_cells,
    searched_cells,
    starts_cells,
    strategies_cells,
    strategy,
)

from kerasunet.files import read_json, write_json
from kerasunet.layer_selection.evidence import QUESTIONS, START_WORDS, Evidence, Nearness
from kerasunet.objects import Modality, modality_of
from kerasunet.study.stats.training_sets import SetComparison, compare_over_sets
from kerasunet.study.tables import RUNS, read_tables


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
    print("| kind | images | start | tune | behind the best, expected | Dice in the studies |")
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
    print("\n| set | images | start | chosen without it | regret, Dice |")
    print("|---|---|---|---|---|")
    for data, size, start in sorted({(o.data, o.images, o.start) for o in known.findings}):
        text = next(iter(known.without([data]).strategies(start, modality_of(data), size)))
        for stage, cell in ((stage, cell) for stage, cells in stages.items() for cell in cells):
            if (cell.data, cell.size, cell.nearness) != (data, size, start):
                continue
            dice = _dice_by_half(output / stage / cell.name)
            if text in dice:
                lost = f"{regret(dice, text):.4f}, {cell.sets} sets, {stage}"
                print(f"| {data} | {size} | {START_WORDS[start]} | `{text}` | {lost} |")


def _print_searches(output: Path) -> None:
    """Print what is lost where `auto:search` chooses, for each of some training sets."""
    print("\n| set | images | training sets | `auto:search` chose | regret, Dice |")
    print("|---|---|---|---|---|")
    for cell in searched_cells(output):
        files = sorted((output / SEARCHES).glob(f"{cell.name}-*.json"))
        if not files:
            continue
        chosen = {int(f.stem.rpartition("-")[2]): read_json(f)["strategy"] for f in files}
        dice = _dice_by_half(output / "strategies" / cell.name, by_set=True)
        lost = [regret(dice, text, fold) for fold, text in chosen.items()]
        counts = Counter(chosen.values()).most_common()
        listed = ", ".join(f"`{text}` ({count})" for text, count in counts)
        print(f"| {cell.data} | {cell.size} | {len(lost)} | {listed} | {np.mean(lost):.4f} |")


def _dice_by_half(folder: Path, *, by_set: bool = False) -> pd.DataFrame:
    """Return the mean Dice of strategies, in columns, on either half of the test groups.

    Only strategies that were trained on all training sets, or on all but one, are compared.

    Args:
        folder: The cell.
        by_set: Whether rows are of half and training set; else of half.
    """
    if not (folder / RUNS).is_file():
        return pd.DataFrame()
    cases = read_tables(folder)[0]
    groups = np.random.default_rng(0).permutation(np.sort(cases["group"].unique()))
    is_first = cases["group"].isin(groups[: len(groups) // 2])
    halves = is_first.map({True: "first", False: "second"}).rename("half")
    dice = cases.groupby([halves, "fold", "strategy"])["dice"].mean().unstack()
    sets = dice.loc["first"].count()
    dice = dice.loc[:, sets >= max(2, sets.max() - 1)]
    return dice if by_set else dice.groupby(level="half").mean()


def regret(dice: pd.DataFrame, text: str, fold: int | None = None) -> float:
    """Return how far a strategy is behind the one that is best on the other half of the groups.

    Args:
        dice: By half of the test groups, in rows, and strategy, in columns; with a fold, rows are
            of half and fold, and the best strategy is that of all folds.
        text: The strategy.
        fold: The training set for which it was chosen.
    """
    best = dice.groupby(level=0).mean().idxmax(axis=1)
    here = dice if fold is None else dice.xs(fold, level="fold")
    halves = (("first", "second"), ("second", "first"))
    return float(np.mean([here.at[one, best[o]] - here.at[one, text] for one, o in halves]))


def _advice(modality: Modality, size: int, start: Nearness) -> str:
    """Return what the evidence says to tune, how sure it is, and what that reached."""
    strategy, belief, seen = Evidence.published().advice(modality, size, start)
    found = [f"{o.data}, {o.images} images, {o.sets} sets: {o.dice:.3f}" for o in seen]
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
            "behind": behind.mean(),
            "error": behind.std(ddof=1) / len(behind) ** 0.5,
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
        if (options.output / "starts" / cell.name / RUNS).is_file():
            _print_start(options.output / "starts", cell)
    _print_equivalences(options.output)
    return 0


_RUN = ["strategy", "fold"]


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
            is_asked = cell.data in self.data and cell.size in self.sizes
            if (
                cell.disjoint
                and is_asked
                and (self.stage == "strategies" or cell.nearness == "close")
            ):
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
    Hypothesis("H8", "starts", tuple(CLOSE), (20,), _CLOSE_PAIRS, "equivalent"),
)


def claims(options: argparse.Namespace) -> int:
    """Print the verdict on every hypothesis, in every cell that was run."""
    print("| | set | images | comparison | expected | Dice | 95 % interval | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for hypothesis in HYPOTHESES:
        for cell in hypothesis.cells():
            folder = options.output / hypothesis.stage / cell.name
            if (folder / RUNS).is_file():
                _print_verdict(hypothesis, cell, read_tables(folder)[0])
    return 0


def _print_verdict(hypothesis: Hypothesis, cell: Cell, cases: pd.DataFrame) -> None:
    """Print the comparison on which the verdict rests: the one that supports it the least."""
    together = PAIRS if hypothesis.stage == "strategies" else hypothesis.pairs
    compared = {
        (family_of(one.first), family_of(one.second)): one for one in _compared(cases, together)
    }
    asked = [compared[pair] for pair in hypothesis.pairs if pair in compared]
    if hypothesis.expected == "not worse":  # Than the better one of the two.
        asked = [min(asked, key=lambda one: one.difference)]
    if not asked:
        return
    verdicts = [verdict_on(one, hypothesis.expected) for one in asked]
    worst = min(range(len(asked)), key=lambda n: (_ORDER.index(verdicts[n]), -_reach(asked[n])))
    one, verdict = asked[worst], verdicts[worst]
    if len(asked) > 1:
        verdict += f"; {verdicts.count('holds')} of {len(asked)} hold"
    numbers = f"{one.difference:+.4f} | {one.low:+.4f} to {one.high:+.4f}"
    names = f"`{one.first}` - `{one.second}` | {hypothesis.expected}"
    print(f"| {hypothesis.name} | {cell.data} | {cell.size} | {names} | {numbers} | {verdict} |")


_ORDER = ("contradicted", "undecided", "holds")


def _reach(one: SetComparison) -> float:
    return max(one.high, -one.low)


def verdict_on(one: SetComparison, expected: str) -> str:
    """Return whether a comparison is as expected: `"holds"`, `"contradicted"`, `"undecided"`.

    Equivalence contradicts that one is better, a difference that matters contradicts equivalence.
    """
    is_within = one.p_equivalence < 0.05
    holds, contradicted = {
        "better": (one.verdict == "better", one.verdict in ("worse", "equivalent")),
        "equivalent": (is_within, one.matters),
        "not worse": (is_within or one.low > -one.margin, one.high < -one.margin),
        "not better": (is_within or one.high < one.margin, one.low > one.margin),
    }[expected]
    return "holds" if holds else "contradicted" if contradicted else "undecided"


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
    pairs = again.merge(first, on=["strategy", "fold", "key"], suffixes=("_again", ""))
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


def _print_start(stage: Path, cell: Cell) -> None:
    """Print what strategies reach from a start; from a close one, also against its alternatives."""
    cases, runs = read_tables(stage / cell.name)
    print(f"\n### From {cell.start}: {cell.data}, {cell.size} images\n")
    _print_means(cases, runs)
    _print_comparisons(cases, PAIRS)
    if cell.start == "natural":
        return
    print("\nAgainst leaving the start untouched:\n")
    _print_comparisons(cases, [(family, "none") for family in STARTS_FAMILIES])
    far = stage / f"{cell.data}-{cell.size}-natural"
    if (far / RUNS).is_file():
        print("\nThe start, untouched, against fine-tuning from photographs and from scratch:\n")
        others = read_tables(far)[0]
        others = others[others["strategy"] != "none"]
        both = pd.concat([cases[cases["strategy"] == "none"], others], ignore_index=True)
        _print_comparisons(both, [("none", f) for f in (*STARTS_FAMILIES, "scratch")])


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
    """Print what the first study says if its five training sets are the unit of inference."""
    print("| data | images | comparison | Dice | 95 % interval over training sets | verdict |")
    print("|---|---|---|---|---|---|")
    for data in SIDES[128]:
        cases, _ = read_tables(FIRST_STUDY / data)
        means = cases.groupby(["train_size", "fold", "strategy"])["dice"].mean().unstack()
        for size, rows in means.groupby(level="train_size"):
            for one, other in PAIRS[:3]:
                gaps = rows[one] - rows[other]
                low, high = stats.ttest_1samp(gaps, 0).confidence_interval()
                verdict = "undecided" if low <= 0 <= high else "better" if low > 0 else "worse"
                numbers = f"{gaps.mean():+.4f} | {low:+.4f} to {high:+.4f} | {verdict}"
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

"""The study of objects: does the answer to which layers to fine-tune depend on the object?

Lungs and heart of JSRT are learned together, by five strategies, from five training sets of 20
images that share no patient; each is tested on all other images. Started again, `run` goes on where
it stopped; `table` prints what there is, object by object.

    python benchmarks/objects.py run --data JSRT --output STUDY
    python benchmarks/objects.py table --output STUDY

JSRT is the folder of the unpacked set. The start was not trained on these objects, so the head
starts anew, and every strategy trains it at the full rate.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import pandas as pd

from kerasunet.study.execution import open_study, run_study
from kerasunet.study.plan import PlannedRun, StudySettings
from kerasunet.study.results import read_results
from kerasunet.study.stats.training_sets import compare_over_sets
from kerasunet.study.tables import OBJECT
from kerasunet.study.workers import RunResult
from kerasunet.training.settings import FinetuneSettings, Optimization

OBJECTS = ("lungs=150,200", "heart=250")
CONTRACTING, SOFT = "contracting+head", "contracting+0.1*expanding-head+head"
STRATEGIES = (CONTRACTING, "expanding", "all", "shallow:4+head", SOFT)
SETS, IMAGES = 5, 20
FOLDS = 12  # Of JSRT's 247 images, 20 or 21 each.
MARGIN = 0.005
"""The smallest difference in Dice that matters, as in the second study."""


def settings(data: Path, init: str, steps: int) -> StudySettings:
    """Return the study."""
    template = FinetuneSettings(
        data="jsrt",
        manual_dir=str(data),
        objects=OBJECTS,
        init=init,
        disjoint=True,
        folds=FOLDS,
        validation_size=0,
        optimization=Optimization(steps=steps, validate_every=steps),
    )
    return StudySettings(template, STRATEGIES, train_sizes=(IMAGES,), only_folds=tuple(range(SETS)))


def run(options: argparse.Namespace) -> int:
    study = open_study(settings(options.data, options.init, options.steps), options.output)
    run_study(study, on_result=_print_result)
    return 0


def _print_result(planned: PlannedRun, result: RunResult | str) -> None:
    if isinstance(result, str):
        print(f"{planned.strategy} set {planned.fold}: {result}", flush=True)
        return
    dice = pd.DataFrame(result.cases).groupby(OBJECT, sort=False)["dice"].mean()
    listed = ", ".join(f"{name} {value:.4f}" for name, value in dice.items())
    print(f"{planned.strategy} set {planned.fold}: {listed}", flush=True)


def table(options: argparse.Namespace) -> int:
    results = read_results([options.output])
    print("| object | strategy | sets | Dice | SD over sets | HD95 |\n|---|---|---|---|---|---|")
    for name in results.objects:
        _print_means(name, results.of(name).cases)
    print(
        "\n| object | comparison | Dice | 95 % interval | ahead in | p, Holm | verdict |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name in results.objects:
        _print_comparisons(name, results.of(name).cases)
    print(
        f"\n| {' - '.join(results.objects)} of | Dice | 95 % interval | p, Holm | verdict |\n"
        "|---|---|---|---|---|"
    )
    assert results.of_objects is not None
    _print_interactions(results.of_objects, results.objects)
    return 0


def _print_means(name: str, cases: pd.DataFrame) -> None:
    by_set = cases.groupby(["strategy", "fold"], sort=False)[["dice", "hd95"]].mean()
    for strategy in STRATEGIES:
        if strategy in by_set.index.get_level_values("strategy"):
            rows = by_set.loc[strategy]
            spread = f"{rows.dice.std(ddof=1):.4f} | {rows.hd95.mean():.1f}"
            print(f"| {name} | `{strategy}` | {len(rows)} | {rows.dice.mean():.4f} | {spread} |")


def _print_comparisons(name: str, cases: pd.DataFrame) -> None:
    pairs = list(combinations(STRATEGIES, 2))
    for one in compare_over_sets(cases, pairs, margin=MARGIN):
        numbers = f"{one.difference:+.4f} | {one.low:+.4f} to {one.high:+.4f}"
        ahead = f"{one.ahead} of {one.sets} | {one.p_adjusted:.2g} | {one.verdict}"
        print(f"| {name} | `{one.first}` - `{one.second}` | {numbers} | {ahead} |")


def _print_interactions(cases: pd.DataFrame, objects: tuple[str, ...]) -> None:
    """Print by how much more one strategy leads another on the one object than on the other."""
    index = ["data", "train_size", "fold", "group", "key", OBJECT]
    values = cases.pivot(index=index, columns="strategy", values="dice")
    for first, second in combinations(STRATEGIES, 2):
        if first not in values or second not in values:
            continue
        leads = (values[first] - values[second]).dropna().rename("dice").reset_index()
        leads = leads.rename(columns={OBJECT: "strategy"})
        for one in compare_over_sets(leads, [objects[:2]], margin=MARGIN):
            numbers = f"{one.difference:+.4f} | {one.low:+.4f} to {one.high:+.4f}"
            print(f"| `{first}` - `{second}` | {numbers} | {one.p_adjusted:.2g} | {one.verdict} |")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, function in {"run": run, "table": table}.items():
        verb = verbs.add_parser(name)
        verb.set_defaults(function=function)
        verb.add_argument("--output", type=Path, required=True, help="folder of the study")
        if name == "run":
            verb.add_argument("--data", type=Path, required=True, help="folder of JSRT")
            verb.add_argument("--init", default="natural", help="start (natural)")
            verb.add_argument("--steps", type=int, default=300, help="of each run (300)")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    raise SystemExit(main())

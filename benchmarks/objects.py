"""Several objects learned together: what it costs, and whether they want the same layers.

`run` is a study on JSRT: lungs and heart are learned together by five strategies from five training
sets of 20 images that share no patient; each is tested on all other images. The start was not
trained on these objects, so the head starts anew, and every strategy trains it at the full rate.
`together` trains `all` on three sets of 80 images, for the lungs alone and for lungs and heart.
Started again, both go on where they stopped; `table` prints what there is.
`step` times a training step for one object and for two, on simulated chest X-rays.

    python benchmarks/objects.py run --data JSRT
    python benchmarks/objects.py together --data JSRT
    python benchmarks/objects.py table
    python benchmarks/objects.py step

JSRT is the folder of the unpacked set.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from alternating import alternate

from kerasunet.study.execution import open_study, run_study
from kerasunet.study.plan import PlannedRun, StudySettings
from kerasunet.study.results import StudyResults, read_results
from kerasunet.study.stats.training_sets import compare_over_sets
from kerasunet.study.tables import OBJECT
from kerasunet.study.workers import RunResult
from kerasunet.training.settings import FinetuneSettings, Optimization

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "second-study" / "objects"
LUNGS, HEART = OBJECTS = ("lungs=150,200", "heart=250")
CONTRACTING, SOFT = "contracting+head", "contracting+0.1*expanding-head+head"
STRATEGIES = (CONTRACTING, "expanding", "all", "shallow:4+head", SOFT)
SETS, IMAGES = 5, 20
FOLDS = 12  # Of JSRT's 247 images, 20 or 21 each.
SETS_TOGETHER, IMAGES_TOGETHER = 3, 80  # In three folds of 82 or 83.
ALONE, TOGETHER = "lungs", "lungs and heart"
PAIRS = (*(("all", other) for other in STRATEGIES if other != "all"), (CONTRACTING, "expanding"))
MARGIN = 0.005
"""The smallest difference in Dice that matters, as in the second study."""


def settings(options: argparse.Namespace) -> StudySettings:
    """Return the study of five strategies."""
    template = _template(options, OBJECTS, FOLDS)
    return StudySettings(template, STRATEGIES, train_sizes=(IMAGES,), only_folds=tuple(range(SETS)))


def _template(
    options: argparse.Namespace, objects: tuple[str, ...], folds: int
) -> FinetuneSettings:
    return FinetuneSettings(
        data="jsrt",
        manual_dir=str(options.data),
        objects=objects,
        init=options.init,
        disjoint=True,
        folds=folds,
        validation_size=0,
        optimization=Optimization(steps=options.steps, validate_every=options.steps),
    )


def run(options: argparse.Namespace) -> int:
    study = open_study(settings(options), options.output / "strategies")
    run_study(study, on_result=_print_result)
    return 0


def together(options: argparse.Namespace) -> int:
    for name, objects in {ALONE: (LUNGS,), TOGETHER: OBJECTS}.items():
        template = _template(options, objects, SETS_TOGETHER)
        study = StudySettings(template, ("all",), train_sizes=(IMAGES_TOGETHER,))
        run_study(open_study(study, options.output / _folder(name)), on_result=_print_result)
    return 0


def _folder(name: str) -> str:
    return name.replace(" ", "-")


def _print_result(planned: PlannedRun, result: RunResult | str) -> None:
    if isinstance(result, str):
        print(f"{planned.strategy} set {planned.fold}: {result}", flush=True)
        return
    cases = pd.DataFrame(result.cases)
    names = cases[OBJECT] if OBJECT in cases else pd.Series("object", cases.index)
    dice = cases.groupby(names, sort=False)["dice"].mean()
    listed = ", ".join(f"{name} {value:.4f}" for name, value in dice.items())
    print(f"{planned.strategy} set {planned.fold}: {listed}", flush=True)


def table(options: argparse.Namespace) -> int:
    if (options.output / "strategies").is_dir():
        _print_strategies(read_results([options.output / "strategies"]))
    if (options.output / _folder(TOGETHER)).is_dir():
        _print_together(options.output)
    return 0


def _print_strategies(results: StudyResults) -> None:
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


def _print_together(folder: Path) -> None:
    """Print what learning the heart as well does to the lungs, training set by training set."""
    alone = read_results([folder / _folder(ALONE)]).cases
    both = read_results([folder / _folder(TOGETHER)])
    lungs, heart = (both.of(name).cases for name in both.objects)
    print("\n| network | sets | lungs | heart |\n|---|---|---|---|")
    for name, *tables in ((ALONE, alone), (TOGETHER, lungs, heart)):
        means = [f"{cases.groupby('fold')['dice'].mean().mean():.4f}" for cases in tables]
        cells = " | ".join([*means, "–"][:2])
        print(f"| {name} | {alone['fold'].nunique()} | {cells} |")
    rows = pd.concat([alone.assign(strategy=ALONE), lungs.assign(strategy=TOGETHER)])
    for one in compare_over_sets(rows, [(TOGETHER, ALONE)], margin=MARGIN):
        print(
            f"\nDice of the lungs, learned with the heart minus alone: {one.difference:+.4f}, "
            f"95 % interval {one.low:+.4f} to {one.high:+.4f}"
        )


def step(options: argparse.Namespace) -> int:
    """Print the time of a step for one object and for two, and their ratio."""
    from kerasunet.backend import start_backend

    start_backend()
    sides = {"one object": ("lungs",), "two objects": ("lungs", "heart")}
    timings = alternate(
        {name: _step(objects) for name, objects in sides.items()}, options.rounds, calls=3
    )
    one, two = sides
    ratio = timings.ratio(two, one)
    for name in sides:
        print(f"{name}: {1000 * timings.best(name) / _BATCH:.1f} ms an image")
    print(f"ratio: {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})")
    return 0


_BATCH = 8


def _step(objects: tuple[str, ...]) -> Callable[[], object]:
    """Return a step of a network for these objects on a batch of simulated chest X-rays."""
    from kerasunet import UNet
    from kerasunet.data import NO_AUGMENTATION, decode, load
    from kerasunet.data.augmentation import Batches
    from kerasunet.training.learner import learner_of
    from kerasunet.training.optimizer import compile_for_training

    data_set = load(f"simulated-xray:{_BATCH}", objects=objects)
    cases = decode(data_set.cases, (128, 128))
    batch = Batches(cases, _BATCH, NO_AUGMENTATION, seed=0).batch(0)
    model = UNet(classes=1 if len(objects) == 1 else len(objects) + 1)
    compile_for_training(model, Optimization())
    return partial(learner_of(model).train_on_batch, *batch)


def _print_means(name: str, cases: pd.DataFrame) -> None:
    by_set = cases.groupby(["strategy", "fold"], sort=False)[["dice", "hd95"]].mean()
    for strategy in STRATEGIES:
        if strategy in by_set.index.get_level_values("strategy"):
            rows = by_set.loc[strategy]
            spread = f"{rows.dice.std(ddof=1):.4f} | {rows.hd95.mean():.1f}"
            print(f"| {name} | `{strategy}` | {len(rows)} | {rows.dice.mean():.4f} | {spread} |")


def _print_comparisons(name: str, cases: pd.DataFrame) -> None:
    for one in compare_over_sets(cases, PAIRS, margin=MARGIN):
        numbers = f"{one.difference:+.4f} | {one.low:+.4f} to {one.high:+.4f}"
        ahead = f"{one.ahead} of {one.sets} | {one.p_adjusted:.2g} | {one.verdict}"
        print(f"| {name} | `{one.first}` - `{one.second}` | {numbers} | {ahead} |")


def _print_interactions(cases: pd.DataFrame, objects: tuple[str, ...]) -> None:
    """Print by how much more one strategy leads another on the one object than on the other."""
    index = ["data", "train_size", "fold", "group", "key", OBJECT]
    values = cases.pivot(index=index, columns="strategy", values="dice")
    for first, second in PAIRS:
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
    for name, function in {"run": run, "together": together, "table": table, "step": step}.items():
        verb = verbs.add_parser(name)
        verb.set_defaults(function=function)
        if name == "step":
            verb.add_argument("--rounds", type=int, default=9, help="(9)")
            continue
        output = RESULTS if name == "table" else Path("runs/objects")
        verb.add_argument("--output", type=Path, default=output, help=f"({output})")
        if name != "table":
            verb.add_argument("--data", type=Path, required=True, help="folder of JSRT")
            verb.add_argument("--init", default="natural", help="start (natural)")
            steps = 300 if name == "run" else 600
            verb.add_argument("--steps", type=int, default=steps, help=f"of each run ({steps})")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    raise SystemExit(main())

"""How well `kerasunet adapt` chooses and estimates: labs simulated from public sets.

A lab is a draw of annotated images, in whole groups, from a set that neither the starts nor the
evidence have seen. The rest of the set is its future patients. Started again, it goes on.

    python benchmarks/second_study.py pack SETS --data DATA
    python benchmarks/second_study.py start jsrt-all --data DATA --starts STARTS
    python benchmarks/adapt.py draw --data DATA --starts STARTS --budget quick --draws 10
    python benchmarks/adapt.py grid --data DATA --starts STARTS --draws 5
    python benchmarks/adapt.py tables
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from kerasunet import models
from kerasunet.data import load
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import decode
from kerasunet.data.splits import development_keys
from kerasunet.files import write_text
from kerasunet.metrics.measures import dice_of_each

HOME = Path(__file__).resolve().parent.parent / "docs" / "adapt"
CLOSE = {"busi": "ultrasound-all", "shenzhen": "jsrt-all"}
"""The start that has seen another hospital's images of the same kind."""
SIZES = (20, 40, 80)
SIDE = 128
GRID = ("none", "all", "contracting", "expanding", "shallow:3", "shallow:4")
SOFT = "contracting+0.1*expanding"
GRID_STEPS = 200


@dataclass(frozen=True)
class Lab:
    """A draw of annotated images.

    Attributes:
        data: Name of the set.
        images: Number of annotated images.
        draw: Number of the draw, its seed.
    """

    data: str
    images: int
    draw: int

    def cases(self, whole: DataSet) -> tuple[list[str], list[str]]:
        """Return the keys of the annotated images and of the rest, no group in both."""
        drawn = development_keys(whole.cases, self.images, seed=1000 + self.draw)
        groups = {case.group for case in whole.cases if case.key in drawn}
        annotated = [c.key for c in whole.cases if c.group in groups][: self.images]
        rest = [case.key for case in whole.cases if case.group not in groups]
        return annotated, rest

    def write(self, source: Path, keys: Sequence[str], path: Path) -> None:
        """Write the manifest of the annotated images."""
        with (source / "manifest.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if Path(row["image"]).stem in {*keys}]
        lines = ["image,mask,group,label"]
        lines += [
            f"{source / row['image']},{source / row['mask']},{row['group']},{row['label']}"
            for row in rows
        ]
        write_text(path, "\n".join(lines) + "\n")


def labs(draws: int) -> Iterator[Lab]:
    """Yield all labs, the first draw of every cell first."""
    for draw in range(draws):
        for data in CLOSE:
            for images in SIZES:
                yield Lab(data, images, draw)


def start_of(name: str, starts: Path) -> str:
    """Return the file of a start that is not shipped, or its name."""
    file = starts / f"{name}.keras"
    return str(file) if file.is_file() else name


def draw(options: argparse.Namespace) -> int:
    """Adapt to each lab, and test the model on the rest of the set."""
    table = options.output / f"{options.budget}.csv"
    for lab in labs(options.draws):
        if not _is_done(table, lab):
            _append(table, _adapted(lab, options))
    return 0


def _adapted(lab: Lab, options: argparse.Namespace) -> dict[str, Any]:
    from kerasunet.adapt import AdaptSettings, adapt

    source = options.data / str(SIDE) / lab.data
    whole = load(source / "manifest.csv")
    annotated, rest = lab.cases(whole)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lab.write(source, annotated, Path(folder) / "manifest.csv")
        settings = AdaptSettings(
            data=str(Path(folder) / "manifest.csv"),
            groups="given",
            starts=("natural", start_of(CLOSE[lab.data], options.starts)),
            budget=options.budget,
            without_evidence=(lab.data,),
        )
        answer = adapt(settings, Path(folder) / "out")
        seconds = time.perf_counter() - started
        values = answer.as_dict()
        if options.keep:
            _keep(Path(folder) / "out", options.keep / f"{lab.data}-{lab.images}-{lab.draw}")
        found = _dice(
            models.load(answer.model), whole, rest, threshold=values["chosen"]["threshold"]
        )
    row = {
        **vars(lab),
        "start": values["chosen"]["start"],
        "strategy": values["chosen"]["strategy"],
        "threshold": values["chosen"]["threshold"],
        "steps": values["steps"],
        "estimate": values["estimate"]["dice"],
        "low": values["estimate"]["low"],
        "high": values["estimate"]["high"],
        "rest": round(float(found.mean()), 4),
        "rest_images": len(rest),
        "seconds": round(seconds, 1),
    }
    print(row, flush=True)
    return row


def _keep(out: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("answer.json", "cases.csv"):
        shutil.copy(out / name, kept / name)


def _dice(model, whole: DataSet, keys: Sequence[str], *, threshold: float) -> np.ndarray:
    from kerasunet.training.evaluation import predict

    cases = decode(whole.select(keys), (SIDE, SIDE))
    return dice_of_each(cases.masks, predict(model, cases.images) >= threshold)


def grid(options: argparse.Namespace) -> int:
    """Train every start with every strategy on each lab's images, and test on the rest."""
    table = options.output / "grid.csv"
    for lab in labs(options.draws):
        if not _is_done(table, lab):
            _append(table, *_grid_rows(lab, options))
    return 0


def _grid_rows(lab: Lab, options: argparse.Namespace) -> list[dict[str, Any]]:
    from kerasunet.adapt.starts import load_start
    from kerasunet.strategies import parse
    from kerasunet.training.learner import Network
    from kerasunet.training.settings import FinetuneSettings, Optimization

    whole = load(options.data / str(SIDE) / lab.data / "manifest.csv")
    annotated, rest = lab.cases(whole)
    training = decode(whole.select(annotated), (SIDE, SIDE))
    optimization = Optimization(steps=GRID_STEPS, validate_every=GRID_STEPS)
    rows = []
    for start in ("natural", CLOSE[lab.data]):
        for text in (*GRID, SOFT):
            network = Network(load_start(start_of(start, options.starts)))
            network.set_up(parse(text), optimization)
            augmentation = FinetuneSettings.augmentation
            network.fit(training, optimization=optimization, augmentation=augmentation)
            dice = _dice(network.model, whole, rest, threshold=0.5).mean()
            row = {**vars(lab), "start": start, "strategy": text, "rest": round(float(dice), 4)}
            print(row, flush=True)
            rows.append(row)
    return rows


def tables(options: argparse.Namespace) -> int:
    """Print what was chosen, how far it is behind the best of the grid, and the coverage."""
    for path in sorted(options.output.glob("*.csv")):
        if path.name != "grid.csv":
            _print_draws(path.stem, pd.read_csv(path), options.output / "grid.csv")
    return 0


def _print_draws(budget: str, draws: pd.DataFrame, grid_file: Path) -> None:
    covered = (draws["low"] <= draws["rest"]) & (draws["rest"] <= draws["high"])
    print(f"### `--budget {budget}`\n")
    low, high = binomtest(int(covered.sum()), len(draws)).proportion_ci()
    print(f"The 95 % interval contains the Dice on the rest in {covered.sum()} of {len(draws)},")
    print(f"so its coverage is {low:.0%} to {high:.0%} (exact, 95 %).\n")
    print("| set | images | draws | estimate | width | on the rest | covered | minutes | chosen |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (data, images), rows in draws.groupby(["data", "images"]):
        names = (rows["start"] + " `" + rows["strategy"] + "`").value_counts()
        chosen = "; ".join(f"{count} {name}" for name, count in names.items())
        numbers = [
            f"{rows['estimate'].mean():.3f}",
            f"{(rows['high'] - rows['low']).mean():.2f}",
            f"{rows['rest'].mean():.3f}",
            f"{covered[rows.index].sum()} of {len(rows)}",
            f"{rows['seconds'].median() / 60:.1f}",
        ]
        print(f"| {data} | {images} | {len(rows)} | {' | '.join(numbers)} | {chosen} |")
    print()
    if grid_file.is_file():
        _print_regret(draws, pd.read_csv(grid_file))


def _print_regret(draws: pd.DataFrame, every: pd.DataFrame) -> None:
    """Print how far adapt is behind the best start and strategy of the grid, known in hindsight."""
    lab = ["data", "images", "draw"]
    shared = draws.merge(every[lab].drop_duplicates(), on=lab)
    print("| set | images | draws | adapt | best of the grid | behind |\n|---|---|---|---|---|---|")
    for (data, images), rows in shared.groupby(["data", "images"]):
        tried = every.merge(rows[lab], on=lab)
        means = tried.groupby(["start", "strategy"])["rest"].mean()
        start, strategy = means.idxmax()
        mean = rows["rest"].mean()
        best = f"{means.max():.4f} ({start} `{strategy}`)"
        print(
            f"| {data} | {images} | {len(rows)} | {mean:.4f} | {best} | {means.max() - mean:+.4f} |"
        )
    print()


def _is_done(table: Path, lab: Lab) -> bool:
    if not table.is_file():
        return False
    known = pd.read_csv(table)[["data", "images", "draw"]].itertuples(index=False, name=None)
    return (lab.data, lab.images, lab.draw) in {*known}


def _append(table: Path, *rows: dict[str, Any]) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    if table.is_file():
        frame = pd.concat([pd.read_csv(table), frame])
    temporary = table.with_suffix(".part")
    frame.to_csv(temporary, index=False)
    shutil.move(temporary, table)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    for name, function in (("draw", draw), ("grid", grid), ("tables", tables)):
        verb = verbs.add_parser(name)
        verb.set_defaults(function=function)
        verb.add_argument("--output", type=Path, default=HOME)
        if name != "tables":
            verb.add_argument("--data", type=Path, required=True)
            verb.add_argument("--starts", type=Path, required=True)
            verb.add_argument("--draws", type=int, default=10)
        if name == "draw":
            verb.add_argument("--budget", default="quick", choices=("quick", "normal"))
            verb.add_argument("--keep", type=Path, help="receives each lab's answer and cases")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())

"""The networks of the paper, 64 filters at 256 x 256 pixels: pre-training and every strategy.

    python benchmarks/paper_size.py pack SETS --data DATA
    python benchmarks/paper_size.py run --data DATA --output runs/paper-size --minutes 12

SETS holds the folders duts, ecssd, bus_bra and jsrt; DATA receives their images, gray, at 128
pixels, in one file each, less than 60 MB together. `run` pre-trains on the photographs, then
fine-tunes with eight strategies on three training sets of BUS-BRA and of JSRT, 20 images each, and
prints the table. Started again, it goes on where it stopped. On one large GPU it takes 12 minutes
with KERAS_BACKEND=jax and XLA_PYTHON_CLIENT_PREALLOCATE=false; processors take days.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from second_study import execute_study, write_packed
from second_study_design import DEVELOPMENT, Cell

from kerasunet.data.loading import load
from kerasunet.runs.preparation import load_data
from kerasunet.study.plan import StudySettings
from kerasunet.study.tables import CASES, read_tables
from kerasunet.training.settings import (
    Architecture,
    FinetuneSettings,
    Optimization,
    PretrainSettings,
)

STRATEGIES = (
    "none",
    "all",
    "contracting",
    "expanding",
    "shallow:3",
    "shallow:4",
    "deep:3",
    "contracting+0.1*expanding",
)
FOLDS = {"bus_bra": 20, "jsrt": 7}
PHOTOGRAPHS, VALIDATION = "duts", "ecssd"
_MOST_VALIDATION = 200
_SIDE = 128
_QUALITY = 68  # Of JPEG; the photographs come as JPEG.


@dataclass(frozen=True)
class Plan:
    """The numbers of a run, all of them options."""

    data: Path
    output: Path
    filters: int
    side: int
    steps: int
    pretraining_steps: int
    sets: int
    size: int
    precision: str

    @property
    def start(self) -> Path:
        """The pre-trained network."""
        return self.output / "pretraining" / "model.keras"

    def pretraining(self) -> PretrainSettings:
        """Return the settings of the pre-training."""
        steps = self.pretraining_steps
        return PretrainSettings(
            data=str(self.data / PHOTOGRAPHS),
            validation_data=str(self.data / VALIDATION),
            image_size=self.side,
            architecture=Architecture(base_filters=self.filters),
            optimization=Optimization(
                steps=steps, batch_size=16, validate_every=steps, precision=self.precision
            ),
        )

    def study(self, data: str, strategy: str) -> StudySettings:
        """Return the study of one strategy on one data set."""
        cell = Cell(data, data, self.size, FOLDS[data], self.sets, side=self.side, steps=self.steps)
        study = cell.settings(self.data, self.output, (strategy,))
        optimization = replace(study.run.optimization, precision=self.precision)
        run = replace(
            study.run,
            data=str(self.data / data),
            init=str(self.start),
            development_size=0,
            optimization=optimization,
        )
        return replace(study, run=run)


def pack(options: argparse.Namespace) -> int:
    """Write gray images and masks at 128 pixels, with a manifest, into a zip file a set."""
    options.data.mkdir(parents=True, exist_ok=True)
    for name in (PHOTOGRAPHS, VALIDATION, *FOLDS):
        folder = options.sets / name
        studied = name in DEVELOPMENT
        data = load_data(FinetuneSettings(data=str(folder))) if studied else load(folder)
        cases = data.cases[:_MOST_VALIDATION] if name == VALIDATION else data.cases
        quality = None if studied else _QUALITY
        write_packed(options.data / f"{name}.zip", cases, _SIDE, jpeg_quality=quality)
    return 0


def run(options: argparse.Namespace) -> int:
    """Pre-train, fine-tune some strategies at a time, and print the table."""
    limit = time.monotonic() + 60 * options.minutes
    plan = _plan(options)
    for archive in plan.data.glob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            if not (plan.data / archive.stem).is_dir():
                opened.extractall(plan.data / archive.stem)
    words = [*sys.argv[2:], "--data", str(plan.data)]
    parts = [["pretrain"]], [["finetune", d, s] for s in STRATEGIES for d in FOLDS]
    for part in parts:
        commands = [[sys.executable, __file__, *part_words, *words] for part_words in part]
        with ThreadPoolExecutor(options.processes) as pool:
            statuses = list(pool.map(lambda command: _until(limit, command), commands))
        if any(statuses):
            print(f"{statuses.count(0)} of {len(statuses)} parts are finished")
    print(_table(plan))
    return 0


def _until(limit: float, command: list[str]) -> int:
    left = limit - time.monotonic()
    try:
        return subprocess.run(command, timeout=max(left, 0.001), check=False).returncode
    except subprocess.TimeoutExpired:
        return 1


def pretrain(options: argparse.Namespace) -> int:
    """Pre-train on the photographs."""
    from kerasunet import runs

    plan = _plan(options)
    made = runs.pretrain(plan.pretraining(), plan.start.parent)
    print(f"pre-trained: Dice {made.summary['metrics']['dice']['mean']:.4f}", flush=True)
    return 0


def finetune(options: argparse.Namespace) -> int:
    """Fine-tune with one strategy on the training sets of one data set."""
    plan = _plan(options)
    folder = plan.output / options.name / options.strategy.replace(":", "-").replace("*", "x")
    execute_study(plan.study(options.name, options.strategy), folder, options.name)
    return 0


def _table(plan: Plan) -> str:
    lines = ["| data | strategy | sets | Dice | lowest | highest |", "|---|---|---|---|---|---|"]
    for path in sorted(plan.output.glob(f"*/*/{CASES}")):
        cases, _ = read_tables(path.parent)
        by_set: pd.Series = cases.groupby("fold")["dice"].mean()
        name, strategy = cases.iloc[0][["data", "strategy"]]
        numbers = " | ".join(f"{x:.4f}" for x in (by_set.mean(), by_set.min(), by_set.max()))
        lines.append(f"| {name} | `{strategy}` | {len(by_set)} | {numbers} |")
    return "\n".join(lines)


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(**{name: getattr(options, name) for name in Plan.__dataclass_fields__})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    packing = verbs.add_parser("pack")
    packing.set_defaults(function=pack)
    packing.add_argument("sets", type=Path)
    packing.add_argument("--data", type=Path, required=True)
    for function in (run, pretrain, finetune):
        verb = verbs.add_parser(function.__name__)
        verb.set_defaults(function=function)
        if function is finetune:
            verb.add_argument("name", choices=FOLDS)
            verb.add_argument("strategy", choices=STRATEGIES)
        verb.add_argument("--data", type=Path, required=True)
        verb.add_argument("--output", type=Path, default=Path("runs") / "paper-size")
        verb.add_argument("--minutes", type=float, default=1e6)
        verb.add_argument("--processes", type=int, default=6)
        verb.add_argument("--precision", default="mixed_bfloat16")
        for name, default in (
            ("filters", 64),
            ("side", 256),
            ("steps", 200),
            ("pretraining-steps", 6000),
            ("sets", 3),
            ("size", 20),
        ):
            verb.add_argument(f"--{name}", type=int, default=default)
    return parser


def main() -> int:
    options = _parser().parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())

"""Measures a whole study against as many scripts in plain Keras, everything included.

    python benchmarks/whole_study.py                        # 19 strategies, 200 steps each
    python benchmarks/whole_study.py --steps 10 50 --strategies none all deep:1

Both sides get the same 60 simulated PNG images (40 to train on, 20 to test on), initial weights,
batch size, number of steps, learning rates and loss. Ours is one `kerasunet study`; the other
sides are `plain_keras_script.py` once per strategy: one after the other, each with all processors,
as a loop in a shell would run them; and as many at a time, with as many threads each, as ours runs
processes. Nobody augments, so ours may keep the activations of frozen layers (`--views 1`, exact).
Ours measures seven metrics with intervals, the script Dice alone, and it alone saves its model.
Dice before training must be equal, where `none` is among the strategies. Processor time is that of
all processes of a side; with several numbers of steps it is split into what steps cost and all
else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from kerasunet import models  # noqa: E402
from kerasunet.files import write_json  # noqa: E402
from kerasunet.strategies import NetworkLayout, parse  # noqa: E402
from kerasunet.study.executors import slot_environments  # noqa: E402
from kerasunet.study.plan import (  # noqa: E402
    SCRATCH,
    STRATEGIES,  # noqa: E402
    distinct_strategies,
)

OURS = "kerasunet study"
LOOP = "plain Keras scripts, one at a time"
TOGETHER = "plain Keras scripts, as many at a time as ours"
OTHERS = (LOOP, TOGETHER)
_IMAGES, _TRAINING, _FOLDS, _SIZE = 60, 40, 3, 128
_STUDY_STEPS = 200


def main() -> None:
    options = _options()
    strategies = distinct_strategies(options.strategies, NetworkLayout.unet(4, "batch"))
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        setup = Setup(Path(folder), options)
        for number in range(options.rounds):
            for steps in options.steps:
                sides = [OURS, *OTHERS] if number % 2 == 0 else [*OTHERS, OURS]
                rows += [setup.measure(side, strategies, steps, number=number) for side in sides]
    figures = {
        "strategies": strategies,
        "processes": options.workers,
        "batch": options.batch_size,
        "pixels": _SIZE,
        "rounds": options.rounds,
        "rows": rows,
    }
    print(as_markdown(figures))
    write_json(options.json, figures)


class Setup:
    """A folder with the images, and what both sides make of them.

    Args:
        folder: An empty folder.
        options: Of the command.
    """

    def __init__(self, folder: Path, options: argparse.Namespace):
        self._folder, self._options = folder, options
        self._model = models.folder() / "natural.keras"
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._data = folder / "data"
        _write_images(self._data)
        self._split = folder / "split.json"
        write_json(self._split, _split(self._data))

    def measure(
        self, side: str, strategies: tuple[str, ...], steps: int, *, number: int
    ) -> dict[str, Any]:
        """Run a side once; return its times and its mean Dice per strategy."""
        output = self._folder / f"{number}-{steps}-{(OURS, *OTHERS).index(side)}"
        at_a_time = 1 if side == LOOP else self._options.workers
        work = self._study if side == OURS else partial(self._scripts, at_a_time=at_a_time)
        wall, processor = _timed(lambda: work(strategies, steps, output))
        read = _study_dice if side == OURS else _script_dice
        dice = read(output, strategies)
        row = {"side": side, "steps": steps, "round": number, "wall_s": wall}
        print(f"{side}, {steps} steps: {wall:.0f} s, processor {processor:.0f} s", file=sys.stderr)
        return {**row, "processor_s": processor, "dice": dice}

    def _study(self, strategies: tuple[str, ...], steps: int, output: Path) -> None:
        words = ["--data", self._data, "--output", output, "--strategies", *strategies]
        words += ["--train-sizes", _TRAINING, "--folds", _FOLDS, "--only-folds", 0]
        words += ["--steps", steps, "--batch-size", self._options.batch_size]
        words += ["--views", 1, "--augmentation", "none", "--no-estimate", "--no-report"]
        words += ["--workers", self._options.workers]
        cache = {"KERASUNET_CACHE": str(output.with_suffix(".cache"))}
        self._run([sys.executable, "-m", "kerasunet", "study", *map(str, words)], cache)

    def _scripts(
        self, strategies: tuple[str, ...], steps: int, output: Path, *, at_a_time: int
    ) -> None:
        threads = slot_environments(at_a_time, 0)[0]

        def one(strategy: str) -> None:
            words = [self._model, self._data, self._split, output / _safe(strategy)]
            words += ["--steps", steps, "--batch-size", self._options.batch_size]
            words += ["--scratch"] if strategy == SCRATCH else []
            words += ["--trains", *_layers(strategy)]
            script = Path(__file__).with_name("plain_keras_script.py")
            self._run([sys.executable, str(script), *map(str, words)], threads)

        with ThreadPoolExecutor(at_a_time) as pool:
            list(pool.map(one, strategies))

    def _run(self, command: list[str], additions: dict[str, str]) -> None:
        environment = {**self._environment, **additions}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=self._folder, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _write_images(folder: Path) -> None:
    from kerasunet.data import load
    from kerasunet.drawing import write_png

    for number, case in enumerate(load(f"simulated-ultrasound:{_IMAGES}", size=_SIZE).cases):
        sample = case.load()
        write_png(folder / "images" / f"{number:03d}.png", sample.image.astype(np.uint8))
        write_png(folder / "masks" / f"{number:03d}.png", sample.mask.astype(np.uint8) * 255)


def _split(data: Path) -> dict[str, list[str]]:
    """Return the keys that the study trains on and tests."""
    from kerasunet.runs.preparation import prepare
    from kerasunet.training.settings import FinetuneSettings

    settings = FinetuneSettings(
        data=str(data), train_size=_TRAINING, validation_size=0, folds=_FOLDS
    )
    split = prepare(settings).split
    return {"train": list(split.train), "test": list(split.test)}


def _layers(strategy: str) -> list[str]:
    if strategy == SCRATCH:
        return [""]
    layout = NetworkLayout.unet(4, "batch")
    return sorted({ref.layer for ref in parse(strategy).select(layout)})


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall time, and the processor time of all processes that were started meanwhile."""
    before, started = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, os.times()
    user = after.children_user - before.children_user
    return wall, user + after.children_system - before.children_system


def _study_dice(output: Path, strategies: tuple[str, ...]) -> dict[str, float]:
    from kerasunet.study.tables import read_tables

    means = read_tables(output)[0].groupby("strategy").dice.mean()
    return {strategy: float(means[strategy]) for strategy in strategies}


def _script_dice(output: Path, strategies: tuple[str, ...]) -> dict[str, float]:
    import pandas as pd

    tables = {s: pd.read_csv(output / _safe(s) / "cases.csv") for s in strategies}
    return {strategy: float(table.dice.mean()) for strategy, table in tables.items()}


def _safe(strategy: str) -> str:
    return strategy.replace(":", "-")


def as_markdown(figures: dict[str, Any]) -> str:
    """Draws the table; ratios are ours over theirs, within a round."""
    _check_equal(figures["rows"])
    lines = [
        f"{len(figures['strategies'])} strategies, batches of {figures['batch']}, "
        f"{figures['pixels']}×{figures['pixels']} pixels, {figures['processes']} processes at a "
        f"time, rounds: {figures['rounds']}",
        "",
        "| steps per run | contender | wall time | CPU time | ours ÷ it, wall | CPU |",
        "|---|---|---|---|---|---|",
    ]
    steps = sorted({row["steps"] for row in figures["rows"]})
    for count in steps:
        for side in (*OTHERS, OURS):
            lines.append(_line(figures["rows"], side, count))
    return "\n".join(lines + _split_up(figures["rows"], steps))


def _check_equal(rows: list[dict[str, Any]]) -> None:
    untrained = [row["dice"]["none"] for row in rows if "none" in row["dice"]]
    if untrained and np.ptp(untrained) > 1e-4:
        raise ValueError(f"the sides differ before they train, Dice {untrained}")


def _line(rows: list[dict[str, Any]], side: str, steps: int) -> str:
    cells = [str(steps), side]
    cells += [
        f"{np.median(_seconds(rows, side, steps, kind=k)):.0f} s" for k in ("wall_s", "processor_s")
    ]
    for kind in ("wall_s", "processor_s"):
        ratios = _seconds(rows, OURS, steps, kind=kind) / _seconds(rows, side, steps, kind=kind)
        spread = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        cells.append("" if side == OURS else spread)
    return f"| {' | '.join(cells)} |"


def _seconds(rows: list[dict[str, Any]], side: str, steps: int, *, kind: str) -> np.ndarray:
    chosen = [row for row in rows if (row["side"], row["steps"]) == (side, steps)]
    return np.array([row[kind] for row in sorted(chosen, key=lambda row: row["round"])])


def _split_up(rows: list[dict[str, Any]], steps: list[int]) -> list[str]:
    """Straight lines through the processor times: what does, and what does not depend on steps."""
    if len(steps) < 2:
        return []
    fits = {
        side: np.polyfit(
            steps, [np.median(_seconds(rows, side, n, kind="processor_s")) for n in steps], 1
        )
        for side in (OURS, *OTHERS)
    }
    lines = [
        "",
        "| CPU time | everything but steps | one step of all strategies |",
        "|---|---|---|",
    ]
    lines += [f"| {side} | {fit[1]:.0f} s | {fit[0]:.2f} s |" for side, fit in fits.items()]
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--strategies", nargs="+", default=list(STRATEGIES), metavar="S", help="(the 19 of a study)"
    )
    add("--steps", type=int, nargs="+", default=[_STUDY_STEPS], help="steps per run (200)")
    add("--batch-size", type=int, default=8, help="(8)")
    add("--workers", type=int, default=2, help="processes at a time (2)")
    add("--rounds", type=int, default=1, help="(1)")
    add("--json", type=Path, default=Path("runs/benchmark-whole-study.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

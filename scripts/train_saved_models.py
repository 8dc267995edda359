"""Train, evaluate and register the models that ship: every strategy, ultrasound and X-ray.

Run it again to go on after an interruption. Each step is a `kerasunet` command, printed first.
`benchmarks/seen_images.py` then makes of the models with nothing trained names for their start.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STRATEGIES = ("none", "contracting", "expanding", "shallow:3", "deep:3", "all", "auto")
STEPS = {"ultrasound": 1000, "xray": 300}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--bus-bra", metavar="FOLDER", help="ultrasound, trained on")
    add("--busi", metavar="FOLDER", help="ultrasound, evaluated on")
    add("--shenzhen", metavar="FOLDER", help="X-ray, trained on")
    add("--jsrt", metavar="FOLDER", help="X-ray, evaluated on")
    add(
        "--simulated", action="store_true", help="the model of several objects, on simulated images"
    )
    add("--runs", type=Path, default=Path("runs/saved"), help="(runs/saved)")
    options = parser.parse_args()
    if options.simulated:
        _make_organs(options.runs)
    lesions = ("--labels", "benign", "malignant")
    for strategy in STRATEGIES:
        if options.bus_bra:
            _make(
                "ultrasound",
                strategy,
                options.runs,
                data=options.bus_bra,
                more=("--division", "5-fold"),
            )
        if options.busi:
            _evaluate("ultrasound", strategy, options.busi, more=lesions)
        if options.shenzhen:
            _make("xray", strategy, options.runs, data=options.shenzhen, more=())
        if options.jsrt:
            _evaluate("xray", strategy, options.jsrt, more=())
    return 0


def _name(modality: str, strategy: str) -> str:
    return f"{modality}-{strategy.replace(':', '-')}"


def _make(modality: str, strategy: str, runs: Path, *, data: str, more: Sequence[str]) -> None:
    """Train on all training images of the fixed split; the first fold stays held out."""
    name = _name(modality, strategy)
    steps = ("--steps", str(STEPS[modality]), "--validate-every", "100")
    steps += ("--precision", "mixed_bfloat16")
    sizes = ("--train-size", "all", "--validation-size", "0")
    saved = ("--output", str(runs / name), "--save-as", name, "--half-precision")
    start = ("--init", "natural", "--layers", strategy)
    _kerasunet("finetune", *start, "--data", data, *sizes, *steps, *more, *saved)


def _make_organs(runs: Path) -> None:
    """Train lungs and heart on simulated chest X-rays."""
    name = "simulated-organs"
    data = ("--data", "simulated-xray:600", "--objects", "lungs", "heart")
    steps = ("--init", "natural", "--layers", "all", "--steps", "800", "--validate-every", "100")
    saved = ("--output", str(runs / name), "--save-as", name, "--half-precision")
    _kerasunet("finetune", *data, *steps, *saved)


def _evaluate(modality: str, strategy: str, data: str, *, more: Sequence[str]) -> None:
    _kerasunet("evaluate", _name(modality, strategy), "--data", data, *more, "--record")


def _kerasunet(*words: str) -> None:
    print(f"$ kerasunet {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "kerasunet", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())

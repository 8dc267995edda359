"""Trains, evaluates and registers the models that ship: every strategy, ultrasound and X-ray.

Started again, it goes on. Each step is a `kerasunet` command, printed before it runs.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STRATEGIES = ("none", "contracting", "expanding", "shallow:3", "deep:3", "all", "auto")
STEPS = 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bus-bra", required=True, metavar="FOLDER", help="ultrasound, trained on")
    parser.add_argument("--busi", required=True, metavar="FOLDER", help="ultrasound, evaluated on")
    parser.add_argument("--shenzhen", required=True, metavar="FOLDER", help="X-ray, trained on")
    parser.add_argument("--jsrt", required=True, metavar="FOLDER", help="X-ray, evaluated on")
    parser.add_argument("--runs", type=Path, default=Path("runs/saved"), help="(runs/saved)")
    folders = parser.parse_args()
    lesions = ("--labels", "benign", "malignant")
    for strategy in STRATEGIES:
        _make("ultrasound", strategy, folders.runs, folders.bus_bra, ("--division", "5-fold"))
        _evaluate("ultrasound", strategy, folders.busi, lesions)
        _make("xray", strategy, folders.runs, folders.shenzhen, ())
        _evaluate("xray", strategy, folders.jsrt, ())
    return 0


def _name(modality: str, strategy: str) -> str:
    return f"{modality}-{strategy.replace(':', '-')}"


def _make(modality: str, strategy: str, runs: Path, data: str, more: Sequence[str]) -> None:
    """Trains on all of the fixed split's training images; the first fold stays held out."""
    name = _name(modality, strategy)
    steps = ("--steps", str(STEPS), "--validate-every", "100")
    sizes = ("--train-size", "all", "--validation-size", "0")
    saved = ("--output", str(runs / name), "--save-as", name, "--half-precision")
    _kerasunet("finetune", "--layers", strategy, "--data", data, *sizes, *steps, *more, *saved)


def _evaluate(modality: str, strategy: str, data: str, more: Sequence[str]) -> None:
    _kerasunet("evaluate", _name(modality, strategy), "--data", data, *more, "--record")


def _kerasunet(*words: str) -> None:
    print(f"$ kerasunet {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "kerasunet", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())

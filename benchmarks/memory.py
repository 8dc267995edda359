"""Measures peak memory (VmHWM) of what one does with the package, each in a process of its own.

    python benchmarks/memory.py                 # prints a table, writes runs/benchmark-memory.json

What a process has read and run before its peak counts, imports included, which a row of their own
shows. The second table follows one process of a study over its runs. Needs Linux, and the extras
`engines` and `bench`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from kerasunet.files import write_json  # noqa: E402

_LOOK = """
def megabytes(name):
    status = open("/proc/self/status").read().split()
    return int(status[status.index(name + ":") + 1]) / 1000
"""
_IMPORTS = "from kerasunet.backend import start_backend; start_backend()"
_FINETUNE = """
from pathlib import Path
from kerasunet.backend import start_backend
start_backend()
from kerasunet.training import FinetuneSettings, Optimization, finetune
optimization = Optimization(steps=4, validate_every=4)
settings = FinetuneSettings(
    sys.argv[1], data="simulated-ultrasound:60", validation_size=0, optimization=optimization,
    views=int(sys.argv[3]) or None,
)
finetune(settings, Path(sys.argv[2]) / "run", compact=True)
"""
_ONE_IMAGE = """
import numpy
from kerasunet import Segmenter
Segmenter("natural", engine=sys.argv[1])(numpy.zeros((512, 512), numpy.uint8))
"""
_TILES = """
import cv2, numpy
from pathlib import Path
from kerasunet import Segmenter
small = numpy.random.default_rng(0).integers(0, 65536, (62, 77), dtype=numpy.uint16)
path = str(Path(sys.argv[2]) / "radiograph.png")
cv2.imwrite(path, cv2.resize(small, (4892, 4020), interpolation=cv2.INTER_CUBIC))
Segmenter("natural", engine=sys.argv[1], tile=512)(path)
"""
_STRATEGIES = ("all", "shallow:3", "expanding", "deep:2")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["KERASUNET_CACHE"] = folder
        rows = {"Keras and TensorFlow, imported": _peak(_IMPORTS)}
        for layers in ("all", "shallow:3", "deep:1"):
            rows[f"fine-tuning, {layers}"] = _peak(_FINETUNE, layers, _new(folder, layers), 0)
        kept = _peak(_FINETUNE, "deep:1", _new(folder, "kept"), 2)
        rows["fine-tuning, deep:1, activations of 2 views kept"] = kept
        for engine in ("openvino", "onnx", "litert", "keras"):
            _peak(_ONE_IMAGE, engine)  # Writes what is kept.
            rows[f"image of 512×512, {engine}"] = _peak(_ONE_IMAGE, engine)
        _peak(_TILES, "auto", folder)
        rows["radiograph of 4,892×4,020, 16 bits, tiles of 512"] = _peak(_TILES, "auto", folder)
        sizes = _worker(Path(folder), options.runs)
    figures = {"peak_mb": rows, "worker_mb": sizes}
    print(as_markdown(figures))
    write_json(options.json, figures)


def _new(folder: str, name: str) -> str:
    path = Path(folder) / name.replace(":", "-")
    path.mkdir()
    return str(path)


def _peak(code: str, *words: object) -> float:
    """Run code in a process of its own; return the megabytes of its peak."""
    whole = f"import sys\n{_LOOK}\n{code}\nprint(megabytes('VmHWM'))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", whole, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _worker(folder: Path, runs: int) -> list[float]:
    """Memory of the process of a study after each of its runs, in megabytes."""
    from kerasunet.study.plan import PlannedRun
    from kerasunet.study.workers import run_in_process, workers
    from kerasunet.training.settings import FinetuneSettings, Optimization

    optimization = Optimization(steps=2, validate_every=2)
    sizes = []
    for number in range(runs):
        layers = _STRATEGIES[number % len(_STRATEGIES)]
        settings = FinetuneSettings(
            layers, data="simulated-ultrasound:60", validation_size=0, optimization=optimization
        )
        run_in_process(
            PlannedRun(layers, 0, 40, seed=0, settings=settings), folder / f"run-{number}"
        )
        (process,) = psutil.Process().children()
        sizes.append(process.memory_info().rss / 1e6)
    workers.end()
    return sizes


def as_markdown(figures: dict[str, Any]) -> str:
    """Draws the tables."""
    lines = ["| one process | peak |", "|---|---|"]
    lines += [f"| {name} | {size:,.0f} MB |" for name, size in figures["peak_mb"].items()]
    lines += ["", "| process of a study, after run | memory |", "|---|---|"]
    lines += [
        f"| {number} | {size:,.0f} MB |" for number, size in enumerate(figures["worker_mb"], 1)
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runs", type=int, default=12, help="runs of the process of a study, below 20 (12)")
    add("--json", type=Path, default=Path("runs/benchmark-memory.json"), help="where JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Measures how long one waits for a first answer: imports, --help, a first mask, the demo.

    python benchmarks/startup.py                # prints a table, writes runs/benchmark-startup.json
    python benchmarks/startup.py --no-demo

Each start is a process of its own, several times; what counts is the fastest, in wall time and in
processor time, which other programs on the machine disturb less. `import keras` with TensorFlow is
there to compare with. Needs the extra `bench`, and `demo` for the demo.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from kerasunet.cli import VERBS  # noqa: E402
from kerasunet.files import write_json  # noqa: E402
from kerasunet.inference.engines import installed_engines  # noqa: E402

_MASK = (
    "import sys, numpy; from kerasunet import Segmenter; "
    "Segmenter('natural', engine=sys.argv[1])(numpy.zeros((64, 64), numpy.uint8))"
)
_PATIENCE = 300.0
_CLOCKS = ("wall", "processor")


class Start(NamedTuple):
    """Seconds of a start, by the clock and of the processor."""

    wall: float
    processor: float


def main() -> None:
    options = _options()
    rows: dict[str, list[Start]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for number in range(options.rounds):
            for name, start in _starts(Path(folder), number, options.demo).items():
                rows.setdefault(name, []).append(start())
    figures = {
        name: {
            "wall_s": min(s.wall for s in starts),
            "processor_s": min(s.processor for s in starts),
        }
        for name, starts in rows.items()
    }
    print(as_markdown(figures))
    write_json(options.json, figures)


def _starts(folder: Path, number: int, demo: bool) -> dict[str, Callable[[], Start]]:
    """Return what to start, in order: the second opening of an engine finds what the first kept."""
    kept = {**os.environ, "KERASUNET_CACHE": str(folder / f"cache-{number}")}
    python = [sys.executable, "-c"]
    commands: dict[str, Sequence[str]] = {
        "python": [*python, ""],
        "import kerasunet": [*python, "import kerasunet"],
        "import keras": [*python, "import keras"],
        "kerasunet --help": [sys.executable, "-m", "kerasunet", "--help"],
    }
    for verb in VERBS:
        commands[f"kerasunet {verb} --help"] = [sys.executable, "-m", "kerasunet", verb, "--help"]
    for engine in installed_engines():
        for state in ("nothing kept", "network kept"):
            commands[f"first mask, {engine}, {state}"] = [*python, _MASK, engine]
    starts = {name: (lambda words=words: _run(words, kept)) for name, words in commands.items()}
    return starts | ({"demo, page served": lambda: _demo(kept)} if demo else {})


def _run(words: Sequence[str], environment: dict[str, str]) -> Start:
    before, started = os.times(), time.perf_counter()
    subprocess.run(words, env=_found(environment), cwd=ROOT, capture_output=True, check=True)
    wall, after = time.perf_counter() - started, os.times()
    user = after.children_user - before.children_user
    return Start(wall, user + after.children_system - before.children_system)


def _demo(environment: dict[str, str]) -> Start:
    """Until the first page is there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "demo/app.py", "--port", str(port)],
        env=_found(environment),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        spent = psutil.Process(process.pid).cpu_times()
        return Start(time.perf_counter() - started, spent.user + spent.system)
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                answer.read()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.05)
    raise TimeoutError(f"{address}: no page within {_PATIENCE:.0f} s")


def _found(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def as_markdown(figures: dict[str, Any]) -> str:
    """Draws the table."""
    lines = ["| start | wall time | CPU time |", "|---|---|---|"]
    lines += [
        f"| {name} | {row['wall_s']:.2f} s | {row['processor_s']:.2f} s |"
        for name, row in figures.items()
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="starts of each (3)")
    add("--no-demo", dest="demo", action="store_false", help="leave the demo out")
    add("--json", type=Path, default=Path("runs/benchmark-startup.json"), help="where JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()

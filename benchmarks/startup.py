"""Measures how long one waits: for imports, --help, a first mask, the demo, and for usual commands.

    python benchmarks/startup.py                # prints a table, writes runs/benchmark-startup.json
    python benchmarks/startup.py --no-demo

The commands work on simulated images written to a folder: `check` on 780, `evaluate` on 376; on the
published results of BUS-BRA: `report`; and on a NIfTI volume of 256×256×120, all of whose slices
are read. The demo's first comparison segments one image with every model of a modality, with
engines kept from an earlier round.

Each start is a process of its own, several times; what counts is the fastest, in wall time and in
processor time, which other programs on the machine disturb less. `import keras` with TensorFlow is
there to compare with. Needs the extras `bench`, `dicom` and `demo`.
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

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
from gradio_client import Client, handle_file  # noqa: E402
from PIL import Image  # noqa: E402

from kerasunet.cli import VERBS  # noqa: E402
from kerasunet.data import load  # noqa: E402
from kerasunet.files import write_json  # noqa: E402
from kerasunet.inference.engines import installed_engines  # noqa: E402

_MASK = (
    "import sys, numpy; from kerasunet import Segmenter; "
    "Segmenter('natural', engine=sys.argv[1])(numpy.zeros((64, 64), numpy.uint8))"
)
_START = "from kerasunet.backend import start_backend; start_backend()"
_READ = (
    "import sys; from kerasunet.data.readers import count_frames, read_image; path = sys.argv[1]; "
    "[read_image(path, frame=frame) for frame in range(count_frames(path))]"
)
_STUDY = ROOT / "docs/first-study/bus_bra"
_CHECKED, _EVALUATED, _SLICES = 780, 376, 120
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
        _write_inputs(Path(folder))
        for number in range(options.rounds):
            for name, start in _starts(Path(folder), number, options.demo).items():
                for part, seconds in start().items():
                    rows.setdefault(f"{name}{part}", []).append(seconds)
    figures = {
        name: {
            "wall_s": min(s.wall for s in starts),
            "processor_s": min(s.processor for s in starts),
        }
        for name, starts in rows.items()
    }
    print(as_markdown(figures))
    write_json(options.json, figures)


def _write_inputs(folder: Path) -> None:
    """Write folders of simulated images with masks, and a volume."""
    for count in (_CHECKED, _EVALUATED):
        for kind in ("images", "masks"):
            (folder / str(count) / kind).mkdir(parents=True)
        for case in load(f"simulated-ultrasound:{count}").cases:
            sample = case.load()
            name = f"{case.key}.png"
            Image.fromarray(sample.image.astype(np.uint8)).save(folder / f"{count}/images/{name}")
            Image.fromarray(sample.mask.astype(np.uint8) * 255).save(
                folder / f"{count}/masks/{name}"
            )
    gray = np.random.default_rng(0).integers(0, 256, (256, 256, _SLICES), np.uint8)
    nibabel.save(nibabel.Nifti1Image(gray, np.eye(4)), folder / "volume.nii.gz")


def _commands(folder: Path) -> dict[str, Sequence[str]]:
    """Return what people type: a wrong argument, and commands on data."""
    evaluation = ("evaluate", "ultrasound-all", "--data", folder / str(_EVALUATED))
    words = {
        "a wrong argument": ("finetune", "--layers", "shallow:12"),
        f"check, {_CHECKED} images": ("check", folder / str(_CHECKED)),
        f"evaluate, {_EVALUATED} images, nothing kept": evaluation,
        f"evaluate, {_EVALUATED} images, network kept": evaluation,
        "report, BUS-BRA": (
            "report",
            ROOT / "docs/first-study/bus_bra",
            "--output",
            folder / "report",
        ),
    }
    return {
        name: [sys.executable, "-m", "kerasunet", *map(str, each)] for name, each in words.items()
    }


def _starts(folder: Path, number: int, demo: bool) -> dict[str, Callable[[], dict[str, Start]]]:
    """Return what to start, in order: the second opening of an engine finds what the first kept."""
    kept = {**os.environ, "KERASUNET_CACHE": str(folder / f"cache-{number}")}
    of_demo = {**os.environ, "KERASUNET_CACHE": str(folder / "cache-demo")}
    python = [sys.executable, "-c"]
    commands: dict[str, Sequence[str]] = {
        "python": [*python, ""],
        "import kerasunet": [*python, "import kerasunet"],
        "import keras": [*python, "import keras"],
        "import keras, as commands do": [*python, _START],
        "kerasunet --help": [sys.executable, "-m", "kerasunet", "--help"],
    }
    for verb in VERBS:
        commands[f"kerasunet {verb} --help"] = [sys.executable, "-m", "kerasunet", verb, "--help"]
    for engine in installed_engines():
        for state in ("nothing kept", "network kept"):
            commands[f"first mask, {engine}, {state}"] = [*python, _MASK, engine]
    commands |= _commands(folder)
    volume = str(folder / "volume.nii.gz")
    commands[f"{_SLICES} slices of 256×256, .nii.gz"] = [*python, _READ, volume]
    starts = {
        name: (lambda words=words: {"": _run(words, kept)}) for name, words in commands.items()
    }
    return starts | ({"demo, ": lambda: _demo(of_demo)} if demo else {})


def _run(words: Sequence[str], environment: dict[str, str]) -> Start:
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(words, env=_found(environment), cwd=ROOT, capture_output=True)
    if done.returncode not in (0, 2 if "shallow:12" in words else 0):
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
    wall, after = time.perf_counter() - started, os.times()
    user = after.children_user - before.children_user
    return Start(wall, user + after.children_system - before.children_system)


def _demo(environment: dict[str, str]) -> dict[str, Start]:
    """Until the first page is there, and until a first image is segmented by all models."""
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
        served = Start(time.perf_counter() - started, _spent(process.pid))
        client = Client(f"http://127.0.0.1:{port}/", verbose=False)
        picture = handle_file(client.predict("ultrasound", 0, api_name="/example")[0])
        before, started = _spent(process.pid), time.perf_counter()
        client.predict(picture, None, "ultrasound", 0.5, 0, 0, "", api_name="/compare")
        compared = Start(time.perf_counter() - started, _spent(process.pid) - before)
        return {"page served": served, "first comparison": compared}
    finally:
        process.terminate()
        process.wait()


def _spent(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


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

"""Measures the input path: is training ever kept waiting for images?

    python benchmarks/input.py                      # simulated ultrasound, no download
    python benchmarks/input.py --data DUTS-TR       # a folder

Prints a Markdown table and writes the same figures as JSON. Making batches and training take turns
in one process, so that whatever else the machine does weighs on both; ratios are medians over the
rounds. The cache is a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kerasunet.data import DataSet, DecodedCases, decode, load  # noqa: E402
from kerasunet.data.augmentation_settings import Augmentation  # noqa: E402
from kerasunet.files import write_json  # noqa: E402

_WARM_UP_STEPS = 3
_BATCHES_PER_STEP = 10  # So that both sides of a round take long enough to be timed.


def main() -> None:
    options = _options()
    data = load(options.data, size=options.size)
    figures = {"data": data.name, "cases": len(data), "pixels": options.size}
    figures |= {"processors": os.cpu_count(), "machine": platform.machine()}
    decoded, decoding = measure_decoding(data, (options.size, options.size))
    training = measure_training(decoded, options.batch_size, options.steps, rounds=options.rounds)
    figures |= decoding | training | {"batch": options.batch_size}
    print(as_markdown(figures))
    write_json(options.json, figures)


def measure_decoding(data: DataSet, size: tuple[int, int]) -> tuple[DecodedCases, dict[str, float]]:
    """Decode twice, into an empty cache and from the full one."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["KERASUNET_CACHE"] = folder
        with MemoryWatch() as memory:
            started = time.process_time()
            decoded, cold = _timed(lambda: decode(data.cases, size))
            processor = time.process_time() - started
        decoded, warm = _timed(lambda: decode(data.cases, size))
        written = sum(path.stat().st_size for path in Path(folder).rglob("*.pack"))
    return decoded, {
        "cold_seconds": cold,
        "cold_processor_seconds": processor,
        "warm_seconds": warm,
        "cold_images_per_second": len(data) / cold,
        "warm_images_per_second": len(data) / warm,
        "cache_mb": written / 1e6,
        "memory_mb": memory.grown,
    }


def measure_training(
    decoded: DecodedCases, batch_size: int, steps: int, *, rounds: int
) -> dict[str, float]:
    """Make batches, train on batches made before, and train on batches as they arrive."""
    from kerasunet.data.augmentation import Batches

    batches = Batches(decoded, batch_size, Augmentation(), seed=0)
    train = _default_training()
    made = [batches.batch(step) for step in range(steps)]
    for batch in made[:_WARM_UP_STEPS]:
        train(batch)
    images = steps * batch_size
    supply, demand, waits = [], [], []
    for _ in range(rounds):
        _, seconds = _timed(lambda: list(map(len, batches.steps(0, steps * _BATCHES_PER_STEP))))
        supply.append(images * _BATCHES_PER_STEP / seconds)
        _, seconds = _timed(lambda: [train(batch) for batch in made])
        demand.append(images / seconds)
        waits.append(_share_of_waiting(batches.steps(0, steps), train))
    ratios = [s / d for s, d in zip(supply, demand, strict=True)]
    return {
        "batches_images_per_second": statistics.median(supply),
        "training_images_per_second": statistics.median(demand),
        "ratio": statistics.median(ratios),
        "lowest_ratio": min(ratios),
        "share_of_waiting": statistics.median(waits),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """Draws the table."""
    rows = {
        "decoding, cache empty": "{cold_seconds:.1f} s, {cold_images_per_second:,.0f} images/s",
        "CPU time for that": "{cold_processor_seconds:.1f} s",
        "decoding, cache full": "{warm_seconds:.2f} s, {warm_images_per_second:,.0f} images/s",
        "size of the cache": "{cache_mb:,.0f} MB",
        "peak memory while decoding, without mapped files": "{memory_mb:,.0f} MB",
        "augmented batches": "{batches_images_per_second:,.0f} images/s",
        "training of the default U-Net": "{training_images_per_second:,.1f} images/s",
        "batches / training": "{ratio:.0f} × (lowest of the rounds {lowest_ratio:.0f} ×)",
        "share of training spent waiting for a batch": "{share_of_waiting:.2%}",
    }
    title = "{data}, {cases:,} cases, {pixels}×{pixels}, batches of {batch}, {processors} CPU cores"
    lines = [f"| {title} | |", "|---|---|", *(f"| {name} | {row} |" for name, row in rows.items())]
    return "\n".join(lines).format(**figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default="simulated-ultrasound:200", help="as kerasunet.data.load takes it")
    add("--size", type=int, default=128, help="height and width in pixels (128)")
    add("--batch-size", type=int, default=8, help="images per step (8)")
    add("--steps", type=int, default=10, help="training steps of a round (10)")
    add("--rounds", type=int, default=5, help="rounds (5)")
    add("--json", type=Path, default=Path("runs/benchmark-input.json"), help="where JSON goes")
    return parser.parse_args()


def _default_training() -> Callable[[tuple], Any]:
    """One step of the default U-Net, every weight of which trains."""
    from kerasunet.backend import start_backend

    start_backend()
    from kerasunet import UNet
    from kerasunet.training.optimizer import compile_for_training
    from kerasunet.training.settings import Optimization

    model = UNet(weights=None)
    compile_for_training(model, Optimization())
    return lambda batch: model.train_on_batch(*batch)


def _share_of_waiting(stream: Iterator[tuple], train: Callable[[tuple], Any]) -> float:
    """Trains on a stream of batches; the first is not counted, for nothing could prepare it."""
    train(next(stream))
    started, waited = time.perf_counter(), 0.0
    while True:
        batch, seconds = _timed(lambda: next(stream, None))
        waited += seconds
        if batch is None:
            return waited / (time.perf_counter() - started)
        train(batch)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


class MemoryWatch:
    """Looks twenty times a second how much memory of this process no file backs.

    Attributes:
        grown: Afterward, how far it rose above where it began, in MB; NaN where the system does
            not tell.
    """

    def __enter__(self) -> MemoryWatch:
        self._start = self._peak = _own_memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.grown = (self._peak - self._start) / 1e6

    def _look(self) -> None:
        while not self._done.wait(0.05):
            self._peak = max(self._peak, _own_memory())


def _own_memory() -> float:
    """Bytes of this process that no file backs."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


if __name__ == "__main__":
    main()

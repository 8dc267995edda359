"""Measures how costs grow: with image size, width, depth, batch, training images and strategies.

    python benchmarks/scaling.py --one-core                       # all curves
    python benchmarks/scaling.py --axes size width --largest 512

From a network of 16 filters and depth 4 on images of 128×128 pixels, one property changes at a
time. Inference is of one image. A training step is of 8 images, along the axis of sizes of one.
All sides work on the same images in one process, in turns; networks must agree to 1e-4 before
anything is timed. Prints a Markdown table a curve and writes the same figures as JSON. Needs the
extras `engines` and `bench`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from alternating import alternate  # noqa: E402
from curves import AXES, curves  # noqa: E402

from kerasunet.files import write_json  # noqa: E402
from kerasunet.processes import processors  # noqa: E402


def main() -> None:
    options = _options()
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock = time.process_time if options.one_core else time.perf_counter
    measure = partial(alternate, rounds=options.rounds, calls=options.calls, clock=clock)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["KERASUNET_CACHE"] = cache
        _start_quietly()
        drawn = [curve for axis in options.axes for curve in curves(axis, options.largest, measure)]
    figures = {
        "processors": processors(),
        "clock": "CPU time" if options.one_core else "wall time",
        "curves": drawn,
    }
    print(as_markdown(figures))
    write_json(options.json, figures)


def as_markdown(figures: dict[str, Any]) -> str:
    """Draws a table a curve; ratios are those to ours, within a round."""
    return "\n\n".join(_table(curve, figures) for curve in figures["curves"])


def _table(curve: dict[str, Any], figures: dict[str, Any]) -> str:
    ours, *others = curve["rows"][0]["ms"]
    head = [curve["axis"], f"{ours}, ms {curve['part']}", *(f"{side} ÷ ours" for side in others)]
    head += ["of the limit"] if curve["rows"][0]["of_limit"] else []
    where = f"{figures['clock']}, {figures['processors']} core(s)"
    lines = [f"{curve['work']}, {where}", "", _cells(head), "|---" * len(head) + "|"]
    return "\n".join(lines + [_cells(_row(row, ours, others)) for row in curve["rows"]])


def _row(row: dict[str, Any], ours: str, others: list[str]) -> list[str]:
    cells = [str(row["value"]), f"{row['ms'][ours]:.3g}"]
    cells += [_spread(row["over_ours"][side]) for side in others]
    return cells + ([f"{row['of_limit']:.0%}"] if row["of_limit"] else [])


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _start_quietly() -> None:
    from kerasunet.backend import start_backend

    start_backend()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--axes", nargs="+", choices=list(AXES), default=list(AXES), help="(all)")
    add("--largest", type=int, default=1024, help="largest image size (1024)")
    add("--rounds", type=int, default=3, help="rounds (3)")
    add("--calls", type=int, default=2, help="timed calls of a side in a round (2)")
    add("--one-core", action="store_true", help="one core, CPU time")
    add("--json", type=Path, default=Path("runs/benchmark-scaling.json"), help="where JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()

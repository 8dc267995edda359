"""Measures what a study of thousands of runs costs beside the runs themselves.

    python benchmarks/many_runs.py                                  # 1,000 and 10,000 runs
    python benchmarks/many_runs.py --runs 1000 --executors dask --report

A study is planned as usual. Its runs are given out by the executor, on this machine, Dask or Ray,
to workers that train nothing: each returns random rows of cases at once, as many as the test fold
has. So what is measured is planning, giving out, collecting and writing the tables, and, with
`--report`, the report of them. Each study is a process of its own. Prints a Markdown table, and
writes the same figures as JSON. Needs the extra `cluster`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FOLDS = 5
_WAITING = 20
"""Results that wait on this machine. Real runs end more slowly than they are recorded."""
STRATEGIES = (
    *("none", "all", "contracting", "expanding", "shallow:2", "shallow:3", "shallow:4", "deep:2"),
    *("deep:3", "scratch"),
)


def main() -> None:
    options = _options()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), options)))
        return
    rows = [_measured(name, count, options) for count in options.runs for name in options.executors]
    print(as_markdown(rows, options.cases))
    from kerasunet.files import write_json

    write_json(options.json, {"cases per run": options.cases, "rows": rows})


def _measured(executor: str, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure in a process of its own, whose largest memory is that of this study."""
    command = [sys.executable, __file__, "--one", executor, str(count)]
    command += ["--cases", str(options.cases), "--workers", str(options.workers)]
    command += ["--report"] if options.report else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_DEDUP_LOGS": "0"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(executor: str, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Plan, give out, collect, and report `count` runs; return seconds and MB."""
    from kerasunet.study.execution import open_study
    from kerasunet.study.executors import run_all

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        study = open_study(settings_of(count, options.cases), Path(folder) / "study")
        planned = time.perf_counter() - started
        runs, before = study.open_runs(), _memory()
        room = BoundedSemaphore(_WAITING)

        def in_turn(item: tuple, environment: Mapping[str, str]) -> tuple[dict, list[dict]]:
            room.acquire()
            return one_run(item, environment)

        def record(item: tuple, outcome: Any) -> None:
            study.tables.record(*outcome.value)
            if executor == "local":
                room.release()

        started = time.perf_counter()
        with _cluster(executor, options.workers) as address:
            up = time.perf_counter() - started
            run_all(
                in_turn if executor == "local" else one_run,
                [(run, study.data_name, options.cases) for run in runs],
                executor,
                workers=options.workers,
                address=address,
                on_result=record,
            )
            study.tables.write()
            seconds = time.perf_counter() - started - up
        found = {
            "executor": executor,
            "runs": len(runs),
            "planning, s": planned,
            "start of the cluster, s": up,
            "ms per run": 1000 * seconds / len(runs),
            "memory, MB": _memory() - before,
        }
        return found | (_reported(study.directory) if options.report else {})


def settings_of(count: int, cases: int):
    """Return a study of at least `count` runs, of `cases` held-out cases each."""
    from kerasunet.study.plan import StudySettings
    from kerasunet.training import Architecture, FinetuneSettings

    seeds = -(-count // (FOLDS * len(STRATEGIES)))
    return StudySettings(
        run=FinetuneSettings(
            init="scratch",
            architecture=Architecture(base_filters=2, depth=4),
            data=f"simulated-ultrasound:{FOLDS * cases}",
            validation_size=0,
            folds=FOLDS,
            image_size=32,
        ),
        strategies=STRATEGIES,
        train_sizes=(20,),
        seeds=tuple(range(seeds)),
    )


def one_run(item: tuple, environment: Mapping[str, str]) -> tuple[dict, list[dict]]:
    """Return the rows of a run that was not made, from its number."""
    from kerasunet.study.tables import CASE_COLUMNS, RUN_COLUMNS

    planned, data, cases = item
    rng = random.Random(planned.name)
    identity = dict(zip(("strategy", "fold", "train_size", "seed"), planned.identity, strict=True))
    identity["data"] = data
    level = 0.6 + 0.02 * len(planned.strategy)
    rows = []
    for number in range(cases):
        dice, key = min(1.0, level + 0.1 * rng.random()), f"case{planned.fold}-{number}"
        case = dict.fromkeys(CASE_COLUMNS, dice) | {"truth_area": 100.0, "predicted_area": 90.0}
        rows.append(case | identity | {"key": key, "group": key, "outcome": "hit", "unit": "px"})
    run = dict.fromkeys(RUN_COLUMNS, 1) | {"versions": "", "note": "", "chosen": ""}
    return run | identity | {"status": "finished", "precision": "float32", "device": "cpu"}, rows


@contextmanager
def _cluster(name: str, workers: int) -> Iterator[str | None]:
    """Start a Dask or Ray cluster of this machine, on loopback; for `local`, nothing."""
    if name == "dask":
        from distributed import LocalCluster

        words = {"host": "127.0.0.1", "dashboard_address": None}
        with LocalCluster(n_workers=workers, threads_per_worker=1, **words) as cluster:
            yield cluster.scheduler_address
    elif name == "ray":
        import ray

        words = {"include_dashboard": False, "log_to_driver": False}
        ray.init(num_cpus=workers, _node_ip_address="127.0.0.1", **words)
        try:
            yield None
        finally:
            ray.shutdown()
    else:
        yield None


def _reported(directory: Path) -> dict[str, float]:
    from kerasunet.cli import main as kerasunet

    started, before = time.perf_counter(), _memory()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        kerasunet(["report", str(directory), "--output", str(directory / "report")])
    seconds = time.perf_counter() - started
    return {"report, s": seconds, "report, MB": _memory() - before}


def _memory() -> float:
    """Return the largest memory of this process so far, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1000


def as_markdown(rows: list[dict[str, Any]], cases: int) -> str:
    """Draw a row for each study."""
    head = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"{cases} held-out cases per run", ""]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    cells = ([_cell(row.get(name, "")) for name in head] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--executors", nargs="+", default=["local", "dask", "ray"])
    parser.add_argument("--cases", type=int, default=20, help="held-out cases per run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="report each study, too")
    parser.add_argument("--json", type=Path, default=Path("runs/benchmark-many-runs.json"))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Runs every case of `hostile_files` in one process and writes what came of each as JSON.

python bad_input_probe.py FOLDER RESULTS.json
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

from helpers.hostile_files import CASES, Case
from kerasunet.cli import main

SECONDS, WALL_SECONDS = 20, 500  # Of computing; of waiting, on a machine that has other work.
_ADDRESS_SPACE = 4 << 30


def run(case: Case) -> dict:
    given = case.make()
    before = files()
    said = io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = call(given)
    return {
        "name": case.name,
        "by_words": isinstance(given, list),
        "status": status,
        "said": said.getvalue(),
        "seconds": time.process_time() - started,
        "left": sorted(files() - before),
        "megabytes": peak_megabytes(),
    }


def call(given) -> int:
    """The exit status of words, or 2 for a documented exception of a function."""
    try:
        if isinstance(given, list):
            return main(given)
        given()
        return 0
    except SystemExit as stop:
        return stop.code
    except (ValueError, OSError, TypeError) as error:
        print(error)
        return 2
    except BaseException:
        print(traceback.format_exc())
        return 99


def peak_megabytes() -> float:
    """The most memory so far; `ru_maxrss` would begin with the peak of the process before."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


def stop(*_) -> None:
    raise RuntimeError("took too long")


def probe(folder: Path) -> list[dict]:
    results = []
    for number, case in enumerate(CASES):
        own = folder / str(number)
        own.mkdir()
        os.chdir(own)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WALL_SECONDS)
        results.append(run(case))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return results


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    place, target = Path(sys.argv[1]), Path(sys.argv[2]).absolute()
    found = {"cases": probe(place), "heavy": sorted({"keras", "tensorflow"} & set(sys.modules))}
    target.write_text(json.dumps(found))

"""When a process is killed, and which one: by the clock, at the sight of a write, at a write."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from killing.commands import Command

CLOCK, AT_ONCE, SEEN = "by the clock", "at once", "a write seen"
EXACT = {"before": "before a rename", "half": "half a file", "after": "after a rename"}
_CYCLE = (CLOCK, "half", SEEN, "before", AT_ONCE, CLOCK, "after", "half", CLOCK, SEEN)
_AT_ONCE_SECONDS = 1.5
_MOST_WRITES = {"finetune": 60, "pretrain": 46, "study": 10, "worker": 45}
_LAST_WRITES = 17
_BETWEEN_LOOKS = 0.0005
_PATIENCE = 3600.0


@dataclass(frozen=True)
class Moment:
    """One attempt to kill.

    Attributes:
        kind: `CLOCK`, `AT_ONCE`, `SEEN` or a key of `EXACT`.
        who: `"command"`, or of a study `"worker"` or `"group"`, which is both.
        amount: Seconds, or the number of the write.
    """

    kind: str
    who: str
    amount: float

    @property
    def name(self) -> str:
        """For people."""
        return EXACT.get(self.kind, self.kind)

    @property
    def variables(self) -> dict[str, str]:
        """What the process that kills itself has to be told."""
        if self.kind not in EXACT:
            return {}
        who = "worker" if self.who == "worker" else "parent"
        return {"KILL_AT": f"{self.kind}:{int(self.amount)}", "KILL_WHO": who}


def next_moment(number: int, verb: str, seconds: float, *, done: int, rng: random.Random) -> Moment:
    """Draws a moment.

    Args:
        number: How many there have been; kinds come in turn.
        verb: What is killed.
        seconds: How long the command takes.
        done: Epochs of training that have been done.
        rng: Where chance comes from.
    """
    kind = _CYCLE[number % len(_CYCLE)]
    who = "command"
    if verb == "study":
        who = rng.choice(("command", "worker", "group" if kind not in EXACT else "worker"))
    if kind == CLOCK:
        return Moment(kind, who, rng.uniform(0, seconds))
    if kind == AT_ONCE:
        return Moment(kind, who, rng.uniform(0, _AT_ONCE_SECONDS))
    return Moment(kind, who, _write(verb, who, done, rng=rng))


def _write(verb: str, who: str, done: int, *, rng: random.Random) -> int:
    """Half of them soon, half of them among the last of the run."""
    most = _MOST_WRITES["worker" if who == "worker" else verb]
    left = most if verb == "study" else most - 2 * done
    if rng.random() < 0.5:
        return rng.randint(1, 8)
    return max(1, left - rng.randrange(min(left, _LAST_WRITES)))


def run_until_killed(command: Command, folder: Path, moment: Moment) -> bool:
    """Start a command and kill it as a moment tells; false if it ended by itself before.

    A study goes on after the death of its worker; it is then waited for.
    """
    mark = folder / "killed"
    mark.unlink(missing_ok=True)
    process = command.start(folder, moment.variables | {"KILL_MARK": str(mark)})
    killed = moment.kind not in EXACT and _strike(process, folder / "out", moment)
    status = process.wait(_PATIENCE)
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"exit status {status}:\n{(folder / 'said.txt').read_text()[-3000:]}")
    return killed or mark.exists()


def _strike(process: subprocess.Popen, directory: Path, moment: Moment) -> bool:
    """Wait for the moment and kill; false if the process, or the worker, is gone by then."""
    if moment.kind == SEEN:
        _wait_for_writes(process, directory, int(moment.amount))
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment.amount)
    if process.poll() is not None:
        return False
    if moment.who == "worker":
        return _kill_worker(process.pid)
    if moment.who == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    return True


def _kill_worker(parent: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children():
            if "kerasunet.study.workers" in child.cmdline():
                child.kill()
                return True
    return False


def _wait_for_writes(process: subprocess.Popen, directory: Path, number: int) -> None:
    """Return as soon as so many files have been seen that are being written, or none will be."""
    seen: set[str] = set()
    while len(seen) < number and process.poll() is None:
        seen.update(_being_written(directory))
        time.sleep(_BETWEEN_LOOKS)


def _being_written(directory: Path) -> Iterator[str]:
    for folder in (directory, *directory.glob("runs/*"), directory / "overlays"):
        with contextlib.suppress(OSError):
            yield from (e.path for e in os.scandir(folder) if e.name.startswith(".writing-"))

"""Kills a command again and again, starts it again, and compares with one that was never killed.

    python benchmarks/reliability/kill.py finetune --kills 30 --seed 0

SIGKILL comes at random moments: by the clock, at once after a start, at the sight of a file that is
being written, and exactly before, in the middle of and after a write. In a study it hits the
command, its worker, or both. After a few kills the command may end; its weights, tables, histories
and pictures then have to be the same, bit for bit, as those of an undisturbed run. After every kill
each file that has its name has to be whole, no finished result may have been written again, and no
finished step may be lost. Ends with 1 if anything of this does not hold. Ctrl-C ends it early and
tells what has been.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from killing import inspection
from killing.commands import Command, make_command
from killing.moments import next_moment, run_until_killed

_MOST_KILLS_A_LAP = 5


@dataclass
class Harness:
    """Kills a command and keeps count.

    Attributes:
        command: What is killed.
        place: Folder of all laps.
        rng: Where chance comes from.
        expected: What an undisturbed run ends in.
        seconds: How long that took.
        kills: How many of each kind, process and stage.
        attempts: Starts that were meant to be killed.
        faults: What did not hold, in words.
    """

    command: Command
    place: Path
    rng: random.Random
    expected: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    kills: Counter = field(default_factory=Counter)
    attempts: int = 0
    faults: list[str] = field(default_factory=list)

    def run_undisturbed(self) -> None:
        """Make what all else is compared with."""
        started = time.monotonic()
        folder = self.place / "undisturbed"
        if self.command.start(folder).wait():
            raise RuntimeError((folder / "said.txt").read_text(encoding="utf-8"))
        self.seconds = time.monotonic() - started
        self.expected = inspection.outcome(folder / "out")

    def lap(self, number: int, most: int) -> int:
        """Kills up to `most` times, lets the command end and compares; returns the kills."""
        folder = self.place / f"lap{number:02d}"
        kills = 0
        for _ in range(most):
            if not self._kill_once(folder):
                break
            kills += 1
        self._finish(folder)
        return kills

    def _kill_once(self, folder: Path) -> bool:
        out = folder / "out"
        before = inspection.kept(out)
        moment = next_moment(
            self.attempts,
            self.command.verb,
            self.seconds,
            done=inspection.steps_done(out),
            rng=self.rng,
        )
        self.attempts += 1
        killed = run_until_killed(self.command, folder, moment)
        self._note(inspection.broken_files(out) + before.losses(out))
        if killed:
            stage = inspection.stage(out)
            self.kills[moment.name, moment.who, stage] += 1
            print(f"  {moment.name} ({moment.who}), {stage}", flush=True)
        return killed

    def _finish(self, folder: Path) -> None:
        out = folder / "out"
        before = inspection.kept(out)
        if self.command.start(folder).wait():
            self._note([f"{folder}: {(folder / 'said.txt').read_text()[-500:]}"])
        self._note(inspection.broken_files(out) + before.losses(out))
        self._note(inspection.unfinished_files(out))
        found = inspection.outcome(out)
        names = sorted(self.expected.keys() | found.keys())
        different = [name for name in names if self.expected.get(name) != found.get(name)]
        self._note([f"{out / name}: differs from the undisturbed run" for name in different])
        print(
            f"{folder.name}: {len(names) - len(different)} of {len(names)} results equal",
            flush=True,
        )

    def _note(self, faults: list[str]) -> None:
        self.faults += faults
        for fault in faults:
            print(f"FAULT {fault}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("finetune", "pretrain", "study"))
    parser.add_argument("--kills", type=int, default=30, help="(30)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--folder", type=Path, help="where to work; it stays (a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = (options.folder or Path(temporary)).resolve()
        return _run(options, place)


def _run(options: argparse.Namespace, place: Path) -> int:
    command = make_command(options.verb, place)
    harness = Harness(command, place, random.Random(options.seed))
    harness.run_undisturbed()
    print(f"undisturbed: {harness.seconds:.0f} s, {len(harness.expected)} results", flush=True)
    laps = 0
    with contextlib.suppress(KeyboardInterrupt):
        while (left := options.kills - harness.kills.total()) > 0:
            harness.lap(laps + 1, min(left, harness.rng.randint(2, _MOST_KILLS_A_LAP)))
            laps += 1
    print(_summary(harness, laps))
    return 1 if harness.faults or harness.kills.total() < options.kills else 0


def _summary(harness: Harness, laps: int) -> str:
    kills, verb = harness.kills.total(), harness.command.verb
    lines = [f"{kills} kills of {verb}, {laps} runs that ended and were compared"]
    for index, title in enumerate(("moment", "process", "stage")):
        counts = Counter()
        for key, number in harness.kills.items():
            counts[key[index]] += number
        lines.append(f"{title}: {', '.join(f'{name} {n}' for name, n in counts.most_common())}")
    return "\n".join([*lines, f"{len(harness.faults)} faults"])


if __name__ == "__main__":
    sys.exit(main())

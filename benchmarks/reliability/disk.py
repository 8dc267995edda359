"""Runs commands on a disk that is full, or may only be read, and goes on once it is mended.

    sudo python benchmarks/reliability/disk.py finetune

The output folder is a file system in memory that is too small, by and by less so, and then one that
is mounted read-only before the start. Each time the command has to end with exit status 2 and
one line that names a file or folder, the cause and the remedy; what it had reached has to stay; and
with room again, the same command has to end in the same results as an undisturbed run, bit for bit.
Needs Linux, and root for mounting. Ends with 1 if anything of this does not hold.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killing import inspection
from killing.commands import Command, make_command

_SIZES = {
    "finetune": ("4k", "32k", "120k", "300k", "700k"),
    "pretrain": ("4k", "32k", "120k", "200k", "300k"),
    "study": ("4k", "32k", "120k", "200k"),
}
_ROOM = "64m"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=tuple(_SIZES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        command = make_command(options.verb, place)
        if _say(command, place / "undisturbed")[0]:
            raise RuntimeError("the undisturbed run failed")
        expected = inspection.outcome(place / "undisturbed" / "out")
        faults = [*_grow(command, place / "full", expected), *_read_only(command, place / "read")]
    print("\n".join([f"{len(faults)} faults", *faults]))
    return 1 if faults else 0


def _grow(command: Command, folder: Path, expected: dict[str, str]) -> Iterator[str]:
    """Yield the faults of a run on a disk that grows, and is always too small but the last time."""
    with _mounted(folder / "out", _SIZES[command.verb][0]) as out:
        for size in _SIZES[command.verb]:
            _remount(out, f"size={size}")
            before = inspection.kept(out)
            yield from _refused(command, folder, f"{size} of disk")
            yield from (*inspection.broken_files(out), *before.losses(out))
        _remount(out, f"size={_ROOM}")
        before = inspection.kept(out)
        status, said = _say(command, folder)
        yield from [f"with room again: exit status {status}: {said}"] if status else ()
        yield from (*before.losses(out), *inspection.unfinished_files(out))
        found = inspection.outcome(out)
        print(f"with {_ROOM} of disk: exit status {status}, {len(found)} results", flush=True)
        if found != expected:
            yield f"{out}: differs from the undisturbed run"


def _read_only(command: Command, folder: Path) -> Iterator[str]:
    with _mounted(folder / "out", _ROOM) as out:
        _remount(out, "ro")
        yield from _refused(command, folder, "a disk that may only be read")


def _refused(command: Command, folder: Path, disk: str) -> Iterator[str]:
    status, said = _say(command, folder)
    errors = [line for line in said.splitlines() if not line.startswith(_NORMAL)]
    print(f"{disk}: exit status {status}: {' / '.join(errors)}", flush=True)
    if status != 2 or len(errors) != 1 or "out" not in errors[0] or "; " not in errors[0]:
        yield f"{disk}: no clear line"


_NORMAL = ("data ", "step ", "study ", "folds ", "strategies ", "training ", "runs ", "[")


def _say(command: Command, folder: Path) -> tuple[int, str]:
    said = folder / "said.txt"
    said.unlink(missing_ok=True)
    status = command.start(folder).wait()
    return status, said.read_text(encoding="utf-8")


@contextmanager
def _mounted(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


if __name__ == "__main__":
    sys.exit(main())

"""Processes: how one that does a piece of work starts and ends, its CPU cores and heaps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_SECONDS_BETWEEN_CHECKS = 2.0
_PATIENCE = 5.0
_PARENT = "KERASUNET_PARENT"
_M_ARENA_MAX, _MOST = -8, 2  # malloc.h of glibc; mallopt(3)
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20
_SOURCE = Path(__file__).resolve().parents[1]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package, not of the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(additions: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment in which `module_command` finds this package."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(_SOURCE), *([inherited] if inherited else [])])
    started_by = {_PARENT: str(os.getpid())}
    return {**os.environ, **(additions or {}), **started_by, "PYTHONPATH": path}


class BackgroundProcess:
    """A process that writes what it says to a file, and can be ended.

    Args:
        command: Program and arguments.
        log: Receives standard output and errors.
        additions: Environment variables to set, in addition to the present ones.

    Attributes:
        canceled: Whether `cancel` ended it.
    """

    def __init__(
        self, command: Sequence[str], log: Path, additions: Mapping[str, str] | None = None
    ):
        self.canceled = False
        with open(log, "w", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(additions),
            )

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self._process.poll() is not None

    def cancel(self) -> None:
        """End the process, if it has not ended, and wait for that."""
        if self.has_ended:
            return
        self.canceled = True
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def end_with_parent() -> None:
    """End this process when the one that started it ends, rather than continue unseen."""
    parent = os.getppid()
    if os.name == "posix" and os.environ.get(_PARENT, str(parent)) != str(parent):
        os._exit(1)  # It has ended before this process came so far.

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_CHECKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def last_line(log: Path) -> str:
    """Return the last line of a log: for a process that failed, the reason."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "ended without a message"


def processors() -> int:
    """Return the number of CPU cores that this process may use, possibly not all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_malloc_arenas() -> None:
    """Let all threads share two malloc arenas, and return large arrays to the system once freed.

    The C library of Linux gives threads arenas of their own, up to eight for each core, and returns
    little of them: a server with many threads grows although it needs no more memory. It also
    moves ever larger arrays into these arenas once some have been freed, where they leave gaps.

    Does nothing where the C library has no such settings.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_ARENA_MAX, _MOST)
            library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)

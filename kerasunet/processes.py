"""Processes: how one that does a piece of work starts and ends, its locks, CPU cores and heaps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":  # That a folder is used twice at once is not noticed there.
    fcntl = None
else:
    import fcntl

_SECONDS_BETWEEN_CHECKS = 2.0
_PATIENCE = 5.0
_PARENT = "KERASUNET_PARENT"
_M_ARENA_MAX, _MOST = -8, 2  # malloc.h of glibc; mallopt(3)
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20
_SECONDS_TO_END, _SECONDS_BETWEEN_TRIES = 20.0, 0.1
"""How long what was killed may take to end with its children, and how often to look."""
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


def lock(path: Path, *, wait: bool = False) -> int | None:
    """Lock a file or folder until what is returned is closed; `None` if it cannot be locked."""
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def alone_in(directory: Path) -> Iterator[bool]:
    """Let no other process that asks for it work in a folder, after waiting a little for it.

    The lock is on the folder itself and is released when the process ends, however it ends.

    Yields:
        Whether it is locked; false where the file system has no locks.

    Raises:
        ValueError: Another process works in it.
    """
    descriptor = os.open(directory, os.O_RDONLY) if fcntl else None
    try:
        yield descriptor is not None and _locked(descriptor, directory)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(descriptor: int, directory: Path) -> bool:
    """Wait a little for the lock; return false where the file system has none."""
    given_up = time.monotonic() + _SECONDS_TO_END
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > given_up:
                raise ValueError(
                    f"{directory}: another process is using it; wait until it ends, or use "
                    "another output folder"
                ) from error
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError:  # A network folder without locks.
            return False
        else:
            return True


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

"""What a process imports and when, how it starts others, locks folders, uses cores and heap.

Packages show their public names to editors and import them on first use.
"""

from __future__ import annotations

import ast
import ctypes
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if sys.platform == "win32":  # That a folder is used twice at once is not noticed there.
    fcntl = None
else:
    import fcntl

_SECONDS_BETWEEN_CHECKS = 2.0
_PATIENCE = 5.0
_SECONDS_TO_END, _SECONDS_BETWEEN_TRIES = 20.0, 0.1  # A process whose parent was killed ends soon.
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


def lock(path: Path, *, seconds: float = 0.0) -> int | None:
    """Lock a file or folder until what is returned is closed, or the process ends.

    Args:
        path: The file or folder.
        seconds: How long to wait for another process.

    Returns:
        A descriptor; `None` where the system has no locks.

    Raises:
        BlockingIOError: Another process has locked it.
    """
    if fcntl is None:
        return None
    descriptor, given_up = os.open(path, os.O_RDONLY), time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= given_up:
                os.close(descriptor)
                raise
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError:  # A network folder without locks.
            os.close(descriptor)
            return None
        else:
            return descriptor


@contextmanager
def alone_in(directory: Path) -> Iterator[bool]:
    """Let no other process that asks for it work in a folder; yield whether that is sure.

    Raises:
        ValueError: Another process works in it, after waiting a little for its end.
    """
    try:
        held = lock(directory, seconds=_SECONDS_TO_END)
    except BlockingIOError as error:
        told = "another process is using it; wait until it ends, or use another output folder"
        raise ValueError(f"{directory}: {told}") from error
    try:
        yield held is not None
    finally:
        if held is not None:
            os.close(held)


def lazy_members(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__`, `__dir__` (PEP 562) and `__all__` of a package.

    The public names are those that the package imports under `if TYPE_CHECKING:`. Editors, type
    checkers and documentation read these imports as they stand, so each name is written once.

    Args:
        package: The package's `__name__`.

    Raises:
        ImportError: The source of the package isn't there to be read.
    """
    origins = lazy_origins(_source_of(package))

    def get(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(origins[name])
        if name in vars(module):
            return vars(module)[name]
        return importlib.import_module(f"{origins[name]}.{name}")

    return get, lambda: sorted(origins), sorted(origins)


def lazy_origins(source: str) -> dict[str, str]:
    """Return which module each name that a source text imports under `if TYPE_CHECKING:` is from.

    Args:
        source: Text of the module.
    """
    return {
        alias.name: statement.module
        for guard in ast.parse(source).body
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for statement in guard.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }


def _source_of(package: str) -> str:
    spec = sys.modules[package].__spec__
    source = getattr(spec.loader, "get_source", lambda _: None)(package) if spec else None
    if source is None:
        raise ImportError(f"{package}: its source is missing, and with it the list of its members")
    return source

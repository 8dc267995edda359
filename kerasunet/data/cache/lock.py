"""One process at a time decodes for a folder; the others then find what it made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: processes may decode the same image twice, which harms nothing.
    fcntl = None

NAME = ".lock"
_SECONDS_BETWEEN_LOOKS = 0.05
_PATIENCE = 60.0


@contextlib.contextmanager
def locked(folder: Path, signs_of_life: str) -> Iterator[bool]:
    """Waits for the lock of a folder; it ends with its process, however that ends.

    Args:
        folder: The folder.
        signs_of_life: Pattern of the files that whoever holds the lock keeps writing. If none of
            them changes for a minute, as when that process was suspended, the wait is over.

    Yields:
        Whether this process has the lock. Without it, all that can happen is double work.

    Raises:
        OSError: The folder cannot be written.
    """
    with open(folder / NAME, "ab") as file:
        yield fcntl is not None and _acquire(file, folder, signs_of_life)


def _acquire(file, folder: Path, signs_of_life: str) -> bool:
    started = time.time()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.time() - max(started, _last_change(folder, signs_of_life)) > _PATIENCE:
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        except OSError:  # A network folder without locks.
            return False
        else:
            return True


def _last_change(folder: Path, pattern: str) -> float:
    times = [0.0]
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)

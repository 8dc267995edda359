"""The files of visitors: in a folder of this process, gone with the session or by the clock."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import gradio as gr

_KEPT_SECONDS, _KEPT_SECONDS_EMPTY, _SECONDS_BETWEEN_SWEEPS = 3600, 20, 10
_KEPT_BYTES = 8 << 30
_OWN_NAME = 40


class Traces:
    """The files of each session, so that they go when it ends.

    Equal uploads of two sessions are one file: it goes with the last of them, and never while
    another session that has just uploaded it has yet to use it.
    """

    def __init__(self) -> None:
        self._files: dict[str, set[Path]] = defaultdict(set)
        self._ages: dict[Path, int] = {}
        self._lock = threading.Lock()

    def keep(self, request: gr.Request | None, *paths: str | os.PathLike | None) -> None:
        """Remembers files as those of the session that asks."""
        if request is None:
            return
        with self._lock:
            for path in map(Path, filter(None, paths)):
                self._files[request.session_hash].add(path)
                self._ages[path] = _age(path)

    def remove(self, request: gr.Request) -> None:
        """Deletes the files of a session that has ended."""
        with self._lock:
            files = self._files.pop(request.session_hash, set())
            for path in files.difference(*self._files.values()):
                if _age(path) == self._ages.pop(path):
                    _delete(path)


@contextmanager
def workspace() -> Iterator[Path]:
    """Has Gradio keep its files in a folder of this process' own, which goes with it.

    Meanwhile, files that no session has taken away go when they are an hour old, and the oldest
    earlier where they become too many.
    """
    with tempfile.TemporaryDirectory(prefix="kerasunet-demo-", ignore_cleanup_errors=True) as path:
        os.environ["GRADIO_TEMP_DIR"] = path
        over = threading.Event()
        sweeper = threading.Thread(target=_sweep_until, args=(Path(path), over), daemon=True)
        sweeper.start()
        yield Path(path)
        over.set()


def new_file(name: str, data: bytes) -> Path:
    """Writes a file for a visitor to download, under a name that nobody can guess."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(_OWN_NAME // 2)
    folder.mkdir()
    path = folder / name
    path.write_bytes(data)
    return path


def sweep(folder: Path, seconds: float, most_bytes: int = _KEPT_BYTES) -> None:
    """Deletes the uploads and downloads that are older than this, or the oldest of too many.

    What lies deeper are the images and runs of sessions that fine-tune; they go with those.

    Args:
        folder: Folder of the demo's files.
        seconds: How old a file may become.
        most_bytes: How much the others may take on the disk together.
    """
    oldest, left = time.time() - seconds, most_bytes
    for age, size, path in sorted(_files(folder), reverse=True):
        left -= size
        if left < 0 or age < oldest * 1e9:
            _delete(path)


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """When each came here, its size and its path."""
    for place, folders, names in os.walk(folder):
        if place != str(folder):
            folders.clear()
        for path in (Path(place, name) for name in names):
            with suppress(OSError):  # Gone already.
                seen = path.stat()
                yield seen.st_ctime_ns, seen.st_size, path


def sweep_empty(folder: Path, seconds: float) -> None:
    """Deletes empty files in the folder itself: Gradio leaves one each time it is given a file."""
    oldest = time.time() - seconds
    for entry in os.scandir(folder):
        with suppress(OSError):  # Gone already.
            if entry.is_file() and not (seen := entry.stat()).st_size and seen.st_ctime < oldest:
                os.unlink(entry)


def _sweep_until(folder: Path, over: threading.Event) -> None:
    while not over.wait(_SECONDS_BETWEEN_SWEEPS):
        sweep(folder, _KEPT_SECONDS)
        sweep_empty(folder, _KEPT_SECONDS_EMPTY)


def _age(path: Path) -> int:
    """When the file came here, in nanoseconds; an upload of the same file anew changes it."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _delete(path: Path) -> None:
    """Deletes a file, and its folder, if that was made for it alone."""
    path.unlink(missing_ok=True)
    if len(path.parent.name) == _OWN_NAME:
        with suppress(OSError):  # Not empty.
            path.parent.rmdir()

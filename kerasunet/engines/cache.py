"""Compiled networks on disk, so that only the first start of a model pays for compiling it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kerasunet.data.cache.place import cache_folder
from kerasunet.files import write_atomically

_MOST_FILES = 64


class Slot:
    """The place of one compiled network; without a cache, or where it cannot be written, empty.

    Args:
        kind: Name of the engine.
        facts: Everything that the contents depend on.
    """

    def __init__(self, kind: str, facts: tuple[str, ...]):
        key = hashlib.sha256("\n".join((kind, *facts)).encode()).hexdigest()
        folder = cache_folder()
        self._path = folder and folder / "engines" / f"{kind}-{key[:32]}.bin"

    def get(self, make: Callable[[], bytes]) -> bytes:
        """Returns what is kept, or makes it and keeps it, with the 63 others used last."""
        with suppress(OSError):
            if self._path:
                kept = self._path.read_bytes()
                self._path.touch()
                return kept
        made = make()
        with suppress(OSError):
            if self._path:
                write_atomically(self._path, lambda temporary: temporary.write_bytes(made))
                _remove_oldest(self._path.parent)
        return made

    def clear(self) -> None:
        """Removes what is kept."""
        with suppress(OSError):
            if self._path:
                self._path.unlink()


def _remove_oldest(directory: Path) -> None:
    files = sorted(directory.glob("*.bin"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[_MOST_FILES:]:
        path.unlink()

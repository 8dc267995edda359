"""Decoded and resized cases on disk, mapped into memory: no image is decoded twice.

A folder per size, number of channels and decoder holds packs: files of many cases each, written
once and never changed. Cases are found in them by what they were made from, see
`kerasunet.data.cache_packs`. Every row has a checksum; a pack that is damaged is removed and what
was wanted of it is made again. Where packs cannot be written, everything works as it does without
a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kerasunet.data.cache_packs import (
    NOT_KEPT,
    SUFFIX,
    UNFINISHED,
    Damaged,
    DecodeRows,
    Pack,
    PackWriter,
    Place,
    PutRow,
    Rows,
    Source,
    Spacing,
    gather,
    rows_in_memory,
    source_of,
)
from kerasunet.data.cache_packs import pack_bytes as bytes_of
from kerasunet.data.cases import Case
from kerasunet.files import FOLDER, LIMIT, cache_folder, size_limit

_DATA = Path(__file__).parent
_PARTS = ("cases.py", "decoding.py", "readers", "layouts", "simulation", "builders")
_LIBRARIES = (
    "kerasunet",
    "numpy",
    "scipy",
    "pillow",
    "opencv-python-headless",
    "opencv-python",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "nibabel",
)


@cache
def decoder_version() -> str:
    """Digest of the code that makes pixels, of the libraries it uses and the kind of processor.

    The code itself counts, rather than a number that someone has to remember to raise.
    """
    digest = hashlib.blake2b(platform.machine().encode(), digest_size=6)
    for name in _LIBRARIES:
        digest.update(f"{name} {_installed(name)}\n".encode())
    for part in _PARTS:
        for path in sorted([_DATA / part, *(_DATA / part).rglob("*.py")]):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


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


_SHELF = re.compile(r"\d+x\d+x\d+-[0-9a-f]{12}")
_ABANDONED = 24 * 3600.0  # Seconds after which an unfinished file surely has no writer.


class Usage(NamedTuple):
    """What a cache holds: number of packs, of entries in them, and bytes of all files."""

    packs: int
    entries: int
    size: int


class TooSmall(OSError):
    """The cache may not grow to the size that is needed."""


def cached_rows(cases: Sequence[Case], shape: tuple[int, int, int], decode: DecodeRows) -> Rows:
    """Takes cases from the cache of the environment, and has those decoded that are not in it.

    Where the cache cannot be used, a line is logged, once, and all are decoded into memory.

    Args:
        cases: The cases.
        shape: Height, width and channels.
        decode: Decodes the cases of given indices; a `ValueError` tells which cannot be used.

    Returns:
        The rows, in the order of the cases, mapped or in memory.

    Raises:
        ValueError: Cases cannot be used, or the environment names no size.
    """
    folder, limit = cache_folder(), size_limit()
    sources = [source_of(case) for case in cases] if folder else []
    if sources and None not in sources:
        try:
            return Store(folder, limit).rows(cases, sources, shape, decode)
        except OSError as error:
            _tell_once(f"{folder}: {error.strerror or error}")
    return rows_in_memory(len(cases), shape, decode)


class Store:
    """A cache folder, shared by all processes that name it.

    Args:
        folder: The folder; it need not exist.
        limit: Bytes that all files together may take.
    """

    def __init__(self, folder: Path, limit: int):
        self._folder, self._limit = folder, limit

    def rows(
        self,
        cases: Sequence[Case],
        sources: Sequence[Source],
        shape: tuple[int, int, int],
        decode: DecodeRows,
    ) -> Rows:
        """Finds or makes the rows of cases, of which there is at least one.

        Raises:
            OSError: The folder cannot be written, or has no room. Nothing is left behind.
            ValueError: Cases cannot be used. The others are kept.
        """
        shelf = self._folder / f"{'x'.join(map(str, shape))}-{decoder_version()}"
        places = _find(shelf, sources)
        if None in places:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shelf.mkdir(exist_ok=True)
            with cache.locked(shelf, f"{UNFINISHED}*") as alone:
                if alone:
                    _remove(shelf.glob(f"{UNFINISHED}*"))
                # Another process may have decoded them while this one waited.
                places = self._filled(shelf, shape, _find(shelf, sources), cases, sources, decode)
        return gather(places, shelf)

    def usage(self) -> Usage:
        """Counts packs, their entries, and bytes."""
        files = self._files()
        packs = [path for path in files if path.suffix == SUFFIX]
        entries = sum(len(pack.images) for pack in map(_opened, packs) if pack)
        return Usage(len(packs), entries, sum(status.st_size for status in files.values()))

    def clear(self) -> None:
        """Removes all files of the cache and no others; processes that map them keep them.

        Raises:
            OSError: A file cannot be removed.
        """
        for path in self._files():
            path.unlink(missing_ok=True)
        for shelf in self._shelves():
            (shelf / cache.NAME).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # Something else lies in it.
                shelf.rmdir()

    def _filled(self, shelf, shape, places, cases, sources, decode) -> list[Place]:
        """The places, those that were `None` in a new pack."""
        missing = [index for index, place in enumerate(places) if place is None]
        if missing:
            self._make_room(bytes_of(len(missing), shape))
            pack = _write(shelf, shape, missing, cases, sources, decode)
            places = list(places)
            for row, index in enumerate(missing):
                places[index] = (pack, row)
        return places

    def _make_room(self, needed: int) -> None:
        """Removes what has not been used for longest until there is room for so many bytes."""
        if needed > self._limit:
            raise TooSmall(f"{needed:,} bytes are needed, {LIMIT} allows {self._limit:,}")
        files = self._files()
        excess = needed + sum(status.st_size for status in files.values()) - self._limit
        for path, status in sorted(files.items(), key=lambda item: item[1].st_mtime_ns):
            if excess <= 0:
                return
            if path.suffix == SUFFIX or time.time() - status.st_mtime > _ABANDONED:
                _remove([path])
                excess -= status.st_size

    def _shelves(self) -> list[Path]:
        return [path for path in self._folder.glob("*") if _SHELF.fullmatch(path.name)]

    def _files(self) -> Mapping[Path, os.stat_result]:
        found = {}
        for shelf in self._shelves():
            for path in [*shelf.glob(f"*{SUFFIX}"), *shelf.glob(f"{UNFINISHED}*")]:
                with contextlib.suppress(FileNotFoundError):
                    found[path] = path.stat()
        return found


def _find(shelf: Path, sources: Sequence[Source]) -> list[Place | None]:
    """Where each case lies, its checksum verified; `None` for those that have to be decoded."""
    wanted = {source.digest for source in sources}
    found: dict[bytes, Place] = {}
    for path in sorted(shelf.glob(f"*{SUFFIX}")):
        pack = _opened(path)
        if pack:
            found |= _verified(pack, wanted - found.keys())
    return [found.get(source.digest) for source in sources]


def _opened(path: Path) -> Pack | None:
    """Maps a pack; one that is damaged is removed, one that another process removed is none."""
    try:
        return Pack(path)
    except FileNotFoundError:
        return None
    except Damaged:
        _remove([path])
        return None


def _verified(pack: Pack, wanted: set[bytes]) -> dict[bytes, Place]:
    """The wanted rows of a pack, which thereby is used; none of a pack that has to go."""
    found = {digest: (pack, row) for row, digest in enumerate(pack.sources()) if digest in wanted}
    try:
        for _, row in found.values():
            pack.check(row)
    except Damaged:
        _remove([pack.path])
        return {}
    if found:
        with contextlib.suppress(OSError):
            os.utime(pack.path)
    return found


def _write(
    shelf: Path,
    shape: tuple[int, int, int],
    missing: Sequence[int],
    cases: Sequence[Case],
    sources: Sequence[Source],
    decode: DecodeRows,
) -> Pack:
    row_of = {index: row for row, index in enumerate(missing)}

    def put(index: int, image: np.ndarray, mask: np.ndarray, spacing: Spacing) -> None:
        kept = sources[index].digest if _is_unchanged(cases[index], sources[index]) else NOT_KEPT
        writer.put(row_of[index], image, mask, spacing, kept)

    with PackWriter(shelf, len(missing), shape) as writer:
        try:
            decode(missing, put)
        except ValueError:
            writer.publish()
            raise
        return writer.publish()


def _is_unchanged(case: Case, source: Source) -> bool:
    """Whether pixels that have been read just now are surely those of the source."""
    now = source_of(case)
    return source.settled and now is not None and now.digest == source.digest


def _remove(paths: Iterator[Path] | Sequence[Path]) -> None:
    """Removes files, as far as this process may."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


@cache
def _tell_once(trouble: str) -> None:
    logging.getLogger(__name__).warning(
        "%s; images are decoded without the cache (set %s to another folder, or to off)",
        trouble,
        FOLDER,
    )


__all__ = ["PutRow", "Rows", "Store", "Usage", "cached_rows", "rows_in_memory"]

"""The cache of decoded cases: images are decoded and resized once, then mapped from disk.

The cache has a folder for each size, number of channels and decoder version. It holds packs: files
of many cases each, written once and never changed. A case is found by its origin, the files and
values that its pixels depend on (see `kerasunet.data.cache_packs`). Every row has a checksum; a
damaged pack is removed, and what was wanted of it is decoded again. Where packs cannot be written,
everything works as it does without a cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from kerasunet.data.cache_packs import (
    NOT_KEPT,
    SUFFIX,
    UNFINISHED,
    Damaged,
    DecodeRows,
    Origin,
    Pack,
    PackRow,
    PackWriter,
    PutRow,
    Rows,
    Spacing,
    join_rows,
    origin_of,
    pack_bytes,
    rows_in_memory,
)
from kerasunet.data.cases import Case

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: processes may decode the same image twice, which does no harm.
    fcntl = None

__all__ = ["PutRow", "Rows", "Store", "Usage", "cached_rows", "rows_in_memory"]

CACHE_VARIABLE, LIMIT_VARIABLE = "KERASUNET_CACHE", "KERASUNET_CACHE_LIMIT"
_OFF = ("off", "no", "none", "0")
_DEFAULT_LIMIT = "10GB"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SHAPE_FOLDER = re.compile(r"\d+x\d+x\d+-[0-9a-f]{12}")
_ABANDONED = 24 * 3600.0  # Seconds after which an unfinished file surely has no writer.
_LOCK = ".lock"
_SECONDS_BETWEEN_TRIES = 0.05
_PATIENCE = 60.0
_DATA = Path(__file__).parent
_DECODER_PARTS = (
    "../objects.py", "annotations.py", "cases.py", "decoding.py", "readers", "layouts",
    "simulation", "builders",
)  # fmt: skip
_DECODER_LIBRARIES = (
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
    "simpleitk",
)


class Usage(NamedTuple):
    """What a cache holds: number of packs, of entries in them, and bytes of all files."""

    packs: int
    entries: int
    size: int


class TooSmall(OSError):
    """The cache may not grow to the size that is needed."""


def cached_rows(cases: Sequence[Case], shape: tuple[int, int, int], decode: DecodeRows) -> Rows:
    """Take cases from the cache that the environment names, and decode those that are not in it.

    Where the cache cannot be used, one line is logged, once, and all cases are decoded into memory.

    Args:
        cases: The cases.
        shape: Height, width and channels.
        decode: Decodes the cases of given indices; a `ValueError` says which cannot be used.

    Returns:
        The rows, in the order of the cases, mapped or in memory.

    Raises:
        ValueError: Cases cannot be used, or `KERASUNET_CACHE_LIMIT` is not a size.
    """
    folder, limit = cache_folder(), cache_limit()
    origins = [origin for case in cases if folder and (origin := origin_of(case))]
    if folder and origins and len(origins) == len(cases):
        try:
            return Store(folder, limit).rows(cases, origins, shape=shape, decode=decode)
        except OSError as error:
            _warn_once(f"{folder}: {error.strerror or error}")
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
        origins: Sequence[Origin],
        *,
        shape: tuple[int, int, int],
        decode: DecodeRows,
    ) -> Rows:
        """Find the rows of at least one case, and make those that are missing.

        Raises:
            OSError: The folder cannot be written or has no room. Nothing is left behind.
            ValueError: Cases cannot be used. The others are kept.
        """
        folder = self._folder / f"{'x'.join(map(str, shape))}-{decoder_version()}"
        found = _find(folder, origins)
        if None in found:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(exist_ok=True)
            with _locked(folder, f"{UNFINISHED}*") as alone:
                if alone:
                    _remove(folder.glob(f"{UNFINISHED}*"))
                # Another process may have decoded them while this one waited.
                found = _find(folder, origins)
                missing = [index for index, row in enumerate(found) if row is None]
                if missing:
                    self._make_room(pack_bytes(len(missing), shape))
                    with PackWriter(folder, len(missing), shape) as writer:
                        pack = _fill(writer, missing, cases, origins=origins, decode=decode)
                    for row, index in enumerate(missing):
                        found[index] = (pack, row)
        return join_rows([row for row in found if row], folder)

    def usage(self) -> Usage:
        """Count packs, their entries, and bytes."""
        files = self._files()
        packs = [path for path in files if path.suffix == SUFFIX]
        entries = sum(len(pack.images) for pack in map(_mapped, packs) if pack)
        return Usage(len(packs), entries, sum(status.st_size for status in files.values()))

    def clear(self) -> None:
        """Remove all files of the cache and no others; processes that map them keep them.

        Raises:
            OSError: A file cannot be removed.
        """
        for path in self._files():
            path.unlink(missing_ok=True)
        for folder in self._shape_folders():
            (folder / _LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # It holds a file that is not the cache's.
                folder.rmdir()

    def _make_room(self, needed: int) -> None:
        """Remove the least recently used packs until there is room for so many bytes."""
        if needed > self._limit:
            raise TooSmall(f"{needed:,} bytes are needed, {LIMIT_VARIABLE} allows {self._limit:,}")
        files = self._files()
        excess = needed + sum(status.st_size for status in files.values()) - self._limit
        for path, status in sorted(files.items(), key=lambda item: item[1].st_mtime_ns):
            if excess <= 0:
                return
            if path.suffix == SUFFIX or time.time() - status.st_mtime > _ABANDONED:
                _remove([path])
                excess -= status.st_size

    def _shape_folders(self) -> list[Path]:
        return [path for path in self._folder.glob("*") if _SHAPE_FOLDER.fullmatch(path.name)]

    def _files(self) -> Mapping[Path, os.stat_result]:
        found = {}
        for folder in self._shape_folders():
            for path in [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"{UNFINISHED}*")]:
                with contextlib.suppress(FileNotFoundError):
                    found[path] = path.stat()
        return found


def _find(folder: Path, origins: Sequence[Origin]) -> list[PackRow | None]:
    """Return the row of each case, its checksum verified; `None` where it must be decoded."""
    wanted = {origin.digest for origin in origins}
    found: dict[bytes, PackRow] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        pack = _mapped(path)
        if pack:
            found |= _verified(pack, wanted - found.keys())
    return [found.get(origin.digest) for origin in origins]


def _mapped(path: Path) -> Pack | None:
    """Map a pack; remove it and return `None` if it is damaged, `None` too if it is gone."""
    try:
        return Pack(path)
    except FileNotFoundError:
        return None
    except Damaged:
        _remove([path])
        return None


def _verified(pack: Pack, wanted: set[bytes]) -> dict[bytes, PackRow]:
    """Return the wanted rows of a pack and mark it as used; remove it if one is damaged."""
    found = {digest: (pack, row) for row, digest in enumerate(pack.origins()) if digest in wanted}
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


def _fill(
    writer: PackWriter,
    missing: Sequence[int],
    cases: Sequence[Case],
    *,
    origins: Sequence[Origin],
    decode: DecodeRows,
) -> Pack:
    """Decode the missing cases into a pack; if some cannot be used, publish the others first."""
    row_of = {index: row for row, index in enumerate(missing)}

    def put(index: int, image: np.ndarray, mask: np.ndarray, *, spacing: Spacing = None) -> None:
        kept = origins[index].digest if _is_unchanged(cases[index], origins[index]) else NOT_KEPT
        writer.put(row_of[index], image, mask, spacing=spacing, origin=kept)

    try:
        decode(missing, put)
    except ValueError:
        writer.publish()
        raise
    return writer.publish()


def _is_unchanged(case: Case, origin: Origin) -> bool:
    """Return whether pixels that have been read just now surely belong to the origin."""
    now = origin_of(case)
    return origin.settled and now is not None and now.digest == origin.digest


def _remove(paths: Iterable[Path]) -> None:
    """Remove files, as far as this process may."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _locked(folder: Path, signs_of_life: str) -> Iterator[bool]:
    """Wait for the lock of a folder; it ends with its process, however that ends.

    Args:
        folder: The folder.
        signs_of_life: Pattern of the files that the holder of the lock keeps writing. If none of
            them changes for a minute, as when that process was suspended, the wait is over.

    Yields:
        Whether this process has the lock. Without it, the worst that can happen is double work.

    Raises:
        OSError: The folder cannot be written.
    """
    with open(folder / _LOCK, "ab") as file:
        yield fcntl is not None and _acquire(file, folder, signs_of_life)


def _acquire(file, folder: Path, signs_of_life: str) -> bool:
    assert fcntl is not None
    started = time.time()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.time() - max(started, _last_change(folder, signs_of_life)) > _PATIENCE:
                return False
            time.sleep(_SECONDS_BETWEEN_TRIES)
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


@functools.cache
def decoder_version() -> str:
    """Return a digest of the code that makes pixels, its libraries and the kind of CPU.

    The code itself counts, rather than a number that someone has to remember to raise.
    """
    digest = hashlib.blake2b(platform.machine().encode(), digest_size=6)
    for name in _DECODER_LIBRARIES:
        digest.update(f"{name} {_installed(name)}\n".encode())
    for part in _DECODER_PARTS:
        for path in sorted([_DATA / part, *(_DATA / part).rglob("*.py")]):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


@functools.cache
def _warn_once(trouble: str) -> None:
    logging.getLogger(__name__).warning(
        "%s; images are decoded without the cache (set %s to another folder, or to off)",
        trouble,
        CACHE_VARIABLE,
    )


def cache_folder() -> Path | None:
    """Return the folder that `KERASUNET_CACHE` names, by default the platform's.

    Returns:
        The folder, which need not exist; `None` where the variable says `off`.
    """
    text = os.environ.get(CACHE_VARIABLE, "").strip()
    if text.lower() in _OFF:
        return None
    return Path(os.path.abspath(os.path.expanduser(text))) if text else _default_folder()


def cache_limit() -> int:
    """Return the bytes that `KERASUNET_CACHE_LIMIT` allows, such as `500MB`; 10 GB unless set.

    Raises:
        ValueError: It is not a size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip() or _DEFAULT_LIMIT
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.upper())
    if not match or match[2] not in _UNITS:
        raise ValueError(
            f"{LIMIT_VARIABLE}={text}: give a size such as 500MB, 20GB or a number of bytes"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def _default_folder() -> Path:
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "kerasunet/cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/kerasunet"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "kerasunet"

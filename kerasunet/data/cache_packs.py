"""Packs: files that keep decoded cases, and how a case is found in them again.

A pack is a header, a table (origin, checksum and pixel spacing of every row), the images and the
masks. A row is found by the origin of its case: a digest of all that its pixels depend on. Packs
are mapped into memory, so that what is found is neither decoded nor copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from kerasunet.data.cases import Case

Spacing = tuple[float, float] | None


class PutRow(Protocol):
    """Takes what was decoded of a case; threads may call it at once."""

    def __call__(
        self, index: int, image: np.ndarray, mask: np.ndarray, *, spacing: Spacing = None
    ) -> None:
        """Take the index of a case, its image, its mask and its spacing."""


DecodeRows = Callable[[Sequence[int], PutRow], None]
"""Decode the cases of these indices and hand on each of them."""

DIGEST_BYTES = 16
NOT_KEPT = bytes(DIGEST_BYTES)
SUFFIX, UNFINISHED = ".pack", ".writing-"
_IRRELEVANT, _NESTED = ("key", "group", "label"), ("annotation", "parts")
_CLOCK_TICK = 2.0  # Seconds: the coarsest time stamps, those of FAT.
_HEADER = struct.Struct("<16sIQIII24x")
_MAGIC = b"kerasunet pack 1"
_TABLE = np.dtype([("origin", f"V{DIGEST_BYTES}"), ("checksum", "<u4"), ("spacing", "<f8", 2)])
_IN_MEMORY = 256 * 2**20


class Rows(NamedTuple):
    """Decoded cases; row i of each array belongs to case i.

    Attributes:
        images: Uint8, `(cases, height, width, channels)`, 0 to 255.
        masks: Uint8, `(cases, height, width)`: labels or bits of several objects, else 0 and 1.
        spacings: Millimeters per pixel, (row, column), `None` where unknown.
    """

    images: np.ndarray
    masks: np.ndarray
    spacings: tuple[Spacing, ...]


def rows_in_memory(count: int, shape: tuple[int, int, int], decode_rows: DecodeRows) -> Rows:
    """Decode cases into ordinary arrays.

    Args:
        count: Number of cases.
        shape: Height, width and channels.
        decode_rows: Decodes the cases of given indices.

    Returns:
        The rows.
    """
    images = np.empty((count, *shape), np.uint8)
    masks = np.empty((count, *shape[:2]), np.uint8)
    spacings: list[Spacing] = [None] * count

    def put(index: int, image: np.ndarray, mask: np.ndarray, *, spacing: Spacing = None) -> None:
        images[index], masks[index], spacings[index] = image, mask, spacing

    decode_rows(range(count), put)
    return Rows(images, masks, tuple(spacings))


class Origin(NamedTuple):
    """What a case was made from.

    Attributes:
        digest: Of everything that its pixels depend on.
        settled: Whether its files were at rest. A file that changed a moment ago may change again
            within one tick of its clock, which no time stamp would show.
    """

    digest: bytes
    settled: bool


def origin_of(case: Case) -> Origin | None:
    """Return what a case is made from.

    This package's own cases are known. Others may have a method `origin` that returns the files
    (`Path`) and plain values that their pixels are a function of.

    Returns:
        The origin; `None` if it is not known, or files are missing.
    """
    try:
        facts = list(_facts(case))
    except OSError:
        return None
    if not facts:
        return None
    newest = max((max(fact.times) for fact in facts if isinstance(fact, _File)), default=0)
    text = "\n".join(map(repr, [type(case).__qualname__, *facts]))
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES)
    return Origin(digest.digest(), time.time() - newest / 1e9 > _CLOCK_TICK)


class _File(NamedTuple):
    path: str
    size: int
    times: tuple[int, int]


def _facts(case: Case) -> Iterator[Any]:
    """Yield the parts of a case, files with size and times; nothing if its kind is unknown."""
    if hasattr(case, "origin"):
        yield from map(_fact, case.origin())
    elif is_ours(case):
        yield from _fields(case)


def is_ours(case: Case) -> bool:
    """Return whether a case, its annotation and its parts are of this package's own kinds."""
    kinds = (type(case), type(getattr(case, "annotation", case)))
    own = all(kind.__module__.startswith("kerasunet.") for kind in kinds)
    return own and all(map(is_ours, getattr(case, "parts", ())))


def _fields(values: Any) -> Iterator[Any]:
    for field in fields(values):
        value = getattr(values, field.name)
        if field.name in _IRRELEVANT:
            continue
        if isinstance(value, tuple):
            yield len(value)
        for one in value if isinstance(value, tuple) else (value,):
            if field.name in _NESTED:
                yield type(one).__qualname__
                yield from _fields(one)
            else:
                yield _fact(one)


def _fact(value: Any) -> Any:
    if not isinstance(value, Path):
        return value
    status = os.stat(value)
    return _File(os.path.abspath(value), status.st_size, (status.st_mtime_ns, status.st_ctime_ns))


class Damaged(ValueError):
    """A file does not hold what was written to it."""


def pack_bytes(count: int, shape: tuple[int, int, int]) -> int:
    """Return the size of a pack of so many cases of this height, width and channels."""
    height, width, channels = shape
    return _HEADER.size + count * (_TABLE.itemsize + height * width * (channels + 1))


class Pack:
    """A pack, mapped into memory.

    Attributes:
        path: The file.
        images: Uint8, `(rows, height, width, channels)`, read-only.
        masks: Uint8, `(rows, height, width)`, read-only.

    Raises:
        Damaged: Header, table or length do not agree.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        # An empty file can't be mapped.
        mapped = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        content = np.asarray(mapped)
        if len(content) < _HEADER.size:
            raise Damaged(f"{path}: too short")
        magic, checksum, count, *shape = _HEADER.unpack(content[: _HEADER.size].tobytes())
        if magic != _MAGIC or len(content) != pack_bytes(count, tuple(shape)):
            raise Damaged(f"{path}: not a pack, or cut off")
        start, table_end = _HEADER.size, _HEADER.size + count * _TABLE.itemsize
        if _index_checksum(count, shape, content[start:table_end]) != checksum:
            raise Damaged(f"{path}: its table is damaged")
        self._table = content[start:table_end].view(_TABLE)
        pixels = content[table_end:]
        masks_start = count * shape[0] * shape[1] * shape[2]
        self.images = pixels[:masks_start].reshape(count, *shape)
        self.masks = pixels[masks_start:].reshape(count, *shape[:2])

    def origins(self) -> list[bytes]:
        """Return the digests of the origins, row by row."""
        joined = self._table["origin"].tobytes()
        return [joined[i : i + DIGEST_BYTES] for i in range(0, len(joined), DIGEST_BYTES)]

    def spacing(self, row: int) -> Spacing:
        """Return millimeters per pixel, (row, column), `None` where unknown."""
        spacing = tuple(self._table["spacing"][row].tolist())
        return None if np.isnan(spacing).any() else spacing

    def check(self, row: int) -> None:
        """Compare a row with its checksum; raise `Damaged` if it does not match."""
        found = _checksum(self.images[row], self.masks[row], self._table["spacing"][row])
        if found != self._table["checksum"][row]:
            raise Damaged(f"{self.path}: row {row} is damaged")


class PackWriter:
    """A pack that is being written; several threads may put rows at once.

    Args:
        folder: Where the pack will be.
        count: Number of rows.
        shape: Height, width and channels.

    Raises:
        OSError: The folder cannot be written, or the disk is full. Space is claimed at the start,
            so that a full disk shows before anything has been decoded.
    """

    def __init__(self, folder: Path, count: int, shape: tuple[int, int, int]):
        self._shape, self._lock = shape, threading.Lock()
        self._published = False
        self._table = np.zeros(count, _TABLE)
        self._pixels = _HEADER.size + self._table.nbytes
        descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=folder)
        self._path, self._file = Path(name), os.fdopen(descriptor, "wb", buffering=0)
        try:
            _claim(descriptor, pack_bytes(count, shape))
        except OSError:
            self._discard()
            raise

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the file unless it was published."""
        if not self._published:
            self._discard()

    def put(
        self, row: int, image: np.ndarray, mask: np.ndarray, *, spacing: Spacing, origin: bytes
    ) -> None:
        """Write a row; one whose origin is `NOT_KEPT` will not be found again."""
        entry = self._table[row]
        entry["spacing"] = (np.nan, np.nan) if spacing is None else spacing
        entry["origin"] = np.void(origin)
        entry["checksum"] = _checksum(image, mask, entry["spacing"])
        masks = self._pixels + len(self._table) * image.nbytes
        self._write_at(self._pixels + row * image.nbytes, image)
        self._write_at(masks + row * mask.nbytes, mask)

    def publish(self) -> Pack:
        """Complete the file, give it its name and map it.

        A pack in which nothing could be found again loses its name at once.
        """
        count, table = len(self._table), self._table.view(np.uint8)
        checksum = _index_checksum(count, self._shape, table)
        header = _HEADER.pack(_MAGIC, checksum, count, *self._shape)
        self._write_at(0, np.frombuffer(header, np.uint8))
        self._write_at(_HEADER.size, table)
        self._file.close()
        name = self._path.name.removeprefix(UNFINISHED)
        path = self._path.with_name(f"{name}{SUFFIX}")
        os.replace(self._path, path)
        self._published = True
        pack = Pack(path)
        if not any(map(any, pack.origins())):
            with contextlib.suppress(OSError):
                path.unlink()
        return pack

    def _discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write_at(self, offset: int, values: np.ndarray) -> None:
        left = memoryview(np.ascontiguousarray(values).data).cast("B")
        with self._lock:
            self._file.seek(offset)
            while left:
                left = left[self._file.write(left) :]


def _claim(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _index_checksum(count: int, shape: Sequence[int], table: np.ndarray) -> int:
    return zlib.crc32(table.data, zlib.crc32(f"{count} {tuple(shape)}".encode()))


def _checksum(image: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> int:
    value = 0
    for part in (image, mask, spacing):
        value = zlib.crc32(np.ascontiguousarray(part).data, value)
    return value


PackRow = tuple[Pack, int]
"""A pack, and the index of a row in it."""


def join_rows(rows: Sequence[PackRow], folder: Path) -> Rows:
    """Map rows that follow each other in one pack, and copy them otherwise.

    Copies above 256 MiB go to a nameless file in the folder, which ends with the arrays, so that
    memory stays bounded whatever the number of cases.

    Args:
        rows: The pack and the row of each case, at least one.
        folder: Where a large copy may be put.

    Returns:
        The rows; read-only where they are mapped.

    Raises:
        OSError: The folder has no room for a copy.
    """
    runs = list(_consecutive(rows))
    images = _concatenate([pack.images[run] for pack, run in runs], folder)
    masks = _concatenate([pack.masks[run] for pack, run in runs], folder)
    return Rows(images, masks, tuple(pack.spacing(row) for pack, row in rows))


def _consecutive(rows: Sequence[PackRow]) -> Iterator[tuple[Pack, slice]]:
    """Yield the runs of rows that follow each other in one pack."""
    start = 0
    for end in range(1, len(rows) + 1):
        pack, row = rows[end - 1]
        if end == len(rows) or rows[end] != (pack, row + 1):
            yield pack, slice(rows[start][1], row + 1)
            start = end


def _concatenate(parts: list[np.ndarray], folder: Path) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    if sum(part.nbytes for part in parts) <= _IN_MEMORY:
        return np.concatenate(parts)
    with tempfile.TemporaryFile(dir=folder) as file:
        for part in parts:
            file.write(part.data)
        file.flush()
        content = np.asarray(np.memmap(file, parts[0].dtype, "r"))
    return content.reshape(-1, *parts[0].shape[1:])

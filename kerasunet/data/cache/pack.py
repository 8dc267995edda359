"""A pack: one file of decoded cases, written once, then only mapped.

It has a header, a table with a row for each case, the images, and the masks. Files get their
name when they are complete, so that one which was cut off is never taken for a pack.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasunet.data.cache.rows import Spacing
from kerasunet.data.cache.sources import DIGEST_BYTES

SUFFIX, UNFINISHED = ".pack", ".writing-"
NOT_KEPT = bytes(DIGEST_BYTES)
_HEADER = struct.Struct("<16sIQIII24x")
_MAGIC = b"kerasunet pack 1"
_TABLE = np.dtype([("source", f"V{DIGEST_BYTES}"), ("checksum", "<u4"), ("spacing", "<f8", 2)])


class Damaged(ValueError):
    """A file is not what was written."""


def pack_bytes(count: int, shape: tuple[int, int, int]) -> int:
    """Size of the pack of so many cases of this height, width and number of channels."""
    height, width, channels = shape
    return _HEADER.size + count * (_TABLE.itemsize + height * width * (channels + 1))


class Pack:
    """A pack that is mapped into memory.

    Attributes:
        path: The file.
        images: Uint8, `(rows, height, width, channels)`, read-only.
        masks: Bool, `(rows, height, width)`, read-only.

    Raises:
        Damaged: Header, table or length are not what was written.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        content = np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else b""
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
        self.masks = pixels[masks_start:].view(bool).reshape(count, *shape[:2])

    def sources(self) -> list[bytes]:
        """The sources' digests, row by row."""
        joined = self._table["source"].tobytes()
        return [joined[i : i + DIGEST_BYTES] for i in range(0, len(joined), DIGEST_BYTES)]

    def spacing(self, row: int) -> Spacing:
        """Millimetres per pixel, (row, column), `None` where unknown."""
        spacing = tuple(self._table["spacing"][row].tolist())
        return None if np.isnan(spacing).any() else spacing

    def check(self, row: int) -> None:
        """Compares a row with its checksum; raises `Damaged` if it does not match."""
        found = _checksum(self.images[row], self.masks[row], self._table["spacing"][row])
        if found != self._table["checksum"][row]:
            raise Damaged(f"{self.path}: row {row} is damaged")


class PackWriter:
    """A pack that is being written; threads may put rows at once.

    Args:
        folder: Where the pack is going to be.
        count: Number of rows.
        shape: Height, width and channels.

    Raises:
        OSError: The folder cannot be written, or the disk is full. Space is claimed at once, so
            that a full disk tells before anything has been decoded.
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
        """Removes the file unless it was published."""
        if not self._published:
            self._discard()

    def put(
        self, row: int, image: np.ndarray, mask: np.ndarray, spacing: Spacing, source: bytes
    ) -> None:
        """Writes a row; one whose source is `NOT_KEPT` will not be found by others."""
        entry = self._table[row]
        entry["spacing"] = (np.nan, np.nan) if spacing is None else spacing
        entry["source"] = np.void(source)
        entry["checksum"] = _checksum(image, mask, entry["spacing"])
        masks = self._pixels + len(self._table) * image.nbytes
        self._write_at(self._pixels + row * image.nbytes, image)
        self._write_at(masks + row * mask.nbytes, mask)

    def publish(self) -> Pack:
        """Completes the file, gives it its name and maps it.

        A pack in which nobody would find anything loses its name at once.
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
        if not any(map(any, pack.sources())):
            with contextlib.suppress(OSError):
                path.unlink()
        return pack

    def _discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write_at(self, offset: int, values: np.ndarray) -> None:
        left = memoryview(np.ascontiguousarray(values)).cast("B")
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
    return zlib.crc32(table, zlib.crc32(f"{count} {tuple(shape)}".encode()))


def _checksum(image: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> int:
    value = 0
    for part in (image, mask, spacing):
        value = zlib.crc32(np.ascontiguousarray(part), value)
    return value

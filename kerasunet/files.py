"""Atomic writes: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_UNFINISHED = ".writing-"
_ELSEWHERE = "name a folder that may be written"
_REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within the quota of that disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: "a file stands where a folder is needed: name another folder",
    errno.EEXIST: "a file stands where a folder is needed: name another folder",
    errno.EIO: "the disk or its connection fails: name a folder on another one",
}


class NotWritten(OSError):
    """A file or folder cannot be written; the message names it, the cause and the remedy."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Has errors of the system, such as a full disk, name what was being written.

    Raises:
        NotWritten: The system refused; what `path` held before is as it was.
    """
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise NotWritten(
            f"{path}: cannot be written: {os.strerror(error.errno)}; {_REMEDIES[error.errno]}, "
            "then start again (what was there before is unharmed)"
        ) from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file of the same suffix, then renames it to `path`.

    The content reaches the disk before the name does.

    Raises:
        NotWritten: The disk is full, the folder may not be written, or the like.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)


def remove_unfinished(directory: Path) -> None:
    """Removes what processes that were killed in the middle of a write have left.

    Args:
        directory: Nobody else may be writing in it, nor in folders below it.
    """
    for folder in list(directory.rglob(f"{_UNFINISHED}*")):
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: Any) -> None:
    """Writes JSON atomically, indented, with a final newline."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON; a broken file is a `ValueError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

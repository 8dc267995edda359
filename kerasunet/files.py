"""Problems are gathered and reported all at once, not one per attempt."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_gathered: ContextVar[list[str] | None] = ContextVar("gathered", default=None)


def is_plain(text: str, breaks: str = "") -> bool:
    """Whether text can be printed and written as UTF-8: no control characters, nor half ones.

    Args:
        text: Such as the name of a file.
        breaks: Control characters that are allowed, such as `"\\n"`.
    """
    return not any(unicodedata.category(c) in ("Cc", "Cs") and c not in breaks for c in text)


def collect(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Makes every call, and only then raises what went wrong.

    Args:
        calls: Functions without arguments.

    Returns:
        What the calls returned, in order.

    Raises:
        OSError: One single call failed with it.
        ValueError: One call failed with it, or several failed; the message lists them all.
    """
    results: list[T] = []
    errors: list[OSError | ValueError] = []
    for call in calls:
        try:
            results.append(call())
        except (OSError, ValueError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise_all([str(error) for error in errors])
    return results


def raise_all(problems: Sequence[str], heading: str = "") -> None:
    """Raises a `ValueError` with a heading and one line a problem, if there is any problem."""
    if problems:
        raise ValueError("\n  ".join([heading, *problems] if heading else problems))


def report_all(problems: Sequence[str], heading: str) -> None:
    """As `raise_all`, for a reader that can go on with the rest: `gathering` lets it."""
    kept = _gathered.get()
    if kept is None:
        raise_all(problems, heading)
    else:
        kept += problems


@contextmanager
def gathering() -> Iterator[list[str]]:
    """Lets readers go on without what has a fault; yields the list that faults are added to."""
    faults: list[str] = []
    token = _gathered.set(faults)
    try:
        yield faults
    finally:
        _gathered.reset(token)


def wrong_size(path, found: Sequence[int], wanted: Sequence[int], image: str = "its image") -> str:
    """Says that a mask, (height, width, …) `found`, has not the size of its image, `wanted`."""
    return (
        f"{path}: the mask is {found[1]}×{found[0]} pixels, {image} is {wanted[1]}×{wanted[0]}; "
        "they must be equal"
    )


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


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
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


FOLDER, LIMIT = "KERASUNET_CACHE", "KERASUNET_CACHE_LIMIT"
_OFF = ("off", "no", "none", "0")
_DEFAULT_LIMIT = "10GB"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def cache_folder() -> Path | None:
    """Returns the folder of `KERASUNET_CACHE`, by default that of the platform.

    Returns:
        The folder, which need not exist; `None` where the variable says `off`.
    """
    text = os.environ.get(FOLDER, "").strip()
    if text.lower() in _OFF:
        return None
    return Path(os.path.abspath(os.path.expanduser(text))) if text else _of_platform()


def size_limit() -> int:
    """Returns the bytes of `KERASUNET_CACHE_LIMIT`, such as `500MB`; 10 GB unless set.

    Raises:
        ValueError: It is not a size.
    """
    text = os.environ.get(LIMIT, "").strip() or _DEFAULT_LIMIT
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.upper())
    if not match or match[2] not in _UNITS:
        raise ValueError(f"{LIMIT}={text}: give a size such as 500MB, 20GB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2]])


def _of_platform() -> Path:
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "kerasunet/cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/kerasunet"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "kerasunet"

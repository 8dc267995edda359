"""Files: written atomically or not at all, JSON, digests; one error that lists all problems."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from kerasunet.processes import lock

_UNFINISHED = ".writing-"
_TEMPORARY = re.compile(r"\.[a-z]+-[a-z0-9_]{8}")  # As `tempfile` names them.
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # Unicode's Cc and Cs.
_ELSEWHERE = "choose a folder that you may write to"
_REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within your quota on that disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: "there is a file where a folder is needed: choose another folder",
    errno.EEXIST: "a file, or a link to nothing, is where a folder is needed: choose another one",
    errno.EIO: "the disk or its connection is failing: choose a folder on another disk",
}
T = TypeVar("T")
_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)
_naming: ContextVar[Callable[[Path, Path], Any]] = ContextVar("naming", default=lambda *_: None)


class FileWarning(UserWarning):
    """A file was read, but something in it makes no sense and was ignored; the message names it."""


class NotWritten(OSError):
    """A file or folder cannot be written; the message names it, the cause and the remedy."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make errors of the system, such as a full disk, name what was being written.

    Raises:
        NotWritten: The system refused; what `path` held before is unharmed.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:  # So `NotWritten`, which has none.
            raise
        raise NotWritten(
            f"{path}: cannot be written: {os.strerror(error.errno)}; {_REMEDIES[error.errno]}, "
            "then start again (what was there before is unharmed)"
        ) from error


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file of the same suffix, then rename it to `path`.

    The content reaches the disk before the name does. A link stays; what it leads to is replaced.

    Raises:
        NotWritten: The disk is full, the folder is not writable, the path is a folder, a device or
            a write-protected file, or the like.
    """
    given = Path(path)
    path = Path(os.path.realpath(path)) if os.path.islink(path) else given
    require_replaceable(path)
    with writing(path), folder_for(path.parent):
        _remove_left_once(path.parent, _UNFINISHED)
        with temporary_folder(path.parent, _UNFINISHED) as folder:
            temporary = folder / given.name
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            _naming.get()(temporary, given)
            os.replace(temporary, path)


def expanded(path: str | os.PathLike) -> Path:
    """Return a path that a caller gave, with the home folder in place of `~` or `~name`.

    Raises:
        TypeError: It is neither text nor a path.
        ValueError: It is empty, or a link that leads to itself; or nobody has such a home folder.
    """
    if isinstance(path, bytes) or not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"give a path as text or as a Path, not as {type(path).__name__}")
    if isinstance(path, str) and not path.strip():
        raise ValueError("the path is empty; give that of a folder or a file")
    given = Path(path)
    found = Path(os.path.expanduser(given))
    if found == given and str(given).startswith("~") and not os.path.lexists(given.parts[0]):
        raise ValueError(f"{path}: nobody here has a home folder of this name; give the whole path")
    try:
        found.resolve()
    except RuntimeError:  # Of Python before 3.13.
        raise ValueError(f"{given}: is a link that leads to itself; remove it") from None
    return found


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Make a folder, with its parents, none called `~`; remove what is new if it stays empty."""
    if path.parts and path.parts[0].startswith("~") and not Path(path.parts[0]).exists():
        raise ValueError(f"{path}: is not in the home folder; give the whole path, without ~")
    new = [one.absolute() for one in (path, *path.parents) if not one.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for one in new:
            with suppress(OSError):  # It holds something, or was never made.
                one.rmdir()


@contextmanager
def temporary_folder(place: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in another one, and remove it in the end.

    Args:
        place: The folder that it is in.
        prefix: How its name begins: a dot, lower-case letters and a hyphen.
    """
    folder, held = _new_folder(place, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _new_folder(place: Path, prefix: str) -> tuple[Path, int | None]:
    """Return a new folder and its lock; others may have removed the first before it was locked."""
    while True:
        with writing(place):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        with suppress(FileNotFoundError):
            held = lock(folder, seconds=math.inf)
            if held is None or folder.exists():
                return folder, held
            os.close(held)


def remove_left(place: Path, prefix: str) -> None:
    """Remove what `temporary_folder` left of processes that were killed, and of none that lives."""
    for folder in place.glob(f"{prefix}*"):
        if _TEMPORARY.fullmatch(folder.name):
            _remove_dead(folder)


def _remove_dead(folder: Path) -> None:
    """Remove a temporary folder unless a process that lives has locked it."""
    with suppress(OSError):  # Another process removes it.
        if (held := lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


_remove_left_once = cache(remove_left)  # It takes time where there are many files.


@contextmanager
def before_naming(told: Callable[[Path, Path], Any]) -> Iterator[None]:
    """Call a function with the content and the path of each file just before it gets its name."""
    earlier = _naming.get()
    token = _naming.set(lambda content, path: (earlier(content, path), told(content, path)))
    try:
        yield
    finally:
        _naming.reset(token)


def notes_of(record: Path) -> Path:
    """Return the file of digests and names of what the unfinished command of a record wrote."""
    if not (path := record.with_name(f".{record.name}.written")).is_symlink():
        return path
    raise NotWritten(f"{path}: is a link; remove it")


@contextmanager
def noting(record: Path, besides: str = "") -> Iterator[None]:
    """Note every file that is written into the folder of a record, before it gets its name.

    Args:
        record: Of the command.
        besides: The name of a file that is not noted, because it is large and written often.
    """

    def told(content: Path, path: Path) -> None:
        ways = ((way(path), way(record.parent)) for way in (os.path.abspath, os.path.realpath))
        if path.name != besides and any(Path(one).is_relative_to(folder) for one, folder in ways):
            note([(content, path.name)], record)

    with before_naming(told):
        yield


def note(contents: Iterable[tuple[Path, str]], record: Path) -> None:
    """Note files and their names, such as of those that are about to be replaced."""
    if lines := [_note(*one) for one in contents]:
        with writing(path := notes_of(record)), open(path, "a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines]))  # A line that a full disk cut stays by itself.


def noted(record: Path) -> Callable[[Path], bool]:
    """Return what tells whether a file is as the unfinished command of a record wrote it.

    Without notes, as of earlier versions, every regular file is.
    """
    notes = notes_of(record)
    known = {*notes.read_text(encoding="utf-8").split("\n")} if notes.is_file() else None

    def is_noted(path: Path) -> bool:
        regular = path.is_file() and not path.is_symlink()
        return regular and (known is None or _note(path, path.name) in known)

    return is_noted


def _note(content: Path, name: str) -> str:
    return f"{sha256(content)}  {name}"


def require_replaceable(path: Path) -> None:
    """Refuse to rename a file to what only a file can replace, or what its owner protects.

    Raises:
        NotWritten: It is a folder, a device or a write-protected file, or in no folder.
    """
    if os.path.lexists(path.parent) and not path.parent.is_dir():
        raise NotWritten(f"{path.parent}: is a file, or a link to nothing; choose another place")
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(mode := path.stat().st_mode):
            raise NotWritten(f"{path}: is a folder or a device; give the name of a file")
        if not mode & stat.S_IWUSR:
            told = "is write-protected; change its permissions, or give another name"
            raise NotWritten(f"{path}: {told}")


def is_marked(path: Path, mark: bytes) -> bool:
    """Return whether a file is empty, or has these bytes at first, as it is or without spaces."""
    with open(path, "rb") as file:
        head = file.read(4096)
    return not head or mark in head or mark in b"".join(head.split())


def is_unfinished(name: str) -> bool:
    """Return whether a name is that of what `write_atomically` leaves if it is killed."""
    return name.startswith(_UNFINISHED) and bool(_TEMPORARY.fullmatch(name))


def remove_unfinished(directory: Path) -> None:
    """Remove what processes left that were killed in the middle of a write, each a single file."""
    for folder in list(directory.rglob(f"{_UNFINISHED}*")):
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        if is_unfinished(folder.name) and len(files) < 2:
            _remove_dead(folder)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically, indented, with a final newline; NaN and infinity become null."""
    write_text(path, json.dumps(strict(values), indent=2, ensure_ascii=False) + "\n")


def strict(values: Any) -> Any:
    """Return values as strict JSON may hold them."""
    if isinstance(values, Mapping):
        return {name: strict(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [strict(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def read_json(path: Path, encodings: Sequence[str] = ("utf-8-sig",), *, remedy: str = "") -> Any:
    """Read JSON; raise a `ValueError` that names the file, and a remedy, if it is broken.

    Args:
        path: The file.
        encodings: Encodings to try, in order; the first that fits the bytes is taken.
        remedy: What to do then.
    """
    try:
        content = _decoded(path.read_bytes(), encodings)
        return json.loads(content, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        what = f"{path}: not a readable JSON file ({error})"
        raise ValueError(f"{what}; {remedy}" if remedy else what) from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON; of entries of one name, Python would keep the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it has the entry {name} twice; save it again with its own program")
    return values


def _decoded(content: bytes, encodings: Sequence[str]) -> str:
    for encoding in encodings[:-1]:
        with suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode(encodings[-1])


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_plain(text: str, breaks: str = "") -> bool:
    """Return whether text has no control characters or lone surrogates: it can be shown as UTF-8.

    Args:
        text: Such as the name of a file.
        breaks: Control characters that are allowed, such as `"\\n"`.
    """
    return {*_NOT_PLAIN.findall(text)} <= {*breaks}


def kinds_in_words(paths: Iterable[Path]) -> str:
    """Count files by suffix, as in "12 .avif, 1 .nii.gz"; empty if there is none."""
    counted = Counter(map(suffix_of, paths)).most_common()
    return ", ".join(f"{count:,} {suffix}" for suffix, count in counted)


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name in lower case, or "without a suffix"."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix or "without a suffix"


def call_all(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Call every function, without arguments, and only then raise what went wrong.

    Returns:
        What the calls returned, in order.

    Raises:
        OSError: A single call failed, with it.
        ValueError: A single call failed with it, or several failed; the message lists them all.
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
    """Raise a `ValueError` with a heading and one line per problem, if there is any problem."""
    if problems:
        raise ValueError("\n  ".join([heading, *problems] if heading else problems))


def report_all(problems: Sequence[str], heading: str) -> None:
    """Raise as `raise_all` does, unless `collect_problems` lets the reader read the rest."""
    kept = _collected.get()
    if kept is None:
        raise_all(problems, heading)
    else:
        kept += problems


@contextmanager
def collect_problems() -> Iterator[list[str]]:
    """Let readers skip what has a problem; yield the list that the problems are added to."""
    problems: list[str] = []
    token = _collected.set(problems)
    try:
        yield problems
    finally:
        _collected.reset(token)

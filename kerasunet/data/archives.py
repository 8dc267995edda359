"""Archives from strangers: broken ones, names that lead out, links and zip bombs are refused."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

_CHUNK = 1 << 20
_LEFT_BEHIND = re.compile(r"(^|/)(__MACOSX|\.DS_Store|Thumbs\.db|desktop\.ini)(/|$)")
_ENCRYPTED = 1
# Other methods, which no common program writes by default, may need gigabytes to unpack.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG)


class _Refused(ValueError):
    """The archive is whole but must not be unpacked; the message says why."""


@dataclass(frozen=True)
class Limits:
    """How much may come out of an archive.

    Attributes:
        files: Number of files.
        bytes: Bytes of all files together, unpacked.
    """

    files: int = 20_000
    bytes: int = 2 << 30


def unpack(archive: Path, folder: Path, limits: Limits = Limits()) -> Path:
    """Unpack a zip file into a new folder: all of it or nothing.

    The bytes written are counted, whatever the archive claims. Files that operating systems leave
    behind, such as `__MACOSX/`, are skipped.

    Args:
        archive: The zip file.
        folder: Where to unpack; must not exist yet.
        limits: How much may come out of it.

    Returns:
        The folder with the contents; if the archive holds just one folder, that folder.

    Raises:
        ValueError: It is not a readable zip file, a name leads out of the folder, an entry is a
            link, a device or encrypted, or there is too much in it.
        FileExistsError: `folder` exists.
    """
    folder.mkdir(parents=True)
    try:
        _unpack(archive, folder, limits)
    except BaseException:
        shutil.rmtree(folder)
        raise
    inner = list(folder.iterdir())
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def check_archive(path: Path) -> None:
    """Refuse an archive that is broken or would write outside the folder it is unpacked to.

    Args:
        path: A `.zip` or `.tar.gz` file; files with other suffixes pass.

    Raises:
        PermissionError: There is no permission to read it.
        ValueError: It is not an archive, is truncated, or would write elsewhere.
    """
    if not path.name.endswith((".zip", ".tar.gz")):
        return
    try:
        names = _names(path)
    except PermissionError:
        raise PermissionError(f"{path}: permission denied; change its permissions") from None
    except Exception:  # Broken bytes raise exceptions of every type.
        raise ValueError(f"{path}: not a complete archive; copy or download it again") from None
    outside = next((name for name in names if _leads_out(name)), None)
    if outside is not None:
        raise ValueError(
            f"{path}: {outside!r} would be written outside the folder that the archive is unpacked "
            "to; it is not what its owners published, download it again"
        )


def _unpack(archive: Path, folder: Path, limits: Limits) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            entries = _files(source, archive.name, limits)
            left = limits.bytes
            for entry in entries:
                left -= _write(source, entry, folder / entry.filename, most=left)
                if left < 0:
                    raise _Refused(
                        f"{archive.name}: unpacks to more than {_size(limits.bytes)}, the limit"
                    )
    except _Refused:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        # `zipfile` and the decompressors raise exceptions of every type for broken bytes.
        raise ValueError(
            f"{archive.name}: not a complete zip file ({error}); download or pack it again"
        ) from error


def _files(source: zipfile.ZipFile, name: str, limits: Limits) -> list[zipfile.ZipInfo]:
    """Return the files to unpack; raise `_Refused` if any entry is unsafe."""
    entries = source.infolist()
    for entry in entries:
        fault = _fault(entry)
        if fault:
            raise _Refused(f"{name}: {entry.filename!r} {fault}; nothing was unpacked")
    files = [e for e in entries if not e.is_dir() and not _LEFT_BEHIND.search(e.filename)]
    if not files:
        raise _Refused(f"{name}: holds no files")
    if len(files) > limits.files:
        raise _Refused(f"{name}: holds {len(files):,} files, the limit is {limits.files:,}")
    if sum(entry.file_size for entry in files) > limits.bytes:
        raise _Refused(f"{name}: unpacks to more than {_size(limits.bytes)}, the limit")
    return files


def _fault(entry: zipfile.ZipInfo) -> str:
    """Return what is wrong with an entry; empty if nothing is."""
    path = PureWindowsPath(entry.filename)  # knows `/`, `\\` and drives
    if path.anchor or ".." in path.parts or "\\" in entry.filename:
        return "leads out of the folder it is unpacked to"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    return "" if entry.compress_type in _METHODS else "is compressed in an unsupported way"


def _write(source: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, *, most: int) -> int:
    """Write one file, up to one chunk more than allowed, and return the bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source.open(entry) as packed, open(path, "xb") as file:
        while written <= most and (chunk := packed.read(_CHUNK)):
            written += file.write(chunk)
    return written


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GB" if count >= 2**30 else f"{count / 2**20:.3g} MB"


def _names(path: Path) -> Iterable[str]:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    with tarfile.open(path) as archive:
        return [name for member in archive for name in (member.name, *_target(member))]


def _target(member: tarfile.TarInfo) -> tuple[str, ...]:
    """Return where a link leads, relative to the folder that the archive is unpacked to."""
    if member.islnk():
        return (member.linkname,)
    if not member.issym():
        return ()
    return (os.path.normpath(os.path.join(os.path.dirname(member.name), member.linkname)),)


def _leads_out(name: str) -> bool:
    """Return whether a name is absolute or climbs out of its folder, on any system."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)

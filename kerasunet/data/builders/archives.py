"""Looks at an archive before anything of it is unpacked; turns what fails into one clear line."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from requests import RequestException
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError
from tensorflow_datasets.core.download.util import DownloadError


def check_archive(path: Path) -> None:
    """Refuses an archive that is broken, or whose names lead out of the folder it is unpacked to.

    Args:
        path: A `.zip` or `.tar.gz` file; what has another suffix is not looked at.

    Raises:
        PermissionError: It may not be read.
        ValueError: It is no such archive, is cut off, or would write elsewhere.
    """
    if not path.name.endswith((".zip", ".tar.gz")):
        return
    try:
        names = _names(path)
    except PermissionError:
        raise PermissionError(f"{path}: may not be read; change its permissions") from None
    except Exception:  # Broken bytes are answered with exceptions of every type.
        raise ValueError(f"{path}: not a whole archive; copy or download it again") from None
    outside = next((name for name in names if _leads_out(name)), None)
    if outside is not None:
        raise ValueError(
            f"{path}: {outside!r} would be written outside the folder that the archive is unpacked "
            "to; it is not as its owners made it, download it again"
        )


@contextmanager
def clear_failures(instructions: str) -> Iterator[None]:
    """What downloading and unpacking may raise becomes a `ValueError` that tells what to do."""
    try:
        yield
    except ExtractError as error:
        raise ValueError(f"an archive cannot be unpacked: {error.__cause__ or error}") from None
    except NonMatchingChecksumError as error:
        raise ValueError(f"a download is not what its owners published: {error}") from None
    except (RequestException, DownloadError) as error:
        raise ValueError(f"cannot be downloaded ({error}). {instructions}") from None


def _names(path: Path) -> Iterable[str]:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    with tarfile.open(path) as archive:
        return [name for member in archive for name in (member.name, *_target(member))]


def _target(member: tarfile.TarInfo) -> tuple[str, ...]:
    """Where a link leads, seen from the folder that the archive is unpacked to."""
    if member.islnk():
        return (member.linkname,)
    if not member.issym():
        return ()
    return (os.path.normpath(os.path.join(os.path.dirname(member.name), member.linkname)),)


def _leads_out(name: str) -> bool:
    """Whether a name is absolute or climbs, on any system."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)

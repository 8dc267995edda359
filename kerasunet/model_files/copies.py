"""A private copy of a model file: nobody can exchange it between the check and the loading."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kerasunet.files import sha256, writing
from kerasunet.model_files.archive import check_archive
from kerasunet.model_files.refusal import Refused, other_digest
from kerasunet.model_files.weights import count_weights

MOST_BYTES = 1 << 30
_CHUNK = 1 << 20


@contextmanager
def checked_model(path: Path, digest: str | None = None) -> Iterator[Path]:
    """Gives a copy of a `.keras` file that holds nothing but a U-Net.

    Args:
        path: The `.keras` file.
        digest: The SHA-256 that it must have; `None` for any.

    Yields:
        The copy, which is removed in the end.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has another digest, or holds anything that a U-Net does not need.
        NotWritten: The disk of temporary files has no room for the copy.
    """
    with _copied(path, check_archive, digest) as copy:
        yield copy


@contextmanager
def checked_weights(path: Path) -> Iterator[Path]:
    """Gives a copy of a `.weights.h5` file all of whose arrays are in the file itself.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no HDF5 file, or points out of itself.
        NotWritten: The disk of temporary files has no room for the copy.
    """
    with _copied(path, count_weights, None) as copy:
        yield copy


@contextmanager
def _copied(path: Path, check: Callable[[Path], object], digest: str | None) -> Iterator[Path]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with tempfile.TemporaryDirectory(prefix="kerasunet-model-") as folder:
        copy = Path(folder) / path.name
        try:
            _copy(path, copy)
            if digest is not None and sha256(copy) != digest:
                raise other_digest(path.with_suffix(".json").name)
            check(copy)
        except Refused as error:
            raise ValueError(f"{path}: {error}") from None
        yield copy


def _copy(path: Path, copy: Path) -> None:
    """Copies bytes, and no more of them than a model may have."""
    size = os.stat(path).st_size
    with open(path, "rb") as source, writing(copy.parent), open(copy, "xb") as target:
        left = MOST_BYTES
        while left >= 0 and (chunk := source.read(_CHUNK)):
            left -= target.write(chunk)
    if left < 0:
        raise Refused(f"{size:,} bytes, more than the limit of {MOST_BYTES:,} for a model file")

"""Zip archives from strangers: what is unpacked stays in its folder, what is refused is gone."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from kerasunet.data.archives import Limits, unpack
from targets._refusals import documented

LONGEST = 600
_LIMITS = Limits(files=8, bytes=1 << 16)


def seeds() -> Iterable[bytes]:
    return [
        _zip({"a.png": b"one"}, zipfile.ZIP_STORED),
        _zip({"images/a.png": b"one" * 30, "masks/a.png": b""}, zipfile.ZIP_DEFLATED),
        _zip({"x/": b"", "x/a": b"12"}, zipfile.ZIP_BZIP2),
        _zip({"x/a": b"12"}, zipfile.ZIP_LZMA),
    ]


def checker(folder: Path) -> Callable[[bytes], None]:
    path, place = folder / "archive.zip", folder / "place" / "unpacked"
    place.parent.mkdir()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with documented(path, ValueError):
            unpack(path, place, _LIMITS)
            shutil.rmtree(place)
        assert not any(place.parent.iterdir()), "something was left behind or written elsewhere"

    return check


def _zip(files: dict[str, bytes], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()

"""The decoder's version: packs that another decoder wrote are never read."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DATA = Path(__file__).parents[1]
_PARTS = ("cases.py", "decoding.py", "reading", "layouts", "simulation", "builders")
_LIBRARIES = (
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
)


@cache
def decoder_version() -> str:
    """Digest of the code that makes pixels, of the libraries it uses and the kind of processor.

    The code itself counts, rather than a number that someone has to remember to raise.
    """
    digest = hashlib.blake2b(platform.machine().encode(), digest_size=6)
    for name in _LIBRARIES:
        digest.update(f"{name} {_installed(name)}\n".encode())
    for part in _PARTS:
        for path in sorted([_DATA / part, *(_DATA / part).rglob("*.py")]):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"

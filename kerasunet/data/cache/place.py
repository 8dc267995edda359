"""Where the cache is and how large it may grow, as the environment says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

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

"""Heaps of many threads.

The C library of Linux gives threads heaps of their own, up to eight for each core, and hands little
of them back: a server of many threads grows though it needs no more.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX, _MOST = -8, 2  # malloc.h of glibc; mallopt(3)


def share_heaps() -> None:
    """Lets all threads share two heaps; does nothing where the C library has no such setting."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_ARENA_MAX, _MOST)

"""Heaps of many threads, and of large arrays.

The C library of Linux gives threads heaps of their own, up to eight for each core, and hands little
of them back: a server of many threads grows though it needs no more. It also puts ever larger
arrays onto these heaps, once some have been freed, where they leave gaps.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX, _MOST = -8, 2  # malloc.h of glibc; mallopt(3)
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20


def share_heaps() -> None:
    """Lets all threads share two heaps, and large arrays go back to the system when they are freed.

    Does nothing where the C library has no such settings.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_ARENA_MAX, _MOST)
            library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)

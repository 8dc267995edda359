"""How many threads an engine may use."""

from __future__ import annotations

import os


def processors() -> int:
    """Returns the processors that this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

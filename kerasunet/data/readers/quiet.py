"""Keeping libraries quiet: their warnings, what they log, what their native code prints."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Filters of warnings, levels of loggers and standard error belong to the whole process, so one
# thread at a time may change them.
TURN = threading.RLock()
_STANDARD_ERROR = 2


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Drop every warning, and everything that the library logs, while the body runs."""
    logger = logging.getLogger(library)
    with TURN, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """Drop what C libraries print to standard error while the body runs.

    So is what other threads print there: wrap no more than the call of the library.
    """
    with TURN:
        kept = _duplicate(_STANDARD_ERROR)
        if kept is None:
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STANDARD_ERROR)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)


def _duplicate(descriptor: int) -> int | None:
    """Duplicate a file descriptor; services and windowed programs may lack the original."""
    try:
        return os.dup(descriptor)
    except OSError:
        return None

"""What a case is made from, as a short digest: equal digests, equal pixels.

Files count by path, size and the times of their last change. `st_ctime` tells of changes behind
which the modification time was set back, as `cp -p` and `rsync -t` do. Keys, groups and labels do
not count, for no pixel depends on them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from kerasunet.data.cases import AnnotatedCase, Case, FileCase, SimulatedCase

DIGEST_BYTES = 16
_IRRELEVANT = ("key", "group", "label")
_CLOCK_TICK = 2.0  # Seconds: the coarsest time stamps, those of FAT.


class Source(NamedTuple):
    """What a case was made from.

    Attributes:
        digest: Of everything that its pixels depend on.
        settled: Whether its files were at rest. A file that changed a moment ago may change once
            more within one tick of its clock, which no time stamp would tell.
    """

    digest: bytes
    settled: bool


def source_of(case: Case) -> Source | None:
    """Tells what a case is made from.

    Cases of this package do; others may have a method `origin`, returning the files (`Path`) and
    the plain values that their pixels are a function of.

    Returns:
        The source; `None` if it is not known, or files are not there.
    """
    try:
        facts = list(_facts(case))
    except OSError:
        return None
    if not facts:
        return None
    newest = max((max(fact.times) for fact in facts if isinstance(fact, _File)), default=0)
    text = "\n".join(map(repr, [type(case).__qualname__, *facts]))
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES)
    return Source(digest.digest(), time.time() - newest / 1e9 > _CLOCK_TICK)


class _File(NamedTuple):
    path: str
    size: int
    times: tuple[int, int]


def _facts(case: Case) -> Iterator[Any]:
    """The parts of a case, files with size and times; nothing for a case of an unknown kind."""
    if hasattr(case, "origin"):
        yield from map(_fact, case.origin())
    elif type(case) in (FileCase, SimulatedCase) or (
        type(case) is AnnotatedCase and _is_ours(case.annotation)
    ):
        yield from _fields(case)


def _fields(values: Any) -> Iterator[Any]:
    for field in fields(values):
        value = getattr(values, field.name)
        if field.name in _IRRELEVANT:
            continue
        if field.name == "annotation":
            yield type(value).__qualname__
            yield from _fields(value)
        elif isinstance(value, tuple):
            yield len(value)
            yield from map(_fact, value)
        else:
            yield _fact(value)


def _fact(value: Any) -> Any:
    if not isinstance(value, Path):
        return value
    status = os.stat(value)
    return _File(os.path.abspath(value), status.st_size, (status.st_mtime_ns, status.st_ctime_ns))


def _is_ours(annotation: Any) -> bool:
    return type(annotation).__module__.startswith("kerasunet.")

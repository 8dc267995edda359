"""Checks a whole data set and gathers what was found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasunet.data.cases import DataSet
from kerasunet.data.checking.comparison import (
    contradictions,
    divided_duplicates,
    near_duplicates,
    unusual_shares,
)
from kerasunet.data.checking.inspection import inspect
from kerasunet.data.checking.problem import KINDS, SEVERITIES, Problem
from kerasunet.data.duplicates import group
from kerasunet.data.layouts.listing import image_stem
from kerasunet.data.loading import load
from kerasunet.data.problems import gathering
from kerasunet.data.reading import read_image

_THREADS = 4


@dataclass(frozen=True)
class Report:
    """What is wrong with a data set.

    Attributes:
        source: What was checked, as it was given.
        data: The data set; `None` if its cases could not be listed.
        problems: All that was found, errors first.
        groups: The group of every key, near-duplicates joined with the groups of the set.
    """

    source: str
    data: DataSet | None
    problems: tuple[Problem, ...]
    groups: Mapping[str, str] = field(default_factory=dict, hash=False)

    def by_kind(self) -> dict[str, list[Problem]]:
        """The problems by kind, in the order of `KINDS`; only kinds that occur."""
        sorted_out = {kind: [p for p in self.problems if p.kind == kind] for kind in KINDS}
        return {kind: found for kind, found in sorted_out.items() if found}

    def counts(self) -> dict[str, int]:
        """How many problems there are of each severity."""
        return {s: sum(p.severity == s for p in self.problems) for s in SEVERITIES}

    def as_dict(self) -> dict[str, Any]:
        """Everything but the images, ready for JSON."""
        return {
            "source": self.source,
            "name": self.data.name if self.data else None,
            "layout": self.data.layout if self.data else None,
            "cases": len(self.data) if self.data else None,
            "counts": self.counts(),
            "problems": [
                {"severity": p.severity, **vars(p), "remedy": p.remedy} for p in self.problems
            ],
        }


def check(name_or_path: str | os.PathLike, manual_dir: str | os.PathLike | None = None) -> Report:
    """Looks at every case of a data set and compares the cases with each other.

    Files that do not pair up are reported, and the others are checked all the same. If no case is
    left, or the layout is not known, every image file is at least opened.

    Args:
        name_or_path: As `kerasunet.data.load` takes it.
        manual_dir: For the name of a public set: a folder with its archives, or with what they
            unpack to.

    Returns:
        The report.

    Raises:
        FileNotFoundError: There is no such folder, file or data set.
        ValueError: The name of a simulated set is wrong.
    """
    source = os.fspath(name_or_path)
    with gathering() as faults:
        try:
            data = load(source, manual_dir)
        except ValueError as error:
            path = Path(source if manual_dir is None else manual_dir).expanduser()
            if not path.exists():
                raise
            # Where faults left no case over, that there is none is no news.
            message = "\n".join(faults) if faults else str(error)
            problems = [*_pairing_problems(message), *_unreadable_files(path)]
            return Report(source, None, tuple(problems))
    return _check_cases(source, data, [*_pairing_problems("\n".join(faults))])


def _check_cases(source: str, data: DataSet, known: list[Problem]) -> Report:
    with ThreadPoolExecutor(_THREADS) as pool:
        inspections = list(pool.map(inspect, data.cases))
    pairs = near_duplicates(inspections)
    joined = group([case.group for case in data.cases], pairs)
    groups = {case.key: name for case, name in zip(data.cases, joined, strict=True)}
    problems = known + [problem for found in inspections for problem in found.problems]
    problems += unusual_shares(inspections)
    problems += divided_duplicates(inspections, pairs, groups)
    problems += contradictions(inspections, pairs)
    order = list(KINDS)
    problems.sort(key=lambda problem: order.index(problem.kind))
    return Report(source, data, tuple(problems), groups)


def _pairing_problems(message: str) -> Iterator[Problem]:
    """One problem a line of a reader's message.

    A heading, which ends in a colon, is left out, unless a line is but a name without a fault.
    """
    heading = ""
    for line in map(str.strip, message.splitlines()):
        if line.endswith(":"):
            heading = line
            continue
        file, colon, _ = line.partition(": ")
        text = line if colon else f"{heading} {line}".strip()
        yield Problem("pairing", text, (file,) if os.path.exists(file) else ())


def _unreadable_files(folder: Path) -> Iterator[Problem]:
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, fault in pool.map(_fault, _all_image_files(folder)):
            if fault:
                yield Problem("unreadable", fault, (str(path),))


def _all_image_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if image_stem(name) and not name.startswith("."):
                yield Path(place) / name


def _fault(path: Path) -> tuple[Path, str]:
    try:
        read_image(path)
    except (OSError, ValueError) as error:
        return path, str(error)
    return path, ""

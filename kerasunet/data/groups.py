"""Groups, which splits keep together: those of the data, a table's, or joined near-duplicates."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kerasunet.data.cases import DataSet, SimulatedCase
from kerasunet.data.layouts.listing import read_rows
from kerasunet.data.problems import raise_all
from kerasunet.files import write_text

GIVEN, NEAR_DUPLICATES = "given", "near-duplicates"
_COLUMNS = ("key", "group")


def regroup(data: DataSet, groups: str | os.PathLike) -> DataSet:
    """Groups the cases of a data set.

    Args:
        data: The data set.
        groups: `"given"` keeps the groups of the data, such as patients. `"near-duplicates"`
            joins those of them that share an image which is nearly the same, whatever its label;
            every image is read, once: thumbnails and result stay in the cache. All else is a CSV
            file with the columns key and group.

    Returns:
        The data set in these groups.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Images cannot be read, or the file cannot be used; every fault is listed.
    """
    if groups == GIVEN:
        return data
    if groups == NEAR_DUPLICATES:
        return _with_joined_near_duplicates(data)
    path = Path(groups).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"{groups}: no such file; groups are {GIVEN}, {NEAR_DUPLICATES} or a CSV file"
        )
    return with_groups(data, read_groups(path))


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Writes the group of each key, atomically."""
    table = io.StringIO(newline="")
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows(groups.items())
    write_text(path, table.getvalue())


def read_groups(path: Path) -> dict[str, str]:
    """Reads the group of each key.

    Raises:
        ValueError: A column is missing, a cell is empty, or a key has several groups.
    """
    rows = read_rows(path)
    missing = [name for name in _COLUMNS if not rows or name not in rows[0][1]]
    if missing:
        raise ValueError(
            f"{path}: has no column {', '.join(missing)}, or no rows; needed are key and group"
        )
    groups: dict[str, str] = {}
    faults = []
    for line, row in rows:
        key, name = row["key"], row["group"]
        if not (key and name):
            faults.append(f"{path}:{line}: key or group is empty")
        elif groups.setdefault(key, name) != name:
            faults.append(f"{path}:{line}: {key} has several groups, {groups[key]} and {name}")
    raise_all(faults)
    return groups


def with_groups(data: DataSet, groups: Mapping[str, str]) -> DataSet:
    """Gives the cases of a data set other groups, so that splits keep those together.

    Args:
        data: A data set of files.
        groups: The group of every key.

    Raises:
        ValueError: Cases have no group here, the message lists every one; or they are simulated.
    """
    if _is_simulated(data):
        raise ValueError(f"{data.name}: simulated images have nothing in common, each is a group")
    missing = [case.key for case in data.cases if case.key not in groups]
    raise_all(missing, f"{data.name}: these cases are in no group:")
    return replace(data, cases=tuple(replace(c, group=groups[c.key]) for c in data.cases))


def _with_joined_near_duplicates(data: DataSet) -> DataSet:
    if _is_simulated(data):
        return data
    from kerasunet.data.duplicates import group
    from kerasunet.data.known_duplicates import near_duplicates_of

    names = group([case.group for case in data.cases], near_duplicates_of(data.cases))
    keys = (case.key for case in data.cases)
    return with_groups(data, dict(zip(keys, names, strict=True)))


def _is_simulated(data: DataSet) -> bool:
    return all(isinstance(case, SimulatedCase) for case in data.cases)

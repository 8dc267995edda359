"""Groups as a table: CSV with the columns key and group."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kerasunet.data.cases import DataSet
from kerasunet.data.layouts.listing import read_rows
from kerasunet.data.problems import raise_all
from kerasunet.files import write_text

_COLUMNS = ("key", "group")


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
        ValueError: Cases have no group here; the message lists every one.
    """
    missing = [case.key for case in data.cases if case.key not in groups]
    raise_all(missing, f"{data.name}: these cases are in no group:")
    return replace(data, cases=tuple(replace(c, group=groups[c.key]) for c in data.cases))

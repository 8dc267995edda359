"""The tables of a study directory: a row per run, and a row per case of every finished run.

Either may be compressed, as `cases.csv.gz` or `cases.csv.xz`, for keeping: it is read and extended
in that form.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kerasunet.files import read_json, require_replaceable, write_atomically, write_text
from kerasunet.metrics import METRICS
from kerasunet.strategies.naming import folder_name

CASES, RUNS, RECORD, RUN_FOLDER = "cases.csv", "runs.csv", "study.json", "runs"
_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
SUFFIXES = ("", *_OPEN)
"""What a table's name may end in after `.csv`."""
IDENTITY = ("strategy", "fold", "train_size", "seed")
CASE_COLUMNS = (
    "data", *IDENTITY, "key", "group", "dice", "iou", "sensitivity", "precision", "hd95", "assd",
    "ece", "truth_area", "predicted_area", "outcome", "unit",
)  # fmt: skip
OBJECT = "object"
"""The column of cases that distinguishes several objects; a case then has a row for each."""
RUN_COLUMNS = (
    "data", *IDENTITY, "chosen", "learning_rate", "steps", "trained", "parameters", "seconds",
    "wall_seconds", "precision", "device", "versions", "status", "note",
)  # fmt: skip
_IMPLIED = {"precision": "float32", "device": "cpu"}
"""What rows imply that are older than these columns."""
_OPTIONAL_TEXTS = ("group", OBJECT, "versions", "note", "unit", "status")
_TEXTS = ("key", *_OPTIONAL_TEXTS)
_AREAS = ("truth_area", "predicted_area")
_COSTS = ("steps", "trained", "parameters", "seconds", "wall_seconds")
_NUMBERS = {
    CASES: dict.fromkeys((*IDENTITY[1:], *_AREAS), True) | dict.fromkeys(METRICS, False),
    RUNS: dict.fromkeys((*IDENTITY[1:], *_COSTS), True),
}
"""Columns of numbers, and whether each row needs one that is not negative."""
_EMPTY = [*METRICS, *(name for each in _NUMBERS.values() for name in each), "learning_rate"]
_MISSING = dict.fromkeys(_EMPTY, ["", "nan"]) | dict.fromkeys(_OPTIONAL_TEXTS, [""])
"""What stands for no value, by column: patients and images may be called `nan` or `NA`."""
_RESTORE = "restore it"
_DIGITS = 5
_LEAST_PAUSES = 19
"""How many times as long as writing the tables takes they are not written again."""
Row = dict[str, str]


class Tables:
    """The tables of one study directory, as lists of rows of text.

    Writing all rows anew after every run would take longer than the runs of a large study. So the
    tables are written as often as takes a twentieth of the time; after a kill, runs that they do
    not have yet are read from their own folders.
    """

    def __init__(self, directory: Path):
        self._paths = {name: table_path(directory, name) for name in (CASES, RUNS)}
        self.runs = _read(self._paths[RUNS], RUN_COLUMNS)
        rows = _read(self._paths[CASES], CASE_COLUMNS)
        self._columns = _with_yours(columns_of(rows[:1]), rows[:1])
        self._cases = [(_identity(row), _as_line(row, self._columns)) for row in rows]
        self._drop_unrecorded()
        finished = [_identity(row) for row in self.runs if row["status"] == "finished"]
        _require_of_runs(directory, finished, self._dice_of)
        self._written, self._seconds, self._is_written = -math.inf, 0.0, True

    @property
    def cases(self) -> list[Row]:
        """The rows of the cases, made of their lines."""
        return list(csv.DictReader((line for _, line in self._cases), self._columns))

    def _dice_of(self, identity: tuple) -> list[str]:
        lines = (line for one, line in self._cases if one == identity)
        return [row["dice"] for row in csv.DictReader(lines, self._columns)]

    def finished(self) -> set[tuple[str, int, int, int]]:
        """Return the identities of the finished runs."""
        return {_identity(row) for row in self.runs if row["status"] == "finished"}

    def failed(self) -> set[tuple[str, int, int, int]]:
        """Return the identities of the failed runs."""
        return {_identity(row) for row in self.runs if row["status"] == "failed"}

    def record(self, run: Mapping[str, Any], cases: Iterable[Mapping[str, Any]]) -> None:
        """Add a run, in place of an earlier one with the same identity; write if it is time to.

        Raises:
            NotWritten: A table cannot be written.
        """
        for path in self._paths.values():
            require_replaceable(path)
        row = _as_text(run, RUN_COLUMNS)
        identity = _identity(row)
        if identity in self._known:
            self.runs = [old for old in self.runs if _identity(old) != identity]
            self._cases = [old for old in self._cases if old[0] != identity]
        rows = [_as_text(case, columns_of([case])) for case in cases]
        self._make_columns(columns_of(rows[:1]))
        self._cases += [(identity, _as_line(case, self._columns)) for case in rows]
        self.runs.append(row)
        self._known.add(identity)
        self._is_written = False
        if time.monotonic() - self._written >= _LEAST_PAUSES * self._seconds:
            self.write()

    def write(self) -> None:
        """Write both tables unless they are written already.

        The cases are written first: a run counts only once its own row is there.

        Raises:
            NotWritten: Either cannot be written; then neither is.
        """
        if self._is_written:
            return
        started = time.monotonic()
        lines = (line for _, line in self._cases)
        _write(self._paths[CASES], [_as_line({c: c for c in self._columns}, self._columns), *lines])
        columns = _with_yours(RUN_COLUMNS, self.runs)
        rows = [{name: name for name in columns}, *self.runs]
        _write(self._paths[RUNS], [_as_line(row, columns) for row in rows])
        self._written, self._is_written = time.monotonic(), True
        self._seconds = self._written - started

    def require_pixels(self) -> None:
        """Refuse tables of an earlier version, in which distances of some runs are in millimeters.

        Raises:
            ValueError: There are such distances.
        """
        if any(row["unit"] == "mm" for row in self.cases):
            raise ValueError(
                f"{self._paths[CASES]}: has distances in mm for some runs, though not all images "
                "have a pixel spacing, so they cannot be continued in pixels; use another output "
                "folder"
            )

    def reopen_incomplete(self, wanted: Mapping[tuple[int, int], int]) -> list[tuple]:
        """Forget the finished runs whose number of rows of cases has changed.

        Args:
            wanted: How many rows each run has, by fold and training size; others are not checked.

        Returns:
            The identities of the runs.
        """
        found = Counter(identity for identity, _ in self._cases)
        known = [run for run in sorted(self.finished()) if run[1:3] in wanted]
        lost = [run for run in known if found[run] != wanted[run[1:3]]]
        self.runs = [row for row in self.runs if _identity(row) not in lost]
        self._drop_unrecorded()
        return lost

    def _drop_unrecorded(self) -> None:
        """Forget the cases of a run whose own row was not written before a kill."""
        finished = self.finished()
        self._cases = [line for line in self._cases if line[0] in finished]
        self._known = finished | self.failed()

    def _make_columns(self, columns: Sequence[str]) -> None:
        """Make columns that the lines do not have yet, such as the one for the object."""
        if not set(columns) <= {*self._columns}:
            rows = self.cases
            self._columns = tuple(dict.fromkeys([*columns, *self._columns]))
            identities = (identity for identity, _ in self._cases)
            lines = (_as_line(row, self._columns) for row in rows)
            self._cases = list(zip(identities, lines, strict=True))


def columns_of(cases: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns of a table of cases: with one for the object where there are several."""
    if not any(OBJECT in case for case in cases):
        return CASE_COLUMNS
    place = CASE_COLUMNS.index("key")
    return (*CASE_COLUMNS[:place], OBJECT, *CASE_COLUMNS[place:])


def _with_yours(columns: Sequence[str], rows: Iterable[Row]) -> tuple[str, ...]:
    """Add the columns that somebody has added to a table, which are empty in later rows."""
    return tuple(dict.fromkeys([*columns, *(name for row in rows for name in row)]))


def table_path(directory: Path, name: str) -> Path:
    """Return where a table of a study is, compressed or not; uncompressed if it is new.

    Raises:
        ValueError: There are several forms of it, so which one counts is unknown.
    """
    forms = [directory / f"{name}{suffix}" for suffix in SUFFIXES]
    found = [path for path in forms if path.is_file()]
    if len(found) > 1:
        raise ValueError(
            f"{found[1]}: lies beside {found[0].name}, so which of them counts is unknown; move "
            "one away"
        )
    return found[0] if found else directory / name


def studies_in(folder: Path) -> list[Path]:
    """Return the study directories in a folder that have a table of cases, sorted by name."""
    tables = (path for suffix in SUFFIXES for path in folder.glob(f"*/{CASES}{suffix}"))
    return sorted({path.parent for path in tables})


def read_tables(directory: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the tables of one study.

    Args:
        directory: A study directory.

    Returns:
        The cases and the runs, one row each; columns are `CASE_COLUMNS` and `RUN_COLUMNS`. Where
        there are several objects, the cases have the column `OBJECT`, too, and a row for each.

    Raises:
        FileNotFoundError: The directory holds no study.
        ValueError: A table lacks columns.
    """
    frames = []
    for name, columns in ((CASES, CASE_COLUMNS), (RUNS, RUN_COLUMNS)):
        path = table_path(directory, name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: does not exist, so {directory} is not a study with results"
            )
        with _readable(path):
            frame = pd.read_csv(
                path, dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False, na_values=_MISSING
            )
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("rows have more cells than the first")
        if name == RUNS:
            frame = frame.assign(**{k: v for k, v in _IMPLIED.items() if k not in frame})
        _require_columns(path, list(frame.columns), columns)
        _require_cells(path, frame, name)
        frames.append(frame)
    _require_all_cases(table_path(directory, CASES), *frames)
    cases, runs = frames
    finished = runs[runs["status"] == "finished"][list(IDENTITY)].to_numpy().tolist()
    own = cases[list(IDENTITY)]
    _require_of_runs(directory, finished, lambda run: cases["dice"][(own == run).all(axis=1)])
    return cases, runs.fillna({"versions": "", "note": ""})


def _require_of_runs(
    directory: Path, finished: Sequence[Any], dice_of: Callable[[Any], Iterable[Any]]
) -> None:
    """Refuse a table that was copied from another study; the first and the last run tell it."""
    for identity in (*finished[:1], *finished[-1:]):
        folder = directory / RUN_FOLDER / folder_name(*identity)
        try:
            path = folder / read_json(folder / "result.json")["folder"] / CASES
            with open(path, encoding="utf-8", newline="") as file:
                own = _sorted(row["dice"] for row in csv.DictReader(file))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # It was removed; or it is damaged, which whoever reads it will tell.
        known = _sorted(dice_of(identity))
        if len(known) == len(own) and not np.allclose(known, own, atol=1e-3, equal_nan=True):
            raise ValueError(
                f"{table_path(directory, CASES)}: is not of the runs in {RUN_FOLDER}/, such as "
                f"{folder.name}; {_RESTORE}, or remove both tables and start the study again, "
                "which reads these runs"
            )


def _sorted(dice: Iterable[Any]) -> np.ndarray:
    return np.sort([math.nan if one == "" else float(one) for one in dice])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the table in errors of whoever reads it; a truncated one lacks its last line's end."""
    try:
        yield
        if path.suffix not in _OPEN and not path.read_bytes().endswith(b"\n"):
            raise ValueError("it ends in the middle of a line")
    except (ValueError, EOFError, lzma.LZMAError, gzip.BadGzipFile, csv.Error) as error:
        raise ValueError(
            f"{path}: is damaged, or a part is missing ({error}); {_RESTORE}"
        ) from error


def _require_cells(path: Path, frame: pd.DataFrame, name: str) -> None:
    """Require numbers where they are needed, and that no row was cut."""
    last = frame["unit" if name == CASES else "status"]
    if last.isna().any():
        row = int(last.isna().to_numpy().argmax()) + 1
        raise ValueError(f"{path}: row {row} has no {last.name}, so a part is missing; {_RESTORE}")
    finished = frame if name == CASES else frame[frame["status"] == "finished"]
    for column, least in _NUMBERS[name].items():
        values = pd.to_numeric(finished[column], errors="coerce")
        wrong = (values.isna() & finished[column].notna()) | (least & ~(values >= 0))
        if wrong.any():
            row = finished.index[wrong][0]
            found = finished[column][row]
            raise ValueError(f"{path}: row {row + 1} has {found!r} as its {column}; {_RESTORE}")


def _require_all_cases(path: Path, cases: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Require the cases of every finished run, once: the same of each fold and training size."""
    cell, case = ["fold", "train_size"], [name for name in ("key", OBJECT) if name in cases]
    finished = runs[runs["status"] == "finished"][list(IDENTITY)].drop_duplicates()
    counted = cases.merge(finished, on=list(IDENTITY))
    found = counted.groupby(list(IDENTITY)).size()
    wanted = counted.drop_duplicates([*cell, *case]).groupby(cell).size()
    for row in finished.itertuples(index=False):
        count = found.get(tuple(row), 0)
        expected = wanted.get((row.fold, row.train_size), 0)
        if not count or count != expected:
            raise ValueError(
                f"{path}: has {count or 'no'} cases of {row.strategy}, fold {row.fold}, "
                f"{row.train_size} images, seed {row.seed}, which is finished, and {expected} of "
                f"that fold in all, so {_changed(count, expected)}; {_RESTORE}, or start the "
                "study again, which does so"
            )


def _changed(found: int, wanted: int) -> str:
    return "a part is missing" if found <= wanted else "some are duplicated"


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    if not path.is_file():
        return []
    with (
        _readable(path),
        _OPEN.get(path.suffix, open)(path, "rt", encoding="utf-8", newline="") as file,
    ):
        reader = csv.DictReader(file)
        rows = [{**_IMPLIED, **row} if columns is RUN_COLUMNS else row for row in reader]
    known = [*(reader.fieldnames or []), *_IMPLIED]
    _require_columns(path, known, columns)
    with _readable(path):
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values():
                raise ValueError(f"row {number} does not have a cell in every column")
            _identity(row)
    return rows


def _require_columns(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise ValueError(f"{path}: has no column {', '.join(missing)}")


def _write(path: Path, lines: Iterable[str]) -> None:
    text = "".join(lines)
    if path.suffix in _OPEN:
        content = _pack(text.encode("utf-8"), path.suffix)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
    else:
        write_text(path, text)


def _as_line(row: Mapping[str, str | None], columns: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow([row.get(name, "") for name in columns])
    return text.getvalue()


def _pack(content: bytes, suffix: str) -> bytes:
    """Compress; equal rows give equal bytes, as no time is stored."""
    return gzip.compress(content, mtime=0) if suffix == ".gz" else lzma.compress(content)


def _as_text(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    return {name: _cell(row[name]) for name in columns}


def _cell(value: Any) -> str:
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def _identity(row: Mapping[str, Any]) -> tuple[str, int, int, int]:
    return row["strategy"], int(row["fold"]), int(row["train_size"]), int(row["seed"])

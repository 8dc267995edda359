"""The tables of a study directory: a row per run, and a row per case of every finished run.

Either may be compressed, as `cases.csv.gz` or `.xz`: it is read and extended in that form.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import lzma
import math
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kerasunet.files import expanded, read_json, require_replaceable, write_atomically, writing
from kerasunet.metrics import METRICS
from kerasunet.strategies.naming import folder_name

CASES, RUNS, RECORD, RUN_FOLDER = "cases.csv", "runs.csv", "study.json", "runs"
_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_PACK: dict[str, Callable[..., Any]] = {  # Equal rows give equal bytes, as no time is stored.
    ".gz": partial(gzip.GzipFile, mode="wb", mtime=0), ".xz": partial(lzma.LZMAFile, mode="wb"),
}  # fmt: skip
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
_RESTORE, _DIGITS = "restore it", 5
_LEAST_PAUSES = 19
"""How many times as long as writing the tables takes they are not written again."""
_IN_MEMORY = 16 * 2**20
"""Bytes of cases' lines above which they are in a file."""
Row = dict[str, str]
Identity = tuple[str, int, int, int]


class Tables:
    """The tables of one study directory: its runs as rows of text, its cases as lines.

    Writing all rows anew after every run would take longer than the runs of a large study, so the
    tables are written as often as takes a twentieth of the time; after a kill, runs that they lack
    are read from their own folders. The lines of many cases are in a nameless file, so that memory
    does not grow with them.
    """

    def __init__(self, directory: Path):
        self._paths = {name: table_path(directory, name) for name in (CASES, RUNS)}
        self.runs = list(_read(self._paths[RUNS], RUN_COLUMNS))
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(directory))  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._lines: list[tuple[Identity, int, int, int]] = []  # Run, start, bytes, how many.
        rows = _read(self._paths[CASES], CASE_COLUMNS)
        first = list(itertools.islice(rows, 1))
        self._columns = _with_yours(columns_of(first), first)
        self._add(itertools.chain(first, rows))
        self._drop_unrecorded()
        finished = [_identity(row) for row in self.runs if row["status"] == "finished"]
        _require_of_runs(directory, finished, lambda run: [row["dice"] for row in self._rows(run)])
        self._written, self._seconds, self._is_written = -math.inf, 0.0, True

    @property
    def cases(self) -> list[Row]:
        """The rows of the cases, made of their lines."""
        return list(self._rows())

    def _rows(self, run: Identity | None = None) -> Iterator[Row]:
        for text in self._texts(run):
            yield from csv.DictReader(io.StringIO(text, newline=""), self._columns)

    def _texts(self, run: Identity | None = None) -> Iterator[str]:
        for one, start, size, _ in self._lines:
            if run in (None, one):
                self._file.seek(start)
                yield self._file.read(size).decode("utf-8")

    def _add(self, rows: Iterable[Row]) -> None:
        for run, own in itertools.groupby(rows, _identity):
            lines = [_as_line(row, self._columns) for row in own]
            content = "".join(lines).encode("utf-8")
            with writing(self._paths[CASES]):
                start = self._file.seek(0, io.SEEK_END)
                self._file.write(content)
            self._lines.append((run, start, len(content), len(lines)))

    def finished(self) -> set[Identity]:
        """Return the identities of the finished runs."""
        return {_identity(row) for row in self.runs if row["status"] == "finished"}

    def failed(self) -> set[Identity]:
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
            self._lines = [lines for lines in self._lines if lines[0] != identity]
        rows = [_as_text(case, columns_of([case])) for case in cases]
        if not {*(columns := columns_of(rows[:1]))} <= {*self._columns}:
            known, self._lines = self.cases, []
            self._columns = tuple(dict.fromkeys([*columns, *self._columns]))
            self._add(known)
        self._add(rows)
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
        _write(self._paths[CASES], self._columns, self._texts())
        columns = _with_yours(RUN_COLUMNS, self.runs)
        _write(self._paths[RUNS], columns, (_as_line(row, columns) for row in self.runs))
        self._written, self._is_written = time.monotonic(), True
        self._seconds = self._written - started

    def require_pixels(self) -> None:
        """Refuse tables of an earlier version, in which distances of some runs are in millimeters.

        Raises:
            ValueError: There are such distances.
        """
        if any(row["unit"] == "mm" for row in self._rows()):
            raise ValueError(
                f"{self._paths[CASES]}: has distances in mm for some runs, though not all images "
                "have a pixel spacing, so they cannot go on in pixels; use another output folder"
            )

    def reopen_incomplete(self, wanted: Mapping[tuple[int, int], int]) -> list[tuple]:
        """Forget the finished runs whose number of rows of cases has changed.

        Args:
            wanted: How many rows each run has, by fold and training size; others are not checked.

        Returns:
            The identities of the runs.
        """
        found = Counter(run for run, _, _, count in self._lines for _ in range(count))
        known = [run for run in sorted(self.finished()) if run[1:3] in wanted]
        lost = [run for run in known if found[run] != wanted[run[1:3]]]
        self.runs = [row for row in self.runs if _identity(row) not in lost]
        self._drop_unrecorded()
        return lost

    def _drop_unrecorded(self) -> None:
        """Forget the cases of a run whose own row was not written before a kill."""
        finished = self.finished()
        self._lines = [lines for lines in self._lines if lines[0] in finished]
        self._known = finished | self.failed()


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
    found = [path for end in SUFFIXES if (path := directory / f"{name}{end}").is_file()]
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


def read_tables(directory: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the tables of a study directory.

    Returns:
        The cases and the runs, one row each; columns are `CASE_COLUMNS` and `RUN_COLUMNS`. Where
        there are several objects, the cases have the column `OBJECT`, too, and a row for each.

    Raises:
        FileNotFoundError: The directory holds no study.
        ValueError: A table lacks columns.
    """
    directory, frames = expanded(directory), []
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
        if path.suffix not in _OPEN and not _ends_a_line(path):
            raise ValueError("it ends in the middle of a line")
    except (ValueError, EOFError, lzma.LZMAError, gzip.BadGzipFile, csv.Error) as error:
        raise ValueError(
            f"{path}: is damaged, or a part is missing ({error}); {_RESTORE}"
        ) from error


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read() == b"\n"


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
            found = f"{finished[column][row]!r} as its {column}"
            raise ValueError(f"{path}: row {row + 1} has {found}; {_RESTORE}")


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
            cause = "a part is missing" if count <= expected else "some are duplicated"
            raise ValueError(
                f"{path}: has {count or 'no'} cases of {row.strategy}, fold {row.fold}, "
                f"{row.train_size} images, seed {row.seed}, which is finished, and {expected} of "
                f"that fold in all, so {cause}; {_RESTORE}, or start the "
                "study again, which does so"
            )


def _read(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table; none if there is no such file."""
    if not path.is_file():
        return
    opened = partial(_OPEN.get(path.suffix, open), path, "rt", encoding="utf-8", newline="")
    with _readable(path), opened() as file:
        known = csv.DictReader(file).fieldnames or []
    _require_columns(path, [*known, *_IMPLIED], columns)
    with _readable(path), opened() as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            if None in row or None in row.values():
                raise ValueError(f"row {number} does not have a cell in every column")
            _identity(row)
            yield {**_IMPLIED, **row} if columns is RUN_COLUMNS else row


def _require_columns(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in found]:
        raise ValueError(f"{path}: has no column {', '.join(missing)}")


def _write(path: Path, columns: Sequence[str], texts: Iterable[str]) -> None:
    """Write a table atomically: its head, then the lines."""
    head = _as_line({name: name for name in columns}, columns)

    def fill(temporary: Path) -> None:
        with _PACK.get(path.suffix, partial(open, mode="wb"))(temporary) as file:
            file.writelines(text.encode("utf-8") for text in itertools.chain([head], texts))

    write_atomically(path, fill)


def _as_line(row: Mapping[str, str | None], columns: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow([row.get(name, "") for name in columns])
    return text.getvalue()


def _as_text(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    values = ((name, row[name]) for name in columns)
    return {n: f"{v:.{_DIGITS}g}" if isinstance(v, float) else str(v) for n, v in values}


def _identity(row: Mapping[str, Any]) -> Identity:
    return row["strategy"], int(row["fold"]), int(row["train_size"]), int(row["seed"])

"""What is looked at after a kill, and in the end: files that are whole, results that are equal."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

Stamp = tuple[int, int, int]
_TIMES = ("seconds", "wall_seconds")
_UNNAMED = ".writing-"


def broken_files(directory: Path) -> list[str]:
    """Files that have their name but are not whole: names and what is wrong with them."""
    return [f"{path}: {fault}" for path in _named(directory) for fault in _faults(path)]


def unfinished_files(directory: Path) -> list[str]:
    """Return what a finished command should not have left behind."""
    left = [*directory.rglob(f"{_UNNAMED}*"), *directory.rglob("checkpoint.npz")]
    return [f"{path}: was left behind" for path in left]


def stage(directory: Path) -> str:
    """Return what a directory is at, in a word or two."""
    if not any((directory / name).is_file() for name in ("config.json", "study.json")):
        return "start"
    if (directory / "study.json").is_file():
        return f"{len(_recorded(directory))} runs done"
    if (directory / "summary.json").is_file():
        return "finished"
    if (directory / "cases.csv").is_file():
        return "last files"
    return "training" if steps_done(directory) else "before training"


def steps_done(directory: Path) -> int:
    """Epochs of training that the history of a run tells."""
    path = directory / "history.csv"
    return len(_rows(path)) if path.is_file() else 0


@dataclass(frozen=True)
class Kept:
    """What may not be lost or made again.

    Attributes:
        results: Files of finished runs, with what changes if they are written again.
        recorded: Lines of the table of runs, times included.
        histories: Rows of every history, without times.
    """

    results: dict[Path, Stamp]
    recorded: set[str]
    histories: dict[Path, list[dict[str, str]]]

    def losses(self, directory: Path) -> list[str]:
        """Return what of it is not there any more as it was."""
        now = kept(directory)
        again = [path for path, stamp in self.results.items() if now.results.get(path) != stamp]
        lost = [
            path
            for path, rows in self.histories.items()
            if now.histories.get(path, [])[: len(rows)] != rows
        ]
        return [
            *(f"{path}: a finished result was written again" for path in again),
            *(f"{directory}: was recorded, is not: {row}" for row in self.recorded - now.recorded),
            *(f"{path}: finished steps were lost" for path in lost),
        ]


def kept(directory: Path) -> Kept:
    """Look at what a directory holds.

    A run is finished once `summary.json` is there; then only its checkpoint may still go, and a
    study may add `result.json`.
    """
    passing = ("checkpoint.npz", "run.json", "log.txt", "result.json")
    results = {
        path: _stamp(path)
        for summary in _named(directory)
        if summary.name == "summary.json"
        for path in _named(summary.parent)
        if path.name not in passing and not path.name.startswith("events.out")
    }
    named = _named(directory)
    results |= {path: _stamp(path) for path in named if path.name == "result.json"}
    histories = {path: _rows(path) for path in named if path.name == "history.csv"}
    return Kept(results, _recorded(directory), histories)


def _recorded(directory: Path) -> set[str]:
    path = directory / "runs.csv"
    return set(path.read_text(encoding="utf-8").splitlines()[1:]) if path.is_file() else set()


def outcome(directory: Path) -> dict[str, str]:
    """Return what has to be equal bit for bit: digests of weights, tables, histories and pictures.

    Times are left out: the columns `seconds` and `wall_seconds`.
    """
    return {
        str(path.relative_to(directory)): hashlib.sha256(content).hexdigest()
        for path in _named(directory)
        for content in _comparable(path)
    }


def _comparable(path: Path) -> Iterator[bytes]:
    if path.suffix == ".keras":
        yield b"".join(_weights(path))
    elif path.suffix == ".csv":
        yield json.dumps(_rows(path)).encode()
    elif path.suffix == ".png" or path.name.startswith("layers."):
        yield path.read_bytes()


def _weights(path: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as file:
        content = io.BytesIO(file.read("model.weights.h5"))
    with h5py.File(content) as tree:
        arrays: dict[str, np.ndarray] = {}
        tree.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    for name in sorted(arrays):
        yield name.encode() + arrays[name].tobytes()


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {name: text for name, text in row.items() if name not in _TIMES}
            for row in csv.DictReader(file)
        ]


def _named(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not any(part.startswith(_UNNAMED) for part in path.parts)
    )


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _faults(path: Path) -> Iterator[str]:
    """Read a file to its end."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix in (".npz", ".keras"):
            with zipfile.ZipFile(path) as file:
                if bad := file.testzip():
                    yield f"damaged at {bad}"
        elif path.suffix == ".png" and cv2.imread(str(path)) is None:
            yield "no picture"
        elif path.suffix == ".csv":
            yield from _table_faults(path)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        yield str(error)


def _table_faults(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    if not text.endswith("\n") or len({len(line) for line in lines}) != 1:
        yield "no whole table"

"""What the options of all verbs must be before any work starts: numbers in range, places free."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST_SIDE = 2048
_RANGES = {
    "base_filters": (1, 512),
    "batch_size": (0, 4096),
    "count": (1, 1000),
    "depth": (1, 8),
    "folds": (2, 1000),
    "gpus": (0, 1000),
    "image_size": (1, LARGEST_SIDE),
    "images": (0, 1_000_000),
    "only_folds": (0, 1000),
    "overlap": (0, LARGEST_SIDE),
    "port": (1, 65535),
    "seed": (0, 2**31 - 1),
    "seeds": (1, 1000),
    "split_seed": (0, 2**31 - 1),
    "steps": (0, 100_000_000),
    "tile": (1, LARGEST_SIDE),
    "train_sizes": (1, 10_000_000),
    "validation_size": (0, 10_000_000),
    "views": (0, 1_000_000),
    "workers": (1, 1000),
}
_SHARES = ("threshold",)
_MOST_BOTTLENECK_FILTERS = 2048
_FILES, _PLACES = ("csv", "html", "json", "sheet"), ("output", "csv", "html", "json", "sheet")
_WRITE_A_FILE = ("export", "panel")


def check_options(verb: str, options: argparse.Namespace) -> None:
    """Refuses numbers that no run could use, and places where nothing could be written.

    Raises:
        ValueError: An option is out of range or not a finite number.
        FileExistsError: A file is in the way of a folder, or a folder of a file.
    """
    for name, value in vars(options).items():
        for number in _numbers(value):
            _check_number(name, number)
    if getattr(options, "base_filters", 1) * 2 ** getattr(options, "depth", 1) > (
        _MOST_BOTTLENECK_FILTERS
    ):
        raise ValueError(
            f"--base-filters {options.base_filters} --depth {options.depth}: more than "
            f"{_MOST_BOTTLENECK_FILTERS:,} filters in the bottleneck, which fit no memory"
        )
    for name in _PLACES:
        if isinstance(path := getattr(options, name, None), Path):
            _check_place(path, is_file=name in _FILES or verb in _WRITE_A_FILE)


def _numbers(value: Any) -> Iterator[int | float]:
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            yield item


def _check_number(name: str, value: int | float) -> None:
    option = "--" + name.replace("_", "-")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{option} {value}: give a finite number")
    if name in _SHARES and not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, not {value}")
    least, most = _RANGES.get(name, (value, value))
    if not least <= value <= most:
        raise ValueError(f"{option} {value}: give a whole number of {least:,} to {most:,}")


def _check_place(path: Path, is_file: bool) -> None:
    if is_file and path.is_dir():
        raise FileExistsError(f"{path}: is a folder; give the name of a file")
    if not is_file and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: is a file; give a folder, or the name of a new one")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FileExistsError(f"{above}: is a file, so nothing can be written below it")

"""Brings rows that lie in packs into the order in which they were asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kerasunet.data.cache.pack import Pack
from kerasunet.data.cache.rows import Rows

Place = tuple[Pack, int]
_IN_MEMORY = 256 * 2**20


def gather(places: Sequence[Place], folder: Path) -> Rows:
    """Maps rows where they lie in order already, and copies them where they do not.

    Copies above 256 MiB go to a file without a name in the folder, which ends with the arrays,
    so that memory stays bounded whatever the number of cases.

    Args:
        places: The pack and the row of each case, at least one.
        folder: Where a large copy may lie.

    Returns:
        The rows; read-only where they are mapped.

    Raises:
        OSError: The folder has no room for a copy.
    """
    stretches = list(_stretches(places))
    images = _joined([pack.images[rows] for pack, rows in stretches], folder)
    masks = _joined([pack.masks[rows] for pack, rows in stretches], folder)
    return Rows(images, masks, tuple(pack.spacing(row) for pack, row in places))


def _stretches(places: Sequence[Place]) -> Iterator[tuple[Pack, slice]]:
    """Joins places that follow each other in one pack."""
    start = 0
    for end in range(1, len(places) + 1):
        pack, row = places[end - 1]
        if end == len(places) or places[end] != (pack, row + 1):
            yield pack, slice(places[start][1], row + 1)
            start = end


def _joined(parts: list[np.ndarray], folder: Path) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    if sum(part.nbytes for part in parts) <= _IN_MEMORY:
        return np.concatenate(parts)
    with tempfile.TemporaryFile(dir=folder) as file:
        for part in parts:
            file.write(part.data)
        file.flush()
        content = np.asarray(np.memmap(file, parts[0].dtype, "r"))
    return content.reshape(-1, *parts[0].shape[1:])

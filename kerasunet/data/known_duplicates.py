"""Near-duplicates of a data set, searched for once: the result is kept by what was compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data import duplicates
from kerasunet.data.cache.place import cache_folder
from kerasunet.data.cases import Case
from kerasunet.data.decoding import decode
from kerasunet.data.duplicates import THUMBNAIL_SIDE, NearDuplicates, find_near_duplicates
from kerasunet.files import read_json, write_json

_FOLDER = "near-duplicates"


def near_duplicates_of(cases: Sequence[Case]) -> list[NearDuplicates]:
    """Finds the near-duplicates among cases, as `find_near_duplicates` does among images.

    Args:
        cases: The cases; each is read, or taken from the cache of decoded cases.

    Returns:
        The pairs, by index.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """
    thumbnails = decode(cases, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)).images[..., 0]
    file = _file(thumbnails)
    known = _recall(file, len(cases))
    if known is not None:
        return known
    found = find_near_duplicates(thumbnails)
    _keep(file, found)
    return found


def _file(thumbnails: np.ndarray) -> Path | None:
    """Where the result is kept: by the pixels that are compared and the code that compares them."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.blake2b(Path(duplicates.__file__).read_bytes(), digest_size=16)
    digest.update(np.ascontiguousarray(thumbnails))
    return folder / _FOLDER / f"{digest.hexdigest()}.json"


def _recall(file: Path | None, count: int) -> list[NearDuplicates] | None:
    """The kept result; `None` if there is none, or it is damaged."""
    if file is None or not file.is_file():
        return None
    with suppress(OSError, ValueError, TypeError, LookupError):
        return [_pair(values, count) for values in read_json(file)["pairs"]]
    return None


def _pair(values: Any, count: int) -> NearDuplicates:
    pair = NearDuplicates(*values)
    if not 0 <= pair.first < pair.second < count:
        raise ValueError(f"{pair}: no pair of {count} images")
    return pair


def _keep(file: Path | None, found: Sequence[NearDuplicates]) -> None:
    """What cannot be written is searched for again the next time."""
    if file is not None:
        with suppress(OSError):
            write_json(file, {"pairs": found})

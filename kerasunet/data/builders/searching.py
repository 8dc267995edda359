"""Finds a data set among what was unpacked, however deep its archive put it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from kerasunet.data.cases import Case, DataSet
from kerasunet.data.layouts.listing import image_files, subfolders
from kerasunet.data.layouts.published import read_published

_DEPTH = 7


def folders_in(roots: Iterable[Path]) -> Iterator[Path]:
    """Folders and their subfolders, the upper ones first; roots that are files are left out."""
    level = [root for root in roots if root.is_dir()]
    for _ in range(_DEPTH):
        yield from level
        level = [inner for folder in level for inner in subfolders(folder)]


def folder_with(roots: Iterable[Path], *entries: str) -> Path | None:
    """The first folder that has all these entries."""
    return next(
        (
            folder
            for folder in folders_in(roots)
            if all((folder / entry).exists() for entry in entries)
        ),
        None,
    )


def published(name: str, roots: Iterable[Path]) -> DataSet | None:
    """Reads the data set of this name where `kerasunet.data.layouts` recognises it."""
    found = (read_published(folder) for folder in folders_in(roots))
    return next((data for data in found if data is not None and data.name == name), None)


def joined(roots: Iterable[Path], parts: Mapping[str, str]) -> DataSet | None:
    """Reads a published data set whose parts are in different archives, or differently named.

    Args:
        roots: Where to look.
        parts: Entries of the recognised layout, and the names that their folders have here.

    Returns:
        The data set; `None` where a part is missing.
    """
    roots = list(roots)
    found = {entry: _folder_of_images(roots, name) for entry, name in parts.items()}
    if None in found.values():
        return None
    with TemporaryDirectory() as together:
        for entry, folder in found.items():
            (Path(together) / entry).symlink_to(folder.resolve(), target_is_directory=True)
        data = read_published(Path(together))
        return data and replace(data, cases=tuple(_with_real_paths(case) for case in data.cases))


def _folder_of_images(roots: Iterable[Path], name: str) -> Path | None:
    named = (folder for folder in folders_in(roots) if folder.name == name)
    return next((folder for folder in named if image_files(folder)), None)


def _with_real_paths(case: Case) -> Case:
    masks = tuple(path.resolve() for path in case.masks)
    return replace(case, image=case.image.resolve(), masks=masks)

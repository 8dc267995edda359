"""Where results may be written: never where a reader would take them for data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kerasunet.data.layouts import EVERY_MASK_FOLDER, IMAGE_FOLDERS

RECORDS = ("config.json", "study.json", "predictions.json", "adapt.json")
"""Files by which folders of results are known; where one is, the folder may go on to be used."""


def require_outside(
    path: str | os.PathLike,
    data: Iterable[str | os.PathLike | None] = (),
    *,
    images: Iterable[Path] = (),
    is_file: bool = False,
    levels: int = 1,
) -> None:
    """Refuse what would be taken for part of a data set: pictures and folders among its images.

    Data sets are those given, and those whose images or masks the path lies among. Below a folder
    that holds images itself, other folders are not read.

    Args:
        path: The file or folder to be written; it need not exist.
        data: Folders of data; names of data sets, files and `None` are passed over.
        images: Image files, or folders of them.
        is_file: Whether a file is written. Unless it is a picture, it may be anywhere.
        levels: How deep below a folder of data that consists of folders nothing may be written;
            0 allows the folder of the data, too.

    Raises:
        ValueError: The message names the folder of images, or calls the path a part of the data.
    """
    path = Path(path).expanduser()
    if is_file and path.suffix.lower() != ".png":
        return
    here = path.resolve().parent if is_file else path.resolve()
    for folder, root, is_whole in _folders_of_data(data, images, here):
        for place in (here, *here.parents):
            within = root in place.parents or folder == place == here
            if within and (_holds_images(place, path) or _is_part(place, root)):
                raise ValueError(
                    f"{path}: lies among the images in {place}, so what is written there would "
                    "be taken for data; choose another place"
                )
        goes_on = any((here / name).exists() for name in RECORDS)
        if is_whole and levels and not (is_file or goes_on):
            _require_unread(path, folder, levels)


def _folders_of_data(
    data: Iterable[str | os.PathLike | None], images: Iterable[Path], output: Path
) -> list[tuple[Path, Path, bool]]:
    """Return each folder of data that is given, or that an output lies among the images of.

    Beside it stands the root of the data set that it is part of, and whether all of the folder is
    given, not single files in it.
    """
    given = {Path(name or os.devnull).expanduser().resolve() for name in data}
    found = [(path, path, True) for path in given]
    found += [(root, root, False) for root in _sets_around(output)]
    for one in images:
        folder = (one if one.is_dir() else one.parent).resolve()
        parts = [part for part in (folder, folder.parent) if part.name.lower() in IMAGE_FOLDERS]
        found.append((folder, parts[0].parent if parts else folder, one.is_dir()))
    return list(dict.fromkeys(found))


def _sets_around(output: Path) -> list[Path]:
    """Return the data sets into whose images or masks a folder leads."""
    return [
        place.parent
        for place in (output, *output.parents)
        if place.name.lower() in (*IMAGE_FOLDERS, *EVERY_MASK_FOLDER)
        and all(
            any((place.parent / name).is_dir() for name in names)
            for names in (IMAGE_FOLDERS, EVERY_MASK_FOLDER)
        )
    ]


def _is_part(place: Path, root: Path) -> bool:
    """Whether a folder holds the images or the masks of a data set, itself or in folders below."""
    is_inside = place.parent == root and place.is_dir()
    return is_inside and place.name.lower() in (*IMAGE_FOLDERS, *EVERY_MASK_FOLDER)


def _require_unread(path: Path, data: Path, levels: int) -> None:
    """Refuse a folder for results that is the data set, or that would be read as a part of it."""
    here = path.resolve()
    inside = here.is_relative_to(data) and len(here.relative_to(data).parts) <= levels
    if not inside or not data.is_dir():
        return
    from kerasunet.data.layouts.recognition import is_folder_of_folders

    if here == data or is_folder_of_folders(data):
        raise ValueError(
            f"{path}: is the folder of the data, or would be read as a part of it; choose another "
            "place"
        )


def _holds_images(folder: Path, path: Path) -> bool:
    """Whether there are images in a folder, beside one that is to be replaced."""
    from kerasunet.data.readers import IMAGE_SUFFIXES

    names = {name.lower() for name in os.listdir(folder)} if folder.is_dir() else set()
    return any(name.endswith(IMAGE_SUFFIXES) for name in names - {path.name.lower()})

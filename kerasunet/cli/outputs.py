"""Where a command may write: not over files of yours, nor where it would be taken for data."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from kerasunet import models
from kerasunet.files import is_marked
from kerasunet.runs.directory import RunDirectory

_FILES = ("csv", "groups", "html", "json", "sheet")
_OUTPUTS = ("output", *_FILES)
_INPUTS = ("data", "validation_data", "manual_dir")
_RECORDS = ("config.json", "study.json", "predictions.json", "adapt.json")


def check_outputs(
    verb: str, options: argparse.Namespace, marks: Callable[[], Mapping[str, bytes]] = dict
) -> None:
    """Refuse paths where nothing could be written, or where something else would be replaced.

    Args:
        verb: The verb.
        options: What was given.
        marks: Returns, by name of an option, bytes that begin every file that the verb writes
            there, or stand near its beginning.

    Raises:
        FileExistsError: A file is in the way of a folder, or a folder of a file; or a file holds
            something that this verb did not write.
    """
    given = {name: getattr(options, name, None) for name in _OUTPUTS}
    paths = {name: path.expanduser() for name, path in given.items() if isinstance(path, Path)}
    for name, path in paths.items():
        setattr(options, name, path)  # A folder that is called ~ would be a trap.
        is_file = name in _FILES or verb == "panel" or _exports_a_file(verb, options)
        _check_output(path, is_file)
        if is_file and path.exists():
            _check_replaced(path, marks().get(name))
        _check_apart(verb, path, is_file, options)
    if getattr(options, "save_as", None) is not None:
        _check_output(models.folder(), is_file=False)
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise ValueError(f"{path}: named for two outputs; give each its own name")


def _exports_a_file(verb: str, options: argparse.Namespace) -> bool:
    return verb == "export" and options.format != "savedmodel"


def _check_apart(verb: str, path: Path, is_file: bool, options: argparse.Namespace) -> None:
    """Refuse what would be taken for part of the data: pictures and folders among its images.

    Below a folder that holds images itself, other folders are not read.
    """
    if is_file and path.suffix.lower() != ".png":
        return
    here = path.resolve().parent if is_file else path.resolve()
    for data, root, is_whole in _folders_given(options):
        for place in (here, *here.parents):
            within = root in place.parents or data == place == here
            if within and (_holds_images(place, path) or _is_part(place, root)):
                raise ValueError(
                    f"{path}: lies among the images in {place}, so what is written there would "
                    "be taken for data; choose another place"
                )
        goes_on = any((here / name).exists() for name in _RECORDS)
        if is_whole and not (is_file or goes_on or verb == "export"):
            _check_unread(path, data, 2 if verb == "adapt" else 1)


def _folders_given(options: argparse.Namespace) -> list[tuple[Path, Path, bool]]:
    """Return each folder of data that is given.

    Beside it stands the root of the data set that it is part of, and whether all of the folder is
    given, not single files in it.
    """
    names = [getattr(options, name, None) for name in _INPUTS]
    found = [(path, path, True) for path in (Path(name or os.devnull).resolve() for name in names)]
    images = getattr(options, "images", None)
    if not isinstance(images, list):  # Of other verbs than `predict`, a number.
        return found
    from kerasunet.data.layouts.pairing import IMAGE_FOLDERS

    for given in images:
        folder = (given if given.is_dir() else given.parent).resolve()
        parts = [one for one in (folder, folder.parent) if one.name.lower() in IMAGE_FOLDERS]
        found.append((folder, parts[0].parent if parts else folder, given.is_dir()))
    return found


def _is_part(place: Path, root: Path) -> bool:
    """Whether a folder holds the images or the masks of a data set, itself or in folders below."""
    if place.parent != root or not place.is_dir():
        return False
    from kerasunet.data.layouts.pairing import EVERY_MASK_FOLDER, IMAGE_FOLDERS

    return place.name.lower() in (*IMAGE_FOLDERS, *EVERY_MASK_FOLDER)


def _check_unread(path: Path, data: Path, levels: int) -> None:
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


def _check_output(path: Path, is_file: bool) -> None:
    if is_file and path.is_dir():
        raise FileExistsError(f"{path}: is a folder; give the name of a file")
    if not is_file and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: is a file; give a folder, or the name of a new one")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FileExistsError(
            f"{above}: is a file, so nothing can be written below it; choose another place"
        )


def _check_replaced(path: Path, mark: bytes | None) -> None:
    if not path.is_file():
        raise FileExistsError(f"{path}: is a device or the like; give the name of a file")
    run = RunDirectory(path.parent)
    if path.name == run.cases.name and run.summary.is_file():
        raise FileExistsError(f"{path}: is the table of a run; give another file")
    if mark is not None and not is_marked(path, mark):
        raise FileExistsError(
            f"{path}: holds something that this command did not write; give another file, or move "
            "it away"
        )

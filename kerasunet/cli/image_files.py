"""Image files named on the command line or found in folders: their frames and their labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet.cli import options as shared

if TYPE_CHECKING:
    from kerasunet.runs.prediction_files import Frame


def frames_of(paths: Sequence[Path], chosen: int | None) -> dict[str, Frame]:
    """Return every frame of some files by a name for its outputs, without suffix.

    Args:
        paths: Image files.
        chosen: The only frame of each that is wanted, from 0; `None` for all.

    Raises:
        ValueError: One name would stand for two frames.
    """
    from kerasunet.runs.prediction_files import Frame

    frames: dict[str, Frame] = {}
    for path, file, label in zip(paths, _output_names(paths), labels_of(paths), strict=True):
        total = _count(path)
        numbers = range(total) if chosen is None else [chosen]
        several = total > 1 or chosen is not None
        for number in numbers:
            name = f"{file}-frame{number:04d}" if several else file
            if name in frames:
                raise ValueError(f"{path}: {name} would name two masks; rename the file")
            frame = number if several else None
            frames[name] = Frame(path, label, file, name, frame, len(numbers), total)
    return frames


def paths_of(frames: Mapping[str, Frame]) -> dict[str, Path]:
    """Return the image file of each frame."""
    return {name: frame.path for name, frame in frames.items()}


def require_apart(output: Path, paths: Sequence[Path], folders: Sequence[Path]) -> None:
    """Refuse to write masks where a reader of data would take them for annotations.

    Args:
        output: The folder for masks.
        paths: The images.
        folders: Folders of images for which a table will say which mask belongs to which image: it
            would be found from there, too.
    """
    here = output.resolve()
    found_from = {folder.resolve() for folder in folders}
    for path in paths:
        places = list(path.resolve().parents)[:2]
        if here in places or (here.parent in found_from and here.parent == places[0]):
            raise ValueError(
                f"{output}: {path} is in it or beside it, and masks written there would be taken "
                "for annotations; give another folder with --output"
            )


def _count(path: Path) -> int:
    """Return the number of frames; one if they cannot be counted, which reading reports."""
    from kerasunet.data.readers import count_frames

    try:
        return count_frames(path) or 1
    except (OSError, ValueError):
        return 1


def image_files(given: Iterable[Path], unannotated: bool) -> list[Path]:
    """Return image files, each once, and print what of a folder is left out.

    Args:
        given: Image files, or folders of them.
        unannotated: Whether folders are data sets, of which the images without a mask are wanted.

    Raises:
        FileNotFoundError: There is no such file, or no such image in a folder.
        ValueError: A name cannot be written into a table, or a folder is in no known layout.
    """
    from kerasunet.files import is_plain

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += _without_mask(path) if unannotated else _images_in(path)
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder, or not a regular file")
    files = each_once(files)
    for file, label in zip(files, labels_of(files), strict=True):
        if not is_plain(label):
            raise ValueError(f"{file}: its name cannot be written into a table; rename it")
    return files


def _without_mask(folder: Path) -> list[Path]:
    """Return the images of a data set that have no mask."""
    from kerasunet.data import layouts

    data = layouts.read_folder(folder)
    if not data.unannotated:
        raise FileNotFoundError(f"{folder}: every image has a mask; leave out --unannotated")
    return [case.image for case in data.unannotated]


def _images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, and say what else is in it: masks, and files of no image."""
    from kerasunet.data.layouts import pairing
    from kerasunet.data.readers import IMAGE_SUFFIXES
    from kerasunet.files import kinds_in_words

    files = pairing.image_files(folder)
    masks = pairing.masks_by_name(files)
    found = [path for stem, paths in files.items() if stem not in masks for path in paths]
    if not found:
        raise FileNotFoundError(
            f"{folder}: holds no image; expected {', '.join(IMAGE_SUFFIXES)}; --unannotated finds "
            "the images without a mask in the folders of a data set"
        )
    if masks:
        print(f"{folder}: left out {len(masks)} masks beside their images")
    known = {path for paths in files.values() for path in paths}
    other = [path for path in pairing.own_files(folder) if path not in known]
    if other:
        print(shared.printable(f"{folder}: not read: {kinds_in_words(other)}"))
    return sorted(found)


def each_once(files: Iterable[Path]) -> list[Path]:
    """Return paths in order, without those that were given before, perhaps in other words."""
    unique: dict[str, Path] = {}
    for file in files:
        unique.setdefault(os.path.abspath(file), file)
    return list(unique.values())


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Names of files or folders, with as many folders above as tell equal names apart."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    depths = [1] * len(paths)
    while True:
        labels = ["/".join(one[-depth:]) for one, depth in zip(parts, depths, strict=True)]
        repeated = {label for label, count in Counter(labels).items() if count > 1}
        if not repeated:
            return labels
        depths = [depth + (label in repeated) for depth, label in zip(depths, labels, strict=True)]


def _output_names(paths: Sequence[Path]) -> list[str]:
    """File stems, with the suffix or a number added where stems repeat, in whatever case."""
    names: dict[str, str] = {}
    for path in paths:
        stem = name = path.stem.removesuffix(".nii")
        if name.casefold() in names:
            name = path.name.replace(".", "_")
        number = 2
        while name.casefold() in names:
            name = f"{stem}_{number}"
            number += 1
        names[name.casefold()] = name
    return list(names.values())

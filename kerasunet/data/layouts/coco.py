"""COCO annotations: images and the polygons or run lengths of their objects in one JSON file."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np

from kerasunet.data.annotations import (
    ENCODINGS,
    MALFORMED,
    NO_OBJECT,
    check_area,
    check_polygon,
    polygon_mask,
    run_length_mask,
)
from kerasunet.data.cases import AnnotatedCase, Case
from kerasunet.data.layouts.folders import PARTS
from kerasunet.data.layouts.pairing import image_files, json_files, keys_of, subfolders
from kerasunet.data.layouts.unread import foreign
from kerasunet.data.readers import wrong_size
from kerasunet.files import raise_all, read_json

_FOLDER, _DEPTH = "annotations", 3
_PART = re.compile(rf"(?:^|[_-])({'|'.join(PARTS)})(?:\d*)(?:$|[_-])", re.IGNORECASE)
_LOCAL_FILE = "?d="  # Precedes the path in Label Studio's addresses of local files.
_LEFT_OUT = {"ignore": "marked to be ignored", "deleted": "deleted", "isbbox": "a box, no outline"}
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")


def coco(folder: Path) -> Sequence[Case] | None:
    """Read the COCO files in a folder or its `annotations/`; `None` if there are none.

    Raises:
        ValueError: Several of them describe the same image.
    """
    images = image_files(folder)
    files = [path for stem, path in json_files(folder).items() if stem not in images]
    if (folder / _FOLDER).is_dir():
        files += json_files(folder / _FOLDER).values()
    found = [path for path in files if _may_be_coco(path) and _is_coco(read_json(path, ENCODINGS))]
    return _united(folder, found) if found else None


def _united(folder: Path, paths: Sequence[Path]) -> Sequence[Case]:
    cases = [case for path in paths for case in read_coco(path)]
    seen = {case.image for case in cases}
    if len(seen) < len(cases) and len(paths) > 1:
        fault = f"{folder}: has several COCO files of the same images, give the path of one: "
        raise ValueError(fault + ", ".join(map(str, paths)))
    keys = keys_of([case.image for case in cases])
    return [replace(case, key=keys[case.image], group=keys[case.image]) for case in cases]


def read_coco(path: Path) -> Sequence[AnnotatedCase]:
    """Read a COCO file; the annotations of an image are united.

    Image files are searched for in the folder of the JSON file and its subfolders, or, where that
    folder is `annotations/`, beside it. The path that the file names need only end alike: those of
    Windows, of another machine or of an upload to Label Studio are understood. An image without
    annotations has no object.

    Args:
        path: The JSON file.

    Returns:
        The cases.

    Raises:
        ValueError: It is not a COCO file, or images are missing; the message lists every one.
    """
    content = read_json(path, ENCODINGS)
    if not _is_coco(content):
        raise ValueError(f"{path}: not a COCO file: {foreign(content)}")
    try:
        return _cases(path, content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: an image or annotation is incomplete: {error}") from error


def image_root(path: Path) -> Path:
    """Return the folder that is searched for the images of a COCO file, with its subfolders."""
    return path.parent.parent if path.parent.name == _FOLDER else path.parent


def _cases(path: Path, content: Mapping[str, Any]) -> list[AnnotatedCase]:
    images = content["images"]
    search = _Search(image_root(path), _part(path))
    found = {_id(image["id"]): search.find(str(image["file_name"])) for image in images}
    files = {number: places[0] for number, places in found.items() if len(places) == 1}
    drawn: dict[str, list[Mapping]] = {image: [] for image in found}
    problems = [f"{path}: {problem}" for problem in _missing(images, found, files)]
    names, repeated = _names(content.get("categories") or ())
    problems += [f"{path}: {fault}" for fault in repeated]
    for annotation in content["annotations"]:
        category = _id(annotation.get("category_id", ""))
        if names and category not in {*names, ""}:
            problems.append(f"{path}: annotation {annotation['id']}: there is no such category")
        if (image := _id(annotation["image_id"])) in drawn:
            drawn[image].append({**annotation, "label": names.get(category, category)})
        else:
            problems.append(f"{path}: annotation {annotation['id']}: there is no such image")
    raise_all(problems, f"{len(problems)} faults in a COCO file:")
    keys = keys_of(list(files.values()))
    cases = []
    for image in images:
        file = files[_id(image["id"])]
        outlines = CocoOutlines(path, _size(image), tuple(drawn[_id(image["id"])]))
        cases.append(AnnotatedCase(keys[file], keys[file], file, annotation=outlines))
    return cases


def _id(value: Any) -> str:
    """Return a number as text; some programs write 1 as 1.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _names(categories: Sequence[Mapping]) -> tuple[dict[str, str], list[str]]:
    """Return the names of categories by number, and what is wrong with them."""
    names: dict[str, str] = {}
    faults = []
    for one in categories:
        number, name = _id(one["id"]), str(one["name"])
        if names.setdefault(number, name) != name:
            faults.append(f"category {number} has several names, {names[number]} and {name}")
    return names, faults


def _may_be_coco(path: Path) -> bool:
    """Return whether COCO's names occur, for files with an image inside take long to parse."""
    content = path.read_bytes()
    return all(name in content for name in (b'"images"', b'"annotations"'))


def _is_coco(content: Any) -> bool:
    parts = ("images", "annotations") if isinstance(content, dict) else ()
    return bool(parts) and all(isinstance(content.get(name), list) for name in parts)


def _part(path: Path) -> str:
    """Return the part that a file such as `instances_train2017.json` is about; empty for none."""
    found = _PART.search(path.stem)
    return found[1].lower() if found else ""


@dataclass
class _Search:
    """Finds image files below a folder by what annotations call them."""

    root: Path
    part: str

    def find(self, name: str) -> list[Path]:
        """Return the file of an image, none if it is missing, several if that is ambiguous."""
        texts = (name, unquote(name.rpartition(_LOCAL_FILE)[2]))
        paths = (PurePosixPath(text.replace("\\", "/")) for text in texts)
        return next(filter(None, map(self._found, paths)), [])

    def _found(self, called: PurePosixPath) -> list[Path]:
        inside = not called.is_absolute() and ".." not in called.parts
        places = [self.root / called, self.root / "images" / called] if inside else []
        # `Path.is_file` fails on names that are too long.
        if there := next(filter(os.path.isfile, places), None):
            return [there]
        listed, name = self._by_name, unicodedata.normalize("NFC", called.name)
        found = listed.get(name) or listed.get(_UPLOADED.sub("", name, count=1), [])
        named = self._folders_of_images & {p.parent for p in places if called.parent.name}
        if named:  # The file is in this folder of images, or missing.
            found = [path for path in found if named & {*path.parents}]
        return self._closest(called, found) if found else []

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        listed: dict[str, list[Path]] = {}
        for path in _images_below(self.root, _DEPTH):
            listed.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)
        return listed

    @cached_property
    def _folders_of_images(self) -> set[Path]:
        return {parent for paths in self._by_name.values() for p in paths for parent in p.parents}

    def _closest(self, called: PurePosixPath, found: list[Path]) -> list[Path]:
        """Keep the paths that share most folders with the name, and those of the part, if any."""
        shared = [_shared_end(called.parts, path.parts) for path in found]
        best = [path for path, n in zip(found, shared, strict=True) if n == max(shared)]
        within = [path for path in best if self.part and self.part in self._folders(path)]
        return within if len(within) == 1 else best

    def _folders(self, path: Path) -> set[str]:
        """Return the folders of a path in lower case, without numbers as in `train2017`."""
        parts = path.relative_to(self.root).parts[:-1]
        return {part.lower().rstrip("0123456789") for part in parts}


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the folders that two paths have in common, from the end."""
    pairs = zip(reversed(one[:-1]), reversed(other[:-1]), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)) - 1)


def _images_below(folder: Path, depth: int) -> Iterator[Path]:
    for paths in image_files(folder).values():
        yield from paths
    for inner in subfolders(folder) if depth else ():
        yield from _images_below(inner, depth - 1)


def _missing(
    images: list[Mapping], found: Mapping[str, list[Path]], files: Mapping[str, Path]
) -> Iterator[str]:
    for image in images:
        name, places = image["file_name"], found[_id(image["id"])]
        if not places:
            yield f"image {name}: no such file where its path leads, or elsewhere; case matters"
        elif len(places) > 1:
            yield f"image {name}: may be any of {', '.join(map(str, places))}; give its folder"
    if len(found) < len(images):
        yield "several images have the same id"
    yield from _strayed(images, files)
    for file, count in Counter(files.values()).items():
        if count > 1:
            yield f"{count} of its images are the file {file}; unite them to one"


def _strayed(images: list[Mapping], files: Mapping[str, Path]) -> list[str]:
    """Name images that are not in the folder they name, if others are: theirs may be missing."""
    called = {PurePosixPath(str(one["file_name"]).replace("\\", "/")): one for one in images}
    places = ((name, files.get(_id(one["id"]))) for name, one in called.items())
    inside = [(name, file) for name, file in places if file and name.parent.name]
    strayed = [
        f"image {name}: no such file, but there is {file}"
        for name, file in inside
        if _shared_end(name.parts, file.parts) < len(name.parts) - 1 and not name.is_absolute()
    ]
    return strayed if len(strayed) < len(inside) else []


def _size(image: Mapping) -> tuple[int, int] | None:
    """Return height and width, `None` where a writer left them out or 0."""
    try:
        height, width = (int(image.get(side) or 0) for side in ("height", "width"))
    except ValueError as error:
        raise TypeError(f"the size of image {image['id']} is no number") from error
    return (height, width) if height and width else None


@dataclass(frozen=True)
class CocoOutlines:
    """The annotations of one image: polygons or run lengths.

    Attributes:
        path: The COCO file, for messages.
        size: Height and width of the image according to the file; `None` if it does not say.
        annotations: The annotations of this image, as the file has them, each with the name of its
            category as `label`.
    """

    path: Path
    size: tuple[int, int] | None
    annotations: tuple[Mapping[str, Any], ...] = field(hash=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories that are drawn, except those that stand for background."""
        labels = dict.fromkeys(annotation["label"] for annotation in self.annotations)
        return tuple(label for label in labels if label not in NO_OBJECT)

    @property
    def faults(self) -> tuple[str, ...]:
        """What cannot be drawn and is left out, a line each."""
        return tuple(fault for one in self.annotations for fault in self._split(one)[1])

    def of(self, labels: Collection[str]) -> CocoOutlines:
        """Return the annotations with only those of some categories, and of the background."""
        kept = [one for one in self.annotations if one["label"] in {*labels, *NO_OBJECT}]
        return replace(self, annotations=tuple(kept))

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the bool mask, (height, width); what has a fault is left out.

        Raises:
            ValueError: The image has another size, or nothing can be drawn.
        """
        if self.size not in (None, shape):
            raise ValueError(wrong_size(self.path, self.size, shape))
        drawn, masks = 0, {True: np.zeros(shape, bool), False: np.zeros(shape, bool)}
        faults: list[str] = []
        for annotation in self.annotations:
            is_object = annotation["label"] not in NO_OBJECT
            pieces, its_faults = self._split(annotation)
            for piece in pieces:
                masks[is_object] |= self._draw(piece, shape, annotation)
            if is_object:
                drawn, faults = drawn + len(pieces), [*faults, *its_faults]
        if faults and not drawn:
            raise ValueError(faults[0])
        return masks[True] & ~masks[False]

    def _split(self, annotation: Mapping) -> tuple[list[Any], list[str]]:
        """Sort the pieces of an annotation into those that can be drawn, and faults."""
        good: list[Any] = []
        faults: list[str] = []
        if marks := [mark for name, mark in _LEFT_OUT.items() if annotation.get(name) in (1, True)]:
            return good, [f"{self._named(annotation)}: is {marks[0]}"]
        for piece in _pieces(annotation.get("segmentation")) or [None]:
            try:
                _check(piece, self.size)
                good.append(piece)
            except MALFORMED as error:
                faults.append(f"{self._named(annotation)}: {error}")
        return good, faults

    def _draw(self, piece: Any, shape: tuple[int, int], annotation: Mapping) -> np.ndarray:
        try:
            if isinstance(piece, list):
                return polygon_mask(_points(piece), shape)
            return run_length_mask(_counts(piece), shape)
        except MALFORMED as error:
            raise ValueError(f"{self._named(annotation)}: {error}") from error

    def _named(self, annotation: Mapping) -> str:
        return f"{self.path}: annotation {annotation.get('id')}"


def _pieces(segmentation: Any) -> list[Any]:
    """Return the polygons, or the one table of run lengths, of a segmentation."""
    if not isinstance(segmentation, list):
        return [segmentation] if segmentation else []
    flat = segmentation and all(isinstance(value, int | float) for value in segmentation)
    return [segmentation] if flat else segmentation


def _check(piece: Any, size: tuple[int, int] | None) -> None:
    """Raise what is wrong with a piece, on whatever image it is drawn."""
    if piece is None:
        raise ValueError(
            "has no segmentation; boxes, key points and panoptic pictures are no outline"
        )
    if isinstance(piece, str | float | int):
        raise ValueError("has a segmentation that is neither polygons nor run lengths")
    if isinstance(piece, list):
        if any(isinstance(value, list) for value in piece):
            raise ValueError("has points in lists of their own; COCO lists x, y, x, y …")
        check_area(check_polygon(_points(piece)), size)
        return
    height, width = piece.get("size") or size or (0, 0)
    if size and (height, width) != size:
        raise ValueError(
            f"its run lengths are of {width}×{height} pixels, its image of {size[1]}×{size[0]}"
        )
    run_length_mask(_counts(piece), (height, width) if height else (1, sum(_counts(piece))))


def _points(piece: Sequence[float]) -> list[tuple[float, float]]:
    if len(piece) % 2:
        raise ValueError("has an odd number of coordinates; a point has two, x and y")
    return list(zip(piece[::2], piece[1::2], strict=True))


def _counts(piece: Mapping[str, Any]) -> Sequence[int]:
    counts = piece["counts"]
    return decode_run_lengths(counts) if isinstance(counts, str) else counts


def decode_run_lengths(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is a signed chain of 5-bit digits, lowest first, in characters from `0` on; from
    the third run on, it is the difference to the run before the last.

    Args:
        text: The compressed `counts`.

    Returns:
        Lengths of the runs, in pixels.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts

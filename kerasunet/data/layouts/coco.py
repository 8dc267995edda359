"""COCO annotations: images and the polygons or run lengths of their objects in one JSON file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data.annotations import (
    ENCODINGS,
    FARTHEST,
    MALFORMED,
    NO_OBJECT,
    Outlines,
    check_area,
    check_polygon,
    decode_run_lengths,
    polygon_mask,
    run_length_mask,
)
from kerasunet.data.cases import AnnotatedCase, Case
from kerasunet.data.layouts.contents import (
    foreign,
    image_files,
    is_coco,
    json_files,
    keys_of,
)
from kerasunet.data.layouts.folder_names import PARTS
from kerasunet.data.layouts.pairing import OF_MASK, ImageSearch, misplaced
from kerasunet.data.readers import wrong_size
from kerasunet.files import raise_all, read_json

_FOLDER = "annotations"
_PART = re.compile(rf"(?:^|[_-])({'|'.join(PARTS)})(?:\d*)(?:$|[_-])", re.IGNORECASE)
_EXCHANGED = "fits its box only with x and y exchanged; correct them, or delete a wrong bbox"
_PERCENT = "fits its box only as percent of the image; COCO counts pixels, so convert them"
_BY_ROWS = "its run lengths fit its box only row by row; COCO's go column by column"
_INVERTED = "its run lengths fit its box only inverted; COCO's begin with the background"
_LEAST_OVERLAP = 0.5  # IoU of a box with that of its outline.
_SAME_PLACE = 2  # Pixels; boxes are rounded, and some count the last pixel, others do not.
_LEFT_OUT = {"ignore": "marked to be ignored", "deleted": "deleted", "isbbox": "a box, no outline"}


def coco(folder: Path) -> Sequence[Case] | None:
    """Read the COCO files in a folder or its `annotations/`; `None` if there are none."""
    images = image_files(folder)
    files = [path for stem, path in json_files(folder).items() if stem not in images]
    if (folder / _FOLDER).is_dir():
        files += json_files(folder / _FOLDER).values()
    contents = {path: found for path in files if is_coco(found := _content(path))}
    outlined = [path for path, content in contents.items() if _has_outlines(content)]
    return _united(folder, outlined or [*contents]) if contents else None


def _content(path: Path) -> Any:
    """Return what a file holds if it may be COCO; an image inside others takes long to parse."""
    text, names = path.read_bytes(), (b'"images"', b'"annotations"')
    return read_json(path, ENCODINGS) if all(name in text for name in names) else None


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

    Raises:
        ValueError: It is not a COCO file, or images are missing; the message lists every one.
    """
    content = read_json(path, ENCODINGS)
    if not is_coco(content):
        raise ValueError(f"{path}: not a COCO file: {foreign(content)}")
    try:
        return _cases(path, content)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"an image or annotation is incomplete: {error}; export it again as COCO"
        raise ValueError(f"{path}: {what}") from error


def image_root(path: Path) -> Path:
    """Return the folder that is searched for the images of a COCO file, with its subfolders."""
    return path.parent.parent if path.parent.name == _FOLDER else path.parent


def _cases(path: Path, content: Mapping[str, Any]) -> list[AnnotatedCase]:
    images = [one for one in content["images"] if one.get("deleted") is not True]
    deleted = {_id(one["id"]) for one in content["images"]} - {_id(one["id"]) for one in images}
    search = ImageSearch(image_root(path), _part(path))
    found = {_id(image["id"]): search.find(str(image["file_name"])) for image in images}
    files = {number: places[0] for number, places in found.items() if len(places) == 1}
    drawn: dict[str, list[Mapping]] = {image: [] for image in found}
    called = [(str(image["file_name"]), found[_id(image["id"])]) for image in images]
    problems = [f"{path}: {problem}" for problem in misplaced(called)]
    last = {_id(image["id"]): image["file_name"] for image in images}
    pairs = ((image["file_name"], last[_id(image["id"])]) for image in images)
    if alike := [f"{one} and {other}" for one, other in pairs if one != other]:
        problems = [f"{path}: images {alike[0]} have the same id; number them and theirs anew"]
    names, repeated = _names(content.get("categories") or ())
    problems += [f"{path}: {fault}" for fault in repeated]
    for annotation in content["annotations"]:
        category = _id(annotation.get("category_id", ""))
        if names and category not in {*names, ""}:
            problems.append(f"{path}: annotation {annotation['id']}: there is no such category")
        if (image := _id(annotation["image_id"])) in drawn:
            drawn[image].append({**annotation, "label": names.get(category, category)})
        elif image not in deleted:
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
    listed = [(_id(one["id"]), str(one["name"]), _kind(one)) for one in categories]
    kinds = Counter(name for name, kind in {(name, kind) for _, name, kind in listed} if kind)
    names: dict[str, str] = {}
    faults = []
    for number, short, kind in listed:
        name = f"{kind}/{short}" if kind and kinds[short] > 1 else short
        if names.setdefault(number, name) != name:
            faults.append(f"category {number} has several names, {names[number]} and {name}")
    return names, faults


def _kind(category: Mapping) -> str:
    """Return the supercategory; empty where it says no more than the name."""
    found = str(category.get("supercategory") or "")
    return "" if found.lower() in ("none", str(category["name"]).lower()) else found


def _has_outlines(content: Mapping[str, Any]) -> bool:
    """Return whether some annotation is more than a caption or a box."""
    return any(isinstance(one, dict) and one.get("segmentation") for one in content["annotations"])


def _part(path: Path) -> str:
    """Return the part that `instances_train2017.json` is about, or the folder, as `P1.json`."""
    found = _PART.search(path.stem)
    other = "" if OF_MASK.search(path.stem) else path.stem.lower().removeprefix("instances_")
    return found[1].lower() if found else other


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
        return tuple(fault for *_, faults in self._sorted for fault in faults)

    @property
    def outlines(self) -> Outlines:
        """What is drawn, but for the background."""
        good = [(self._named(one), one.get("bbox"), pieces) for one, pieces, _ in self._objects]
        polygons = tuple(
            (name, name, np.array(_points(piece), float))
            for name, _, pieces in good
            for piece in pieces
            if isinstance(piece, list)
        )
        others = sum(len(pieces) for *_, pieces in good) - len(polygons)
        elsewhere = tuple(n for n, box, one in good if _lies_elsewhere(box, one, self.size))
        return Outlines(self.path, self.size, polygons, others=others, elsewhere=elsewhere)

    def of(self, labels: Collection[str]) -> CocoOutlines:
        """Return the annotations with only those of some categories, and of the background."""
        kept = [one for one in self.annotations if one["label"] in {*labels, *NO_OBJECT}]
        return replace(self, annotations=tuple(kept))

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the bool mask, (height, width), without what has a fault; as `Annotation.mask`."""
        if self.size is None:
            return replace(self, size=shape).mask(shape)
        if self.size != shape:
            raise ValueError(wrong_size(self.path, self.size, shape))
        faults = [fault for *_, its_faults in self._objects for fault in its_faults]
        if faults and not any(pieces for _, pieces, _ in self._objects):
            raise ValueError(faults[0])
        ground, mask = np.zeros(shape, bool), np.zeros(shape, bool)
        for one, pieces, _ in self._sorted:
            if one["label"] in NO_OBJECT:
                ground |= _drawn(pieces, shape)
        for one, pieces, _ in self._objects:
            covered = _drawn(pieces, shape)
            if covered.any() and ground[covered].all():
                raise ValueError(f"{self._named(one)}: lies under the background; delete either")
            mask |= covered
        return mask & ~ground

    @cached_property
    def _sorted(self) -> list[tuple[Mapping, list[Any], list[str]]]:
        """The annotations, each with its pieces that can be drawn, and its faults."""
        return [(one, *self._split(one)) for one in self.annotations]

    @cached_property
    def _objects(self) -> list[tuple[Mapping, list[Any], list[str]]]:
        return [entry for entry in self._sorted if entry[0]["label"] not in NO_OBJECT]

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
        if good and (fault := _unlike_box(annotation.get("bbox"), good, self.size)):
            return [], [*faults, f"{self._named(annotation)}: {fault}"]
        return good, faults

    def _named(self, annotation: Mapping) -> str:
        return f"{self.path}: annotation {annotation.get('id')}"


def _drawn(pieces: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    masks = (
        polygon_mask(_points(piece), shape)
        if isinstance(piece, list)
        else run_length_mask(_counts(piece), shape)
        for piece in pieces
    )
    return np.logical_or.reduce([np.zeros(shape, bool), *masks])


def _pieces(segmentation: Any) -> list[Any]:
    """Return the polygons, or the one table of run lengths, of a segmentation."""
    if not isinstance(segmentation, list):
        return [segmentation] if segmentation else []
    flat = segmentation and all(isinstance(value, int | float) for value in segmentation)
    return [segmentation] if flat else segmentation


def _check(piece: Any, size: tuple[int, int] | None) -> None:
    """Raise what is wrong with a piece, on whatever image it is drawn."""
    if piece is None:
        raise ValueError("has no segmentation; boxes, points and panoptic pictures are no outline")
    if not (isinstance(piece, list) or (isinstance(piece, dict) and "counts" in piece)):
        raise ValueError("has a segmentation that is neither polygons nor run lengths")
    if isinstance(piece, list):
        if any(isinstance(value, list) for value in piece):
            raise ValueError("has points in lists of their own; COCO lists x, y, x, y …")
        check_area(check_polygon(_points(piece)), size)
        return
    height, width = piece.get("size") or size or (0, 0)
    if size and (height, width) != size:
        raise ValueError(
            f"its run lengths are of {width}×{height} pixels, its image of {size[1]}×{size[0]}; "
            "export it again, or delete it"
        )
    run_length_mask(_counts(piece), (height, width) if height else (1, sum(_counts(piece))))


def _unlike_box(box: Any, pieces: Sequence[Any], size: tuple[int, int] | None) -> str:
    """Say that pieces fit their box if they are read in another way, but not as COCO is read."""
    wanted = _corners(box, size)
    if wanted is None:
        return ""
    return next((how for how, at in _extents(pieces, size) if _is_near(at, wanted)), "")


def _corners(box: Any, size: tuple[int, int] | None) -> np.ndarray | None:
    """Return the corners, (x, y), of a bbox; `None` if it is none, or the whole image."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return None
    if not all(abs(value) < FARTHEST for value in box):
        return None
    found = np.array([box[:2], np.add(box[:2], box[2:])], float)
    return None if size and _is_near(found, np.array([(0, 0), size[::-1]])) else found


def _extents(
    pieces: Sequence[Any], size: tuple[int, int] | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what is said of pieces if a box fits, and its corners: first as COCO is read."""
    if isinstance(pieces[0], list):
        points = np.array([point for piece in pieces for point in _points(piece)])
        found = np.array([points.min(axis=0), points.max(axis=0)])
        yield from (("", found), (_EXCHANGED, found[:, ::-1]))
        if size:
            yield _PERCENT, found * size[::-1] / 100
    elif size:
        counts = _counts(pieces[0])
        mask = run_length_mask(counts, size)
        yield "", _extent(mask)
        yield _BY_ROWS, _extent(run_length_mask(counts, size[::-1]).T)
        yield _INVERTED, _extent(~mask)


def _lies_elsewhere(box: Any, pieces: Sequence[Any], size: tuple[int, int] | None) -> bool:
    """Return whether a box, also one of two corners, is not about the pieces."""
    wanted = _corners(box, size)
    if not pieces or wanted is None or min(box[2:]) <= 1:
        return False
    _, found = next(_extents(pieces, size), ("", wanted))
    if size:  # Boxes end at the image, even if corners are beyond.
        found = np.clip(found, 0, size[::-1])
    if _is_near(found, wanted):  # Of an object of few pixels, whose IoU says little.
        return False
    return max(_overlap(found, wanted), _overlap(found, np.reshape(box, (2, 2)))) < _LEAST_OVERLAP


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the IoU of two boxes, given by their corners."""
    shared = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    inner = np.prod(np.maximum(shared, 0))
    return float(inner / (np.prod(one[1] - one[0]) + np.prod(other[1] - other[0]) - inner))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_near(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.abs(one - other) <= _SAME_PLACE).all())


def _extent(mask: np.ndarray) -> np.ndarray:
    """Return the corners, (x, y), of the box around a mask; not finite if it is empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.full((2, 2), np.inf)
    return np.array([(columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)], float)


def _points(piece: Sequence[float]) -> list[tuple[float, float]]:
    if not all(map(_is_number, piece)):
        raise ValueError("has coordinates that are no numbers")
    if len(piece) % 2:
        raise ValueError("has an odd number of coordinates; a point has two, x and y")
    return list(zip(piece[::2], piece[1::2], strict=True))


def _counts(piece: Mapping[str, Any]) -> Sequence[int]:
    counts = piece["counts"]
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):  # `str` of bytes, by mistake.
        counts = counts[2:-1].replace("\\\\", "\\")
    if not isinstance(counts, str) and not all(map(_is_number, counts)):
        raise ValueError("has run lengths that are no numbers")
    return decode_run_lengths(counts) if isinstance(counts, str) else counts

"""One case, or a file of no case, checked by itself: how problems are found in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from kerasunet.data import readers
from kerasunet.data.cases import AnnotatedCase, Case, DataSet, FileCase, UnannotatedCase, file_stem
from kerasunet.data.checking.report import Problem, first_names
from kerasunet.data.decoding import resize_mask, to_gray
from kerasunet.data.groups import columns_of_patients
from kerasunet.data.identification import thumbnail
from kerasunet.data.layouts.contents import SHEETS, files_below, image_stem
from kerasunet.data.layouts.folders import PARTS
from kerasunet.data.layouts.manifests import MANIFESTS, PATIENT_COLUMN
from kerasunet.data.layouts.objects import CaseOfObjects
from kerasunet.data.layouts.tables import listed_names, read_rows
from kerasunet.data.readers import count_frames, read_image
from kerasunet.data.splits import groups_in_words
from kerasunet.files import suffix_of
from kerasunet.objects import objects_of

_THREADS, _COLORED, _GRAY, _MOST_COLOR, _MOST_TINGED = 4, 64, 12, 0.05, 0.1
_THIN = np.ones((5, 5), np.uint8)
_WHITE, _ABOVE_SURROUNDINGS, _LEAST_PIXELS, _MOST_WHITE = 250, 150, 12, 0.01
T = TypeVar("T")
MASK_SIDE, _INVERTED, _FEWEST_EQUAL, _MOST_COVERED_TWICE = 64, 0.75, 3, 0.2
_OF_PART = rf"{'|'.join(PARTS)}|split|k?fold|cv|dataset_?\d|data_?list"
_OF_LIST = rf"({_OF_PART}|list|file|image|name|id|patient|case|data|set|final|bool)s?"
_OF_PARTS = re.compile(rf"(?=.*({_OF_PART}))[\d_ .-]*({_OF_LIST}[\d_ .-]*)+\.(txt|csv|json|ya?ml)")
_TABLES = (".csv", ".tsv", ".txt")
_COLUMNS_OF_PARTS = {"fold", "set", "subset", "part", "partition", "phase", "usage", "exclude"}
_THIN_LINE, _BLACK, _SOFT_EDGE, _FEW_LEVELS, _BRIGHT = 0.012, 8, 9, 16, 0.75


@dataclass(frozen=True)
class Inspection:
    """What is kept of a case after its check: some kilobytes, whatever the image's size.

    Attributes:
        case: The case.
        problems: What is wrong with it, taken alone.
        thumbnail: Of the image, for the search for duplicates; `None` if it cannot be read.
        mask: 64×64 pixels, packed into bits; `None` if it cannot be read.
        share: The share of the image that the mask covers, 0 to 1; `None` if it cannot be read.
        codes: The values or colors that stand for the object in its mask files, where the files
            themselves say.
        present: Which of several objects the mask has.
    """

    case: Case
    problems: tuple[Problem, ...]
    thumbnail: np.ndarray | None = None
    mask: np.ndarray | None = None
    share: float | None = None
    codes: tuple[str, ...] = ()
    present: tuple[bool, ...] = ()

    @property
    def location(self) -> str:
        """The image file, or the key of a case without one."""
        return location_of(self.case)


def inspect(case: Case) -> Inspection:
    """Read a case and look for mistakes that can be found without comparing it to others."""
    problems: list[Problem] = []
    image, mask, codes = _read(case, problems)
    if image is not None:
        problems += _image_problems(case, image)
    if image is None or mask is None:
        return Inspection(case, tuple(problems), None if image is None else thumbnail(image))
    objects = objects_of([case])
    present = [bool(plane.any()) for plane in objects.planes(mask)] if objects.several else []
    mask = mask > 0
    problems += _mask_problems(case, mask)
    packed, share = np.packbits(resize_mask(mask, (MASK_SIDE, MASK_SIDE))), float(mask.mean())
    return Inspection(
        case, tuple(problems), thumbnail(image), packed, share, codes=codes, present=tuple(present)
    )


def inspect_all(cases: Sequence[Case]) -> list[Inspection]:
    """Inspect cases in threads; return what was found, in their order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(inspect, cases))


def unreadable_files(folder: Path) -> Iterator[Problem]:
    """Yield the image files of a folder that cannot be read, whatever their layout."""
    with ThreadPoolExecutor(_THREADS) as pool:
        images = filter(lambda path: image_stem(path.name), files_below(folder))
        for path, fault in pool.map(_fault, images):
            if fault:
                yield Problem("unreadable", fault, (str(path),))


def _fault(path: Path) -> tuple[Path, str]:
    try:
        if count_frames(path) is not None:  # Not a segmentation, which is read with its image.
            read_image(path, frame=0)
    except (OSError, ValueError) as error:
        return path, str(error)
    return path, ""


def unread_files(files: Sequence[Path]) -> Iterator[Problem]:
    """Yield files that belong to no case, by folder and suffix."""
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        kinds.setdefault((path.parent, suffix_of(path)), []).append(path)
    for (folder, suffix), paths in kinds.items():
        text = f"{folder}/: {len(paths):,} {suffix}, {first_names([p.name for p in paths])}"
        yield Problem("unread", text, tuple(map(str, paths)))


def unannotated(data: DataSet) -> Iterator[Problem]:
    """Yield the images without a mask; some may be a mask, by their names."""
    named = {case.key for case in (*data.cases, *data.unannotated)}
    for case in data.unannotated:
        hint = _annotation_beside(case) or _image_of(case, named)
        yield Problem("unannotated", f"{case.image}: has no mask{hint}", (str(case.image),))


def _annotation_beside(case: UnannotatedCase) -> str:
    path = case.image.with_suffix(".json")
    if not path.is_file():
        return ""
    return f"; {path.name} beside it is not read, because other images have mask files"


def _image_of(case: UnannotatedCase, keys: Collection[str]) -> str:
    """Name the image of which this may be a mask, going by its name."""
    match = re.match(r"(.+?)[ _-]+[A-Za-z]+\d*$", case.key)
    found = match[1] if match and match[1] in keys else ""
    return found and f"; if it is the mask of {found}, give it a name like the others"


def unused_lists(folder: Path, data: DataSet) -> Iterator[Problem]:
    """Yield the lists of parts below a folder, as Pascal VOC, nnU-Net and others keep them."""
    used = {getattr(getattr(case, "annotation", None), "path", None) for case in data.cases}
    used |= {getattr(case, "annotation_file", None) for case in data.cases}
    lists = partial(_lists_parts, names={file_stem(case.key) for case in data.cases})
    for path in sorted({*files_below(folder, lists)} - used) if not data.citation else ():
        yield Problem("unused-list", str(path), (str(path),))
    tables = files_below(folder, lambda path: path.suffix.lower() in (*_TABLES, *SHEETS))
    for path in sorted({folder, *tables}) if not data.citation else ():
        if path.suffix.lower() in _TABLES and path.is_file():
            yield from _unused_columns(path, data, path == folder or path.name.lower() in MANIFESTS)
        elif path.suffix.lower() in SHEETS:
            yield Problem("unused-list", f"{path}: a spreadsheet, which is not read", (str(path),))


def _unused_columns(path: Path, data: DataSet, is_manifest: bool) -> Iterator[Problem]:
    """Yield columns of a table that name parts, or patients where nothing else does."""
    try:
        rows = [row for _, row in read_rows(path)] or [{}]
    except (OSError, ValueError):  # A table of something else.
        return
    parts = _COLUMNS_OF_PARTS if is_manifest else {"split", "fold", "partition", "exclude"}
    for column in sorted(parts & {*rows[0]} if not (is_manifest and "split" in rows[0]) else ()):
        yield Problem("unused-list", f"{path}: its column {column}", (str(path),))
    if "patient" not in groups_in_words(data.cases) and not (is_manifest and "group" in rows[0]):
        for column in columns_of_patients(rows, PATIENT_COLUMN):
            yield Problem("unused-patients", f"{path}: its column {column}", (str(path),))


def _lists_parts(path: Path, names: Set[str]) -> bool:
    """Return whether a file divides images into parts or folds, or names some of the images."""
    name = path.name.lower()
    listed = listed_names(path) if re.search(rf"\.txt$|({_OF_PART}).*\.csv$", name) else set()
    some = bool(listed & names) and len(listed - names) <= 1 and not names <= listed
    return some or _OF_PARTS.fullmatch(name) is not None


def shared_masks(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield masks that several images have, unless empty: one file for two, or three equal ones.

    A file of several frames, such as a DICOM segmentation, may well be the mask of many slices, so
    one file counts only if it gives all of them the same mask.
    """
    by_file: dict[Path, dict[str, tuple[bytes, float]]] = {}
    by_content: dict[tuple[bytes, float], dict[str, None]] = {}
    for one in inspections:
        if not one.share or one.mask is None:
            continue
        image = str(getattr(one.case, "image", one.case.key))
        content = one.mask.tobytes(), one.share
        for path in getattr(one.case, "masks", ()):
            by_file.setdefault(path, {})[image] = content
        if one.share < 1:
            by_content.setdefault(content, {})[image] = None
    shared = {path: [*of] for path, of in by_file.items() if len({*of.values()}) == 1}
    for path, images in shared.items():
        if len(images) > 1:
            text = f"{path}: is the mask of {first_names(images)}"
            yield Problem("shared-mask", text, (str(path), *images))
    known = [{*images} for images in shared.values()]
    for found in by_content.values():
        if len(found) >= _FEWEST_EQUAL and {*found} not in known:
            text = f"{first_names([*found])}: have equal masks"
            yield Problem("shared-mask", text, tuple(found))


def location_of(case: Case) -> str:
    """Return the image file of a case, and its frame; or the key of a case without a file."""
    frame = getattr(case, "frame", 0)
    return f"{getattr(case, 'image', case.key)}{f' frame {frame}' if frame else ''}"


def _read(
    case: Case, problems: list[Problem]
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Return image and mask, each `None` if there is no usable one, and what codes the object."""
    if isinstance(case, CaseOfObjects):
        return *_read_parts(case, problems), ()
    if isinstance(case, FileCase):
        return _read_files(case, problems)
    if isinstance(case, AnnotatedCase):
        return *_read_annotated(case, problems), ()
    image, mask, _ = case.load()
    return image, mask, ()


def _read_parts(case: CaseOfObjects, problems: list[Problem]):
    """Read the masks of all objects; a fault of the image is reported once."""
    found: list[Problem] = []
    read = [_read(part, found) for part in case.parts]
    problems += dict.fromkeys(found)
    image, masks = read[0][0], [mask for _, mask, _ in read if mask is not None]
    if image is None or len(masks) < len(read):
        return image, None
    join = partial(case.joined, masks)
    return image, _attempt(case, case.image, kind="overlap", problems=problems, call=join)


def _read_files(case: FileCase, problems: list[Problem]):
    image = _read_image(case, problems)
    read = [_read_mask(case, path, problems) for path in case.masks]
    masks = [mask for mask, _ in read]
    if image is None:
        return None, None, ()
    shape = image.shape[:2]
    for path, mask in zip(case.masks, masks, strict=True):
        if mask is not None and mask.shape != shape:
            text = readers.wrong_size(path, mask.shape, shape, image=f"its image {case.image.name}")
            problems.append(Problem("wrong-size", text, (str(path),), keys=(case.key,)))
    usable = [mask for mask in masks if mask is not None and mask.shape == shape]
    if len(usable) < len(masks):
        return image, None, ()
    problems += _overlapping(case, usable) if usable else ()
    codes = tuple(dict.fromkeys(code for _, code in read if code))
    return image, np.logical_or.reduce([np.zeros(shape, bool), *usable]), codes


def _read_image(case: FileCase | AnnotatedCase, problems: list[Problem]) -> np.ndarray | None:
    def call() -> np.ndarray:
        return case.read_image()[0]

    return _attempt(case, case.image, kind="unreadable", problems=problems, call=call)


def _overlapping(case: FileCase, masks: Sequence[np.ndarray]) -> Iterator[Problem]:
    """Yield masks that are united though they cover the same, as those of two annotators do."""
    covered = np.stack(masks).sum(axis=0)
    share = float((covered > 1).sum() / max(1, (covered > 0).sum()))
    if share > _MOST_COVERED_TWICE:
        text = f"{location_of(case)}: {share:.0%} of the object are in several of its masks"
        yield Problem("overlapping-masks", text, tuple(map(str, case.masks)), keys=(case.key,))


def _read_mask(
    case: FileCase, path: Path, problems: list[Problem]
) -> tuple[np.ndarray | None, str]:
    """Return the mask, `None` if it is unusable, and the value or color that codes the object."""
    values = _attempt(
        case, path, kind="unreadable", problems=problems, call=partial(case.read_mask_values, path)
    )
    if values is None:
        return None, ""
    decode = partial(case.coding.decode, values, str(path))
    mask = _attempt(case, path, kind="not-binary", problems=problems, call=decode)
    if case.coding.above and _is_picture(values.brightness()):
        text = f"{path}: most of it is neither black nor white, as in a picture of the object"
        problems.append(Problem("doubtful-outlines", text, (str(path),), keys=(case.key,)))
    if mask is None or not mask.any() or not case.coding.is_plain:
        return mask, ""
    return mask, values.name_of(mask)


def _is_picture(levels: np.ndarray) -> bool:
    """Return whether the inside of what is not black has many levels, far below the brightest."""
    whole = cv2.morphologyEx((levels > _BLACK).astype(np.uint8), cv2.MORPH_CLOSE, _THIN)
    seen = levels[cv2.erode(whole, np.ones((_SOFT_EDGE, _SOFT_EDGE), np.uint8)) > 0]
    return len(np.unique(seen)) > _FEW_LEVELS and np.median(seen) < _BRIGHT * levels.max()


def _read_annotated(case: AnnotatedCase, problems: list[Problem]):
    image = _read_image(case, problems)
    if image is None:
        return None, None
    draw = partial(case.annotation.mask, image.shape[:2])
    return image, _attempt(case, case.image, kind="annotation", problems=problems, call=draw)


def _attempt(
    case: Case, path: Path, *, kind: str, problems: list[Problem], call: Callable[[], T]
) -> T | None:
    try:
        return call()
    except (OSError, ValueError) as error:
        problems.append(Problem(kind, str(error), (str(path),), keys=(case.key,)))
        return None


def _image_problems(case: Case, image: np.ndarray) -> Iterator[Problem]:
    location = location_of(case)
    if np.ptp(image) == 0:
        text = f"{location}: every pixel has the gray level {image.flat[0]:g}"
        yield Problem("constant-image", text, (location,), keys=(case.key,))
    burnt_in = describe_burnt_in(image)
    if burnt_in:
        yield Problem("burnt-in-marks", f"{location}: {burnt_in}", (location,), keys=(case.key,))


def _mask_problems(case: Case, mask: np.ndarray) -> Iterator[Problem]:
    location = location_of(case)
    if mask.all():
        text = f"{location}: every pixel is object"
        yield Problem("full-mask", text, (location,), keys=(case.key,))
    elif _edge(mask).mean() > _INVERTED:
        text = f"{location}: {_edge(mask).mean():.0%} of the pixels at the edge are object"
        yield Problem("inverted-mask", text, (location,), keys=(case.key,))
    if _is_outline(mask):
        text = f"{location}: the mask is a line around an area {_inside(mask):.0f} times its own"
        yield Problem("outline", text, (location,), keys=(case.key,))
    # A case that names no mask says that there is nothing to draw.
    expected = case.label.lower() != "normal" and getattr(case, "masks", True)
    if expected and not mask.any():
        label = f", its label is {case.label}" if case.label else ""
        text = f"{location}: the mask has no object{label}"
        yield Problem("empty-mask", text, (location,), keys=(case.key,))


def _edge(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of the outermost rows and columns."""
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def _is_outline(mask: np.ndarray) -> bool:
    """Return whether a mask is a line that is thin for the image, and closed around much of it."""
    side = max(3, round(_THIN_LINE * max(mask.shape)))
    thick = cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)).any()
    return not thick and _inside(mask) > 1


def _inside(mask: np.ndarray) -> float:
    """Return the area of the holes of a mask in relation to its own; 0 for an empty one."""
    ground = np.pad(mask, 1).astype(np.uint8)
    cv2.floodFill(ground, None, (0, 0), 2)
    return float((ground == 0).sum() / max(1, (ground == 1).sum()))


def describe_burnt_in(image: np.ndarray) -> str:
    """Describe what in an image, 0 to 255, looks like annotations burned in; empty for nothing."""
    counts = {
        "colored pixels in a gray image": _colored(image),
        "pixels of thin white lines, such as letters or calipers": _white(image),
    }
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count)


def _colored(image: np.ndarray) -> int:
    """Count pixels of strong color, if nearly all others have none."""
    if image.ndim == 2:
        return 0
    spread = image.max(axis=2) - image.min(axis=2)
    strong = spread > _COLORED
    tinged = (spread > _GRAY).mean()
    count = int(np.count_nonzero(strong))
    otherwise_gray = strong.mean() < _MOST_COLOR and tinged < _MOST_TINGED
    return count if otherwise_gray and count >= _LEAST_PIXELS else 0


def _white(image: np.ndarray) -> int:
    """Count pixels of saturated structures thinner than 5 pixels, if they are few."""
    gray = np.ascontiguousarray(to_gray(image))
    raised = cv2.morphologyEx(gray, cv2.MORPH_TOPHAT, _THIN)
    thin = (gray >= _WHITE) & (raised >= _ABOVE_SURROUNDINGS)
    count = int(np.count_nonzero(thin))
    return count if count >= _LEAST_PIXELS and thin.mean() < _MOST_WHITE else 0

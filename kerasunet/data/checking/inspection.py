"""One case checked by itself: how problems are found in it; and masks compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from kerasunet.data import readers
from kerasunet.data.cases import AnnotatedCase, Case, FileCase
from kerasunet.data.checking.report import Problem, first_names
from kerasunet.data.decoding import resize_mask, to_gray
from kerasunet.data.identification import thumbnail
from kerasunet.data.layouts.objects import CaseOfObjects
from kerasunet.objects import OF_OBJECT, objects_of

_THREADS = 4
_COLORED, _GRAY = 64, 12
_MOST_COLOR, _MOST_TINGED = 0.05, 0.1
_WHITE, _ABOVE_SURROUNDINGS = 250, 150
_THIN = np.ones((5, 5), np.uint8)
_LEAST_PIXELS, _MOST_WHITE = 12, 0.01
T = TypeVar("T")
MASK_SIDE, _USUAL_SIDE = 64, 128  # The second is the default of --image-size.
_INVERTED = 0.75
_FEWEST_EQUAL, _MOST_COVERED_TWICE = 3, 0.2
_LEAST_BOX_SIDE = 4
_FEW_MASKS, _NEARLY_ALL = 10, 0.9
_CORNER, _QUARTER = MASK_SIDE * 2 // 3, MASK_SIDE // 2 + 2
"""Where outlines end that are in a corner, and in the first quarter, of `MASK_SIDE` pixels."""
_UNEQUAL, _FEW_PIXELS = 1.5, 50  # Areas; programs count pixels at the edge in different ways.
_THIN_LINE = 0.012  # Of the longer side.
_BLACK, _BRIGHT = 8, 0.75
_SOFT_EDGE, _FEW_LEVELS = 9, 16


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
            themselves say; of several objects after its name and `OF_OBJECT`.
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
    levels = image if image.ndim == 2 else image.max(axis=2)
    if mask.any() and not levels[~mask].any() and np.ptp(levels[mask]) == 0:
        text = f"{location_of(case)}: is black and white, and shows its own mask"
        problems.append(Problem("constant-image", text, (location_of(case),), keys=(case.key,)))
    return Inspection(
        case,
        tuple(problems),
        thumbnail(image),
        mask=np.packbits(resize_mask(mask, (MASK_SIDE, MASK_SIDE))),
        share=float(mask.mean()),
        codes=codes,
        present=tuple(present),
    )


def inspect_all(cases: Sequence[Case]) -> list[Inspection]:
    """Inspect cases in threads; return what was found, in their order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(inspect, cases))


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


def doubtful_places(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield that nearly all masks are boxes, or that outlines may be of smaller images."""
    files: list[np.ndarray] = []
    reach: list[bool] = []
    for one in inspections:
        outlines = getattr(getattr(one.case, "annotation", None), "outlines", None)
        if one.mask is not None and one.share:
            mask = np.unpackbits(one.mask).reshape(MASK_SIDE, MASK_SIDE)
            if outlines is None:
                files.append(mask)
            else:
                side = _CORNER if outlines.size is None else _QUARTER
                reach.append(bool(mask[side:].any() or mask[:, side:].any()))
    boxes = sum(map(_is_box, files))
    if boxes >= max(_FEW_MASKS, _NEARLY_ALL * len(files)):
        text = f"{boxes:,} of {len(files):,} masks are upright boxes, and a network learns boxes"
        yield Problem("doubtful-outlines", text)
    if len(reach) >= _FEW_MASKS and not any(reach):
        text = f"{len(reach):,} images have all outlines at the top left; they may have been"
        yield Problem("doubtful-outlines", f"{text} enlarged")


def _is_box(mask: np.ndarray) -> bool:
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    height, width = int(rows.sum()), int(columns.sum())
    return min(height, width) >= _LEAST_BOX_SIDE and int(mask.sum()) == height * width


def location_of(case: Case) -> str:
    """Return the image file of a case, and its frame; or the key of a case without a file."""
    frame = getattr(case, "frame", 0)
    return f"{getattr(case, 'image', case.key)}{f' frame {frame}' if frame else ''}"


def _read(
    case: Case, problems: list[Problem]
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Return image and mask, each `None` if there is no usable one, and what codes the object."""
    if isinstance(case, CaseOfObjects):
        return _read_parts(case, problems)
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
        return image, None, ()
    named = zip(case.objects.names, read, strict=True)
    codes = tuple(f"{name}{OF_OBJECT}{code}" for name, (_, _, of) in named for code in of)
    join = partial(case.joined, masks)
    return image, _attempt(case, case.image, kind="overlap", problems=problems, call=join), codes


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
    codes = tuple(dict.fromkeys(code for _, of in read for code in of))
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
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the mask, `None` if it is unusable, and the values or colors that code the object."""
    values = _attempt(
        case, path, kind="unreadable", problems=problems, call=partial(case.read_mask_values, path)
    )
    if values is None:
        return None, ()
    decode = partial(case.coding.decode, values, str(path))
    mask = _attempt(case, path, kind="not-binary", problems=problems, call=decode)
    if mask is not None:
        problems += _doubts_of_levels(case, path, values)
    return mask, () if mask is None else case.coding.codes(values, mask)


def _doubts_of_levels(case: FileCase, path: Path, values: readers.MaskValues) -> Iterator[Problem]:
    """Yield a mask that looks like a picture, or has an area of a level that does not count."""
    if not (above := case.coding.above):
        return
    levels = values.brightness()
    text = ""
    if _is_picture(levels):
        text = "most of it is neither black nor white, as in a picture of the object"
    elif level := readers.level_left_out(levels, above):
        text = f"has areas of the gray level {level}, which the threshold of {above} leaves out"
    if text:
        yield Problem("doubtful-outlines", f"{path}: {text}", (str(path),), keys=(case.key,))


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
    mask = _attempt(case, case.image, kind="annotation", problems=problems, call=draw)
    if mask is not None and (stated := _other_area(case, mask)):
        found = f"its outlines cover {np.count_nonzero(mask):,} pixels, by their area {stated:,.0f}"
        text = f"{case.image}: {found}; some may lack a part"
        problems.append(Problem("doubtful-outlines", text, (str(case.image),), keys=(case.key,)))
    return image, mask


def _other_area(case: AnnotatedCase, mask: np.ndarray) -> float:
    """Return the sum of COCO's areas if it is neither about that of the mask nor of the boxes."""
    entries = () if case.annotation.faults else getattr(case.annotation, "annotations", ())
    with suppress(TypeError, ValueError):  # Of what somebody else has written there.
        stated = [float(one.get("area") or 0) for one in entries]
        boxes = sum(float(np.prod((one.get("bbox") or [0])[-2:])) for one in entries)
        drawn = float(np.count_nonzero(mask))
        low, high = sorted((drawn, boxes or drawn))
        close = low / _UNEQUAL - _FEW_PIXELS <= sum(stated) <= _UNEQUAL * high + _FEW_PIXELS
        if min(stated, default=0) > 1 and not close:
            return sum(stated)
    return 0.0


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
    if mask.any() and not resize_mask(mask, (_USUAL_SIDE, _USUAL_SIDE)).any():
        text = f"{location}: has no object left at {_USUAL_SIDE}×{_USUAL_SIDE} pixels, so give a "
        text += "larger --image-size where it is learned"
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

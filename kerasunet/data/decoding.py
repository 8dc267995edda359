"""Cases decoded to arrays of one size, which training and evaluation work on; resizing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np

from kerasunet.data import readers
from kerasunet.data.cache import PutRow, cached_rows
from kerasunet.data.cache_packs import is_ours
from kerasunet.data.cases import Case, Sample
from kerasunet.files import raise_all
from kerasunet.objects import OF_OBJECT, ONE_OBJECT, Objects, objects_of
from kerasunet.schema import typed

_ONE_CODE = {"1", "255", "#ffffff"}  # What programs write for the one object there is.
_MOST_VALUES, _MOST_CODES = 8, 5  # That a message lists.
_SHARE = (1, 1, np.dtype(np.float64).itemsize)  # The bytes of one number, kept like an image.
_THREADS, _SUBMITTED = 4, 4096  # So many cases wait for a thread at a time.
_Kinds = dict[str, dict[str, str]]
_Use = Callable[[int, Sample], None]
C = TypeVar("C", bound=Case)
T = TypeVar("T")


@dataclass(frozen=True)
class DecodedCases:
    """Cases at one size, row i of each array belonging to case i.

    Arrays that come from the cache are mapped from its files and are read-only. Images of another
    dtype than uint8 are scaled as `gray_levels` does, by the range of all, and stretched one by
    one; of masks of another dtype than bool, the one value beside 0 is the object.

    Attributes:
        keys: The keys, in order.
        groups: The groups, in order.
        images: Uint8, `(cases, height, width, channels)`, gray levels 0 to 255.
        masks: Bool, `(cases, height, width)`; of several objects uint8, as `Objects.encode` gives
            them.
        spacings: Millimeters per pixel after resizing, (row, column), `None` where unknown.
        objects: What the masks mark.

    Raises:
        ValueError: The arrays have other shapes, or values that are no gray levels or no masks; or
            there are more or fewer keys, groups or spacings than images, or others than stated.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    spacings: tuple[tuple[float, float] | None, ...]
    objects: Objects = ONE_OBJECT

    def __post_init__(self):
        for name in ("images", "masks"):
            given = getattr(self, name)
            if type(given) not in (np.ndarray, np.memmap) or given.dtype not in (np.uint8, bool):
                object.__setattr__(self, name, readers.as_array(given))
        if self.images.ndim != 4 or self.images.shape[:3] != self.masks.shape:
            raise ValueError(
                "images must have the shape (cases, height, width, channels) and masks (cases, "
                f"height, width), not {self.images.shape} and {self.masks.shape}"
            )
        if (channels := self.images.shape[3]) not in (1, 3):
            raise ValueError(f"images must have 1 channel (gray) or 3 (color), not {channels}")
        counts = [len(self.keys), len(self.groups), len(self.spacings)]
        if {*counts} != {len(self.images)}:
            raise ValueError(
                f"{len(self.images):,} images need as many keys, groups and spacings, not "
                f"{counts[0]:,}, {counts[1]:,} and {counts[2]:,}"
            )
        for spacing in self.spacings:
            _check_spacing(spacing)
        if strange := [name for name in (*self.keys, *self.groups) if not isinstance(name, str)]:
            raise ValueError(f"keys and groups must be text, not {strange[0]!r}")
        if self.images.dtype != np.uint8:
            scaled = readers.scaling_of(self.images)
            levels = [np.rint(scaled(image)).astype(np.uint8) for image in self.images]
            object.__setattr__(self, "images", np.reshape(levels, self.images.shape))
        if self.objects.several:
            self.objects.check(self.masks)
        elif self.masks.dtype != bool:
            object.__setattr__(self, "masks", readers.as_masks(self.masks))

    def __len__(self) -> int:
        return len(self.keys)

    def between(self, start: int, stop: int) -> DecodedCases:
        """Return the cases `start` to `stop - 1`; arrays are views, nothing is copied."""
        columns = {n: values[start:stop] for n, values in vars(self).items() if n != "objects"}
        return replace(self, **columns)

    def select(self, keys: Sequence[str]) -> DecodedCases:
        """Return the cases of these keys, in this order; arrays are copies.

        Raises:
            KeyError: There is no such case.
            ValueError: Several cases have the same key.
        """
        row_of = {key: row for row, key in enumerate(self.keys)}
        if len(row_of) < len(self):
            twice = next(key for key in row_of if self.keys.count(key) > 1)
            raise ValueError(f"several cases have the key {twice}; give each a key of its own")
        rows = [row_of[key] for key in keys]
        return DecodedCases(
            tuple(keys),
            tuple(self.groups[row] for row in rows),
            np.ascontiguousarray(self.images[rows]),
            masks=np.ascontiguousarray(self.masks[rows]),
            spacings=tuple(self.spacings[row] for row in rows),
            objects=self.objects,
        )


def decode(cases: Sequence[Case], size: tuple[int, int], channels: int = 1) -> DecodedCases:
    """Read cases and stretch them to one size, or take them from the cache.

    Args:
        cases: What to read.
        size: Height and width in pixels.
        channels: 1 turns color into luminance; 3 repeats gray.

    Returns:
        The decoded cases, in the given order.

    Raises:
        ValueError: Files could not be used, all of which are named; there are no images of so many
            channels or of such a size; or arrays of a caller's own cases may not mean the same.
    """
    size = _checked(size)
    if (channels := typed("channels", "int", channels)) not in (1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (color), not {channels!r}")

    def decode_rows(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, sample: Sample) -> None:
            put(
                index,
                resize_image(sample.image, size, channels),
                resize_objects(sample.mask, size, objects),
                spacing=resized_spacing(sample.spacing, sample.mask.shape, size),
            )

        load_each(cases, indices, keep, found=found)

    objects = objects_of(cases)
    found: _Kinds = {}
    rows = cached_rows(cases, (*size, channels), decode_rows)
    if found:
        readers.require_alike(found)
    return DecodedCases(
        tuple(case.key for case in cases),
        tuple(case.group for case in cases),
        rows.images,
        masks=rows.masks if objects.several else rows.masks.view(bool),
        spacings=rows.spacings,
        objects=objects,
    )


def foreground_shares(cases: Sequence[Case]) -> dict[str, float]:
    """Measure the objects of cases, to stratify a split by size, or take the sizes from the cache.

    Args:
        cases: What to read.

    Returns:
        By key, the share of the image that the mask covers, 0 to 1.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """

    def measure(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, sample: Sample) -> None:
            share = np.array([(sample.mask > 0).mean()])
            put(index, share.view(np.uint8).reshape(_SHARE), np.zeros(_SHARE[:2], bool))

        load_each(cases, indices, keep)

    shares = np.frombuffer(cached_rows(cases, _SHARE, measure).images.tobytes())
    return dict(zip((case.key for case in cases), shares.tolist(), strict=True))


def resize_image(image: np.ndarray, size: tuple[int, int], channels: int = 1) -> np.ndarray:
    """Stretch an image to a size: by area along an axis that shrinks, bilinearly where it grows.

    Args:
        image: `(height, width)` or `(height, width, 3)`, 0 to 255.
        size: Height and width in pixels.
        channels: 1 or 3.

    Returns:
        Uint8, `(height, width, channels)`, 0 to 255.

    Raises:
        ValueError: It has another shape, or values out of that range; `gray_levels` scales them.
    """
    is_plain = type(image) is np.ndarray and image.ndim == 2 and image.dtype == np.float32
    if not (is_plain and image.size and 0 <= image.min() <= image.max() <= 255):
        readers.require_levels(image)
    image, size = image.astype(np.float32, copy=False), _checked(size)
    stretched = _stretch(to_gray(image) if channels == 1 else image, size, cv2.INTER_LINEAR)
    resized = np.clip(np.rint(stretched), 0, 255).astype(np.uint8).reshape(*size, -1)
    return np.repeat(resized, 3, axis=2) if resized.shape[2] < channels else resized


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch a mask to a size, (height, width); a pixel is set if half of it was.

    Raises:
        ValueError: It has another shape, or is not bool and holds more than 0 and one value.
    """
    mask = mask if type(mask) is np.ndarray and mask.dtype == bool else readers.as_masks(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask has the shape (height, width), not {mask.shape}")
    return _stretch(mask.astype(np.float32), _checked(size), cv2.INTER_AREA) >= 0.5


def resize_objects(mask: np.ndarray, size: tuple[int, int], objects: Objects) -> np.ndarray:
    """Stretch the mask of a data set's objects to a size, `(height, width)`.

    A pixel is set if half of it was. Of several objects that exclude each other, all together have
    to cover that half; the pixel is of the one that covers most of it.
    """
    if not objects.several:
        return resize_mask(mask, size)
    planes = objects.planes(mask)
    if objects.overlapping:
        return objects.encode([resize_mask(plane, size) for plane in planes])
    shares = [_stretch(plane.astype(np.float32), size, cv2.INTER_AREA) for plane in planes]
    largest = np.argmax(shares, axis=0).astype(np.uint8) + np.uint8(1)
    return np.where(resize_mask(mask > 0, size), largest, np.uint8(0))


def resized_spacing(
    spacing: tuple[float, float] | None, old: tuple[int, int], new: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the spacing, (row, column) in mm, of an image that was resized from `old` to `new`."""
    if spacing is None:
        return None
    return spacing[0] * old[0] / new[0], spacing[1] * old[1] / new[1]


def to_gray(image: np.ndarray) -> np.ndarray:
    """Turn an RGB image, float32 `(height, width, 3)`, into luminance; gray passes through."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    has_order = isinstance(size, Iterable) and not isinstance(size, Set)
    sides = tuple(size) if has_order else ()
    if len(sides) != 2 or min(sides := tuple(typed("size", "int", side) for side in sides)) < 1:
        raise ValueError(f"size must be (height, width) in pixels, not {size!r}")
    return sides[0], sides[1]


def _stretch(pixels: np.ndarray, size: tuple[int, int], growing: int) -> np.ndarray:
    """Shrink first: OpenCV does not average by area where one axis shrinks and the other grows."""
    if not pixels.size:
        raise ValueError(f"there are no pixels to resize: {pixels.shape}")
    smaller = min(size[0], pixels.shape[0]), min(size[1], pixels.shape[1])
    if smaller != pixels.shape[:2]:
        pixels = cv2.resize(pixels, smaller[::-1], interpolation=cv2.INTER_AREA)
    if size != smaller:
        pixels = cv2.resize(pixels, size[::-1], interpolation=growing)
    return pixels


def load_each(
    cases: Sequence[Case], indices: Sequence[int], use: _Use, *, found: _Kinds | None = None
) -> None:
    """Load cases as `use_each` reads them; `found` gets what arrays of a caller are, by key."""
    use_each(cases, indices, partial(_loaded, found={} if found is None else found), use=use)


def _loaded(case: Case, found: _Kinds) -> Sample:
    """Load a case; arrays of a caller's own class are read as `DecodedCases` reads them."""
    image, mask, spacing = sample = case.load()
    if is_ours(case):
        return sample
    try:
        image, mask = readers.as_array(image), readers.as_array(mask)
        if image.shape[2:] not in ((), (3,)) or image.shape[:2] != mask.shape:
            raise ValueError(f"image {image.shape} and mask {mask.shape} are of unlike shapes")
        _check_spacing(spacing)
        levels, objects = readers.gray_levels(image), objects_of((case,))
        drawn = _labels(mask, objects) if objects.several else readers.as_masks(mask)
        value = "" if objects.several or not drawn.any() else f"{mask.max():g}"
        found[case.key] = {
            f"{image.dtype} images with values of": readers.kind_of_range(image),
            "objects of the value": "1" if value in _ONE_CODE else value,
        }
        return Sample(levels, drawn, spacing)
    except ValueError as error:
        raise ValueError(f"{case.key}: {error}") from error


def _labels(mask: np.ndarray, objects: Objects) -> np.ndarray:
    """Turn numbers of any dtype into the labels that they equal; raise if they are none."""
    with np.errstate(invalid="ignore"):
        labels = mask.astype(np.uint8)
    objects.check(labels if mask.dtype != bool and np.array_equal(labels, mask) else mask)
    return labels


def _check_spacing(spacing: Any) -> None:
    sides = np.asarray((1, 1) if spacing is None else spacing)
    is_pair = sides.shape == (2,) and sides.dtype.kind in "iuf"
    if not is_pair or not all(0 < side < np.inf for side in sides):
        raise ValueError(f"spacing must be (row, column) in mm, or None, not {spacing!r}")


def use_each(
    cases: Sequence[C],
    indices: Sequence[int],
    read: Callable[[C], T],
    *,
    use: Callable[[int, T], None],
) -> None:
    """Read something of cases in threads and hand it on; raise what cannot be read at the end."""
    problems: dict[int, str] = {}

    def load_one(index: int) -> None:
        try:
            found = read(cases[index])
        except (OSError, ValueError) as error:
            problems[index] = str(error)
        else:
            use(index, found)

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(indices), _SUBMITTED):
            list(pool.map(load_one, indices[start : start + _SUBMITTED]))
    heading = f"{len(problems)} of {len(cases)} cases cannot be used:"
    raise_all([problems[index] for index in sorted(problems)], heading)


def content_digest(parts: Iterable[DecodedCases]) -> str:
    """Return the SHA-256 of pixels and spacing, which changes when a mask is redrawn."""
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.images, part.masks):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        digest.update(repr(part.spacings).encode())
        if part.objects.several:
            digest.update(str(part.objects).encode())
    return digest.hexdigest()


def mixed_codes(codes: Iterable[tuple[str, str]]) -> list[str]:
    """Say of which objects the values or colors differ; empty if of none.

    Args:
        codes: What codes an object in the mask files of an image, and the image; of several
            objects, after the name of one and `OF_OBJECT`.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for code, image in codes:
        name, between, value = code.rpartition(OF_OBJECT)
        found.setdefault(name + between, {}).setdefault(value, []).append(image)
    return [name + text for name, of in found.items() if (text := _mixed(of))]


def _mixed(found: Mapping[str, Sequence[str]]) -> str:
    if len(found) < 2 or found.keys() <= _ONE_CODE:
        return ""
    parts = [f"{code} in {len(names):,} (such as {names[0]})" for code, names in found.items()]
    more = f", and {len(parts) - _MOST_CODES} more" if len(parts) > _MOST_CODES else ""
    codes = [code.split()[0] for code in found]
    unite = f"--objects NAME={','.join(codes[:_MOST_CODES])}{',…' if more else ''} unites them"
    if all(map(str.isdecimal, codes)):
        unite += ", and so does --mask-threshold 0"
    return (
        f"the object is {', '.join(parts[:_MOST_CODES])}{more}: one value or color in each mask, "
        f"but not the same; if they are different objects, --objects NAME={codes[0]} takes one; "
        f"{unite}"
    )


def misread_masks(cases: Sequence[Case]) -> str:
    """Explain why no mask of cases has an object as it is read; empty if all files are black."""
    for path, case in ((m, one) for one in cases for m in getattr(one, "masks", ())):
        image, frame = getattr(case, "image", None), getattr(case, "frame", 0)
        values = np.unique(readers.read_mask_values(path, frame=frame, image=image))
        if values.any():
            listed = ", ".join(map(str, values[:_MOST_VALUES]))
            return (
                f"none of {len(cases):,} masks has an object as they are read here, though {path} "
                f"has the values {listed}: these masks are coded in another way, or their objects "
                "are smaller than a pixel at this image size"
            )
    return ""

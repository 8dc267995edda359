"""Gray levels of images, and areas of one level in masks.

What is in files and arrays becomes levels of 0 to 255. Areas of one level in masks tell whether a
threshold is a good one, and whether an edge is smooth. Where a mask has an area of a level near the
threshold, compression decides which of its pixels are object. Where it has one far below, that may
be another object. Smooth edges have neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

from kerasunet.data.readers.source import Unusable, check_finite

_OUTER_PERCENTILES = (0.1, 99.9)
_PLAIN = ("1", "L", "I", "F", "RGB")  # Modes of Pillow whose numbers are gray levels.
_SHARES, _LEVELS, _OTHERS = "0 to 1", "0 to 255", "other ranges"

_OVERSHOOT = 64  # Levels by which interpolated ones may leave their range.
_MOST_EXACT = 2**53  # Larger whole numbers have no float64 each.

_FLAT, _BARELY, _NEAR, _AROUND = 12, 8, 16, 48
_DARK, _WHITE = 32, 224
_SQUARE = np.ones((3, 3), np.uint8)
_FEW_LEVELS, _MOST_VALUES = 4, 8
_LEAST_PIXELS, _LEAST_SHARE, _MOST_OF_PEAK, _EACH_SIDE, _MOST_OF_RING = 16, 0.05, 0.6, 0.01, 0.5


def as_array(values: Any) -> np.ndarray:
    """Turn tensors, lists and Pillow's pictures into an array, and matrices into a plain one.

    Raises:
        ValueError: Pillow's picture has numbers that are no gray levels, such as of a palette; or
            pixels are masked; or NumPy makes no array of it.
    """
    for one in values if isinstance(values, list | tuple) else (values,):
        mode = getattr(one, "mode", None)  # Of Pillow; tensors have a method of this name.
        if isinstance(mode, str) and mode.split(";")[0] not in _PLAIN:
            raise ValueError(
                f"a picture of Pillow in mode {mode}, whose numbers are no gray levels; convert it "
                "to L or RGB, or give the numbers of labels as an array"
            )
        if np.ma.is_masked(one):
            raise ValueError(
                "the arrays have masked pixels, under which something may be; fill them"
            )
    try:
        found = np.asanyarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"NumPy makes no array of this {type(values).__name__} ({error}); give arrays of one "
            "shape, of float32 or whole numbers"
        ) from error
    return np.asarray(found) if isinstance(found, np.matrix | np.ma.MaskedArray) else found


def gray_levels(pixels: Any) -> np.ndarray:
    """Scale an image in memory to gray levels by its dtype and its range.

    Numbers within 0 to 255 are gray levels already. But floats of 0 to 1 are shares of white, as
    scikit-image and most networks have them. All others, such as 16 bits, Hounsfield units and
    standardized values, are stretched from their 0.1th to their 99.9th percentile, as in a file.

    Args:
        pixels: `(height, width)` or `(height, width, channels)`; bool, integer or float; or what
            becomes such an array.

    Returns:
        Float32 of the same shape, 0 to 255.

    Raises:
        ValueError: It holds other things than numbers, NaN or infinite values, masked pixels, or
            nothing.
    """
    if np.ma.is_masked(pixels):
        raise ValueError("an image has masked pixels, under which something may be; fill them")
    pixels = as_array(pixels)
    if not pixels.size:
        raise ValueError(f"an image has no pixels: shape {pixels.shape}")
    return scaling_of(pixels)(pixels)


def scaling_of(pixels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes gray levels of an image, by the dtype and the range of one or of many."""
    if pixels.dtype.kind not in "buif":
        raise ValueError(
            f"an image must hold numbers, gray levels 0 to 255, not {pixels.dtype}; convert them "
            "to uint8 or float32"
        )
    if pixels.dtype in (np.uint8, bool) or not pixels.size:
        return to_levels
    if not max(abs(float(pixels.min())), abs(float(pixels.max()))) <= np.finfo(np.float32).max:
        raise ValueError("an image holds NaN or infinite values; replace them with numbers")
    kind = kind_of_range(pixels)
    if kind == _OTHERS:
        return to_levels
    white = np.float32(255 if kind == _SHARES else 1)
    return lambda image: image.astype(np.float32) * white


def require_levels(image: np.ndarray) -> None:
    """Refuse what is no image of gray levels, which `gray_levels` would scale.

    Raises:
        ValueError: It has another shape, holds other things than numbers, or values that are not
            within 0 to 255, as far as they are not floats that interpolation may have led there.
    """
    is_image = image.shape[2:] in ((), (3,)) and image.dtype.kind in "uif"
    if not is_image or np.ma.is_masked(image):
        raise ValueError(f"images are gray or RGB of 0 to 255, not {image.dtype} {image.shape}")
    if image.dtype == np.uint8 or not image.size:
        return
    low, high = float(image.min()), float(image.max())
    beyond = _OVERSHOOT if image.dtype.kind == "f" else 0
    if not -beyond <= low <= high <= 255 + beyond:
        raise ValueError(
            f"images are gray or RGB of 0 to 255, not {image.dtype} of {low:g} to {high:g}; "
            "kerasunet.data.gray_levels scales them"
        )


def kind_of_range(pixels: np.ndarray) -> str:
    """Return the values by which an image is scaled; empty if it is black, or bool or uint8."""
    if pixels.dtype in (np.uint8, bool) or not pixels.any():
        return ""
    low, high = float(pixels.min()), float(pixels.max())
    are_shares = pixels.dtype.kind == "f" and high <= 2  # Interpolation may exceed 1.
    if low < 0 or high > 255 or (are_shares and high > 1):
        return _OTHERS
    return _SHARES if are_shares else _LEVELS


def require_alike(found: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse arrays that are scaled, or mark their objects, in different ways.

    Args:
        found: By the name of each array, what it is by topic; empty where it may be anything.
    """
    examples: dict[str, dict[str, str]] = {}
    for name in sorted(found):
        for topic, kind in found[name].items():
            if kind:
                examples.setdefault(topic, {}).setdefault(kind, name)
    for topic, kinds in examples.items():
        listed = [f"{kind} (such as {name})" for kind, name in kinds.items()]
        if len(listed) > 1:
            raise ValueError(
                f"there are {topic} {listed[0]} and {listed[1]}, which may not mean the same; give "
                "gray levels as uint8, and masks as bool"
            )


def as_masks(values: np.ndarray) -> np.ndarray:
    """Turn masks of 0 and one other value into bool.

    Raises:
        ValueError: They hold other values, or no numbers, or pixels are masked.
    """
    values = as_array(values)
    if values.dtype == bool:
        return values
    if values.dtype.kind not in "buif":
        raise ValueError(
            f"masks must be bool, or have 0 and one other value, not {values.dtype}; convert them"
        )
    found = np.unique(values)
    if not (found >= 0).all() or len(found) > 2 or not (len(found) < 2 or found[0] == 0):
        listed = ", ".join(f"{value:g}" for value in found[:_MOST_VALUES])
        raise ValueError(f"masks must be bool, or have 0 and one other value, not {listed}")
    return values > 0


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """Map pixel values to gray levels: 8 bits as they are, others by the image's own range.

    Args:
        pixels: `(height, width)` or `(height, width, 3)`, bool, integer or float.

    Returns:
        Float32 of the same shape, 0 to 255.

    Raises:
        Unusable: There are NaN or infinite values.
    """
    if pixels.dtype == bool:
        return pixels * np.float32(255)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32)
    return stretch(pixels, *own_range(pixels))


def own_range(pixels: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white in an image without a stated window.

    They are the 0.1th and 99.9th percentile: the few dead pixels, burnt-in markers and pieces of
    metal of a radiograph would otherwise squeeze the anatomy into a fraction of the range. Where
    less than that share of the pixels differs from the rest, they are the smallest and largest.
    """
    low, high = np.percentile(pixels, _OUTER_PERCENTILES, method="nearest").tolist()
    return (low, high) if low < high else (pixels.min().item(), pixels.max().item())


def stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map values up to `low` to 0, from `high` on to 255, linearly in between.

    Where both are one value, only what is above it is white: a constant image becomes black.
    """
    check_finite(pixels)
    if pixels.dtype.kind in "iu" and max(abs(low), abs(high)) > _MOST_EXACT:
        raise Unusable("whole numbers that are too large for floating point; subtract the smallest")
    if not low < high:
        return np.where(pixels > low, np.float32(255), np.float32(0))
    scale = 255 / (high - low)
    if not 0 < scale < np.inf:
        raise Unusable(
            "the range of its values is too large or too small for floating point; rescale them"
        )
    exact = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    levels = np.clip(pixels.astype(exact), low, high)
    levels -= low
    levels *= scale
    return np.minimum(levels, 255).astype(np.float32, copy=False)  # Products are rounded, too.


def require_clear_cut(levels: np.ndarray, above: int) -> None:
    """Refuse a threshold that is as bright as an area, or as the brightest of smooth edges.

    Args:
        levels: Gray levels, `(height, width)`. Those of more than 8 bits are not judged by areas,
            but a threshold of 8 bits for them is refused.
        above: The level above which a pixel is object.

    Raises:
        ValueError: There is such an area; the message names its level and a threshold.
    """
    top = int(levels.max())
    if top == 1 < above and not cv2.erode((levels > 0).astype(np.uint8), _SQUARE).any():
        raise ValueError(
            f"0 and 1, but 1 nowhere in an area, so it may be noise, below the threshold of "
            f"{above}; save an object as 255, and an empty mask as 0"
        )
    is_soft = len(np.unique(levels)) > _FEW_LEVELS
    if is_soft and 0 < above <= 255 < top:
        raise ValueError(
            f"values up to {top:,}, of which {above} is nearly nothing; give a threshold in their "
            f"range, such as --mask-threshold {top // 2}"
        )
    if not _DARK <= above < min(top, _WHITE) or top > 255:
        return
    if is_soft and top <= above + _BARELY:
        raise ValueError(_through(top, above))
    flat = _flat(levels)
    near = flat[np.abs(flat - (above + 0.5)) < _NEAR]
    sides = np.count_nonzero(near > above), np.count_nonzero(near <= above)
    seen = np.count_nonzero(flat > above - _NEAR)
    if (
        len(near) >= max(_LEAST_PIXELS, _LEAST_SHARE * seen)
        and _is_peak(flat, above)
        and min(sides) >= _EACH_SIDE * len(near)
    ):
        raise ValueError(_through(int(np.median(near)), above))


def level_left_out(levels: np.ndarray, above: int) -> int | None:
    """Return the level of an area that is far below a threshold, but not black; or `None`.

    Args:
        levels: Gray levels, `(height, width)`; those of more than 8 bits are not judged.
        above: The level above which a pixel is object.
    """
    if levels.max() > 255 or above <= _DARK + _NEAR:
        return None
    flat = _flat(levels)
    if not (flat < _DARK).any():  # What is darkest is the background.
        return None
    counts = np.bincount(flat, minlength=256)
    counts[:_DARK] = counts[above + 1 :] = 0
    level = int(counts.argmax())
    area = np.count_nonzero(np.abs(flat - level) < _NEAR)
    object_area = np.count_nonzero(flat > above)
    is_large = area >= max(_LEAST_PIXELS, _LEAST_SHARE * object_area)
    return level if is_large and _is_peak(flat, level) else None


def has_smooth_edge(values: np.ndarray, chosen: np.ndarray) -> bool:
    """Return whether chosen pixels are mostly surrounded by values of which there is no area.

    Args:
        values: Numbers of labels or colors, `(height, width)`.
        chosen: Whether pixels have a chosen value; bool of the same shape.
    """
    ring = (cv2.dilate(chosen.astype(np.uint8), _SQUARE) > 0) & ~chosen
    numbers = values.astype(np.float64)  # Exact, and known to OpenCV.
    areas = np.unique(values[cv2.dilate(numbers, _SQUARE) == cv2.erode(numbers, _SQUARE)])
    between = ~np.isin(values, areas)
    is_most = np.count_nonzero(between & ring) > _MOST_OF_RING * np.count_nonzero(ring)
    return bool(is_most) and len(np.unique(values[between])) >= _FEW_LEVELS


def _flat(levels: np.ndarray) -> np.ndarray:
    """Return the levels, int, of the pixels whose neighbors have nearly the same."""
    gray = np.ascontiguousarray(levels.astype(np.uint8))
    spread = cv2.dilate(gray, _SQUARE) - cv2.erode(gray, _SQUARE)
    return gray[spread <= _FLAT].astype(int)


def _is_peak(flat: np.ndarray, level: int) -> bool:
    """Return whether most levels around one are near it; in a long ramp they are not."""
    away = np.abs(flat - (level + 0.5))
    return bool((away < _NEAR).sum() >= _MOST_OF_PEAK * (away < _AROUND).sum())


def _through(level: int, above: int) -> str:
    return (
        f"areas of gray levels of about {level}, which the threshold of {above} cuts through; to "
        f"take them whole, give --mask-threshold {level // 2}"
    )

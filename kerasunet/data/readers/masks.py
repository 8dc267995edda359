"""What a mask file stores, values or colors, and which of them are the object.

Colors are judged by what is seen: black and what is transparent is background, the one other color
is the object. A mask that does not say by itself which color or value is the object is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from kerasunet.data.readers.levels import has_smooth_edge, require_clear_cut
from kerasunet.data.readers.source import Unusable, check_finite, without_equal_channels

_OPAQUE, _TRANSPARENT = 255, "transparent"
_VOID_NUMBER, _VOID_COLOR, _BINARY = 255, "#e0e0c0", {1, 255}
_LEAST_LOSSY = 32
"""Gray levels below which lossy compression changes numbers of labels instead of their edges."""
_FEW, _MOST_LISTED, _MOST_SMOOTHED, _MOST_LABELS = 4, 5, 16, 100
_CUT_OUT = "a picture with transparent parts, no mask; paint the object white and all else black"
_LOST_EDGE = "as after smoothing, so a choice would lose the edge; export without smoothing"
_OTHER_HUE, _SHARE_OF_HUES, _WHOLE, _LARGEST = 0.5, 0.02, 1e-4, 2**53


class MaskValues(NamedTuple):
    """What a mask file stores.

    Attributes:
        values: Unsigned integers, `(height, width)`: gray levels, numbers of labels, or rows of the
            palette.
        palette: Uint8, `(colors, 4)`, red, green, blue and opacity of each value; `None` where
            there are no colors.
        numbered: Whether the values are numbers of the file itself, which may be asked for.
        lossy: Whether the compression changed values.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    numbered: bool = True
    lossy: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.values.shape

    def numbers(self) -> np.ndarray:
        """Return the values; of colors without numbers the brightest channel, over black."""
        return self.values if self.numbered else self.brightness()

    def brightness(self) -> np.ndarray:
        """Return gray levels; of colors the brightest channel over black, or else the opacity.

        The opacity counts where all that is visible has one color, such as black.
        """
        if self.palette is None:
            return self.values
        used = self.palette[np.unique(self.values)]
        visible = used[used[:, 3] > 0, :3]
        if np.ptp(used[:, 3]) and len(visible) and not np.ptp(visible, axis=0).any():
            return self.palette[:, 3][self.values]
        levels = self.palette[:, :3].max(axis=1) * (self.palette[:, 3] / np.float32(_OPAQUE))
        return np.rint(levels).astype(np.uint8)[self.values]

    def name_of(self, inside: np.ndarray) -> str:
        """Return the value or color of the first of some pixels, bool, `(height, width)`."""
        value = int(self.values[inside][0])
        return _name(self, value, self.colors())

    def colors(self) -> dict[int, str]:
        """Return the color of each value that occurs, such as `"#ff0000"` or `"transparent"`."""
        used = np.unique(self.values).tolist()
        if self.palette is None:
            return {value: f"#{value:02x}{value:02x}{value:02x}" for value in used if value < 256}
        return {value: _color(self.palette[value]) for value in used}


def _color(entry: np.ndarray) -> str:
    return f"#{bytes(entry[:3]).hex()}" if entry[3] else _TRANSPARENT


def object_pixels(
    mask: MaskValues,
    *,
    above: int | None = None,
    wanted: Collection[int | str] = (),
    listed: Collection[int | str] = (),
    void: bool = False,
    any_color: bool = False,
) -> np.ndarray:
    """Decide which pixels are the object.

    Args:
        mask: What the file stores.
        above: The gray level above which a pixel is object; `None`: the mask must be binary.
        wanted: Values and colors (`"#ff0000"`) that are the object.
        listed: All values and colors that there may be, by a table of the set.
        void: Whether 255 beside classes, or its color, is an outline that is no object.
        any_color: Whether everything above the level is object, whatever its hue.

    Returns:
        Bool, `(height, width)`.

    Raises:
        ValueError: The mask does not say, or has what the table does not list.
    """
    if mask.lossy and mask.palette is None and 0 < mask.values.max() < _LEAST_LOSSY:
        raise ValueError(
            f"values up to {mask.values.max()} in a file that is compressed as JPEG is, which "
            "changes them; export labels as PNG"
        )
    if mask.lossy and above is None and not mask.brightness().any():
        raise ValueError(
            "empty, but compressed as JPEG is, which may have erased an object of the value 1; if "
            "it is meant to be empty, give --mask-threshold 127, else export it as PNG"
        )
    if listed:
        _require_listed(mask, listed, void)
    if wanted:
        return _chosen(mask, wanted, listed)
    if above is not None:
        return _bright(mask, above, any_color)
    return _only_object(mask, void)


def _chosen(
    mask: MaskValues, wanted: Collection[int | str], listed: Collection[int | str]
) -> np.ndarray:
    if mask.lossy:
        raise ValueError(
            "compressed as a JPEG file is, which changes values and colors, so none of them can be "
            "chosen; export labels as PNG"
        )
    numbers = [value for value in wanted if isinstance(value, int)]
    only = {*np.unique(mask.values).tolist()} - {0}
    if not listed and only in ({1}, {_OPAQUE}) and {*numbers} & _BINARY == _BINARY - only:
        raise ValueError(
            f"its only value is {only.pop()}, as in binary masks, which are 0 and 1 or 0 and 255; "
            "choose both if they are the same object: --objects NAME=1,255"
        )
    if numbers and not mask.numbered:
        raise ValueError(
            f"a mask in colors, so value {numbers[0]} is in none of its pixels; choose by color: "
            f"{_listing(mask)}"
        )
    chosen = np.isin(mask.values, [*numbers, *(v for v, c in mask.colors().items() if c in wanted)])
    count = len(np.unique(mask.values))
    if count > _MOST_LABELS or (count > _FEW and has_smooth_edge(mask.values, chosen)):
        raise ValueError(f"has {count:,} different {_what(mask)}, {_LOST_EDGE}")
    return chosen


def _require_listed(mask: MaskValues, listed: Collection[int | str], void: bool) -> None:
    colors = mask.colors()
    present = np.unique(mask.values).tolist()
    known = {value for value in present if mask.numbered and value in listed}
    others = [v for v in present if v not in known and colors.get(v) not in listed]
    if void:
        others = [value for value in others if not _is_void(mask, value, present)]
    if others:
        names = ", ".join(_name(mask, value, colors) for value in others[:_MOST_LISTED])
        fault = f"has {names}, which the table of classes does not list"
        raise ValueError(f"{fault}, or lists to be ignored; correct the mask or the table")


def _is_void(mask: MaskValues, value: int, present: Collection[int]) -> bool:
    """Return whether a value is the outline between objects; 255 is only beside other classes."""
    if mask.palette is not None and _color(mask.palette[value]) == _VOID_COLOR:
        return True
    return mask.numbered and value == _VOID_NUMBER and len({*present} - {0, _VOID_NUMBER}) > 0


def _bright(mask: MaskValues, above: int, any_color: bool) -> np.ndarray:
    """Cut at a gray level; a mask of 0 and 1 has nothing to cut."""
    if above and _is_cut_out(mask):
        raise ValueError(_CUT_OUT)
    levels = mask.brightness()
    bright = levels > (above if levels.max() > 1 or mask.lossy else 0)
    if not (bright.any() or mask.lossy) and levels.any() and _is_binary(levels):
        raise ValueError(
            f"0 and {levels.max()}, none of it above the threshold of {above}; give a lower one"
        )
    require_clear_cut(levels, above)
    if mask.palette is not None and bright.any() and not any_color:
        _require_one_hue(mask, bright)
    return bright


def _is_cut_out(mask: MaskValues) -> bool:
    """Return whether what is visible beside full transparency has many colors, as a picture has."""
    used = mask.palette[np.unique(mask.values)] if mask.palette is not None else np.zeros((0, 4))
    return {*used[:, 3].tolist()} == {0, _OPAQUE} and not mask.lossy and len(used) > _MOST_SMOOTHED


def _require_one_hue(mask: MaskValues, bright: np.ndarray) -> None:
    """Refuse bright pixels of several hues: one is another object, or a colored background."""
    assert mask.palette is not None
    colors = mask.palette[mask.values[bright]].astype(np.float32)[:, :3]
    hues = colors / np.maximum(colors.max(axis=1, keepdims=True), 1)
    other = np.abs(hues - np.quantile(hues, 0.5, axis=0, method="lower")).max(axis=1) > _OTHER_HUE
    if other.mean() > _SHARE_OF_HUES or (bright.all() and _is_chromatic(mask)):
        raise ValueError(
            f"above the threshold, {_listing(mask)}: colors of more than one object, or a colored "
            "background; export it without smoothing, then choose a color"
        )


def _is_chromatic(mask: MaskValues) -> bool:
    assert mask.palette is not None
    return bool(np.ptp(mask.palette[mask.values.flat[0], :3].astype(int)))


def _only_object(mask: MaskValues, void: bool) -> np.ndarray:
    """Return the pixels of the one value or color that is not background."""
    if mask.palette is None and _is_binary(mask.values):
        return mask.values > 0
    present = np.unique(mask.values).tolist()
    background = _background(mask, present)
    others = [value for value in present if value not in background]
    if void:
        others = [value for value in others if not _is_void(mask, value, others)]
    if len({_entry(mask, value) for value in others}) > 1:
        raise ValueError(_ambiguity(mask, others, len(present)))
    if others and not background and not void and mask.palette is not None and _is_chromatic(mask):
        raise ValueError(
            f"{_listing(mask)}: one color everywhere, which may be object or background; choose "
            "with --objects NAME=COLOR, the color of the object"
        )
    return np.isin(mask.values, others)


def _is_binary(values: np.ndarray) -> bool:
    above = values[values > 0]
    return not above.size or bool(above.min() == above.max())


def _background(mask: MaskValues, present: list[int]) -> set[int]:
    """Return the values that are background: what is transparent, or if nothing is, black."""
    if mask.palette is None:
        return {0} & set(present)
    transparent = {value for value in present if not mask.palette[value, 3]}
    return transparent or {value for value in present if not mask.palette[value, :3].any()}


def _entry(mask: MaskValues, value: int) -> int | bytes:
    return value if mask.palette is None else mask.palette[value].tobytes()


def _ambiguity(mask: MaskValues, others: list[int], count: int) -> str:
    """Say what a mask has instead of one object, and the remedy."""
    if _is_cut_out(mask):
        return _CUT_OUT
    found = f"not a binary mask, it has {count:,} different {_what(mask)}"
    level = 127 if mask.palette is not None else mask.values.max() // 2
    cut = f"cut it at a gray level: --mask-threshold {level:.0f}"
    is_numbered = not mask.lossy and mask.palette is None and others == [*range(1, count)]
    if mask.lossy or (count > _MOST_SMOOTHED and not is_numbered):
        without = "as after smoothing or JPEG compression; export without (0 and one other value)"
        of_objects = "" if mask.lossy else "; if they number objects, --mask-threshold 0 takes all"
        return f"{found}, {without}, or {cut}{of_objects}"
    example = _name(mask, _likeliest(mask, others, count), mask.colors()).split()[0]
    choose = f"say which are the object: --objects NAME={example}"
    smoothed = f", or if it was smoothed, {cut}" if count > _FEW else ""
    more = ", or if all are, as where each has its number, --mask-threshold 0"
    return f"{found} ({_listing(mask)}); {choose}{more if is_numbered else smoothed}"


def _what(mask: MaskValues) -> str:
    return "values" if mask.palette is None else "colors"


def _likeliest(mask: MaskValues, others: list[int], count: int) -> int:
    """Return the likeliest value of an object: a frequent one, but not a colored background."""
    amounts = {value: int(np.count_nonzero(mask.values == value)) for value in others}
    pick = min if len(others) == count or max(amounts.values()) * 2 > mask.values.size else max
    return pick(others, key=amounts.__getitem__)


def _listing(mask: MaskValues) -> str:
    """Name the values or colors, with their shares of the pixels, the most frequent first."""
    values, counts = np.unique(mask.values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_LISTED]
    colors = mask.colors()
    named = [
        f"{_name(mask, int(values[index]), colors)} {counts[index] / mask.values.size:.1%}"
        for index in order
    ]
    return ", ".join([*named, "…"] if len(values) > _MOST_LISTED else named)


def _name(mask: MaskValues, value: int, colors: dict[int, str]) -> str:
    if mask.palette is None:
        return str(value)
    opacity = mask.palette[value, 3]
    return colors[value] if opacity in (0, _OPAQUE) else f"{colors[value]} at opacity {opacity}"


def stored(pixels: np.ndarray, *, lossy: bool = False) -> MaskValues:
    """Sort pixels into values and, where they have colors, a palette.

    Args:
        pixels: `(height, width)`, or with channels, `(height, width, 2 to 4)`; the last of two and
            of four is the opacity, which says nothing where it is the same everywhere.
        lossy: Whether the compression changed values.

    Raises:
        Unusable: There are negative, fractional or deep colored values.
    """
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and not np.ptp(pixels[..., -1]):
        pixels = _without_opacity(pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = without_equal_channels(pixels)
    if pixels.ndim == 2:
        return MaskValues(to_mask_values(pixels), lossy=lossy)
    packed = _rgba(_eight_bits(pixels)).view(np.uint32)[..., 0]
    colors, values = np.unique(packed, return_inverse=True)
    palette = colors.view(np.uint8).reshape(-1, 4)
    smallest = np.min_scalar_type(len(colors))
    return MaskValues(values.reshape(packed.shape).astype(smallest), palette, False, lossy=lossy)


def _without_opacity(pixels: np.ndarray) -> np.ndarray:
    """Drop an opacity that is the same everywhere; refuse it if it hides what is not black."""
    color = pixels[..., :-1]
    if not pixels[..., -1].any() and color.any() and not np.ptp(color, axis=(0, 1)).any():
        raise Unusable(
            "every pixel is transparent, and below that has one color, so it may be empty or full; "
            "save it without transparency"
        )
    return color[..., 0] if color.shape[2] == 1 else color


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16 or (pixels % 257).any():
        raise Unusable("a mask in colors of more than 8 bits; save it with 8 bits per channel")
    return (pixels // 257).astype(np.uint8)


def _rgba(pixels: np.ndarray) -> np.ndarray:
    """Return `(height, width, 4)`, contiguous; what is transparent has no color."""
    rgba = np.full((*pixels.shape[:2], 4), 255, np.uint8)
    if pixels.shape[2] in (2, 4):
        rgba[..., 3] = pixels[..., -1]
        pixels = pixels[..., :-1]
    rgba[..., :3] = pixels
    rgba[rgba[..., 3] == 0] = 0
    return rgba


def indexed(values: np.ndarray, palette: np.ndarray) -> MaskValues:
    """Judge numbers by their colors; those of an opaque gray palette stand for its gray levels.

    Args:
        values: Unsigned integers, `(height, width)`.
        palette: Uint8, `(colors, 4)`, as in `MaskValues`.

    Raises:
        Unusable: All numbers that occur have the same color.
    """
    used = palette[np.unique(values)]
    if len(used) > 1 and not np.ptp(used, axis=0).any():
        raise Unusable(
            f"its palette shows all {len(used)} numbers in one color, {_color(used[0])}, so that "
            "nothing is seen; save the numbers as gray levels"
        )
    gray = bool((palette[:, :3] == palette[:, :1]).all())
    if gray and (palette[:, 3] == _OPAQUE).all():
        return MaskValues(palette[:, 0][values])
    return MaskValues(values, palette, numbered=not gray)


def to_mask_values(pixels: np.ndarray) -> np.ndarray:
    """Turn pixel values, `(height, width)`, into unsigned integers; bool counts as 0 and 255.

    Raises:
        Unusable: There are negative or fractional values.
    """
    if pixels.dtype == bool:
        return pixels * np.uint8(255)
    if pixels.dtype.kind == "u":
        return pixels.astype(pixels.dtype.newbyteorder("="))
    check_finite(pixels)
    if pixels.dtype.kind == "f":  # A stored 255 times a slope of 1/255 is not quite 1.
        whole = np.rint(pixels)
        pixels = np.where(np.abs(pixels - whole) < _WHOLE, whole, pixels)
    wrong = (pixels < 0) | (pixels % 1 != 0) | (pixels > _LARGEST)
    if wrong.any() and pixels.min() >= 0 and pixels.max() <= 1:
        raise Unusable(
            "fractions from 0 to 1, such as probabilities; threshold them and save 0 and 1"
        )
    if wrong.any():
        raise Unusable(
            f"a mask holds whole numbers from 0 up, and this one {pixels[wrong][0]:.9g} and the "
            "like; export it again"
        )
    return pixels.astype(np.min_scalar_type(int(pixels.max())))

"""Numbers and names as figures and reports write them."""

from __future__ import annotations

import math
import textwrap

from kerasunet.data.modality import modality_of

_LONGEST_NAME = 28
_NARROW = 22
"""Characters in a line above a narrow panel."""


def signed(value: float) -> str:
    """A difference in Dice: three decimals, a sign, a true minus."""
    return f"{value:+.3f}".replace("-", "−")


def interval(low: float, high: float, number=lambda value: f"{value:.3f}") -> str:
    """The two ends of an interval; `unknown` where the data do not tell."""
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    return f"{number(low)} to {number(high)}"


def images(count: int) -> str:
    """A number of images in words."""
    return f"{count} image{'' if count == 1 else 's'}"


def panel_title(data: str, train_size: int | None = None, narrow: bool = False) -> str:
    """Heading of a panel: modality, data set, number of training images; in lines if narrow."""
    modality = modality_of(data)
    name = data if len(data) <= _LONGEST_NAME else f"{data[: _LONGEST_NAME - 1]}…"
    named = f"{modality[0].upper()}{modality[1:]}: {name}" if modality else name
    title = named if train_size is None else f"{named}, {images(train_size)}"
    return textwrap.fill(title, _NARROW) if narrow else title

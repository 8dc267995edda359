"""Both bytes of colours at 16 bits a channel, of which Pillow keeps only the upper one.

Pillow picks the upper byte by the byte order in a tile's raw mode (`RGB;16B`). Decoded once more
with the opposite order, the same tile yields the lower byte.
"""

from __future__ import annotations

import re
import sys

from PIL.ImageFile import ImageFile

_DEEP = re.compile("(RGB|RGBA|RGBX);16[BLN]")
_OPPOSITE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def is_deep_colour(picture: ImageFile) -> bool:
    """Whether the file, not yet decoded, has colours of 16 bits."""
    return bool(picture.tile) and _DEEP.fullmatch(_raw_mode(picture.tile[0].args)) is not None


def take_lower_bytes(picture: ImageFile) -> None:
    """Makes a picture, not yet decoded, decode to the lower bytes of its 16-bit colours."""
    picture.tile = [tile._replace(args=_opposite(tile.args)) for tile in picture.tile]


def _opposite(arguments: str | tuple) -> str | tuple:
    raw_mode = _raw_mode(arguments)
    raw_mode = raw_mode[:-1] + _OPPOSITE[raw_mode[-1]]
    return raw_mode if isinstance(arguments, str) else (raw_mode, *arguments[1:])


def _raw_mode(arguments: str | tuple) -> str:
    return arguments if isinstance(arguments, str) else str(arguments[0])

"""An opened file, what is asked of it, and the checks that come before any pixel is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO

SIZE_LIMIT = 100_000_000


class Unusable(ValueError):
    """A file cannot be used; the message tells cause and remedy, but not yet the file's name."""


@dataclass(frozen=True)
class Source:
    """An opened file and what to take out of it.

    Attributes:
        file: The file, open for reading.
        kind: What its contents are: `"PNG"`, `"JPEG"`, `"BMP"`, `"TIFF"`, `"DICOM"`, `"NIfTI"`.
        frame: Which page, frame or slice, from 0.
        size_limit: The largest number of pixels, height times width, that is decoded.
    """

    file: BinaryIO
    kind: str
    frame: int
    size_limit: int

    def check_size(self, width: int, height: int) -> None:
        """Refuses an image that has no pixels or too many of them."""
        if width < 1 or height < 1:
            raise Unusable(f"its header says {width}×{height} pixels; export it again")
        if width * height > self.size_limit:
            raise Unusable(
                f"{width}×{height} pixels, more than the limit of {self.size_limit:,}; "
                "scale it down, or raise size_limit"
            )

    def check_frame(self, count: int) -> None:
        """Refuses a frame that is not there."""
        if not 0 <= self.frame < count:
            raise Unusable(f"there is no frame {self.frame}; it has {count}, counted from 0")


def millimetres(row: float, column: float) -> tuple[float, float] | None:
    """Pixel spacing, (row, column); `None` where a file holds nonsense in its place."""
    spacing = (abs(float(row)), abs(float(column)))
    return spacing if all(math.isfinite(side) and side > 0 for side in spacing) else None

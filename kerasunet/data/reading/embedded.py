"""Images that stand inside another file."""

from __future__ import annotations

import io

import numpy as np

from kerasunet.data.reading import raster
from kerasunet.data.reading.source import Source


def read_png(content: bytes, size_limit: int) -> np.ndarray:
    """Reads a PNG image in memory as a mask.

    Args:
        content: The bytes of the PNG file.
        size_limit: Largest height times width; checked before pixels are decoded.

    Returns:
        Unsigned integers, `(height, width)`.

    Raises:
        ValueError: It is no PNG image, damaged or larger.
    """
    source = Source(io.BufferedReader(io.BytesIO(content)), "PNG", 0, size_limit)
    try:
        return raster.read_mask(source)
    except Exception:  # Decoders answer broken bytes with exceptions of every type.
        raise ValueError("its mask is not a PNG image, or larger than its image") from None

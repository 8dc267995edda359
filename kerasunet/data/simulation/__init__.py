"""Simulated images with exact masks: embedded data that need no download.

A picture is a pure function of simulator, seed, index and size. It is drawn from named parts of
anatomy or scenery and the physics of its modality; it contains no real image.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kerasunet.backend import lazy_members

if TYPE_CHECKING:
    from kerasunet.data.simulation.shapes import SimulatedSample

SIMULATORS = {
    "breast-ultrasound": "simulate_breast_ultrasound",
    "chest-xray": "simulate_chest_xray",
    "natural": "simulate_natural",
}
"""The function that draws for each name; only the module of the one in use is imported."""

PARTS = {"chest-xray": ("lungs", "heart", "right_lung", "left_lung")}
"""What can be chosen as an object among what a simulator draws, where there is a choice."""

if TYPE_CHECKING:
    from kerasunet.data.simulation.natural import simulate_natural as simulate_natural
    from kerasunet.data.simulation.shapes import SimulatedSample as SimulatedSample
    from kerasunet.data.simulation.ultrasound import (
        simulate_breast_ultrasound as simulate_breast_ultrasound,
    )
    from kerasunet.data.simulation.xray import simulate_chest_xray as simulate_chest_xray
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
    __all__ += ["PARTS", "SIMULATORS", "simulate"]


def simulate(
    name: str, seed: int, index: int, *, size: int | tuple[int, int] = 128
) -> SimulatedSample:
    """Simulate one image with its mask.

    Args:
        name: A key of `SIMULATORS`.
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels, 32 to 2048. The same scene appears
            at every size of one aspect ratio.

    Returns:
        Image, mask, label and pixel spacing. Equal arguments give equal bytes wherever the same
        versions of NumPy, SciPy and OpenCV run on the same kind of CPU; elsewhere rounding
        may change a gray level by one.

    Raises:
        ValueError: The name is unknown, the size out of range, or the seed or index negative.
    """
    if name not in SIMULATORS:
        raise ValueError(f"{name!r}: no such simulator; choose from {', '.join(SIMULATORS)}")
    return getattr(sys.modules[__name__], SIMULATORS[name])(seed, index, size)

"""Simulated images with exact masks: embedded data that need no download.

A picture is a pure function of simulator, seed, index and size. It is drawn from named parts of
anatomy or scenery and the physics of its modality; it contains no real image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

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
    from kerasunet.data.simulation.shapes import (
        SimulatedSample as SimulatedSample,
        simulate as simulate,
    )
    from kerasunet.data.simulation.ultrasound import (
        simulate_breast_ultrasound as simulate_breast_ultrasound,
    )
    from kerasunet.data.simulation.xray import simulate_chest_xray as simulate_chest_xray
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
    __all__ += ["PARTS", "SIMULATORS"]

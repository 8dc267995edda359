"""Simulated images with exact masks: embedded data that need no download."""

from __future__ import annotations

from collections.abc import Callable

from kerasunet.data.simulation.sample import SimulatedSample
from kerasunet.data.simulation.ultrasound import simulate_breast_ultrasound

__all__ = ["SIMULATORS", "SimulatedSample", "simulate"]

SIMULATORS: dict[str, Callable[..., SimulatedSample]] = {
    "breast-ultrasound": simulate_breast_ultrasound,
}


def simulate(
    name: str, seed: int, index: int, size: int | tuple[int, int] = 128
) -> SimulatedSample:
    if name not in SIMULATORS:
        raise ValueError(f"{name!r} is no simulator; there are {', '.join(SIMULATORS)}")
    return SIMULATORS[name](seed, index, size)

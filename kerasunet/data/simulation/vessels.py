"""Pulmonary vessels: trees that branch out from the hila and thin towards the periphery."""

from __future__ import annotations

import numpy as np

TRUNKS = 7
VESSEL_WIDTHS = (0.011, 0.009, 0.007, 0.0055, 0.0045)  # of each generation
HILUM = (0.07, -0.01)


def draw_vessels(rng: np.random.Generator) -> list[np.ndarray]:
    """Draws the trees of both lungs.

    Args:
        rng: Source of randomness.

    Returns:
        For each generation, thick to thin, curves `(branches, 3, 2)` of the typical chest.
    """
    sides = np.repeat([-1, 1], TRUNKS)
    angles = np.tile(np.linspace(-1.25, 1.45, TRUNKS), 2) + rng.normal(0, 0.25, 2 * TRUNKS)
    starts = HILUM + np.outer(np.tile(np.linspace(-1, 1, TRUNKS), 2), (0.0, 0.06))
    starts += rng.normal(0, 0.008, starts.shape)
    length, generations = 0.08, []
    for _ in VESSEL_WIDTHS:
        lengths = length * rng.uniform(0.5, 1.4, len(angles))
        bends = angles + rng.normal(0, 0.35, len(angles))
        middles = starts + _polar(lengths / 2, angles)
        ends = middles + _polar(lengths / 2, bends)
        mirror = np.column_stack([sides, np.ones(len(sides))])[:, None]
        generations.append(np.stack([starts, middles, ends], axis=1) * mirror)
        fork = rng.uniform(0.15, 0.5, len(angles))
        angles = np.concatenate([bends - fork, bends + 0.8 * fork])
        starts, sides = np.tile(ends, (2, 1)), np.tile(sides, 2)
        length *= 0.8
    return generations


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

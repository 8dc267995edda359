"""Outlines of made-up things: fruit, creatures, vases, vehicles, each a union of smooth parts."""

from __future__ import annotations

import numpy as np

from kerasunet.data.simulation.shapes import band, blobs, ellipse, rotate, spline


def draw_object(rng: np.random.Generator) -> list[np.ndarray]:
    """Draws one thing.

    Args:
        rng: Source of randomness.

    Returns:
        Outlines of its parts, back to front, `(n, 2)` as `(x, y)`, about 1 in size, y down.
    """
    recipe = RECIPES[rng.integers(len(RECIPES))]
    parts = recipe(rng)
    mirror = np.array([rng.choice([-1.0, 1.0]), 1.0])
    angle = rng.normal(0, 0.1)
    return [rotate(part * mirror, angle) for part in parts]


def _fruit(rng: np.random.Generator) -> list[np.ndarray]:
    count = rng.integers(1, 4)
    centres = np.column_stack([0.55 * np.arange(count), rng.normal(0, 0.06, count)])
    bodies = blobs(rng, count, 0.07, 72) * rng.uniform(0.32, 0.45, (count, 1, 1)) + centres[:, None]
    stem = spline([(0, -0.1), (0.02, -0.4), (rng.normal(0.06, 0.05), -0.56)])
    return [band(stem, 0.03), *bodies]


def _creature(rng: np.random.Generator) -> list[np.ndarray]:
    length, height = rng.uniform(0.38, 0.52), rng.uniform(0.16, 0.28)
    body = blobs(rng, 1, 0.05, 72)[0] * (length, height)
    hips = np.array([-0.8, -0.45, 0.45, 0.75])[:: rng.integers(1, 3)] * length
    feet = height + rng.uniform(0.2, 0.5)
    legs = [_limb(rng, (hip, 0.3 * height), (hip, feet), 0.06, 0.035) for hip in hips]
    head = np.array([length + rng.uniform(0.05, 0.25), -height - rng.uniform(0.05, 0.35)])
    neck = _limb(rng, (0.7 * length, -0.2 * height), head, 0.13, 0.08)
    skull = blobs(rng, 1, 0.06, 48)[0] * (0.17, 0.13) + head
    tail_end = (-length - rng.uniform(0.1, 0.35), rng.uniform(-0.35, 0.2))
    return [*legs, _limb(rng, (-0.8 * length, -0.05), tail_end, 0.05, 0.02), body, neck, skull]


def _vase(rng: np.random.Generator) -> list[np.ndarray]:
    knots = np.column_stack([rng.uniform(0.12, 0.4, 5), np.linspace(-0.5, 0.5, 5)])
    knots[-1, 0] = max(knots[-1, 0], 0.2)
    widths, heights = spline(knots, samples=14).T
    body = band(np.column_stack([np.zeros_like(heights), heights]), widths)
    rim = ellipse((0, -0.5), (widths[0] + 0.01, 0.05))
    if rng.random() < 0.5:
        return [body, rim]
    ear = widths[len(widths) // 3] + rng.uniform(0.1, 0.2)
    handle = spline([(0.08, -0.35), (ear, -0.3), (ear, 0.0), (0.08, 0.12)])
    return [band(handle, 0.035), body, rim]


def _vehicle(rng: np.random.Generator) -> list[np.ndarray]:
    length, height = rng.uniform(0.5, 0.7), rng.uniform(0.13, 0.22)
    chassis = _box((0, 0), (length, height))
    cabin = _box((rng.uniform(-0.2, 0.2), -1.5 * height), (length * rng.uniform(0.45, 0.8), height))
    wheels = [
        ellipse((x * length, height), (0.13, 0.13), samples=48)
        for x in (-rng.uniform(0.5, 0.7), rng.uniform(0.5, 0.7))
    ]
    return [cabin, chassis, *wheels]


def _limb(
    rng: np.random.Generator,
    start: tuple[float, float],
    end: tuple[float, float],
    thick: float,
    thin: float,
) -> np.ndarray:
    middle = (np.array(start) + end) / 2 + rng.normal(0, 0.04, 2)
    line = spline([start, middle, end])
    return band(line, np.linspace(thick, thin, len(line)))


def _box(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """A rectangle with rounded corners (a superellipse of order 5)."""
    circle = ellipse((0, 0), (1, 1), samples=48)
    return np.sign(circle) * np.abs(circle) ** 0.4 * radii + centre


RECIPES = (_fruit, _creature, _vase, _vehicle)

"""Simulated breast ultrasound: layered tissue and a lesion, scanned by a linear array.

The anatomy is a map of echogenicity and one of attenuation in the scan plane; `speckle` turns them
into echoes. Scanner geometry is fixed in millimetres and only the last step knows the image size,
as in a scanner's own display, so every size shows the same scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.simulation.lesion import Lesion, add_lesion, calcify, draw_lesion
from kerasunet.data.simulation.raster import fill, resample
from kerasunet.data.simulation.sample import SimulatedSample, as_shape, generators, to_grey
from kerasunet.data.simulation.speckle import (
    Probe,
    db_to_amplitude,
    log_compress,
    scatter_clutter,
    speckle_envelope,
    time_gain,
)
from kerasunet.data.simulation.texture import lattice_noise, smooth_curve, smoothstep

SIMULATOR = 1
MAP_ROWS = 192
DETECTED_ROWS = 448
LESION_AREA = (0.02, 0.24)
PRESETS = (  # depth in mm, frequency in MHz: deeper needs lower
    (30.0, 7.5),
    (34.0, 7.0),
    (38.0, 6.0),
    (44.0, 5.5),
)


@dataclass(frozen=True)
class Layers:
    """Lower borders of the layers of the breast in mm, each float32 `(lines,)`."""

    skin: np.ndarray
    fat: np.ndarray
    gland: np.ndarray
    muscle: np.ndarray


def simulate_breast_ultrasound(
    seed: int, index: int, size: int | tuple[int, int] = 128
) -> SimulatedSample:
    """Simulates one B-mode image of a breast with one lesion.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        The image; the mask is the lesion (its true outline, without halo or shadow), the label
        `"benign"` or `"malignant"`.
    """
    height, width = as_shape(size)
    anatomy, echoes, display = generators(seed, index, SIMULATOR, 3)
    probe = _draw_probe(anatomy)
    spacing = probe.depth / height
    lines = round(width * spacing / probe.pitch)
    layers = _draw_layers(anatomy, probe, lines)
    top = float(layers.skin.max()) + 1.0
    lesion = draw_lesion(anatomy, width * spacing, probe.depth, top, LESION_AREA)
    echo, attenuation = _tissue(anatomy, probe, layers)
    _insert(anatomy, probe, echo, attenuation, lesion)
    amplitude = scatter_clutter(db_to_amplitude(echo), probe, -28, 6)
    envelope = speckle_envelope(amplitude, echoes, probe, attenuation)
    picture = _display(envelope, probe, display, (height, width))
    _annotate(picture, lesion, spacing, display)
    mask = np.zeros((height, width), np.uint8)
    fill(mask, lesion.outline / spacing - 0.5, 1, smooth=False)
    return SimulatedSample(to_grey(picture), mask > 0, lesion.type.label, (spacing, spacing))


def _draw_probe(rng: np.random.Generator) -> Probe:
    depth, frequency = PRESETS[rng.integers(len(PRESETS))]
    focus = depth * (0.35, 0.5)[rng.integers(2)]
    beam_width = (0.5, 0.7, 0.9)[rng.integers(3)]
    noise = (-62.0, -52.0)[rng.integers(2)]
    return Probe(frequency, beam_width=beam_width, focus=focus, depth=depth, noise=noise)


def _draw_layers(rng: np.random.Generator, probe: Probe, lines: int) -> Layers:
    tilt = np.linspace(-1, 1, lines, dtype=np.float32) * np.float32(rng.normal(0, 1.0))
    skin = rng.uniform(1.2, 2.0) + 0.12 * smooth_curve(rng, lines, 5)
    fat = skin + rng.uniform(0.06, 0.22) * probe.depth + 0.9 * smooth_curve(rng, lines, 6)
    fat = np.maximum(fat + 0.5 * tilt, skin + 1)
    gland = rng.uniform(0.58, 0.92) * probe.depth + 0.8 * smooth_curve(rng, lines, 4) + tilt
    gland = np.maximum(gland, fat + 3)
    muscle = gland + rng.uniform(5, 9) + 0.5 * smooth_curve(rng, lines, 4)
    return Layers(skin, fat, gland, muscle)


def _tissue(
    rng: np.random.Generator, probe: Probe, layers: Layers
) -> tuple[np.ndarray, np.ndarray]:
    """Echogenicity in dB (gland is 0) and attenuation in dB/cm/MHz, `(rows, lines)`."""
    z = _depths(probe)
    below_skin, below_fat, below_gland, below_muscle = (
        smoothstep(z - border, -0.2, 0.2)
        for border in (layers.skin, layers.fat, layers.gland, layers.muscle)
    )
    fibres, sheets, lobules = _structure(rng, probe, len(layers.skin))
    echo = 6 + 3 * fibres
    echo += below_skin * (-13 + 2 * fibres + 12 * _ridges(lobules, 0.1) - echo)
    glandular = -9 * smoothstep(lobules - rng.uniform(-1.0, 0.8), 0.2, 1.1)
    echo += below_fat * (4 * fibres + 7 * _ridges(sheets, 0.12) + glandular - echo)
    echo += below_gland * (-17 + 5 * fibres + 12 * _ridges(sheets, 0.16) - echo)
    echo += below_muscle * (-22 + 3 * fibres - echo)
    for border, level in ((layers.skin, 6), (layers.fat, 4), (layers.gland, 11), (layers.muscle, 9)):
        gleam = level + 4 * smooth_curve(rng, len(border), 8)
        echo += gleam * np.exp(-(((z - border) / 0.3) ** 2))
    return echo, 0.5 + 0.2 * below_fat + 0.1 * below_gland


def _structure(
    rng: np.random.Generator, probe: Probe, lines: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fibres and sheets along gently bent layers, and round lobules; standard deviation 1."""
    shape = (MAP_ROWS, lines)
    width = lines * probe.pitch

    def noise(height: float, length: float, octaves: int) -> np.ndarray:
        cells = (round(probe.depth / height), max(2, round(width / length)))
        return lattice_noise(rng, shape, cells, octaves)

    columns, rows = np.meshgrid(
        np.arange(lines, dtype=np.float32), np.arange(MAP_ROWS, dtype=np.float32)
    )
    rows += noise(12, 9, 2) * np.float32(1.0 * MAP_ROWS / probe.depth)
    fibres, sheets = (
        cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for field in (noise(1.4, 6, 2), noise(2.5, 8, 2))
    )
    return fibres, sheets, noise(5, 9, 2)


def _ridges(field: np.ndarray, width: float) -> np.ndarray:
    """Thin bright lines where a smooth field crosses zero."""
    return cv2.exp(-np.square(field / np.float32(width)))


def _depths(probe: Probe) -> np.ndarray:
    return ((np.arange(MAP_ROWS, dtype=np.float32) + 0.5) * (probe.depth / MAP_ROWS))[:, None]


def _insert(
    rng: np.random.Generator,
    probe: Probe,
    echo: np.ndarray,
    attenuation: np.ndarray,
    lesion: Lesion,
) -> None:
    spacing = (probe.depth / MAP_ROWS, probe.pitch)
    noise = lattice_noise(rng, echo.shape, (12, 12), 3)
    add_lesion(echo, attenuation, lesion, spacing, noise)
    calcify(echo, lesion, spacing, rng)
    contact = 2.0 * smooth_curve(rng, echo.shape[1], 7)  # dB, by the coupling of the probe
    attenuation[0] += contact / (2 * probe.frequency * spacing[0] / 10)


def _display(
    envelope: np.ndarray, probe: Probe, rng: np.random.Generator, shape: tuple[int, int]
) -> np.ndarray:
    """Gain, compression, speckle filter, grey map and scan conversion: float32 `shape`."""
    sliders = rng.normal(0, 2.0, 6) - np.linspace(0, rng.uniform(0, 8), 6)
    dynamic_range = rng.uniform(46, 64)
    gain = time_gain(probe, 0.62, sliders) - rng.uniform(20, 28)
    detected = resample(envelope, (DETECTED_ROWS, envelope.shape[1]))
    gain = np.interp(np.linspace(0, probe.depth, DETECTED_ROWS), probe.sample_depths, gain)
    levels = log_compress(detected, gain.astype(np.float32), dynamic_range)
    smoothing = rng.uniform(0.2, 1.6)
    levels = cv2.GaussianBlur(levels, (0, 0), smoothing, sigmaY=smoothing)
    levels = np.clip(resample(levels, shape), 0, 255) / 255
    return 255 * cv2.pow(levels, rng.uniform(1.0, 1.7))


def _annotate(
    picture: np.ndarray, lesion: Lesion, spacing: float, rng: np.random.Generator
) -> None:
    pass

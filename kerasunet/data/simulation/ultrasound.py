"""Simulated breast ultrasound: layered tissue and a lesion, scanned by a linear array.

The anatomy is a map of echogenicity and one of attenuation in the scan plane; `speckle` turns them
into echoes. Scanner geometry is fixed in millimetres and only the last step knows the image size,
as in a scanner's own display, so every size shows the same scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.simulation.annotations import annotate
from kerasunet.data.simulation.lesion import Lesion, add_lesion, calcify, draw_lesion
from kerasunet.data.simulation.raster import inside, resample
from kerasunet.data.simulation.sample import SimulatedSample, as_shape, generators, to_grey
from kerasunet.data.simulation.speckle import (
    Probe,
    add_clutter,
    db_to_amplitude,
    log_compress,
    speckle_envelope,
    time_gain,
)
from kerasunet.data.simulation.texture import lattice_noise, smooth_curve, smoothstep

SIMULATOR = 1
MAP_ROWS = 192  # of the anatomy
DETECTED_ROWS = 448  # of the image in the scanner, before scan conversion
LESION_TOP = 3.0  # least depth in mm, below the skin
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
    lesion = draw_lesion(anatomy, width * spacing, probe.depth, LESION_TOP, LESION_AREA)
    layers = _draw_layers(anatomy, probe, lines, float(lesion.outline[:, 1].max()))
    echo, attenuation = _tissue(anatomy, probe, layers)
    _insert(anatomy, probe, echo, attenuation, lesion)
    amplitude = add_clutter(db_to_amplitude(echo), probe, -28, 6)
    envelope = speckle_envelope(
        amplitude, echoes, probe, attenuation, noise=anatomy.uniform(-64, -52)
    )
    image = to_grey(_display(envelope, probe, display, (height, width)))
    outline = lesion.outline / spacing - 0.5
    annotate(image, display, outline, probe, spacing)
    mask = inside((height, width), [outline])
    return SimulatedSample(image, mask, lesion.type.label, (spacing, spacing))


def _draw_probe(rng: np.random.Generator) -> Probe:
    depth, frequency = PRESETS[rng.integers(len(PRESETS))]
    focus = depth * (0.35, 0.5)[rng.integers(2)]
    beam_width = (0.5, 0.7, 0.9)[rng.integers(3)]
    return Probe(frequency, beam_width=beam_width, focus=focus, depth=depth)


def _draw_layers(
    rng: np.random.Generator, probe: Probe, lines: int, lesion_bottom: float
) -> Layers:
    tilt = np.linspace(-1, 1, lines, dtype=np.float32) * np.float32(rng.normal(0, 1.0))
    skin = rng.uniform(1.2, 2.0) + 0.12 * smooth_curve(rng, lines, 5)
    fat = skin + rng.uniform(0.06, 0.22) * probe.depth + 0.9 * smooth_curve(rng, lines, 6)
    fat = np.maximum(fat + 0.5 * tilt, skin + 1)
    gland = max(rng.uniform(0.55, 0.9) * probe.depth, lesion_bottom + 2)
    gland = np.maximum(gland + 0.8 * smooth_curve(rng, lines, 4) + tilt, fat + 3)
    muscle = gland + rng.uniform(5, 9) + 0.5 * smooth_curve(rng, lines, 4)
    return Layers(skin, fat, gland, muscle)


def _tissue(
    rng: np.random.Generator, probe: Probe, layers: Layers
) -> tuple[np.ndarray, np.ndarray]:
    """Echogenicity in dB (gland is 0) and attenuation in dB/cm/MHz, `(rows, lines)`."""
    z = probe.depths(MAP_ROWS)[:, None]
    below_skin, below_fat, below_gland, below_muscle = (
        smoothstep(z - border, -0.2, 0.2)
        for border in (layers.skin, layers.fat, layers.gland, layers.muscle)
    )
    fibres, sheets, bands, lobules = _structure(rng, probe, len(layers.skin))
    echo = -6 + 3 * fibres
    echo += below_skin * (-13 + 2 * fibres + 12 * _ridges(lobules, 0.1) - echo)
    fat_in_gland = -9 * smoothstep(lobules - rng.uniform(-1.0, 0.8), 0.2, 1.1)
    echo += below_fat * (4 * fibres + 8 * _ridges(sheets, 0.1) + fat_in_gland - echo)
    echo += below_gland * (-18 + 3 * fibres + 12 * _ridges(bands, 0.2) - echo)
    echo += below_muscle * (-22 + 3 * fibres - echo)
    echo += _interfaces(rng, z, layers)
    return echo, 0.5 + 0.2 * below_fat + 0.1 * below_gland


def _interfaces(rng: np.random.Generator, z: np.ndarray, layers: Layers) -> np.ndarray:
    """Extra echo in dB of the bright lines between layers and at the face of the probe."""
    face = np.full_like(layers.skin, 0.4)
    echo = np.zeros(np.broadcast_shapes(z.shape, face.shape), np.float32)
    borders = (face, layers.skin, layers.fat, layers.gland, layers.muscle)
    for border, level in zip(borders, (10, 10, 4, 12, 9), strict=True):
        gleam = level + 4 * smooth_curve(rng, len(border), 8)
        echo += gleam * np.exp(-np.square((z - border) / 0.3))
    return echo


def _structure(rng: np.random.Generator, probe: Probe, lines: int) -> list[np.ndarray]:
    """Fibres, sheets and muscle bands along gently bent layers, and round lobules."""
    shape = (MAP_ROWS, lines)
    width = lines * probe.pitch

    def noise(height: float, length: float, octaves: int) -> np.ndarray:
        cells = (round(probe.depth / height), max(2, round(width / length)))
        return lattice_noise(rng, shape, cells, octaves)

    columns, rows = np.meshgrid(
        np.arange(lines, dtype=np.float32), np.arange(MAP_ROWS, dtype=np.float32)
    )
    rows += noise(12, 9, 2) * np.float32(MAP_ROWS / probe.depth)
    bent = [
        cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for field in (noise(1.4, 6, 2), noise(2.5, 9, 2), noise(1.6, 18, 1))
    ]
    return [*bent, noise(5, 9, 2)]


def _ridges(field: np.ndarray, width: float) -> np.ndarray:
    """Thin bright lines where a smooth field crosses zero."""
    return np.exp(-np.square(field / np.float32(width)))


def _insert(
    rng: np.random.Generator,
    probe: Probe,
    echo: np.ndarray,
    attenuation: np.ndarray,
    lesion: Lesion,
) -> None:
    """Adds the lesion, and shadows of uneven contact with the skin, to the maps in place."""
    spacing = (probe.depth / MAP_ROWS, probe.pitch)
    noise = lattice_noise(rng, echo.shape, (12, 12), 3)
    add_lesion(echo, attenuation, lesion, spacing, noise)
    calcify(rng, echo, lesion, spacing)
    contact = 2.0 * smooth_curve(rng, echo.shape[1], 7)  # dB, by the coupling of the probe
    attenuation[0] += contact / (2 * probe.frequency * spacing[0] / 10)


def _display(
    envelope: np.ndarray, probe: Probe, rng: np.random.Generator, shape: tuple[int, int]
) -> np.ndarray:
    """Gain, compression, speckle filter, grey map and scan conversion: float32 `shape`."""
    sliders = rng.normal(0, 2.0, 6) - np.linspace(0, rng.uniform(0, 8), 6)
    dynamic_range, darkening = rng.uniform(46, 64), rng.uniform(16, 25)
    gain = time_gain(probe, probe.depths(DETECTED_ROWS), 0.62, sliders) - darkening
    detected = resample(envelope, (DETECTED_ROWS, envelope.shape[1]))
    levels = log_compress(detected, gain, dynamic_range)
    smoothing = rng.uniform(0.2, 1.6)
    levels = cv2.GaussianBlur(levels, (0, 0), smoothing)
    levels = np.clip(resample(levels, shape), 0, 255) / 255
    black = rng.uniform(0, 14)
    return black + (255 - black) * cv2.pow(levels, rng.uniform(0.9, 1.6))

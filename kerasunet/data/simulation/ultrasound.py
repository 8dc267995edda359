"""Breast ultrasound: layers of tissue, one lesion, and the B-mode image that a scanner makes.

Lesions follow the BI-RADS ultrasound lexicon (ACR BI-RADS Atlas, 5th edition, 2013): benign masses
are oval, circumscribed and parallel to the skin; malignant ones irregular, angular or spiculated,
often taller than wide. Fluid attenuates less than tissue and fibrous tumor more, hence enhancement
and shadow behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kerasunet.data.simulation.shapes import (
    SimulatedSample,
    area,
    as_shape,
    generators,
    inside,
    lattice_noise,
    smooth_curve,
    smoothstep,
    to_uint8,
)
from kerasunet.data.simulation.speckle import (
    Probe,
    add_clutter,
    annotate,
    db_to_amplitude,
    display,
    draw_probe,
    speckle_envelope,
)

SIMULATOR = 1
MAP_ROWS = 192  # of the anatomy
LESION_TOP = 3.0  # least depth in mm, below the skin
LESION_AREA = (0.02, 0.24)
ANGLES = 256
THETA = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
Range = tuple[float, float]


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
    """Simulate one B-mode image of a breast with one lesion.

    Args:
        seed: Seed of the data set, 0 or more.
        index: Number of the image in the data set, 0 or more.
        size: Side of a square, or `(height, width)`, in pixels.

    Returns:
        The image; the mask is the lesion (its true outline, without halo or shadow), the label
        `"benign"` or `"malignant"`.
    """
    height, width = as_shape(size)
    anatomy, echoes, settings = generators(seed, index, SIMULATOR, count=3)
    probe = draw_probe(anatomy)
    spacing = probe.depth / height
    lines = round(width * spacing / probe.pitch)
    lesion = draw_lesion(
        anatomy, width=width * spacing, depth=probe.depth, top=LESION_TOP, area_share=LESION_AREA
    )
    layers = _draw_layers(anatomy, probe, lines, lesion_bottom=float(lesion.outline[:, 1].max()))
    echo, attenuation = _tissue(anatomy, probe, layers)
    _insert(anatomy, probe, echo=echo, attenuation=attenuation, lesion=lesion)
    amplitude = add_clutter(db_to_amplitude(echo), probe, level=-28, reach=6)
    envelope = speckle_envelope(
        amplitude, echoes, probe, attenuation=attenuation, noise=anatomy.uniform(-64, -52)
    )
    image = to_uint8(display(envelope, probe, settings, shape=(height, width)))
    outline = lesion.outline / spacing - 0.5
    annotate(image, settings, outline, probe=probe, spacing=spacing)
    mask = inside((height, width), [outline])
    return SimulatedSample(image, mask, lesion.type.label, spacing=(spacing, spacing))


def _draw_layers(
    rng: np.random.Generator, probe: Probe, lines: int, *, lesion_bottom: float
) -> Layers:
    tilt = np.linspace(-1, 1, lines, dtype=np.float32) * np.float32(rng.normal(0, 1.0))
    skin = rng.uniform(1.2, 2.0) + 0.12 * smooth_curve(rng, lines, 5)
    fat = skin + rng.uniform(0.06, 0.22) * probe.depth + 0.9 * smooth_curve(rng, lines, 6)
    fat = np.maximum(fat + 0.5 * tilt, skin + 1)
    typical = max(rng.uniform(0.55, 0.9) * probe.depth, lesion_bottom + 2)
    gland = np.maximum(typical + 0.8 * smooth_curve(rng, lines, 4) + tilt, fat + 3)
    muscle = gland + rng.uniform(5, 9) + 0.5 * smooth_curve(rng, lines, 4)
    return Layers(skin, fat, gland, muscle=muscle)


def _tissue(
    rng: np.random.Generator, probe: Probe, layers: Layers
) -> tuple[np.ndarray, np.ndarray]:
    """Return echogenicity in dB (gland is 0) and attenuation in dB/cm/MHz, `(rows, lines)`."""
    z = probe.depths(MAP_ROWS)[:, None]
    below_skin, below_fat, below_gland, below_muscle = (
        smoothstep(z - border, -0.2, 0.2)
        for border in (layers.skin, layers.fat, layers.gland, layers.muscle)
    )
    fibers, sheets, bands, lobules = _structure(rng, probe, len(layers.skin))
    echo = -6 + 3 * fibers
    echo += below_skin * (-13 + 2 * fibers + 12 * _ridges(lobules, 0.1) - echo)
    fat_in_gland = -9 * smoothstep(lobules - rng.uniform(-1.0, 0.8), 0.2, 1.1)
    echo += below_fat * (4 * fibers + 8 * _ridges(sheets, 0.1) + fat_in_gland - echo)
    echo += below_gland * (-18 + 3 * fibers + 12 * _ridges(bands, 0.2) - echo)
    echo += below_muscle * (-22 + 3 * fibers - echo)
    echo += _interfaces(rng, z, layers)
    return echo, 0.5 + 0.2 * below_fat + 0.1 * below_gland


def _interfaces(rng: np.random.Generator, z: np.ndarray, layers: Layers) -> np.ndarray:
    """Return the extra echo in dB at the borders of layers and at the face of the probe."""
    face = np.full_like(layers.skin, 0.4)
    echo = np.zeros(np.broadcast_shapes(z.shape, face.shape), np.float32)
    borders = (face, layers.skin, layers.fat, layers.gland, layers.muscle)
    for border, level in zip(borders, (10, 10, 4, 12, 9), strict=True):
        gleam = level + 4 * smooth_curve(rng, len(border), 8)
        echo += gleam * np.exp(-np.square((z - border) / 0.3))
    return echo


def _structure(rng: np.random.Generator, probe: Probe, lines: int) -> list[np.ndarray]:
    """Return fibers, sheets and muscle bands along gently bent layers, and round lobules."""
    shape = (MAP_ROWS, lines)
    width = lines * probe.pitch

    def noise(height: float, length: float, octaves: int) -> np.ndarray:
        cells = (round(probe.depth / height), max(2, round(width / length)))
        return lattice_noise(rng, shape, cells, octaves=octaves)

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
    """Return thin bright lines where a smooth field crosses zero."""
    return np.exp(-np.square(field / np.float32(width)))


def _insert(
    rng: np.random.Generator,
    probe: Probe,
    *,
    echo: np.ndarray,
    attenuation: np.ndarray,
    lesion: Lesion,
) -> None:
    """Add the lesion, and shadows of uneven contact with the skin, to the maps in place."""
    spacing = (probe.depth / MAP_ROWS, probe.pitch)
    noise = lattice_noise(rng, echo.shape, (12, 12), octaves=3)
    add_lesion(echo, attenuation, lesion, spacing=spacing, noise=noise)
    calcify(rng, echo, lesion, spacing=spacing)
    contact = 2.0 * smooth_curve(rng, echo.shape[1], 7)  # dB, by the coupling of the probe
    attenuation[0] += contact / (2 * probe.frequency * spacing[0] / 10)


@dataclass(frozen=True)
class LesionType:
    """What lesions of one type look like; each range is drawn from uniformly.

    Attributes:
        label: `"benign"` or `"malignant"`.
        share: Relative frequency.
        aspect: Width over height.
        lobes: Amplitude of slow undulation, relative to the radius.
        jaggedness: Amplitude of fast undulation.
        spikes: Length of spicules relative to the radius.
        echo: Echogenicity in dB relative to fibroglandular tissue.
        attenuation: In dB/cm/MHz; breast tissue has about 0.6.
        texture: Standard deviation of internal echogenicity in dB.
        margin: Width of the transition to the surrounding tissue in mm.
        wall: Extra echo in dB where the outline faces the beam.
        halo: Extra echo in dB of a broad rim around the lesion.
        calcifications: Largest number of bright points inside.
    """

    label: str
    share: float
    aspect: Range
    lobes: Range
    jaggedness: Range
    spikes: Range
    echo: Range
    attenuation: Range
    texture: float
    margin: Range
    wall: Range
    halo: Range
    calcifications: int


TYPES = {
    "cyst": LesionType(
        label="benign", share=0.2, aspect=(1.0, 1.9), lobes=(0.0, 0.04), jaggedness=(0.0, 0.0),
        spikes=(0.0, 0.0), echo=(-46, -34), attenuation=(0.0, 0.15), texture=0.5,
        margin=(0.2, 0.4), wall=(6, 12), halo=(0, 0), calcifications=0,
    ),
    "fibroadenoma": LesionType(
        label="benign", share=0.32, aspect=(1.3, 2.3), lobes=(0.02, 0.07), jaggedness=(0.0, 0.008),
        spikes=(0.0, 0.0), echo=(-20, -13), attenuation=(0.35, 0.7), texture=2.2,
        margin=(0.3, 0.7), wall=(4, 9), halo=(0, 2), calcifications=0,
    ),
    "lipoma": LesionType(
        label="benign", share=0.05, aspect=(1.7, 2.6), lobes=(0.0, 0.05), jaggedness=(0.0, 0.0),
        spikes=(0.0, 0.0), echo=(3, 6), attenuation=(0.5, 0.7), texture=2.0,
        margin=(0.2, 0.4), wall=(2, 4), halo=(-7, -3), calcifications=0,
    ),
    "carcinoma": LesionType(
        label="malignant", share=0.3, aspect=(0.65, 1.25), lobes=(0.07, 0.14),
        jaggedness=(0.015, 0.04), spikes=(0.15, 0.5), echo=(-22, -13), attenuation=(1.1, 2.0),
        texture=3.0, margin=(0.7, 1.4), wall=(0, 1), halo=(1, 5), calcifications=6,
    ),
    "circumscribed carcinoma": LesionType(
        label="malignant", share=0.13, aspect=(0.8, 1.5), lobes=(0.06, 0.12),
        jaggedness=(0.015, 0.03), spikes=(0.0, 0.15), echo=(-22, -14), attenuation=(0.5, 0.9),
        texture=3.0, margin=(0.4, 0.9), wall=(0, 3), halo=(1, 4), calcifications=4,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Lesion:
    """One lesion in the scan plane, in millimeters.

    Attributes:
        type: Its entry in `TYPES`.
        center: `(x, z)`: distance from the left border, depth.
        radii: Distance of the outline from the center at `THETA`, `(256,)`.
        echo, attenuation, margin, wall, halo: Drawn from the ranges of the type.
    """

    type: LesionType
    center: tuple[float, float]
    radii: np.ndarray
    echo: float
    attenuation: float
    margin: float
    wall: float
    halo: float

    @property
    def outline(self) -> np.ndarray:
        """Polygon in mm, `(256, 2)`, as `(x, z)`."""
        return _polygon(self.radii) + self.center


def draw_lesion(
    rng: np.random.Generator, *, width: float, depth: float, top: float, area_share: Range
) -> Lesion:
    """Draw a lesion that lies wholly inside the image.

    Args:
        rng: Source of randomness.
        width: Width of the image in mm.
        depth: Depth of the image in mm.
        top: Least depth of the lesion in mm, below the skin.
        area_share: Range of the lesion's share of the image; small ones are more frequent.
    """
    names = list(TYPES)
    shares = np.array([TYPES[name].share for name in names])
    kind = TYPES[names[rng.choice(len(names), p=shares / shares.sum())]]
    radii = _outline(rng, kind)
    share = np.exp(rng.uniform(*np.log(area_share)))
    radii *= np.sqrt(share * width * depth / area(_polygon(radii)))
    points = _polygon(radii)
    extent = np.ptp(points, axis=0)
    radii *= min(1.0, 0.85 * width / extent[0], 0.62 * depth / extent[1])
    center = _position(rng, _polygon(radii), width=width, depth=depth, top=top)
    drawn = {
        name: rng.uniform(*getattr(kind, name))
        for name in ("echo", "attenuation", "margin", "wall", "halo")
    }
    return Lesion(kind, center, radii, **drawn)


def add_lesion(
    echo: np.ndarray,
    attenuation: np.ndarray,
    lesion: Lesion,
    *,
    spacing: tuple[float, float],
    noise: np.ndarray,
) -> None:
    """Put a lesion into tissue.

    Args:
        echo: Echogenicity in dB, float32 `(rows, lines)`, changed in place.
        attenuation: In dB/cm/MHz, float32 `(rows, lines)`, changed in place.
        lesion: What to add.
        spacing: Millimeters per row and per line.
        noise: Structure with standard deviation 1, `(rows, lines)`: texture and uneven margin.
    """
    distance, facing = _distance(echo.shape, lesion, spacing)
    blurred = distance + lesion.margin * 0.4 * noise
    within = 1 - smoothstep(blurred, -0.5 * lesion.margin, 0.5 * lesion.margin)
    size = area(_polygon(lesion.radii)) ** 0.5
    rim = np.exp(-((blurred / (0.13 * size)) ** 2)) * (1 - within)
    wall = np.exp(-((distance / 0.25) ** 2)) * facing**4
    content = lesion.echo + lesion.type.texture * noise
    echo += within * (content - echo) + lesion.halo * rim + lesion.wall * wall
    attenuation += within * (lesion.attenuation - attenuation)
    tangent = np.exp(-((distance / (0.07 * size)) ** 2)) * (1 - facing**2) ** 3
    attenuation += 0.6 * tangent  # refraction takes the beam away at the lateral edges


def calcify(
    rng: np.random.Generator, echo: np.ndarray, lesion: Lesion, *, spacing: tuple[float, float]
) -> None:
    """Put bright points into a lesion's inner part, changing `echo` (dB) in place."""
    count = rng.integers(0, lesion.type.calcifications + 1)
    angle, share = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 0.4, count))
    radius = share * lesion.radii[(angle / (2 * np.pi) * ANGLES).astype(int)]
    rows = (lesion.center[1] + radius * np.sin(angle)) / spacing[0]
    lines = (lesion.center[0] + radius * np.cos(angle)) / spacing[1]
    echo[rows.astype(int), lines.astype(int)] = rng.uniform(2, 12, count)


def _outline(rng: np.random.Generator, kind: LesionType) -> np.ndarray:
    aspect = np.sqrt(rng.uniform(*kind.aspect))
    tilted = THETA - rng.normal(0, 0.15)
    radii = 1 / np.hypot(np.cos(tilted) / aspect, np.sin(tilted) * aspect)
    radii *= 1 + _undulation(rng, range(2, 6), rng.uniform(*kind.lobes))
    radii *= 1 + _undulation(rng, range(6, 24), rng.uniform(*kind.jaggedness))
    return radii * (1 + _spicules(rng, rng.uniform(*kind.spikes)))


def _undulation(rng: np.random.Generator, orders: range, amplitude: float) -> np.ndarray:
    phases = rng.uniform(0, 2 * np.pi, (len(orders), 1))
    waves = np.cos(np.array(orders)[:, None] * THETA + phases)
    weights = rng.normal(size=(1, len(orders))) * orders[0] / np.array(orders)
    return amplitude * (weights @ waves)[0]


def _spicules(rng: np.random.Generator, length: float) -> np.ndarray:
    count = rng.integers(5, 12)
    angles = rng.uniform(0, 2 * np.pi, (count, 1))
    apart = np.abs(np.angle(np.exp(1j * (THETA - angles))))
    heights = length * rng.uniform(0.2, 1, (count, 1))
    return (heights * np.exp(-apart / rng.uniform(0.06, 0.16, (count, 1)))).max(axis=0)


def _position(
    rng: np.random.Generator, points: np.ndarray, *, width: float, depth: float, top: float
) -> tuple[float, float]:
    low, high = points.min(axis=0), points.max(axis=0)
    x = rng.uniform(0.04 * width - low[0], 0.96 * width - high[0])
    shallowest = top - low[1]
    deepest = max(shallowest, 0.9 * depth - high[1])
    z = shallowest + rng.beta(1.5, 2.5) * (deepest - shallowest)
    return 0.5 * (x + width / 2), z


def _distance(
    shape: tuple[int, int], lesion: Lesion, spacing: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the radial distance to the outline in mm, and |sine| of the direction."""
    rows, columns = np.indices(shape, dtype=np.float32)
    x = (columns + 0.5) * np.float32(spacing[1]) - np.float32(lesion.center[0])
    z = (rows + 0.5) * np.float32(spacing[0]) - np.float32(lesion.center[1])
    radius, angle = cv2.cartToPolar(x, z)
    nearest = np.minimum(angle * np.float32(ANGLES / (2 * np.pi)), ANGLES - 1).astype(np.int32)
    facing = np.abs(z) / (radius + np.float32(1e-6))
    return radius - lesion.radii.astype(np.float32)[nearest], facing


def _polygon(radii: np.ndarray) -> np.ndarray:
    return radii[:, None] * np.stack([np.cos(THETA), np.sin(THETA)], axis=1)

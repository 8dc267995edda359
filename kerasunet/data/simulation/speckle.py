"""Ultrasound image formation: scatterers, pulse and beam, attenuation, gain, display, marks.

Tissue is a field of point scatterers far denser than the resolution cell. The echo is their sum
over the cell, a random walk whose envelope is Rayleigh distributed: speckle is interference, not
noise that is added afterward (Burckhardt, IEEE Trans. Sonics Ultrasonics 25(1), 1978; Wagner,
Smith, Sandrik and Lopez, IEEE Trans. Sonics Ultrasonics 30(3), 1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from kerasunet.data.simulation.shapes import fill, resample, stroke

SOUND_SPEED = 1.54  # mm per microsecond
PRESETS = (  # depth in mm, frequency in MHz: deeper needs lower
    (30.0, 7.5),
    (34.0, 7.0),
    (38.0, 6.0),
    (44.0, 5.5),
)
SAMPLES_PER_CYCLE = 3.0
DETECTED_ROWS = 448  # of the image in the scanner, before scan conversion
CALIPERS, SECOND_CALIPERS, SCALE = 0.4, 0.6, 0.35  # probabilities
WHITE = 225
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian with standard deviation 1


@dataclass(frozen=True)
class Probe:
    """A linear array and its settings.

    Attributes:
        frequency: Center frequency in MHz.
        bandwidth: Full width of the pulse spectrum at -6 dB relative to the center frequency.
        beam_width: Full width at half maximum of the beam in its focus, in mm.
        focus: Depth of the focus in mm.
        focal_zone: Distance from the focus, in mm, at which the beam is wider by the root of 2.
        depth: Depth of the image in mm.
        pitch: Distance between scan lines in mm.
    """

    frequency: float = 7.0
    bandwidth: float = 0.55
    beam_width: float = 0.6
    focus: float = 16.0
    focal_zone: float = 12.0
    depth: float = 35.0
    pitch: float = 0.25

    @property
    def samples(self) -> int:
        """Number of echo samples along a scan line: the carrier is sampled above Nyquist."""
        cycles = 2 * self.depth * self.frequency / SOUND_SPEED
        return int(np.ceil(SAMPLES_PER_CYCLE * cycles))

    def depths(self, rows: int) -> np.ndarray:
        """Return the depth in mm of each of so many rows of the image: float32 `(rows,)`."""
        return (np.arange(rows, dtype=np.float32) + 0.5) * np.float32(self.depth / rows)


def draw_probe(rng: np.random.Generator) -> Probe:
    """Draw the settings of a breast examination."""
    depth, frequency = PRESETS[rng.integers(len(PRESETS))]
    focus = depth * (0.35, 0.5)[rng.integers(2)]
    beam_width = (0.5, 0.7, 0.9)[rng.integers(3)]
    return Probe(frequency, beam_width=beam_width, focus=focus, depth=depth)


def speckle_envelope(
    echogenicity: np.ndarray,
    rng: np.random.Generator,
    probe: Probe,
    *,
    attenuation: np.ndarray | float = 0.0,
    noise: float = -60.0,
) -> np.ndarray:
    """Scan tissue and detect the envelope of the echoes, before any gain or compression.

    Args:
        echogenicity: Scattering amplitude, `(rows, lines)`, 0 or more, rows spread over the depth
            of the probe. Its number of rows is free; the carrier is sampled separately.
        rng: Draws the scatterers and the electronic noise.
        probe: The transducer.
        attenuation: Attenuation of the tissue in dB/cm/MHz, `(rows, lines)` or one for all.
        noise: Electronic noise in dB relative to the echo of tissue of echogenicity 1.

    Returns:
        Envelope, float32 `(probe.samples, lines)`. Echogenicity 1 without attenuation has a mean
        square of 1; mean / standard deviation of homogeneous tissue is 1.91 (Rayleigh).
    """
    attenuation = np.broadcast_to(attenuation, echogenicity.shape)
    amplitude = echogenicity.astype(np.float32) * transmission(attenuation, probe)
    shape = (probe.samples, echogenicity.shape[1])
    scatterers = _white_noise(rng, shape)
    scatterers *= cv2.resize(amplitude, shape[::-1])
    echoes = _focus_laterally(scatterers, probe)
    echoes += _white_noise(rng, shape) * np.float32(10 ** (noise / 20))
    in_phase, quadrature = _pulse(probe)
    return cv2.magnitude(_along_depth(echoes, in_phase), _along_depth(echoes, quadrature))


def transmission(attenuation: np.ndarray, probe: Probe) -> np.ndarray:
    """Return the amplitude that is left after the way into the tissue and back.

    Args:
        attenuation: In dB/cm/MHz, `(rows, lines)`.
        probe: Its frequency and depth count.

    Returns:
        Float32 `(rows, lines)`; 1 without attenuation.
    """
    row = probe.depth / len(attenuation) / 10  # cm
    loss = np.cumsum(attenuation, axis=0, dtype=np.float32) * np.float32(2 * probe.frequency * row)
    return db_to_amplitude(-loss)


def time_gain(
    probe: Probe, depths: np.ndarray, *, compensation: float, sliders: np.ndarray
) -> np.ndarray:
    """Return a scanner's time-gain compensation: for an assumed tissue, plus the user's sliders.

    Args:
        probe: The transducer.
        depths: Where the gain is wanted, in mm, `(samples,)`.
        compensation: Attenuation that is assumed for the tissue, in dB/cm/MHz.
        sliders: Extra gain in dB, `(sliders,)`, from the skin to the deepest row.

    Returns:
        Gain in dB, float32 `(samples,)`.
    """
    positions = np.linspace(0, probe.depth, len(sliders))
    gain = 2 * compensation * probe.frequency * depths / 10 + np.interp(depths, positions, sliders)
    return gain.astype(np.float32)


def add_clutter(amplitude: np.ndarray, probe: Probe, *, level: float, reach: float) -> np.ndarray:
    """Add what side lobes collect from the side: the haze in cysts and shadows.

    Args:
        amplitude: Scattering amplitude, float32 `(rows, lines)`.
        probe: The transducer.
        level: Level of the side lobes in dB relative to the main lobe.
        reach: How far they see to either side, in mm.

    Returns:
        Amplitude with clutter, float32 `(rows, lines)`.
    """
    lines = 2 * int(reach / probe.pitch) + 1
    power = cv2.blur(amplitude * amplitude, (lines, 1), borderType=cv2.BORDER_REFLECT)
    return np.sqrt(amplitude * amplitude + np.float32(10 ** (level / 10)) * power)


def log_compress(envelope: np.ndarray, gain: np.ndarray, dynamic_range: float) -> np.ndarray:
    """Map echo levels in dB linearly to gray levels.

    Args:
        envelope: Float32, `(samples, lines)`, 0 or more.
        gain: Gain in dB, `(samples,)`. An amplified level of 0 dB becomes white.
        dynamic_range: How many dB below white become black.

    Returns:
        Gray levels, float32 `(samples, lines)`, unclipped: above 255 is saturated.
    """
    levels = cv2.log(envelope + np.float32(1e-9)) * np.float32(20 / np.log(10))
    levels += gain[:, None]
    return (levels + np.float32(dynamic_range)) * np.float32(255 / dynamic_range)


def display(
    envelope: np.ndarray, probe: Probe, rng: np.random.Generator, *, shape: tuple[int, int]
) -> np.ndarray:
    """Show echoes as a scanner does: gain, compression, speckle filter, gray map, conversion.

    Args:
        envelope: Float32, `(samples, lines)`, 0 or more.
        probe: The transducer.
        rng: Draws the scanner's settings.
        shape: Height and width of the image in pixels.

    Returns:
        Gray levels, float32 of the shape, 0 to 255.
    """
    sliders = rng.normal(0, 2.0, 6) - np.linspace(0, rng.uniform(0, 8), 6)
    dynamic_range, darkening = rng.uniform(46, 64), rng.uniform(16, 25)
    gain = (
        time_gain(probe, probe.depths(DETECTED_ROWS), compensation=0.62, sliders=sliders)
        - darkening
    )
    detected = resample(envelope, (DETECTED_ROWS, envelope.shape[1]))
    levels = log_compress(detected, gain, dynamic_range)
    smoothing = rng.uniform(0.2, 1.6)
    levels = cv2.GaussianBlur(levels, (0, 0), smoothing)
    levels = np.clip(resample(levels, shape), 0, 255) / 255
    black = rng.uniform(0, 14)
    return black + (255 - black) * cv2.pow(levels, rng.uniform(0.9, 1.6))


def db_to_amplitude(level: np.ndarray) -> np.ndarray:
    """Return 10 ** (level / 20) as float32."""
    return cv2.exp(np.asarray(level, np.float32) * np.float32(np.log(10) / 20))


def _white_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw cheap triangular noise of power 1; its sum over a resolution cell is normal."""
    values = rng.random(shape, dtype=np.float32)
    values -= rng.random(shape, dtype=np.float32)
    values *= np.float32(np.sqrt(6))
    return values


def _along_depth(echoes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(echoes, cv2.CV_32F, np.ones(1, np.float32), kernel)


@lru_cache(maxsize=64)
def _pulse(probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine part of the pulse, which keeps the power of white noise."""
    step = probe.depth / probe.samples
    spectral_deviation = probe.bandwidth * probe.frequency / FWHM
    deviation = SOUND_SPEED / 2 / (2 * np.pi * spectral_deviation)  # mm of depth
    reach = int(np.ceil(3 * deviation / step))
    z = np.arange(-reach, reach + 1) * step
    pulse = np.exp(-0.5 * (z / deviation) ** 2 + 4j * np.pi * probe.frequency / SOUND_SPEED * z)
    pulse /= np.linalg.norm(pulse)
    return pulse.real.astype(np.float32), pulse.imag.astype(np.float32)


def _focus_laterally(scatterers: np.ndarray, probe: Probe) -> np.ndarray:
    """Blur each row with the beam at its depth, by a product in the Fourier domain."""
    lines = scatterers.shape[1]
    padded = fft.next_fast_len(lines + 16, real=True)
    spectrum = fft.rfft(scatterers, padded, axis=1, overwrite_x=True)
    spectrum *= _beam_transfer(probe, padded)
    return fft.irfft(spectrum, padded, axis=1)[:, :lines].copy()


@lru_cache(maxsize=64)
def _beam_transfer(probe: Probe, lines: int) -> np.ndarray:
    """Return the Gaussian beam's Fourier transform by depth, `(samples, lines // 2 + 1)`."""
    defocus = (probe.depths(probe.samples) - probe.focus) / probe.focal_zone
    deviation = probe.beam_width / FWHM * np.sqrt(1 + defocus**2)
    frequencies = 2 * np.pi * fft.rfftfreq(lines, probe.pitch)
    transfer = np.exp(-0.5 * (deviation[:, None] * frequencies) ** 2)
    power = 2 * (transfer**2).sum(axis=1) - 1  # both signs of frequency
    return (transfer * np.sqrt(lines / power)[:, None]).astype(np.float32)


def annotate(
    image: np.ndarray,
    rng: np.random.Generator,
    outline: np.ndarray,
    *,
    probe: Probe,
    spacing: float,
) -> None:
    """Draw the marks that a sonographer left in the frame, if any.

    Args:
        image: Uint8, `(height, width)`, changed in place.
        rng: Decides what is drawn.
        outline: Outline of the lesion in pixels, `(n, 2)`, as `(x, y)`.
        probe: Where the focus is.
        spacing: Millimeters per pixel.
    """
    with_calipers, with_second, with_scale = rng.random(3) < (CALIPERS, SECOND_CALIPERS, SCALE)
    if with_calipers:
        _draw_calipers(image, outline, with_second)
    if with_scale:
        _draw_scale(image, probe, spacing)


def _draw_calipers(image: np.ndarray, outline: np.ndarray, both_axes: bool) -> None:
    """Draw crosses at the ends of the longest diameter and of the one across it."""
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    longest = int(np.ptp(outline @ directions, axis=0).argmax())
    for direction in (longest, (longest + 18) % 36)[: 1 + both_axes]:
        along = outline @ directions[:, direction]
        _draw_cross(image, outline[along.argmin()])
        _draw_cross(image, outline[along.argmax()])


def _draw_cross(image: np.ndarray, center: np.ndarray) -> None:
    unit = min(image.shape) / 128
    arm = max(2.0, 2.5 * unit)
    bars = [center + np.array([[-arm, 0], [arm, 0]]), center + np.array([[0, -arm], [0, arm]])]
    stroke(image, bars, value=WHITE, width=0.8 * unit)


def _draw_scale(image: np.ndarray, probe: Probe, spacing: float) -> None:
    """Draw a tick each 5 mm, longer each 10 mm, on the right, and a triangle at the focus."""
    unit = min(image.shape) / 128
    right = image.shape[1] - 1
    for number in range(1, int(probe.depth / 5) + 1):
        y = 5 * number / spacing - 0.5
        length = (4 if number % 2 == 0 else 2) * unit
        stroke(image, [np.array([[right - length, y], [right, y]])], value=WHITE, width=0.8 * unit)
    focus = np.array([right - 5 * unit, probe.focus / spacing - 0.5])
    triangle = focus + unit * np.array([[0, 0], [3.5, -2.5], [3.5, 2.5]])
    fill(image, [triangle], WHITE)

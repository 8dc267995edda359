"""OASBUD: breast ultrasound as raw radio-frequency echoes, turned into B-mode images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.signal import hilbert

from kerasunet.data.builders.base import CasesBuilder, folder_with
from kerasunet.data.cases import Sample

_DYNAMIC_RANGE = 50.0  # Decibels from black to white.
_SAMPLES_PER_PIXEL = 4  # Makes pixels nearly square.
_SPEED_OF_SOUND = 1540e3  # Millimeters per second, in soft tissue.
_SAMPLING_RATE = 40e6  # Samples per second.
_APERTURE, _LINES = 38.0, 510  # Millimeters that so many scan lines cover: the L14-5/38 probe.
_SPACING = (_SAMPLES_PER_PIXEL * _SPEED_OF_SOUND / 2 / _SAMPLING_RATE, _APERTURE / _LINES)
_CLASSES = {0: "benign", 1: "malignant"}
_FILE = "OASBUD.mat"


class Builder(CasesBuilder):
    """TFDS builder of OASBUD."""

    HOMEPAGE = "https://doi.org/10.5281/zenodo.545928"
    TERMS = "Creative Commons with attribution; Zenodo states which"
    ARCHIVES = {_FILE: "https://zenodo.org/record/545928/files/OASBUD.mat?download=1"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if Zenodo cannot be reached: put OASBUD.mat into the manual folder."
    )

    def find_cases(self, roots):
        folder = folder_with(roots, _FILE)
        downloaded = [root for root in roots if root.is_file()]
        path = folder / _FILE if folder else next(iter(downloaded), None)
        return {"train": self._as_data_set(read_scans(path))} if path else {}


def read_scans(path: Path) -> list[RadioFrequencyCase]:
    """Read OASBUD.mat: the structures `data` with id, rf1, rf2, roi1, roi2 and class."""
    lesions = loadmat(path, variable_names=["data"], simplify_cells=True)["data"]
    return [
        RadioFrequencyCase(
            f"{number:03d}-{scan}",
            f"lesion-{lesion['id']}",
            _CLASSES.get(int(lesion["class"]), ""),
            echoes=lesion[f"rf{scan}"],
            region=lesion[f"roi{scan}"],
        )
        for number, lesion in enumerate(lesions, start=1)
        for scan in (1, 2)
    ]


@dataclass(frozen=True, eq=False)
class RadioFrequencyCase:
    """One of the two scans of a lesion.

    Attributes:
        key: Number of the lesion and of the scan, such as `"007-2"`.
        group: The lesion's identifier: both scans belong together.
        label: `"benign"` or `"malignant"`.
        echoes: `(samples, lines)`, depth downward.
        region: 0 and 1, of the same shape: the radiologist's outline.
    """

    key: str
    group: str
    label: str
    echoes: np.ndarray = field(repr=False)
    region: np.ndarray = field(repr=False)

    def load(self) -> Sample:
        """Form the B-mode image."""
        mask = _averaged_over_depth(self.region) >= 0.5
        return Sample(b_mode(self.echoes), mask, _SPACING)


def b_mode(echoes: np.ndarray) -> np.ndarray:
    """Detect the envelope, average over depth and compress logarithmically.

    Args:
        echoes: `(samples, lines)`, any unit.

    Returns:
        Float32, `(samples // 4, lines)`, 0 to 255; the brightest pixel is 255, and 0 is 50 dB
        below it.
    """
    envelope = _averaged_over_depth(np.abs(hilbert(echoes.astype(np.float64), axis=0)))
    peak = envelope.max()
    if peak == 0:
        return np.zeros(envelope.shape, np.float32)
    decibels = 20 * np.log10(np.maximum(envelope / peak, 1e-12))
    return np.clip(255 * (1 + decibels / _DYNAMIC_RANGE), 0, 255).astype(np.float32)


def _averaged_over_depth(values: np.ndarray) -> np.ndarray:
    depth = len(values) // _SAMPLES_PER_PIXEL
    whole = values[: depth * _SAMPLES_PER_PIXEL].astype(np.float64)
    return whole.reshape(depth, _SAMPLES_PER_PIXEL, -1).mean(axis=1)

"""The images that an export is checked and calibrated with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode

CALIBRATION_IMAGES = 32


@dataclass(frozen=True)
class Images:
    """Images of one data set; those for calibration are not among those for checking.

    Attributes:
        data: Name of the data set.
        checking: Cases to compare Keras and the exported network on.
        calibration: Uint8, `(count, height, width, channels)`; empty unless eight bits need them.
    """

    data: str
    checking: DecodedCases
    calibration: np.ndarray

    @classmethod
    def of(cls, data: DataSet, size: int, channels: int, count: int, calibrate: bool) -> Images:
        """Reads cases that lie evenly in the data set.

        Args:
            data: The data set.
            size: Height and width of the network's images in pixels.
            channels: Channels of the network's images.
            count: Number of cases to check on, at most.
            calibrate: Whether up to 32 others are needed for calibration, too.

        Raises:
            ValueError: Files could not be used, or the data set has too few cases.
        """
        wanted = count + CALIBRATION_IMAGES * calibrate
        if len(data) < 1 + calibrate:
            raise ValueError(f"{data.name}: calibration and check need at least two cases")
        cases = data.cases[:: max(1, len(data) // wanted)][:wanted]
        share = min(CALIBRATION_IMAGES, len(cases) // 2) if calibrate else 0
        # Every so many cases one for calibration, so that both parts lie evenly in the set, too.
        chosen = set(np.linspace(0, len(cases) - 1, share).round().astype(int).tolist())
        rest = [case for index, case in enumerate(cases) if index not in chosen]
        calibration = decode([cases[index] for index in sorted(chosen)], (size, size), channels)
        return cls(data.name, decode(rest[:count], (size, size), channels), calibration.images)

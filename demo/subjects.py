"""What is compared on: an uploaded image with its mask, or a simulated example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kerasunet.comparison import guess_modality
from kerasunet.data.cases import MaskCoding
from kerasunet.data.reading import read_image, read_mask_values
from kerasunet.data.simulation import simulate

PIXEL_LIMIT = 12_000_000
EXAMPLES = (
    ("ultrasound", 3), ("ultrasound", 8), ("ultrasound", 14),
    ("xray", 2), ("xray", 5), ("xray", 9),
)  # fmt: skip
_SIMULATORS = {"ultrasound": "breast-ultrasound", "xray": "chest-xray"}
_EXAMPLE_SEED, _EXAMPLE_SIZE = 2020, 512


@dataclass(frozen=True, eq=False)
class Subject:
    """An image to compare on.

    Attributes:
        name: Name of the file, without folder.
        image: Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        spacing: Millimetres per pixel, (row, column), or `None`.
        modality: What it is taken for: a key of `MODALITIES`.
        truth: True mask, bool, `(height, width)`, or `None`.
        known: The modality where it is known without asking; empty where it has to be guessed.
        guessed: Whether `modality` is a guess.
    """

    name: str
    image: np.ndarray
    spacing: tuple[float, float] | None
    modality: str
    truth: np.ndarray | None = None
    known: str = ""
    guessed: bool = False

    def taken_as(self, modality: str) -> Subject:
        """The same, taken for what somebody says; empty leaves it to what is known or seems."""
        told = modality or self.known
        return replace(self, modality=told or guess_modality(self.image), guessed=not told)


def read_subject(path: str, frame: int = 0) -> Subject:
    """Reads an uploaded image.

    Raises:
        ValueError: In plain words and without a folder's name, what is wrong with the file.
    """
    try:
        image, spacing = read_image(path, frame=frame, size_limit=PIXEL_LIMIT)
    except (OSError, ValueError) as error:
        raise _plain(error, path) from None
    return Subject(Path(path).name, image, spacing, "").taken_as("")


def read_truth(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Reads an uploaded mask, bool, `(height, width)`.

    Raises:
        ValueError: It is no mask, or has another size than the image.
    """
    name = Path(path).name
    try:
        values = read_mask_values(path, size_limit=PIXEL_LIMIT)
    except (OSError, ValueError) as error:
        raise _plain(error, path) from None
    if values.shape != shape:
        raise ValueError(
            f"{name}: has {values.shape[1]} × {values.shape[0]} pixels, the image "
            f"{shape[1]} × {shape[0]}; a mask has the size of its image"
        )
    return MaskCoding().decode(values, name)


def example(modality: str, index: int, size: int = _EXAMPLE_SIZE) -> Subject:
    """Simulates an example, with its exact mask."""
    sample = simulate(_SIMULATORS[modality], _EXAMPLE_SEED, index, size)
    name = f"simulated-{modality}-{index}"
    image = sample.image.astype(np.float32)
    return Subject(name, image, sample.spacing, modality, sample.mask, known=modality)


def _plain(error: Exception, path: str) -> ValueError:
    return ValueError(str(error).replace(str(path), Path(path).name).replace("size_limit", "it"))

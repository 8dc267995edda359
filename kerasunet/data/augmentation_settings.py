"""Augmentation settings: how far a random view of an image may differ from it.

Pure Python, so that commands can offer the settings before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its image; 0 turns a change off.

    Attributes:
        flip: Probability of a left-right flip.
        rotation: Largest angle, in degrees, to either side.
        scale: Largest relative zoom, in or out: 0.2 means 1/1.2 to 1.2.
        shift: Largest shift, as a share of height and width.
        elastic: Standard deviation of the local displacement, as a share of the height.
        gamma: Largest gamma, or its inverse, minus 1: 0.3 means 1/1.3 to 1.3.
        contrast: Largest relative change of contrast about mid-grey, and largest change of
            brightness, to either side, as a share of 127.5.
        speckle: Largest standard deviation of multiplicative noise.
    """

    flip: float = 0.5
    rotation: float = 15.0
    scale: float = 0.2
    shift: float = 0.08
    elastic: float = 0.01
    gamma: float = 0.3
    contrast: float = 0.2
    speckle: float = 0.1

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 <= value <= (180 if name == "rotation" else 1):
                raise ValueError(f"{name} is 0 to {180 if name == 'rotation' else 1}, not {value}")


NO_AUGMENTATION = Augmentation(0, 0, 0, 0, 0, 0, 0, 0)
LIGHT_AUGMENTATION = Augmentation(
    rotation=5, scale=0.2, shift=0.05, elastic=0, gamma=0.2, contrast=0.2, speckle=0
)
PRESETS = {"full": Augmentation(), "light": LIGHT_AUGMENTATION, "none": NO_AUGMENTATION}

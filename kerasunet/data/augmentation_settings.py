"""How far a random view may differ from its image. Pure Python, as all settings are."""

from __future__ import annotations

from dataclasses import dataclass

from kerasunet.options import check, option


@dataclass(frozen=True)
class Augmentation:
    """How far views differ from the image; 0 turns a change off."""

    flip: float = option(0.5, "probability of a left-right flip", minimum=0, maximum=1)
    rotation: float = option(
        15.0, "largest angle, in degrees, to either side", minimum=0, maximum=180
    )
    scale: float = option(
        0.2, "largest relative zoom, in or out: 0.2 means 1/1.2 to 1.2", minimum=0, maximum=1
    )
    shift: float = option(
        0.08, "largest shift, as a share of height and width", minimum=0, maximum=1
    )
    elastic: float = option(
        0.01,
        "standard deviation of the local displacement, as a share of the height",
        minimum=0,
        maximum=1,
    )
    gamma: float = option(
        0.3, "largest gamma, or its inverse, minus 1: 0.3 means 1/1.3 to 1.3", minimum=0, maximum=1
    )
    contrast: float = option(
        0.2,
        "largest relative change of contrast about mid-grey, and largest change of brightness, to "
        "either side, as a share of 127.5",
        minimum=0,
        maximum=1,
    )
    speckle: float = option(
        0.1, "largest standard deviation of multiplicative noise", minimum=0, maximum=1
    )

    def __post_init__(self):
        check(self)


NO_AUGMENTATION = Augmentation(0, 0, 0, shift=0, elastic=0, gamma=0, contrast=0, speckle=0)
LIGHT_AUGMENTATION = Augmentation(
    rotation=5, scale=0.2, shift=0.05, elastic=0, gamma=0.2, contrast=0.2, speckle=0
)
PRESETS = {"full": Augmentation(), "light": LIGHT_AUGMENTATION, "none": NO_AUGMENTATION}

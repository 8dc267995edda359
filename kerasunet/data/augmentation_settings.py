"""How far a random view may differ from its image. Pure Python, as all settings are."""

from __future__ import annotations

from dataclasses import dataclass

from kerasunet.schema import check, option


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
        "largest relative change of contrast about mid-gray, and largest change of brightness, to "
        "either side, as a share of 127.5",
        minimum=0,
        maximum=1,
    )
    speckle: float = option(
        0.1, "largest standard deviation of multiplicative noise", minimum=0, maximum=1
    )
    grain: float = option(
        0.0,
        "largest size of a grain of that noise, as a share of the height; 0: a pixel",
        minimum=0,
        maximum=0.25,
        implied=0.0,
    )
    aspect: float = option(
        0.0,
        "largest stretch of width against height, or its inverse, minus 1",
        minimum=0,
        maximum=1,
        implied=0.0,
    )
    gain: float = option(
        0.0,
        "standard deviation of the logarithm of a local gain, which varies smoothly",
        minimum=0,
        maximum=2,
        implied=0.0,
    )
    blur: float = option(
        0.0,
        "largest standard deviation of a Gaussian blur, as a share of the height",
        minimum=0,
        maximum=0.1,
        implied=0.0,
    )
    shadow: float = option(
        0.0, "probability of an acoustic shadow", minimum=0, maximum=1, implied=0.0
    )
    opacity: float = option(
        0.0,
        "probability that the left or right half of the object grows white, such as a lung",
        minimum=0,
        maximum=1,
        implied=0.0,
    )
    frame: float = option(
        0.0,
        "probability of a dark frame, which hides what is under it, image and mask",
        minimum=0,
        maximum=1,
        implied=0.0,
    )
    marks: float = option(
        0.0,
        "probability of burnt-in text and measuring marks",
        minimum=0,
        maximum=1,
        implied=0.0,
    )
    inversion: float = option(
        0.0, "probability of inverted gray levels", minimum=0, maximum=1, implied=0.0
    )

    def __post_init__(self):
        check(self)


NO_AUGMENTATION = Augmentation(0, 0, 0, shift=0, elastic=0, gamma=0, contrast=0, speckle=0)
LIGHT_AUGMENTATION = Augmentation(
    rotation=5, scale=0.2, shift=0.05, elastic=0, gamma=0.2, contrast=0.2, speckle=0
)
ULTRASOUND_AUGMENTATION = Augmentation(
    scale=0.5,
    shift=0.12,
    elastic=0.015,
    gamma=0.5,
    contrast=0.25,
    speckle=0.2,
    grain=0.03,
    aspect=0.35,
    gain=0.25,
    blur=0.01,
    shadow=0.25,
    frame=0.3,
    marks=0.3,
)
"""Other scanners, other settings of the scanner, other hospitals' ways to save a picture."""
XRAY_AUGMENTATION = Augmentation(
    scale=0.4,
    shift=0.1,
    gamma=0.6,
    contrast=0.2,
    grain=0.02,
    aspect=0.25,
    gain=0.15,
    blur=0.01,
    opacity=0.25,
    frame=0.3,
    marks=0.3,
    inversion=0.15,
)
"""Portable views, other exposures, inverted gray levels, an opaque lung."""
PRESETS = {
    "full": Augmentation(),
    "light": LIGHT_AUGMENTATION,
    "none": NO_AUGMENTATION,
    "ultrasound": ULTRASOUND_AUGMENTATION,
    "xray": XRAY_AUGMENTATION,
}

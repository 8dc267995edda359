"""Pictures of a comparison, as uint8 RGB arrays: votes and differences in colour, PNG bytes."""

from __future__ import annotations

import cv2
import numpy as np

from kerasunet.data.decoding import resize_mask
from kerasunet.drawing import overlay, to_rgb

FIRST_ONLY = (230, 159, 0)
SECOND_ONLY = (86, 180, 233)
BOTH = (240, 240, 240)
_COLOURS = cv2.COLORMAP_VIRIDIS


def colour_scale(steps: int) -> np.ndarray:
    """Return a colour scale from few to many, uint8 RGB, `(steps, 3)`."""
    ramp = np.linspace(0, 255, steps).round().astype(np.uint8)
    return cv2.applyColorMap(ramp[:, None], _COLOURS)[:, 0, ::-1]


def draw_votes(
    image: np.ndarray, votes: np.ndarray, voters: int, *, opacity: float = 0.7
) -> np.ndarray:
    """Draw how many masks mark each pixel: dark blue for one, yellow for all, else the image.

    Args:
        image: Grey or RGB, 0 to 255, `(height, width[, channels])`.
        votes: Unsigned integers, `(height, width)`, 0 to `voters`.
        voters: How many masks there are.
        opacity: Of the colours, 0 to 1.
    """
    colours = np.vstack([np.zeros((1, 3), np.uint8), colour_scale(max(voters, 1))])
    return _blend(to_rgb(image), colours[votes], votes > 0, opacity=opacity)


def draw_difference(
    image: np.ndarray, first: np.ndarray, second: np.ndarray, *, opacity: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two masks so that their difference shows: white where they agree, else in colour.

    Args:
        image: Grey or RGB, 0 to 255, `(height, width[, channels])`.
        first, second: Bool, `(height, width)`.
        opacity: Of the fill, 0 to 1.

    Returns:
        The picture of the first mask, what it alone marks in orange; that of the second, in blue.
    """
    canvas = _blend(to_rgb(image), np.array(BOTH), first & second, opacity=opacity / 2)
    return (
        _blend(canvas, np.array(FIRST_ONLY), first & ~second, opacity=opacity),
        _blend(canvas, np.array(SECOND_ONLY), second & ~first, opacity=opacity),
    )


def draw_mask(
    image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], *, longest: int
) -> np.ndarray:
    """Draw a mask on an image that is first scaled down, so that the contour stays visible."""
    small = shrunk(to_rgb(image), longest)
    return overlay(small, resize_mask(mask, small.shape[:2]), colour)


def shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """Scale a picture down, if need be, so that its longer side has `longest` pixels."""
    scale = longest / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(round(side * scale), 1) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def png(picture: np.ndarray) -> bytes:
    """Encode RGB, grey or bool pixels as PNG without any metadata; bool becomes 0 and 255."""
    if picture.dtype == bool:
        picture = picture.astype(np.uint8) * 255
    pixels = picture[..., ::-1] if picture.ndim == 3 else picture
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    return encoded.tobytes()


def _blend(canvas: np.ndarray, colours: np.ndarray, where: np.ndarray, *, opacity: float):
    blended, tint = canvas.copy(), np.broadcast_to(colours, canvas.shape)[where]
    blended[where] = (canvas[where] * (1 - opacity) + tint * opacity).astype(np.uint8)
    return blended

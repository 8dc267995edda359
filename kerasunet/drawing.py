"""Pictures of masks on images: contours, panels, contact sheets, votes and differences, as RGB.

Colors are those of Okabe and Ito's palette, which color-blind readers can tell apart.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from kerasunet.files import write_atomically
from kerasunet.objects import ONE_OBJECT, Objects

_OVERLAYS = 12

TRUTH = (0, 158, 115)
PREDICTION = (230, 159, 0)
FIRST_ONLY = (230, 159, 0)
SECOND_ONLY = (86, 180, 233)
BOTH = (204, 121, 167)
OBJECT_COLORS = (
    PREDICTION,
    (86, 180, 233),
    TRUTH,
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""The color of each of several objects, in their order; after the last, they repeat."""
_VOTE_COLORS = cv2.COLORMAP_VIRIDIS
_PANEL = 256
_CAPTION = 22
_GAP = 4
_SWATCH = 20
_AFTER_HEADER = 33  # Bytes of a PNG's signature and of its first chunk.
_PRIVATE = b"keRa"  # A type of chunk that readers may ignore, and copies may keep.
_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Turn `(height, width)`, `(height, width, 1)` or `(height, width, 3)` into uint8 RGB."""
    levels = image if image.dtype == np.uint8 else np.clip(np.rint(image), 0, 255).astype(np.uint8)
    pixels = levels.reshape(*image.shape[:2], -1)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels.copy()


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    color: tuple[int, int, int] = PREDICTION,
    *,
    opacity: float = 0.25,
    thickness: int = 1,
) -> np.ndarray:
    """Draw a mask as a translucent fill with a contour.

    Args:
        image: Gray or RGB, 0 to 255, `(height, width[, channels])`.
        mask: Bool, `(height, width)`.
        color: RGB, 0 to 255.
        opacity: Of the fill, 0 to 1.
        thickness: Of the contour, in pixels.

    Returns:
        Uint8 RGB, `(height, width, 3)`.
    """
    canvas = to_rgb(image)
    canvas[mask] = (canvas[mask] * (1 - opacity) + np.array(color) * opacity).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(canvas, outlines, -1, color, thickness, cv2.LINE_AA)


def object_color(number: int) -> tuple[int, int, int]:
    """Return the color of an object, by its number from 0."""
    return OBJECT_COLORS[number % len(OBJECT_COLORS)]


def overlay_objects(
    image: np.ndarray, masks: np.ndarray, objects: Objects, *, thickness: int = 1
) -> np.ndarray:
    """Draw the masks of several objects, each in its color, as `overlay` draws one.

    Args:
        image: Gray or RGB, 0 to 255, `(height, width[, channels])`.
        masks: As `Objects.encode` gives them, `(height, width)`.
        objects: The objects.
        thickness: Of the contours, in pixels.

    Returns:
        Uint8 RGB, `(height, width, 3)`.
    """
    canvas = to_rgb(image)
    for number, plane in enumerate(objects.planes(masks)):
        canvas = overlay(canvas, plane, object_color(number), thickness=thickness)
    return canvas


def with_legend(picture: np.ndarray, objects: Objects) -> np.ndarray:
    """Return a picture, uint8 RGB, with the names of the objects below, each after its color."""
    rows = []
    for number, name in enumerate(objects.names):
        row = np.full((_CAPTION, picture.shape[1], 3), 255, np.uint8)
        row[_GAP:-_GAP, _GAP : _GAP + _SWATCH] = object_color(number)
        origin = (2 * _GAP + _SWATCH, _CAPTION - 6)
        text = _fitting(name, picture.shape[1] - origin[0])
        rows.append(cv2.putText(row, text, origin, *_FONT[:2], (40, 40, 40), _FONT[2], cv2.LINE_AA))
    return np.vstack([picture, *rows])


def draw_comparison(
    image: np.ndarray,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    *,
    name: str = "image",
    objects: Objects = ONE_OBJECT,
) -> np.ndarray:
    """Draw image, true mask and any number of predicted masks side by side, with captions.

    Args:
        image: Gray or RGB, 0 to 255, `(height, width[, channels])`.
        truth: Bool, `(height, width)`; for several objects, as `Objects.encode` gives it.
        predictions: Caption to mask, likewise.
        name: Caption of the image.
        objects: What the masks mark; several have a color each, and a legend below.

    Returns:
        Uint8 RGB.
    """
    if objects.several:
        draw = partial(_enlarged_objects, image, objects=objects)
        masks = [("truth", draw(truth)), *((text, draw(m)) for text, m in predictions.items())]
    else:
        masks = [("truth", _enlarged_overlay(image, truth, TRUTH))]
        masks += [
            (text, _enlarged_overlay(image, m, PREDICTION)) for text, m in predictions.items()
        ]
    panels = [(name, _enlarge(to_rgb(image))), *masks]
    drawn = np.hstack([_captioned(panel, caption) for caption, panel in panels])
    return with_legend(drawn, objects) if objects.several else drawn


def write_overlays(
    folder: Path,
    images: np.ndarray,
    truths: np.ndarray,
    *,
    predictions: Mapping[str, np.ndarray],
    names: Sequence[str],
    scores: Sequence[float],
    objects: Objects = ONE_OBJECT,
) -> None:
    """Draw cases spread evenly from the worst to the best Dice, in place of earlier such pictures.

    Args:
        folder: Receives a dozen PNG files at most, named by rank, Dice and case.
        images: Gray or RGB, 0 to 255, `(cases, height, width, channels)`.
        truths: Bool, `(cases, height, width)`; for several objects, as `Objects.encode` gives them.
        predictions: Caption to masks, likewise.
        names: Names of the cases.
        scores: Their Dice, 0 to 1.
        objects: What the masks mark.
    """
    for path in folder.glob("[0-9]*-dice-*.png"):
        path.unlink()  # Of an attempt that was killed: it may have drawn others.
    order = np.argsort(scores, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(_OVERLAYS, len(order))).astype(int)]
    for rank, index in enumerate(chosen, start=1):
        masks = {caption: found[index] for caption, found in predictions.items()}
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in names[index])
        name = f"{rank:02d}-dice-{scores[index]:.2f}-{safe}.png"
        drawn = draw_comparison(images[index], truths[index], masks, objects=objects)
        write_png(folder / name, drawn)


def contact_sheet(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    columns: int = 6,
    color: tuple[int, int, int] = TRUTH,
    objects: Objects = ONE_OBJECT,
) -> np.ndarray:
    """Draw many image/mask pairs on one sheet, to see at a glance whether they belong together.

    Args:
        images: Gray or RGB, 0 to 255, any sizes.
        masks: Bool, of the sizes of their images; for several objects, as `Objects.encode` gives
            them.
        captions: One for each pair.
        columns: Pairs in a row.
        color: Of the masks, where there is one object.
        objects: What the masks mark.

    Returns:
        Uint8 RGB.

    Raises:
        ValueError: There is no pair, or the three differ in number.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one pair")
    draw = partial(_enlarged_objects, objects=objects)
    if not objects.several:
        draw = partial(_enlarged_overlay, color=color)
    panels = [
        _captioned(draw(image, mask), caption)
        for image, mask, caption in zip(images, masks, captions, strict=True)
    ]
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % columns)
    rows = [np.hstack(panels[i : i + columns]) for i in range(0, len(panels), columns)]
    sheet = np.vstack(rows)
    return with_legend(sheet, objects) if objects.several else sheet


def color_scale(steps: int) -> np.ndarray:
    """Return a color scale from few to many, uint8 RGB, `(steps, 3)`."""
    ramp = np.linspace(0, 255, steps).round().astype(np.uint8)
    return cv2.applyColorMap(ramp[:, None], _VOTE_COLORS)[:, 0, ::-1]


def draw_votes(
    image: np.ndarray, votes: np.ndarray, voters: int, *, opacity: float = 0.7
) -> np.ndarray:
    """Draw how many masks mark each pixel: dark blue for one, yellow for all, else the image.

    Args:
        image: Gray or RGB, 0 to 255, `(height, width[, channels])`.
        votes: Unsigned integers, `(height, width)`, 0 to `voters`.
        voters: How many masks there are.
        opacity: Of the colors, 0 to 1.
    """
    colors = np.vstack([np.zeros((1, 3), np.uint8), color_scale(max(voters, 1))])
    return _blend(to_rgb(image), colors[votes], votes > 0, opacity=opacity)


def draw_difference(
    image: np.ndarray, first: np.ndarray, second: np.ndarray, *, opacity: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two masks so that their difference shows; fainter, in purple, where they agree.

    Args:
        image: Gray or RGB, 0 to 255, `(height, width[, channels])`.
        first, second: Bool, `(height, width)`.
        opacity: Of the fill, 0 to 1.

    Returns:
        The picture of the first mask, what it alone marks in orange; that of the second, in blue.
    """
    canvas = _blend(to_rgb(image), np.array(BOTH), first & second, opacity=0.7 * opacity)
    return (
        _blend(canvas, np.array(FIRST_ONLY), first & ~second, opacity=opacity),
        _blend(canvas, np.array(SECOND_ONLY), second & ~first, opacity=opacity),
    )


def shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """Scale a picture down, if need be, so that its longer side has `longest` pixels."""
    scale = longest / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(round(side * scale), 1) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def png(picture: np.ndarray) -> bytes:
    """Encode RGB, gray or bool pixels as PNG without any metadata; bool becomes 0 and 255."""
    if picture.dtype == bool:
        picture = picture.astype(np.uint8) * 255
    pixels = picture[..., ::-1] if picture.ndim == 3 else picture
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    return encoded.tobytes()


def write_png(path: Path, picture: np.ndarray, *, mark: bytes = b"") -> None:
    """Write an RGB, gray or bool picture as PNG, atomically; bool becomes 0 and 255.

    Args:
        path: The file.
        picture: The pixels.
        mark: What the file is to be recognized by; readers of pictures do not see it.
    """
    content = png(picture)
    if mark:
        content = content[:_AFTER_HEADER] + _chunk(_PRIVATE + mark) + content[_AFTER_HEADER:]
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _chunk(content: bytes) -> bytes:
    """Return a part of a PNG from its type and what follows."""
    length = struct.pack(">I", len(content) - len(_PRIVATE))
    return length + content + struct.pack(">I", zlib.crc32(content))


def _enlarged_overlay(image: np.ndarray, mask: np.ndarray, color) -> np.ndarray:
    large_mask = _enlarge(mask.astype(np.uint8)) > 0
    return overlay(_enlarge(to_rgb(image)), large_mask, color, thickness=2)


def _enlarged_objects(image: np.ndarray, masks: np.ndarray, *, objects: Objects) -> np.ndarray:
    return overlay_objects(_enlarge(to_rgb(image)), _enlarge(masks), objects, thickness=2)


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Fit a picture into the panel, keeping its proportions; masks stay binary."""
    height, width = picture.shape[:2]
    scale = _PANEL / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    smooth = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
    method = cv2.INTER_NEAREST if picture.ndim == 2 else smooth
    fitted = cv2.resize(picture, size, interpolation=method)
    bottom, right = _PANEL - size[1], _PANEL - size[0]
    return cv2.copyMakeBorder(fitted, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=0)


def _captioned(panel: np.ndarray, caption: str) -> np.ndarray:
    framed = cv2.copyMakeBorder(
        panel, _CAPTION, _GAP, _GAP, _GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    origin = (_GAP, _CAPTION - 6)
    text = _fitting(caption, panel.shape[1])
    return cv2.putText(framed, text, origin, *_FONT[:2], (40, 40, 40), _FONT[2], cv2.LINE_AA)


def _fitting(caption: str, width: int) -> str:
    """Return the caption, or as much of its end as fits into the width, in pixels."""
    text = caption
    while cv2.getTextSize(text, *_FONT)[0][0] > width:
        caption = caption[1:]
        text = f"...{caption}"
    return text


def _blend(canvas: np.ndarray, colors: np.ndarray, where: np.ndarray, *, opacity: float):
    blended, tint = canvas.copy(), np.broadcast_to(colors, canvas.shape)[where]
    blended[where] = (canvas[where] * (1 - opacity) + tint * opacity).astype(np.uint8)
    return blended

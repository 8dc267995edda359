"""Where frames lie in the patient: planes, and whether a mask's pixels are those of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasunet.data.readers.source import Partner, Unusable

TOLERANCE = 0.25
"""How far, in pixels, the centers of pixels that are said to be the same may lie apart."""


def corners(shape: tuple[int, int]) -> np.ndarray:
    """Return the corners of a frame, `(3, 4)`: columns and rows from 0, and ones."""
    height, width = shape
    columns, rows = np.meshgrid([0, width - 1], [0, height - 1])
    return np.stack([columns.ravel(), rows.ravel(), np.ones(4)])


def apart(mask: np.ndarray, image: np.ndarray, shape: tuple[int, int]) -> tuple[float, float]:
    """Measure how far a mask's frame lies from an image's.

    Args:
        mask: Plane of the mask's frame, `(3, 3)`, as in `Partner.plane`.
        image: Plane of the image's frame.
        shape: Height and width of the image.

    Returns:
        The largest distance within the plane and that across it, both in pixels of the mask.
    """
    across = np.cross(mask[:, 0], mask[:, 1])
    pixel = float(np.linalg.norm(mask[:, :2], axis=0).max())
    axes = np.column_stack([mask[:, :2], across * pixel / np.linalg.norm(across)])
    found = np.linalg.solve(axes, image @ corners(shape) - mask[:, 2:])
    within = np.abs(found[:2] - corners(shape)[:2]).max()
    return float(within), float(np.abs(found[2]).max())


def frames_at(partner: Partner, planes: Sequence[np.ndarray | None]) -> list[int]:
    """Return the frames, from 0, that lie where the image's frame does.

    There may be none, if the others continue the image to the front or to the back.

    Raises:
        Unusable: None of them lies so, or they do not say where they lie.
    """
    image = partner.plane
    if image is None or any(plane is None for plane in planes):
        raise Unusable(f"it does not say where it lies in {partner.name}; export it again")
    found = [apart(plane, image, partner.shape) for plane in planes if plane is not None]
    if all(within > TOLERANCE for within, _ in found):
        raise Unusable(elsewhere(partner))
    return [
        index
        for index, (within, across) in enumerate(found)
        if within <= TOLERANCE and across <= TOLERANCE
    ]


def matching_frame(partner: Partner, planes: Sequence[np.ndarray | None], frame: int) -> int:
    """Return the mask's frame for an image's: by position if both have one, else of equal number.

    Raises:
        Unusable: None of them lies where the image does, or the order of axes is not known.
    """
    if partner.plane is None or all(plane is None for plane in planes):
        check_order(partner)
        return frame
    found = frames_at(partner, planes)
    if len(found) != 1:
        raise Unusable(elsewhere(partner))
    return found[0]


def check_order(partner: Partner) -> None:
    """Refuse to lay a mask that has no place in the patient on an image that was turned by it."""
    if _may_be_turned(partner):
        raise Unusable(
            f"it does not say where it lies, and {partner.name} is turned by its orientation; "
            "save the mask in the format of its image, with the same orientation"
        )


def check_outlined(image: Partner, *, sized: bool) -> None:
    """Refuse an image whose outlines, in pixels, may be those of another view of it.

    Args:
        image: The image.
        sized: Whether the outlines come with the size of the view that they were drawn on.
    """
    if image.exif != 1 and (_may_be_turned(image) or not sized):
        raise Unusable(
            "it is turned by its EXIF orientation, so outlines in pixels do not tell on which view "
            "they were drawn; save it as it was outlined, without that orientation"
        )
    if _may_be_turned(image):
        raise Unusable(
            "it is turned by its orientation, or may have to be, so outlines in pixels do not tell "
            "where they lie; export them as masks in the format of this image"
        )


def _may_be_turned(image: Partner) -> bool:
    height, width = image.shape
    return image.order == "turned" or (image.order == "unknown" and height == width)


def elsewhere(partner: Partner) -> str:
    """Return the words for a mask that does not lie on its image."""
    return (
        f"its pixels lie elsewhere in the patient than those of {partner.name}; resample it to "
        "its image, or save it with the image's orientation and position"
    )

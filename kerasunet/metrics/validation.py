"""Refuse what no metric can be computed from, and say what was given and what would be right."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_mask(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return a binary image as booleans.

    Args:
        values: (H, W), boolean or any number type holding only 0 and 1.
        name: what to call it in an error.

    Returns:
        bool (H, W).

    Raises:
        ValueError: not two-dimensional, without pixels, or holding anything but 0 and 1.
    """
    image = _as_image(values, name)
    if image.dtype == bool:
        return image
    _refuse(
        image, (image != 0) & (image != 1), f"{name} must hold only 0 and 1 (or False and True)"
    )
    return image.astype(bool)


def as_probability(values: ArrayLike, name: str) -> NDArray[np.generic]:
    """Return an image of probabilities, in the number type it came in.

    Args:
        values: (H, W), each in [0, 1].
        name: what to call it in an error.

    Returns:
        (H, W), same type.

    Raises:
        ValueError: not two-dimensional, without pixels, out of [0, 1] or NaN.
    """
    image = _as_image(values, name)
    _refuse(image, ~((image >= 0) & (image <= 1)), f"{name} must lie in [0, 1]")
    return image


def require_same_shape(truth: NDArray, other: NDArray, name: str) -> None:
    """Raise ValueError naming both shapes unless they are equal."""
    if truth.shape != other.shape:
        raise ValueError(
            f"truth has shape {truth.shape} but {name} has shape {other.shape}: "
            "they must be the same (height, width)"
        )


def as_mask_pair(
    truth: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return true and predicted mask as booleans of one shape, or raise ValueError."""
    true_mask, predicted_mask = as_mask(truth, "truth"), as_mask(prediction, "prediction")
    require_same_shape(true_mask, predicted_mask, "prediction")
    return true_mask, predicted_mask


def as_spacing(spacing: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return the distance between pixel centres along rows and columns; (1, 1) for None.

    Raises:
        ValueError: not two positive finite numbers.
    """
    steps = np.ones(2) if spacing is None else np.asarray(spacing, dtype=np.float64)
    if steps.shape != (2,) or not np.all(np.isfinite(steps) & (steps > 0)):
        raise ValueError(
            f"spacing must be two positive numbers, (row, column) in mm, or None, got {spacing!r}"
        )
    return steps


def require_fraction(value: float, name: str) -> None:
    """Raise ValueError unless 0 < value < 1."""
    if not (math.isfinite(value) and 0 < value < 1):
        raise ValueError(f"{name} must lie between 0 and 1, both excluded, got {value!r}")


def _as_image(values: ArrayLike, name: str) -> NDArray[np.generic]:
    image = np.asarray(values)
    if image.ndim != 2:
        raise ValueError(f"{name} must be 2-D (height, width), got shape {image.shape}")
    if image.size == 0:
        raise ValueError(f"{name} has no pixels: shape {image.shape}")
    if image.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold booleans or real numbers, got dtype {image.dtype}")
    return image


def _refuse(image: NDArray[np.generic], wrong: NDArray[np.bool_], message: str) -> None:
    if wrong.any():
        row, column = np.unravel_index(np.argmax(wrong), wrong.shape)
        raise ValueError(f"{message}, found {image[row, column]} at row {row}, column {column}")

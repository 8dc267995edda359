"""Random views of an image and its mask to train on, and test-time augmentation by a flip."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from kerasunet.data.appearance import change_appearance, grainy_noise, smooth_noise
from kerasunet.data.augmentation_settings import NO_AUGMENTATION, Augmentation

Network = Callable[[np.ndarray], np.ndarray]


def augment(
    image: np.ndarray, mask: np.ndarray, settings: Augmentation, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one random view.

    Args:
        image: Uint8, `(height, width, channels)`, 0 to 255.
        mask: Bool or uint8 of labels or bits, `(height, width)`.
        settings: How far the view may differ.
        rng: Source of all randomness; the same state gives the same view.

    Returns:
        The view, float32 `(height, width, channels)`, 0 to 255; and its mask, of the dtype of
        the mask and with no value that it does not have.
    """
    if settings == NO_AUGMENTATION:
        return image.astype(np.float32), mask
    columns, rows = _sampling_grid(mask.shape, settings, rng)
    border = cv2.BORDER_REFLECT_101
    warped = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=border)
    warped_mask = cv2.remap(
        mask.view(np.uint8), columns, rows, cv2.INTER_NEAREST, borderMode=border
    )
    changed = _change_grey_levels(warped.reshape(image.shape), settings, rng)
    image, shown = change_appearance(changed, warped_mask > 0, settings, rng)
    if mask.dtype == bool:
        return image, shown
    return image, np.where(shown, warped_mask, np.uint8(0))


def with_flip(network: Network) -> Network:
    """Add test-time augmentation: predict images and their left-right flips, and average.

    Training flips half of its views, so that both are as familiar; the mean of two predictions errs
    less than one (Krizhevsky et al., NeurIPS 2012, section 4.1; in segmentation, nnU-Net, Isensee
    et al., Nature Methods 2021, flips along every axis). It costs a second pass.

    Args:
        network: From images, `(cases, height, width, channels)`, to probabilities whose third axis
            is the width.

    Returns:
        The same from images to the mean of both probabilities.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        flipped = np.ascontiguousarray(images[:, :, ::-1])
        return (network(images) + network(flipped)[:, :, ::-1]) / 2

    return predict


def _sampling_grid(shape, settings: Augmentation, rng):
    """Return where each pixel comes from: float32 columns and rows, each (height, width)."""
    height, width = shape
    x, y = _centred_coordinates(height, width)
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation))
    zoom = _log_uniform(settings.scale, rng)
    flip = -1.0 if rng.random() < settings.flip else 1.0
    shift_x, shift_y = rng.uniform(-settings.shift, settings.shift, 2) * (width, height)
    if settings.aspect:
        stretch = _log_uniform(settings.aspect, rng) ** 0.5
        x, y = x * np.float32(stretch), y / np.float32(stretch)
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    columns = flip * (cosine * x - sine * y) + np.float32((width - 1) / 2 + shift_x)
    rows = sine * x + cosine * y + np.float32((height - 1) / 2 + shift_y)
    if settings.elastic:
        columns += smooth_noise(shape, settings.elastic * height, rng)
        rows += smooth_noise(shape, settings.elastic * height, rng)
    return columns.astype(np.float32), rows.astype(np.float32)


@lru_cache(maxsize=8)
def _centred_coordinates(height: int, width: int):
    x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    y = np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2)
    return x[None, :], y[:, None]


def _log_uniform(largest: float, rng) -> float:
    """Return a factor between 1/(1 + largest) and 1 + largest, as often below 1 as above."""
    return float(np.exp(rng.uniform(-1, 1) * np.log1p(largest)))


def _change_grey_levels(image: np.ndarray, settings: Augmentation, rng) -> np.ndarray:
    """Change gamma and contrast and add noise, float32; the noise is the same in all channels."""
    image = _change_gamma_and_contrast(image, settings, rng)
    if settings.speckle:
        noise = _noise(image.shape[:2], settings.grain, rng)
        image *= 1 + np.float32(rng.uniform(0, settings.speckle)) * noise
    return np.clip(image, 0, 255)


def _noise(shape: tuple[int, int], grain: float, rng) -> np.ndarray:
    """Return noise of variance 1, float32 (height, width, 1)."""
    if grain:
        return grainy_noise(shape, grain, rng)[..., None]
    return rng.standard_normal((*shape, 1), dtype=np.float32)


def _change_gamma_and_contrast(image: np.ndarray, settings: Augmentation, rng) -> np.ndarray:
    gamma = np.float32(_log_uniform(settings.gamma, rng))
    factor = np.float32(_log_uniform(settings.contrast, rng))
    offset = np.float32(rng.uniform(-settings.contrast, settings.contrast) / 2)
    if not (settings.gamma or settings.contrast):
        return image.astype(np.float32)
    levels = (np.arange(256, dtype=np.float32) / 255) ** gamma
    levels = (levels - 0.5) * factor + 0.5 + offset
    return cv2.LUT(image, (levels * 255).astype(np.float32)).reshape(image.shape)

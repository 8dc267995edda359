"""Training batches of random views, and test-time augmentation by a flip.

Batches are a pure function of (seed, step): nothing to restore when resuming. A view is the same
anatomy from elsewhere. Effects come in the order in which they arise: in the body (opacity), in the
scanner (gain, blur, shadow), on the screen (frame, marks, inversion).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from kerasunet.data.augmentation_settings import NO_AUGMENTATION, Augmentation
from kerasunet.data.decoding import DecodedCases, resize_image, resize_objects

Network = Callable[[np.ndarray], np.ndarray]
_ORDER, _VIEW, _SIDE = 0, 1, 2
_THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))  # The other half trains.
_PREFETCH = _THREADS + 1
_LETTERS = "ABCDEFGHKLMNPRSTVX0123456789.:- "
_LARGEST_MARGIN, _MOST_MARKS = 0.18, 3


class View(NamedTuple):
    """A view of an image: the index of its case, and its own number among those of the case."""

    case: int
    number: int


class Batches:
    """Augmented batches of an endless stream of passes over the cases.

    Each pass has its own order. Step s takes positions s·batch to (s+1)·batch of the stream, so
    small data sets need no padding, and every strategy sees the same images in the same order.

    Args:
        cases: Decoded training cases, at least one.
        batch_size: Images per batch.
        augmentation: How far the views differ from the images.
        seed: Seed of order and views.
        views: Number of different views of each image, which come round again; `None` draws a
            new one in every pass.
        sides: Heights and widths of which each step takes one at random, in pixels; smaller ones
            more often, so that all cost about the same. None for the size of the cases.
    """

    def __init__(
        self,
        cases: DecodedCases,
        batch_size: int,
        augmentation: Augmentation,
        *,
        seed: int,
        views: int | None = None,
        sides: Sequence[int] = (),
    ):
        self.views = views
        self._sides = np.array(sides)
        self._cases = cases
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self._cases)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Make the batch of a step.

        Args:
            step: Global step, from 0.

        Returns:
            Images, float32 `(batch, height, width, channels)`, 0 to 255, and masks, float32
            `(batch, height, width, 1)`, 0 or 1; of several objects uint8 of that shape, labels or
            bits as in `DecodedCases`.
        """
        return self.draw(self.views_of(step), self._side_of(step))

    def views_of(self, step: int) -> list[View]:
        """Return the views that make up the batch of a step."""
        first = step * self._batch_size
        return [self._view_at(position) for position in range(first, first + self._batch_size)]

    def draw(self, views: Sequence[View], side: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Make views, as a batch like that of `batch`, of the cases' size or of another side."""
        images, masks = zip(*(self._draw(view, side) for view in views), strict=True)
        kind = np.uint8 if self._cases.objects.several else np.float32
        return np.stack(images), np.stack(masks)[..., None].astype(kind)

    def steps(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Make the batches of steps `first` to `last - 1`, a few ahead, in threads."""
        with ThreadPoolExecutor(_THREADS) as pool:
            ahead = range(first, min(first + _PREFETCH, last))
            waiting = [pool.submit(self.batch, step) for step in ahead]
            for step in range(first, last):
                batch = waiting.pop(0).result()
                if step + _PREFETCH < last:
                    waiting.append(pool.submit(self.batch, step + _PREFETCH))
                yield batch

    def _view_at(self, position: int) -> View:
        number, rank = divmod(position, len(self._cases))
        case = int(_order(self._seed, number, len(self._cases))[rank])
        return View(case, number if self.views is None else number % self.views)

    def _side_of(self, step: int) -> int | None:
        if not len(self._sides):
            return None
        cheap = 1 / self._sides**2
        rng = np.random.default_rng([self._seed, _SIDE, step])
        return int(rng.choice(self._sides, p=cheap / cheap.sum()))

    def _draw(self, view: View, side: int | None) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, _VIEW, view.number, view.case])
        image, mask = self._cases.images[view.case], self._cases.masks[view.case]
        if side is not None and mask.shape != (side, side):
            channels = image.shape[2]
            image = resize_image(image.squeeze(), (side, side), channels)
            mask = resize_objects(mask, (side, side), self._cases.objects)
        return augment(image, mask, self._augmentation, rng=rng)


@lru_cache(maxsize=8)
def _order(seed: int, number: int, count: int) -> np.ndarray:
    """Return the order of the cases in a pass; cached, as every view of the pass asks for it."""
    return np.random.default_rng([seed, _ORDER, number]).permutation(count)


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

    Raises:
        ValueError: Image or mask are of another dtype, or of unlike shapes.
    """
    if (image.dtype, image.shape[:-1]) != (np.uint8, mask.shape) or mask.itemsize > 1:
        raise ValueError("images must be uint8 with channels, masks bool or uint8 of equal sides")
    if settings == NO_AUGMENTATION:
        return image.astype(np.float32), mask
    columns, rows = _sampling_grid(mask.shape, settings, rng)
    border = cv2.BORDER_REFLECT_101
    warped = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=border)
    moved = cv2.remap(mask.view(np.uint8), columns, rows, cv2.INTER_NEAREST, borderMode=border)
    changed = _change_gray_levels(warped.reshape(image.shape), settings, rng)
    image, shown = change_appearance(changed, moved > 0, settings, rng=rng)
    return image, shown if mask.dtype == bool else np.where(shown, moved, np.uint8(0))


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
    x, y = _centered_coordinates(height, width)
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
def _centered_coordinates(height: int, width: int):
    x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    y = np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2)
    return x[None, :], y[:, None]


def _log_uniform(largest: float, rng) -> float:
    """Return a factor between 1/(1 + largest) and 1 + largest, as often below 1 as above."""
    return float(np.exp(rng.uniform(-1, 1) * np.log1p(largest)))


def _change_gray_levels(image: np.ndarray, settings: Augmentation, rng) -> np.ndarray:
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


def change_appearance(
    image: np.ndarray, mask: np.ndarray, settings: Augmentation, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw how the same anatomy might look elsewhere. An effect that is off draws nothing.

    Args:
        image: Float32, `(height, width, channels)`, 0 to 255; it may be overwritten.
        mask: Bool, `(height, width)`.
        settings: How far the image may change.
        rng: Source of all randomness.

    Returns:
        The image, float32, 0 to 255; and the mask, without what a frame hides.
    """
    if _happens(settings.opacity, rng):
        image = _with_opacity(image, mask, rng)
    if settings.gain:
        image = image * np.exp(smooth_noise(mask.shape, settings.gain, rng))[..., None]
    if settings.blur:
        image = _blurred(image, rng.uniform(0, settings.blur) * len(image))
    if _happens(settings.shadow, rng):
        image = image * (1 - _shadow(mask.shape, rng))[..., None]
    if _happens(settings.frame, rng):
        visible = _visible(mask.shape, rng)
        level = np.float32(rng.choice([0, rng.uniform(0, 60)]))
        image, mask = np.where(visible[..., None], image, level), mask & visible
    image = np.ascontiguousarray(np.clip(image, 0, 255), np.float32)
    if _happens(settings.marks, rng):
        _draw_marks(image, mask, rng)
    if _happens(settings.inversion, rng):
        image = np.float32(255) - image
    return image, mask


def grainy_noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise of variance 1, float32 `(height, width)`.

    Args:
        shape: Height and width.
        grain: Largest size of a grain, as a share of the height; it is drawn from one pixel on.
        rng: Source of all randomness.
    """
    size = max(1.0, grain * shape[0]) ** rng.random()
    coarse = [max(2, round(side / size)) for side in shape]
    drawn = rng.standard_normal(coarse, dtype=np.float32)
    noise = np.asarray(cv2.resize(drawn, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    return noise / np.float32(max(float(noise.std()), 1e-3))


def smooth_noise(shape: tuple[int, int], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise, float32 `(height, width)`: coarse and normal, cubically interpolated."""
    coarse = rng.normal(0, deviation, (6, 6)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _happens(probability: float, rng) -> bool:
    return bool(probability) and rng.random() < probability


def _with_opacity(image: np.ndarray, mask: np.ndarray, rng) -> np.ndarray:
    """Whiten one half of the object, left or right of its middle, from some height down."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return image
    half = mask.copy()
    middle = round(columns.mean())
    if rng.random() < 0.5:
        half[:, :middle] = False
    else:
        half[:, middle:] = False
    half[: round(rng.uniform(-0.5, 0.7) * np.ptp(rows) + rows.min())] = False
    weight = _blurred(half.astype(np.float32)[..., None], rng.uniform(0.01, 0.06) * len(mask))
    weight *= np.float32(rng.uniform(0.5, 1))
    return image * (1 - weight) + np.float32(rng.uniform(150, 250)) * weight


def _blurred(image: np.ndarray, deviation: float) -> np.ndarray:
    if deviation < 0.3:  # Of a pixel: no more than rounding.
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(image.shape)


def _shadow(shape: tuple[int, int], rng) -> np.ndarray:
    """Return which share of the light a shadow takes: a soft stripe that widens downward."""
    y, x = _unit_coordinates(*shape)
    top, middle, slope = rng.uniform(-0.3, 0.7), rng.uniform(0, 1), rng.uniform(-0.3, 0.3)
    width = rng.uniform(0.03, 0.15) * (1 + 0.7 * np.maximum(y - top, 0))
    across = np.exp(-(((x - middle - slope * (y - top)) / width) ** 4))
    along = np.clip((y - top) / 0.1, 0, 1)
    return (np.float32(rng.uniform(0.3, 0.95)) * across * along).astype(np.float32)


@lru_cache(maxsize=16)
def _unit_coordinates(height: int, width: int):
    rows = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / height
    columns = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / width
    return rows[:, None], columns[None, :]


def _visible(shape: tuple[int, int], rng) -> np.ndarray:
    """Return what a frame leaves: a quadrilateral; each of its sides may be that of the image."""
    height, width = shape
    margins = rng.uniform(0, _LARGEST_MARGIN, (4, 2)) * (rng.random((4, 1)) < 0.5)
    if rng.random() < 0.7:  # A rectangle.
        margins[:, 1] = margins[:, 0]
    (left, left2), (right, right2), (top, top2), (bottom, bottom2) = margins
    corners = [(left, top), (1 - right, top2), (1 - right2, 1 - bottom), (left2, 1 - bottom2)]
    polygon = np.rint(np.array(corners) * (width - 1, height - 1)).astype(np.int32)
    visible: np.ndarray = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(visible, polygon, 1)
    return visible.astype(bool)


def _draw_marks(image: np.ndarray, mask: np.ndarray, rng) -> None:
    """Draw a measured distance across the object, or text anywhere; up to three of them."""
    for _ in range(rng.integers(1, _MOST_MARKS + 1)):
        drawn: np.ndarray = np.zeros(mask.shape, np.uint8)
        if rng.random() < 0.5:
            _draw_distance(drawn, mask, rng)
        else:
            _draw_text(drawn, rng)
        image[drawn > 0] = rng.uniform(150, 255)


def _draw_distance(drawn: np.ndarray, mask: np.ndarray, rng) -> None:
    """Draw a cross at either end of a distance, dotted or not: mostly that of the object."""
    height, width = mask.shape
    points = np.argwhere(mask)
    if len(points) and rng.random() < 0.7:
        angle = rng.uniform(0, np.pi)
        along = points @ np.array([np.sin(angle), np.cos(angle)])
        ends = points[[along.argmin(), along.argmax()]]
    else:
        ends = rng.integers(0, (height, width), (2, 2))
    arm = max(1, round(rng.uniform(0.01, 0.03) * height))
    for row, column in ends.tolist():
        cv2.line(drawn, (column - arm, row), (column + arm, row), 1)
        cv2.line(drawn, (column, row - arm), (column, row + arm), 1)
    if rng.random() < 0.5:
        count = max(2, int(np.hypot(*(ends[1] - ends[0])) // 4))
        dots = np.linspace(ends[0], ends[1], count)
        drawn[tuple(np.rint(dots).astype(int).T)] = 1


def _draw_text(drawn: np.ndarray, rng) -> None:
    height, width = drawn.shape
    text = "".join(rng.choice(list(_LETTERS), rng.integers(1, 12)))
    place = int(rng.integers(0, width)), int(rng.integers(0, height))
    size = float(rng.uniform(0.0015, 0.005) * height)
    cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, 1)

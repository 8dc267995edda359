"""The metrics of one case, overlap, surface distance and calibration, and their input checks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasunet.schema import typed


def area_mm2(mask: ArrayLike, spacing: tuple[float, float] | None) -> float | None:
    """Return the area of a mask in square millimeters, `None` where the spacing is unknown.

    Args:
        mask: Bool, or whole numbers of which 0 is background, (H, W).
        spacing: Millimeters per pixel, (row, column).

    Raises:
        ValueError: The mask is not 2-D, or holds other numbers, such as probabilities; or the
            spacing is not two positive numbers.
    """
    if spacing is None:
        return None
    image = _as_image(mask, "mask")
    if image.dtype.kind == "f":
        _refuse(image, ~(image % 1 == 0), "mask must hold whole numbers, no probabilities")
    row, column = as_spacing(spacing).tolist()
    return int(np.count_nonzero(image)) * row * column


def dice(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the Dice similarity coefficient, 2·|T∩P| / (|T| + |P|) (Dice, Ecology 26(3), 1945).

    Args:
        truth: True mask, bool or {0, 1}, (H, W).
        prediction: Predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]; 1 when both masks are empty.

    Raises:
        ValueError: A mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, predicted_area = _areas(truth, prediction)
    return _ratio(2 * overlap, true_area + predicted_area)


def dice_of_each(truths: NDArray[np.bool_], predictions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the Dice of each of several cases, 0 to 1; 1 where truth and prediction are empty.

    Args:
        truths: Bool, `(cases, height, width)`.
        predictions: Bool, of the same shape.
    """
    overlap = 2.0 * (predictions & truths).sum((1, 2))
    total = predictions.sum((1, 2)) + truths.sum((1, 2))
    return np.where(total > 0, overlap / np.maximum(total, 1), 1.0)


def iou(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the intersection over union, |T∩P| / |T∪P| (Jaccard, New Phytologist 11(2), 1912).

    Args:
        truth: True mask, bool or {0, 1}, (H, W).
        prediction: Predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]; 1 when both masks are empty.

    Raises:
        ValueError: A mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, predicted_area = _areas(truth, prediction)
    return _ratio(overlap, true_area + predicted_area - overlap)


def sensitivity(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of the lesion's pixels that were found, |T∩P| / |T| (recall).

    Args:
        truth: True mask, bool or {0, 1}, (H, W).
        prediction: Predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]; 1 when `truth` is empty, whatever was predicted: nothing was missed.

    Raises:
        ValueError: A mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, _ = _areas(truth, prediction)
    return _ratio(overlap, true_area)


def precision(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return the share of predicted pixels that are lesion, |T∩P| / |P| (PPV).

    Args:
        truth: True mask, bool or {0, 1}, (H, W).
        prediction: Predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]. When nothing is predicted: 1 if `truth` is empty too, else 0.

    Raises:
        ValueError: A mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, predicted_area = _areas(truth, prediction)
    if true_area and not predicted_area:
        return 0.0
    return _ratio(overlap, predicted_area)


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from every border pixel of one mask to the other mask's border.

    Attributes:
        from_truth: Float64 (number of true border pixels,), in row-major order of the pixels.
        from_prediction: Float64 (number of predicted border pixels,), likewise.
    """

    from_truth: NDArray[np.float64]
    from_prediction: NDArray[np.float64]

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles, linearly interpolated."""
        directed = (self.from_truth, self.from_prediction)
        return max(float(np.percentile(distances, 95)) for distances in directed)

    @property
    def assd(self) -> float:
        """The mean of both directions, pooled."""
        total = float(self.from_truth.sum()) + float(self.from_prediction.sum())
        return total / (self.from_truth.size + self.from_prediction.size)


def surface_distances(
    truth: ArrayLike, prediction: ArrayLike, spacing: tuple[float, float] | None = None
) -> SurfaceDistances:
    """Measure the distances between two borders, in both directions.

    A border pixel is one that an erosion with the 4-neighbor cross removes; outside the image is
    background. Distances are Euclidean and exact, between pixel centers.

    Args:
        truth: True mask, bool or {0, 1}, (H, W).
        prediction: Predicted mask, bool or {0, 1}, (H, W).
        spacing: Pixel size (row, column) in mm; None measures in pixels.

    Returns:
        The distances. With both masks empty, a single 0 in each direction; with one mask empty, a
        single image diagonal in each direction (see `kerasunet.metrics.POLICY`).

    Raises:
        ValueError: A mask is not 2-D or not binary, the shapes differ, or the spacing is not two
            positive numbers.
    """
    true_mask, predicted_mask = as_mask_pair(truth, prediction)
    steps = as_spacing(spacing)
    if true_mask.any() and predicted_mask.any():
        return _between(_border_points(true_mask, steps), _border_points(predicted_mask, steps))
    both_empty = not (true_mask.any() or predicted_mask.any())
    penalty = np.array([0.0 if both_empty else np.hypot(*(true_mask.shape * steps))])
    return SurfaceDistances(penalty, penalty)


def hd95(
    truth: ArrayLike, prediction: ArrayLike, spacing: tuple[float, float] | None = None
) -> float:
    """Return the 95 % Hausdorff distance: the larger of the two directed 95th percentiles.

    Definition of Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 2024. Arguments and
    errors are those of `surface_distances`.

    Returns:
        Distance in px, or mm with a spacing; 0 when both masks are empty, the image diagonal when
        one is.
    """
    return surface_distances(truth, prediction, spacing).hd95


def assd(
    truth: ArrayLike, prediction: ArrayLike, spacing: tuple[float, float] | None = None
) -> float:
    """Return the average symmetric surface distance: the mean of both directions, pooled.

    Definition of Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 2024. Arguments and
    errors are those of `surface_distances`.

    Returns:
        Distance in px, or mm with a spacing; 0 when both masks are empty, the image diagonal when
        one is.
    """
    return surface_distances(truth, prediction, spacing).assd


def expected_calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error of the foreground probability over one image.

    Pixels are put by their probability into bins of equal width over [0, 1]: [0, 1/bins),
    [1/bins, 2/bins) and so on, with 1 in the last. The error is the mean over pixels of the gap
    |mean probability − share of lesion pixels| of their bin (Naeini et al., "Obtaining well
    calibrated probabilities using Bayesian binning", AAAI 2015; 15 bins as Guo et al., "On
    calibration of modern neural networks", ICML 2017). It is the foreground probability that is
    binned, not the confidence max(p, 1 − p) of the predicted class. Computed in float64.

    Args:
        truth: True mask, bool or {0, 1}, (H, W).
        probability: Probability of lesion, in [0, 1], (H, W).
        bins: Number of bins, at least 1.

    Returns:
        Value in [0, 1]; 0 is perfectly calibrated.

    Raises:
        ValueError: An image is not 2-D, the shapes differ, `truth` is not binary, `probability` is
            NaN or out of [0, 1], or `bins` is below 1.
    """
    mask, chance = as_mask(truth, "truth"), as_probability(probability, "probability")
    require_same_shape(mask, chance, "probability")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    chance = chance.astype(np.float64).ravel()
    index = np.minimum((chance * bins).astype(np.intp), bins - 1)
    # Within a bin, pixels x |mean probability - share of lesion| = |sum of the differences|.
    gaps = np.bincount(index, weights=chance - mask.ravel(), minlength=bins)
    return float(np.abs(gaps).sum() / chance.size)


def _areas(truth: ArrayLike, prediction: ArrayLike) -> tuple[int, int, int]:
    true_mask, predicted_mask = as_mask_pair(truth, prediction)
    counts = map(np.count_nonzero, (true_mask & predicted_mask, true_mask, predicted_mask))
    overlap, true_area, predicted_area = (int(count) for count in counts)
    return overlap, true_area, predicted_area


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _border_points(mask: NDArray[np.bool_], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(mask, 1)
    rows = padded[:-2, 1:-1] & padded[2:, 1:-1]
    columns = padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~(rows & columns)) * steps


def _between(
    true_points: NDArray[np.float64], predicted_points: NDArray[np.float64]
) -> SurfaceDistances:
    return SurfaceDistances(
        from_truth=_nearest(true_points, predicted_points),
        from_prediction=_nearest(predicted_points, true_points),
    )


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import KDTree

    # On a pixel grid the median splits of a balanced tree cost more than they save.
    tree = KDTree(others, balanced_tree=False, compact_nodes=False)
    return tree.query(points)[0]


def as_mask(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return a binary image as booleans.

    Args:
        values: (H, W), boolean or any number type holding only 0 and 1.
        name: What to call it in an error.

    Returns:
        Bool (H, W).

    Raises:
        ValueError: Not two-dimensional, without pixels, or holding anything but 0 and 1.
    """
    image = _as_image(values, name)
    if image.dtype == bool:
        return image
    _refuse(
        image, (image != 0) & (image != 1), f"{name} must hold only 0 and 1 (or False and True)"
    )
    return image.astype(bool)


def as_probability(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return an image of probabilities, in the number type it came in.

    Args:
        values: (H, W), each in [0, 1].
        name: What to call it in an error.

    Returns:
        (H, W), same type.

    Raises:
        ValueError: Not two-dimensional, without pixels, out of [0, 1] or NaN.
    """
    image = _as_image(values, name)
    _refuse(image, ~((image >= 0) & (image <= 1)), f"{name} must lie in [0, 1]")
    return image


def as_mask_pair(
    truth: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return true and predicted mask as booleans of one shape, or raise ValueError."""
    true_mask, predicted_mask = as_mask(truth, "truth"), as_mask(prediction, "prediction")
    require_same_shape(true_mask, predicted_mask, "prediction")
    return true_mask, predicted_mask


def as_spacing(spacing: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return the distance between pixel centers along rows and columns; (1, 1) for None.

    Raises:
        ValueError: Not two positive finite numbers.
    """
    steps = np.ones(2) if spacing is None else np.asarray(spacing, dtype=np.float64)
    if steps.shape != (2,) or not np.all(np.isfinite(steps) & (steps > 0)):
        raise ValueError(
            f"spacing must be two positive numbers, (row, column) in mm, or None, got {spacing!r}"
        )
    return steps


def require_same_shape(truth: NDArray, other: NDArray, name: str) -> None:
    """Raise ValueError naming both shapes unless they are equal."""
    if truth.shape != other.shape:
        raise ValueError(
            f"truth has shape {truth.shape} but {name} has shape {other.shape}: "
            "they must be the same (height, width)"
        )


def require_fraction(value: float, name: str) -> None:
    """Raise ValueError unless 0 < value < 1."""
    if not 0 < (typed(name, "float", value) or 0) < 1:  # NaN is not.
        raise ValueError(f"{name} must lie between 0 and 1, both excluded, got {value!r}")


def _as_image(values: ArrayLike, name: str) -> NDArray[Any]:
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked pixels, which no metric leaves out; fill them first")
    image = np.asarray(values)
    if image.ndim != 2:
        raise ValueError(f"{name} must be 2-D (height, width), got shape {image.shape}")
    if image.size == 0:
        raise ValueError(f"{name} has no pixels: shape {image.shape}")
    if image.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold booleans or real numbers, got dtype {image.dtype}; convert it to "
            "bool or float32"
        )
    return image


def _refuse(image: NDArray[np.generic], wrong: NDArray[np.bool_], message: str) -> None:
    if wrong.any():
        row, column = np.unravel_index(np.argmax(wrong), wrong.shape)
        raise ValueError(f"{message}, found {image[row, column]} at row {row}, column {column}")

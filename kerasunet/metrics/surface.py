"""Distances between the borders of two masks, in pixels or, with a pixel spacing, in mm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasunet.metrics.validation import as_mask_pair, as_spacing


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from every border pixel of one mask to the other mask's border.

    Attributes:
        from_truth: float64 (number of true border pixels,), in row-major order of the pixels.
        from_prediction: float64 (number of predicted border pixels,), likewise.
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

    A border pixel is one that an erosion with the 4-neighbour cross removes; outside the image is
    background. Distances are Euclidean and exact, between pixel centres.

    Args:
        truth: true mask, bool or {0, 1}, (H, W).
        prediction: predicted mask, bool or {0, 1}, (H, W).
        spacing: pixel size (row, column) in mm; None measures in pixels.

    Returns:
        The distances. With both masks empty, a single 0 in each direction; with one mask empty, a
        single image diagonal in each direction (see `kerasunet.metrics.POLICY`).

    Raises:
        ValueError: a mask is not 2-D or not binary, the shapes differ, or the spacing is not two
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
    """95 % Hausdorff distance: the larger of the two directed 95th percentiles.

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
    """Average symmetric surface distance: the mean of both directions, pooled.

    Definition of Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 2024. Arguments and
    errors are those of `surface_distances`.

    Returns:
        Distance in px, or mm with a spacing; 0 when both masks are empty, the image diagonal when
        one is.
    """
    return surface_distances(truth, prediction, spacing).assd


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

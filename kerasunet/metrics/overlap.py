"""Overlap of two masks by counting pixels; the empty cases follow `kerasunet.metrics.POLICY`."""

import numpy as np
from numpy.typing import ArrayLike

from kerasunet.metrics.validation import as_mask_pair


def dice(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Dice similarity coefficient, 2·|T∩P| / (|T| + |P|) (Dice, Ecology 26(3), 1945).

    Args:
        truth: true mask, bool or {0, 1}, (H, W).
        prediction: predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]; 1 when both masks are empty.

    Raises:
        ValueError: a mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, predicted_area = _areas(truth, prediction)
    return _ratio(2 * overlap, true_area + predicted_area)


def iou(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Intersection over union, |T∩P| / |T∪P| (Jaccard, New Phytologist 11(2), 1912).

    Args:
        truth: true mask, bool or {0, 1}, (H, W).
        prediction: predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]; 1 when both masks are empty.

    Raises:
        ValueError: a mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, predicted_area = _areas(truth, prediction)
    return _ratio(overlap, true_area + predicted_area - overlap)


def sensitivity(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Share of the lesion's pixels that were found, |T∩P| / |T| (recall).

    Args:
        truth: true mask, bool or {0, 1}, (H, W).
        prediction: predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]; 1 when `truth` is empty, whatever was predicted: nothing was missed.

    Raises:
        ValueError: a mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, _ = _areas(truth, prediction)
    return _ratio(overlap, true_area)


def precision(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Share of the predicted pixels that are lesion, |T∩P| / |P| (positive predictive value).

    Args:
        truth: true mask, bool or {0, 1}, (H, W).
        prediction: predicted mask, bool or {0, 1}, (H, W).

    Returns:
        Value in [0, 1]. When nothing is predicted: 1 if `truth` is empty too, else 0.

    Raises:
        ValueError: a mask is not 2-D or not binary, or the shapes differ.
    """
    overlap, true_area, predicted_area = _areas(truth, prediction)
    if true_area and not predicted_area:
        return 0.0
    return _ratio(overlap, predicted_area)


def _areas(truth: ArrayLike, prediction: ArrayLike) -> tuple[int, int, int]:
    true_mask, predicted_mask = as_mask_pair(truth, prediction)
    counts = map(np.count_nonzero, (true_mask & predicted_mask, true_mask, predicted_mask))
    overlap, true_area, predicted_area = (int(count) for count in counts)
    return overlap, true_area, predicted_area


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0

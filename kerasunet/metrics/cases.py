"""All metrics of one case: one image's true mask against its predicted probability."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasunet.metrics.calibration import expected_calibration_error
from kerasunet.metrics.overlap import dice, iou, precision, sensitivity
from kerasunet.metrics.surface import surface_distances
from kerasunet.metrics.validation import (
    as_mask,
    as_probability,
    require_fraction,
    require_same_shape,
)


def case_metrics(
    truth: ArrayLike,
    probability: ArrayLike,
    threshold: float = 0.5,
    spacing: tuple[float, float] | None = None,
) -> dict[str, float | int | str]:
    """Compare one predicted probability map with the true mask.

    Args:
        truth: true mask, bool or {0, 1}, (H, W); may be empty (no lesion).
        probability: probability of lesion, in [0, 1], (H, W).
        threshold: a pixel is predicted where its probability is at or above this; between 0 and 1.
        spacing: pixel size (row, column) in mm; None measures distances in pixels.

    Returns:
        A flat row of plain Python numbers and strings: `dice`, `iou`, `sensitivity`, `precision`,
        `hd95`, `assd` and `ece` (all finite, see `kerasunet.metrics.POLICY`); `truth_area` and
        `predicted_area` in pixels; `outcome`, one of "detected", "missed", "false_alarm" and
        "true_negative"; `unit` of `hd95` and `assd`, "px" or "mm".

    Raises:
        ValueError: an image is not 2-D, the shapes differ, `truth` is not binary, `probability` is
            NaN or out of [0, 1], or `threshold` or `spacing` is out of range.
    """
    mask, chance = as_mask(truth, "truth"), as_probability(probability, "probability")
    require_same_shape(mask, chance, "probability")
    require_fraction(threshold, "threshold")
    # A plain float takes the image's precision: float32 0.7 is at the threshold 0.7.
    prediction = chance >= float(threshold)
    distances = surface_distances(mask, prediction, spacing)
    return {
        "dice": dice(mask, prediction),
        "iou": iou(mask, prediction),
        "sensitivity": sensitivity(mask, prediction),
        "precision": precision(mask, prediction),
        "hd95": distances.hd95,
        "assd": distances.assd,
        "ece": expected_calibration_error(mask, chance),
        "truth_area": int(np.count_nonzero(mask)),
        "predicted_area": int(np.count_nonzero(prediction)),
        "outcome": _outcome(mask, prediction),
        "unit": "px" if spacing is None else "mm",
    }


def _outcome(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> str:
    if truth.any():
        return "detected" if (truth & prediction).any() else "missed"
    return "false_alarm" if prediction.any() else "true_negative"

"""Whether a probability of 0.8 is right in 80 % of the pixels: expected calibration error."""

import numpy as np
from numpy.typing import ArrayLike

from kerasunet.metrics.validation import as_mask, as_probability, require_same_shape


def expected_calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the foreground probability over the pixels of one image.

    Pixels are put by their probability into bins of equal width over [0, 1]: [0, 1/bins),
    [1/bins, 2/bins) and so on, with 1 in the last. The error is the mean over pixels of the gap
    |mean probability − share of lesion pixels| of their bin (Naeini et al., "Obtaining well
    calibrated probabilities using Bayesian binning", AAAI 2015; 15 bins as Guo et al., "On
    calibration of modern neural networks", ICML 2017). It is the foreground probability that is
    binned, not the confidence max(p, 1 − p) of the predicted class. Computed in float64.

    Args:
        truth: true mask, bool or {0, 1}, (H, W).
        probability: probability of lesion, in [0, 1], (H, W).
        bins: number of bins, at least 1.

    Returns:
        Value in [0, 1]; 0 is perfectly calibrated.

    Raises:
        ValueError: an image is not 2-D, the shapes differ, `truth` is not binary, `probability` is
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

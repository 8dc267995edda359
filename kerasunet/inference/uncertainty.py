"""Uncertainty: how undecided a model is in each pixel, and where several models disagree.

Both are in bits, so from 0, where the answer is certain, to 1, where it is a coin toss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_TINY = np.finfo(np.float32).tiny


def entropy(probability: np.ndarray) -> np.ndarray:
    """Return the binary entropy of foreground probabilities, in bits, float32, of any shape."""
    found = np.clip(probability, 0, 1).astype(np.float32)
    return _bits(found) + _bits(1 - found)


def disagreement(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return where models disagree: the entropy of their mean, less the mean of their entropies.

    This is the information that a label would give about which model is right (Houlsby et al.,
    Bayesian Active Learning for Classification and Preference Learning, 2011). Where all of them
    are undecided alike, it is 0.

    Args:
        probabilities: Foreground probabilities of each model, of one shape.

    Raises:
        ValueError: There is no model.
    """
    if not probabilities:
        raise ValueError("give the probabilities of at least one model")
    own = np.mean([entropy(found) for found in probabilities], axis=0)
    return np.maximum(entropy(np.mean(probabilities, axis=0)) - own, 0)


def uncertainty(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return the disagreement of several models, or the entropy of a single one.

    Args:
        probabilities: Of each model, `(height, width)`, or of several objects `(objects, height,
            width)`.

    Returns:
        Float32, `(height, width)`, 0 to 1; of several objects that of the least certain one.
    """
    found = entropy(probabilities[0]) if len(probabilities) == 1 else disagreement(probabilities)
    return over_objects(found)


def over_objects(bits: np.ndarray) -> np.ndarray:
    """Return the largest over objects, `(height, width)`, where there are several."""
    return bits.max(axis=0) if bits.ndim == 3 else bits


def _bits(share: np.ndarray) -> np.ndarray:
    return -share * np.log2(np.maximum(share, _TINY))

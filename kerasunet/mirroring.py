"""Predictions of an image and of its mirror image, averaged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]


def with_mirror(network: Network) -> Network:
    """Lets a network look twice: at images, and at their mirror images, left for right.

    Training mirrors half of its views, so that both are as familiar; the mean of two views errs
    less than one (test-time augmentation: Krizhevsky et al., NeurIPS 2012, section 4.1; in
    segmentation, Isensee et al., nnU-Net, Nature Methods 2021, mirrors along every axis). It costs
    a second pass.

    Args:
        network: From images, `(cases, height, width, channels)`, to probabilities whose third axis
            is the width.

    Returns:
        The same from images to the mean of both probabilities.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        return (network(images) + network(mirrored)[:, :, ::-1]) / 2

    return predict

"""What a model predicts for decoded cases, batch by batch, and its Dice."""

from __future__ import annotations

import keras
import numpy as np

from kerasunet.data.decoding import DecodedCases
from kerasunet.metrics.measures import dice_of_each
from kerasunet.objects import Objects


def predict(model: keras.Model, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Predict probabilities batch by batch.

    Args:
        model: Any model of the package.
        images: `(cases, height, width, channels)`, 0 to 255.
        batch_size: Images per call.

    Returns:
        Float32, `(cases, height, width)`, 0 to 1; of several channels, with these as last axis.
    """
    count, channels = len(images), model.output_shape[-1]
    if keras.backend.backend() == "jax":  # It compiles anew for every number of images.
        images = np.concatenate([images, images[:1].repeat(-count % batch_size, axis=0)])
    parts = [
        keras.ops.convert_to_numpy(model.predict_on_batch(images[start : start + batch_size]))
        for start in range(0, len(images), batch_size)
    ]
    empty = np.zeros((*images.shape[:3], channels), np.float32)
    found = np.concatenate(parts)[:count] if parts else empty
    return found if channels > 1 else found[..., 0]


def mean_dice(model: keras.Model, cases: DecodedCases, threshold: float = 0.5) -> float:
    """Return the mean Dice per case and object, 0 to 1; both empty counts as 1."""
    return float(dice_of_cases(model, cases, threshold).mean())


def dice_of_cases(model: keras.Model, cases: DecodedCases, threshold: float = 0.5) -> np.ndarray:
    """Return the Dice of each case, `(cases,)`, averaged over objects; both empty counts as 1."""
    return dice_of_outputs(predict(model, cases.images), cases.masks, cases.objects, threshold)


def dice_of_outputs(
    outputs: np.ndarray, masks: np.ndarray, objects: Objects, threshold: float = 0.5
) -> np.ndarray:
    """Return the Dice of each case, `(cases,)`, averaged over objects; both empty counts as 1.

    Args:
        outputs: As `predict` returns them.
        masks: As `Objects.encode` gives them, `(cases, height, width)`.
        objects: What the masks mark.
        threshold: As `Objects.decide` takes it.
    """
    decided = objects.decide(outputs, threshold)
    pairs = zip(objects.planes(masks), objects.planes(decided), strict=True)
    return np.mean([dice_of_each(*pair) for pair in pairs], axis=0)

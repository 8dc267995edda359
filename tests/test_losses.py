"""Dice plus cross-entropy against NumPy in double precision, and in float16."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerasunet.losses import dice, dice_bce


def reference(truth: np.ndarray, chance: np.ndarray) -> np.ndarray:
    clipped = np.clip(chance, 1e-7, 1 - 1e-7)
    entropy = -(truth * np.log(clipped) + (1 - truth) * np.log(1 - clipped)).mean((1, 2, 3))
    overlap = (2 * (truth * chance).sum((1, 2)) + 1) / (truth.sum((1, 2)) + chance.sum((1, 2)) + 1)
    return entropy + 1 - overlap.mean(-1)


@pytest.mark.parametrize("classes", [1, 3])
def test_loss_equals_double_precision_reference(classes):
    rng = np.random.default_rng(0)
    truth = (rng.random((5, 20, 24, classes)) < 0.3).astype("float64")
    chance = rng.random(truth.shape)
    loss = keras.ops.convert_to_numpy(dice_bce(truth, chance.astype("float32")))
    np.testing.assert_allclose(loss, reference(truth, chance), rtol=1e-5)


def test_float16_predictions_of_a_large_mask_do_not_overflow():
    truth = np.ones((1, 512, 512, 1), "float16")
    loss = keras.ops.convert_to_numpy(dice_bce(truth, truth))
    assert loss.dtype == np.float32
    assert 0 <= loss[0] < 1e-4


def test_empty_mask_met_by_empty_prediction_costs_nothing():
    empty = np.zeros((1, 16, 16, 1), "float32")
    assert float(dice_bce(empty, empty)[0]) < 1e-5
    assert float(dice(empty, empty)[0]) == 1


def test_dice_is_per_image_then_averaged_not_over_the_batch():
    truth = np.zeros((2, 10, 10, 1), "float32")
    truth[0, :8, :8] = 1
    truth[1, 0, 0] = 1
    chance = truth.copy()
    chance[1] = 0
    np.testing.assert_allclose(dice(truth, chance), [1, 0])


def test_gradient_points_towards_the_mask():
    truth = np.zeros((1, 4, 4, 1), "float32")
    truth[0, 0, 0] = 1
    chance = np.full(truth.shape, 0.5, "float32")
    better = chance + 0.01 * (2 * truth - 1)
    assert float(dice_bce(truth, better)[0]) < float(dice_bce(truth, chance)[0])

"""Dice plus cross-entropy against NumPy in double precision, and in float16."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerasunet import losses
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


def test_gradient_points_toward_the_mask():
    truth = np.zeros((1, 4, 4, 1), "float32")
    truth[0, 0, 0] = 1
    chance = np.full(truth.shape, 0.5, "float32")
    better = chance + 0.01 * (2 * truth - 1)
    assert float(dice_bce(truth, better)[0]) < float(dice_bce(truth, chance)[0])


def _probabilities(shape, channels, seed=0):
    logits = np.random.default_rng(seed).normal(size=(*shape, channels)).astype(np.float32)
    return logits, np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_several_objects_cost_dice_of_each_plus_categorical_cross_entropy():
    labels = np.random.default_rng(1).integers(0, 3, (2, 8, 8))
    labels[1][labels[1] == 2] = 0  # The second image lacks an object.
    _, probabilities = _probabilities(labels.shape, 3)
    masks = np.eye(3)[labels]
    entropy = -(masks * np.log(probabilities)).sum(-1).mean((1, 2))
    overlap = 2 * (masks * probabilities).sum((1, 2))
    total = masks.sum((1, 2)) + probabilities.sum((1, 2))
    wanted = entropy + 1 - ((overlap + 1) / (total + 1))[:, 1:].mean(-1)
    for given in (labels[..., None].astype(np.uint8), labels, masks.astype(np.float32)):
        found = keras.ops.convert_to_numpy(losses.dice_ce(given, probabilities))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_an_absent_object_that_is_not_predicted_costs_nothing():
    labels = np.zeros((1, 8, 8, 1), np.uint8)
    background = np.zeros((1, 8, 8, 3), np.float32)
    background[..., 0] = 1
    assert float(losses.dice_ce(labels, background)[0]) == pytest.approx(0, abs=1e-6)
    assert float(losses.dice_of_labels(labels, background)[0]) == 1
    alarm = background[..., [1, 0, 2]]
    assert float(losses.dice_of_labels(labels, alarm)[0]) == pytest.approx(0.5)


def test_overlapping_objects_cost_what_each_costs_by_itself():
    rng = np.random.default_rng(2)
    planes = rng.random((2, 8, 8, 2)) < 0.5
    probabilities = rng.random((2, 8, 8, 2), np.float32)
    bits = (planes * [1, 2]).sum(-1, keepdims=True).astype(np.uint8)
    wanted = losses.dice_bce(planes.astype(np.float32), probabilities)
    np.testing.assert_allclose(losses.dice_bce_of_bits(bits, probabilities), wanted, rtol=1e-5)
    of_masks = losses.dice(planes.astype(np.float32), probabilities)
    np.testing.assert_allclose(losses.dice_of_bits(bits, probabilities), of_masks, rtol=1e-5)


def test_a_label_of_no_class_is_told():
    _, probabilities = _probabilities((1, 4, 4), 3)
    with pytest.raises(Exception, match="labels that the model has no class for"):
        losses.dice_ce(np.full((1, 4, 4, 1), 3, np.uint8), probabilities)


@pytest.mark.parametrize("value", [1 / 255, np.nan])
def test_labels_that_are_no_whole_numbers_are_told(value):
    """Labels that were divided by 255 would all become background."""
    _, probabilities = _probabilities((1, 4, 4), 3)
    with pytest.raises(Exception, match="labels that the model has no class for"):
        losses.dice_ce(np.full((1, 4, 4, 1), value, np.float32), probabilities)


def test_masks_of_nan_are_told():
    with pytest.raises(Exception, match="values outside 0 to 1"):
        losses.dice_bce(np.full((1, 4, 4, 1), np.nan, np.float32), np.full((1, 4, 4, 1), 0.5))

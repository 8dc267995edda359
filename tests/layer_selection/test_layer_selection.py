"""`auto` and `auto:search`: gradients against finite differences, the rule, the ladder, a run."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from helpers.images import disc_images

from kerasunet.data import NO_AUGMENTATION
from kerasunet.data.decoding import DecodedCases
from kerasunet.files import read_json
from kerasunet.freezing import apply_strategy
from kerasunet.layer_selection import (
    blocks_to_train,
    choose,
    choose_by_search,
    relative_gradient_norms,
)
from kerasunet.layer_selection.choice import scores
from kerasunet.layer_selection.trials import (
    climb,
    default_candidates,
    distinct,
    inner_split,
    ladder,
)
from kerasunet.losses import dice_bce
from kerasunet.strategies import NetworkLayout
from kerasunet.training import FinetuneSettings, Optimization, finetune
from kerasunet.training.batches import Batches
from kerasunet.unet import UNet

BLOCKS = ("enc1", "enc2", "bottleneck", "dec2", "dec1")
SETTINGS = Optimization(steps=12, batch_size=4, validate_every=6)
RUN = {"optimization": SETTINGS, "augmentation": NO_AUGMENTATION}


def cases_of(count: int, group_size: int = 1) -> DecodedCases:
    images, masks = disc_images(count)
    keys = tuple(f"case{index:02d}" for index in range(count))
    groups = tuple(f"patient{index // group_size:02d}" for index in range(count))
    return DecodedCases(keys, groups, images[..., None], masks=masks, spacings=(None,) * count)


@pytest.fixture(scope="module")
def cases() -> DecodedCases:
    return cases_of(12)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    return UNet(base_filters=4, depth=2, normalization=None)


def test_gradient_is_the_slope_of_the_training_loss(model, cases):
    """Along the gradient of the head's bias, the loss changes as the norm foretells."""
    norms = relative_gradient_norms(
        model, cases, batch_size=4, augmentation=NO_AUGMENTATION, seed=0, batches=1
    )
    tensors = {(t.layer, t.name): t for block in norms for t in block.tensors}
    images, masks = Batches(cases, 4, NO_AUGMENTATION, seed=0).batch(0)
    bias = model.get_layer("head").bias

    def loss_at(offset: float) -> float:
        bias.assign([offset])
        return float(dice_bce(masks, model(images, training=True)).numpy().mean())

    slope = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2
    bias.assign([0.0])
    assert tensors["head", "bias"].gradient == pytest.approx(abs(slope), rel=1e-3)
    assert tensors["head", "bias"].relative == math.inf


@pytest.mark.slow
def test_norm_of_a_block_joins_its_tensors(model, cases):
    norms = relative_gradient_norms(
        model, cases, batch_size=4, augmentation=NO_AUGMENTATION, seed=0, batches=1
    )
    assert tuple(norm.block for norm in norms) == BLOCKS
    for norm in norms:
        assert norm.gradient == pytest.approx(math.hypot(*(t.gradient for t in norm.tensors)))
        assert norm.weights == pytest.approx(math.hypot(*(t.weights for t in norm.tensors)))


@pytest.mark.slow
def test_measuring_changes_nothing(model, cases):
    apply_strategy(model, "deep:1")
    before = [weight.copy() for weight in model.get_weights()]
    flags = [layer.trainable for layer in model.layers]
    relative_gradient_norms(model, cases, batch_size=4, augmentation=NO_AUGMENTATION, seed=0)
    assert [layer.trainable for layer in model.layers] == flags
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("norms", "text"),
    [
        ([1.0, 0.5, 0.49, 0.1, 0.2], "blocks:1-2"),
        ([0.1, 0.9, 0.2, 1.0, 0.8], "blocks:2,4-5"),
        ([1.0, 1.0, 1.0, 1.0, 1.0], "all"),
        ([0.0, 0.0, 2.0, 0.0, 0.0], "blocks:3"),
    ],
)
def test_blocks_with_half_of_the_largest_norm_train(norms, text):
    assert blocks_to_train(scores(dict(zip(BLOCKS, norms, strict=True)))) == text


def test_without_any_gradient_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match="no block has a gradient"):
        scores(dict.fromkeys(BLOCKS, 0.0))


def test_ladder_halves_the_arms_and_spends_the_budget():
    rungs = ladder(8, 240, longest=1000)
    assert [rung.arms for rung in rungs] == [8, 4, 2]
    spent, reached = 0, 0
    for arms, steps in rungs:
        spent, reached = spent + arms * (steps - reached), steps
    assert spent == 240
    assert ladder(1, 100, 10) == ()
    assert ladder(4, 10_000, longest=7)[-1].steps == 7


def test_the_best_arm_wins_the_climb():
    quality = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.4, "e": 0.1}
    seen = []

    def advance(arm: str, first: int, last: int) -> float:
        seen.append((arm, first, last))
        return quality[arm]

    results = climb(list(quality), ladder(5, 60, 100), advance)
    assert [arm for arm, _ in results[-1]] == ["b", "c"]
    assert all(first < last for _, first, last in seen)


def test_inner_split_keeps_patients_together():
    inner, held_out = inner_split(cases_of(24, group_size=3), seed=1)
    assert not set(inner.groups) & set(held_out.groups)
    assert len(inner) + len(held_out) == 24 and len(held_out) == 6


def test_too_few_images_for_a_search_are_refused(model):
    with pytest.raises(
        ValueError, match="needs at least 4 images in at least 2 groups, but there are 3"
    ):
        choose_by_search(model, cases_of(3), optimization=SETTINGS, augmentation=NO_AUGMENTATION)


def test_candidates_train_different_weights():
    layout = NetworkLayout.unet(4, "batch")
    texts = default_candidates(layout, "blocks:1-5")
    assert "norm" in texts and "contracting" in texts and "blocks:1-5" not in texts
    assert distinct(texts, layout) == texts
    assert "norm" not in default_candidates(NetworkLayout.unet(4, None), "blocks:2")


@pytest.mark.slow
def test_search_prefers_what_can_learn(model, cases):
    """Training nothing cannot win against training everything on easy images."""
    settings = Optimization(steps=150, batch_size=4, validate_every=30, learning_rate=3e-3)
    choice = choose_by_search(
        model,
        cases,
        optimization=settings,
        augmentation=NO_AUGMENTATION,
        candidates=["none", "all"],
    )
    assert choice.strategy == "all"
    dice = {trial.strategy: trial.dice for trial in choice.trials}
    assert dice["all"] > dice["none"]
    assert (choice.inner_training, choice.inner_validation) == (9, 3)
    assert "rung" in str(choice)


@pytest.mark.slow
def test_same_images_give_the_same_choice(model, cases):
    first = choose("auto", lambda: model, cases, **RUN)
    assert first == choose("auto", lambda: model, cases, **RUN)
    assert [score.block for score in first.scores] == list(BLOCKS)


def test_a_named_strategy_is_not_chosen_again(model, cases):
    with pytest.raises(ValueError, match="nothing to choose"):
        choose("shallow:2", lambda: model, cases, **RUN)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["auto", "auto:search"])
def test_a_run_trains_what_was_chosen_and_tells_why(text, tiny_model_file, tmp_path):
    settings = FinetuneSettings(
        layers=text,
        init=str(tiny_model_file),
        data="simulated-xray:18",
        train_size=8,
        validation_size=0,
        folds=3,
        image_size=32,
        optimization=SETTINGS,
    )
    run = finetune(settings, tmp_path / "run")
    choice = read_json(tmp_path / "run" / "choice.json")
    assert (choice["asked"], choice["strategy"]) == (text, run.summary["chosen"])
    card = read_json(tmp_path / "run" / "model.json")
    assert card["strategy"] == run.summary["chosen"]
    assert card["settings"]["layers"] == text
    assert 0 < run.summary["trained"] <= run.summary["parameters"]

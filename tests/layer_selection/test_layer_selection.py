"""`auto` and `auto:search`: evidence, weighing, trials, a run."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from helpers.images import disc_images
from scipy import stats

from kerasunet.data import NO_AUGMENTATION
from kerasunet.data.decoding import DecodedCases
from kerasunet.files import read_json
from kerasunet.layer_selection import (
    Belief,
    Evidence,
    Finding,
    choose,
    weigh,
)
from kerasunet.layer_selection.evidence import GroupedMean
from kerasunet.layer_selection.selection import candidates, folds_of, nearness_of, search
from kerasunet.strategies import NetworkLayout
from kerasunet.training import FinetuneSettings, Optimization, finetune
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


# Evidence


def finding(strategy, behind, *, data="bus_bra", start="far", images=20, dice=0.8, error=0.002):
    return Finding(data, start, images, strategy, dice=dice, behind=behind, error=error, sets=5)


def test_published_findings_are_those_of_the_study():
    """`3*shallow:4` was the best of the strategies on BUS-BRA with 20 images, `expanding` far."""
    published = Evidence.published()
    beliefs = published.strategies("far", "ultrasound", 20)
    assert beliefs["3*shallow:4"].behind < 0.01 < 0.05 < beliefs["3*expanding"].behind
    assert {one.data for one in published.findings} == {"bus_bra", "busi", "jsrt", "shenzhen"}
    close = published.strategies("close", "ultrasound", 20)
    assert close["none"].behind < close["1*all"].behind


def test_findings_on_a_data_set_can_be_left_out():
    left = Evidence.published().without(["busi", "bus_bra"])
    assert {one.data for one in left.findings} == {"jsrt", "shenzhen"}


def test_like_data_and_like_numbers_count_more():
    evidence = Evidence(
        (
            finding("all", 0.0),
            finding("all", 0.1, data="jsrt"),
            finding("contracting", 0.0, images=20),
            finding("contracting", 0.1, images=320),
        )
    )
    of_ultrasound = evidence.strategies("far", "ultrasound", 20)
    of_xray = evidence.strategies("far", "xray", 20)
    assert of_ultrasound["all"].behind < 0.05 < of_xray["all"].behind
    with_many = evidence.strategies("far", "ultrasound", 320)
    assert of_ultrasound["contracting"].behind < 0.05 < with_many["contracting"].behind


def test_what_was_found_with_as_many_images_counts_more_than_many_training_sets():
    """With 20 images `3*shallow:4` was the best, but with 80 it was behind."""
    few = replace(finding("3*shallow:4", 0.0), sets=20)
    rows = (few, finding("3*shallow:4", 0.018, images=80, error=0.005))
    rows += (finding("3*all", 0.015), finding("3*all", 0.002, images=80, error=0.003))
    evidence = Evidence(rows)
    assert [*evidence.strategies("far", "ultrasound", 80)] == ["3*all", "3*shallow:4"]
    assert [*evidence.strategies("far", "ultrasound", 20)] == ["3*shallow:4", "3*all"]


def test_beyond_what_was_studied_the_nearest_number_of_images_is_taken():
    published = Evidence.published()
    for start in ("far", "close"):
        asked = [published.strategies(start, "ultrasound", n) for n in (1, 20, 80, 5000)]
        assert asked[0] == asked[1] and asked[2] == asked[3]
    of_photographs = [published.strategies("far", "photograph", images) for images in (80, 200)]
    assert of_photographs[0] == of_photographs[1], "a kind that no study had"


def test_little_evidence_of_another_kind_is_uncertain():
    xray = Evidence((finding("all", 0.0, data="jsrt"), finding("all", 0.0, data="shenzhen")))
    own = Evidence((finding("all", 0.0), finding("all", 0.0, data="busi")))
    errors = [e.strategies("far", "ultrasound", 20)["all"].error for e in (own, xray)]
    assert 0.005 < errors[0] < errors[1] / 2


def test_data_sets_that_disagree_make_a_belief_uncertain():
    agreed = Evidence((finding("all", 0.02), finding("all", 0.02, data="busi")))
    split = Evidence((finding("all", 0.0), finding("all", 0.04, data="busi")))
    one, other = (e.strategies("far", "ultrasound", 20)["all"] for e in (agreed, split))
    assert one.behind == pytest.approx(other.behind)
    assert one.error < other.error


def test_the_gap_between_starts_is_that_of_their_best_strategies():
    evidence = Evidence(
        (
            finding("all", 0.0, data="busi", dice=0.65),
            finding("none", 0.2, data="busi", dice=0.4),
            finding("none", 0.0, data="busi", start="close", dice=0.71),
        )
    )
    assert evidence.far_starts("ultrasound", 20).behind == pytest.approx(0.06)
    assert Evidence(()).far_starts("ultrasound", 20).behind == 0


def test_advice_is_the_best_strategy_and_what_it_reached_in_the_nearest_study():
    rows = (
        finding("all", 0.02, data="busi", dice=0.6),
        finding("contracting", 0.0, data="busi", dice=0.65),
        finding("contracting", 0.0, data="busi", images=80, dice=0.7),
        finding("contracting", 0.0, data="jsrt", dice=0.97),
    )
    advice = Evidence(rows).advice("ultrasound", 60, "far")
    assert advice.strategy == "contracting"
    assert advice.seen == (rows[2],)
    assert Evidence(rows).advice("ultrasound", 60, "close") is None


# Weighing


def test_without_trials_the_studies_decide():
    weighed = weigh({"all": Belief(0.02, 0.01), "contracting": Belief(0.0, 0.01)})
    assert [one.candidate for one in weighed] == ["contracting", "all"]
    assert weighed[1].behind == pytest.approx(0.02)


def test_clear_trials_outweigh_vague_studies():
    priors = {"all": Belief(0.02, 0.02), "contracting": Belief(0.0, 0.02)}
    hard = np.linspace(0.2, 0.8, 20)
    scores = {"all": hard + 0.1, "contracting": hard + 0.001 * np.arange(20)}
    groups = [f"p{n}" for n in range(20)]
    weighed = weigh(priors, scores, groups, folds=4)
    assert [one.candidate for one in weighed] == ["all", "contracting"]
    assert weighed[0].trial.behind == 0 and weighed[1].trial.behind == pytest.approx(0.0905)


def test_the_error_of_a_mean_counts_patients_not_images():
    values = [0.9, 0.9, 0.9, 0.5, 0.5, 0.5]
    by_image = GroupedMean.of(values, list("abcdef"))
    by_patient = GroupedMean.of(values, list("aaabbb"))
    assert by_image.error < by_patient.error == pytest.approx(0.2)
    assert GroupedMean.of(values, ["a"] * 6).interval() == (0.0, 1.0)
    low, high = GroupedMean.of(values, list("abcdef")).interval()
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_folds_that_share_images_widen_the_interval():
    values, groups = [0.2, 0.5, 0.9, 0.7], list("abcd")
    alone, shared = GroupedMean.of(values, groups), GroupedMean.of(values, groups, folds=5)
    assert shared.error == pytest.approx(alone.error * 1.25**0.5)


# Candidates


def test_of_a_strategy_at_several_rates_the_best_is_taken():
    layout = NetworkLayout.unet(4, None)
    beliefs = {
        text: Belief(0.0, 0.01)
        for text in ("3*all", "all", "shallow:9", "expanding+statistics", "none", "contracting")
    }
    assert [*candidates(beliefs, layout, 3)] == ["3*all", "none", "contracting"]
    assert [*candidates({}, layout, 3)] == ["all"]


def test_a_new_head_is_not_left_to_a_frozen_expanding_path():
    layout = NetworkLayout.unet(4, None)
    strategies = ("none", "contracting", "3*shallow:9", "3*deep:3", "2*expanding", "0.1*expanding")
    beliefs = {text: Belief(0.0, 0.01) for text in strategies}
    assert [*candidates(beliefs, layout, 4, new_head=True)] == ["3*shallow:9", "2*expanding"]
    assert [*candidates({"contracting": Belief(0.0, 0.01)}, layout, 4, new_head=True)] == ["all"]
    assert [*candidates(beliefs, layout, 4)] == [*beliefs][:4]


def test_a_start_is_close_if_it_knows_the_kind_of_image_and_finds_the_objects():
    assert nearness_of(0.7, "ultrasound", "ultrasound") == "close"
    assert nearness_of(0.3, "ultrasound", "ultrasound") == "far"
    assert nearness_of(0.7, "photograph", "ultrasound") == "far"
    assert nearness_of(0.7, None, "ultrasound") == "far"


# Trials and runs


def test_folds_keep_patients_together():
    cases = cases_of(24, group_size=3)
    parts = folds_of(cases, 4, seed=1)
    patients = [{cases.groups[cases.keys.index(key)] for key in part} for part in parts]
    assert sum(map(len, parts)) == 24 and len(set().union(*patients)) == sum(map(len, patients))


def test_too_few_images_for_a_search_are_refused(model):
    with pytest.raises(
        ValueError, match="needs at least 4 images in at least 2 groups, but there are 3"
    ):
        choose("auto:search", lambda: model, cases_of(3), **RUN)


class Listener:
    def __init__(self):
        self.told = []

    def on_trial_end(self, *values, dice):
        self.told.append(values)


@pytest.mark.slow
def test_search_prefers_what_can_learn(model, cases):
    """Where the studies take none and all for equal, trials on easy images decide for all."""
    listener = Listener()
    weighed, folds, steps = search(
        lambda: model,
        {"none": Belief(0.0, 0.1), "3*all": Belief(0.0, 0.1)},
        cases,
        optimization=Optimization(steps=200, batch_size=4, learning_rate=1e-3),
        augmentation=NO_AUGMENTATION,
        listeners=[listener],
    )
    assert (folds, steps) == (3, 100)
    assert weighed[0].candidate == "3*all" and weighed[0].dice > weighed[1].dice + 0.1
    assert [told[:3] for told in listener.told[:3]] == [("none", n, 3) for n in (1, 2, 3)]


def test_auto_takes_what_the_studies_favor_and_costs_no_step(model, cases):
    rows = (finding("deep:1", 0.02), finding("3*shallow:2", 0.0), finding("none", 0.3))
    choice = choose("auto", lambda: model, cases, data="busi", evidence=Evidence(rows), **RUN)
    assert (choice.strategy, choice.nearness, choice.folds) == ("3*shallow:2", "far", 0)
    assert choice == choose(
        "auto", lambda: model, cases, data="busi", evidence=Evidence(rows), **RUN
    )
    assert "12 ultrasound images, and" in str(choice) and "deep:1" in str(choice)


def test_auto_says_if_the_kind_of_image_is_a_guess_from_few(model, cases):
    rows = (finding("deep:1", 0.02), finding("3*shallow:2", 0.0))
    choice = choose("auto", lambda: model, cases, data="my lab", evidence=Evidence(rows), **RUN)
    told = "images (a guess from what they look like; unsafe with fewer than 40), and"
    assert told in choice.why()
    many = replace(choice, images=40)
    assert "images (a guess from what they look like), and" in many.why()


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

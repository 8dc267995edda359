"""Metrics against an independent library, brute force and known answers."""

import json
import math
import subprocess
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from medpy.metric import binary as medpy
from scipy.ndimage import gaussian_filter

from kerasunet import metrics
from kerasunet.metrics import (
    DETECTION_IOU,
    METRICS,
    POLICY,
    area_mm2,
    bootstrap_interval,
    bounds_in_words,
    case_metrics,
    summarize,
)

pytestmark = pytest.mark.filterwarnings("error")

OVERLAPS = ("dice", "iou", "sensitivity", "precision")
SPACINGS = (None, (1.0, 1.0), (0.3, 1.7), (2.5, 0.11))


# -- own data -------------------------------------------------------------------------------------


def blob(rng, shape):
    smooth = gaussian_filter(rng.standard_normal(shape), sigma=rng.uniform(1, 4))
    return smooth > np.quantile(smooth, rng.uniform(0.3, 0.95))


def scattered(rng, shape):
    return rng.random(shape) < rng.uniform(0.02, 0.9)


def touching_the_edge(rng, shape):
    mask = np.zeros(shape, bool)
    height, width = (int(rng.integers(1, size + 1)) for size in shape)
    mask[:height, :width] = True
    return np.rot90(mask, 2) if rng.random() < 0.5 else mask


def one_pixel(rng, shape):
    mask = np.zeros(shape, bool)
    mask[tuple(rng.integers(shape))] = True
    return mask


MASKS = (blob, scattered, touching_the_edge, one_pixel)


def mask_pairs(count):
    """Pairs of non-empty masks: every kind against every kind, in shapes down to one row."""
    rng = np.random.default_rng(2019)
    kinds = list(product(MASKS, MASKS))
    shapes = [(1, 1), (1, 17), (13, 1), (2, 2), (24, 31), (40, 33)]
    pairs = []
    while len(pairs) < count:
        first, second = kinds[len(pairs) % len(kinds)]
        shape = shapes[int(rng.integers(len(shapes)))]
        pair = first(rng, shape), second(rng, shape)
        if all(mask.any() for mask in pair):
            pairs.append(pair)
    return pairs


PAIRS = mask_pairs(400)
EMPTY, LESION, ELSEWHERE = (np.zeros((30, 40), bool) for _ in range(3))
LESION[5:15, 8:20] = True
BARELY = np.roll(LESION, 11, axis=1)  # 10 of 230 pixels are common.
ELSEWHERE[22:27, 30:36] = True
DIAGONAL = 50.0  # of 30 × 40


def row_of(truth, prediction, **settings_):
    return case_metrics(truth, prediction.astype(np.float32), **settings_)


# -- overlap --------------------------------------------------------------------------------------


def test_overlap_equals_medpy():
    reference = {
        "dice": medpy.dc,
        "iou": medpy.jc,
        "sensitivity": medpy.recall,
        "precision": medpy.precision,
    }
    for truth, prediction in PAIRS:
        row = row_of(truth, prediction)
        for name, function in reference.items():
            assert row[name] == pytest.approx(function(prediction, truth), abs=1e-15), name


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlap_by_hand(name):
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]])
    prediction = np.array([[0, 1, 1, 1], [0, 0, 1, 1]])
    expected = {"dice": 4 / 8, "iou": 2 / 6, "sensitivity": 2 / 3, "precision": 2 / 5}
    assert getattr(metrics, name)(truth, prediction) == expected[name]


# -- surface distances ----------------------------------------------------------------------------


def brute_force_border(mask):
    height, width = mask.shape
    inside = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    return np.array(
        sorted(
            (row, column)
            for row, column in inside
            if any((row + down, column + right) not in inside for down, right in steps)
        )
    )


def brute_force_distances(truth, prediction, spacing):
    steps = np.array(spacing or (1.0, 1.0))
    points = [brute_force_border(mask) * steps for mask in (truth, prediction)]
    pairwise = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(axis=-1))
    return pairwise.min(axis=1), pairwise.min(axis=0)


def test_distances_equal_brute_force_over_all_pairs_of_border_pixels():
    for index, (truth, prediction) in enumerate(PAIRS):
        spacing = SPACINGS[index % len(SPACINGS)]
        forth, back = brute_force_distances(truth, prediction, spacing)
        measured = metrics.surface_distances(truth, prediction, spacing)
        np.testing.assert_allclose(measured.from_truth, forth, rtol=1e-12)
        np.testing.assert_allclose(measured.from_prediction, back, rtol=1e-12)
        row = row_of(truth, prediction, spacing=spacing)
        expected = max(np.percentile(forth, 95), np.percentile(back, 95))
        assert row["hd95"] == pytest.approx(expected, rel=1e-12)
        assert row["assd"] == pytest.approx(np.concatenate([forth, back]).mean(), rel=1e-12)


def test_distances_equal_medpy_under_its_definitions():
    for index, (truth, prediction) in enumerate(PAIRS):
        spacing = SPACINGS[index % len(SPACINGS)]
        measured = metrics.surface_distances(truth, prediction, spacing)
        forth, back = measured.from_truth, measured.from_prediction
        pooled = np.concatenate([forth, back])
        close = {"rel": 1e-12, "abs": 1e-12}
        assert forth.mean() == pytest.approx(medpy.asd(truth, prediction, spacing), **close)
        assert back.mean() == pytest.approx(medpy.asd(prediction, truth, spacing), **close)
        assert pooled.max() == pytest.approx(medpy.hd(truth, prediction, spacing), **close)
        medpy_hd95 = medpy.hd95(truth, prediction, spacing)
        assert np.percentile(pooled, 95) == pytest.approx(medpy_hd95, **close)


def test_the_function_and_the_row_agree():
    truth, prediction = PAIRS[0]
    row = row_of(truth, prediction, spacing=(0.3, 1.7))
    assert metrics.hd95(truth, prediction, (0.3, 1.7)) == row["hd95"] > 0
    assert metrics.assd(truth, prediction, (0.3, 1.7)) == row["assd"] > 0


def test_hd95_takes_the_worse_direction():
    truth, prediction = np.zeros((9, 300), bool), np.zeros((9, 300), bool)
    truth[4, :200] = prediction[4, :200] = True
    prediction[4, 299] = truth[4, 205:299:2] = True  # many stray true pixels, one predicted
    forth, back = brute_force_distances(truth, prediction, None)
    assert np.percentile(forth, 95) > 10 * max(np.percentile(back, 95), 1)
    expected = np.percentile(forth, 95)
    assert metrics.hd95(truth, prediction) == pytest.approx(expected)
    assert metrics.hd95(prediction, truth) == pytest.approx(expected)


def test_the_image_edge_is_a_border():
    full = np.ones((7, 9), bool)
    ring = full.copy()
    ring[1:-1, 1:-1] = False
    assert metrics.surface_distances(full, full).from_truth.size == ring.sum()
    assert metrics.hd95(full, ring) == 0.0  # borders are compared, not what they enclose


def test_spacing_is_row_then_column():
    left, lower = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    left[2, 2] = lower[6, 2] = True
    assert metrics.hd95(left, lower, spacing=(0.5, 3.0)) == 2.0
    assert metrics.hd95(left.T, lower.T, spacing=(0.5, 3.0)) == 12.0
    assert row_of(left, lower, spacing=(0.5, 3.0))["unit"] == "mm"
    assert row_of(left, lower)["unit"] == "px"


# -- the policy -----------------------------------------------------------------------------------

EXAMPLES = {
    ("empty", "empty"): (EMPTY, EMPTY),
    ("empty", "not empty"): (EMPTY, ELSEWHERE),
    ("lesion", "empty"): (LESION, EMPTY),
    ("lesion", "elsewhere, no overlap"): (LESION, ELSEWHERE),
    ("lesion", "overlaps, IoU below 0.1"): (LESION, BARELY),
    ("lesion", "overlaps, IoU 0.1 or more"): (LESION, np.roll(LESION, 4, axis=1)),
}


def policy_table():
    lines = [line for line in POLICY.splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, cells, strict=True)) for cells in body]


def matches(value, stated):
    if stated == "measured":
        return 0 < value < DIAGONAL
    return value == (DIAGONAL if stated == "image diagonal" else float(stated))


def test_the_stated_policy_is_what_happens():
    table = policy_table()
    assert {(line["true mask"], line["predicted mask"]) for line in table} == EXAMPLES.keys()
    for line in table:
        truth, prediction = EXAMPLES[line["true mask"], line["predicted mask"]]
        row = row_of(truth, prediction)
        assert row["outcome"] == line["outcome"]
        for header in list(line)[3:]:
            for name in header.split(", "):
                assert matches(row[name], line[header]), (line, name)


def test_the_policy_defines_every_metric():
    row = row_of(LESION, LESION)
    assert set(METRICS) < row.keys()
    assert all(f"**{metric.label}**" in POLICY for metric in METRICS.values())


def test_the_penalty_is_in_mm_where_the_spacing_is_known():
    row = row_of(LESION, EMPTY, spacing=(0.1, 0.2))
    assert row["hd95"] == row["assd"] == pytest.approx(math.hypot(3, 8))


@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (9, 1), (5, 6)])
def test_full_against_empty_and_full(shape):
    full, empty = np.ones(shape), np.zeros(shape)
    perfect = row_of(full, full)
    assert [perfect[name] for name in METRICS] == [1, 1, 1, 1, 0, 0, 0]
    missed, alarm = row_of(full, empty), row_of(empty, full)
    assert missed["hd95"] == alarm["hd95"] == math.hypot(*shape)
    assert (missed["outcome"], alarm["outcome"]) == ("missed", "false_alarm")
    assert (missed["ece"], alarm["ece"]) == (1, 1)


def test_a_row_is_plain_finite_json():
    for truth, prediction in EXAMPLES.values():
        row = row_of(truth, prediction)
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert row["truth_area"] == truth.sum()
        assert row["predicted_area"] == prediction.sum()


# -- threshold ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_pixel_at_the_threshold_is_predicted(dtype):
    probability = np.array([[0.1, 0.7, 0.69]], dtype)
    row = case_metrics([[0, 1, 0]], probability, threshold=np.float64(0.7))
    assert (row["predicted_area"], row["dice"]) == (1, 1.0)


# -- calibration ----------------------------------------------------------------------------------


def brute_force_ece(truth, probability, bins):
    error = 0.0
    for index in range(bins):
        last = index == bins - 1
        above = probability >= index / bins
        inside = above & ((probability < (index + 1) / bins) | last)
        if inside.any():
            gap = abs(probability[inside].mean() - truth[inside].mean())
            error += inside.mean() * gap
    return error


@pytest.mark.parametrize("bins", [1, 2, 15, 40])
def test_ece_equals_a_loop_over_bins(bins):
    rng = np.random.default_rng(7)
    for truth, _ in PAIRS[:100]:
        probability = rng.random(truth.shape) ** rng.choice([0.2, 1, 8])
        expected = brute_force_ece(truth, probability, bins)
        measured = metrics.expected_calibration_error(truth, probability, bins)
        assert measured == pytest.approx(expected, abs=1e-12)


def test_ece_of_case_metrics_has_15_bins():
    rng = np.random.default_rng(3)
    truth, probability = LESION, rng.random(LESION.shape)
    expected = brute_force_ece(truth, probability, 15)
    assert case_metrics(truth, probability)["ece"] == pytest.approx(expected, abs=1e-12)
    assert expected != pytest.approx(brute_force_ece(truth, probability, 14), abs=1e-6)


def test_ece_is_zero_where_the_share_of_lesion_is_the_probability():
    probability = np.repeat([[0.125], [0.5], [0.875]], 8, axis=1)
    truth = np.arange(8)[None] < 8 * probability
    assert metrics.expected_calibration_error(truth, probability) == 0.0
    assert metrics.expected_calibration_error(~truth, probability) == pytest.approx(0.5)


def test_ece_tends_to_zero_for_calibrated_and_to_the_bias_for_biased_probability():
    rng = np.random.default_rng(11)
    chance = rng.uniform(0, 0.7, (600, 600))
    truth = rng.random(chance.shape) < chance
    assert metrics.expected_calibration_error(truth, chance) < 0.005
    biased = metrics.expected_calibration_error(truth, (chance + 0.2).astype(np.float32))
    assert biased == pytest.approx(0.2, abs=0.003)


def test_ece_puts_certain_pixels_in_the_outer_bins():
    assert metrics.expected_calibration_error([[0, 1]], [[0.0, 1.0]]) == 0
    assert metrics.expected_calibration_error([[1, 0]], [[0.0, 1.0]]) == 1
    shared_bin = metrics.expected_calibration_error([[0, 1]], [[1.0, 0.95]])
    assert shared_bin == pytest.approx((1.95 - 1) / 2)


# -- properties -----------------------------------------------------------------------------------

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


@st.composite
def two_masks(draw):
    shape = draw(SHAPES)
    masks = hnp.arrays(bool, shape)
    return draw(masks), draw(masks)


@settings(deadline=None)
@given(two_masks(), st.sampled_from(SPACINGS))
def test_symmetry_range_and_identities(masks, spacing):
    truth, prediction = masks
    row, swapped = (
        row_of(first, second, spacing=spacing)
        for first, second in ((truth, prediction), (prediction, truth))
    )
    for name in ("dice", "iou", "hd95", "assd"):
        assert row[name] == swapped[name]
    assert all(0 <= row[name] <= 1 for name in (*OVERLAPS, "ece"))
    assert row["iou"] == pytest.approx(row["dice"] / (2 - row["dice"]))
    diagonal = np.hypot(*(np.array(truth.shape) * (spacing or (1, 1))))
    assert 0 <= row["assd"] <= diagonal
    assert 0 <= row["hd95"] <= diagonal
    assert (row["dice"] == 1) == np.array_equal(truth, prediction)


@settings(deadline=None)
@given(two_masks(), st.sampled_from(SPACINGS))
def test_distances_never_improve_when_the_prediction_is_removed(masks, spacing):
    truth, prediction = masks
    assume(truth.any() and prediction.any())
    removed = row_of(truth, np.zeros_like(prediction), spacing=spacing)
    row = row_of(truth, prediction, spacing=spacing)
    assert row["hd95"] < removed["hd95"]
    assert row["assd"] < removed["assd"]


# -- bootstrap ------------------------------------------------------------------------------------


def coverage(draw, mean, trials=300, **settings_):
    hits = 0
    for trial in range(trials):
        values, groups = draw(np.random.default_rng(trial))
        interval = bootstrap_interval(values, resamples=500, seed=trial, groups=groups, **settings_)
        hits += interval.low <= mean <= interval.high
    return hits / trials


def test_interval_covers_a_known_mean():
    def draw(rng):
        return rng.beta(8, 2, 60), None

    assert 0.90 <= coverage(draw, 0.8) <= 0.99
    assert 0.72 <= coverage(draw, 0.8, confidence=0.8) <= 0.88


def clustered(rng, groups=30, size=6):
    """Cases that differ mostly between patients, in shuffled order."""
    index = rng.permutation(np.repeat(np.arange(groups), size))
    patient = rng.normal(0, 1, groups)[index]
    return patient + rng.normal(0, 0.3, index.size), [f"patient {number}" for number in index]


@pytest.mark.slow
def test_cluster_bootstrap_covers_where_the_naive_one_does_not():
    assert 0.90 <= coverage(clustered, 0.0, trials=200) <= 0.99
    assert coverage(lambda rng: (clustered(rng)[0], None), 0.0, trials=200) < 0.75


def test_cluster_bootstrap_is_wider_on_clustered_data():
    values, groups = clustered(np.random.default_rng(1))
    naive, cluster = bootstrap_interval(values), bootstrap_interval(values, groups=groups)
    assert cluster.mean == naive.mean == values.mean()
    assert cluster.high - cluster.low > 1.5 * (naive.high - naive.low)
    assert naive.n == cluster.n == 180


def test_the_mean_is_over_cases_also_with_groups_of_unequal_size():
    sizes = [9, 1] * 20  # patients with nine good cases, and with a single bad one
    values = np.repeat([1.0, 0.0] * 20, sizes)
    interval = bootstrap_interval(values, groups=np.repeat(range(40), sizes))
    assert interval.mean == pytest.approx(0.9)
    assert 0.8 < interval.low < 0.9 < interval.high < 0.96


def test_groups_of_one_case_are_the_plain_bootstrap():
    values = np.random.default_rng(0).random(25)
    assert bootstrap_interval(values, groups=range(25)) == bootstrap_interval(values)


def test_masked_pixels_are_not_taken_for_others():
    masked = np.ma.masked_array(np.eye(4, dtype=bool), np.eye(4, dtype=bool))
    with pytest.raises(ValueError, match="truth has masked pixels, which no metric leaves out"):
        case_metrics(masked, np.eye(4))


@pytest.mark.parametrize(
    ("mask", "spacing", "told"),
    [
        (np.full((4, 4), 0.1), (1, 1), "mask must hold whole numbers, no probabilities, found 0.1"),
        (np.full((4, 4), np.nan), (1, 1), "mask must hold whole numbers"),
        (np.ma.array(np.eye(4), mask=np.eye(4)), (1, 1), "mask has masked pixels"),
        (np.ones((2, 4, 4), bool), (1, 1), "mask must be 2-D"),
        (np.eye(4) > 0, (-1, 1), "spacing must be two positive numbers"),
        (np.eye(4) > 0, (np.nan, 1), "spacing must be two positive numbers"),
        (np.eye(4) > 0, "12", "spacing must be two positive numbers"),
    ],
)
def test_what_has_no_area_is_refused(mask, spacing, told):
    with pytest.raises(ValueError, match=told):
        area_mm2(mask, spacing)
    assert area_mm2(np.eye(4) * 2, (0.5, 0.5)) == area_mm2(np.eye(4) > 0, (0.5, 0.5)) == 1


def test_the_seed_decides():
    values = np.random.default_rng(5).random(40)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3).low != bootstrap_interval(values, seed=4).low
    assert bootstrap_interval(values, resamples=300) != bootstrap_interval(values, resamples=400)


def test_less_confidence_is_a_narrower_interval():
    values = np.random.default_rng(5).random(40)
    wide, narrow = (bootstrap_interval(values, confidence=confidence) for confidence in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 362.0])
def test_constant_values_have_an_interval_without_width(value):
    interval = bootstrap_interval([value] * 7, groups=list("aaabbcd"))
    assert interval.low == interval.mean == interval.high == pytest.approx(value)
    assert interval.n == 7


@pytest.mark.parametrize(("values", "groups"), [([0.4], None), ([0.3, 0.5], ["a", "a"])])
def test_one_case_or_one_group_has_no_interval(values, groups):
    interval = bootstrap_interval(values, groups=groups)
    assert interval.mean == pytest.approx(0.4)
    assert math.isnan(interval.low) and math.isnan(interval.high)
    assert interval.n == len(values)


def test_bounds_that_are_not_known_are_called_so():
    assert bounds_in_words(0.25, 0.5) == "0.250 to 0.500"
    assert bounds_in_words(math.nan, math.nan) == "unknown"


def test_groups_with_equal_means_have_an_interval_without_width():
    interval = bootstrap_interval([0.1, 0.3, 0.3, 0.1], groups=["a", "a", "b", "b"])
    assert interval.low == interval.mean == interval.high == pytest.approx(0.2)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0.0, 1e-9, 0.3, 0.8, 1.0, 362.0]), min_size=2, max_size=30))
def test_bounds_are_finite_and_within_the_data(values):
    interval = bootstrap_interval(values, resamples=100)
    fuzz = 1e-9 * max(values)
    assert min(values) - fuzz <= interval.low <= interval.high <= max(values) + fuzz


# -- summary --------------------------------------------------------------------------------------


def example_rows(**settings_):
    return [row_of(truth, prediction, **settings_) for truth, prediction in EXAMPLES.values()]


def test_summary_counts_failures_and_averages_every_case():
    rows = [*example_rows(), row_of(LESION, ELSEWHERE)]
    summary = summarize(rows)
    counts = {name: summary[name] for name in ("n", "missed", "false_alarm", "empty_truth")}
    assert counts == {"n": 7, "missed": 4, "false_alarm": 1, "empty_truth": 2}
    assert summary["unit"] == "px" and summary["detection_iou"] == DETECTION_IOU == 0.1
    for name in METRICS:
        assert summary[name].n == 7
        assert summary[name] == bootstrap_interval([row[name] for row in rows])


def test_summary_passes_its_settings_on():
    rows = example_rows(spacing=(0.1, 0.1))
    options = {"confidence": 0.8, "resamples": 300, "seed": 9, "groups": list("aabbcc")}
    summary = summarize(rows, **options)
    assert summary["dice"] == bootstrap_interval([row["dice"] for row in rows], **options)
    assert summary["dice"] != summarize(rows)["dice"]
    assert summary["unit"] == "mm"


# -- errors ---------------------------------------------------------------------------------------


def with_pixel(value):
    image = np.zeros((4, 6))
    image[2, 3] = value
    return image


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        (EMPTY, np.zeros((30, 41)), r"truth has shape \(30, 40\).*probability.*\(30, 41\)"),
        (np.zeros((4, 6, 1)), with_pixel(0), r"truth must be 2-D.*\(4, 6, 1\)"),
        (with_pixel(0), np.zeros(6), r"probability must be 2-D.*\(6,\)"),
        (np.zeros((0, 6)), np.zeros((0, 6)), r"truth has no pixels.*\(0, 6\)"),
        (with_pixel(255), with_pixel(0), "truth must hold only 0 and 1.*255.* row 2, column 3"),
        (with_pixel(np.nan), with_pixel(0), "truth must hold only 0 and 1.*nan at row 2, column 3"),
        (np.full((4, 6), "1"), with_pixel(0), "truth must hold booleans or real numbers.*<U1"),
        (with_pixel(0), with_pixel(np.nan), r"probability must lie in \[0, 1\].*nan at row 2"),
        (with_pixel(0), with_pixel(1.01), r"probability must lie in \[0, 1\].*1.01 at row 2"),
        (with_pixel(0), with_pixel(-0.5), r"probability must lie in \[0, 1\].*-0.5 at row 2"),
    ],
)
def test_images_that_no_metric_can_be_computed_from(truth, probability, message):
    with pytest.raises(ValueError, match=message):
        case_metrics(truth, probability)
    with pytest.raises(ValueError, match=message):
        metrics.expected_calibration_error(truth, probability)


@pytest.mark.parametrize("name", [*OVERLAPS, "hd95", "assd", "surface_distances"])
def test_masks_are_checked_in_every_function(name):
    function = getattr(metrics, name)
    with pytest.raises(ValueError, match="prediction must hold only 0 and 1.*0.3"):
        function(with_pixel(0), with_pixel(0.3))
    with pytest.raises(ValueError, match=r"truth has shape \(4, 6\).*prediction.*\(6, 4\)"):
        function(with_pixel(1), with_pixel(1).T)


@pytest.mark.parametrize("spacing", [(0, 1), (1,), (1, 1, 1), (np.nan, 1), (np.inf, 1), (-1, 1)])
def test_impossible_spacing(spacing):
    with pytest.raises(ValueError, match="spacing must be two positive numbers"):
        case_metrics(LESION, LESION, spacing=spacing)


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 50, np.nan])
def test_impossible_threshold(threshold):
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
        case_metrics(LESION, LESION, threshold=threshold)


def test_impossible_bins():
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        metrics.expected_calibration_error(LESION, LESION, bins=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, "values must be one number per case"),
        ({"values": [[0.1, 0.2]]}, r"values must be one number per case.*\(1, 2\)"),
        ({"values": [0.1, np.nan]}, r"values\[1\] is nan"),
        ({"values": [np.inf, 0.1]}, r"values\[0\] is inf"),
        ({"values": [0.1, 0.2], "confidence": 95}, "confidence must lie between 0 and 1"),
        ({"values": [0.1, 0.2], "resamples": 20}, "resamples must be at least 100, got 20"),
        ({"values": [0.1, 0.2], "groups": ["a"]}, "1 for 2 cases"),
        ({"values": [0.1, 0.2], "groups": ["a", None]}, r"groups\[1\] is None"),
        ({"values": [0.1, 0.2], "groups": [np.nan, 3]}, r"groups\[0\] is nan"),
    ],
)
def test_impossible_bootstrap(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**arguments)


def test_impossible_summary():
    with pytest.raises(ValueError, match="at least one case"):
        summarize([])
    with pytest.raises(ValueError, match=r"mixed units \(6 in mm, 6 in px\)"):
        summarize(example_rows() + example_rows(spacing=(1, 1)))
    row = row_of(LESION, LESION)
    del row["assd"]
    with pytest.raises(ValueError, match=r"rows\[1\] lacks assd"):
        summarize([row_of(LESION, LESION), row])


# -- imports --------------------------------------------------------------------------------------


def test_import_is_light():
    heavy = "{'keras', 'tensorflow', 'pandas', 'cv2', 'scipy.stats', 'scipy.spatial'}"
    code = f"import sys, kerasunet.metrics; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["lungs", "heart"])
def test_distances_of_each_object_are_those_of_simpleitk_and_medpy(name):
    sitk = pytest.importorskip("SimpleITK")
    from kerasunet.data import load
    from kerasunet.objects import Objects

    objects, spacing = Objects(("lungs", "heart")), (1.5, 0.75)
    masks = [case.load().mask for case in load("simulated-xray:2", objects=objects.names).cases]
    number = objects.names.index(name)
    truth, found = (objects.planes(mask)[number] for mask in masks)
    row = case_metrics(truth, found.astype(float), spacing=spacing)

    def borders(mask):
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        return sitk.GetArrayFromImage(sitk.BinaryContour(image, False)) > 0

    def distances(one, other):
        image = sitk.GetImageFromArray(other.astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        away = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        return np.abs(sitk.GetArrayFromImage(away))[one]

    edges = [borders(mask) for mask in (truth, found)]
    directed = [distances(*edges), distances(*edges[::-1])]
    assert row["hd95"] == pytest.approx(max(np.percentile(d, 95) for d in directed), rel=1e-5)
    pooled = np.concatenate(directed).mean()
    assert row["assd"] == pytest.approx(pooled, rel=1e-5)
    one_way = [medpy.asd(*pair, voxelspacing=spacing) for pair in ((truth, found), (found, truth))]
    assert min(one_way) - 1e-6 <= row["assd"] <= max(one_way) + 1e-6


def test_the_mean_over_objects_is_taken_within_cases():
    truth = np.zeros((2, 8, 8), bool)
    truth[0, 2:6, 2:6] = True  # The second object is absent.
    rows = [
        {"key": "a", "object": name, **metrics.case_metrics(mask, mask.astype(float))}
        for name, mask in zip(("lungs", "heart"), truth, strict=True)
    ]
    wrong = metrics.case_metrics(truth[0], truth[1].astype(float))
    rows += [{"key": "b", "object": name, **wrong} for name in ("lungs", "heart")]
    found = metrics.summarize_objects(rows)
    assert found["dice"].mean == 0.5
    assert found["objects"]["heart"]["dice"].mean == 0.5
    assert (found["n"], found["missed"], found["empty_truth"]) == (2, 2, 1)
    assert found["objects"]["heart"]["empty_truth"] == 1


def test_the_objects_of_a_case_are_found_by_its_key():
    """Whoever sorts a table, such as by Dice, brings cases into another order for each object."""
    truth = np.zeros((8, 8), bool)
    truth[2:6, 2:6] = True
    right, wrong = (metrics.case_metrics(truth, found.astype(float)) for found in (truth, ~truth))
    cases = [
        {"key": k, "object": o, **row}
        for k, row in zip("abc", (right, wrong, wrong), strict=True)
        for o in "xy"
    ]
    other = [cases[n] for n in (0, 2, 4, 5, 3, 1)]
    groups = ["anna", "ben", "ben", "ben", "ben", "anna"]
    found = metrics.summarize_objects(other, groups)
    assert found == metrics.summarize_objects(cases, ["anna"] * 2 + ["ben"] * 4)
    assert found["dice"].low == 0 and found["dice"].high == 1, "cases are right or wrong as a whole"
    with pytest.raises(ValueError, match=r"^c: has no row of x, or none of y$"):
        metrics.summarize_objects(cases[:-1])


def test_rows_that_were_read_from_a_table_are_counted_as_those_that_were_written():
    rows = [case_metrics(mask, mask) for mask in (np.eye(4), np.zeros((4, 4)), np.ones((4, 4)))]
    as_text = [{name: str(value) for name, value in row.items()} for row in rows]
    assert summarize(as_text) == summarize(rows) and summarize(rows)["empty_truth"] == 1
    parts = [{**row, "key": key, "object": name} for row in rows for key, name in ("ab", "ac")]
    texts = [{name: str(value) for name, value in row.items()} for row in parts]
    assert metrics.summarize_objects(texts) == metrics.summarize_objects(parts)


def test_what_names_no_group_for_each_row_is_refused():
    rows = [case_metrics(np.eye(4), np.eye(4)) for _ in range(4)]
    parts = [{**row, "key": "ab"[i // 2], "object": "xy"[i % 2]} for i, row in enumerate(rows)]
    frame = pd.DataFrame(np.eye(4))
    for groups, kind in (
        ("abcd", "str"),
        (frame, "DataFrame"),
        ((one for one in "abcd"), "generator"),
    ):
        with pytest.raises(TypeError, match=f"groups must name one group per .*not a {kind}"):
            bootstrap_interval([1, 2, 3, 4], groups=groups)
    with pytest.raises(ValueError, match=r"groups\[1\] is <NA>: a case on its own needs its own"):
        bootstrap_interval([1, 2], groups=pd.Series(["a", pd.NA], dtype="string"))
    with pytest.raises(ValueError, match="groups must name one group per row: 2 for 4 rows"):
        metrics.summarize_objects(parts, ["p", "q"])
    with pytest.raises(ValueError, match="^a: its rows name several groups, p and q"):
        metrics.summarize_objects(parts, ["p", "q", "r", "r"])
    for summed in (summarize, metrics.summarize_objects):
        with pytest.raises(
            TypeError, match=r'rows must be .*table.to_dict\("records"\).*not a Data'
        ):
            summed(pd.DataFrame(parts))
    shuffled = pd.Series(list("aabb"), index=[3, 1, 2, 0])  # By place, not by index.
    assert summarize(rows, shuffled) == summarize(rows, list("aabb"))


@pytest.mark.parametrize("name", ["threshold", "confidence", "resamples"])
@pytest.mark.parametrize("value", ["0.5", True, None, [0.5]])
def test_settings_of_another_type_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must"):
        if name == "threshold":
            case_metrics(np.eye(4), np.eye(4), threshold=value)
        else:
            bootstrap_interval([0.1, 0.2], **{name: value})

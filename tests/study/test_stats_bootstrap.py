"""Intervals and summaries of studies, against SciPy and tables whose answer is known."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from helpers.case_tables import by_name, compared, level, results_of, runs_of, table
from hypothesis import given, settings, strategies as st
from scipy.stats import bootstrap

from kerasunet.metrics import bootstrap_interval
from kerasunet.study.stats import check_claims, compare_all, summarize


@pytest.fixture(scope="module")
def null_table() -> pd.DataFrame:
    """400 strategies without any difference, on patients with one to four cases."""
    return table({f"s{number}": 0.7 for number in range(400)}, groups=80, views=4)


def null_comparisons(cases: pd.DataFrame):
    return compare_all(results_of(cases), [(f"s{n}", f"s{n + 1}") for n in range(0, 400, 2)])


@pytest.mark.slow
def test_intervals_cover_the_truth_and_tests_keep_their_level(null_table):
    found = null_comparisons(null_table)
    covered = np.mean([comparison.low <= 0 <= comparison.high for comparison in found])
    assert 0.91 <= covered <= 0.985
    assert np.mean([comparison.p_value < 0.05 for comparison in found]) <= 0.09


def test_patients_taken_for_independent_cases_would_find_what_is_not_there(null_table):
    found = null_comparisons(null_table.assign(group=null_table["key"]))
    assert np.mean([comparison.low <= 0 <= comparison.high for comparison in found]) < 0.85
    assert np.mean([comparison.p_value < 0.05 for comparison in found]) > 0.12


def test_more_images_of_the_same_patients_are_no_more_evidence():
    cases = table(level(contracting=0.71))
    copies = [cases.assign(key=cases["key"] + suffix) for suffix in ("", "-copy", "-again")]
    once = compared(cases, "contracting", "expanding")
    thrice = compared(pd.concat(copies), "contracting", "expanding")
    assert thrice.cases == 3 * once.cases and thrice.groups == once.groups
    assert astuple(thrice)[5:11] == pytest.approx(astuple(once)[5:11], rel=1e-9)


@pytest.mark.parametrize("skewed", [False, True])
def test_interval_of_one_fold_is_that_of_scipy(skewed):
    cases = table({"all": 0.7}, folds=1, groups=300)
    if skewed:
        cases["dice"] = 1 - (0.2 - cases["dice"]).abs() ** 3
    found = summarize(results_of(cases)).iloc[0]
    expected = bootstrap_interval(cases["dice"], resamples=9999, groups=list(cases["group"]))
    width = expected.high - expected.low
    assert found["mean"] == pytest.approx(expected.mean)
    assert (found["low"], found["high"]) == pytest.approx(
        (expected.low, expected.high), abs=0.06 * width
    )


def test_difference_of_two_data_sets_has_the_interval_of_scipy():
    one = table(level(contracting=0.8), groups=150, folds=1, views=1)
    other = table(level(contracting=0.75), "jsrt", groups=90, folds=1, views=1, seed=1)
    (found,) = (
        claim
        for claim in check_claims(results_of(pd.concat([one, other])))
        if claim.data == "bus_bra, jsrt" and claim.effect == "contracting - expanding"
    )
    differences = []
    for cases in (one, other):
        wide = cases.pivot(index="key", columns="strategy", values="dice")
        differences.append((wide["contracting"] - wide["expanding"]).to_numpy())
    expected = bootstrap(
        differences, lambda a, b, axis: a.mean(axis) - b.mean(axis), rng=0
    ).confidence_interval
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.06 * width)


def test_folds_of_unequal_difficulty_do_not_widen_the_interval():
    cases = table({"all": 0.7}, views=1)
    shifted = cases.assign(dice=cases["dice"] - 0.1 * cases["fold"])
    numbers = summarize(results_of(cases))[["mean", "low", "high"]].to_numpy()
    assert summarize(results_of(shifted))[["mean", "low", "high"]].to_numpy() == pytest.approx(
        numbers - 0.2
    )


@pytest.mark.parametrize(("groups", "folds"), [(1, 1), (3, 3)])
def test_single_patients_tell_no_spread(groups, folds):
    cases = table(level(contracting=0.9), groups=groups, folds=folds)
    assert summarize(results_of(cases))[["low", "high"]].isna().all(axis=None)
    (claim,) = by_name(check_claims(results_of(cases)), "contracting-above-expanding")
    assert claim.verdict == "undecided" and "interval unknown" in claim.explanation


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=2, max_size=6), st.integers(1, 2))
def test_bounds_enclose_the_mean_however_few_the_patients(values, folds):
    cases = table({"all": 0.7}, groups=len(values), folds=folds, views=1)
    row = summarize(results_of(cases.assign(dice=np.array(values) / 100_000))).iloc[0]
    assert np.isnan(row["low"]) or row["low"] - 1e-9 <= row["mean"] <= row["high"] + 1e-9


def test_same_table_same_numbers_in_any_order_of_rows():
    cases = table(level(contracting=0.72))
    shuffled = cases.sample(frac=1, random_state=0)
    assert compared(shuffled, "contracting", "all") == compared(cases, "contracting", "all")
    assert check_claims(results_of(shuffled, runs_of(cases))) == check_claims(results_of(cases))


def test_missed_follows_the_overlap_in_older_tables_too():
    """Version 0.1.0 wrote that a lesion is detected where a single pixel of it is found."""
    cases = table({"all": 0.7})
    cases["iou"] = np.where(cases["key"].isin(["c0", "c1"]), 0.09, 0.1)
    cases["outcome"] = np.where(cases["key"] == "c2", "false_alarm", "detected")
    assert summarize(results_of(cases))["missed"].tolist() == [2]


def test_summary_averages_seeds_per_case_and_counts_missed_lesions():
    cases = table({"all": 0.7, "none": 0.3}, seeds=2)
    is_missed = (cases["strategy"] == "none") & (cases["key"].isin(["c0", "c1"]))
    cases["outcome"] = np.where(is_missed & (cases["seed"] == 0), "missed", "detected")
    found = summarize(results_of(cases)).set_index("strategy")
    by_seed = cases[cases["strategy"] == "all"].groupby("seed")["dice"].mean()
    assert found.at["all", "mean"] == pytest.approx(by_seed.mean())
    assert found["missed"].to_dict() == {"all": 0, "none": 1}
    assert set(found["cases"]) == {cases["key"].nunique()} and set(found["runs"]) == {10}


def test_summary_keeps_data_sets_and_sizes_apart():
    parts = [
        table({"all": mean, "none": 0.4}, data, size, groups=20)
        for data, size, mean in (("jsrt", 80, 0.9), ("jsrt", 20, 0.8), ("busi", 20, 0.7))
    ]
    found = summarize(results_of(pd.concat(parts))).set_index(["data", "train_size", "strategy"])[
        "mean"
    ]
    assert found.xs("all", level="strategy").to_dict() == pytest.approx(
        {("busi", 20): 0.7, ("jsrt", 20): 0.8, ("jsrt", 80): 0.9}, abs=0.05
    )


def test_other_metrics_are_summarized_in_their_own_unit():
    cases = table({"all": 0.7}, groups=20)
    cases["hd95"] = 12.0
    row = summarize(results_of(cases), "hd95").iloc[0]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((12, 12, 12))

"""Paired comparisons of strategies, against SciPy and what statsmodels gave."""

from __future__ import annotations

from dataclasses import astuple
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from helpers.case_tables import FULL, by_name, compared, level, results_of, table
from hypothesis import given, settings, strategies as st
from scipy.stats import wilcoxon

from kerasunet.study.stats import check_claims, compare, compare_all, planned_pairs
from kerasunet.study.stats.comparison import holm


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2, 0.2, 0.02, 0.02, 0.9], [0.6, 0.6, 0.1, 0.1, 0.9]),
        ([0, 1, 0.5, 0.3, 1e-09], [0.0, 1.0, 1.0, 0.9, 4e-09]),
        ([0.0125, 0.8, 0.011, 0.049, 0.012, 0.3], [0.066, 0.8, 0.066, 0.147, 0.066, 0.6]),
    ],
)
def test_holm_is_that_of_statsmodels(p_values, adjusted):
    """`multipletests(p_values, method="holm")[1]` of statsmodels 0.15.0."""
    assert holm(p_values) == pytest.approx(adjusted)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_definition(p_values):
    """The k-th smallest of m counts m - k + 1 times, no less than those before, 1 at most."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.maximum.accumulate(factors * np.array(p_values)[order])
    assert np.array(holm(p_values))[order] == pytest.approx(np.minimum(stepped, 1))


def test_comparison_is_wilcoxons_test_on_patients():
    cases = table(level(contracting=0.71))
    found = compared(cases, "contracting", "expanding")
    wide = cases.pivot(index=["group", "key"], columns="strategy", values="dice")
    difference = wide["contracting"] - wide["expanding"]
    by_group = difference.groupby("group").mean()
    assert found.p_value == pytest.approx(wilcoxon(by_group).pvalue, rel=1e-6)
    assert found.difference == pytest.approx(difference.mean())
    in_favor = wilcoxon(by_group, alternative="greater").statistic
    against = wilcoxon(-by_group, alternative="greater").statistic
    assert found.effect_size == pytest.approx((in_favor - against) / (in_favor + against))
    assert (found.wins, found.losses) == ((difference > 0).sum(), (difference < 0).sum())
    assert (found.cases, found.groups) == (len(difference), len(by_group))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.05, 0.05))
def test_comparison_the_other_way_round_is_its_mirror_image(seed, effect):
    cases = table({"all": 0.7 + effect, "none": 0.7}, groups=15, folds=2, seed=seed)
    there = compared(cases, "all", "none")
    back = compared(cases, "none", "all")
    assert (back.difference, back.low, back.high, back.effect_size) == pytest.approx(
        (-there.difference, -there.high, -there.low, -there.effect_size), abs=1e-9
    )
    assert back.p_value == pytest.approx(there.p_value)
    assert (back.wins, back.losses, back.ties) == (there.losses, there.wins, there.ties)


def test_equal_strategies_differ_in_nothing():
    cases = table({"all": 0.7, "none": 0.7}, groups=20)
    cases["dice"] = 0.5
    found = compared(cases, "all", "none")
    assert (found.p_value, found.effect_size, found.difference) == (1, 0, 0)
    assert (found.low, found.high, found.ties) == (0, 0, found.cases)


def test_less_distance_wins():
    cases = table({"all": 0.7, "none": 0.7}, groups=20)
    cases["hd95"] = np.where(cases["strategy"] == "all", 3.0, 9.0)
    found = compare(results_of(cases), "all", "none", data="bus_bra", train_size=20, metric="hd95")
    assert found.difference == -6 and found.effect_size == -1
    assert found.wins == found.cases and found.losses == 0


@pytest.mark.slow
def test_comparisons_are_corrected_within_data_set_and_size():
    parts = [
        table(level(FULL[:6], contracting=0.71), data, size, groups=40, seed=size)
        for data in ("bus_bra", "jsrt")
        for size in (20, 80)
    ]
    pairs = list(combinations(FULL[:6], 2))
    found = compare_all(results_of(pd.concat(parts)), pairs)
    assert len(found) == 4 * len(pairs)
    for start in range(0, len(found), len(pairs)):
        family = found[start : start + len(pairs)]
        assert len({(c.data, c.train_size) for c in family}) == 1
        expected = holm([c.p_value for c in family])
        assert [c.p_adjusted for c in family] == pytest.approx(list(expected))


def test_planned_pairs_know_equal_strategies_by_what_they_train():
    pairs = planned_pairs(FULL)
    assert pairs[0] == ("contracting", "expanding")
    assert ("contracting", "deep:5") in pairs and ("shallow:4", "expanding") in pairs
    assert ("shallow:3", "deep:3") in pairs and ("scratch", "all") in pairs
    assert len(set(pairs)) == len(pairs) and all(set(pair) <= set(FULL) for pair in pairs)


def test_a_strategy_is_found_under_an_equal_name():
    cases = table(level(contracting=0.75))
    assert compared(cases, "shallow:5", "deep:4") == compared(cases, "contracting", "expanding")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": "outer:2"}, "no finished run of outer:2; choose from none, scratch"),
        ({"train_size": 40}, "bus_bra at 40: no such case; there are bus_bra at 20"),
        ({"data": "busi"}, "busi at 20: no such case"),
        ({"metric": "f1"}, "no column f1"),
    ],
)
def test_what_is_not_in_the_table_is_named(change, message):
    asked = {"first": "all", "second": "none", "train_size": 20, "data": "bus_bra"}
    with pytest.raises(ValueError, match=message):
        compare(results_of(table(level(), groups=10)), **{**asked, **change})


def test_only_cases_that_both_were_tested_on_are_compared():
    """The second fold is easy, and only one of the two has got there."""
    cases = table(level(), folds=2)
    cases["dice"] += 0.2 * cases["fold"]
    growing = cases[(cases["fold"] == 0) | (cases["strategy"] == "contracting")]
    found = compared(growing, "contracting", "expanding")
    assert abs(found.difference) < 0.03
    assert found.cases == cases.loc[cases["fold"] == 0, "key"].nunique()
    first_fold = compared(cases[cases["fold"] == 0], "contracting", "expanding")
    assert astuple(found)[4:] == pytest.approx(astuple(first_fold)[4:])
    (claim,) = by_name(check_claims(results_of(growing)), "contracting-above-expanding")
    assert claim.verdict == "undecided" and "of 1 folds" in claim.explanation


def test_seeds_are_paired():
    """The second seed is worse throughout, and one strategy has only the first."""
    cases = table({"all": 0.7, "contracting": 0.7}, seeds=2)
    cases["dice"] -= 0.3 * cases["seed"]
    growing = cases[(cases["seed"] == 0) | (cases["strategy"] == "all")]
    assert abs(compared(growing, "contracting", "all").difference) < 0.03


def test_strategies_that_share_no_case_are_left_out_or_refused():
    cases = table({"all": 0.7, "contracting": 0.7}, folds=2)
    apart = cases[(cases["fold"] == 0) == (cases["strategy"] == "all")]
    assert compare_all(results_of(apart), [("all", "contracting"), ("all", "deep:1")]) == ()
    with pytest.raises(ValueError, match="no case was tested with both all and contracting"):
        compared(apart, "all", "contracting")

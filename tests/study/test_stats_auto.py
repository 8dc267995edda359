"""The automatic choice between the best and the worst fixed strategy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.case_tables import level, results_of, table

from kerasunet.study.stats import summarize, summarize_auto


def test_auto_is_placed_between_best_and_worst_fixed_strategy():
    truth = {**level(contracting=0.8, deep_1=0.6, none=0.2, scratch=0.9), "auto": 0.75}
    cases = table(truth)
    row = summarize_auto(results_of(cases)).iloc[0]
    assert (row["auto"], row["best"], row["worst"]) == ("auto", "contracting", "deep:1")
    mean = summarize(results_of(cases)).set_index("strategy")["mean"]
    assert row["regret"] == pytest.approx(mean["contracting"] - mean["auto"])
    assert row["regret_low"] < row["regret"] < row["regret_high"]
    way = mean["contracting"] - mean["deep:1"]
    assert row["share"] == pytest.approx((mean["auto"] - mean["deep:1"]) / way)
    assert row["chosen"].startswith("fold 0: shallow:3, fold 1: shallow:3")


def test_auto_is_compared_on_its_own_folds_with_strategies_that_cover_them():
    cases = table({**level(contracting=0.8, expanding=0.9), "auto": 0.75, "auto:search": 0.78})
    growing = cases[
        ((cases["fold"] < 2) | ~cases["strategy"].str.startswith("auto"))
        & ((cases["fold"] < 1) | (cases["strategy"] != "expanding"))
    ]
    found = summarize_auto(results_of(growing))
    assert list(found["auto"]) == ["auto", "auto:search"]
    assert set(found["best"]) == {"contracting"}
    assert set(found["cases"]) == {cases.loc[cases["fold"] < 2, "key"].nunique()}


def test_auto_alone_has_nothing_to_be_placed_against():
    cases = table({"none": 0.2, "auto": 0.75}, groups=10)
    row = summarize_auto(results_of(cases)).iloc[0]
    assert row["best"] == "" and np.isnan(row["regret"])

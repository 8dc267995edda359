"""Curves over the number of tuned blocks, and the area between them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.case_tables import PATTERNS, area, level, results_of, runs_of, table
from hypothesis import given, settings, strategies as st

from kerasunet.strategies import NetworkLayout
from kerasunet.study.plan import distinct_strategies
from kerasunet.study.report import answer, closing
from kerasunet.study.stats import StudyStatistics, summarize


@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_curves_run_from_nothing_to_everything(depth):
    patterns = (*PATTERNS, "outer:*", "inner:*", "bottleneck")
    strategies = distinct_strategies(patterns, NetworkLayout.unet(depth))
    cases = table(dict.fromkeys(strategies, 0.7), groups=6, folds=1)
    found = StudyStatistics(results_of(cases, depth=depth)).curves
    for direction, part in found.groupby("direction"):
        whole = 2 * depth + 1 if direction in ("shallow", "deep") else depth + 1
        assert list(part["count"]) == list(range(whole + 1))
        assert list(part["blocks"])[0] == 0 and list(part["blocks"])[-1] == 2 * depth + 1
        assert (part["strategy"].iloc[0], part["strategy"].iloc[-1]) == ("none", "all")
    name = found.set_index(["direction", "count"])["strategy"]
    assert name["shallow", depth + 1] == "contracting" and name["deep", depth] == "expanding"
    assert name["inner", 1] == "bottleneck" and set(found["direction"]) == {
        *("shallow", "deep", "outer", "inner")
    }


def test_curves_have_the_numbers_of_the_summary():
    cases = table(level(contracting=0.8, shallow_3=0.75))
    found = StudyStatistics(results_of(cases)).curves.set_index(["direction", "count"])
    summary = summarize(results_of(cases)).set_index("strategy")
    for place, strategy in ((("shallow", 3), "shallow:3"), (("shallow", 5), "contracting")):
        numbers = ["mean", "low", "high"]
        assert list(found.loc[place, numbers]) == list(summary.loc[strategy, numbers])
    assert set(found.index.get_level_values("direction")) == {"shallow", "deep"}


def test_area_is_the_mean_height_between_the_curves():
    cases = table(level(contracting=0.8, shallow_1=0.6, deep_2=0.65))
    between = area(cases)
    mean = StudyStatistics(results_of(cases)).curves.set_index(["direction", "count"])["mean"]
    heights = [mean["shallow", k] - mean["deep", k] for k in range(10)]
    assert between.mean == pytest.approx(np.trapezoid(heights) / 9)
    assert between.low < between.mean < between.high
    assert between.cases == cases["key"].nunique()


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.permutations(["shallow", "deep", "outer", "inner"]))
def test_there_is_no_area_where_only_the_number_of_blocks_counts(depth, directions):
    patterns = ("none", "all", *(f"{direction}:*" for direction in directions))
    layout = NetworkLayout.unet(depth)
    cases = table(dict.fromkeys(distinct_strategies(patterns, layout), 0.0), groups=4, folds=1)
    blocks = (
        StudyStatistics(results_of(cases, depth=depth))
        .curves.set_index("strategy")["blocks"]
        .to_dict()
    )
    cases["dice"] = cases["strategy"].map(blocks) * 0.1
    between = area(cases, *directions[:2], depth=depth)
    assert between.mean == pytest.approx(0, abs=1e-9)


def test_area_needs_every_strategy_of_both_curves():
    cases = table(level())
    lacking = cases[~cases["strategy"].isin(["deep:3", "contracting"])]
    with pytest.raises(ValueError, match="no finished run of shallow:5, deep:3"):
        area(lacking)
    with pytest.raises(ValueError, match="sideways: no such direction; choose from shallow, deep"):
        area(cases, "sideways")
    with pytest.raises(ValueError, match="two different directions"):
        area(cases, "deep", "deep")


def test_what_failed_in_a_fold_is_not_ranked_by_the_others():
    """Its mean rests on fewer cases: here on those of a fold that is easier for all."""
    cases = table({"all": 0.6, "deep:1": 0.55, "none": 0.4}, folds=2)
    cases["dice"] += 0.3 * (cases["fold"] == 1)
    runs, lost = runs_of(cases), {"strategy": "deep:1", "fold": 0}
    gone = [(frame[list(lost)] == pd.Series(lost)).all(axis=1) for frame in (cases, runs)]
    runs.loc[gone[1], "status"] = "failed"
    statistics = StudyStatistics(results_of(cases[~gone[0]], runs))
    here = statistics.results.largest_scenarios[0]
    assert statistics.summary_of(here)["mean"].idxmax() == "deep:1"
    assert statistics.best_fixed(here) == "all"
    first, second = closing(statistics)
    assert "tune all: Dice" in first and "The next best, none, is" in second
    assert "the best strategy was “all”" in answer(statistics)

"""Statistics of studies against statsmodels, SciPy and tables whose answer is known."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import astuple, replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, wilcoxon
from statsmodels.stats.multitest import multipletests

from kerasunet.data.builders import NAMES
from kerasunet.data.loading import SIMULATED
from kerasunet.data.modality import modality_of
from kerasunet.files import write_json
from kerasunet.metrics import bootstrap_interval
from kerasunet.strategies import Layout
from kerasunet.study.plan import StudySettings, distinct_strategies, protocol
from kerasunet.study.results import StudyResults, read_results
from kerasunet.study.stats import (
    StudyStatistics,
    area_between_curves,
    check_claims,
    compare,
    compare_all,
    planned_pairs,
    summarize,
    summarize_auto,
)
from kerasunet.study.stats.comparison import holm
from kerasunet.study.tables import CASE_COLUMNS, RUN_COLUMNS
from kerasunet.training.settings import Architecture

PATTERNS = ("none", "scratch", "contracting", "expanding", "shallow:*", "deep:*", "all")
FULL = distinct_strategies(PATTERNS, Layout.unet(4))
LEVELS = distinct_strategies((*PATTERNS, "outer:*", "inner:*"), Layout.unet(4))


# -- own data -------------------------------------------------------------------------------------


def table(
    truth: dict[str, float],
    data: str = "bus_bra",
    train_size: int = 20,
    groups: int = 100,
    folds: int = 5,
    views: int = 2,
    seeds: int = 1,
    spread: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """A table of cases: a true mean for each strategy, patients alike over their 1 to `views`."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(groups), rng.integers(1, views + 1, groups))
    case = np.arange(len(patient))
    shared = rng.normal(0, spread, groups)[patient]
    blocks = []
    for strategy, mean in truth.items():
        for run_seed in range(seeds):
            own = rng.normal(0, spread, groups)[patient] + rng.normal(0, spread / 2, len(case))
            columns = {"strategy": strategy, "seed": run_seed, "dice": mean + shared + own}
            blocks.append(pd.DataFrame({**columns, "patient": patient, "case": case}))
    frame = pd.concat(blocks, ignore_index=True)
    frame["fold"] = frame.pop("patient").to_numpy() % folds
    frame["group"] = np.tile([f"p{number}" for number in patient], len(blocks))
    frame["key"] = [f"c{number}" for number in frame.pop("case")]
    constant = {"data": data, "train_size": train_size, "unit": "px", "outcome": "detected"}
    others = {name: 0.5 for name in CASE_COLUMNS if name not in (*frame.columns, *constant)}
    return frame.assign(**constant, **others)[list(CASE_COLUMNS)]


def runs_of(cases: pd.DataFrame, chosen: str = "shallow:3") -> pd.DataFrame:
    """The table of runs that belongs to a table of cases."""
    identity = ["data", "strategy", "fold", "train_size", "seed"]
    frame = cases[identity].drop_duplicates()
    automatic = frame["strategy"].str.startswith("auto")
    known = {"status": "finished", "note": "", "chosen": frame["strategy"].mask(automatic, chosen)}
    others = {name: 1 for name in RUN_COLUMNS if name not in (*identity, *known)}
    return frame.assign(**known, **others)[list(RUN_COLUMNS)]


def results_of(cases: pd.DataFrame, runs: pd.DataFrame | None = None, depth: int = 4):
    """The results of a study with these cases."""
    return StudyResults(cases, runs_of(cases) if runs is None else runs, depth)


def compared(cases: pd.DataFrame, first: str, second: str):
    return compare(results_of(cases), first, second, data="bus_bra", train_size=20)


def area(cases: pd.DataFrame, *directions: str, depth: int = 4):
    results = results_of(cases, depth=depth)
    return area_between_curves(results, *directions, data="bus_bra", train_size=20)


def level(strategies=FULL, **means: float) -> dict[str, float]:
    """The same truth for every strategy but those named (`shallow_3` is `shallow:3`)."""
    return {**dict.fromkeys(strategies, 0.7), **{k.replace("_", ":"): v for k, v in means.items()}}


def by_name(found, name: str, data: str | None = None):
    return [claim for claim in found if claim.name == name and data in (None, claim.data)]


# -- intervals ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def null_table() -> pd.DataFrame:
    """400 strategies without any difference, on patients with one to four cases."""
    return table({f"s{number}": 0.7 for number in range(400)}, groups=80, views=4)


def null_comparisons(cases: pd.DataFrame):
    return compare_all(results_of(cases), [(f"s{n}", f"s{n + 1}") for n in range(0, 400, 2)])


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


# -- summaries ------------------------------------------------------------------------------------


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


def test_other_metrics_are_summarised_in_their_own_unit():
    cases = table({"all": 0.7}, groups=20)
    cases["hd95"] = 12.0
    row = summarize(results_of(cases), "hd95").iloc[0]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((12, 12, 12))


# -- comparisons ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_comparison_is_wilcoxons_test_on_patients():
    cases = table(level(contracting=0.71))
    found = compared(cases, "contracting", "expanding")
    wide = cases.pivot(index=["group", "key"], columns="strategy", values="dice")
    difference = wide["contracting"] - wide["expanding"]
    by_group = difference.groupby("group").mean()
    assert found.p_value == pytest.approx(wilcoxon(by_group).pvalue, rel=1e-6)
    assert found.difference == pytest.approx(difference.mean())
    in_favour = wilcoxon(by_group, alternative="greater").statistic
    against = wilcoxon(-by_group, alternative="greater").statistic
    assert found.effect_size == pytest.approx((in_favour - against) / (in_favour + against))
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
        expected = multipletests([c.p_value for c in family], method="holm")[1]
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
        ({"first": "outer:2"}, "no finished run of outer:2; there are none, scratch"),
        ({"train_size": 40}, "bus_bra at 40: no such case; there are bus_bra at 20"),
        ({"data": "busi"}, "busi at 20: no such case"),
        ({"metric": "f1"}, "no column f1"),
    ],
)
def test_what_is_not_in_the_table_is_named(change, message):
    asked = {"first": "all", "second": "none", "train_size": 20, "data": "bus_bra"}
    with pytest.raises(ValueError, match=message):
        compare(results_of(table(level(), groups=10)), **{**asked, **change})


def test_two_studies_of_one_data_set_are_not_mixed():
    cases = table({"all": 0.7}, groups=5)
    with pytest.raises(ValueError, match="case c0 of all at 20 images, .* stands there twice"):
        summarize(results_of(pd.concat([cases, cases])))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused(value):
    cases = table({"all": 0.7}, groups=5)
    cases.loc[3, "dice"] = value
    with pytest.raises(ValueError, match="dice: every case needs a finite number"):
        summarize(results_of(cases))


# -- curves and areas -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_curves_run_from_nothing_to_everything(depth):
    patterns = (*PATTERNS, "outer:*", "inner:*", "bottleneck")
    strategies = distinct_strategies(patterns, Layout.unet(depth))
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


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.permutations(["shallow", "deep", "outer", "inner"]))
def test_there_is_no_area_where_only_the_number_of_blocks_counts(depth, directions):
    patterns = ("none", "all", *(f"{direction}:*" for direction in directions))
    layout = Layout.unet(depth)
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
    with pytest.raises(ValueError, match="sideways: no such direction; there are shallow, deep"):
        area(cases, "sideways")
    with pytest.raises(ValueError, match="two different directions"):
        area(cases, "deep", "deep")


# -- claims ---------------------------------------------------------------------------------------


def balanced(truth: dict[str, float], data: str, **options) -> pd.DataFrame:
    """A table whose noise cancels out: every mean is the true one, and chance decides nothing."""
    cases = table(truth, data, **options)
    opposite = cases.assign(
        dice=2 * cases["strategy"].map(truth) - cases["dice"],
        group=cases["group"] + "-opposite",
        key=cases["key"] + "-opposite",
    )
    return pd.concat([cases, opposite], ignore_index=True)


def both_modalities(ultrasound: dict[str, float], x_ray: dict[str, float]) -> pd.DataFrame:
    sets = (("bus_bra", ultrasound), ("jsrt", x_ray))
    return pd.concat([balanced(truth, data, groups=50) for data, truth in sets])


AHEAD = level(contracting=0.8, shallow_3=0.75, shallow_4=0.76)
BEHIND = level(expanding=0.8, deep_3=0.75, deep_5=0.76)


@pytest.mark.parametrize(
    ("ultrasound", "x_ray", "expected"),
    [
        (AHEAD, level(), "supported"),
        (level(), level(), "undecided"),
        (BEHIND, AHEAD, "contradicted"),
    ],
)
def test_claims_tell_what_was_planted(ultrasound, x_ray, expected):
    cases = both_modalities(ultrasound, x_ray)
    found = check_claims(results_of(cases))
    names = ("contracting-above-expanding", "shallow-first-above-deep-first")
    assert len(found) == 6
    assert [by_name(found, name, "bus_bra")[0].verdict for name in names] == [expected] * 2
    between = by_name(found, "ultrasound-differs-from-x-ray", "bus_bra, jsrt")
    assert [claim.effect for claim in between] == ["contracting - expanding", "shallow - deep"]
    assert [claim.verdict for claim in between] == [expected] * 2


def test_an_effect_as_large_in_x_ray_is_no_interaction():
    cases = both_modalities(AHEAD, AHEAD)
    found = check_claims(results_of(cases))
    verdicts = {(claim.name, claim.verdict) for claim in found}
    assert verdicts == {
        ("contracting-above-expanding", "supported"),
        ("shallow-first-above-deep-first", "supported"),
        ("ultrasound-differs-from-x-ray", "undecided"),
    }


def test_claims_carry_their_numbers():
    cases = both_modalities(AHEAD, level())
    found = check_claims(results_of(cases))
    paths = by_name(found, "contracting-above-expanding")
    ultrasound = compared(cases, "contracting", "expanding")
    x_ray = compare(results_of(cases), "contracting", "expanding", data="jsrt", train_size=20)
    assert (paths[0].estimate, paths[0].low, paths[0].high, paths[0].p_value) == pytest.approx(
        (ultrasound.difference, ultrasound.low, ultrasound.high, ultrasound.p_value)
    )
    expected = multipletests([ultrasound.p_value, x_ray.p_value], method="holm")[1]
    assert [claim.p_adjusted for claim in paths] == pytest.approx(list(expected))
    between = area(cases)
    (curve,) = by_name(found, "shallow-first-above-deep-first", "bus_bra")
    assert (curve.estimate, curve.low, curve.high) == pytest.approx(
        (between.mean, between.low, between.high)
    )
    assert curve.p_value is None and "above 0 in 5 of 5 folds" in curve.explanation
    interaction = by_name(found, "ultrasound-differs-from-x-ray")[0]
    assert interaction.estimate == pytest.approx(ultrasound.difference - x_ray.difference)


def test_an_interval_without_its_test_is_not_enough():
    """One patient in four is far ahead, the others slightly behind: mean and ranks disagree."""
    cases = table({"contracting": 0.7, "expanding": 0.7}, views=1)
    number = cases["group"].str[1:].astype(int)
    gain = np.where(number % 4 == 1, 0.4, -0.02 - number / 10_000)
    cases["dice"] = 0.5 + np.where(cases["strategy"] == "contracting", gain, 0)
    (claim,) = by_name(check_claims(results_of(cases)), "contracting-above-expanding")
    assert claim.low > 0 and claim.p_adjusted >= 0.05
    assert claim.verdict == "undecided" and "not below 0.05" in claim.explanation


def test_null_effects_are_seldom_called_anything():
    parts = [
        table(level(), data, size, groups=40, seed=100 * size + len(data))
        for data in ("bus_bra", "jsrt")
        for size in range(1, 31)
    ]
    cases = pd.concat(parts)
    found = check_claims(results_of(cases))
    called = Counter((c.name, c.effect) for c in found if c.verdict != "undecided")
    assert Counter(claim.name for claim in found) == {
        "contracting-above-expanding": 60,
        "shallow-first-above-deep-first": 60,
        "ultrasound-differs-from-x-ray": 60,
    }
    assert called["contracting-above-expanding", "contracting - expanding"] <= 1
    assert max(called.values(), default=0) <= 8


# -- studies that still grow ----------------------------------------------------------------------


def test_missing_and_failed_runs_are_told():
    cases = table(level())
    runs = runs_of(cases)
    failed = runs["strategy"].isin(["deep:3", "expanding"]) & (runs["fold"] < 2)
    runs.loc[failed, "status"] = "failed"
    cases = cases[~cases["strategy"].isin(["deep:3", "expanding"])]
    found = check_claims(
        results_of(cases, runs[failed | ~runs["strategy"].isin(["deep:3", "expanding"])])
    )
    assert {claim.verdict for claim in found} == {"undecided"}
    paths, curve, *between = found
    assert paths.explanation == "no finished run of expanding (failed in fold 0, 1)"
    assert "deep:3 (failed in fold 0, 1)" in curve.explanation
    assert paths.estimate is None and curve.p_value is None
    assert {claim.explanation for claim in between} == {
        "there is no X-ray data set with 20 training images"
    }


def test_interaction_waits_for_both_sides():
    x_ray = table(level(), "jsrt")
    cases = pd.concat([table(level()), x_ray[x_ray["strategy"] != "expanding"]])
    between = by_name(check_claims(results_of(cases)), "ultrasound-differs-from-x-ray")
    assert {claim.explanation for claim in between} == {"runs are missing in jsrt"}


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


def test_a_study_without_results_has_empty_reports():
    statistics = StudyStatistics(results_of(table({"all": 0.7}, groups=2).iloc[:0]))
    assert len(statistics.summary) == len(statistics.curves) == len(statistics.auto) == 0
    assert statistics.comparisons == statistics.claims == ()


# -- automatic choice -----------------------------------------------------------------------------


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


# -- names, speed, command line -------------------------------------------------------------------


def test_every_data_set_that_has_a_name_has_a_modality():
    known = {name: modality_of(name) for name in (*NAMES, *SIMULATED)}
    assert None not in known.values()
    assert {name for name, kind in known.items() if kind == "x-ray"} == {
        *("jsrt", "montgomery", "shenzhen", "simulated-xray")
    }


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        *(("BUSBRA", "ultrasound"), ("Dataset_BUSI_with_GT", "ultrasound")),
        *(("simulated-xray:24", "x-ray"), ("BUS-UCLM", "ultrasound"), ("JSRT", "x-ray")),
        *(("DUTS-TR", "photograph"), ("ChinaSet_AllFiles", "x-ray"), ("my-own-cases", None)),
    ],
)
def test_modality_is_known_by_archive_spelling(name, modality):
    assert modality_of(name) == modality


def test_a_large_study_takes_seconds():
    truth = {**dict.fromkeys(LEVELS, 0.7), "auto": 0.7, "auto:search": 0.7}
    parts = [table(truth, train_size=size, groups=1250) for size in (20, 80)]
    cases = pd.concat(parts, ignore_index=True)
    assert len(truth) >= 27 and len(cases) > 2 * 1800 * len(truth)
    started = time.process_time()
    statistics = StudyStatistics(results_of(cases))
    for name in ("summary", "comparisons", "curves", "claims", "auto"):
        assert len(getattr(statistics, name)) > 0
    assert time.process_time() - started < 10


def test_statistics_import_neither_keras_nor_tensorflow():
    code = (
        "import sys; from kerasunet.study.results import read_results; "
        "from kerasunet.study.stats import StudyStatistics; "
        "print([n for n in ('keras', 'tensorflow', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def write_study(directory, cases: pd.DataFrame, depth: int = 4):
    """A study directory as the engine leaves it, without its runs."""
    default = StudySettings()
    shape = Architecture(depth=depth)
    study = replace(default, run=replace(default.run, architecture=shape))
    directory.mkdir()
    cases.to_csv(directory / "cases.csv", index=False)
    runs_of(cases).to_csv(directory / "runs.csv", index=False)
    record = {"protocol": protocol(study), "digests": {}, "data": {"name": cases["data"].iloc[0]}}
    write_json(directory / "study.json", record)
    return directory


def test_command_line_prints_tables_and_verdicts(run_cli, tmp_path):
    cases = both_modalities({**AHEAD, "auto": 0.79}, level())
    for data in ("bus_bra", "jsrt"):
        write_study(tmp_path / data, cases[cases["data"] == data])
    done = run_cli("claims", "bus_bra", "jsrt", "--json", "out/claims.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    titles = ("Dice, mean", "Paired comparisons", "Automatic choice", "Claims")
    assert all(any(line.startswith(title) for line in lines) for title in titles)
    assert "supported     contracting-above-expanding" in lines
    content = json.loads((tmp_path / "out" / "claims.json").read_text(encoding="utf-8"))
    assert set(content) == {"summary", "comparisons", "claims", "auto"}
    verdicts = {(c["name"], c["data"]): c["verdict"] for c in content["claims"]}
    assert verdicts["contracting-above-expanding", "bus_bra"] == "supported"
    assert verdicts["ultrasound-differs-from-x-ray", "bus_bra, jsrt"] == "supported"
    assert len(content["summary"]) == len(AHEAD) * 2 + 1
    area = next(c for c in content["claims"] if c["name"].startswith("shallow"))
    assert area["p_value"] is None


def test_command_line_needs_a_study(run_cli, tmp_path):
    done = run_cli("claims", "nothing")
    assert done.returncode == 2 and "nothing is no study with results" in done.stderr


def test_studies_of_different_networks_are_not_put_together(tmp_path):
    write_study(tmp_path / "deep", table(level(), groups=4))
    write_study(tmp_path / "flat", table({"all": 0.7}, "jsrt", groups=4), depth=2)
    assert read_results([tmp_path / "flat"]).depth == 2
    with pytest.raises(ValueError, match="networks of different depth .*flat of depth 2"):
        read_results([tmp_path / "deep", tmp_path / "flat"])
    (tmp_path / "flat" / "study.json").unlink()
    with pytest.raises(FileNotFoundError, match="study.json: not there"):
        read_results([tmp_path / "flat"])

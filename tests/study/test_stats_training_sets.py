"""Comparisons over disjoint training sets: intervals that cover, verdicts that follow the rule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.case_tables import runs_of
from scipy import stats

from kerasunet.study.report import closing
from kerasunet.study.report_tables import comparison_table
from kerasunet.study.results import Scenario, StudyRecord, StudyResults
from kerasunet.study.stats import StudyStatistics, check_claims, compare_all
from kerasunet.study.stats.training_sets import MeansOverSets, SetDifference, compare_over_sets

RESAMPLES = 600


def case_table(lead, sets=8, patients=40, *, set_scatter=0.02, patient_scatter=0.05, seed=0):
    """Two strategies whose difference is a lead, an effect of the set, and one of the patient."""
    rng = np.random.default_rng(seed)
    of_set, of_patient = rng.normal(0, set_scatter, sets), rng.normal(0, patient_scatter, patients)
    rows = []
    for fold in range(sets):
        for patient in range(patients):
            if patient % sets == fold:
                continue  # The set itself trains on them.
            for view in range(1 + patient % 2):
                base = 0.7 + rng.normal(0, 0.01)
                key, gap = f"{patient}-{view}", lead + of_set[fold] + of_patient[patient]
                for name, dice in (("all", base), ("contracting", base + gap)):
                    rows.append(("mine", name, fold, 20, fold, key, f"p{patient}", dice))
    columns = ["data", "strategy", "fold", "train_size", "seed", "key", "group", "dice"]
    return pd.DataFrame(rows, columns=columns)


def compared(cases, margin=0.01, pairs=(("contracting", "all"),), **options):
    return compare_over_sets(cases, pairs, margin=margin, resamples=RESAMPLES, **options)


def test_intervals_cover_the_true_lead_though_sets_and_patients_scatter():
    covered = 0
    for seed in range(60):
        (one,) = compared(case_table(0.03, seed=seed))
        covered += one.low <= 0.03 <= one.high
    assert covered >= 54


def test_intervals_of_a_mean_hold_no_dice_that_there_cannot_be():
    """Those of two sets, which rest on a single degree of freedom, would reach beyond 1."""
    cases = case_table(0.2, sets=2, set_scatter=0.08)
    results = study_of(cases)
    summary = StudyStatistics(results).summary.set_index("strategy")
    assert (summary["high"] <= 1).all() and (summary["low"] >= 0).all()
    assert summary["high"]["contracting"] == 1


def test_without_scatter_of_patients_it_is_the_t_test_on_sets():
    cases = case_table(0.03, patient_scatter=0.0, seed=3)
    (one,) = compare_over_sets(cases, [("contracting", "all")], margin=0.01)
    gaps = cases.pivot(index=["fold", "group", "key"], columns="strategy", values="dice")
    by_set = (gaps["contracting"] - gaps["all"]).groupby("fold").mean()
    expected = stats.ttest_1samp(by_set, 0)
    assert one.difference == pytest.approx(by_set.mean())
    assert one.error == pytest.approx(stats.sem(by_set), rel=0.1)
    interval = expected.confidence_interval()
    assert (one.low, one.high) == pytest.approx(tuple(interval), abs=0.002)
    assert one.ahead == (by_set > 0).sum() and one.sets == 8 and one.groups == 40


def test_more_patients_do_not_hide_the_scatter_of_training_sets():
    few, many = (compared(case_table(0.02, patients=n, seed=1))[0] for n in (40, 400))
    assert many.error > 0.5 * few.error


@pytest.mark.parametrize(
    ("lead", "scatter", "verdict", "matters"),
    [
        (0.05, 0.005, "better", True),
        (-0.05, 0.005, "worse", True),
        (0.004, 0.0005, "better", False),
        (0.0, 0.002, "equivalent", False),
        (0.0, 0.03, "undecided", False),
    ],
)
def test_verdicts(lead, scatter, verdict, matters):
    cases = case_table(lead, set_scatter=scatter, patient_scatter=0.002, seed=5)
    (one,) = compared(cases)
    assert (one.verdict, one.matters) == (verdict, matters)


def test_equivalence_and_difference_are_judged_by_their_own_tests():
    (one,) = compared(case_table(0.004, set_scatter=0.004, patient_scatter=0.0, seed=2))
    t = stats.t(one.sets - 1)
    assert one.p_value == pytest.approx(2 * t.sf(abs(one.difference) / one.error))
    lower, upper = ((one.difference + s * one.margin) / one.error for s in (1, -1))
    assert one.p_equivalence == pytest.approx(max(t.sf(lower), t.cdf(upper)))


def test_p_values_are_corrected_for_the_number_of_comparisons():
    cases = case_table(0.02, seed=4)
    third = cases[cases.strategy == "all"].assign(strategy="none", dice=lambda d: d.dice - 0.3)
    cases = pd.concat([cases, third])
    alone = compared(cases)[0]
    both = compared(cases, pairs=(("contracting", "all"), ("all", "none"), ("all", "absent")))
    assert len(both) == 2
    assert both[0].p_adjusted >= alone.p_adjusted
    assert replace(both[0], p_adjusted=0, verdict="better") == replace(
        alone, p_adjusted=0, verdict="better"
    )


def test_a_difference_that_is_not_decided_does_not_matter():
    cases = case_table(0.05, set_scatter=0.005, seed=5)
    (alone,) = compared(cases)
    assert (alone.verdict, alone.matters) == ("better", True)
    again = replace(alone, verdict="undecided", p_adjusted=0.06)
    assert not again.matters


def test_identical_strategies_are_equivalent():
    cases = case_table(0.0, set_scatter=0.0, patient_scatter=0.0)
    (one,) = compared(cases, pairs=[("all", "all")])
    assert (one.difference, one.p_value, one.verdict) == (0, 1, "equivalent")


def test_a_single_set_decides_nothing():
    cases = case_table(0.05)
    assert compared(cases[cases.fold == 0]) == ()


def test_what_cannot_be_compared_is_refused():
    cases = case_table(0.05)
    with pytest.raises(ValueError, match="one data set and training size, not 2"):
        compared(pd.concat([cases, cases.assign(train_size=80)]))
    with pytest.raises(ValueError, match="margin must be above 0, not 0"):
        compared(cases, margin=0)


def test_sums_and_counts_are_by_set_and_patient():
    index = pd.MultiIndex.from_tuples(
        [(0, "a", "1"), (0, "a", "2"), (1, "b", "3")], names=["fold", "group", "key"]
    )
    found = SetDifference.of(pd.Series([0.1, 0.3, -0.2], index))
    assert found.sums == pytest.approx(np.array([[0.4, 0], [0, -0.2]]))
    assert found.counts.tolist() == [[2, 0], [0, 1]]
    assert found.by_set == pytest.approx([0.2, -0.2])


# Studies of disjoint training sets


def study_of(cases, data="mine", disjoint=True) -> StudyResults:
    """The results of a study whose training sets are disjoint, at rates of their own."""
    names = {"all": "3*all", "contracting": "contracting", "expanding": "0.5*expanding"}
    cases = cases.assign(strategy=cases["strategy"].map(names), data=data, outcome="detected")
    record = StudyRecord(
        Path(), {"run": {"disjoint": disjoint, "architecture": {"depth": 4}}}, {}, {"name": data}
    )
    return StudyResults(cases, runs_of(cases), 4, (record,))


def with_expanding(cases, behind=0.1):
    lower = cases[cases.strategy == "contracting"].assign(strategy="expanding")
    return pd.concat([cases, lower.assign(dice=lower.dice - behind)])


def test_a_study_of_disjoint_sets_resamples_them_everywhere():
    cases = with_expanding(case_table(0.02, set_scatter=0.03))
    results = study_of(cases)
    pairs = [("contracting", "0.5*expanding"), ("contracting", "3*all"), ("0.5*expanding", "3*all")]
    renamed = results.cases
    expected = {(c.first, c.second): c for c in compare_over_sets(renamed, pairs, margin=0.01)}
    found = {(c.first, c.second): c for c in compare_all(results)}
    assert found.keys() == expected.keys()
    for pair, one in found.items():
        other = expected[pair]
        numbers = (other.difference, other.low, other.high)
        assert (one.difference, one.low, one.high) == pytest.approx(numbers)
        assert one.p_value == pytest.approx(other.p_value, rel=1e-3)
        assert (one.sets, one.groups) == (8, 40)
    over_patients = {(c.first, c.second): c for c in compare_all(study_of(cases, disjoint=False))}
    narrow, wide = over_patients["contracting", "3*all"], found["contracting", "3*all"]
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low) and narrow.sets == 0


def test_means_of_strategies_have_intervals_over_sets():
    cases = case_table(0.02, set_scatter=0.03, patient_scatter=0.0)
    statistics = StudyStatistics(study_of(cases))
    row = statistics.summary_of(Scenario("mine", 20)).loc["contracting"]
    chosen = cases[cases.strategy == "contracting"]
    by_set = chosen.groupby("fold")["dice"].mean()
    assert row["mean"] == pytest.approx(by_set.mean(), abs=1e-9)
    half = stats.t(7).ppf(0.975) * stats.sem(by_set)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.15)


def test_claims_and_words_of_disjoint_sets_say_what_they_rest_on():
    results = study_of(with_expanding(case_table(0.02, set_scatter=0.03)), data="bus_bra")
    (claim,) = [c for c in check_claims(results) if c.name == "contracting-above-expanding"]
    assert claim.verdict == "supported"
    assert "above 0 in 8 of 8 training sets" in claim.explanation
    assert "measured by 0.5*expanding; p after Holm" in claim.explanation
    statistics = StudyStatistics(results)
    text = " ".join(closing(statistics))
    assert "decided over these 8 disjoint training sets and 40 patients." in text
    one = study_of(case_table(0.1, sets=2).query("fold == 0")).groups_in_words("mine")
    assert one.startswith("1 disjoint training set and ")
    assert "Other training sets may" not in text
    table = comparison_table(statistics.comparisons, results.groups_in_words("bus_bra"))
    assert "Student's test over 8 disjoint training sets and 40 patients" in table.caption


def test_two_modalities_are_compared_as_independent_samples():
    many = with_expanding(case_table(0.02), behind=0.1)
    few = with_expanding(case_table(0.02, seed=1), behind=0.0)
    parts = [study_of(many, "bus_bra"), study_of(few, "jsrt")]
    both = StudyResults(
        *(pd.concat([getattr(part, table) for part in parts]) for table in ("cases", "runs")),
        4,
        tuple(study for part in parts for study in part.studies),
    )
    claim = next(c for c in check_claims(both) if c.data == "bus_bra, jsrt")
    assert (claim.verdict, round(claim.estimate, 6)) == ("supported", 0.1)
    mixed = StudyResults(both.cases, both.runs, 4, (parts[0].studies[0],))
    unlike = next(c for c in check_claims(mixed) if c.data == "bus_bra, jsrt")
    assert unlike.verdict == "undecided" and "only one of the two studies" in unlike.explanation


def test_a_difference_of_independent_means_has_welchs_degrees_of_freedom():
    first, second = np.random.default_rng(0).normal(0, 1, (2, 9))
    pair = [
        MeansOverSets(*np.array([[x.mean()], [stats.sem(x)], [len(x) - 1.0]]))
        for x in (first, 2 * second[:6])
    ]
    expected = stats.ttest_ind(first, 2 * second[:6], equal_var=False)
    found = pair[0].minus(pair[1])
    assert found.freedom[0] == pytest.approx(expected.df)
    assert found.p_value() == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_one_training_set_has_no_interval():
    cases = case_table(0.05)
    (one,) = compare_all(study_of(cases[cases.fold == 0]))
    assert np.isnan([one.low, one.high]).all() and one.p_value == 1

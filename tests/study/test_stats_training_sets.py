"""Comparisons over disjoint training sets: intervals that cover, verdicts that follow the rule."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kerasunet.study.stats.training_sets import SetDifference, compare_over_sets

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

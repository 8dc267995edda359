"""The paper's claims: verdicts that were planted, and studies that still grow."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from helpers.case_tables import (
    AHEAD,
    BEHIND,
    area,
    both_modalities,
    by_name,
    compared,
    level,
    results_of,
    runs_of,
    table,
    write_study,
)

from kerasunet.study.stats import check_claims, compare
from kerasunet.study.stats.comparison import holm


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
    expected = holm([ultrasound.p_value, x_ray.p_value])
    assert [claim.p_adjusted for claim in paths] == pytest.approx(expected)
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


@pytest.mark.slow
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


def test_command_line_prints_tables_and_verdicts(call_cli, tmp_path):
    cases = both_modalities({**AHEAD, "auto": 0.79}, level())
    for data in ("bus_bra", "jsrt"):
        write_study(tmp_path / data, cases[cases["data"] == data])
    done = call_cli("claims", "bus_bra", "jsrt", "--json", "out/claims.json")
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


def test_command_line_needs_a_study(call_cli, tmp_path):
    done = call_cli("claims", "nothing")
    assert done.returncode == 2 and "nothing is not a study with results" in done.stderr

"""Studies of several objects: tables, the mean over objects, each object by itself."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers.study_makers import make_study

from kerasunet.cli import main
from kerasunet.objects import Objects
from kerasunet.runs.preparation import has_new_head
from kerasunet.study.report import write_report
from kerasunet.study.results import read_results
from kerasunet.study.stats import StudyStatistics
from kerasunet.study.tables import CASE_COLUMNS, OBJECT, Tables

SHIFT = {"lungs": 0.1, "heart": -0.1}


@pytest.fixture
def study(tmp_path):
    """A study in which contracting is best for the lungs and expanding for the heart."""
    folder = make_study(tmp_path, "jsrt")
    cases = pd.read_csv(folder / "cases.csv")
    parts = []
    for name, shift in SHIFT.items():
        part = cases.assign(**{OBJECT: name, "outcome": "detected"})
        swapped = part["strategy"].map({"contracting": -0.2, "expanding": 0.2}).fillna(0)
        part["dice"] = part["dice"] + shift + (swapped if name == "heart" else 0)
        parts.append(part)
    parts[1].loc[0, "outcome"] = "missed"
    pd.concat(parts).to_csv(folder / "cases.csv", index=False)
    record = json.loads((folder / "study.json").read_text())
    record["protocol"]["learning_rates"] = []
    record["digests"] = {"data": "", "init": ""}
    record["data"] |= {"cases": 16, "layout": "made up", "terms": "", "citation": ""}
    (folder / "study.json").write_text(json.dumps(record))
    return folder


def test_the_mean_over_objects_stands_for_each_case(study):
    results = read_results([study])
    assert results.objects == ("lungs", "heart")
    assert len(results.cases) * 2 == len(results.of_objects)
    assert OBJECT not in results.cases
    each = [results.of(name).cases.set_index(["strategy", "key"])["dice"] for name in SHIFT]
    mean = results.cases.set_index(["strategy", "key"])["dice"]
    np.testing.assert_allclose(mean, (each[0] + each[1]) / 2)
    assert (results.cases["outcome"] == "missed").sum() == 1
    assert results.cases["truth_area"].eq(2).all()
    with pytest.raises(ValueError, match="liver: there is no such object; choose from lungs"):
        results.of("liver")


def test_claims_name_the_object(study, capsys):
    statistics = StudyStatistics(read_results([study]))
    found = {name: one.claims[0].estimate for name, one in statistics.of_objects.items()}
    assert found["lungs"] > 0.05 > -0.05 > found["heart"]
    assert main(["claims", str(study), "--json", str(study / "claims.json")]) == 0
    said = capsys.readouterr().out
    assert "Mean of lungs, heart" in said and "Object: heart" in said
    content = json.loads((study / "claims.json").read_text())
    assert content["objects"]["heart"]["claims"][0]["estimate"] == pytest.approx(found["heart"])
    assert main(["claims", str(study), "--object", "heart"]) == 0
    assert "Object" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_report_has_a_table_of_objects(study):
    page = write_report(study).read_text()
    assert "mean Dice of each object" in page
    assert "The claims of the paper, object by object" in page
    frame = pd.read_csv(study / "tables" / "objects.csv")
    assert set(frame["object"]) == {*SHIFT}


def test_a_study_of_one_object_has_no_such_column(tmp_path):
    results = read_results([make_study(tmp_path, "jsrt")])
    assert results.objects == () and results.of_objects is None
    assert StudyStatistics(results).of_objects == {}


def test_the_table_gets_its_column_where_there_are_several(tmp_path):
    tables = Tables(tmp_path)
    run = {name: "1" for name in pd.read_csv(make_study(tmp_path, "x") / "runs.csv")}
    run |= {"strategy": "all", "status": "finished"}
    case = {**dict.fromkeys(CASE_COLUMNS, "1"), "strategy": "all"}
    tables.record(run, [{**case, OBJECT: name} for name in SHIFT])
    frame = pd.read_csv(tmp_path / "cases.csv")
    assert list(frame[OBJECT]) == [*SHIFT]
    assert list(frame.columns.drop(OBJECT)) == [*CASE_COLUMNS]
    assert len(Tables(tmp_path).cases) == 2


def test_only_a_start_of_the_same_objects_keeps_its_head():
    organs = Objects(("lungs", "heart"))
    assert not has_new_head("simulated-organs", organs)
    assert has_new_head("simulated-organs", Objects(("heart", "lungs")))
    assert has_new_head("simulated-organs", Objects())
    assert has_new_head("natural", organs)
    assert not has_new_head("natural", Objects(("lungs",)))
    assert not has_new_head("scratch", organs)

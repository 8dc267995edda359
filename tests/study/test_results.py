"""The reader of study results, and what it refuses."""

from __future__ import annotations

import csv
import gzip
import lzma
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from helpers.case_tables import LEVELS, level, results_of, runs_of, table, write_study
from helpers.study_tables import write_study as write_whole_study

from kerasunet.files import read_json, write_json
from kerasunet.study.results import Completeness, Scenario, family_of, ordered, read_results
from kerasunet.study.stats import StudyStatistics, summarize
from kerasunet.study.tables import CASE_COLUMNS, IDENTITY, RUN_COLUMNS, Tables, studies_in


def test_two_studies_of_one_data_set_are_not_mixed():
    cases = table({"all": 0.7}, groups=5)
    with pytest.raises(ValueError, match="case c0 of all at 20 images, .* appears twice"):
        summarize(results_of(pd.concat([cases, cases])))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused(value):
    cases = table({"all": 0.7}, groups=5)
    cases.loc[3, "dice"] = value
    with pytest.raises(ValueError, match="dice: every case needs a finite number"):
        summarize(results_of(cases))


def test_a_study_without_results_has_empty_reports():
    statistics = StudyStatistics(results_of(table({"all": 0.7}, groups=2).iloc[:0]))
    assert len(statistics.summary) == len(statistics.curves) == len(statistics.auto) == 0
    assert statistics.comparisons == statistics.claims == ()


@pytest.mark.slow
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


@pytest.mark.slow
def test_statistics_import_neither_keras_nor_tensorflow():
    code = (
        "import sys; from kerasunet.study.results import read_results; "
        "from kerasunet.study.stats import StudyStatistics; "
        "print([n for n in ('keras', 'tensorflow', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_studies_of_different_networks_are_not_put_together(tmp_path):
    write_study(tmp_path / "deep", table(level(), groups=4))
    write_study(tmp_path / "flat", table({"all": 0.7}, "jsrt", groups=4), depth=2)
    assert read_results([tmp_path / "flat"]).depth == 2
    with pytest.raises(ValueError, match="networks of different depth .*flat of depth 2"):
        read_results([tmp_path / "deep", tmp_path / "flat"])
    (tmp_path / "flat" / "study.json").unlink()
    with pytest.raises(FileNotFoundError, match="study.json: does not exist"):
        read_results([tmp_path / "flat"])


def test_what_is_no_record_is_refused(tmp_path):
    study = write_study(tmp_path / "jsrt", table({"all": 0.7}, "jsrt", groups=4))
    whole = read_json(study / "study.json")
    for content, fault in (
        ({"protocol": {}}, "protocol.run is missing"),
        ([], "the file is not an object with protocol, digests, data"),
        ({**whole, "data": {"name": "jsrt", "cases": "all"}}, "data.layout is missing"),
        ({**whole, "digests": {"data": None, "init": ""}}, "digests.data is not text"),
    ):
        write_json(study / "study.json", content)
        with pytest.raises(ValueError, match=f"json: is not the record of a study: {fault}"):
            read_results([study])


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("cases.csv", lambda text: text[:-1], "a part is missing .it ends in the middle of a line"),
        ("cases.csv", lambda text: text[: text.rindex(",detected")] + "\n", "row 7 has no unit"),
        (
            "cases.csv",
            lambda text: text.replace("0.7", "good", 1),
            "row 1 has 'good[0-9]*' as its dice",
        ),
        ("cases.csv", lambda text: text[: text.index("\n") + 1], "has no cases of all, fold 0"),
        ("cases.csv", lambda text: text[:9], "has no column strategy, fold|a part is missing"),
        ("runs.csv", lambda text: text.replace(",finished", ""), "row 1 has no status"),
        (
            "runs.csv",
            lambda text: text.replace(",finished", ",finished,x"),
            "more cells than the f",
        ),
        ("runs.csv", lambda text: "", "is damaged, or a part is missing"),
    ],
)
def test_a_table_that_was_cut_or_changed_is_refused(tmp_path, name, change, fault):
    study = write_study(tmp_path / "jsrt", table({"all": 0.7}, "jsrt", groups=4))
    path = study / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{name}: .*({fault})"):
        read_results([study])


@pytest.mark.parametrize(
    ("times", "fault"),
    [(0, "1 cases .* and 2 .*a part is missing"), (2, "3 .* and 2 .*duplicated")],
)
def test_a_row_that_was_removed_or_doubled_is_noticed(tmp_path, times, fault):
    found = table({"all": 0.7, "none": 0.4}, "jsrt", groups=10, views=1)
    study = write_study(tmp_path / "jsrt", found, runs=runs_of(found))
    found.loc[found.index.repeat([times, *[1] * (len(found) - 1)])].to_csv(
        study / "cases.csv", index=False
    )
    with pytest.raises(ValueError, match=f"cases.csv: has {fault}.*or start the study again"):
        read_results([study])


def test_a_study_that_has_only_begun_leaves_the_other_as_it_is(tmp_path):
    cases = {name: table({"all": 0.7}, name, groups=4) for name in ("bus_bra", "jsrt")}
    whole = write_study(tmp_path / "whole", cases["bus_bra"])
    begun = write_study(tmp_path / "begun", cases["jsrt"])
    (begun / "cases.csv").write_text(",".join(CASE_COLUMNS) + "\n", encoding="utf-8")
    (begun / "runs.csv").write_text(",".join(RUN_COLUMNS) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="begun: no run has finished yet"):
        read_results([begun])
    assert read_results([begun], results_required=False).scenarios == ()
    together = read_results([begun, whole])
    assert together.scenarios == (Scenario("bus_bra", 20),)
    assert summarize(together).equals(summarize(read_results([whole])))


def test_completeness_counts_folds_and_runs(tmp_path):
    cases = table({"all": 0.7, "none": 0.4}, groups=20)
    growing = cases[(cases["fold"] < 3) & ((cases["fold"] < 2) | (cases["strategy"] == "all"))]
    runs = runs_of(growing)
    failed = runs.tail(1).assign(strategy="deep:1", status="failed")
    study = write_study(tmp_path / "study", growing, runs=pd.concat([runs, failed]))
    results = read_results([study])
    assert results.completeness(results.studies[0]) == Completeness(
        folds=3, planned_folds=5, finished=5, failed=1, fewest=2, most=3
    )


def test_strategies_stand_family_by_family_in_rising_order():
    texts = ["deep:10", "deep:2", "shallow:1", "all", "none", "enc1", "contracting", "norm"]
    in_order = ["none", "all", "contracting", "shallow:1", "deep:2", "deep:10", "enc1", "norm"]
    assert ordered(texts) == in_order
    assert family_of("outer:3") == "outer" and family_of("shallow:3&norm") == "shallow"


def test_failed_runs_belong_to_their_study_whatever_they_call_the_data(tmp_path):
    study = write_whole_study(tmp_path, strategies=("none", "all"), folds=(0,), failed=("all",))
    runs = pd.read_csv(study / "runs.csv")
    runs.loc[runs.status == "failed", "data"] = "BUSBRA"
    runs.to_csv(study / "runs.csv", index=False)
    assert set(read_results([study]).runs.data) == {"bus_bra"}


@pytest.mark.parametrize("module", [gzip, lzma])
def test_a_compressed_table_is_read_and_continued_as_it_is(module, tmp_path):
    directory = write_study(tmp_path / "mine", table({"all": 0.7, "none": 0.4}, groups=6))
    expected = StudyStatistics(read_results([directory])).summary
    packed = directory / f"cases.csv.{'gz' if module is gzip else 'xz'}"
    packed.write_bytes(module.compress((directory / "cases.csv").read_bytes()))
    (directory / "cases.csv").unlink()
    pd.testing.assert_frame_equal(StudyStatistics(read_results([directory])).summary, expected)
    assert studies_in(directory.parent) == [directory]

    tables = Tables(directory)
    run = tables.runs[-1]
    cases = [c for c in tables.cases if all(c[name] == run[name] for name in IDENTITY)]
    assert cases
    tables.record(run, cases)
    tables.write()
    assert not (directory / "cases.csv").exists()
    pd.testing.assert_frame_equal(StudyStatistics(read_results([directory])).summary, expected)
    before = packed.read_bytes()
    tables.record(run, cases)
    tables.write()
    assert packed.read_bytes() == before


def test_tables_of_many_runs_are_seldom_written_and_end_whole(tmp_path):
    """Written after every run, the tables of 1,000 runs would take minutes."""
    cases = table({"all": 0.7}, groups=30).query("fold == 0")
    tables, row = Tables(tmp_path), {**dict.fromkeys(RUN_COLUMNS, 1), "status": "finished"}
    written = set()
    for seed in range(400):
        own = [{**case, "seed": seed} for case in cases.to_dict("records")]
        tables.record({**row, **{name: own[0][name] for name in IDENTITY}}, own)
        written.add((tmp_path / "cases.csv").stat().st_mtime_ns)
    assert 1 <= len(written) < 100
    tables.write()
    again = Tables(tmp_path)
    assert [run["seed"] for run in again.runs] == [str(seed) for seed in range(400)]
    assert len(again.cases) == 400 * len(cases)
    assert again.cases == tables.cases


def test_memory_of_tables_does_not_grow_with_the_cases(tmp_path, monkeypatch):
    """5,000 cases took 3 MB; a study of ten thousand runs has millions."""
    monkeypatch.setattr("kerasunet.study.tables._IN_MEMORY", 1000)
    held = []
    for groups in (30, 1500):
        rows = table({"all": 0.7}, groups=groups).query("fold == 0").to_dict("records")
        directory = tmp_path / str(groups)
        directory.mkdir()
        tables, run = Tables(directory), {**dict.fromkeys(RUN_COLUMNS, 1), "status": "finished"}
        tracemalloc.start()
        for seed in range(10):
            own = [{**row, "seed": seed} for row in rows]
            tables.record({**run, **{name: own[0][name] for name in IDENTITY}}, own)
        tables.write()
        del own
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert {path.name for path in directory.iterdir()} == {"cases.csv", "runs.csv"}
        assert len(Tables(directory).cases) == 10 * len(rows)
    assert len(rows) > 400
    assert held[1] - held[0] < 200_000


def test_patients_and_images_called_like_missing_values_keep_their_names(tmp_path):
    cases = table({"all": 0.7}, "jsrt", groups=4)
    names = {
        "group": dict(zip(cases["group"].unique(), ["NA", "nan", "null", "None"], strict=False))
    }
    study = write_study(tmp_path / "jsrt", cases.assign(key="NA-" + cases["key"]).replace(names))
    found = read_results([study]).cases
    assert set(found["group"]) >= {"NA", "nan"} and found["group"].notna().all()


def test_tables_of_thousands_of_runs_open_at_once(tmp_path):
    """Comparing every run with every other would take a minute."""
    row = dict.fromkeys(RUN_COLUMNS, "") | {"strategy": "all", "status": "finished"}
    rows = [row | {"fold": n, "train_size": 8, "seed": 0} for n in range(8000)]
    with open(tmp_path / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, RUN_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    started = time.process_time()
    assert len(Tables(tmp_path).finished()) == len(rows)
    assert time.process_time() - started < 5

"""A study end to end: plan, runs in processes, tables, going on after a kill, failures."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import psutil
import pytest

from kerasunet.files import NotWritten
from kerasunet.strategies import NetworkLayout, find
from kerasunet.study.execution import (
    Executor,
    estimate_seconds,
    open_study,
    plan_study,
    run_study,
)
from kerasunet.study.plan import StudySettings, distinct_strategies, plan
from kerasunet.study.tables import CASE_COLUMNS, CASES, RUN_COLUMNS, RUNS, Tables, read_tables
from kerasunet.training import FinetuneSettings, Optimization

pytestmark = pytest.mark.usefixtures("one_worker")
LAYOUT = NetworkLayout.unet(depth=4, normalization="batch")
SMALL = NetworkLayout.unet(depth=1, normalization="batch")


@pytest.fixture(scope="module")
def settings(tiny_model_file) -> StudySettings:
    return StudySettings(
        run=FinetuneSettings(
            init=str(tiny_model_file),
            data="simulated-xray:24",
            validation_size=0,
            folds=3,
            image_size=32,
            optimization=Optimization(steps=4, batch_size=2, validate_every=2, deterministic=True),
        ),
        strategies=("none", "scratch", "contracting", "shallow:2", "deep:1"),
        train_sizes=(4,),
        only_folds=(0,),
    )


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    directory = tmp_path_factory.mktemp("study")
    run_study(open_study(settings, directory), Executor())
    return directory


def test_strategies_that_train_the_same_weights_are_run_once():
    patterns = ("none", "shallow:*", "contracting", "deep:*", "expanding", "all", "scratch")
    strategies = distinct_strategies(patterns, LAYOUT)
    assert set(strategies) == {
        *("none", "scratch", "all", "contracting", "expanding"),
        *(f"shallow:{k}" for k in (1, 2, 3, 4, 6, 7, 8)),
        *(f"deep:{k}" for k in (1, 2, 3, 5, 6, 7, 8)),
    }


@pytest.mark.parametrize("rate", [0, -1e-3])
def test_learning_rates_of_a_study_are_those_of_a_run(rate):
    with pytest.raises(ValueError, match="learning_rates must be above 0, not"):
        StudySettings(learning_rates=(1e-3, rate))


@pytest.mark.parametrize("name", ["only_folds", "train_sizes", "learning_rates", "seeds"])
def test_no_run_is_planned_twice(name):
    """It would be trained twice, and counted as two."""
    with pytest.raises(ValueError, match=rf"^{name} must be given, each once, not \(1, 2, 1\)"):
        StudySettings(**{name: (1, 2, 1)})


def test_plan_goes_fold_by_fold_and_names_each_run_once(settings):
    wide = replace(settings, train_sizes=(2, 4), seeds=(0, 1), only_folds=None)
    runs = plan(wide, SMALL)
    assert len(runs) == 3 * 2 * 2 * 4  # shallow:2 is the contracting path of depth 1
    assert [run.fold for run in runs] == sorted(run.fold for run in runs)
    assert len({run.name for run in runs}) == len({run.identity for run in runs}) == len(runs)
    assert {run.settings.optimization.steps for run in runs} == {4}


def test_scratch_trains_everything_from_random_weights(settings):
    scratch = next(run for run in plan(settings, SMALL) if run.strategy == "scratch")
    assert (str(scratch.settings.layers), scratch.settings.init) == ("all", "scratch")


@pytest.mark.slow
def test_tables_have_a_row_per_case_per_run(finished):
    cases, runs = read_tables(finished)
    assert tuple(cases.columns) == CASE_COLUMNS
    assert tuple(runs.columns) == RUN_COLUMNS
    assert set(runs.status) == {"finished"}
    assert runs.versions.str.match(r"kerasunet \S+, keras \S+, tensorflow \S+$").all()
    assert sorted(runs.strategy) == ["contracting", "deep:1", "none", "scratch"]
    counts = cases.groupby("strategy")["key"].nunique()
    assert (counts == 8).all() and len(cases) == 8 * 4
    assert cases.groupby("strategy")["key"].agg(frozenset).nunique() == 1


@pytest.mark.slow
def test_scratch_has_the_size_of_the_initial_model(finished):
    _, runs = read_tables(finished)
    assert runs.parameters.nunique() == 1


@pytest.mark.slow
def test_finished_study_computes_nothing_again(settings, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("result.json")}
    told = []
    run_study(open_study(settings, finished), on_result=lambda *words: told.append(words))
    assert told == []
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("result.json")}


@pytest.mark.slow
def test_tables_alone_are_enough_to_go_on(settings, finished, tmp_path):
    for name in ("study.json", "cases.csv", "runs.csv"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    more = replace(settings, strategies=(*settings.strategies, "deep:2"))
    study = open_study(more, tmp_path)
    assert [run.strategy for run in study.open_runs()] == ["deep:2"]
    run_study(study)
    cases, _ = read_tables(tmp_path)
    old, _ = read_tables(finished)
    pd.testing.assert_frame_equal(cases[cases.strategy != "deep:2"].reset_index(drop=True), old)
    assert (cases.strategy == "deep:2").sum() == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 64}, "image_size was 32, now 64"),
        ({"optimization": Optimization(steps=5)}, "steps was 4, now 5"),
        ({"data": "simulated-xray:30"}, "digests.data was"),
        ({"folds": 4}, "folds was 3, now 4"),
        ({"init": "natural"}, "digests.init was '[0-9a-f]{12}', now '[0-9a-f]{12}'"),
    ],
)
def test_another_study_in_the_same_directory_is_refused(settings, finished, change, message):
    with pytest.raises(ValueError, match=message):
        open_study(replace(settings, run=replace(settings.run, **change)), finished)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kerasunet", "keras", "tensorflow"])
def test_a_study_of_another_major_version_is_not_gone_on_with(settings, finished, tmp_path, name):
    copy = shutil.copytree(finished, tmp_path / "study")
    record = json.loads((copy / "study.json").read_text())
    record["versions"][name] = "99.1.2"
    (copy / "study.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"versions.{name} was '99\.1\.2', now '\d"):
        open_study(settings, copy)


@pytest.mark.slow
def test_a_study_that_an_older_version_began_goes_on(settings, finished, tmp_path):
    """It tells neither versions nor the digest of pixels; from then on it does."""
    copy = shutil.copytree(finished, tmp_path / "study")
    record = json.loads((copy / "study.json").read_text())
    versions, pixels = record.pop("versions"), record["digests"].pop("images and masks")
    (copy / "study.json").write_text(json.dumps(record))
    assert open_study(settings, copy).open_runs() == ()
    record = json.loads((copy / "study.json").read_text())
    assert (record["versions"], record["digests"]["images and masks"]) == (versions, pixels)


@pytest.mark.slow
def test_a_run_that_finds_the_same_everywhere_is_noted(settings, tmp_path):
    deaf = replace(settings, run=replace(settings.run, threshold=1 - 1e-9), strategies=("none",))
    run_study(open_study(deaf, tmp_path))
    assert "predicts the same for every pixel" in read_tables(tmp_path)[1].note[0]


@pytest.mark.slow
def test_study_json_tells_no_place_of_this_machine(finished, tiny_model_file):
    text = (finished / "study.json").read_text(encoding="utf-8")
    assert str(tiny_model_file.parent) not in text
    assert "model.keras" in text


@pytest.mark.slow
def test_a_failed_run_is_reported_and_the_others_go_on(settings, tmp_path):
    broken = replace(
        settings.run, optimization=replace(settings.run.optimization, learning_rate=1e30)
    )
    study = open_study(
        replace(settings, run=broken, strategies=("none", "contracting", "all")), tmp_path
    )
    run_study(study)
    _, runs = read_tables(tmp_path)
    assert set(runs.data) == {"simulated-xray"}
    status = dict(zip(runs.strategy, runs.status, strict=True))
    assert status["none"] == "finished"
    assert "failed" in (status["contracting"], status["all"])
    assert (
        runs[runs.status == "failed"]
        .note.str.contains("(?:loss|weights) became NaN or infinite")
        .all()
    )
    assert open_study(study.settings, tmp_path).open_runs() == ()
    assert len(open_study(study.settings, tmp_path).open_runs(retry_failed=True)) >= 1


@pytest.mark.slow
def test_learning_rate_is_chosen_on_validation_cases(settings, tmp_path):
    searching = replace(
        settings,
        run=replace(settings.run, validation_size=6),
        strategies=("none", "all"),
        learning_rates=(1e-6, 1e-2),
    )
    run_study(open_study(searching, tmp_path))
    _, runs = read_tables(tmp_path)
    chosen = runs.set_index("strategy").learning_rate["all"]
    validation = {}
    for folder in (tmp_path / "runs").glob("*-all/rate-*"):
        history = pd.read_csv(folder / "history.csv")
        validation[float(folder.name.removeprefix("rate-"))] = history.val_dice.iloc[-1]
    assert set(validation) == {1e-6, 1e-2}
    assert validation[chosen] == max(validation.values())


def test_learning_rate_search_without_validation_cases_is_refused(settings, tmp_path):
    with pytest.raises(ValueError, match="at least 5 validation cases, not 0"):
        open_study(replace(settings, learning_rates=(1e-3, 1e-2)), tmp_path)


@pytest.mark.slow(5)
def test_killed_study_goes_on_and_ends_in_the_same_tables(settings, finished, tmp_path):
    directory = tmp_path / "killed"
    words = ["study", "--data", settings.run.data, "--init", settings.run.init]
    words += ["--strategies", *settings.strategies, "--train-sizes", 4, "--folds", 3]
    words += ["--only-folds", 0, "--image-size", 32, "--steps", 4, "--batch-size", 2]
    words += ["--validate-every", 2, "--deterministic", "--output", directory]
    words += ["--no-estimate", "--no-report"]
    command = [sys.executable, "-m", "kerasunet", *map(str, words)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    _wait_until(lambda: (directory / "runs.csv").is_file())
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert workers and psutil.wait_procs(workers, timeout=120)[1] == []
    assert 1 <= len(Tables(directory).runs) < 4
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    again, whole = read_tables(directory)[0], read_tables(finished)[0]
    order = ["strategy", "key"]
    pd.testing.assert_frame_equal(
        again.sort_values(order).reset_index(drop=True),
        whole.sort_values(order).reset_index(drop=True),
    )


@pytest.mark.slow
def test_cases_that_were_removed_by_hand_come_back(settings, finished, tmp_path):
    study = shutil.copytree(finished, tmp_path / "study")
    rows = (study / "cases.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (study / "cases.csv").write_text("".join(rows[:1] + rows[2:]), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"cases of finished runs are missing.*; 1 of the runs"):
        reopened = open_study(settings, study)
    assert len(reopened.open_runs()) == 1
    run_study(reopened)
    assert sorted((study / "cases.csv").read_text(encoding="utf-8").splitlines(True)) == sorted(
        rows
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "lost"), [("scratch", "all"), ("deep_1", "deep_2")])
def test_results_in_the_folder_of_another_run_are_refused(settings, finished, tmp_path, kept, lost):
    study = shutil.copytree(finished, tmp_path / "study")
    (study / "runs" / f"fold0-train4-seed0-{kept}").rename(
        study / "runs" / f"fold0-train4-seed0-{lost}"
    )
    run_study(open_study(replace(settings, strategies=(lost.replace("_", ":"),)), study))
    failed = [row for row in Tables(study).runs if row["status"] == "failed"]
    assert [row["strategy"] for row in failed] == [lost.replace("_", ":")]
    assert "holds results of other settings" in failed[0]["note"]


@pytest.mark.slow
def test_the_result_of_another_run_that_was_copied_is_refused(settings, finished, tmp_path):
    study = tmp_path / "study"
    for name in ("study.json", "runs"):
        copy = shutil.copytree if (finished / name).is_dir() else shutil.copy
        study.mkdir(exist_ok=True)
        copy(finished / name, study / name)
    folder, own = study / "runs" / "fold0-train4-seed0-none", Tables(finished)
    known = (folder / "result.json").read_bytes()
    shutil.copy(study / "runs" / "fold0-train4-seed0-scratch" / "result.json", folder)
    run_study(open_study(settings, study))
    (row,) = (row for row in Tables(study).runs if row["status"] == "failed")
    assert row["strategy"] == "none"
    assert "result.json: is the result of another run; remove it" in row["note"]
    older = {name: value for name, value in json.loads(known).items() if name != "request"}
    (folder / "result.json").write_text(json.dumps(older), encoding="utf-8")
    reopened = open_study(settings, study)
    run_study(reopened, retry_failed=True)
    assert sorted(map(str, Tables(study).runs)) == sorted(map(str, own.runs))


@pytest.mark.slow
def test_a_run_of_a_study_of_other_data_that_was_copied_is_refused(settings, finished, tmp_path):
    """The settings do not tell, if both folders of images have the same name."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    request = tmp_path / "runs" / "fold0-train4-seed0-scratch" / "run.json"
    asked = json.loads(request.read_text(encoding="utf-8"))
    digests = json.loads((finished / "study.json").read_text(encoding="utf-8"))["digests"]
    assert asked["digests"] == digests
    asked["digests"] |= {"images and masks": "0" * 64}
    request.write_text(json.dumps(asked), encoding="utf-8")
    result = json.loads(request.with_name("result.json").read_text(encoding="utf-8"))
    result["request"] = hashlib.sha256(request.read_bytes()).hexdigest()
    request.with_name("result.json").write_text(json.dumps(result), encoding="utf-8")
    run_study(open_study(replace(settings, strategies=("scratch", "deep:1")), tmp_path))
    failed, own = sorted(Tables(tmp_path).runs, key=lambda row: row["status"])
    assert (failed["strategy"], own["strategy"]) == ("scratch", "deep:1")
    assert "images and masks was '000000000000', now '" in failed["note"]


@pytest.mark.slow
def test_tables_of_another_study_over_those_of_the_runs_are_refused(settings, finished, tmp_path):
    study = shutil.copytree(finished, tmp_path / "study")
    cases = pd.read_csv(study / "cases.csv")
    cases.assign(dice=1 - cases["dice"]).to_csv(study / "cases.csv", index=False)
    for read in (read_tables, lambda folder: open_study(settings, folder)):
        with pytest.raises(ValueError, match=r"cases\.csv: is not of the runs in runs/, such as "):
            read(study)
    for name in ("cases.csv", "runs.csv"):
        (study / name).unlink()
    run_study(open_study(settings, study))
    key = ["strategy", "key"]
    again, own = (read_tables(one)[0].sort_values(key)["dice"] for one in (study, finished))
    assert again.tolist() == own.tolist()


@pytest.mark.slow
def test_a_request_that_is_damaged_beside_a_result_is_named(settings, finished, tmp_path):
    folder = shutil.copytree(finished / "runs", tmp_path / "runs") / "fold0-train4-seed0-scratch"
    (folder / "run.json").write_text("{}", encoding="utf-8")
    run_study(open_study(replace(settings, strategies=("scratch",)), tmp_path))
    (row,) = (row for row in Tables(tmp_path).runs if row["status"] == "failed")
    assert "run.json: is not the request for a run of a study" in row["note"]
    assert "settings" in row["note"]


@pytest.mark.slow
def test_no_table_is_written_if_the_other_cannot_be(finished, tmp_path):
    (tmp_path / CASES).write_bytes((finished / CASES).read_bytes())
    (tmp_path / RUNS).mkdir()
    tables, row = Tables(tmp_path), Tables(finished).runs[0]
    with pytest.raises(NotWritten, match="runs.csv: is a folder or a device"):
        tables.record(row, ())
    assert (tmp_path / CASES).read_bytes() == (finished / CASES).read_bytes()


@pytest.mark.slow
def test_cases_of_a_run_that_was_not_recorded_are_forgotten(finished, tmp_path):
    (tmp_path / "cases.csv").write_bytes((finished / "cases.csv").read_bytes())
    runs = (finished / "runs.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "runs.csv").write_text("".join(runs[:-1]), encoding="utf-8")
    tables = Tables(tmp_path)
    assert len(tables.cases) == 8 * 3
    assert len(tables.finished()) == 3


def test_command_line_prints_the_plan_and_runs_nothing(call_cli, tmp_path, settings):
    done = call_cli(
        *("study", "--plan", "--no-estimate", "--data", "simulated-xray:24", "--folds", 3),
        *("--init", settings.run.init, "--strategies", "shallow:*", "none", "--train-sizes", 2, 4),
    )
    assert done.returncode == 0, done.stderr
    assert "4: shallow:1" in done.stdout
    assert "runs        24, of which 24 remain" in done.stdout
    assert not list(tmp_path.rglob("runs.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("strategies", [("none", "contracting"), ("none",)])
def test_time_is_estimated_where_the_first_strategy_or_none_trains(settings, tmp_path, strategies):
    study = plan_study(replace(settings, strategies=strategies), tmp_path)
    assert estimate_seconds(study) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategies", "shallow:12"], "this U-Net has 9 blocks"),
        (["--train-sizes", "390"], "outside the test fold"),
        (["--only-folds", "7"], "folds must be 0 to 4"),
        (["--division", "5-fold"], "comes with these divisions: none"),
        (["--lr-search", "--validation-size", "2"], "at least 5 validation cases"),
    ],
)
def test_command_line_refuses_in_one_line(call_cli, words, message):
    done = call_cli("study", *words)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def _wait_until(holds, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_trial_that_fails_does_not_stop_the_study(call_cli, tiny_model_file):
    done = call_cli(
        *(
            "study",
            "--plan",
            "--data",
            "simulated-xray:12",
            "--folds",
            3,
            "--init",
            tiny_model_file,
        ),
        *("--strategies", "all", "--train-sizes", 2, "--image-size", 32, "--learning-rate", 1e30),
    )
    assert done.returncode == 0, done.stderr
    assert "time        unknown, the trial failed: FloatingPointError" in done.stdout


def test_soft_strategies_are_strategies_of_their_own():
    texts = ("all", "contracting+0.1*expanding", "expanding", "expanding+statistics", "none")
    assert distinct_strategies((*texts, "statistics"), NetworkLayout.unet()) == (
        *texts,
        "statistics",
    )
    assert find("all", ["contracting+0.1*expanding"]) is None
    assert find("shallow:5+0.1*expanding", texts) == "contracting+0.1*expanding"

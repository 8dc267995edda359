"""Directories that version 0.1.0 wrote still open, and what it left unfinished goes on.

`fixtures/version-0.1.0/README.md` tells how they were made and how far results may differ.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

MADE = Path(__file__).parent / "fixtures" / "version-0.1.0"

TRAINING = "--image-size 32 --batch-size 4 --learning-rate 0.01 --deterministic"
LONG = f"{TRAINING} --steps 40 --validate-every 8 --base-filters 3 --depth 1"
SPLIT = "--train-size 8 --validation-size 4 --folds 4"
RUNS = {
    "pretrain": f"pretrain --data data --validation-data data {LONG}",
    "finetune": f"finetune --data data --init scratch --layers all {SPLIT} {LONG}",
    "finetune-auto": "finetune --data data --init scratch --layers auto --views 2 --keep best "
    f"{SPLIT} {LONG}",
}
STUDY = (
    "study --data data --init finetune-finished/model.keras --strategies none scratch shallow:1 "
    "all --folds 2 --train-sizes 6 --validation-size 2 --steps 24 --validate-every 3 "
    f"{TRAINING} --no-estimate --no-report"
)

pytestmark = pytest.mark.slow

# Another processor moved weights by 3e-6; a checkpoint without its moments moves them by 0.3.
WEIGHTS, HISTORY, DICE = 1e-3, 1e-3, 0.02
TIMES = ("seconds", "wall_seconds")
IDENTITY = ("strategy", "fold", "train_size", "seed")


@pytest.fixture
def place(tmp_path) -> Path:
    """A copy of everything, in which commands are started."""
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def assert_weights(found: list[np.ndarray], name: str) -> None:
    with np.load(MADE / "weights" / f"{name}.npz") as file:
        stored = [file[f"arr_{index}"] for index in range(len(file.files))]
    assert [array.shape for array in found] == [array.shape for array in stored]
    for new, old in zip(found, stored, strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=WEIGHTS)


def assert_history(directory: Path, before: list[dict[str, str]], finished: Path) -> None:
    """The rows of before are there with their times, so nothing was trained twice."""
    history = rows(directory / "history.csv")
    assert history[: len(before)] == before
    for new, old in zip(history, rows(finished / "history.csv"), strict=True):
        for name in old.keys() - set(TIMES):
            assert float(new[name]) == pytest.approx(float(old[name]), abs=HISTORY), name


def assert_cases(found: list[dict[str, str]], stored: list[dict[str, str]]) -> None:
    """The same cases in the same order, and the Dice of each."""
    assert found[0].keys() >= stored[0].keys()
    for new, old in zip(found, stored, strict=True):
        same = [name for name in ("key", "group", "outcome", "unit", *IDENTITY) if name in old]
        assert [new[name] for name in same] == [old[name] for name in same]
        assert float(new["dice"]) == pytest.approx(float(old["dice"]), abs=DICE)


def metrics(directory: Path) -> dict:
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return summary["metrics"] if "metrics" in summary else summary["after"]


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_run_goes_on(name, place, call_cli):
    directory, finished = place / f"{name}-interrupted", MADE / f"{name}-finished"
    before = rows(directory / "history.csv")
    ended = call_cli(*RUNS[name].split(), "--output", directory.name)
    assert ended.returncode == 0, ended.stderr
    assert_history(directory, before, finished)
    assert_weights(keras.models.load_model(directory / "model.keras").get_weights(), name)
    assert_cases(rows(directory / "cases.csv"), rows(finished / "cases.csv"))
    new, old = metrics(directory)["dice"], metrics(finished)["dice"]
    assert new["mean"] == pytest.approx(old["mean"], abs=DICE) and new["n"] == old["n"]
    assert not (directory / "checkpoint.npz").exists()


@pytest.mark.parametrize("name", RUNS)
def test_a_finished_run_is_shown_and_left_as_it_is(name, place, call_cli):
    directory = place / f"{name}-finished"
    ended = call_cli(*RUNS[name].split(), "--output", directory.name)
    assert ended.returncode == 0, ended.stderr
    dice = metrics(directory)["dice"]
    assert f"{dice['mean']:.3f}  ({dice['low']:.3f} to {dice['high']:.3f})" in ended.stdout
    assert contents(directory) == contents(MADE / directory.name)


def test_an_interrupted_run_refuses_other_settings(place, call_cli):
    words = RUNS["finetune"].replace("--steps 40", "--steps 48").split()
    ended = call_cli(*words, "--output", "finetune-interrupted")
    assert ended.returncode == 2
    assert "optimization.steps was 40, now 48" in ended.stderr
    assert contents(place / "finetune-interrupted") == contents(MADE / "finetune-interrupted")


def test_python_opens_a_finished_run(place):
    from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune

    settings = FinetuneSettings(
        layers="all",
        init="scratch",
        data=str(place / "data"),
        train_size=8,
        validation_size=4,
        folds=4,
        image_size=32,
        architecture=Architecture(base_filters=3, depth=1),
        optimization=Optimization(
            steps=40, batch_size=4, learning_rate=0.01, validate_every=8, deterministic=True
        ),
    )
    finished = finetune(settings, place / "finetune-finished")
    stored = json.loads((MADE / "finetune-finished" / "summary.json").read_text(encoding="utf-8"))
    assert finished.summary == stored
    assert_weights(finished.load_model().get_weights(), "finetune")


def test_finished_runs_are_compared(place, call_cli):
    ended = call_cli("compare", "finetune-finished", "finetune-auto-finished")
    assert ended.returncode == 0, ended.stderr
    assert "| 964 | `finetune-finished` | 0.789 (0.772 to 0.805) |" in ended.stdout
    assert "| 454 | `finetune-auto-finished` | 0.730 (0.710 to 0.741) |" in ended.stdout


def test_a_model_and_its_card_are_measured(place, call_cli):
    model = "finetune-finished/model.keras"
    ended = call_cli("evaluate", model, "--data", "data", "--csv", "measured.csv")
    assert ended.returncode == 0, ended.stderr
    measured = {row["key"]: row for row in rows(place / "measured.csv")}
    stored = rows(MADE / "finetune-finished" / "cases.csv")
    assert_cases([measured[row["key"]] for row in stored], stored)


@pytest.mark.filterwarnings("ignore:.* has seen ")  # So it has, on purpose.
def test_an_interrupted_study_goes_on(place, call_cli):
    directory, finished = place / "study-interrupted", MADE / "study-finished"
    runs, cases = rows(directory / "runs.csv"), rows(directory / "cases.csv")
    fourth = directory / "runs" / "fold0-train6-seed0-all"
    begun = rows(fourth / "history.csv")
    ended = call_cli(*STUDY.split(), "--output", directory.name)
    assert ended.returncode == 0, ended.stderr
    assert "runs        8, of which 5 remain" in ended.stdout
    older = {"precision": "float32", "device": "cpu"}  # What rows of 0.1.0 imply.
    assert rows(directory / "runs.csv")[: len(runs)] == [{**run, **older} for run in runs]
    assert rows(directory / "cases.csv")[: len(cases)] == cases
    assert rows(fourth / "history.csv")[: len(begun)] == begun
    varies = {"versions", *TIMES}
    for new, old in zip(rows(directory / "runs.csv"), rows(finished / "runs.csv"), strict=True):
        same = old.keys() - varies
        assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert_cases(rows(directory / "cases.csv"), rows(finished / "cases.csv"))


@pytest.mark.filterwarnings("ignore:.* has seen ")  # So it has, on purpose.
def test_a_finished_study_has_nothing_left_to_do(place, call_cli):
    directory = place / "study-finished"
    ended = call_cli(*STUDY.split(), "--output", directory.name)
    assert ended.returncode == 0, ended.stderr
    assert "runs        8, of which 0 remain" in ended.stdout
    for table in ("runs.csv", "cases.csv"):
        assert (directory / table).read_bytes() == (MADE / directory.name / table).read_bytes()


@pytest.mark.parametrize(
    ("name", "cases", "dice"), [("finished", 16, "0.8181"), ("interrupted", 8, "0.8175")]
)
def test_claims_and_report_read_a_study(name, cases, dice, place, call_cli):
    told = call_cli("claims", f"study-{name}")
    assert told.returncode == 0, told.stderr
    row = next(line.split() for line in told.stdout.splitlines() if "shallow:1" in line.split())
    assert row[4] == str(cases) and row[5] == dice
    reported = call_cli("report", f"study-{name}")
    assert reported.returncode == 0, reported.stderr
    assert (place / f"study-{name}" / "report.html").is_file()

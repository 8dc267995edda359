"""SIGKILL at any moment, and disks that take no more: nothing is lost, nothing is half there."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import AS_INSTALLED, ROOT

from kerasunet import UNet, models
from kerasunet.files import NotWritten, read_json, write_json, write_text
from kerasunet.runs.directory import RunDirectory, exclusive
from kerasunet.study.execution import open_study, run_study
from kerasunet.study.plan import StudySettings
from kerasunet.study.tables import CASES, RUNS, Tables, read_tables
from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune

HARNESS = ROOT / "benchmarks" / "reliability"
HOOKED = os.pathsep.join([str(HARNESS / "killing" / "hook"), AS_INSTALLED])
MOMENTS = ("before", "half", "after")


@pytest.mark.slow(6)
@pytest.mark.parametrize(("verb", "kills"), [("finetune", 1), ("pretrain", 1)])
def test_killed_commands_end_in_the_same_results(verb, kills, tmp_path):
    """A short form of what docs/notes/reliability.md describes.

    `test_killed_study_goes_on_and_ends_in_the_same_tables` has one for studies.
    """
    finished = subprocess.run(
        [sys.executable, HARNESS / "kill.py", verb, "--kills", str(kills), "--seed", "3"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"{kills} kills of {verb}" in finished.stdout
    assert finished.stdout.endswith("0 faults\n")


def run_killed(script: str, folder: Path, moment: str, number: int) -> int:
    """Run a script that dies at its write of that number; 0 counts none."""
    environment = {
        **os.environ,
        "PYTHONPATH": HOOKED,
        "KILL_AT": f"{moment}:{number}",
        "KILL_WHO": "parent",
        "KILL_MARK": str(folder / "mark"),
    }
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


# What is killed starts as a fork of one process, which has imported what all of them need.
IN_TURN = """
import importlib, json, os, shutil, sys, traceback
import sitecustomize
from kerasunet.study import tables

def status_of(script, folder, moment, number):
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.environ.update(KILL_AT=f"{moment}:{number}", KILL_WHO="parent", KILL_MARK=f"{folder}/mark")
    importlib.reload(sitecustomize)
    os.chdir(folder)
    try:
        exec(script, {})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

statuses = []
for script, folder, moment, number in json.load(sys.stdin):
    os.makedirs(folder)
    statuses.append([status_of(script, folder, moment, number)])
    shutil.copytree(f"{folder}/out", f"{folder}/left/out")
    statuses[-1].append(status_of(script, folder, moment, number))
print(json.dumps(statuses))
"""


def killed_and_started_again(
    script: str, folder: Path, numbers: range
) -> dict[tuple[str, int], tuple[Path, list[int]]]:
    """Run a script that dies at each moment of each of its writes, and then once more.

    Returns:
        By moment and number of the write, the folder of it, in which `left` is what the first
        process left behind, and the exit statuses of both.
    """
    cases = [(moment, number) for moment in MOMENTS for number in numbers]
    folders = [folder / f"{moment}-{number}" for moment, number in cases]
    asked = [[script, str(own), *case] for own, case in zip(folders, cases, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN],
        input=json.dumps(asked),
        env={**os.environ, "PYTHONPATH": HOOKED},
        capture_output=True,
        text=True,
        check=True,
    )
    ended = zip(folders, json.loads(done.stdout), strict=True)
    return dict(zip(cases, ended, strict=True))


WRITE_TWICE = """
from pathlib import Path
from kerasunet.files import write_json
for content in ("old", "new"):
    write_json(Path("out/file.json"), [content] * 10_000)
"""


@pytest.fixture(scope="module")
def killed_writers(tmp_path_factory) -> dict:
    return killed_and_started_again(
        WRITE_TWICE, tmp_path_factory.mktemp("writers"), numbers=range(1, 3)
    )


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_file_is_the_old_one_or_the_whole_new_one(killed_writers, moment, number):
    folder, statuses = killed_writers[moment, number]
    assert statuses[0] == -9
    left = folder / "left"
    path = left / "out" / "file.json"
    written = number if moment == "after" else number - 1
    if written:
        assert json.loads(path.read_text()) == [("old", "new")[written - 1]] * 10_000
    else:
        assert not path.exists()
    with exclusive(left / "out"):
        assert [p for p in path.parent.rglob("*") if p != path] == []


RECORD = """
from pathlib import Path
from kerasunet.study.tables import CASE_COLUMNS, RUN_COLUMNS, Tables
Path("out").mkdir(exist_ok=True)
for fold in range(3):
    tables = Tables(Path("out"))
    identity = {"strategy": "all", "fold": fold, "train_size": 4, "seed": 0}
    if ("all", fold, 4, 0) not in tables.finished():
        run = {**dict.fromkeys(RUN_COLUMNS, 1), **identity, "status": "finished"}
        case = {**dict.fromkeys(CASE_COLUMNS, 0.25), **identity}
        tables.record(run, [{**case, "key": key} for key in "abc"])
"""


@pytest.fixture(scope="module")
def whole_tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert run_killed(RECORD, folder, "after", 0) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def killed_tables(tmp_path_factory) -> dict:
    return killed_and_started_again(RECORD, tmp_path_factory.mktemp("tables"), numbers=range(1, 7))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", range(1, 7))
def test_tables_that_were_killed_at_any_write_end_the_same(
    killed_tables, whole_tables, moment, number
):
    folder, statuses = killed_tables[moment, number]
    assert statuses == [-9, 0]
    tables = Tables(folder / "left" / "out")
    assert len(tables.cases) == 3 * len(tables.runs)
    for name in (CASES, RUNS):
        assert (folder / "out" / name).read_bytes() == (whole_tables / name).read_bytes()


@pytest.fixture
def settings() -> FinetuneSettings:
    return FinetuneSettings(
        layers="all",
        init="scratch",
        architecture=Architecture(base_filters=4, depth=1),
        data="simulated-xray:24",
        train_size=8,
        validation_size=4,
        folds=3,
        image_size=32,
        optimization=Optimization(steps=8, batch_size=4, validate_every=2, deterministic=True),
    )


@contextmanager
def files_of_at_most(size: int):
    """Stands for a full disk: no file of this process and its children may grow beyond."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.11 would keep half of a compiled module, and fail to read it later.
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.slow
def test_a_run_goes_on_once_its_files_may_be_written(settings, tmp_path):
    whole = finetune(settings, tmp_path / "whole")
    with (
        files_of_at_most(20_000),
        pytest.raises(NotWritten, match=r"checkpoint\.npz: cannot be written: File too large; "),
    ):
        finetune(settings, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").is_file()
    assert not [p for p in (tmp_path / "run").rglob("*") if p.name.startswith(".writing")]
    mended = finetune(settings, tmp_path / "run")
    weights = [run.load_model().get_weights() for run in (whole, mended)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    before = contents(whole.directory)
    with files_of_at_most(20_000), pytest.raises(NotWritten, match="checkpoint"):
        other = replace(settings, optimization=replace(settings.optimization, seed=1))
        finetune(other, whole.directory, restart=True)
    assert contents(whole.directory) == before


def test_activations_that_find_no_room_are_told_before_training(settings, tmp_path):
    with (
        files_of_at_most(100_000),
        pytest.raises(NotWritten, match="run: cannot be written: File too large"),
    ):
        finetune(replace(settings, layers="deep:1", views=4), tmp_path / "run")


def test_a_model_whose_copy_finds_no_room_is_told():
    with (
        files_of_at_most(20_000),
        pytest.raises(NotWritten, match="kerasunet-model-.*cannot be written: File too large"),
    ):
        models.load("natural")


def test_weights_that_find_no_room_are_told_and_those_before_stay(tmp_path):
    """Where HDF5 itself would write, the process would crash."""
    path = tmp_path / "net.weights.h5"
    models.save_weights(UNet((32, 32, 1), 2, 1), path)
    before = path.read_bytes()
    with files_of_at_most(1000), pytest.raises(NotWritten, match="net.weights.h5: cannot be wri"):
        models.save_weights(UNet((32, 32, 1), 4, 1), path)
    assert path.read_bytes() == before


def test_a_write_without_room_leaves_no_new_folder(tmp_path):
    with files_of_at_most(100), pytest.raises(NotWritten, match="table: cannot be written"):
        write_text(tmp_path / "new" / "below" / "table", "a" * 1000)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(OSError, match="File name too long"):
        write_text(tmp_path / "new" / ("a" * 300) / "table", "a")
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_full_disk_stops_a_study_and_blames_no_run(settings, tmp_path):
    study = StudySettings(
        run=replace(settings, validation_size=0),
        strategies=("none", "all"),
        train_sizes=(4,),
        only_folds=(0,),
    )
    with files_of_at_most(20_000), pytest.raises(NotWritten, match=r"checkpoint\.npz: cannot be"):
        run_study(open_study(study, tmp_path))
    _, runs = read_tables(tmp_path)
    assert list(runs.strategy) == ["none"] and list(runs.status) == ["finished"]
    run_study(open_study(study, tmp_path))
    _, runs = read_tables(tmp_path)
    assert list(runs.strategy) == ["none", "all"] and set(runs.status) == {"finished"}


def test_a_file_in_place_of_a_folder_is_told(settings, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotWritten, match="file/run: cannot be written: .*; .*another folder"):
        finetune(settings, tmp_path / "file" / "run")
    with pytest.raises(NotWritten, match="file: is a file, or a link to nothing; choose another"):
        write_json(tmp_path / "file" / "x.json", {})
    assert (tmp_path / "file").read_text() == "mine"


class Stop(keras.callbacks.Callback):
    """Ends a training after its first epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "optimization"),
    [({"views": 2}, {"keep": "best"}), ({}, {"precision": "mixed_float16"})],
)
def test_views_best_weights_and_loss_scale_survive_an_interruption(
    settings, tmp_path, changes, optimization
):
    """What a frozen part makes of the views is computed in other batches after a new start."""
    how = replace(settings.optimization, **optimization)
    tuned = replace(settings, layers="deep:2", optimization=how, **changes)
    with pytest.raises(KeyboardInterrupt):
        finetune(tuned, tmp_path / "killed", [Stop()])
    weights = [
        finetune(tuned, tmp_path / name).load_model().get_weights() for name in ("killed", "whole")
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


class Killed(BaseException):
    """Stands for a kill: nothing catches it, and nothing is done after it."""


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_restart_that_was_killed_early_leaves_the_earlier_run(settings, tmp_path, monkeypatch):
    run = RunDirectory(finetune(settings, tmp_path / "run").directory)
    before, replace_file = contents(run.path), os.replace
    other = replace(settings, layers="head")
    for moves in range(len(before) + 3):
        left = iter(range(moves))

        def move(*paths, left=left):
            if next(left, None) is None:
                raise Killed
            replace_file(*paths)

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(os, "replace", move)
            run.claim(other, {}, restart=True)
            write_text(run.layers_table, "of the new run")
            run.settle()
        assert read_json(run.recorded)["settings"]["layers"] == str(settings.layers)
        run.require_removable(other)  # As the same command does, before anything is settled.
        run.settle()
        assert contents(run.path) == before


@pytest.mark.parametrize("removals", [0, 1, 2, 3, 9])
def test_a_restart_that_was_killed_late_leaves_the_new_run(
    settings, tmp_path, monkeypatch, removals
):
    """Whatever is left of the earlier run, nothing of it gets among the files of the new one."""
    run = RunDirectory(tmp_path / "run")
    run.claim(settings, {})
    for path in (run.history, run.cases, run.summary):
        write_text(path, "of the earlier run")
    run.claim(replace(settings, layers="head"), {}, restart=True)
    for path in (run.history, run.cases, run.checkpoint):
        write_text(path, "of the new run")
    before = {
        path: content for path, content in contents(run.path).items() if path.parent == run.path
    }
    left, unlink = iter(range(removals)), os.unlink

    def remove(*paths, **words):
        if next(left, None) is None:
            raise Killed
        unlink(*paths, **words)

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(os, "unlink", remove)
        run.settle()
    with exclusive(run.path):
        pass
    assert contents(run.path) == before

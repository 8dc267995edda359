"""Nothing of the user's is lost: every verb on outputs that exist, are foreign, or half written."""

from __future__ import annotations

import argparse
import csv
import errno
import hashlib
import json
import os
import pty
import shlex
import shutil
import stat
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import write_disc_pairs
from helpers.study_makers import make_study
from helpers.study_tables import write_study

from kerasunet import files, models, processes
from kerasunet.cli import _OWN_FILES, check_outputs, main, predict as verb
from kerasunet.cli.data import next_marks
from kerasunet.data import load
from kerasunet.data.cache import cache_folder
from kerasunet.data.loading import require_outside
from kerasunet.files import (
    FileWarning,
    NotWritten,
    before_naming,
    lock,
    remove_left,
    remove_unfinished,
    temporary_folder,
    write_atomically,
    write_json,
)
from kerasunet.processes import environment
from kerasunet.runs import predictions
from kerasunet.runs.directory import RunDirectory, exclusive
from kerasunet.runs.finetuning import Run
from kerasunet.study.report import require_free
from kerasunet.training.settings import FinetuneSettings, PretrainSettings, to_json

SLOW = pytest.mark.slow
THESIS = "years of work"
OF_OTHER_RUNS = ("log.txt", "status.json", "rates.csv", "choice.json", "result.json", "run.json")
TRAINING_IMAGES = "figures/training-images.png"
TINY = ["--image-size", 32, "--steps", 2, "--batch-size", 2, "--validate-every", 1]
SIZES = ["--train-size", 4, "--validation-size", 2]
XRAYS = ["--data", "simulated-xray:12", *SIZES, *TINY]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """The folder in which everything happens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path / "registered"))
    return tmp_path


@pytest.fixture
def call(capsys):
    """Return a function that runs a command here; it returns the status and what was printed."""

    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, with the digest of what is in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(call, *words: object, saying: str, folder: Path | None = None) -> None:
    """Run a command that must be refused in these words and change nothing here."""
    folder = folder or Path.cwd()
    before = contents(folder)
    status, said = call(*words)
    assert (status, saying in said) == (2, True), said
    assert said.count("error: ") == 1
    assert contents(folder) == before


# Runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model_file) -> Path:
    """A finished run, with a file of the user's in its directory."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", directory]
    assert main([str(word) for word in words]) == 0
    (directory / "thesis.txt").write_text(THESIS)
    return directory


@pytest.fixture
def earlier(finished, place) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(finished, place / "run"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["--image-size", 43], "image size 43: this U-Net needs a multiple of"),
        (["--keep", "best", "--validation-size", 0], "keep='best' and patience need validation"),
        (["--layers", "nothing"], "nothing: no block or layer of this name"),
        (["--unfreeze", "deep:9@0", "all@1"], "deep:9: this U-Net has"),
        (["--layers", "auto:search", "--train-size", 2], "auto:search divides the training images"),
        (["--data", "damaged", "--groups", "given"], "case3.png"),
        (["--save-as", "a/b"], "'a/b' is not a valid model name"),
    ],
)
def test_a_restart_that_cannot_run_removes_nothing(
    call, earlier, tiny_model_file, damaged_folder, words, saying
):
    words = ["finetune", "--init", tiny_model_file, *XRAYS, *words, "--output", "run", "--restart"]
    refused(call, *words, saying=saying)


@pytest.fixture
def damaged_folder(place, own_images) -> Path:
    """A data set in which a mask is cut short, which is noticed only when it is decoded."""
    folder = Path(shutil.copytree(own_images, place / "damaged"))
    mask = folder / "masks" / "case3.png"
    mask.write_bytes(mask.read_bytes()[:-30])
    return folder


@pytest.fixture(scope="session")
def own_images(tmp_path_factory) -> Path:
    """A folder of twelve images and their masks."""
    return write_disc_pairs(tmp_path_factory.mktemp("own"), 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "saying"),
    [("finetune", "--init needs it; use another"), ("pretrain", "run: is a run of another verb")],
)
def test_a_restart_never_removes_the_start_it_was_given(call, earlier, verb, saying):
    words = [verb, "--init", "run/model.keras", "--image-size", 32]
    refused(call, *words, "--output", "run", "--restart", saying=saying)


@pytest.mark.slow
def test_a_restart_never_removes_a_start_that_is_named_by_the_home_folder(
    call, earlier, place, monkeypatch
):
    monkeypatch.setenv("HOME", str(place))
    words = ["finetune", "--init", "~/run/model.keras", *XRAYS, "--output", "~/run", "--restart"]
    refused(call, *words, saying="~/run/model.keras: belongs to the run in")


@pytest.mark.slow
@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_a_run_of_another_verb_is_neither_continued_nor_removed(call, earlier, verb, restart):
    with open(earlier / "config.json") as file:
        record = json.load(file)
    settings = record["settings"]
    if verb == "finetune":
        del settings["layers"]
    (earlier / "config.json").write_text(json.dumps(record))
    before = contents(earlier)
    asked = FinetuneSettings() if verb == "finetune" else PretrainSettings()
    with pytest.raises(ValueError, match="is a run of another verb; use another output folder"):
        RunDirectory(earlier).claim(asked, {}, restart=restart)
    assert contents(earlier) == before


def test_a_link_stays_and_what_it_leads_to_is_written(place):
    (place / "link.json").symlink_to("there/real.json")
    write_json(place / "link.json", {"a": 1})
    assert os.readlink(place / "link.json") == "there/real.json"
    assert json.loads((place / "there" / "real.json").read_text()) == {"a": 1}
    (place / "link.png").symlink_to("nameless")  # Writers tell the format by the link's suffix.
    write_atomically(place / "link.png", lambda path: path.write_text(path.suffix))
    assert (place / "nameless").read_text() == ".png"


@pytest.mark.slow
def test_a_restart_does_not_remove_what_is_protected(earlier):
    settings = FinetuneSettings()
    (earlier / "model.keras").chmod(0o444)
    before = contents(earlier)
    with pytest.raises(NotWritten, match=r"model\.keras: is write-protected"):
        RunDirectory(earlier).claim(settings, {}, restart=True)
    assert contents(earlier) == before


@SLOW
def test_a_restart_removes_the_run_and_nothing_else(call, earlier, tiny_model_file):
    (earlier / "overlays" / "mine.png").write_bytes(b"mine")
    (earlier / "pictures").mkdir()
    own = [earlier / name for name in (*OF_OTHER_RUNS, "pictures/01.png")]
    for path in own:
        path.write_text(THESIS)
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--layers", "head", "--output", "run"]
    refused(call, *words, saying="layers was 'shallow:3', now 'head'")
    status, said = call(*words, "--restart")
    assert status == 0, said
    assert (earlier / "thesis.txt").read_text() == THESIS
    assert (earlier / "overlays" / "mine.png").read_bytes() == b"mine"
    assert all(path.read_text() == THESIS for path in own), "such as > run/log.txt"
    assert models.card(earlier / "model.keras").strategy == "head"


def test_a_restart_removes_what_only_some_runs_write(place):
    run, settings = RunDirectory(place / "run"), FinetuneSettings(layers="auto")
    run.claim(settings, {})
    write_json(run.request, to_json(settings))
    for path in (run.choice, run.status, run.log, run.summary):
        path.write_text("of the run")
    with exclusive(run.path):
        run.claim(FinetuneSettings(), {}, restart=True)
        run.checkpoint.touch()
    left = {path.name for path in run.path.iterdir()}
    assert left == {"checkpoint.npz", "config.json", ".config.json.written"}


def test_the_choice_of_another_run_is_not_gone_on_with(place):
    run = RunDirectory(place / "run")
    run.claim(FinetuneSettings(layers="auto"), {})
    with run.in_progress():
        write_json(run.choice, {"strategy": "all"})
    assert run.finished() is None
    write_json(run.choice, {"strategy": "deep:1"})
    with pytest.raises(ValueError, match=r"choice\.json: is not part of this run, or has been"):
        run.finished()


def test_a_restart_leaves_what_is_behind_a_link_to_a_folder(place):
    """Many runs may log into one folder; pictures there could be replaced by those of this run."""
    run, name = RunDirectory(place / "run"), "events.out.tfevents.1"
    run.claim(FinetuneSettings(), {})
    for folder, file in ((run.tensorboard, f"train/{name}"), (run.overlays, "1-dice-0.5-a.png")):
        (place / "others" / folder.name / file).parent.mkdir(parents=True)
        (place / "others" / folder.name / file).write_text(THESIS)
        folder.symlink_to(place / "others" / folder.name)
    (run.path / ".earlier-run").mkdir()
    (run.path / ".earlier-run" / "thesis.txt").write_text(THESIS)
    before = contents(place / "others")
    with pytest.raises(ValueError, match="run/overlays: is a link, so its pictures may be others'"):
        run.claim(FinetuneSettings(), {}, restart=True)
    run.overlays.unlink()
    (run.path / ".earlier-run").rename(place / "aside")
    (run.path / ".earlier-run").symlink_to(place / "aside")
    with pytest.raises(ValueError, match=r"\.earlier-run: is a link"), exclusive(run.path):
        pytest.fail("this would move files behind the link")
    (run.path / ".earlier-run").unlink()
    (place / "aside").rename(run.path / ".earlier-run")
    with exclusive(run.path):
        run.claim(FinetuneSettings(), {}, restart=True)
        run.checkpoint.touch()
    assert contents(place / "others") == before
    assert run.tensorboard.is_symlink()
    assert (run.path / ".earlier-run" / "thesis.txt").read_text() == THESIS


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
@pytest.mark.parametrize("name", ["model.keras", "model.json", "cases.csv", "history.csv"])
def test_a_run_is_not_written_over_files_of_yours(call, place, verb, name, tiny_model_file):
    (place / "mine").mkdir()
    (place / "mine" / name).write_text(THESIS)
    data = ["--data", "simulated-natural:6", "--validation-data", "simulated-natural:3"]
    words = XRAYS if verb == "finetune" else [*data, "--depth", 2, "--base-filters", 2, *TINY]
    start = ["--init", tiny_model_file] if verb == "finetune" else []
    words = [verb, *start, *words, "--output", "mine"]
    refused(call, *words, saying=f"mine: holds {name} but no config.json")
    refused(call, *words, "--restart", saying="has no config.json, so it is not a run")


def test_the_folder_of_another_verb_that_has_not_finished_is_left_to_it(call, place):
    """Neither would know the other's tables and models, which have the same names."""
    for record in ("study.json", "adapt.json", "predictions.json"):
        write_json(place / record / record, {})
        with pytest.raises(ValueError, match=f"holds {record} of "):
            RunDirectory(place / record).claim(FinetuneSettings(), {})
    RunDirectory(place / "run").claim(FinetuneSettings(), {})
    with pytest.raises(ValueError, match=r"run: holds config\.json of a run; use another output"):
        predictions.PredictionDirectory.open(place / "run", {})
    words = ["study", *XRAYS[:2], "--init", "scratch", "--strategies", "all", *TINY]
    for folder, told in (("run", "config.json of a run"), ("adapt.json", "adapt.json of an adap")):
        refused(call, *words, "--output", folder, saying=f"{folder}: holds {told}")
    write_json(place / "mine" / "config.json", {"model_type": "bert"})  # Not of a run.
    predictions.PredictionDirectory.open(place / "mine", {})


def test_no_file_gets_a_name_that_a_folder_s_own_command_is_about_to_write(place):
    RunDirectory(place / "run").claim(FinetuneSettings(), {})
    for name, file in (("predictions.json", "areas.csv"), ("report.json", "tables/means.csv")):
        write_json(place / "out" / name, {"files": {file: None}})
    write_json(place / "study" / "study.json", {})
    write_json(place / "adapted" / "adapt.json", {})
    for path, told in {
        "run/cases.csv": "is a file of the run in run",
        "run/checkpoint.npz": "is a file of the run in run",
        "study/runs.csv": "is a file of a study there",
        "study/report.html": "is a file of a study there",
        "adapted/check.html": "is a file of an adaptation there",
        "adapted/cases.csv": "is a file of an adaptation there",
        "out/areas.csv": "is listed in .*predictions.json",
        "out/tables/means.csv": "is listed in .*report.json",
    }.items():
        with pytest.raises(FileExistsError, match=f"^{path}: {told}; give another name"):
            check_outputs("evaluate", argparse.Namespace(csv=Path(path)))
        Path("link.csv").symlink_to(path)  # A link is written through.
        with pytest.raises(FileExistsError, match=f"^link.csv: {told.replace('run in ', '')}"):
            check_outputs("evaluate", argparse.Namespace(csv=Path("link.csv")))
        Path("link.csv").unlink()
    export = argparse.Namespace(output=Path("run/model.h5"), format="h5")  # And `model.json`.
    with pytest.raises(FileExistsError, match="run/model.json: is a file of the run"):
        check_outputs("export", export)
    indented = json.dumps(json.loads((place / "run" / "config.json").read_text()), indent=4)
    (place / "run" / "config.json").write_text(indented)  # As an editor saves it.
    with pytest.raises(FileExistsError, match="^run/cases.csv: is a file of the run in run"):
        check_outputs("evaluate", argparse.Namespace(csv=Path("run/cases.csv")))
    (place / "run" / "model.keras").touch()  # Then it is called `model.h5.json`.
    check_outputs("export", export)
    for path in ("run/.config.json.written", "run/.earlier-run/x.csv", ".writing-abc.csv"):
        with pytest.raises(ValueError, match="this package removes what has such a name"):
            check_outputs("evaluate", argparse.Namespace(csv=Path(path)))
    (place / "report.json").write_text("[]")  # Of something else.
    for path in ("run/mine.csv", "out/mine.csv", "areas.csv", "adapted/mine.csv", "study/m.csv"):
        check_outputs("evaluate", argparse.Namespace(csv=Path(path)))


def test_the_files_of_studies_and_adaptations_are_known_by_name():
    from kerasunet.adapt.directory import _RESULTS
    from kerasunet.study import final_model, report, tables

    assert {*_OWN_FILES["adapt.json"]} == {*_RESULTS}
    written = {final_model.MODEL, report._PAGE, report._RECORD, tables.CASES, tables.RUNS}
    assert {*_OWN_FILES["study.json"]} == written | {"model.json", "model.md"}


def test_no_report_is_written_into_an_adaptation_whose_page_has_its_name(place):
    write_json(place / "adapted" / "adapt.json", {})
    with pytest.raises(ValueError, match="^adapted: holds adapt.json of an adaptation; use ano"):
        require_free(Path("adapted"))


def test_two_images_have_no_one_name_in_a_table(place):
    """As if one was segmented with `--frame 0`, so that its mask is called otherwise."""
    for name in ("a/x.png", "b/x.png", "b/y.png"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(name)
    row = {"image": "x.png", "frame": 0, "mask": "x-frame0000.png"}
    images = {"x-frame0000": {"sha256": files.sha256(Path("a/x.png")), "row": row}}
    directory = predictions.PredictionDirectory(place / "out", {}, images=images)
    told = "b/x.png: the table has another image as x.png, that of x-frame0000"
    with pytest.raises(ValueError, match=told):
        directory.require_free({"x": Path("b/x.png")}, ["masks/x.png"])
    for name, path in (("x", "a/x.png"), ("x-frame0000", "a/x.png"), ("y", "b/y.png")):
        directory.require_free({name: Path(path)}, [])


def test_a_link_in_place_of_what_a_kill_left_unfinished_is_not_written_through(place):
    (place / "thesis.txt").write_text(THESIS)
    for link in ("out/masks/a.png", "out/figures/blocks.png"):
        (place / link).parent.mkdir(parents=True)
        (place / link).symlink_to(place / "thesis.txt")
    files = {"masks/a.png": None, "figures/blocks.png": None}
    known = predictions.PredictionDirectory(place / "out", {}, files=files)
    with pytest.raises(
        ValueError, match="masks/a.png: was not written by this command, or has been"
    ):
        known.require_free({}, ["masks/a.png"])
    write_json(place / "out" / "report.json", {"files": files})
    with pytest.raises(FileExistsError, match="blocks.png: is not part of a report, or has been"):
        require_free(place / "out")
    (place / "out" / "report.json").unlink()
    os.mkfifo(place / "out" / "report.json")  # Reading it would never end.
    with pytest.raises(NotWritten, match="report.json: is a folder or a device"):
        require_free(place / "out")


def test_no_restart_removes_a_run_of_a_study(place):
    for run in (RunDirectory(place / "a"), RunDirectory(place / "b" / "rate-0.1")):
        run.claim(FinetuneSettings(), {})
        write_json(place / run.path.parts[len(place.parts)] / "run.json", {"settings": {}})
        before = contents(place)
        with pytest.raises(ValueError, match="is a run of a study; use another output folder"):
            run.claim(FinetuneSettings(), {}, restart=True)
        assert contents(place) == before


def test_a_run_that_a_killed_restart_set_aside_is_back_before_others_write(place):
    """Else it would come back over what they wrote."""
    run, aside = RunDirectory(place / "run"), RunDirectory(place / "run" / ".earlier-run")
    write_json(aside.config, {"settings": {}})
    aside.cases.write_text("of the run")
    with exclusive(run.path):
        assert (run.config.is_file(), run.cases.read_text()) == (True, "of the run")


@SLOW
@pytest.mark.parametrize("name", ["model.md", "cases.csv", "overlays/7-dice-mine.png", "overlays"])
def test_a_file_of_yours_in_a_run_that_was_killed_is_not_replaced(
    call, place, tiny_model_file, monkeypatch, name
):
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "run"]
    with monkeypatch.context() as patch:  # As killed before the model, or while it is written.
        patch.setattr(models, "save", dying)
        with pytest.raises(SystemExit):
            call(*words)
    assert (place / "run" / ".config.json.written").is_file()
    file = place / "run" / name
    if name == "overlays":
        file = sorted(file.iterdir())[0]
    own = file.read_bytes() if file.exists() else None
    file.write_text(THESIS)
    told = "is not part of this run, or has been changed since; move it away"
    refused(call, *words, saying=f"{file.name}: {told}")
    refused(call, *words, "--restart", saying=f"{file.name}: {told}")
    if own is None:
        file.unlink()
    else:
        file.write_bytes(own)
    status, said = call(*words)
    assert status == 0, said
    assert not (place / "run" / ".config.json.written").exists()
    assert (place / "run" / "model.md").is_file()


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "no JSON"])
def test_a_configuration_of_something_else_is_not_a_run(call, place, tiny_model_file, text):
    (place / "mine").mkdir()
    (place / "mine" / "config.json").write_text(text)
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "mine"]
    refused(call, *words, saying="mine/config.json: ")
    refused(call, *words, "--restart", saying="mine/config.json: ")


@SLOW
@pytest.mark.parametrize(
    "change",
    [
        lambda summary: summary["settings"].update(layers="deep:1"),
        lambda summary: summary["digests"].update({"images and masks": "0" * 64}),
        lambda summary: summary.pop("digests") and summary["data"].update(digest="0" * 64),
    ],
    ids=["settings", "pixels", "data, by an earlier version"],
)
def test_a_summary_of_another_run_is_not_shown_as_that_of_this_one(
    call, earlier, tiny_model_file, change
):
    (earlier / "checkpoint.npz").write_bytes(b"its work")
    summary = json.loads((earlier / "summary.json").read_text(encoding="utf-8"))
    change(summary)
    write_json(earlier / "summary.json", summary)
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "run"]
    refused(call, *words, saying="summary.json: is the summary of another run; move it away")


@SLOW
def test_a_registered_model_is_not_replaced_by_another(call, place, earlier, tiny_model_file):
    registered = models.register(earlier / "model.keras", "mine")
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--save-as", "mine", "--output"]
    status, said = call(*words, "run", "--half-precision")  # The same model may be stored anew.
    assert status == 0 and models.card("mine").storage == "float16", said
    refused(call, *words, "other", saying=f"{registered}: is registered already, and is another")
    refused(call, *words, "run", "--restart", saying="choose another name, or remove that model")
    (earlier / "summary.json").unlink()  # It would be trained again.
    refused(call, *words, "run", saying=f"{registered}: is registered already, and is another")
    with pytest.raises(FileExistsError, match="is another model"):
        models.register(tiny_model_file, "mine")
    registered.with_name("words.md").write_text(THESIS)
    with pytest.raises(FileExistsError, match="words.md: is registered already"):
        models.register(tiny_model_file, "words")
    assert registered.with_name("words.md").read_text() == THESIS
    shutil.copyfile(tiny_model_file, registered.with_name("half.keras"))
    models.register(tiny_model_file, "half")  # The rest of what a killed command began.


@pytest.mark.slow
@pytest.mark.parametrize("text", ['{"x": 1}', "[]"])
def test_a_summary_of_something_else_is_not_taken_for_the_end_of_a_run(
    call, earlier, tiny_model_file, text
):
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "run"]
    (earlier / "summary.json").write_text(text)
    refused(call, *words, saying="run/summary.json: is not the summary of a run")
    refused(call, "compare", "run", saying="summary of a fine-tuning; leave it out")


@pytest.mark.slow
def test_a_finished_run_is_shown_whatever_it_has_lost(call, earlier, tiny_model_file):
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "run"]
    for name in ("layers.txt", "model.keras", "model.json"):
        (earlier / name).unlink()
    before = contents(earlier)
    status, said = call(*words)
    assert (status, contents(earlier)) == (0, before) and "run/layers.txt: is gone" in said
    assert (
        "run/model.keras: is gone, damaged or of another run" in said and "load_model" not in said
    )
    refused(call, *words, "--save-as", "mine", saying="run/model.keras: ")


@pytest.mark.slow
def test_the_model_of_another_run_is_not_taken_for_that_of_this_one(
    call, place, earlier, tiny_model_file
):
    """Exchanged with its card, which it agrees with; under another name it is a model like any."""
    for name in ("model.keras", "model.json", "model.md"):
        shutil.copy(tiny_model_file.with_name(name), earlier)
        shutil.copy(tiny_model_file.with_name(name), place / name.replace("model", "other"))
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "run"]
    status, said = call(*words)
    assert (status, "load_model" in said) == (0, False) and "or of another run; --restart" in said
    saying = "run/model.json: it and its model are of another run than summary.json beside them"
    refused(call, *words, "--save-as", "mine", saying=saying)
    refused(call, "evaluate", "run/model.keras", "--data", "simulated-xray:12", saying=saying)
    refused(call, "export", "run/model.keras", "--format", "onnx", "--output", "x", saying=saying)
    refused(call, "push", "run/model.keras", "--to", "pushed", saying=saying)
    refused(call, "compare", "run", saying=saying)
    with pytest.raises(ValueError, match="of another run than summary.json"):
        Run(earlier, {}).load_model()
    models.register("other.keras", "mine")
    assert models.load("mine").name == "unet"
    assert call(*words, "--restart")[0] == 0 and models.card(earlier / "model.keras")


def test_a_model_that_could_not_be_registered_is_not_trained(call, place, tiny_model_file):
    (place / "registered").write_text(THESIS)
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "run", "--save-as", "mine"]
    refused(call, *words, saying="registered: is a file; give a folder")


# Predictions


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "areas.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def predict(model: Path, *images: object, output: str = "out") -> list[object]:
    words = ["predict", model, *images, "--output", output, "--engine", "keras"]
    return [*words, "--no-overlays"]


@pytest.mark.slow
def test_images_of_one_name_have_rows_and_masks_that_can_be_told_apart(
    call, place, tiny_model_file, own_images
):
    for number, folder in enumerate(("first", "second")):
        (place / folder).mkdir()
        shutil.copyfile(own_images / f"images/case{number}.png", place / folder / "scan.png")
    shutil.copyfile(own_images / "images" / "case2.png", place / "Scan.png")
    given = ["first", "second", "second/scan.png", "Scan.png"]  # One of them twice.
    status, said = call(*predict(tiny_model_file, *given), "--format", "png")
    assert status == 0, said
    rows = table(place / "out")
    assert [row["image"] for row in rows] == ["first/scan.png", "second/scan.png", "Scan.png"]
    assert len({row["mask"].lower() for row in rows}) == 3
    for row in rows:
        mask = cv2.imread(str(place / "out" / "masks" / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert np.count_nonzero(mask) == int(row["area_pixels"])
    # Further images join them; another image of a name that is taken does not.
    assert call(*predict(tiny_model_file, own_images / "images" / "case5.png"))[0] == 0
    assert [row["image"] for row in table(place / "out")][3:] == ["case5.png"]
    masks = sorted(path.name for path in (place / "out" / "masks").iterdir())
    assert masks == sorted(row["mask"] for row in table(place / "out"))
    # Without --format, no rows of the manifest are written; those that are there stay.
    assert call(*predict(tiny_model_file, "first"))[0] == 0
    assert len((place / "out" / "manifest.csv").read_text().splitlines()) == 1 + 3
    words = predict(tiny_model_file, "second/scan.png")
    refused(call, *words, saying="scan.png: is the mask of another image of this name")


@SLOW
@pytest.mark.parametrize("changed", ["masks/case0.png", "areas.csv"])
def test_predictions_that_were_changed_are_not_replaced(
    call, place, tiny_model_file, own_images, changed
):
    words = predict(tiny_model_file, own_images / "images" / "case0.png")
    assert call(*words)[0] == call(*words)[0] == 0  # The same again replaces its own.
    (place / "out" / changed).write_bytes(b"corrected by hand")
    refused(call, *words, saying=f"{changed}: was not written by this command, or has been changed")
    refused(
        call,
        *predict(tiny_model_file, own_images / "images" / "case1.png"),
        saying=f"{changed}: was not written by this command, or has been changed",
    )


def test_masks_of_other_settings_are_never_put_beside_a_table(
    call, place, tiny_model_file, own_images
):
    words = predict(tiny_model_file, own_images / "images" / "case0.png")
    assert call(*words)[0] == 0
    refused(call, *words, "--threshold", 0.3, saying="threshold was 0.5, now 0.3")
    refused(call, *words, "--mirror", saying="mirror was False, now True")


@pytest.mark.parametrize("name", ["masks/case0.png", "masks/other.png", "overlays/x", "areas.csv"])
def test_predictions_are_not_written_over_or_among_files_of_yours(
    call, place, tiny_model_file, own_images, name
):
    (place / "mine" / name).parent.mkdir(parents=True)
    (place / "mine" / name).write_text(THESIS)
    words = predict(tiny_model_file, own_images / "images" / "case0.png", output="mine")
    refused(call, *words, saying="but no predictions.json, so these are not predictions")
    (place / "mine" / "predictions.json").write_text('{"settings": "mine"}')
    refused(call, *words, saying="predictions.json: is not a record of predictions")


def test_protected_predictions_stop_nothing_halfway(call, place, tiny_model_file, own_images):
    image = own_images / "images" / "case0.png"
    assert call(*predict(tiny_model_file, image))[0] == 0
    (place / "out" / "masks" / "case0.png").chmod(0o444)
    refused(call, *predict(tiny_model_file, image), saying="case0.png: is write-protected")


def test_predictions_are_not_written_into_the_data(call, place, tiny_model_file, own_images):
    shutil.copytree(own_images, place / "data")
    shutil.rmtree(place / "data" / "masks")  # Masks put there would annotate these images.
    for output in ("data", "data/images"):
        words = predict(tiny_model_file, "data/images", output=output)
        refused(call, *words, saying="would be taken for ")


@SLOW
def test_predictions_that_were_killed_keep_the_rows_that_were_written(
    call, place, tiny_model_file, own_images, monkeypatch
):
    """As after a kill, only what was written in between is there: the end is never reached."""
    monkeypatch.setattr("kerasunet.cli.predict._SECONDS_BETWEEN_TABLES", -1)
    words = predict(tiny_model_file, own_images / "images")
    left = [3]

    def soon_dying(folder):
        left[0] -= 1
        return write(folder) if left[0] >= 0 else dying()

    write = verb._write_table
    with monkeypatch.context() as patch:
        patch.setattr(verb, "_write_table", soon_dying)
        with pytest.raises(SystemExit):
            call(*words)
    assert [row["mask"] for row in table(place / "out")] == [f"case{i}.png" for i in (0, 1, 10)]
    status, said = call(*predict(tiny_model_file, own_images / "images" / "case9.png"))
    assert status == 0, said
    masks = sorted(path.name for path in (place / "out" / "masks").iterdir())
    assert masks == sorted(row["mask"] for row in table(place / "out"))
    assert len(masks) == 4


@SLOW
@pytest.mark.parametrize("name", ["masks/case1.png", "overlays/case0.png"])
def test_a_file_of_yours_among_predictions_that_were_killed_is_not_replaced(
    call, place, tiny_model_file, own_images, monkeypatch, name
):
    """No row was written yet, so the record says of no file what is in it; the notes do."""
    words = ["predict", tiny_model_file, own_images / "images", "--output", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(verb, "_write_table", dying)
        with pytest.raises(SystemExit):
            call(*words)
    notes = place / "out" / ".predictions.json.written"
    written = [*(place / "out").glob("*/*.png"), place / "out" / "predictions.json"]
    assert len(notes.read_text().split()) == 2 * len(written) == 50  # A digest and a name.
    file = place / "out" / name
    own = file.read_bytes()
    file.write_bytes(b"corrected by hand")
    told = f"{name}: was not written by this command, or has been changed"
    refused(call, *words, saying=told)
    refused(call, *predict(tiny_model_file, own_images / "images" / "case3.png"), saying=told)
    file.write_bytes(own)
    known = notes.read_bytes()
    notes.unlink()
    notes.symlink_to(place / "thesis.txt")
    (place / "thesis.txt").write_text(THESIS)
    refused(call, *words, saying=".predictions.json.written: is a link; remove it")
    notes.unlink()
    notes.write_bytes(known)
    assert call(*words)[0] == 0 and len(table(place / "out")) == 12
    assert not notes.exists()


def dying(*_):
    """Stand for a kill: what was to come is not done."""
    raise SystemExit(9)


@SLOW
def test_predictions_that_were_interrupted_are_told_and_continued(
    call, place, tiny_model_file, own_images, monkeypatch
):
    row, left = predictions._row, [2]

    def stop(*words):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return row(*words)

    words = predict(tiny_model_file, own_images / "images")
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "_row", stop)
        assert call(*words) == (130, "stopped; 2 of 12 images are segmented, see out/\n")
    assert [row["mask"] for row in table(place / "out")] == ["case0.png", "case1.png"]
    status, said = call(*predict(tiny_model_file, own_images / "images" / "case11.png"))
    assert status == 0, said
    masks = sorted(path.name for path in (place / "out" / "masks").iterdir())
    assert masks == sorted(row["mask"] for row in table(place / "out"))
    assert len(masks) == 3
    assert call(*words)[0] == 0 and len(table(place / "out")) == 12


# Studies

STUDY = ["study", "--data", "simulated-xray:12", "--folds", 3, "--strategies", "none", "all"]
STUDY += ["--train-sizes", 4, "--image-size", 32, "--output", "study"]


def test_a_plan_writes_nothing(call, place, tiny_model_file):
    words = [*STUDY, "--init", tiny_model_file, "--no-estimate"]
    status, said = call(*words, "--plan")
    assert status == 0 and "runs        6, of which 6 remain" in said, said
    assert contents(place) == {}
    (place / "study").mkdir()
    assert call(*words, "--plan", "--batch-size", 5)[0] == 0  # No plan binds another.


def test_a_study_that_was_stopped_before_its_first_run_binds_nothing(
    call, place, tiny_model_file, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    words = [*STUDY, "--init", tiny_model_file]
    monkeypatch.setattr("kerasunet.study.execution.estimate_seconds", stop)
    assert call(*words)[0] == 130
    assert sorted(contents(place)) == ["study/study.json"]
    assert call(*words, "--plan", "--no-estimate", "--batch-size", 5)[0] == 0
    (place / "study" / "runs").mkdir()
    refused(call, *words, "--batch-size", 5, saying="batch_size was 8, now 5")


@pytest.mark.parametrize(
    ("name", "text", "saying"),
    [
        ("cases.csv", THESIS, "study: holds cases.csv but no study.json"),
        ("runs.csv.gz", THESIS, "study: holds runs.csv but no study.json"),
        ("study.json", '{"protocol": "mine"}', "study/study.json: is not the record of a study"),
        ("study.json", "[1]", "study/study.json: is not the record of a study"),
    ],
)
def test_a_study_is_not_written_over_files_of_yours(
    call, place, tiny_model_file, name, text, saying
):
    (place / "study").mkdir()
    (place / "study" / name).write_text(text)
    refused(call, *STUDY, "--init", tiny_model_file, saying=saying)


@pytest.mark.parametrize(
    "name", ["report.html", "tables/claims.csv", "figures/blocks.svg", "figures/network.png"]
)
def test_a_report_is_not_written_over_files_of_yours(call, place, name):
    make_study(place, "bus_bra")
    (place / "mine" / name).parent.mkdir(parents=True)
    (place / "mine" / name).write_text(THESIS)
    words = ["report", "bus_bra", "--output", "mine"]
    refused(call, *words, saying=f"mine/{name}: is not part of a report, or has been changed")


@SLOW
def test_a_report_replaces_its_own_even_one_that_was_killed(call, place):
    strategies = ("none", "contracting", "expanding", "all")
    less = {"train_sizes": (20,), "folds": (0, 1), "cases_per_fold": 4, "depth": 2}
    write_study(place / "study", strategies=strategies, **less)
    words = ["report", "study", "--output", "out"]
    assert call(*words)[0] == 0
    first = contents(place)
    (place / "out" / "tables" / "claims.csv").unlink()  # The page was written first.
    stale = place / "out" / "figures" / "training-images.png"  # As of a study with more sizes.
    assert not stale.exists()
    stale.write_bytes(b"of a report that was killed")
    record = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    write_json(place / "out" / "report.json", {"files": {**record["files"], TRAINING_IMAGES: None}})
    assert call(*words)[0] == 0
    assert contents(place) == first
    moved = place / "out" / "figures" / "blocks.png"
    moved.rename(place / "moved.png")
    moved.symlink_to("../../moved.png")
    (place / "out" / "report.html").unlink()
    assert call(*words)[0] == 0 and moved.is_symlink()
    (place / "out" / "report.html").unlink()
    table = place / "out" / "tables" / "claims.csv"
    known = table.read_text(encoding="utf-8")
    table.write_text(known.replace("\n", ",mine\n"), encoding="utf-8")
    refused(call, *words, saying="claims.csv: is not part of a report")
    table.write_text(known, encoding="utf-8")
    write_study(place / "study", strategies=strategies, **{**less, "cases_per_fold": 5})
    (place / "out" / "tables" / "auto.csv").chmod(0o444)
    refused(call, *words, saying="auto.csv: is write-protected")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tables/claims.csv", "figures/blocks.svg", "report.html"])
def test_a_file_of_yours_in_a_report_that_was_killed_is_not_replaced(
    call, place, monkeypatch, name
):
    make_study(place, "bus_bra", sizes=(20,))
    words = ["report", "bus_bra", "--output", "out"]
    with monkeypatch.context() as patch:
        patch.setattr("kerasunet.study.report.sha256", dying)  # When all files are there.
        with pytest.raises(SystemExit):
            call(*words)
    file = place / "out" / name
    own = file.read_bytes()
    file.write_bytes(own + b"my own words")
    refused(call, *words, saying=f"{name}: is not part of a report, or has been changed since")
    file.write_bytes(own)
    assert call(*words)[0] == 0
    assert not (place / "out" / ".report.json.written").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tables/claims.csv", "figures/blocks.svg", "report.html"])
def test_a_part_of_a_report_that_you_changed_is_not_replaced(call, place, name):
    make_study(place, "bus_bra", sizes=(20,))
    words = ["report", "bus_bra", "--output", "out"]
    assert call(*words)[0] == 0
    file, mine = place / "out" / name, place / "mine.txt"
    known = file.read_bytes()
    file.write_bytes(known + b"my own words")
    refused(call, *words, saying=f"{name}: is not part of a report, or has been changed since")
    mine.write_text(THESIS)
    file.unlink()
    file.symlink_to(mine)
    refused(call, *words, saying=f"{name}: is not part of a report, or has been changed since")
    mine.write_bytes(known)
    assert call(*words)[0] == 0 and file.is_symlink()


@pytest.mark.slow
def test_a_report_that_you_changed_stops_a_study_before_it_trains(call, place):
    words = ["study", "--data", "simulated-ultrasound:12", "--init", "scratch"]
    words += ["--strategies", "all", "--output", "study"]
    (place / "study" / "tables").mkdir(parents=True)
    for name in ("tables/claims.csv", "report.html"):
        written = {"files": {name: "the digest of what was written"}}
        (place / "study" / "report.json").write_text(json.dumps(written))
        (place / "study" / name).write_text(THESIS)
        refused(call, *words, saying=f"{name}: is not part of a report, or has been changed since")
        (place / "study" / name).unlink()
    (place / "study" / "report.json").unlink()
    (place / "study" / "report.html").write_text(THESIS)
    refused(call, *words, saying="report.html: is not part of a report")


@pytest.mark.slow
def test_a_report_without_a_record_is_replaced_if_its_tables_have_their_columns(call, place):
    make_study(place, "bus_bra", sizes=(20,))
    assert call("report", "bus_bra")[0] == 0
    (place / "bus_bra" / "report.json").unlink()
    assert call("report", "bus_bra")[0] == 0
    (place / "bus_bra" / "report.json").unlink()
    (place / "bus_bra" / "tables" / "claims.csv").write_text(THESIS)
    refused(call, "report", "bus_bra", saying="claims.csv: is not part of a report")


# The registry


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "adapt", "study", "predict"])
def test_nothing_is_written_into_the_folder_of_registered_models(call, place, verb):
    """Its `model.keras` would be registered, and its `config.json` be taken for a card."""
    (place / "registered").mkdir()
    given = {"adapt": ["data"], "predict": ["natural", "data"]}.get(verb, [])
    words = [verb, *given, "--output", "registered"]
    refused(call, *words, saying="registered: is the folder of the registered models")
    with (
        pytest.raises(ValueError, match="registered: is the folder of the registered models"),
        exclusive(place / "registered"),
    ):
        pass


def test_json_that_is_no_card_does_not_stop_the_registry(call, place):
    (place / "registered").mkdir()
    (place / "registered" / "notes.json").write_text('{"mine": 1}')
    (place / "registered" / "cut.json").write_text('{"mine')
    assert call("models")[0] == 0
    assert models.list() == ()
    with pytest.raises(ValueError, match="notes.json: not a model card"):
        models.card("notes")


@pytest.mark.parametrize("name", ["summary.json", "model.keras"])
def test_what_a_run_cannot_replace_stops_it_before_training(place, name):
    run = RunDirectory(place / "run")
    (run.path / name).mkdir(parents=True)
    with pytest.raises(NotWritten, match=f"{name}: is a folder or a device"):
        run.finished()
    (run.path / name).rmdir()
    run.overlays.symlink_to("nothing")
    with pytest.raises(NotWritten, match="overlays: is a file, or a link to nothing"):
        run.finished()


# Single files


@pytest.fixture(scope="module")
def writers(tiny_model_file, own_images, tmp_path_factory) -> dict[str, list[object]]:
    """Commands that write a single file, the name of which comes last."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder, "bus_bra", sizes=(20,))
    return {
        "evaluate": ["evaluate", tiny_model_file, "--data", "simulated-xray:2", "--csv"],
        "check": ["check", own_images, "--html"],
        "groups": ["check", own_images, "--groups"],
        "claims": ["claims", folder / "bus_bra", "--json"],
        "show": ["show", "--data", own_images, "--sheet"],
        "panel": ["panel", "--data", own_images, "--models", tiny_model_file, "--output"],
    }


ABLE = [*("evaluate", "check", "groups", "claims", "show"), pytest.param("panel", marks=SLOW)]
WRITERS = {
    "evaluate": "out.csv",
    "check": "out.html",
    "groups": "out.csv",
    "claims": "out.json",
    "show": "out.png",
    "panel": "out.png",
}


@pytest.mark.parametrize("verb", ABLE)
def test_a_file_is_replaced_only_by_the_command_that_wrote_it(call, place, writers, verb):
    name, words = WRITERS[verb], writers[verb]
    (place / name).touch()  # As `mktemp` leaves it: there is nothing to lose.
    status, said = call(*words, name)
    assert status == 0, said
    first = contents(place)
    assert call(*words, name)[0] == 0
    (place / name).write_bytes(b"")
    assert call(*words, name)[0] == 0
    assert contents(place) == first
    wrong = b"key,group\na,b\n" if verb == "groups" else b"key,dice,reader\nmine,1,me\n"
    for one in first:
        written = (place / one).read_bytes()
        (place / one).write_bytes(written + b"\n")  # Such as a row or a note of yours.
        refused(call, *words, name, saying=f"{one}: was changed since it was written; give another")
        (place / one).write_bytes(written)
    shutil.rmtree(cache_folder() / "written")  # As on another machine.
    for one in first:
        written = (place / one).read_bytes()
        (place / one).write_bytes(wrong)
        refused(call, *words, name, saying=f"{one}: ")
        (place / one).write_bytes(written)


@pytest.mark.parametrize("verb", WRITERS)
def test_a_device_or_a_folder_is_not_replaced(call, place, writers, verb):
    name = WRITERS[verb]
    os.mkfifo(place / name)
    refused(call, *writers[verb], name, saying=f"{name}: is a device or the like; give the name")
    (place / name).unlink()
    (place / name).mkdir()
    refused(call, *writers[verb], name, saying=f"{name}: is a folder; give the name of a file")


def test_a_protected_file_is_not_replaced(call, place, writers):
    assert call(*writers["check"], "out.html")[0] == 0
    (place / "out.html").chmod(0o444)
    refused(call, *writers["check"], "out.html", saying="out.html: is write-protected; change its")


def test_one_file_is_not_written_twice_by_one_command(call, place, own_images):
    words = ["check", own_images, "--html", "out", "--groups", "../" + place.name + "/out"]
    refused(call, *words, saying="out: named for two outputs; give each its own name")


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["check", "data", "--html"], "x.html"),
        (["check", "data", "--groups"], "x.csv"),
        (["show", "--data", "data", "--count", 2, "--sheet"], "x.png"),
    ],
)
def test_a_file_that_the_same_command_writes_meanwhile_stays(
    call, place, own_images, words, name, is_there
):
    """Of two commands at once that are given one file, the second says that it is too late."""
    shutil.copytree(own_images, place / "data")
    if is_there:
        assert call(*words, name)[0] == 0

    def be_first(_, path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_text(THESIS)

    with before_naming(be_first):
        status, said = call(*words, name)
    assert (status, f"{name}: was written by another process since" in said) == (2, True)
    assert (place / name).read_text() == THESIS
    assert not [*place.glob(".writing-*")]


def test_two_reports_into_one_folder_wait_for_each_other(call, place, monkeypatch):
    make_study(place, "bus_bra", sizes=(20,))
    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.2)
    (place / "out" / "figures").mkdir(parents=True)
    with processes.alone_in(place / "out" / "figures"):
        refused(call, "report", "bus_bra", "--output", "out", saying="out/figures: another process")


@pytest.mark.parametrize("output", ["data/images", "data/images/run"])
@pytest.mark.parametrize("verb", ["finetune", "pretrain", "study"])
def test_nothing_is_written_among_the_images(call, place, own_images, verb, output):
    shutil.copytree(own_images, place / "data")
    saying = f"{output}: lies among the images in {place / 'data' / 'images'}, so what is written"
    refused(call, verb, "--data", "data", "--output", output, saying=saying)


@pytest.mark.parametrize("folder", ["data/images", "flat"])
def test_no_picture_is_written_among_the_images(call, place, own_images, folder):
    shutil.copytree(own_images, place / "data")
    shutil.copytree(own_images / "images", place / "flat")
    words = ["show", "--data", folder.partition("/")[0], "--sheet", f"{folder}/pairs.png"]
    refused(call, *words, saying=f"{folder}/pairs.png: lies among the images in ")


@pytest.mark.parametrize("output", ["data/masks", "data/images/new"])
def test_nothing_is_written_among_the_images_of_other_data(
    call, place, own_images, tiny_model_file, output
):
    shutil.copytree(own_images, place / "data")
    scans = shutil.copytree(own_images / "images", place / "scans")
    make_study(place, "bus_bra", sizes=(20,))
    for words in (
        ["predict", tiny_model_file, scans, "--output", output],
        ["report", "bus_bra", "--output", output],
        ["show", "--data", "simulated-xray:2", "--sheet", f"{output}/sheet.png"],
    ):
        refused(call, *words, saying="lies among the images in")


def test_nothing_is_written_among_images_through_a_folder_that_is_a_link(call, place, own_images):
    shutil.copytree(own_images, place / "data")
    make_study(place, "bus_bra", sizes=(20,))
    for folder in ("nifti", "figures"):
        (place / "out").mkdir(exist_ok=True)
        (place / "out" / folder).symlink_to(place / "data" / "masks")
    known = predictions.PredictionDirectory(place / "out", {}, files={})
    with pytest.raises(ValueError, match="out/nifti: lies among the images in"):
        known.require_free({}, ["nifti/a.nii.gz"])
    saying = "out/figures: lies among the images in"
    refused(call, "report", "bus_bra", "--output", "out", saying=saying)
    shutil.copytree(place / "bus_bra", place / "other")
    assert call("report", "other")[0] == 0
    (place / "out" / "figures").unlink()
    (place / "out" / "tables").symlink_to(place / "other" / "tables")
    saying = "out/tables/strategies.csv: is not part of a report, or has been changed since"
    refused(call, "report", "bus_bra", "--output", "out", saying=saying)
    for name in ("tensorboard/train", "tensorboard"):
        folder = place / "run" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(place / "data" / "images")
        with pytest.raises(ValueError, match=f"run/{name}: lies among the images in"):
            RunDirectory(place / "run").claim(FinetuneSettings(), {})
        folder.unlink()
        shutil.rmtree(place / "run")


@pytest.mark.parametrize("name", ["manifest.csv", "Manifest.TSV", "_classes.csv"])
def test_no_table_is_called_like_the_list_of_a_data_set(call, place, own_images, name):
    data = shutil.copytree(own_images, place / "data")
    saying = f"{name}: this name is that of a list of images and masks"
    refused(call, "check", data, "--groups", f"data/{name}", saying=saying)


@pytest.mark.slow
def test_a_finished_run_is_shown_where_nothing_can_be_written(earlier, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert RunDirectory(earlier).finished()["chosen"] == "shallow:3"


def test_a_place_for_no_temporary_folder_is_named(place):
    (place / "file").write_text(THESIS)
    with (
        pytest.raises(NotWritten, match=r"file: cannot be written: Not a directory; there is a"),
        temporary_folder(place / "file", ".exporting-"),
    ):
        pass


def test_a_current_folder_that_is_gone_is_told(call, place, own_images, monkeypatch):
    (place / "gone").mkdir()
    monkeypatch.chdir(place / "gone")
    (place / "gone").rmdir()
    status, said = call("check", own_images, "--html", "report.html")
    assert (status, said.strip()) == (
        2, "error: the current folder is gone: removed or renamed; change to another one"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a\nb", "a\udce4"])
def test_an_output_whose_name_is_no_text_is_refused(call, place, own_images, name):
    refused(call, "check", own_images, "--html", name, saying=f"{name!r}: has characters that are")
    refused(call, "adapt", own_images, "--output", name, saying=f"{name!r}: has characters that")


def test_predictions_that_can_be_read_back_are_not_put_where_they_pass_for_annotations(
    call, place, own_images, tiny_model_file
):
    scans = shutil.copytree(own_images / "images", place / "scans")
    words = ["predict", tiny_model_file, scans, "--output", "scans/new", "--format", "labelme"]
    refused(call, *words, saying="masks written there would be taken for annotations")


def test_folders_below_images_that_are_not_read_may_be_written_to(place, own_images):
    shutil.copytree(own_images / "images", place / "flat")
    require_outside("flat/runs/mine", ["flat"])
    with pytest.raises(ValueError, match="flat: lies among the images in"):
        require_outside("flat", ["flat"])


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["finetune", "--data", "data"], "data"),
        (["finetune", "--data", "classes"], "classes"),
        (["study", "--data", "classes"], "classes/run"),
        (["adapt", "classes"], "classes/runs/mine"),
        (["predict", "MODEL", "data/images"], "data/masks"),
        (["predict", "MODEL", "data/images/case0.png"], "data/masks/new"),
        (["predict", "MODEL", "data/images"], "data/images/found"),
        (["predict", "MODEL", "classes", "--unannotated"], "classes/found"),
    ],
)
def test_nothing_is_written_where_the_data_would_be_read_with_it(
    call, place, own_images, tiny_model_file, words, output
):
    for folder in ("data", "classes/benign", "classes/malignant"):
        shutil.copytree(own_images, place / folder)
    given = [tiny_model_file if word == "MODEL" else word for word in words]
    refused(call, *given, "--output", output, saying=f"error: {output}: ")


def test_results_beside_images_and_masks_leave_the_data_as_they_are(place, own_images):
    for folder in ("data", "classes/benign"):
        shutil.copytree(own_images, place / folder)
    before = load("data").cases, load("classes").cases
    for data, output in (("data", "data/run"), ("classes", "classes/runs/mine")):
        require_outside(output, [data])
        shutil.copytree(own_images / "images", place / output / "overlays")
    check_outputs(
        "predict", argparse.Namespace(images=[Path("data/images")], output=Path("data/p"))
    )
    assert (load("data").cases, load("classes").cases) == before


def test_a_ranking_with_a_column_of_yours_is_not_replaced(place):
    options = argparse.Namespace(csv=place / "next.csv")
    header = next_marks()["csv"].decode()
    options.csv.write_text(header + "1,scan.png,,,0.9,0.9,0.0,0.9,1.0\n")
    check_outputs("next", options, next_marks)
    options.csv.write_text(header.replace("\n", ",done\n") + "1,scan.png,,,0.9,0.9,0,0.9,1,yes\n")
    with pytest.raises(FileExistsError, match="did not write"):
        check_outputs("next", options, next_marks)


def test_single_images_make_no_data_set_of_their_folder(place, own_images):
    """Where folders of classes would be one, masks of a single image may stand beside them."""
    for folder in ("benign", "malignant"):
        shutil.copytree(own_images, place / folder)
    given = argparse.Namespace(images=[Path("scan.png")], output=Path("found"))
    check_outputs("predict", given)
    with pytest.raises(ValueError, match="found: is the folder of the data, or would be read as"):
        check_outputs("predict", argparse.Namespace(images=[place], output=Path("found")))


def test_outputs_in_the_home_folder_are_there(call, place, own_images, monkeypatch):
    monkeypatch.setenv("HOME", str(place / "home"))
    assert call("check", own_images, "--html=~/out.html")[0] == 0
    assert sorted(contents(place)) == ["home/out.html"]


@pytest.mark.parametrize("words", [["--html", "~nobody1/out.html"], ["--html=~nobody1/out.html"]])
def test_the_home_folder_of_nobody_is_refused(call, own_images, words):
    saying = "~nobody1/out.html: nobody here has a home folder of this name; give the whole"
    refused(call, "check", own_images, *words, saying=saying)
    refused(call, "check", "~nobody1/out.html", saying=saying)


@pytest.mark.parametrize(
    ("target", "saying"),
    [("loop", "is a link that leads to itself; remove it"), ("nowhere", "is a link to nothing")],
)
def test_a_link_that_leads_to_no_folder_is_called_one(call, place, own_images, target, saying):
    (place / "loop").symlink_to("loop")
    (place / "out").symlink_to(target)
    refused(call, "predict", "natural", own_images, "--output", "out", saying=f"out: {saying}")
    if target == "loop":
        refused(call, "check", own_images, "--html", "out", saying=f"out: {saying}")
        refused(call, "check", "out", saying=f"out: {saying}")


def test_a_record_that_cannot_be_read_is_told_with_a_remedy(place):
    (place / "predictions.json").write_text(THESIS)
    with pytest.raises(ValueError, match=r"readable JSON file \(.*\); use another output folder"):
        predictions.PredictionDirectory.open(place, {})


def test_a_folder_of_yours_is_not_taken_for_what_a_killed_command_left(place):
    mine = [".writing-novel/one.txt", ".writing-notes_v2/one.txt", ".writing-notes_v2/two.txt"]
    left = [".writing-a1b2c3d4/config.json", "overlays/.writing-_9zzzzzz/x.png"]
    for name in (*mine, *left):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(THESIS)
    with exclusive(place):
        assert sorted(contents(place)) == sorted(mine)


def test_a_folder_that_a_clean_up_took_before_it_was_locked_is_made_again(place, monkeypatch):
    """Of another process, which found the folder and no lock on it."""
    taken = []

    def late(path, **options):
        if not taken:
            taken.append(path)
            remove_left(path.parent, ".writing-")
        return lock(path, **options)

    monkeypatch.setattr(files, "lock", late)
    with temporary_folder(place, ".writing-") as folder:
        assert not taken[0].exists() and folder != taken[0]
        remove_left(place, ".writing-")
        remove_unfinished(place)
        assert folder.is_dir()
    assert contents(place) == {}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a full device")
def test_a_full_standard_output_is_named(tmp_path):
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "kerasunet", "models"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: cannot be written: No space left")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
def test_closed_standard_streams_change_no_result(place, own_images, tiny_model_file):
    """Otherwise a file gets their numbers, and receives what libraries print."""
    words = [sys.executable, "-m", "kerasunet", "predict", tiny_model_file, own_images / "images"]
    command = shlex.join([*map(str, words), "--output", "masks"])
    done = subprocess.run(f"exec {command} <&- >&- 2>&-", shell=True, check=False)
    assert done.returncode == 0
    assert len([*(place / "masks" / "masks").iterdir()]) == 12


def test_of_two_tables_of_one_study_none_is_taken(call, place):
    make_study(place, "bus_bra")
    (place / "bus_bra" / "cases.csv.gz").write_bytes(b"older")
    refused(call, "claims", "bus_bra", saying="cases.csv.gz: lies beside cases.csv, so which of")


@pytest.mark.slow
def test_the_table_of_a_run_is_not_replaced_by_another(call, earlier, writers):
    refused(call, *writers["evaluate"], "run/cases.csv", saying="run/cases.csv: is the table of a")


def test_the_table_of_a_study_is_not_replaced_by_another(call, place, writers):
    make_study(place, "bus_bra")
    saying = "bus_bra/cases.csv: is the table of a study; give another file"
    refused(call, *writers["evaluate"], "bus_bra/cases.csv", saying=saying)


def test_nothing_is_written_into_a_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotWritten, match="pipe: is a folder or a device"):
        write_json(tmp_path / "pipe", {})
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


# Ctrl-C


def everything_from(terminal: int) -> str:
    """Read a pseudo-terminal, whose other end is closed, to its end: one read may give a part."""
    said = b""
    with suppress(OSError):  # Linux reports the end as an input/output error.
        while part := os.read(terminal, 1 << 16):
            said += part
    os.close(terminal)
    return said.decode()


def test_the_cursor_comes_back_however_training_ends(monkeypatch):
    from kerasunet.cli.training import ProgressBar
    from kerasunet.training import Optimization

    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(KeyboardInterrupt), ProgressBar(Optimization()) as bar:
            bar.callback().on_train_begin()
            raise KeyboardInterrupt
    said = everything_from(ours)
    assert 0 <= said.find("\x1b[?25l") < said.rfind("\x1b[?25h")


@SLOW
@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (1, "no step is kept yet; the same command starts over"),
        (2, "the same command resumes from the last checkpoint in run"),
    ],
)
def test_ctrl_c_says_what_is_kept(call, tiny_model_file, monkeypatch, step, kept):
    from kerasunet.cli.training import ProgressBar

    def stop(self, epoch, logs=None):
        if epoch == step - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_begin", stop)
    status, said = call("finetune", "--init", tiny_model_file, *XRAYS, "--output", "run")
    assert (status, said.splitlines()[-1]) == (130, f"stopped; {kept}")
    assert (Path("run") / "checkpoint.npz").is_file() == (step == 2)


def test_ctrl_c_promises_nothing_where_nothing_is_kept(call, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("kerasunet.data.checking.check", stop)
    assert call("check", "simulated-xray:3") == (130, "stopped\n")


@pytest.mark.parametrize(
    "words",
    [
        ("check", ""),
        ("finetune", "--data", "", "--layers", "all"),
        ("finetune", "--data", "simulated-xray:12", "--output", " ", "--layers", "all"),
        ("check", "simulated-xray:3", "--html="),
    ],
)
def test_an_empty_value_does_not_mean_this_folder(call, words):
    """As of a variable that is not set."""
    refused(call, *words, saying="the value is empty")
    with pytest.raises(ValueError, match="the name of the data is empty"):
        load("")


@pytest.mark.parametrize("line", ["stop()", "exec('stop()')"])
def test_sigterm_ends_a_verb_like_ctrl_c(tmp_path, line):
    """In a process of its own: what starts tests need not do so in its main thread.

    What interrupts code that was compiled from text, as of dataclasses, Python takes for unhandled.
    """
    code = (
        "import os, signal, sys, time\n"
        "import kerasunet.data.checking.data_set as data_set\n"
        "from kerasunet import cli\n"
        "def stop(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(5)\n"
        f"data_set.check = lambda *_, **__: {line}\n"
        "status = cli.main(['check', 'simulated-xray:3'])\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "sys.exit(status)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "stopped\n")


def test_a_warning_made_an_error_is_no_fault(call, monkeypatch):
    def warn(*_, **__):
        warnings.simplefilter("error")
        warnings.warn("a.dcm: its RescaleSlope is 0 and was ignored", FileWarning, stacklevel=1)

    monkeypatch.setattr("kerasunet.data.checking.check", warn)
    status, said = call("check", "simulated-xray:3")
    assert status == 2 and said.startswith("error: a.dcm: its RescaleSlope is 0 and was ignored (a")

"""Nothing of the user's is lost: every verb on outputs that exist, are foreign, or half written."""

from __future__ import annotations

import hashlib
import os
import pty
import shutil
import sys
from pathlib import Path

import pytest

from kerasunet import models
from kerasunet.cli import main
from kerasunet.runs.directory import RunDirectory

THESIS = "years of work"
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


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["--image-size", 42], "image size 42: this U-Net needs a multiple of"),
        (["--keep", "best", "--validation-size", 0], "keep='best' and patience need validation"),
        (["--layers", "nothing"], "nothing: no block or layer of this name"),
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
    import cv2
    import numpy as np
    from helpers.images import disc_images

    folder = tmp_path_factory.mktemp("own")
    images, masks = disc_images(12, size=40)
    for name, pictures in (("images", images), ("masks", masks.astype(np.uint8) * 255)):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(folder / name / f"case{number}.png"), picture)
    return folder


@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_a_restart_never_removes_the_start_it_was_given(call, earlier, verb):
    words = [verb, "--init", "run/model.keras", "--image-size", 32]
    refused(call, *words, "--output", "run", "--restart", saying="--init needs it; use another")


def test_a_restart_removes_the_run_and_nothing_else(call, earlier, tiny_model_file):
    (earlier / "overlays" / "mine.png").write_bytes(b"mine")
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--layers", "head", "--output", "run"]
    refused(call, *words, saying="layers was 'shallow:3', now 'head'")
    status, said = call(*words, "--restart")
    assert status == 0, said
    assert (earlier / "thesis.txt").read_text() == THESIS
    assert (earlier / "overlays" / "mine.png").read_bytes() == b"mine"
    assert models.card(earlier / "model.keras").strategy == "head"
    RunDirectory(earlier).clear()
    assert sorted(contents(earlier)) == ["overlays/mine.png", "thesis.txt"]


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


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "no JSON"])
def test_a_configuration_of_something_else_is_not_a_run(call, place, tiny_model_file, text):
    (place / "mine").mkdir()
    (place / "mine" / "config.json").write_text(text)
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--output", "mine"]
    refused(call, *words, saying="mine/config.json: ")
    refused(call, *words, "--restart", saying="mine/config.json: ")


def test_a_registered_model_is_not_replaced_by_another(call, place, earlier, tiny_model_file):
    registered = models.register(earlier / "model.keras", "mine")
    words = ["finetune", "--init", tiny_model_file, *XRAYS, "--save-as", "mine", "--output"]
    status, said = call(*words, "run", "--half-precision")  # The same model may be stored anew.
    assert status == 0 and models.card("mine").storage == "float16", said
    refused(call, *words, "other", saying=f"{registered}: is registered already, and is another")
    refused(call, *words, "run", "--restart", saying="choose another name, or remove that model")
    with pytest.raises(FileExistsError, match="is another model"):
        models.register(tiny_model_file, "mine")


# Ctrl-C


def test_the_cursor_comes_back_however_training_ends(monkeypatch):
    from kerasunet.cli.progress import ProgressBar
    from kerasunet.training import Optimization

    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(KeyboardInterrupt), ProgressBar(Optimization()) as bar:
            bar.on_train_begin()
            raise KeyboardInterrupt
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert 0 <= said.find("\x1b[?25l") < said.rfind("\x1b[?25h")


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (1, "no step is kept yet; the same command starts again"),
        (2, "the same command resumes from the last checkpoint in run"),
    ],
)
def test_ctrl_c_says_what_is_kept(call, tiny_model_file, monkeypatch, step, kept):
    from kerasunet.cli.progress import ProgressBar

    def stop(self, epoch, logs=None):
        if epoch == step - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_begin", stop)
    status, said = call("finetune", "--init", tiny_model_file, *XRAYS, "--output", "run")
    assert (status, said.splitlines()[-1]) == (130, f"stopped; {kept}")
    assert (Path("run") / "checkpoint.npz").is_file() == (step == 2)


def test_ctrl_c_promises_nothing_where_nothing_is_kept(call, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kerasunet.data.checking.check", stop)
    assert call("check", "simulated-xray:3") == (130, "stopped\n")

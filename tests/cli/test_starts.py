"""A lab's own start: pre-trained, registered, listed, and what a fine-tuning then begins with."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from kerasunet import models
from kerasunet.cli import main
from kerasunet.data.identification import guess_of_all
from kerasunet.data.loading import load
from kerasunet.files import read_json

pytestmark = pytest.mark.slow
SHORT = ["--steps", "2", "--batch-size", "2", "--validate-every", "2"]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    """Pre-train and register a tiny start for ultrasound; return the folder of models."""
    folder = tmp_path_factory.mktemp("lab")
    words = ["--data", "simulated-ultrasound:6", "--validation-data", "simulated-ultrasound:4"]
    words += ["--image-size", "64", "--smallest-size", "32", "--largest-size", "64"]
    words += ["--augmentation", "ultrasound", "--base-filters", "2", "--depth", "2", *SHORT]
    words += ["--output", str(folder / "run"), "--save-as", "lab", "--half-precision"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASUNET_MODELS", str(folder / "models"))
        assert main(["models"]) == 0  # One verb after another in a process.
        assert main(["pretrain", *words]) == 0
    return str(folder / "models")


@pytest.fixture(autouse=True)
def registry(start, monkeypatch):
    monkeypatch.setenv("KERASUNET_MODELS", start)


def test_the_card_says_what_the_start_is_for_and_what_it_has_seen(capsys):
    card = models.card("lab")
    assert card.is_start and card.kind_of_image == "ultrasound" and card.storage == "float16"
    assert card.trained_sizes == (32, 64) and len(card.seen) == 6
    assert card.settings["augmentation"]["shadow"] > 0
    assert main(["models"]) == 0
    assert "lab    start: ultrasound" in capsys.readouterr().out


def test_the_list_names_copies_by_their_names_and_shows_no_card_of_another_file(
    start, tmp_path, monkeypatch, capsys
):
    folder = shutil.copytree(start, tmp_path / "copied")
    for suffix in (".keras", ".json"):
        shutil.copy(folder / f"lab{suffix}", folder / f"twin{suffix}")
        shutil.copy(folder / f"lab{suffix}", folder / f"other{suffix}")
    with open(folder / "other.keras", "ab") as file:
        file.write(b"changed")
    monkeypatch.setenv("KERASUNET_MODELS", str(folder))
    assert main(["models"]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert said.keys() == {"lab", "twin", "other"}
    assert "start: ultrasound" in said["twin"]
    assert "or with that of another file" in said["other"] and "ultrasound" not in said["other"]


@pytest.mark.filterwarnings("always:.* has seen ")
@pytest.mark.parametrize(
    ("data", "init", "seen"),
    [("simulated-ultrasound:10", "lab", True), ("simulated-xray:10", "lab", False)],
)
def test_held_out_images_that_the_start_has_seen_are_told(tmp_path, capsys, data, init, seen):
    """Else Dice on them would look like Dice on new patients."""
    words = ["--data", data, "--init", init, "--image-size", "32"]
    run = [*words, "--layers", "head", *SHORT, "--output", str(tmp_path / "run")]
    study = [*words, "--plan", "--no-estimate", "--output", str(tmp_path / "study")]
    for verb, given in (("finetune", run), ("study", [*study, "--strategies", "none"])):
        assert main([verb, *given]) == 0
        told = capsys.readouterr().err
        assert (f"warning: {init} has seen " in told) is seen, verb


def finetune(tmp_path, capsys, data: str, *words: str) -> str:
    """Fine-tune for two steps, and return what was printed."""
    words = ("--data", data, "--image-size", "32", "--layers", "head", *SHORT, *words)
    assert main(["finetune", *words, "--output", str(tmp_path / "run")]) == 0
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.* has seen ")
def test_a_finetuning_begins_with_the_start_that_fits_unless_told_otherwise(tmp_path, capsys):
    told = finetune(tmp_path, capsys, "simulated-ultrasound:10")
    assert "start       lab; --init takes another" in told
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["settings"]["init"] == "lab"
    again = finetune(tmp_path, capsys, "simulated-ultrasound:10", "--init", "lab")
    assert "start " not in again


@pytest.mark.filterwarnings("ignore:.* has seen ")
def test_a_run_goes_on_with_the_start_that_it_began_with(tmp_path, capsys):
    models.register(models.folder() / "lab.keras", "other")
    finetune(tmp_path, capsys, "simulated-ultrasound:10", "--init", "other")
    assert "start       other" in finetune(tmp_path, capsys, "simulated-ultrasound:10")


def test_modality_is_guessed_from_some_images():
    for kind, name in (("xray", "simulated-xray:5"), ("ultrasound", "simulated-ultrasound:5")):
        assert guess_of_all(case.load().image for case in load(name).cases) == kind
    colored = np.random.default_rng(0).uniform(0, 255, (20, 20, 3))
    assert guess_of_all([colored]) == "photograph" and guess_of_all([]) is None

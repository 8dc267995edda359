"""The panel of masks of saved models: which cases it picks, and from which it may pick."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kerasunet.cli import main
from kerasunet.data import load
from kerasunet.metrics import dice
from kerasunet.models.model_card import read_card, write_card

DATA = "simulated-xray:24"


@pytest.fixture(scope="module")
def tuned(tiny_model_file, tmp_path_factory):
    """Return a run directory: the tiny model fine-tuned on DATA for a few steps."""
    from kerasunet.training import FinetuneSettings, Optimization, finetune

    settings = FinetuneSettings(
        layers="all",
        init=str(tiny_model_file),
        data=DATA,
        train_size=8,
        validation_size=0,
        folds=3,
        image_size=32,
        optimization=Optimization(steps=6, batch_size=4, validate_every=6),
    )
    return finetune(settings, tmp_path_factory.mktemp("tuned"))


def scores(run) -> dict[str, float]:
    """Dice of the run's held-out cases at the size of their images."""
    from kerasunet.inference.segmenter import Segmenter

    keys = [line.split(",")[0] for line in (run.directory / "cases.csv").read_text().split()[1:]]
    segment = Segmenter(run.directory / "model.keras", engine="keras")
    samples = {case.key: case.load() for case in load(DATA, size=32).select(keys)}
    return {key: dice(s.mask, segment(s.image).mask) for key, s in samples.items()}


@pytest.mark.slow
def test_picks_typical_best_and_worst_of_the_held_out_cases(tuned, tiny_model_file):
    from kerasunet.study.figures.mask_panel import draw_models

    models = {"before": str(tiny_model_file), "after": str(tuned.directory / "model.keras")}
    drawing = draw_models(models, DATA)
    found = scores(tuned)
    assert len(found) == 8 and "of the 8 held-out cases" in drawing.caption
    told = dict(part.split(" case ") for part in drawing.alt.split(". ")[1:])
    picked = {kind: text.split(":")[0] for kind, text in told.items()}
    assert found[picked["best"]] == max(found.values())
    assert found[picked["worst"]] == min(found.values())
    assert found[picked["typical"]] in np.sort(list(found.values()))[3:5]
    assert f"after Dice {found[picked['best']]:.3f}" in told["best"]
    picked_by_before = draw_models(models, DATA, by="before").caption
    assert "“before”" in picked_by_before
    file = tuned.directory / "model.keras"
    known = read_card(file.with_suffix(".json"))
    write_card(file, replace(known, start_saw=2))
    told = f"its start has seen 2 of the {known.metrics['n']} held-out cases, or others"
    assert told in draw_models({"after": str(file)}, DATA).caption and told not in drawing.caption
    write_card(file, known)


@pytest.mark.slow
def test_cases_that_cannot_be_told_from_training_cases_are_refused(tuned):
    from kerasunet.study.figures.mask_panel import draw_models

    file = tuned.directory / "model.keras"
    models, card = {"after": str(file)}, read_card(file.with_suffix(".json"))
    told = draw_models(models, "simulated-xray:30")
    assert "of the 22 held-out cases" in told.caption
    write_card(file, replace(card, seen=()))  # As an older version did.
    with pytest.raises(ValueError, match="after: it is unknown which cases of simulated-xray:30"):
        draw_models(models, "simulated-xray:30")
    with pytest.raises(ValueError, match="before: no such model; choose from after"):
        draw_models(models, DATA, by="before")
    other = draw_models(models, "simulated-ultrasound:5")
    assert "of the 5 held-out cases" in other.caption
    write_card(file, card)


@pytest.mark.slow
def test_command_line_draws_a_panel(tuned, tiny_model_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["panel", "--data", "simulated-ultrasound:3", "--output", "out/panel.png"]
    models = [f"pre-trained={tiny_model_file}", str(tuned.directory / "model.keras")]
    assert main([*words, "--models", *models]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == ["out/panel.png", "out/panel.svg"]
    with Image.open(tmp_path / "out" / "panel.png") as image:
        assert "pre-trained Dice" in image.info["Description"]
        assert "the best and the worst of the 3 held-out cases" in image.info["Comment"]
        assert "“pre-trained” is none (model, pre-trained, not fine-tuned" in image.info["Comment"]
        assert "“all” is all (from model.keras, 6 steps, 32×32 pixels" in image.info["Comment"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--models", "natural", "natural"],
            "already a column natural, not fine-tuned",
        ),
        (["--models", "nonsense"], "nonsense: neither a registered model"),
        (["--models", "natural", "--output", "panel.jpg"], "panel.jpg: give the name of a PNG"),
        (["--models", "natural", "--output", "panel.PNG"], "panel.PNG: give the name of a PNG"),
    ],
)
def test_command_line_refuses_in_one_line(call_cli, words, message):
    done = call_cli("panel", "--data", "simulated-xray:3", *words)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_folder_in_place_of_the_drawing_is_named_with_a_remedy(call_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "panel.svg").mkdir()
    done = call_cli("panel", "--data", "simulated-xray:3", "--models", "natural")
    assert done.returncode == 2
    assert "panel.svg: is a folder or a device; give the name of a file" in done.stderr

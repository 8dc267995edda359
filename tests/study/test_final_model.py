"""`study --final`: the best strategy, trained on all images, and the answer in words."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from helpers.images import disc_images
from helpers.placed_files import nifti

from kerasunet import models
from kerasunet.data import load
from kerasunet.data.identification import image_identities
from kerasunet.metrics import unit_in_words


@pytest.mark.slow
def test_a_study_ends_in_words_and_with_a_model(call_cli, tiny_model_file):
    words = ["study", "--data", "simulated-ultrasound:12", "--strategies", "all", "none"]
    words += ["--train-sizes", "6", "--folds", "2", "--steps", "4", "--image-size", "32"]
    words += ["--init", tiny_model_file, "--no-estimate", "--no-report", "--output", "study"]
    first = call_cli(*words)
    assert first.returncode == 0, first.stderr
    assert "On simulated-ultrasound with 6 images, tune " in first.stdout
    assert "The next best, " in first.stdout and "decided" in first.stdout
    assert "95 % interval" in first.stdout and ", over 12 images)" in first.stdout
    done = call_cli(*words, "--final")
    assert "runs        4, of which 0 remain" in done.stdout
    card = models.card("study/model.keras")
    assert f"tune {card.strategy}:" in done.stdout
    assert f"--final trains {card.strategy} on all 12 images" in first.stdout
    assert len(card.seen) == 16 + 12, "those that its start has seen, and all of these"
    assert card.metrics["n"] == 12
    assert keras.models.load_model("study/model.keras").count_params() == card.parameters
    made = Path("study/model.keras").read_bytes()
    assert call_cli(*words, "--final").returncode == 0
    assert Path("study/model.keras").read_bytes() == made, (
        "of the same results, it is not made anew"
    )
    mine = Path(tiny_model_file).read_bytes()
    Path("study/model.keras").write_bytes(mine)  # Beside the card of the one that it replaced.
    assert "move both away" in call_cli(*words, "--final").stderr
    assert Path("study/model.keras").read_bytes() == mine
    Path("study/model.keras").write_bytes(made)
    Path("study/model.json").write_text("years of work", encoding="utf-8")
    refused = call_cli(*words, "--final")
    assert refused.returncode == 2
    assert "is not the final model of a study; move both away" in refused.stderr
    assert Path("study/model.json").read_text(encoding="utf-8") == "years of work"


@pytest.mark.slow
def test_what_you_added_to_a_study_stays(call_cli, tiny_model_file):
    """Files, a note in its record, columns in tables; evaluations on its final model are told."""
    words = ["study", "--data", "simulated-ultrasound:12", "--train-sizes", "6", "--folds", "2"]
    words += ["--only-folds", "0", "--steps", "2", "--image-size", "32", "--init", "start.keras"]
    words += ["--no-estimate", "--no-report", "--output", "study", "--strategies", "none"]
    known = models.card(tiny_model_file)
    seen = image_identities(load("simulated-ultrasound:12").cases).values()
    models.save(models.load(tiny_model_file), "start.keras", replace(known, seen=(*seen,)))
    own = Path("study/runs/final/notes.txt")
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = call_cli(*words, "--final")
    assert done.returncode == 0
    assert "warning: start.keras has seen 6 of the 6 held-out cases, or others" in done.stderr
    assert "the start, start.keras, has seen 6 of the 6 held-out cases, or others" in done.stdout
    card = Path("study/model.md").read_text(encoding="utf-8")
    assert "## Held-out cases; its start has seen 6 of them, or others of their patients" in card
    evaluated = ["evaluate", "study/model.keras", "--data", "simulated-xray:4", "--record"]
    assert call_cli(*evaluated, "--include-seen").returncode == 0
    record = Path("study/study.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "note": "mine"}))
    for name in ("cases.csv", "runs.csv"):
        table = pd.read_csv(f"study/{name}").assign(mine="seen")
        if name == "cases.csv":
            table["dice"] = 0.0  # Whatever comes next is better.
        table.to_csv(f"study/{name}", index=False)
    for folder in Path("study/runs").glob("fold*"):  # Which would know a better Dice.
        shutil.rmtree(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = call_cli(*words, "all", "--final")
    assert "evaluations on simulated-xray were recorded for the earlier model" in done.stderr
    assert json.loads(record.read_text())["note"] == own.read_text() == "mine"
    assert not [*Path("study").glob(".final-*")]
    for name in ("cases.csv", "runs.csv"):
        table = pd.read_csv(f"study/{name}")
        assert (table.mine.fillna("") == table.strategy.map({"none": "seen", "all": ""})).all()


@pytest.mark.slow
@pytest.mark.parametrize("objects", [[], ["lungs", "heart"]])
def test_the_card_of_a_final_model_says_what_the_study_says(call_cli, tiny_model_file, objects):
    """Each case counts once, however many disjoint training sets and seeds measured it."""
    strategy = "all" if objects else "none"
    words = ["study", "--data", "simulated-xray:14", "--strategies", strategy, "--seeds", "2"]
    words += ["--objects", *objects] if objects else []
    words += ["--development-size", "2", "--disjoint", "--folds", "3", "--only-folds", "0", "1"]
    words += ["--train-sizes", "4", "--steps", "2", "--image-size", "32", "--init"]
    words += [tiny_model_file, "--no-estimate", "--no-report", "--output", "study", "--final"]
    done = call_cli(*words)
    assert done.returncode == 0, done.stderr
    metrics = models.card("study/model.keras").metrics
    table = pd.read_csv("study/cases.csv")
    assert metrics["n"] == table["key"].nunique() == 12
    assert metrics["missed"] <= 12 * max(len(objects), 1) and metrics["empty_truth"] == 0
    for name in objects:
        one, own = metrics["objects"][name], table[table["object"] == name]
        assert one["n"] == 12 and one["missed"] <= 12
        assert one["dice"]["mean"] == pytest.approx(own.groupby("fold")["dice"].mean().mean())
    low, high = (f"{metrics['dice'][end]:.3f}" for end in ("low", "high"))
    mean, bounds = f"{metrics['dice']['mean']:.3f}", f"{low} to {high}"
    told = f"Dice {mean} on images left out (95 % interval {bounds}, over 2 disjoint training sets"
    assert told in done.stdout, "the interval of patients alone would be narrower"
    assert f"model.keras, {strategy}, trained on {12 if objects else 0} images" in done.stdout


@pytest.mark.slow
def test_where_only_some_images_have_a_spacing_all_folds_are_in_pixels(call_cli, tiny_model_file):
    """In the fold that tests only images with one, distances would be millimeters."""
    images, masks = disc_images(12, size=40)
    for folder, pictures in (("images", images), ("masks", masks)):
        Path("data", folder).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            if number < 11:
                nifti(Path("data", folder, f"{number}.nii.gz"), picture[None])
            else:
                cv2.imwrite(f"data/{folder}/{number}.png", picture.astype(np.uint8) * 255)
    words = ["study", "--data", "data", "--strategies", "none", "--train-sizes", 4, "--folds", 2]
    words += ["--image-size", 32, "--init", tiny_model_file, "--no-estimate", "--output", "study"]
    done = call_cli(*words, "--final")
    assert done.returncode == 0, done.stderr
    assert "distances   px: 1 of 12 images have no pixel spacing" in done.stdout
    cases = pd.read_csv("study/cases.csv")
    assert (len(cases), set(cases["unit"])) == (12, {"px"})
    card = models.card("study/model.keras")
    assert unit_in_words(card.metrics) == "px: 1 of 12 images have no pixel spacing"
    assert card.metrics["hd95"]["mean"] == pytest.approx(cases["hd95"].mean(), rel=1e-4)
    assert "1 of 12 images have no pixel spacing" in Path("study/report.html").read_text()
    table = Path("study/cases.csv")
    table.write_text(table.read_text().replace(",px\n", ",mm\n", 1))
    assert "has distances in mm for some runs" in call_cli(*words).stderr

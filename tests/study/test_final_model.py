"""`study --final`: the best strategy, trained on all images, and the answer in words."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from kerasunet import models


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
    assert f"--final trains {card.strategy} on all images" in first.stdout
    assert len(card.seen) == 16 + 12, "those that its start has seen, and all of these"
    assert card.metrics["n"] == 12
    assert keras.models.load_model("study/model.keras").count_params() == card.parameters
    made = Path("study/model.keras").read_bytes()
    assert call_cli(*words, "--final").returncode == 0
    assert Path("study/model.keras").read_bytes() == made, (
        "of the same results, it is not made anew"
    )
    Path("study/model.json").write_text("years of work", encoding="utf-8")
    refused = call_cli(*words, "--final")
    assert refused.returncode == 2
    assert "is not the final model of a study; move both away" in refused.stderr
    assert Path("study/model.json").read_text(encoding="utf-8") == "years of work"

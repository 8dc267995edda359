"""`study --final`: the best strategy, trained on all images, and the answer in words."""

from __future__ import annotations

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
    assert "--final trains it on all images" in first.stdout
    done = call_cli(*words, "--final")
    assert "runs        4, of which 0 remain" in done.stdout
    card = models.card("study/model.keras")
    assert f"tune {card.strategy}:" in done.stdout
    assert len(card.seen) == 16 + 12, "those that its start has seen, and all of these"
    assert card.metrics["n"] == 12
    assert keras.models.load_model("study/model.keras").count_params() == card.parameters

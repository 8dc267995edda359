"""Model cards: from JSON and back without a change, older ones included, and told as Markdown."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kerasunet import models
from kerasunet.architecture import Architecture
from kerasunet.models.model_card import ModelCard, parse_card, write_card

CARDS = sorted(models.folder().glob("*.json"))


@pytest.fixture
def values() -> dict:
    """The JSON of a shipped card with two evaluations."""
    return json.loads((models.folder() / "xray-all.json").read_text(encoding="utf-8"))


def test_there_is_a_card_for_every_shipped_model():
    assert {path.stem for path in CARDS} == {*models.list()} and len(CARDS) == 18


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_cards_are_written_again_byte_for_byte(path, tmp_path):
    values = json.loads(path.read_text(encoding="utf-8"))
    assert ModelCard.from_json(values).to_json() == values
    write_card(tmp_path / path.name, models.card(path.stem))
    for suffix in (".json", ".md"):
        written = (tmp_path / path.name).with_suffix(suffix).read_bytes()
        assert written == path.with_suffix(suffix).read_bytes()


def test_values_are_attributes(values):
    card = ModelCard.from_json(values)
    assert card.architecture == Architecture() and card.classes == 1
    assert card.data == card.evaluation_data == card.held_out.data
    assert card.data.name == "shenzhen"
    assert card.held_out.dice.mean == values["metrics"]["dice"]["mean"]
    plain, mirrored = card.evaluations
    assert not plain.mirrored and mirrored.mirrored
    assert plain.dice.low == values["evaluations"][0]["metrics"]["dice"]["low"]


def test_a_list_says_if_only_some_labels_were_held_out(values):
    values["settings"]["labels"] = ["benign", "malignant"]
    card = ModelCard.from_json(values)
    words = card.held_out.differences(card.image_size, card.threshold)
    assert words == ", only benign malignant"
    values["settings"]["labels"] = 5
    with pytest.raises(ValueError, match=r"settings.labels"):
        ModelCard.from_json(values)


def test_what_an_older_card_lacks_is_what_it_was_then(values):
    for name in ("storage", "evaluations"):
        del values[name]
    del values["data"]["digest"]
    card = ModelCard.from_json(values)
    assert (card.storage, card.evaluations, card.data.digest) == ("float32", (), "")
    assert card.to_json() == values
    assert "| storage | float32 |" in card.to_markdown()


def test_values_of_a_newer_card_are_kept(values):
    newer = {**values, "sites": ["left", "right"]}
    card = replace(ModelCard.from_json(newer), name="mine")
    assert card.to_json() == {**newer, "name": "mine"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda card: card.clear(),
            "m.json: not a model card: name is missing; title is missing; ",
        ),
        (lambda card: card.update(data=[]), "data is not an object with name, cases, terms, cit"),
        (lambda card: card.update(saved="\x1b[2J"), "saved is not text without control"),
        (lambda card: card["data"].update(digest=5), "digest is not text without control"),
        (lambda card: card["evaluations"][1].update(mirrored=1), "mirrored is not true or false"),
        (lambda card: card.update(evaluations={}), "evaluations is not a list"),
        (lambda card: card["evaluations"].append(3), "evaluations 3 is not an object with data, "),
        (
            lambda card: card["architecture"].pop("classes"),
            "not a model card: architecture.classes is missing;",
        ),
    ],
)
def test_what_is_wrong_in_a_card_is_told(values, change, message):
    change(values)
    with pytest.raises(ValueError, match="; restore it from its source$") as caught:
        parse_card(json.dumps(values).encode(), "m.json")
    assert message in str(caught.value)


def test_faults_beyond_the_fifth_are_counted():
    with pytest.raises(ValueError, match="init is missing; data is missing and 11 more$"):
        ModelCard.from_json({})
    with pytest.raises(ValueError, match="^not a model card: the card is not an object with name"):
        ModelCard.from_json([])


def test_a_card_is_read_without_keras():
    code = (
        "import sys; from kerasunet import models; models.card('natural').to_markdown(); "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("name", "layers", "start"),
    [
        ("natural", "none", "natural, pre-trained"),
        ("ultrasound-none", "none", "from natural"),
        ("ultrasound-shallow-3", "shallow:3", "from natural"),
        ("ultrasound-auto", "auto: 3*shallow:4", "from natural"),
    ],
)
def test_a_model_is_named_by_what_it_is(name, layers, start):
    card = models.card(name)
    assert card.trained_layers == layers and card.is_fine_tuned == (layers != "none")
    steps = "not fine-tuned" if layers == "none" else "1,000 steps"
    assert card.origin == {"start": start, "steps": steps, "size": "128×128 pixels"}


def test_a_model_of_gradual_unfreezing_is_named_by_its_stages():
    card = models.card("ultrasound-all")
    settings = {**card.settings, "unfreeze": ["deep:1@0", "all@500"]}
    staged = replace(card, settings=settings)
    assert staged.trained_layers == "deep:1@0 all@500"
    assert "| trained layers | `deep:1@0 all@500` |" in staged.to_markdown()


def test_counts_of_missed_objects_say_by_which_rule(values):
    card = ModelCard.from_json(values)
    assert "objects missed (no pixel found)" in card.to_markdown()
    newer = replace(card, metrics={**card.metrics, "detection_iou": 0.1})
    assert "objects missed (IoU below 0.1)" in newer.to_markdown()


def test_cases_that_chose_the_weights_of_a_pretraining_are_not_called_held_out():
    card = models.card("natural")
    assert "## Held-out cases" in card.to_markdown()
    how = {**card.settings["optimization"], "keep": "best"}
    chosen = replace(card, settings={**card.settings, "optimization": how})
    assert "## Validation cases, by which the weights were chosen" in chosen.to_markdown()


def test_equal_cards_are_parsed_once(tiny_model_file):
    content = tiny_model_file.with_suffix(".json").read_bytes()
    again = bytes(bytearray(content))
    assert parse_card(content, "m.json") is parse_card(again, "m.json")


def test_cases_of_a_cross_validation_are_not_called_held_out_from_the_model():
    """A model of all images was trained on them; those of the folds were not."""
    card = models.card("ultrasound-all")
    crossed = replace(card, settings={**card.settings, "cross_validation": 4})
    heading = "; in cross-validation, by models trained without them\n"
    assert heading in crossed.to_markdown() and heading not in card.to_markdown()
    assert heading not in replace(crossed, training_cases=0).to_markdown(), "an untouched start"

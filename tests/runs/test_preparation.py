"""What a run trains, validates and tests on when no numbers are given: something, with any data."""

import shutil
from dataclasses import replace

import pytest
from helpers.layout_makers import write_pair

from kerasunet import models, runs
from kerasunet.data import load
from kerasunet.models.model_card import write_card
from kerasunet.runs.preparation import (
    MOST_VALIDATION,
    load_data,
    seen_cases,
    split_data,
    with_seen,
)
from kerasunet.study.execution import open_study
from kerasunet.study.plan import StudySettings
from kerasunet.training.settings import FinetuneSettings


@pytest.mark.parametrize("images", [8, 10, 20, 42, 74, 140])
def test_defaults_use_every_image_of_any_set_from_eight_on(images):
    split = runs.prepare(FinetuneSettings(data=f"simulated-ultrasound:{images}")).split
    parts = {name: len(keys) for name, keys in vars(split).items()}
    assert sum(parts.values()) == images
    assert parts["test"] in (images // 5, images // 5 + 1)
    assert parts["validation"] == min(MOST_VALIDATION, round((images - parts["test"]) / 5))
    assert parts["train"] > parts["validation"] >= 1


@pytest.mark.parametrize(("train_size", "validation"), [(26, 7), (30, 3), (33, 0)])
def test_validation_takes_what_training_leaves(train_size, validation):
    settings = FinetuneSettings(data="simulated-ultrasound:42", train_size=train_size)
    split = runs.prepare(settings).split
    assert (len(split.train), len(split.validation)) == (train_size, validation)


@pytest.mark.parametrize(
    ("patients", "chosen", "sizes"),
    [
        (2, {"folds": 2}, (10, 0, 10)),
        (4, {"folds": 4, "disjoint": True}, (10, 0, 30)),
        (4, {"folds": 2, "train_size": 11}, (11, 0, 20)),
        (4, {"folds": 2, "train_size": 10}, (10, 4, 20)),
    ],
)
def test_a_patient_whom_training_needs_does_not_validate(patients, chosen, sizes, tmp_path):
    for number in range(10 * patients):
        name = f"patient{number % patients}_{number}.png"
        write_pair(tmp_path / "images" / name, tmp_path / "masks" / name, number)
    settings = FinetuneSettings(data=str(tmp_path), groups="given", group_pattern="(.*)_", **chosen)
    split = runs.prepare(settings).split
    assert tuple(len(keys) for keys in vars(split).values()) == sizes


def test_a_division_with_a_validation_part_lends_from_it(tmp_path):
    settings = FinetuneSettings(data="simulated-ultrasound:40", division="parts")
    data = load_data(FinetuneSettings(data="simulated-ultrasound:40"))
    names = ["train"] * 30 + ["validation"] * 4 + ["test"] * 6
    parts = dict(zip((case.key for case in data.cases), names, strict=True))
    object.__setattr__(data, "official", {"parts": parts})
    split = split_data(settings, data)
    assert (len(split.train), len(split.validation), len(split.test)) == (30, 4, 6)


def test_what_does_not_fit_names_what_would():
    with pytest.raises(ValueError, match="ask for at most 33 training images"):
        runs.prepare(FinetuneSettings(data="simulated-ultrasound:42", train_size=40))
    with pytest.raises(ValueError, match="there are 3; ask for 3 folds"):
        runs.prepare(FinetuneSettings(data="simulated-ultrasound:3"))


@pytest.mark.parametrize(("images", "size"), [(10, 8), (42, 20)])
def test_a_study_without_a_number_takes_what_there_is(images, size, tmp_path):
    run = FinetuneSettings(data=f"simulated-ultrasound:{images}", validation_size=0)
    study = open_study(StudySettings(run=run, strategies=("all",)), tmp_path)
    assert {planned.train_size for planned in study.planned} == {size}


def test_a_card_says_if_nobody_knows_what_its_start_was_trained_on(tiny_model_file, tmp_path):
    start, held_out = tmp_path / "start.keras", load("simulated-natural:4")
    shutil.copy(tiny_model_file, start)

    def card_of(init) -> models.ModelCard:
        settings = FinetuneSettings(data="simulated-natural:4", init=str(init))
        blank = replace(models.card(tiny_model_file), settings={"layers": "all"}, evaluations=())
        blank = replace(blank, start_saw=0)
        return with_seen(blank, settings, held_out.cases[:1], judged=(), held_out=held_out)

    known = card_of(tiny_model_file)
    assert (
        "## Held-out cases; its start has seen 4 of them, or others of their patients\n"
        in known.to_markdown()
    )
    assert models.ModelCard.from_json(known.to_json()) == known
    assert "## Held-out cases\n" in card_of("scratch").to_markdown()
    without_card = card_of(start)
    write_card(start, replace(models.card(tiny_model_file), seen=(), seen_by=()))
    for card in (without_card, card_of(start)):
        assert "## Held-out cases, which its start may have been trained on\n" in card.to_markdown()
        seen = seen_cases(card, held_out)
        assert (len(seen.keys), seen.is_known) == (1, False)
        recorded = replace(card.held_out, data=replace(card.data, name="elsewhere"))
        text = replace(card, evaluations=(recorded,)).to_markdown()
        assert "## On `elsewhere`, not known which of it was trained on\n" in text


def test_another_name_does_not_tell_what_a_card_without_images_has_seen(tiny_model_file):
    card = replace(models.card(tiny_model_file), seen=(), seen_by=(), start_data=())
    data = replace(load("simulated-natural:4"), name="copy")
    assert not seen_cases(card, data).is_known
    assert card.may_have_seen(replace(card.held_out, data=models.DataNote.of(data), seen=None))

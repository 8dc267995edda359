"""Options: declared once, in the settings' fields, for Python, the command line and the demo."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from kerasunet.adapt.settings import AdaptSettings
from kerasunet.cli.options import add_settings, values_of
from kerasunet.data import Augmentation
from kerasunet.schema import declared
from kerasunet.strategies import parse
from kerasunet.study.plan import StudySettings
from kerasunet.training import Architecture, FinetuneSettings, Optimization, PretrainSettings
from kerasunet.training.settings import finetune_settings, to_json

SETTINGS = (FinetuneSettings, PretrainSettings, Optimization)


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (Optimization, {"steps": 0}, "steps must be at least 1, not 0"),
        (Optimization, {"batch_size": 5000}, "batch_size must be at most 4,096, not 5000"),
        (Optimization, {"learning_rate": 0}, "learning_rate must be above 0, not 0"),
        (Optimization, {"learning_rate": math.nan}, "learning_rate must be above 0, not nan"),
        (Optimization, {"warmup": 1.0}, "warmup must be 0 to below 1, not 1.0"),
        (Optimization, {"patience": 0}, "patience must be at least 1, not 0"),
        (Optimization, {"seed": -1}, "seed must be at least 0, not -1"),
        (Optimization, {"schedule": "linear"}, "schedule must be one of cosine, constant, not 'li"),
        (FinetuneSettings, {"threshold": 1}, "threshold must be between 0 and 1, not 1"),
        (FinetuneSettings, {"image_size": 8}, "image_size must be at least 16, not 8"),
        (PretrainSettings, {"image_size": 4096}, "image_size must be at most 2,048, not 4096"),
        (Augmentation, {"rotation": 181}, "rotation must be between 0 and 180, not 181"),
    ],
)
def test_values_out_of_range_are_refused_with_name_and_range(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (Optimization, {"steps": "10"}, "steps must be a whole number, not '10'; leave out the q"),
        (Optimization, {"learning_rate": "1e-3"}, "learning_rate must be a number, not '1e-3'; l"),
        (Optimization, {"steps": True}, "steps must be a whole number, not True"),
        (Optimization, {"steps": "ten"}, "steps must be a whole number, not 'ten'$"),
        (Optimization, {"steps": None}, "steps must be a whole number, not None"),
        (Optimization, {"warmup": np.array([0.1, 0.2])}, "warmup must be a number, not array"),
        (Optimization, {"deterministic": "False"}, "deterministic must be True or False, not 'F"),
        (Optimization, {"keep": 1}, "keep must be text, not 1"),
        (FinetuneSettings, {"image_size": "128"}, "image_size must be a whole number, not '128'"),
        (FinetuneSettings, {"image_size": (64, 64)}, "image_size must be a whole number, not .64"),
        (FinetuneSettings, {"labels": ("benign", 1)}, "labels must be text, not 1"),
        (FinetuneSettings, {"data": b"scans"}, "data must be text, not b'scans'"),
        (FinetuneSettings, {"optimization": {"steps": 1}}, r"must be made with Optimization\(…\)"),
        (FinetuneSettings, {"layers": 3}, "a strategy is text, such as 'shallow:3'"),
        (AdaptSettings, {"minutes": "4"}, "minutes must be a number, not '4'"),
        (StudySettings, {"seeds": 0}, r"seeds takes several whole numbers; give \(0,\), not 0"),
        (StudySettings, {"train_sizes": ("20",)}, "train_sizes must be a whole number, not '20'"),
        (StudySettings, {"run": None}, r"run must be made with FinetuneSettings\(…\), not None"),
        (Architecture, {"depth": "4"}, "depth must be a whole number, not '4'"),
        (Augmentation, {"flip": True}, "flip must be a number, not True"),
    ],
)
def test_values_of_another_type_are_refused_with_name_and_type(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)


def test_paths_and_numbers_of_numpy_become_plain_values():
    given = FinetuneSettings(
        data=Path("scans"),
        init=Path("start.keras"),
        labels=["benign", np.str_("malignant")],
        train_size=np.int64(20),
        threshold=np.float32(0.5),
        architecture=Architecture(base_filters=np.int64(4)),
        optimization=Optimization(steps=np.int64(8), deterministic=np.bool_(True)),
    )
    plain = FinetuneSettings(
        data="scans",
        init="start.keras",
        labels=("benign", "malignant"),
        train_size=20,
        threshold=0.5,
        architecture=Architecture(base_filters=4),
        optimization=Optimization(steps=8, deterministic=True),
    )
    assert given == plain and json.dumps(to_json(given)) == json.dumps(to_json(plain))
    with pytest.raises(ValueError, match="steps must be a whole number, not 4.5"):
        Optimization(steps=4.5)


@pytest.mark.parametrize("values", [{"clip_norm": None}, {"patience": None}, {"warmup": 0}])
def test_the_ends_of_a_range_and_values_not_given_are_taken(values):
    assert vars(Optimization(**values)).items() >= values.items()


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_field_is_an_option_or_a_group_of_them(settings):
    groups = {"architecture", "optimization", "augmentation"}
    assert {field.name for field in fields(settings)} - groups == set(declared(settings))
    assert all(option.help for option in declared(settings).values())


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_command_line_without_words_gives_the_defaults(settings):
    parser = argparse.ArgumentParser()
    add_settings(parser, settings)
    assert settings(**values_of(parser.parse_args([]), settings)) == settings()


def test_the_command_line_sets_every_kind_of_value():
    parser = argparse.ArgumentParser()
    add_settings(parser, Optimization)
    words = "--steps 7 --warmup 0.25 --clip-norm 0 --patience 2 --keep best --deterministic"
    asked = Optimization(**values_of(parser.parse_args(words.split()), Optimization))
    assert asked == Optimization(
        steps=7, warmup=0.25, clip_norm=None, patience=2, keep="best", deterministic=True
    )
    parser = argparse.ArgumentParser()
    add_settings(parser, FinetuneSettings)
    words = "--layers ALL --train-size all --labels benign malignant --stratify-sizes"
    asked = FinetuneSettings(**values_of(parser.parse_args(words.split()), FinetuneSettings))
    assert asked == FinetuneSettings(
        layers="all", train_size=None, labels=("benign", "malignant"), stratify_sizes=True
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 0", "--steps 0: give a whole number of 1 to 100,000,000"),
        ("--patience 0", "--patience 0: give a whole number of at least 1"),
        ("--learning-rate inf", "--learning-rate inf: give a finite number"),
        ("--warmup -0.1", "--warmup must be 0 to below 1, not -0.1"),
    ],
)
def test_the_command_line_refuses_in_the_same_ranges(words, message):
    parser = argparse.ArgumentParser()
    add_settings(parser, Optimization)
    with pytest.raises(ValueError, match=message):
        parser.parse_args(words.split())


def test_settings_hold_a_parsed_strategy_and_write_its_text():
    spelled = FinetuneSettings(layers=" Shallow:3 & NORM")
    assert spelled == FinetuneSettings(layers=parse("shallow:3&norm"))
    assert hash(spelled) == hash(FinetuneSettings(layers="shallow:3&norm"))
    assert spelled.strategy == parse("shallow:3&norm")
    assert to_json(spelled)["layers"] == "shallow:3&norm"
    assert finetune_settings(to_json(spelled)) == spelled


def test_settings_refuse_what_is_no_strategy():
    with pytest.raises(ValueError, match="the strategy is empty"):
        FinetuneSettings(layers="")


@pytest.mark.parametrize("name", ["labels", "objects", "unfreeze"])
def test_one_text_is_not_taken_for_a_list_of_letters(name):
    with pytest.raises(ValueError, match=rf"{name} takes several texts; give \('deep:1@0',\)"):
        FinetuneSettings(**{name: "deep:1@0"})

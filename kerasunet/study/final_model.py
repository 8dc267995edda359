"""The final model of a study: its best strategy, trained on all images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from kerasunet import models
from kerasunet.backend import prepared_backend
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import decode
from kerasunet.models import DataNote, ModelCard
from kerasunet.runs.finetuning import initial_model
from kerasunet.runs.preparation import load_data, with_seen
from kerasunet.strategies import parse
from kerasunet.study.execution import Study
from kerasunet.study.results import Scenario, StudyResults, read_results
from kerasunet.study.stats import StudyStatistics
from kerasunet.training.evaluation import evaluation_of
from kerasunet.training.loop import Network
from kerasunet.training.settings import FinetuneSettings, without_paths

MODEL = "model.keras"


def best_strategy(statistics: StudyStatistics, scenario: Scenario) -> str:
    """Return the fixed strategy with the best mean Dice.

    Those that choose anew in every run, `auto` and `rgn`, are no candidates.

    Raises:
        ValueError: There is no fixed strategy.
    """
    means = statistics.summary_of(scenario)["mean"]
    fixed = [text for text in means.index if text == "scratch" or not parse(text).is_measured]
    if not fixed:
        raise ValueError(f"{scenario.data}: the study has no fixed strategy to train a model with")
    return str(means[fixed].idxmax())


def train_final_model(study: Study) -> Path:
    """Train the best strategy at the largest training size on all images.

    Steps, rate and image size are those of the study; with a search for rates, the rate is the
    median of those that the strategy's runs chose.

    Args:
        study: The study, with results.

    Returns:
        `model.keras` in the study's directory, beside its card. Metrics on the card are those of
        the study's runs on images left out, which had fewer training images.

    Raises:
        ValueError: Nothing has finished, no strategy is fixed, or the data cannot be used.
    """
    statistics = StudyStatistics(read_results([study.directory]))
    scenario = statistics.results.largest_scenarios[0]
    text = best_strategy(statistics, scenario)
    settings = _settings(study, statistics.results, scenario, text)
    data = load_data(settings)
    with prepared_backend(**settings.optimization.computation):
        network = Network(initial_model(settings, data.objects))
        network.set_up(settings.strategy, settings.optimization)
        size = (settings.image_size, settings.image_size)
        cases = decode(data.cases, size, network.model.input_shape[-1])
        network.fit(cases, optimization=settings.optimization, augmentation=settings.augmentation)
        rows = _rows(statistics.results, scenario, text)
        path = study.directory / MODEL
        models.save(network.plain(), path, _card(settings, data, rows))
    return path


def _settings(
    study: Study, results: StudyResults, scenario: Scenario, text: str
) -> FinetuneSettings:
    runs = results.at(scenario).finished
    rate = float(runs[runs["strategy"] == text]["learning_rate"].astype(float).median())
    run = study.settings.run
    return replace(
        run,
        layers="all" if text == "scratch" else text,
        init="scratch" if text == "scratch" else run.init,
        optimization=replace(run.optimization, learning_rate=rate),
    )


def _rows(results: StudyResults, scenario: Scenario, text: str) -> list[dict[str, Any]]:
    """Return what the runs of a strategy found of each case."""
    cases = results.at(scenario).cases
    return cases[cases["strategy"] == text].to_dict("records")


def _card(settings: FinetuneSettings, data: DataSet, rows: list[dict[str, Any]]) -> ModelCard:
    note = DataNote.of(data)
    card = ModelCard(
        title=f"U-Net fine-tuned on all of {data.name}, {settings.strategy}",
        strategy=str(settings.strategy),
        init=Path(settings.init).name,
        data=note,
        evaluation_data=note,
        split="",
        image_size=settings.image_size,
        threshold=settings.threshold,
        training_cases=0 if str(settings.strategy) == "none" else len(data),
        metrics=evaluation_of(rows).summary,
        settings={**without_paths(settings, data=data.name), "cross_validation": settings.folds},
        objects=data.objects.names if data.objects.several else (),
    )
    return with_seen(card, settings, data.cases, ())

"""The final model of a study: its best strategy, trained on all images."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from kerasunet import models
from kerasunet.backend import prepared_backend
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import decode
from kerasunet.files import (
    remove_left,
    require_replaceable,
    sha256,
    strict,
    temporary_folder,
    write_atomically,
    writing,
)
from kerasunet.metrics import METRICS, WITHOUT_SPACING
from kerasunet.models import DataNote, ModelCard
from kerasunet.models.model_card import read_card
from kerasunet.models.registry import require_unedited
from kerasunet.runs.finetuning import initial_model
from kerasunet.runs.preparation import load_data, with_seen
from kerasunet.study.execution import Study
from kerasunet.study.results import Scenario, StudyResults, read_results
from kerasunet.study.stats import StudyStatistics, summarize
from kerasunet.training.evaluation import evaluation_of
from kerasunet.training.learner import Network
from kerasunet.training.settings import FinetuneSettings, without_paths

MODEL, _ASIDE = "model.keras", ".final-"
_TITLE = "U-Net fine-tuned on all of "
_SAME = ("strategy", "init", "data", "threshold", "metrics", "settings", "seen", "objects")
"""What cards of one and the same final model agree in."""


def require_free(directory: Path) -> None:
    """Refuse a study's directory whose `model.keras` is not the final model of a study.

    Raises:
        FileExistsError: It, or its card, is something else, or its words were edited.
    """
    path = directory / MODEL
    if not any(path.with_suffix(suffix).exists() for suffix in (".keras", ".json", ".md")):
        return
    try:
        card = read_card(_card_of(path))
        is_whole = not path.exists() or sha256(path) == card.sha256
        is_own = is_whole and card.title.startswith(_TITLE)
    except (OSError, ValueError):  # A folder has no digest.
        is_own = False
    if not is_own:
        raise FileExistsError(
            f"{path}: this file or its card is not the final model of a study; move both away, or "
            "leave out --final"
        )
    require_unedited(path)


def train_final_model(study: Study) -> Path:
    """Train the best strategy at the largest training size on all images.

    Steps, rate and image size are those of the study; with a search for rates, the rate is the
    median of those that the strategy's runs chose.

    Args:
        study: The study, with results.

    Returns:
        `model.keras` in the study's directory, beside its card. Metrics on the card are those of
        the study's runs on images left out, which had fewer training images. If an earlier call
        made it from the same results, it stays as it is.

    Raises:
        FileExistsError: There is a `model.keras` that is something else.
        ValueError: Nothing has finished, no strategy is fixed, or the data cannot be used.
    """
    require_free(study.directory)
    statistics = StudyStatistics(read_results([study.directory]))
    scenario = statistics.results.largest_scenarios[0]
    text = statistics.best_fixed(scenario)
    settings = _settings(study, statistics.results, scenario, text=text)
    data, path = load_data(settings), study.directory / MODEL
    card = _card(settings, data, _of_strategy(statistics.results, scenario, text))
    if count := study.record["data"].get(WITHOUT_SPACING):
        card = replace(card, metrics={**card.metrics, WITHOUT_SPACING: count})
    if _is_made(path, card):
        return path
    with prepared_backend(**settings.optimization.computation):
        network = Network(initial_model(settings, data.objects))
        network.set_up(settings.strategy, settings.optimization)
        size = (settings.image_size, settings.image_size)
        cases = decode(data.cases, size, network.model.input_shape[-1])
        network.fit(cases, optimization=settings.optimization, augmentation=settings.augmentation)
        _put_in_place(network.model, card, path)
    return path


def _put_in_place(model: keras.Model, card: ModelCard, path: Path) -> None:
    """Save a model and its card aside, then move them into place, the model last.

    Whatever a kill leaves, no model lies beside another's card: it would look like a user's own.
    """
    remove_left(path.parent, _ASIDE)
    with temporary_folder(path.parent, _ASIDE) as aside:
        models.save(model, aside / MODEL, card)
        if gone := models.keep_file(aside / MODEL, path):
            names = ", ".join(dict.fromkeys(one.data.name for one in gone))
            told = "were recorded for the earlier model and are gone with it"
            warnings.warn(f"{path}: evaluations on {names} {told}", stacklevel=4)
        parts = [path.with_suffix(suffix) for suffix in (".json", ".md", ".keras")]
        for part in parts:
            require_replaceable(part)
        with writing(path):
            path.resolve().unlink(missing_ok=True)  # A link stays.
        for part in parts:
            write_atomically(part, partial(shutil.copyfile, aside / part.name))


def _card_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _is_made(path: Path, card: ModelCard) -> bool:
    """Whether a model file exists whose card says the same as this one."""
    if not path.is_file() or not path.with_suffix(".json").is_file():
        return False
    known = read_card(path.with_suffix(".json"))
    asked, found = (json.loads(json.dumps(strict(one.to_json()))) for one in (card, known))
    same = all(asked.get(name) == found.get(name) for name in _SAME)
    return same and sha256(path) == known.sha256


def _settings(
    study: Study, results: StudyResults, scenario: Scenario, *, text: str
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


def _of_strategy(results: StudyResults, scenario: Scenario, text: str) -> StudyResults:
    """Return what the runs of a strategy found."""
    here = results.at(scenario)
    each = here.of_objects
    return replace(
        here,
        cases=here.cases[here.cases["strategy"] == text],
        of_objects=None if each is None else each[each["strategy"] == text],
    )


def _metrics(found: StudyResults) -> dict[str, Any]:
    """Return metrics and intervals as the study states them; each case counts once.

    Several seeds, or disjoint training sets, measure a case several times.
    """
    rows = found.cases if found.of_objects is None else found.of_objects
    metrics = evaluation_of(rows.to_dict("records")).summary
    cases = found.cases["key"].nunique()
    for name in METRICS:
        (row,) = summarize(found, name).itertuples()
        metrics[name] = {"mean": row.mean, "low": row.low, "high": row.high, "n": cases}
    for name in ("missed", "false_alarm", "empty_truth"):
        metrics[name] = math.ceil(metrics[name] * cases / metrics["n"])
    if found.of_objects is not None:
        metrics["objects"] = {name: _metrics(found.of(name)) for name in found.objects}
    return {**metrics, "n": cases}


def _card(settings: FinetuneSettings, data: DataSet, found: StudyResults) -> ModelCard:
    note = DataNote.of(data)
    card = ModelCard(
        title=f"{_TITLE}{data.name}, {settings.strategy}",
        strategy=str(settings.strategy),
        init=Path(settings.init).name,
        data=note,
        evaluation_data=note,
        split="",
        image_size=settings.image_size,
        threshold=settings.threshold,
        training_cases=0 if str(settings.strategy) == "none" else len(data),
        metrics=_metrics(found),
        settings={**without_paths(settings, data=data.name), "cross_validation": settings.folds},
        objects=data.objects.names if data.objects.several else (),
    )
    measured = replace(data, cases=data.select(sorted(set(found.cases["key"]))))
    return with_seen(card, settings, data.cases, judged=(), held_out=measured)

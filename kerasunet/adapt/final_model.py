"""The final model: trained on all annotated images, or the average of the models of the folds."""

from __future__ import annotations

from pathlib import Path

import keras

from kerasunet import models
from kerasunet.adapt.cross_validation import Chosen, CrossValidation
from kerasunet.adapt.estimate import Estimate
from kerasunet.adapt.fits import Candidate
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.adapt.starts import load_start, short_name
from kerasunet.architecture import plain_copy
from kerasunet.data.cases import DataSet
from kerasunet.models import DataNote, ModelCard
from kerasunet.runs.preparation import with_seen
from kerasunet.training.settings import without_paths


def save_final_model(
    path: Path,
    settings: AdaptSettings,
    data: DataSet,
    chosen: Chosen,
    worth: Estimate,
    validation: CrossValidation,
    start: ModelCard,
) -> None:
    """Write the final model and its card, which counts every annotated image as seen.

    Args:
        path: The `.keras` file.
        settings: Of the adaptation.
        data: The annotated cases.
        chosen: What to train.
        worth: What it is worth; its metrics go on the card.
        validation: The folds, and what was trained.
        start: Card of the start.
    """
    candidate = chosen.candidate
    keys = sorted(case.key for case in data.cases)
    models.save(
        _trained(candidate, validation, keys),
        path,
        _card(settings, data, chosen, worth, validation),
    )


def _trained(candidate: Candidate, validation: CrossValidation, keys: list[str]) -> keras.Model:
    if candidate.is_untouched:
        return load_start(candidate.start)
    return plain_copy(validation.fits.model(candidate, keys))


def _card(
    settings: AdaptSettings,
    data: DataSet,
    chosen: Chosen,
    worth: Estimate,
    validation: CrossValidation,
) -> ModelCard:
    candidate, note = chosen.candidate, DataNote.of(data)
    run = settings.of_run(
        candidate.strategy, candidate.start, candidate.image_size, steps=validation.fits.steps
    )
    folds = len(validation.folds)
    card = ModelCard(
        title=f"U-Net adapted to {data.name}, {candidate.strategy}",
        strategy=candidate.strategy,
        init=short_name(candidate.start),
        data=note,
        evaluation_data=note,
        split="",
        image_size=candidate.image_size,
        threshold=chosen.threshold,
        training_cases=0 if candidate.is_untouched else len(data),
        metrics=worth.evaluation.summary,
        settings={**without_paths(run, data=data.name), "cross_validation": folds},
    )
    return with_seen(card, run, data.cases, ())

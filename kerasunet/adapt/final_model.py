"""The final model: trained on all annotated images, or the average of the models of the folds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras

from kerasunet import models
from kerasunet.adapt.cross_validation import Chosen, CrossValidation
from kerasunet.adapt.estimate import Estimate
from kerasunet.adapt.fits import Candidate
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.adapt.starts import load_start, short_name
from kerasunet.data.cases import DataSet
from kerasunet.models import DataNote, ModelCard
from kerasunet.network import averaged, plain_copy
from kerasunet.runs.preparation import with_seen
from kerasunet.training.settings import without_paths


def save_final_model(
    path: Path,
    data: DataSet,
    chosen: Chosen,
    *,
    settings: AdaptSettings,
    worth: Estimate,
    validation: CrossValidation,
) -> None:
    """Write the final model and its card, which counts every annotated image as seen.

    Args:
        path: The `.keras` file.
        data: The annotated cases.
        chosen: What to train.
        settings: Of the adaptation.
        worth: What it is worth; its metrics go on the card.
        validation: The folds, and what was trained.
    """
    candidate = chosen.candidate
    if candidate.is_untouched:
        model = load_start(candidate.start)
    elif settings.ensemble:
        model = averaged([*_of_folds(candidate, validation)])
    else:
        keys = sorted(case.key for case in data.cases)
        model = plain_copy(validation.fits.model(candidate, keys))
    models.save(model, path, _card(settings, data, chosen, worth=worth, validation=validation))


def _of_folds(candidate: Candidate, validation: CrossValidation) -> Iterator[keras.Model]:
    """Yield the model of each fold, which was trained on all others."""
    for fold in range(len(validation.folds)):
        training = validation.keys(validation.outside(fold))
        yield plain_copy(validation.fits.model(candidate, training))


def _card(
    settings: AdaptSettings,
    data: DataSet,
    chosen: Chosen,
    *,
    worth: Estimate,
    validation: CrossValidation,
) -> ModelCard:
    candidate, note = chosen.candidate, DataNote.of(data)
    run = settings.of_run(
        candidate.strategy, candidate.start, candidate.image_size, steps=validation.fits.steps
    )
    folds = len(validation.folds)
    what = f"average of {folds} U-Nets" if settings.ensemble else "U-Net"
    card = ModelCard(
        title=f"{what} adapted to {data.name}, {candidate.strategy}",
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

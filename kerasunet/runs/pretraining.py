"""Pre-training: natural images with a salient-object mask, in gray."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from kerasunet import models
from kerasunet.backend import prepared_backend, with_precision
from kerasunet.data import identification
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, content_digest, decode
from kerasunet.data.loading import require_objects, require_outside
from kerasunet.files import expanded, read_json
from kerasunet.metrics import Interval
from kerasunet.network import plain_copy, with_new_head
from kerasunet.objects import Objects
from kerasunet.runs.directory import RunDirectory, exclusive
from kerasunet.runs.preparation import (
    has_new_head,
    load_pretraining_data,
    seen_by_start,
    size_warning,
    with_seen,
    with_their_groups,
)
from kerasunet.training.evaluation import Evaluation, evaluate
from kerasunet.training.loop import checked, train
from kerasunet.training.optimizer import compile_for_training
from kerasunet.training.settings import PretrainSettings, without_paths


@dataclass(frozen=True)
class Pretrained:
    """A finished pre-training.

    Attributes:
        directory: Holds `config.json`, `history.csv`, `cases.csv`, `model.keras`, `model.json`,
            `model.md` and `summary.json`.
        summary: What `summary.json` holds: settings, data, the metrics of the validation cases,
            and how many of these were trained on, by this run or its start.
    """

    directory: Path
    summary: dict[str, Any]

    @property
    def files(self) -> RunDirectory:
        """The files of the directory by name."""
        return RunDirectory(self.directory)

    @property
    def dice(self) -> Interval:
        """Mean Dice of the validation cases with its 95 % interval."""
        return Interval(**self.summary["metrics"]["dice"])

    def load_model(self) -> keras.Model:
        """Load the trained model."""
        return models.load(self.files.model)


def pretrain(
    settings: PretrainSettings,
    directory: str | os.PathLike,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    data: tuple[DataSet, DataSet] | None = None,
    restart: bool = False,
) -> Pretrained:
    """Train every weight of a U-Net; started again with the same settings, resume.

    A finished pre-training is returned unchanged.

    Args:
        settings: What to train on, and how.
        directory: The run directory.
        callbacks: More Keras callbacks, such as a progress bar.
        data: What `load_pretraining_data` listed for these settings; listed here unless given.
        restart: Begin anew; an earlier run there is removed once this one has a checkpoint.

    Returns:
        The pre-training with its metrics on the validation cases.

    Raises:
        ValueError: Data or settings cannot be used, or the directory belongs to other settings or
            would be read as data.
        NotWritten: The disk is full, or the directory is not writable; finished results are kept,
            and the next start resumes from them.
        FloatingPointError: The loss or the weights became NaN or infinite; the last good weights
            are kept, and the message says where.
    """
    require_outside(directory, (settings.data, settings.validation_data, settings.manual_dir))
    data = load_pretraining_data(settings) if data is None else data
    files = RunDirectory(expanded(directory))
    callbacks = checked(callbacks, files.writes, settings.optimization.schedule)
    settings = with_precision(settings, files.recorded, restart=restart)
    with exclusive(files.path), prepared_backend(**settings.optimization.computation):
        return _pretrain(settings, files, data, callbacks=callbacks, restart=restart)


def _pretrain(
    settings: PretrainSettings,
    files: RunDirectory,
    data: tuple[DataSet, DataSet],
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    restart: bool,
) -> Pretrained:
    model, side = _build(settings, data[0].objects), settings.image_size
    training = _decode(data[0], settings.architecture.channels, max(settings.sides, default=side))
    validation = _decode(data[1], settings.architecture.channels, side)
    digests = {
        "data": data[0].digest,
        "validation data": data[1].digest,
        "images and masks": content_digest((training, validation)),
        "init": models.digest(settings.init),
    }
    settings.optimization.require_validation(len(validation))
    files.claim(settings, digests, restart=restart)
    if summary := files.finished():
        return Pretrained(files.path, summary)
    if told := size_warning(settings):
        warnings.warn(told, stacklevel=3)
    with files.in_progress():
        compile_for_training(model, settings.optimization)
        train(
            model,
            training,
            validation,
            optimization=settings.optimization,
            augmentation=settings.augmentation,
            checkpoint=files.checkpoint,
            history=files.history,
            callbacks=callbacks,
            sides=settings.sides,
            run=read_json(files.config),
        )
        model = plain_copy(model)
        evaluation = evaluate(model, validation, threshold=0.5)
        evaluation.write_csv(files.cases)
        card = _card(settings, *data, evaluation=evaluation)
        models.save(model, files.model, card)
    return Pretrained(files.path, files.finish(_summary(card, evaluation)))


def _summary(card: models.ModelCard, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "settings": card.settings,
        "data": asdict(card.data),
        "validation_data": asdict(card.evaluation_data),
        "metrics": evaluation.summary,
        "constant_prediction": evaluation.constant,
        "validation_seen": card.start_saw,
    }


def _decode(data: DataSet, channels: int, side: int) -> DecodedCases:
    decoded = decode(data.cases, (side, side), channels)
    require_objects(data.cases, decoded)
    return decoded


def _card(
    settings: PretrainSettings, data: DataSet, validation: DataSet, *, evaluation: Evaluation
) -> models.ModelCard:
    modality, sides = identification.modality_of_data(data), settings.sides
    what = "natural images" if modality == "photograph" else data.name
    card = models.ModelCard(
        title=f"U-Net pre-trained on {what}",
        role="start",
        modality=modality or "",
        sizes=(sides[0], sides[-1]) if sides else (),
        strategy="all",
        init=Path(settings.init).name,
        data=models.DataNote.of(data),
        evaluation_data=models.DataNote.of(validation),
        split="",
        image_size=settings.image_size,
        threshold=0.5,
        training_cases=len(data),
        metrics=evaluation.summary,
        settings=without_paths(settings, data=data.name, validation_data=validation.name),
        objects=data.objects.names if data.objects.several else (),
    )
    seen = _seen(settings, data, validation)
    return replace(with_seen(card, settings, data.cases, judged=validation.cases), start_saw=seen)


def _seen(settings: PretrainSettings, data: DataSet, validation: DataSet) -> int:
    """Count the validation cases that are trained on as well, or that the start has seen."""
    identities = identification.image_identities(validation.cases)
    trained = identification.image_identities(data.cases).values()
    known = identification.known_images([*identities.values()], trained)
    own = {key for key, is_known in zip(identities, known, strict=True) if is_known}
    start = seen_by_start(settings.init, validation).keys
    return len(with_their_groups(validation, own) | start)


def _build(settings: PretrainSettings, objects: Objects) -> keras.Model:
    model = settings.architecture.build(objects.channels, overlapping=objects.overlapping)
    if settings.init == "scratch":
        return model
    if has_new_head(settings.init, objects):
        start = models.load(settings.init)
        return with_new_head(start, objects.channels, overlapping=objects.overlapping)
    models.load_weights_into(model, settings.init)
    return model

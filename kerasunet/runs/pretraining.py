"""Pre-training: natural images with a salient-object mask, in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from kerasunet import models
from kerasunet.architecture import plain_copy
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.loading import load
from kerasunet.metrics import Interval
from kerasunet.runs.directory import claim, finish, finished, held
from kerasunet.runs.inputs import content_digest
from kerasunet.training.evaluation import Evaluation, evaluate
from kerasunet.training.loop import compile_for_training, prepare_backend, train
from kerasunet.training.settings import PretrainSettings, without_places

_MODEL = "model.keras"


@dataclass(frozen=True)
class Pretrained:
    """A finished pre-training.

    Attributes:
        directory: Holds `config.json`, `history.csv`, `cases.csv`, `model.keras`, `model.json`,
            `model.md` and `summary.json`.
        summary: What `summary.json` holds: settings, data, and the metrics of the validation
            cases.
    """

    directory: Path
    summary: dict[str, Any]

    @property
    def dice(self) -> Interval:
        """Mean Dice of the validation cases with its 95 % interval."""
        return Interval(**self.summary["metrics"]["dice"])

    def load_model(self) -> keras.Model:
        """Loads the trained model."""
        return models.load(self.directory / _MODEL)


def pretrain(
    settings: PretrainSettings,
    directory: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Pretrained:
    """Trains every weight of a U-Net; started again with the same settings, it goes on.

    A finished pre-training is returned as it is.

    Args:
        settings: What to train on, and how.
        directory: The run directory.
        callbacks: More Keras callbacks, such as a progress bar.

    Returns:
        The pre-training with its metrics on the validation cases.

    Raises:
        ValueError: Data or settings cannot be used, or the directory belongs to other settings.
        NotWritten: The disk is full, or the directory may not be written; what was finished is
            kept, and the next start goes on from there.
        FloatingPointError: The loss or the weights became NaN or infinite; the last good weights
            are kept, the message tells where.
    """
    training_set = load(settings.data, settings.manual_dir)
    validation_set = load(settings.validation_data)
    with held(directory):
        return _pretrain(settings, directory, callbacks, training_set, validation_set)


def _pretrain(settings, directory, callbacks, training_set, validation_set) -> Pretrained:
    prepare_backend(settings.optimization)
    model = _build(settings)
    training, validation = (_decode(settings, data) for data in (training_set, validation_set))
    digests = {
        "data": training_set.digest,
        "validation data": validation_set.digest,
        "images and masks": content_digest((training, validation)),
        "init": models.digest(settings.init),
    }
    claim(directory, settings, digests)
    if summary := finished(directory):
        return Pretrained(directory, summary)
    compile_for_training(model, settings.optimization)
    train(
        model,
        training,
        validation,
        settings.optimization,
        settings.augmentation,
        directory,
        callbacks,
    )
    model = plain_copy(model)
    evaluation = evaluate(model, validation, threshold=0.5)
    evaluation.write_csv(directory / "cases.csv")
    card = _card(settings, training_set, validation_set, evaluation)
    models.save(model, directory / _MODEL, card)
    summary = {
        "settings": without_places(
            settings, data=training_set.name, validation_data=validation_set.name
        ),
        "data": asdict(card.data),
        "validation_data": asdict(card.evaluation_data),
        "metrics": evaluation.summary,
        "constant_prediction": evaluation.constant,
    }
    return Pretrained(directory, finish(directory, summary))


def _decode(settings: PretrainSettings, data: DataSet) -> DecodedCases:
    size = (settings.image_size, settings.image_size)
    return decode(data.cases, size, settings.architecture.channels)


def _card(
    settings: PretrainSettings, data: DataSet, validation: DataSet, evaluation: Evaluation
) -> models.ModelCard:
    return models.ModelCard(
        title="U-Net pre-trained on natural images",
        strategy="all",
        init=Path(settings.init).name,
        data=models.DataNote.of(data),
        evaluation_data=models.DataNote.of(validation),
        split="",
        image_size=settings.image_size,
        threshold=0.5,
        training_cases=len(data),
        metrics=evaluation.summary,
        settings=without_places(settings, data=data.name, validation_data=validation.name),
    )


def _build(settings: PretrainSettings) -> keras.Model:
    model = settings.architecture.build()
    if settings.init != "scratch":
        models.load_weights_into(model, settings.init)
    return model

"""Pre-training: natural images with a salient-object mask, in grey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras

from kerasunet import zoo
from kerasunet.data.decoding import decode
from kerasunet.data.loading import load
from kerasunet.training.directory import claim
from kerasunet.training.evaluation import Evaluation, evaluate
from kerasunet.training.loop import compile_for_training, prepare_backend, train
from kerasunet.training.settings import PretrainSettings, without_places
from kerasunet.unet import UNet, plain_copy


class Pretrained(NamedTuple):
    """A finished pre-training.

    Attributes:
        model: The trained model.
        directory: Where everything was written.
        evaluation: Metrics on the validation cases.
    """

    model: keras.Model
    directory: Path
    evaluation: Evaluation


def pretrain(
    settings: PretrainSettings,
    directory: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Pretrained:
    """Trains every weight of a U-Net; started again with the same settings, it goes on.

    Args:
        settings: What to train on, and how.
        directory: Receives `config.json`, `history.csv`, `checkpoint.npz`, `cases.csv`,
            `model.keras`, `model.json` and `model.md`.
        callbacks: More Keras callbacks, such as a progress bar.

    Returns:
        The trained model and its metrics on the validation cases.

    Raises:
        ValueError: Data or settings cannot be used, or the directory belongs to other settings.
    """
    prepare_backend(settings.optimization)
    training_set = load(settings.data, settings.manual_dir)
    validation_set = load(settings.validation_data)
    model = _build(settings)
    size = (settings.image_size, settings.image_size)
    channels = settings.architecture.channels
    training = decode(training_set.cases, size, channels)
    validation = decode(validation_set.cases, size, channels)
    digests = {
        "data": training_set.digest,
        "validation data": validation_set.digest,
        "init": zoo.digest(settings.init),
    }
    claim(directory, settings, digests)
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
    card = zoo.Card(
        title="U-Net pre-trained on natural images",
        strategy="all",
        init=Path(settings.init).name,
        data=zoo.DataNote.of(training_set),
        evaluation_data=zoo.DataNote.of(validation_set),
        split="",
        image_size=settings.image_size,
        threshold=0.5,
        training_cases=len(training),
        metrics=evaluation.summary,
        settings=without_places(
            settings, data=training_set.name, validation_data=validation_set.name
        ),
    )
    zoo.save(model, directory / "model.keras", card)
    return Pretrained(model, directory, evaluation)


def _build(settings: PretrainSettings) -> keras.Model:
    shape = settings.architecture
    return UNet(
        (None, None, shape.channels),
        shape.base_filters,
        shape.depth,
        normalization=shape.normalization,
        weights=None if settings.init == "scratch" else settings.init,
    )

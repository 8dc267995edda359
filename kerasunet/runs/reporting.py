"""Callbacks that write a run's progress to small files that other processes may read."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import keras

from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.drawing import draw_comparison, write_png
from kerasunet.files import write_json
from kerasunet.runs.directory import RunDirectory
from kerasunet.runs.preparation import PreparedData
from kerasunet.training.evaluation import predict
from kerasunet.training.settings import FinetuneSettings

_SECONDS_BETWEEN = 0.5


class Reporter(keras.callbacks.Callback):
    """Write the current step and, after every validation, what the model then finds.

    Args:
        directory: Receives `status.json` and `pictures/`.
        settings: Of the run.
        prepared: Its data, the first validation cases of which are drawn.
        pictures: How many of them.
    """

    def __init__(
        self,
        directory: Path,
        settings: FinetuneSettings,
        prepared: PreparedData,
        *,
        pictures: int,
    ):
        super().__init__()
        self._files = RunDirectory(directory)
        self._settings = settings
        self._prepared = prepared
        self._count = pictures
        self._step = 0
        self._written = 0.0

    def on_train_begin(self, logs=None):
        self._write("training")

    def on_epoch_begin(self, epoch, logs=None):
        self._step = epoch * self._settings.optimization.validate_every

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        if time.monotonic() - self._written > _SECONDS_BETWEEN:
            self._write("training")

    def on_epoch_end(self, epoch, logs=None):
        self._write("training")
        self._draw()

    def on_train_end(self, logs=None):
        self._write("measuring")

    def _write(self, phase: str) -> None:
        write_json(self._files.status, {"phase": phase, "step": self._step})
        self._written = time.monotonic()

    def _draw(self) -> None:
        cases = self._cases
        probabilities = predict(self.model, cases.images)
        masks = cases.objects.decide(probabilities, self._settings.threshold)
        for index, found in enumerate(masks):
            shown = {f"step {self._step}": found}
            picture = draw_comparison(
                cases.images[index], cases.masks[index], shown, objects=cases.objects
            )
            write_png(self._files.pictures / f"{index}.png", picture)

    @cached_property
    def _cases(self) -> DecodedCases:
        keys = self._prepared.split.validation[: self._count]
        size = (self._settings.image_size, self._settings.image_size)
        return decode(self._prepared.data.select(keys), size, self.model.input_shape[-1])

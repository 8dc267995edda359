"""Keras callbacks of the caller's in a training: which are refused, and when it begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from kerasunet.training.settings import NOT_SET, Optimization

_FILE = ("filepath", "filename")  # Of ModelCheckpoint and CSVLogger.
_SET_THE_RATE = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


def checked(
    callbacks: Iterable[keras.callbacks.Callback], writes: Callable[[Path], bool], schedule: str
) -> tuple[keras.callbacks.Callback, ...]:
    """Return callbacks, or refuse those that a run would undo, or that would undo it.

    Args:
        callbacks: As the caller gave them.
        writes: Whether the run itself writes a file.
        schedule: Of the learning rate, as in `Optimization`.

    Raises:
        TypeError: They are something else.
        ValueError: One resumes by itself, writes a file that the run replaces, or sets a rate that
            follows a schedule.
    """
    if isinstance(callbacks, keras.callbacks.Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: {callbacks!r} is not a list of Keras callbacks; give a list")
    given = tuple(callbacks)
    for one in given:
        if isinstance(one, type) or not hasattr(one, "set_model"):
            raise TypeError(f"callbacks: {one!r} is not a Keras callback; give an object of one")
        if isinstance(one, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore: would set back a run, which resumes from its own checkpoint; "
                "leave this callback out"
            )
        if schedule != "constant" and isinstance(one, _SET_THE_RATE):
            raise ValueError(f"{type(one).__name__}: would set the learning rate, but {NOT_SET}")
        for path in (getattr(one, name, None) for name in _FILE):
            if path and writes(Path(path)):
                raise ValueError(
                    f"{path}: the run writes this file itself, so it would replace what "
                    f"{type(one).__name__} writes; give that callback another file"
                )
    return given


def listening(
    callbacks: Iterable[keras.callbacks.Callback], model: keras.Model, settings: Optimization
) -> keras.callbacks.CallbackList:
    """Return callbacks that know of the model, and of epochs and steps as in Keras' `fit`.

    They may stop the model's training from now on.
    """
    model.stop_training = False
    steps = min(settings.validate_every, settings.steps)
    epochs = -(-settings.steps // settings.validate_every)
    return keras.callbacks.CallbackList(
        list(callbacks), model=model, add_history=False, verbose=1, epochs=epochs, steps=steps
    )


class OfStages(keras.callbacks.CallbackList):
    """The callbacks of one training that has several stages: it begins once, and ends by `end`."""

    _has_begun = False

    def on_train_begin(self, logs=None):
        if not self._has_begun:
            super().on_train_begin(logs)
        self._has_begun = True

    def on_train_end(self, logs=None):
        """Do nothing: the next stage may follow."""

    def end(self, best: list[np.ndarray]) -> None:
        """Tell that the last stage has ended; the best weights, if they are kept, stay set."""
        super().on_train_end()
        if best:
            self.model.set_weights(best)


def require_own_optimizer(model: keras.Model, learner: keras.Model) -> None:
    """Refuse a model that was compiled since training began.

    Raises:
        ValueError: Its optimizer is not the one that trains, whose rate and state are written down.
    """
    if model.optimizer is not learner.optimizer:
        raise ValueError(
            f"{model.name}: a callback has compiled it, but a run trains with its own optimizer; "
            "choose rate, schedule and loss by the settings"
        )

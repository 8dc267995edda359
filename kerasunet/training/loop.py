"""Training step by step, validation by validation, with a checkpoint after each, and callbacks.

An epoch here is the `validate_every` steps up to the next validation, whatever the number of
images. The checkpoint is one file, put in place by one rename, so that its parts belong together.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet.data.augmentation import Batches
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.files import write_atomically, write_text
from kerasunet.schema import MOVE, flat
from kerasunet.training.evaluation import mean_dice
from kerasunet.training.learner import ActivationCache, cut_before_training, learner_of
from kerasunet.training.optimizer import (
    RelativeRates,
    compile_for_training,
    rate_variable,
    require_as_compiled,
    with_rate,
    write_rates,
)
from kerasunet.training.settings import NOT_SET, Optimization

Record = dict[str, Any] | None
HISTORY_COLUMNS = ("step", "loss", "dice", "val_dice", "learning_rate", "seconds")
_SET_THE_RATE = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


@dataclass
class TrainingState:
    """What a training has reached.

    Attributes:
        epoch: Number of finished epochs.
        history: One row per epoch: step, loss, dice, val_dice, learning_rate, seconds.
        best: Weights of the best validation so far, in the order of `model.weights`.
        best_dice: Its mean Dice, 0 to 1; -1 before the first validation.
        best_epoch: The epoch it came after.
        stopped: Whether a callback has ended the training.
        run: What `config.json` of its run holds; `None` in checkpoints of earlier versions.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)
    best_dice: float = -1.0
    best_epoch: int = 0
    stopped: bool = False
    run: Record = None


def save_checkpoint(path: Path, model: keras.Model, state: TrainingState) -> None:
    """Write the state of a training.

    Args:
        path: The checkpoint file, `.npz`.
        model: Compiled model; its weights and its optimizer's variables are stored.
        state: What the training has reached.
    """
    meta = {name: value for name, value in vars(state).items() if name != "best"}
    arrays: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= _numbered("weight", _arrays(model.weights))
    arrays |= _numbered("optimizer", _arrays(model.optimizer.variables))
    arrays |= _numbered("best", state.best)
    write_atomically(path, lambda temporary: np.savez(temporary, **arrays))


def load_checkpoint(
    path: Path, model: keras.Model, stage: range | None = None, *, run: Record = None
) -> TrainingState:
    """Restore a model, its optimizer and the state of its training.

    Args:
        path: A file that `save_checkpoint` wrote.
        model: As `compile_for_training` left it, with the same weights set to train.
        stage: The epochs that these weights train in; another stage has its own optimizer.
        run: What `config.json` of the run holds that goes on.

    Returns:
        The state.

    Raises:
        ValueError: The file is damaged, or belongs to another model or run.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            old, new = flat(meta.get("run") or {}), flat(run or {})
            if others := sorted({n.rpartition(".")[2] for n in old if old[n] != new.get(n)}):
                raise ValueError(f"it is of another run, which has other {', '.join(others)}")
            optimizer = model.optimizer  # Not built again: loss scaling would add variables.
            _assign(model.weights, _sequence(file, "weight"))
            if stage is None or stage.start < meta["epoch"] < stage.stop:
                _assign(optimizer.variables, with_rate(optimizer, _sequence(file, "optimizer")))
            return TrainingState(best=_sequence(file, "best"), **meta)
    except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        why = str(error).partition("\n")[0]  # Keras would list weights.
        raise ValueError(f"{path}: cannot resume from this checkpoint ({why}); {MOVE}") from error


def stored_weights(path: Path) -> list[np.ndarray]:
    """Read a checkpoint's weights of the last finished epoch, in the order of `model.weights`."""
    with np.load(path, allow_pickle=False) as file:
        return _sequence(file, "weight")


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _arrays(variables):
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def _numbered(name: str, arrays) -> dict[str, np.ndarray]:
    return {f"{name}_{index:05d}": array for index, array in enumerate(arrays)}


def _sequence(file, name: str) -> list[np.ndarray]:
    return [file[key] for key in sorted(file.files) if key.startswith(f"{name}_")]


def train(
    model: keras.Model,
    training: DecodedCases,
    validation: DecodedCases,
    *,
    optimization: Optimization,
    augmentation: Augmentation,
    checkpoint: Path,
    history: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    views: int | None = None,
    learner: keras.Model | None = None,
    relative_power: float | None = None,
    stage: range | None = None,
    sides: Sequence[int] = (),
    run: Record = None,
) -> TrainingState:
    """Train a compiled model, going on where an interrupted training stopped.

    Args:
        model: Compiled by `compile_for_training`, with the wanted weights set to train.
        training: Training cases.
        validation: Validation cases; may be empty when the last weights are kept.
        optimization: Steps, learning rate and the like.
        augmentation: How far the views differ from the images.
        checkpoint: The checkpoint file, `.npz`; its folder also holds cached activations meanwhile.
        history: The CSV file with a row per epoch.
        callbacks: More Keras callbacks.
        views: How many of each image, computed once where layers are frozen; `None`: new ones.
        learner: What `learner_of` returned for this model, if `views` is `None`; else made here.
        relative_power: Exponent of the strategy `rgn`, else `None`; rates go to `rates.csv`.
        stage: The epochs of a stage, which has its own optimizer; all epochs unless given.
        sides: Heights and widths to train at, as `Batches` takes them.
        run: What `config.json` of its run holds; a checkpoint of a run of other data is refused.

    Returns:
        The state; the model holds the last or the best weights, as the settings say. Callbacks end
        the training as in Keras, by `model.stop_training`, after a step or an epoch.

    Raises:
        ValueError: The checkpoint is damaged, or of another run; or the best weights are asked for
            without validation cases.
        FloatingPointError: The loss or the weights became NaN or infinite; see the message.
    """
    optimization.require_validation(len(validation))
    state = replace(_restored(model, checkpoint, history, stage=stage, run=run), run=run)
    size, seed = optimization.batch_size, optimization.seed
    batches = Batches(training, size, augmentation, seed=seed, views=views, sides=sides)
    feed: Batches | ActivationCache = batches
    if views is not None or learner is None:
        learner, feed = _with_activation_cache(model, batches, checkpoint.parent)
    listeners = listening(callbacks, model, optimization)
    listeners.on_train_begin()
    epochs = _Epochs(
        model, learner, feed, validation=validation, optimization=optimization, listeners=listeners
    )
    relative = None if relative_power is None else RelativeRates(model, batches, relative_power)
    while not _is_finished(state, optimization) and (stage is None or state.epoch < stage.stop):
        try:
            if relative is not None:
                epochs = epochs.with_rates(relative, state.epoch, history)
            row, weights = epochs.train(state.epoch)
        except FloatingPointError as error:
            kept = _what_is_kept(checkpoint, state, optimization)
            raise FloatingPointError(f"{error}; {kept}") from None
        _record(state, row, weights if optimization.keep == "best" else [])
        state.stopped = bool(model.stop_training)
        save_checkpoint(checkpoint, model, state)
        write_text(history, _as_csv(state.history))
    listeners.on_train_end()
    if optimization.keep == "best" and _is_finished(state, optimization):
        model.set_weights(state.best)
    return state


def _restored(
    model: keras.Model, checkpoint: Path, history: Path, *, stage: range | None, run: Record
) -> TrainingState:
    """Return what an interrupted training had reached; write its history, which came last."""
    if not checkpoint.is_file():
        return TrainingState()
    state = load_checkpoint(checkpoint, model, stage, run=run)
    known = history.read_text("utf-8", errors="replace") if history.is_file() else ""
    if not _as_csv(state.history).startswith(known):
        told = f"is not the history of the training in {checkpoint.name}, or was edited"
        raise ValueError(f"{history}: {told}; restore it, or {MOVE}")
    write_text(history, _as_csv(state.history))
    return state


def _with_activation_cache(
    model: keras.Model, batches: Batches, folder: Path
) -> tuple[keras.Model, Batches | ActivationCache]:
    """Return the part of the model that has to run in every step, and the batches that it takes."""
    cut = None if batches.views is None else cut_before_training(model)
    if cut is None:
        return learner_of(model), batches
    return learner_of(model, cut.trained), ActivationCache(batches, cut.frozen, folder)


def _is_finished(state: TrainingState, settings: Optimization) -> bool:
    gave_up = settings.patience is not None and state.epoch - state.best_epoch >= settings.patience
    return state.stopped or gave_up or state.epoch * settings.validate_every >= settings.steps


@dataclass(frozen=True)
class _Epochs:
    """What the epochs of a training share."""

    model: keras.Model
    learner: keras.Model
    batches: Batches | ActivationCache
    validation: DecodedCases
    optimization: Optimization
    listeners: keras.callbacks.CallbackList

    def with_rates(self, relative: RelativeRates, epoch: int, history: Path) -> _Epochs:
        """Measure new rates and begin a new optimizer, where the schedule has come to."""
        first, last = self._range(epoch)
        write_rates(history.with_name("rates.csv"), epoch, relative.measure(first, last))
        before = rate_variable(self.model.optimizer)
        compile_for_training(self.model, self.optimization, first)
        if (rate := rate_variable(self.model.optimizer)) is not None:
            rate.assign(before)  # Callbacks may have lowered it.
        return replace(self, learner=learner_of(self.model))

    def _range(self, epoch: int) -> tuple[int, int]:
        """The first step of an epoch, and the step after its last."""
        first = epoch * self.optimization.validate_every
        return first, min(first + self.optimization.validate_every, self.optimization.steps)

    def train(self, epoch: int) -> tuple[dict[str, float], list[np.ndarray]]:
        """Train up to the next validation; return the row for the history, and its weights."""
        started, (first, last) = time.perf_counter(), self._range(epoch)
        self.listeners.on_epoch_begin(epoch)
        require_as_compiled(self.model, self.learner)
        logs, last = self._steps(first, last)
        require_as_compiled(self.model, self.learner)
        weights = self.model.get_weights()  # Those measured: callbacks may set others.
        _require_finite("weights", weights, last)
        logs["val_dice"] = mean_dice(self.model, self.validation) if self.validation else math.nan
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.listeners.on_epoch_end(epoch, logs)
        return {"step": last, **logs, "seconds": time.perf_counter() - started}, weights

    def _steps(self, first: int, last: int) -> tuple[dict[str, float], int]:
        """Train steps `first` to `last - 1`, and return the means of loss and Dice, and the end."""
        totals = {"loss": 0.0, "dice": 0.0}
        for count, (inputs, masks) in enumerate(self.batches.steps(first, last), start=1):
            self.listeners.on_train_batch_begin(count - 1)
            values = self.learner.train_on_batch(inputs, masks, return_dict=True)
            _require_finite("loss", [float(values["loss"])], first + count)
            totals = {name: total + float(values[name]) for name, total in totals.items()}
            logs = {name: total / count for name, total in totals.items()}
            self.listeners.on_train_batch_end(count - 1, logs)
            if self.model.stop_training:
                break
        return logs, first + count


def _require_finite(what: str, arrays: Sequence[np.ndarray | float], step: int) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise FloatingPointError(f"the {what} became NaN or infinite at step {step}")


def _what_is_kept(path: Path, state: TrainingState, settings: Optimization) -> str:
    kept = "no earlier step was kept, and the initial weights are unchanged"
    if state.history:
        kept = f"the weights of step {state.history[-1]['step']} are kept in {path}"
    return f"{kept}. Try a lower learning rate than {settings.learning_rate:g}."


def _record(state: TrainingState, row: dict[str, float], weights: list[np.ndarray]) -> None:
    state.epoch += 1
    state.history.append(row)
    if row["val_dice"] > state.best_dice:
        state.best_dice, state.best_epoch = row["val_dice"], state.epoch
        state.best = weights


def _as_csv(history: Sequence[dict[str, float]]) -> str:
    rows = [[f"{row[name]:.6g}" for name in HISTORY_COLUMNS] for row in history]
    return "".join(",".join(cells) + "\n" for cells in (HISTORY_COLUMNS, *rows))


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
            follows a schedule. One that changes the current folder is refused when it does so.
    """
    if isinstance(callbacks, keras.callbacks.Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: {callbacks!r} is not a list of Keras callbacks; give a list")
    given = tuple(callbacks)
    for one in given:
        if isinstance(one, type) or not hasattr(one, "set_model"):
            raise TypeError(f"callbacks: {one!r} is not a Keras callback; give an instance of one")
        if isinstance(one, keras.callbacks.BackupAndRestore):
            raise ValueError("BackupAndRestore: undoes a run, which resumes by itself; omit it")
        if schedule != "constant" and isinstance(one, _SET_THE_RATE):
            raise ValueError(f"{type(one).__name__}: would set the learning rate, but {NOT_SET}")
        for path in (getattr(one, name, None) for name in ("filepath", "filename")):
            if path and writes(Path(path)):
                raise ValueError(
                    f"{path}: the run writes this file itself, so it would replace what "
                    f"{type(one).__name__} writes; give that callback another file"
                )
    return *given, _StaysHere()


class _StaysHere(keras.callbacks.Callback):
    """Stops a run as soon as another callback leaves the folder that paths are relative to."""

    def __init__(self):
        super().__init__()
        self._here = Path.cwd()

    def _require(self, *_, **__):
        if (now := Path.cwd()) != self._here:
            raise ValueError(f"{now}: a callback changed to it; let it return to {self._here}")

    on_train_begin = on_epoch_end = on_train_end = _require  # Files are written after these.


def listening(
    callbacks: Iterable[keras.callbacks.Callback], model: keras.Model, settings: Optimization
) -> keras.callbacks.CallbackList:
    """Return callbacks that know of the model, its epochs and steps, and may stop its training."""
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

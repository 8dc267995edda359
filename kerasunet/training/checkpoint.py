"""The state of an interrupted training in one file: weights, optimiser, best weights, history.

One file and one rename, so that a kill at any moment leaves a state that belongs together.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from kerasunet.files import write_atomically


@dataclass
class Progress:
    """What a training has reached.

    Attributes:
        epoch: Finished stretches between validations.
        history: One row per stretch: step, loss, dice, val_dice, learning_rate, seconds.
        best: Weights of the best validation so far, in the order of `model.weights`.
        best_dice: Its mean Dice, 0 to 1; -1 before the first validation.
        best_epoch: The stretch it came after.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)
    best_dice: float = -1.0
    best_epoch: int = 0


def save_progress(path: Path, model: keras.Model, progress: Progress) -> None:
    """Writes the state of a training.

    Args:
        path: The checkpoint file, `.npz`.
        model: Compiled model; its weights and its optimiser's variables are stored.
        progress: What the training has reached.
    """
    meta = {
        "epoch": progress.epoch,
        "history": progress.history,
        "best_dice": progress.best_dice,
        "best_epoch": progress.best_epoch,
    }
    arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= _numbered("weight", _arrays(model.weights))
    arrays |= _numbered("optimizer", _arrays(model.optimizer.variables))
    arrays |= _numbered("best", progress.best)
    write_atomically(path, lambda temporary: np.savez(temporary, **arrays))


def load_progress(path: Path, model: keras.Model) -> Progress:
    """Restores a model, its optimizer and the progress of its training.

    Args:
        path: A file that `save_progress` wrote.
        model: Compiled model with the same weights set to train.

    Returns:
        The progress.

    Raises:
        ValueError: The file is damaged, or belongs to another model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            model.optimizer.build(model.trainable_variables)
            _assign(model.weights, _sequence(file, "weight"))
            _assign(model.optimizer.variables, _sequence(file, "optimizer"))
            return Progress(best=_sequence(file, "best"), **meta)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot go on from this checkpoint ({error})") from error


def stored_weights(path: Path) -> list[np.ndarray]:
    """Reads the weights of the last finished stretch, in the order of `model.weights`.

    Args:
        path: A file that `save_progress` wrote.
    """
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

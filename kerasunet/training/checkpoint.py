"""The state of an interrupted training in one file: weights, optimiser, best weights, history.

One file and one rename, so that a kill at any moment leaves a state that belongs together.
"""

from __future__ import annotations

import json
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


def save_progress(path: Path, model: keras.Model, progress: Progress, identity: dict) -> None:
    """Writes the state of a training.

    Args:
        path: The checkpoint file, `.npz`.
        model: Compiled model; its weights and its optimiser's variables are stored.
        progress: What the training has reached.
        identity: What must be equal to go on from this file, such as the strategy.
    """
    meta = {
        "epoch": progress.epoch,
        "history": progress.history,
        "best_dice": progress.best_dice,
        "best_epoch": progress.best_epoch,
        "identity": identity,
    }
    arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= _numbered("weight", _arrays(model.weights))
    arrays |= _numbered("optimizer", _arrays(model.optimizer.variables))
    arrays |= _numbered("best", progress.best)
    write_atomically(path, lambda temporary: np.savez(temporary, **arrays))


def load_progress(path: Path, model: keras.Model, identity: dict) -> Progress:
    """Restores a model, its optimiser and the progress of its training.

    Raises:
        ValueError: The file belongs to another training; the message names what differs.
    """
    with np.load(path, allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes())
        _refuse_other(path, meta["identity"], identity)
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(model.weights, _sequence(file, "weight"), strict=True):
            variable.assign(value)
        for variable, value in zip(
            model.optimizer.variables, _sequence(file, "optimizer"), strict=True
        ):
            variable.assign(value)
        return Progress(
            meta["epoch"],
            meta["history"],
            _sequence(file, "best"),
            meta["best_dice"],
            meta["best_epoch"],
        )


def _refuse_other(path: Path, saved: dict, asked: dict) -> None:
    differences = [
        f"{name} was {saved.get(name)!r}, now {asked.get(name)!r}"
        for name in sorted(saved.keys() | asked.keys())
        if saved.get(name) != asked.get(name)
    ]
    if differences:
        raise ValueError(
            f"{path}: cannot resume, this run was started with other settings: "
            + "; ".join(differences)
            + ". Use the same settings, another output folder, or start over."
        )


def _arrays(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _numbered(name: str, arrays) -> dict[str, np.ndarray]:
    return {f"{name}_{index:05d}": array for index, array in enumerate(arrays)}


def _sequence(file, name: str) -> list[np.ndarray]:
    return [file[key] for key in sorted(file.files) if key.startswith(f"{name}_")]

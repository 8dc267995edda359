"""A progress bar with loss and Dice, as a Keras callback; plain lines without a terminal."""

from __future__ import annotations

import math
import sys
from typing import Self

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kerasunet.training.settings import Optimization


class ProgressBar(keras.callbacks.Callback):
    """Shows step, loss, Dice and the time that remains on standard error.

    As a context, it gives the cursor back however the training ends.
    """

    def __init__(self, settings: Optimization):
        super().__init__()
        self._settings = settings
        self._step = 0
        self._validation = ""
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("training", total=settings.steps, note="")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_train_begin(self, logs=None):
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._step = epoch * self._settings.validate_every

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        note = f"loss {logs['loss']:.3f}  Dice {logs['dice']:.3f}{self._validation}"
        self._bar.update(self._task, completed=self._step, note=note)

    def on_epoch_end(self, epoch, logs=None):
        dice = logs["val_dice"]
        self._validation = "" if math.isnan(dice) else f"  validation Dice {dice:.3f}"
        if self._bar.disable:
            print(
                f"step {self._step}/{self._settings.steps}  loss {logs['loss']:.3f}  "
                f"Dice {logs['dice']:.3f}{self._validation}",
                file=sys.stderr,
            )

    def on_trial_end(self, strategy: str, fold: int, folds: int, dice: float) -> None:
        """Print a line for a trial of `auto:search`."""
        print(f"trial {fold}/{folds} of {strategy:<34}  Dice {dice:.3f}", file=sys.stderr)

    def on_train_end(self, logs=None):
        self._bar.stop()


class AdaptProgress:
    """Shows what an adaptation is doing, on standard error; as a context, it ends the bar."""

    def __init__(self):
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("adapting", total=None, visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, text: str) -> None:
        """Say what begins."""
        self._say(f"{text} …")

    def note(self, text: str) -> None:
        """Say what was found."""
        self._say(f"  {text}")

    def planned(self, steps: int, seconds: float) -> None:
        """Say how long it should take, and start the bar."""
        self._say(f"  {steps:,} training steps to come, about {_duration(seconds)}")
        self._bar.update(self._task, total=steps, visible=True)

    def step(self, done: int = 1) -> None:
        """Move the bar."""
        self._bar.advance(self._task, done)

    def _say(self, text: str) -> None:
        if self._bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"

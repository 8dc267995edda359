"""A fine-tuning in its own process: start it, follow it, cancel it.

`python -m kerasunet.runs.background RUN_DIRECTORY` is that process.
"""

from __future__ import annotations

import csv
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import kerasunet
from kerasunet import runs
from kerasunet.backend import start_backend
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.drawing import draw_comparison, write_png
from kerasunet.files import expanded, read_json, write_json
from kerasunet.processes import BackgroundProcess, end_with_parent, last_line, module_command
from kerasunet.runs.directory import RunDirectory
from kerasunet.training.evaluation import predict
from kerasunet.training.settings import FinetuneSettings, finetune_settings, to_json

if TYPE_CHECKING:
    import keras

    from kerasunet.data.cases import Case

_MOST_PICTURES = 4
_SECONDS_BETWEEN = 0.5
_WARNINGS = "warnings.json"
_USER_ERRORS = (ValueError, OSError, FloatingPointError)


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        phase: `"starting"`, `"training"`, `"measuring"`, `"finished"`, `"failed"` or
            `"canceled"`.
        step: Training steps done.
        steps: Training steps in all.
        history: A row for each validation: step, loss, dice, val_dice, learning_rate, seconds.
        pictures: Of validation cases: image, true mask, what the model finds now.
        message: Why a failed run failed.
        warnings: What a user should know of the run, such as that its start has seen images.
    """

    phase: str
    step: int
    steps: int
    history: tuple[dict[str, float], ...] = ()
    pictures: tuple[Path, ...] = ()
    message: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.phase in ("finished", "failed", "canceled")


class BackgroundRun:
    """A fine-tuning run that another process executes.

    Args:
        settings: The run.
        directory: The run directory, as `kerasunet.training.finetune` fills it.
        additions: Environment variables to set for the process, in addition to the present ones.
    """

    def __init__(
        self,
        settings: FinetuneSettings,
        directory: Path,
        additions: Mapping[str, str] | None = None,
    ):
        self.directory = directory = expanded(directory)
        self.settings = settings
        self._files = RunDirectory(directory)
        write_json(self._files.request, to_json(settings))
        command = module_command("kerasunet.runs.background", str(directory))
        self._process = BackgroundProcess(command, self._files.log, additions)

    def progress(self) -> Progress:
        """Read what the process has written so far."""
        ended = self._process.has_ended
        phase, step = self._written()
        message = ""
        if self._process.canceled:
            phase = "canceled"
        elif ended:
            phase = "finished" if self._files.summary.is_file() else "failed"
            message = "" if phase == "finished" else last_line(self._files.log)
        return Progress(
            phase,
            step,
            self.settings.optimization.steps,
            history=self._history(),
            pictures=self._pictures(),
            message=message,
            warnings=self._warnings(),
        )

    def cancel(self) -> None:
        """End the process, if it has not ended, and wait for that."""
        self._process.cancel()

    def _written(self) -> tuple[str, int]:
        path = self._files.status
        if not path.is_file():
            return "starting", 0
        status = read_json(path)
        return status["phase"], status["step"]

    def _history(self) -> tuple[dict[str, float], ...]:
        path = self._files.history
        if not path.is_file():
            return ()
        with open(path, encoding="utf-8", newline="") as file:
            return tuple(
                {name: float(text) for name, text in row.items()} for row in csv.DictReader(file)
            )

    def _warnings(self) -> tuple[str, ...]:
        path = self.directory / _WARNINGS
        return tuple(read_json(path)) if path.is_file() else ()

    def _pictures(self) -> tuple[Path, ...]:
        return tuple(sorted(self._files.pictures.glob("*.png")))


def main(arguments: list[str]) -> int:
    """Execute the run of a directory; an error is in the last line of output."""
    end_with_parent()
    try:
        _execute(Path(arguments[0]))
    except _USER_ERRORS as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        return 2
    return 0


def _execute(directory: Path) -> None:
    start_backend()
    files = RunDirectory(directory)
    settings = finetune_settings(read_json(files.request))
    prepared = runs.prepare(settings)
    drawn = prepared.data.select(prepared.split.validation[:_MOST_PICTURES])
    reporter = _Reporter(files, settings, drawn)
    with _kept_warnings(directory / _WARNINGS):
        runs.finetune(settings, directory, [reporter.callback()], prepared=prepared)


class _Reporter:
    """Writes the current step and, after every validation, what the model then finds.

    `BackgroundRun` may read these small files at any time.

    Args:
        files: Of the run.
        settings: Of the run.
        cases: What is drawn.
    """

    def __init__(self, files: RunDirectory, settings: FinetuneSettings, cases: Sequence[Case]):
        self._files, self._settings, self._cases = files, settings, cases
        self._decoded: DecodedCases | None = None
        self._step = 0
        self._written = 0.0

    def callback(self) -> keras.callbacks.Callback:
        """Return the callback that writes while a model trains."""
        import keras

        told: keras.callbacks.Callback = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: self._write("training"),
            on_epoch_begin=lambda epoch, logs: self._begin(epoch),
            on_train_batch_end=lambda batch, logs: self._count(),
            on_epoch_end=lambda epoch, logs: self._show(told.model),
            on_train_end=lambda logs: self._write("measuring"),
        )
        return told

    def _begin(self, epoch: int) -> None:
        self._step = epoch * self._settings.optimization.validate_every

    def _count(self) -> None:
        self._step += 1
        if time.monotonic() - self._written > _SECONDS_BETWEEN:
            self._write("training")

    def _show(self, model: keras.Model) -> None:
        self._write("training")
        if self._decoded is None:
            size = (self._settings.image_size, self._settings.image_size)
            self._decoded = decode(self._cases, size, model.input_shape[-1])
        cases = self._decoded
        masks = cases.objects.decide(predict(model, cases.images), self._settings.threshold)
        for index, found in enumerate(masks):
            picture = draw_comparison(
                cases.images[index],
                cases.masks[index],
                {f"step {self._step}": found},
                objects=cases.objects,
            )
            write_png(self._files.pictures / f"{index}.png", picture)

    def _write(self, phase: str) -> None:
        write_json(self._files.status, {"phase": phase, "step": self._step})
        self._written = time.monotonic()


@contextmanager
def _kept_warnings(path: Path) -> Iterator[None]:
    """Write what kerasunet warns of to a file, beside showing it as usual; nothing of libraries."""
    told: list[str] = []
    package = Path(kerasunet.__file__).parent
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def keep(message, category, filename, *words, **more) -> None:
            shown(message, category, filename, *words, **more)
            if Path(filename).is_relative_to(package):
                told.append(str(message))
                write_json(path, told)

        warnings.showwarning = keep
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

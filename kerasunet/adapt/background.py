"""An adaptation in its own process: start it, follow it, cancel it.

`python -m kerasunet.adapt.background DIRECTORY` is that process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasunet.adapt.settings import AdaptSettings
from kerasunet.backend import start_backend
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.files import expanded, read_json, write_json
from kerasunet.processes import BackgroundProcess, end_with_parent, last_line, module_command
from kerasunet.training.settings import Optimization, to_json

RESULT = "adapted"
"""The folder of the answer, within the directory of the process."""
_REQUEST, _STATUS, _LOG = "asked.json", "status.json", "log.txt"
_SECONDS_BETWEEN = 0.5
_USER_ERRORS = (ValueError, OSError, FloatingPointError)


@dataclass(frozen=True)
class AdaptProgress:
    """How far an adaptation has come.

    Attributes:
        state: `"running"`, `"finished"`, `"failed"` or `"canceled"`.
        phase: What it is doing, in a few words.
        notes: What it has found.
        step: Training steps done.
        steps: Training steps in all; 0 before they are planned.
        seconds: How long these should take.
        message: Why it failed.
    """

    state: str
    phase: str = "starting"
    notes: tuple[str, ...] = ()
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state != "running"


class BackgroundAdaptation:
    """An adaptation that another process executes.

    Args:
        settings: The adaptation.
        directory: Receives `adapted/`, which `kerasunet.adapt.adapt` fills, and files beside it.
        additions: Environment variables to set for the process, in addition to the present ones.
    """

    def __init__(
        self, settings: AdaptSettings, directory: Path, additions: Mapping[str, str] | None = None
    ):
        self.directory = directory = expanded(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / _REQUEST, to_json(settings))
        command = module_command("kerasunet.adapt.background", str(directory))
        self._process = BackgroundProcess(command, directory / _LOG, additions)

    def progress(self) -> AdaptProgress:
        """Read what the process has written so far."""
        ended, status = self._process.has_ended, self.directory / _STATUS
        written = read_json(status) if status.is_file() else {}
        state, message = "running", ""
        if self._process.canceled:
            state = "canceled"
        elif ended:
            is_done = (self.directory / RESULT / "answer.json").is_file()
            state = "finished" if is_done else "failed"
            message = "" if is_done else last_line(self.directory / _LOG)
        notes = tuple(written.pop("notes", ()))
        return AdaptProgress(state, notes=notes, message=message, **written)

    def cancel(self) -> None:
        """End the process, if it has not ended, and wait for that."""
        self._process.cancel()


@dataclass
class _Reporter:
    """Write to a small file, at most twice a second, how an adaptation is going."""

    path: Path
    values: dict[str, Any] = field(default_factory=lambda: {"notes": []})
    written: float = 0.0

    def phase(self, text: str) -> None:
        """Write what begins now."""
        self.values["phase"] = text
        self._write()

    def note(self, text: str) -> None:
        """Write a finding."""
        self.values["notes"].append(text)
        self._write()

    def planned(self, steps: int, seconds: float) -> None:
        """Write what is to come."""
        self.values |= {"step": 0, "steps": steps, "seconds": seconds}
        self._write()

    def step(self, done: int = 1) -> None:
        """Count steps."""
        self.values["step"] = min(self.values["step"] + done, self.values["steps"])
        if time.monotonic() - self.written > _SECONDS_BETWEEN:
            self._write()

    def _write(self) -> None:
        write_json(self.path, self.values)
        self.written = time.monotonic()


def adapt_settings(values: Mapping[str, Any]) -> AdaptSettings:
    """Return the settings that `to_json` made these values of."""
    parts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    parts["optimization"] = Optimization(**values["optimization"])
    parts["augmentation"] = Augmentation(**values["augmentation"])
    return AdaptSettings(**parts)


def main(arguments: list[str]) -> int:
    """Execute the adaptation of a directory; an error is in the last line of output."""
    end_with_parent()
    directory = Path(arguments[0])
    try:
        start_backend()
        from kerasunet.adapt.adapting import adapt

        settings = adapt_settings(read_json(directory / _REQUEST))
        adapt(settings, directory / RESULT, _Reporter(directory / _STATUS))
    except _USER_ERRORS as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

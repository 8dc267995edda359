"""A run directory: its files by name, and which run it belongs to; runs are never mixed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet import models
from kerasunet.files import read_json, remove_unfinished, write_json, writing
from kerasunet.metrics import with_unknown_bounds
from kerasunet.options import declared
from kerasunet.strategies import parse
from kerasunet.training.settings import FinetuneSettings, Optimization, PretrainSettings, to_json

if sys.platform == "win32":  # That a directory is used twice at once is not noticed there.
    fcntl = None
else:
    import fcntl
_METRICS = ("before", "after", "metrics")
_PATHS = ("data", "manual_dir", "validation_data", "init", "groups")
_PATIENCE = 20.0  # Seconds. A process whose parent was killed ends within a few.
_SECONDS_BETWEEN_LOOKS = 0.1
_DIGEST_LENGTH = 12  # Characters that messages tell of a digest.


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock a directory for this process; remove what killed processes left half-written in it.

    The lock is on the directory itself and is released when the process ends, however it ends.

    Args:
        directory: Created, with its parents, if it is new; those created are removed again if they
            stay empty.

    Raises:
        ValueError: Another process works in it.
        NotWritten: It cannot be made.
    """
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY) if fcntl else None
    try:
        if descriptor is None or _locked(descriptor, directory):
            remove_unfinished(directory)
        yield
    finally:
        with contextlib.suppress(OSError):  # One holds something.
            for path in new:
                path.rmdir()
        if descriptor is not None:
            os.close(descriptor)


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run by name, and which run they belong to.

    Attributes:
        path: The directory; it need not exist.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Settings, digests and versions: what distinguishes the run from others."""
        return self.path / "config.json"

    @property
    def choice(self) -> Path:
        """With `auto`, what was chosen, and why."""
        return self.path / "choice.json"

    @property
    def layers_table(self) -> Path:
        """Which layers train, for people."""
        return self.path / "layers.txt"

    @property
    def layers(self) -> Path:
        """Which layers train, as JSON."""
        return self.path / "layers.json"

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.path / "checkpoint.npz"

    @property
    def history(self) -> Path:
        """A row for each validation."""
        return self.path / "history.csv"

    @property
    def cases(self) -> Path:
        """The metrics of each held-out case."""
        return self.path / "cases.csv"

    @property
    def model(self) -> Path:
        """The trained model; its card lies beside it as `.json` and `.md`."""
        return self.path / "model.keras"

    @property
    def overlays(self) -> Path:
        """Pictures of held-out cases, before and after."""
        return self.path / "overlays"

    @property
    def tensorboard(self) -> Path:
        """Logs for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def summary(self) -> Path:
        """The outcome of the run; a run without it is not finished."""
        return self.path / "summary.json"

    @property
    def request(self) -> Path:
        """The settings of a run in the background."""
        return self.path / "asked.json"

    @property
    def status(self) -> Path:
        """Phase and step that a run in the background has reached."""
        return self.path / "status.json"

    @property
    def pictures(self) -> Path:
        """What a run in the background finds on validation cases."""
        return self.path / "pictures"

    @property
    def log(self) -> Path:
        """What the process of the run printed."""
        return self.path / "log.txt"

    @property
    def specification(self) -> Path:
        """Settings and learning rates of a run of a study."""
        return self.path / "run.json"

    @property
    def result(self) -> Path:
        """What a run of a study adds to its table."""
        return self.path / "result.json"

    def claim(self, settings: Any, digests: Mapping[str, str]) -> None:
        """Claim the directory for this run, or refuse.

        The content of the data matters, its location does not: digests are compared, paths are not.

        Args:
            settings: Settings dataclass of the run.
            digests: Name to digest of everything that the settings only point to.

        Raises:
            ValueError: The directory holds a run with other settings, data or major versions, and
                the message names both sides of each difference; or it holds the remains of a run
                without `config.json`.
        """
        asked = {"settings": _named(settings), "digests": dict(digests), "versions": versions()}
        if self.config.is_file():
            refuse_differences(self.path, read_json(self.config), asked)
        else:
            self._refuse_remains()
            write_json(self.config, asked)

    def finished(self) -> dict[str, Any] | None:
        """Return the summary of a finished run, which no longer needs a checkpoint, else `None`."""
        if not self.summary.is_file():
            return None
        self.checkpoint.unlink(missing_ok=True)
        return self.read_summary()

    def read_summary(self) -> dict[str, Any]:
        """Read `summary.json`; what JSON calls null in its metrics is NaN."""
        summary = read_json(self.summary)
        found = {name: summary[name] for name in _METRICS if summary.get(name)}
        return {**summary, **{name: with_unknown_bounds(value) for name, value in found.items()}}

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write the summary, the last step, which marks the run as finished; return it."""
        write_json(self.summary, summary)
        self.checkpoint.unlink(missing_ok=True)
        return summary

    def clear(self) -> None:
        """Remove the directory if it is a run directory; if it does not exist, do nothing.

        The record that the run is finished is removed first, and the record of which run it is
        last, so a kill on the way leaves nothing that could be taken for another run.

        Raises:
            ValueError: It is not a run directory, or another process is using it.
        """
        if not self.path.exists():
            return
        if not self.config.is_file():
            raise ValueError(
                f"{self.path}: has no {self.config.name}, so it is not a run; it was left untouched"
            )
        with exclusive(self.path):
            self.summary.unlink(missing_ok=True)
            for path in self.path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path != self.config:
                    path.unlink()
            shutil.rmtree(self.path)

    def _refuse_remains(self) -> None:
        for path in (self.checkpoint, self.summary):
            if path.exists():
                raise ValueError(
                    f"{self.path}: holds {path.name} but no {self.config.name}, so its settings "
                    "are unknown; use another output folder, or remove this one"
                )


def _named(settings: Any) -> dict[str, Any]:
    """Return the settings, of files and folders only the name: a run directory may be handed on."""
    values = to_json(settings)
    paths = {name: values[name] for name in _PATHS if values.get(name)}
    return {**values, **{name: Path(path).name for name, path in paths.items()}}


def versions() -> dict[str, str]:
    """Return the backend, and versions of this package, Keras and the backend, by name."""
    import keras

    return {"backend": keras.backend.backend(), **models.versions()}


_IMPLIED = {
    name: option.implied
    for settings in (Optimization, FinetuneSettings, PretrainSettings)
    for name, option in declared(settings).items()
    if option.implied is not None
}


def refuse_differences(directory: Path, known: dict[str, Any], asked: dict[str, Any]) -> None:
    """Compare what a directory holds with what is requested, except for the locations of files.

    Digests and versions that an older record lacks are not compared.

    Raises:
        ValueError: They differ; the message names both sides of each difference.
    """
    old, new = _flat(known), _flat(asked)
    differences = [
        f"{name.removeprefix('settings.')} was {_readable(name, old.get(name))}, "
        f"now {_readable(name, new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if not _agree(name, old.get(name), new.get(name))
        and not _is_path(name)
        and (name in old or not name.startswith(("digests.", "versions.")))
    ]
    if differences:
        raise ValueError(
            f"{directory}: holds results of other settings, data or versions: "
            f"{'; '.join(differences)}. Continue with the old ones, use another output folder, "
            "or remove this one (finetune and pretrain do so with --restart)."
        )


def _locked(descriptor: int, directory: Path) -> bool:
    """Wait a little for the lock; return false where the file system has none."""
    given_up = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > given_up:
                raise ValueError(
                    f"{directory}: another process is using it; wait until it ends, or use "
                    "another output folder"
                ) from error
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        except OSError:  # A network folder without locks.
            return False
        else:
            return True


def _is_path(name: str) -> bool:
    section, _, last = name.rpartition(".")
    return section.endswith(("settings", "run")) and last in _PATHS


def _agree(name: str, old: Any, new: Any) -> bool:
    """Whether a value is as it was; a strategy may be spelt another way, an option be younger."""
    if old is None and name.rpartition(".")[2] in _IMPLIED:
        return new == _IMPLIED[name.rpartition(".")[2]]
    if name == "settings.layers" and old != new and isinstance(old, str):
        return str(parse(old)) == new
    return _compared(name, old) == _compared(name, new)


def _compared(name: str, value: Any) -> Any:
    """Of a version, only the first number counts; before 1.0, the second one too."""
    if not name.startswith("versions.") or not isinstance(value, str):
        return value
    first, second = (value.split(".") + [""])[:2]
    return (first, second) if first == "0" else first


def _readable(name: str, value: Any) -> str:
    is_digest = name.startswith("digests.") and isinstance(value, str)
    return repr(value[:_DIGEST_LENGTH] if is_digest else value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat

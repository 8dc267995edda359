"""A run directory belongs to one set of settings and data; it is never mixed with another."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerasunet.files import read_json, remove_unfinished, write_json, writing
from kerasunet.training.settings import to_json

try:
    import fcntl
except ImportError:  # Windows: that a directory is used twice at once is not noticed.
    fcntl = None
CONFIG, SUMMARY, CHECKPOINT = "config.json", "summary.json", "checkpoint.npz"
_PLACES = ("data", "manual_dir", "validation_data", "init", "groups")
_PATIENCE = 20.0  # Seconds. A process whose parent was killed ends within a few.
_SECONDS_BETWEEN_LOOKS = 0.1
_SHOWN = 12  # Characters of a digest.


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Has a directory for this process alone; removes what killed ones left half-written there.

    The lock is the directory's own and ends with the process, however that ends.

    Args:
        directory: Made if it is new, and removed again if it then stays empty.

    Raises:
        ValueError: Another process works in it.
        NotWritten: It cannot be made.
    """
    is_new = not directory.exists()
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY) if fcntl else None
    try:
        if descriptor is None or _locked(descriptor, directory):
            remove_unfinished(directory)
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # It holds something.
                directory.rmdir()
        if descriptor is not None:
            os.close(descriptor)


def claim(directory: Path, settings: Any, digests: Mapping[str, str]) -> None:
    """Makes a directory this run's own, or refuses.

    Where data come from does not matter, what they are does: paths are left out of the
    comparison, digests are in.

    Args:
        directory: The run directory; `config.json` is written if it is new.
        settings: Settings dataclass of the run.
        digests: Name to digest of everything that the settings only point to.

    Raises:
        ValueError: The directory holds a run with other settings, data or major versions, both
            sides of each difference named; or what is left of a run without `config.json`.
    """
    asked = {"settings": _named(settings), "digests": dict(digests), "versions": versions()}
    path = directory / CONFIG
    if path.is_file():
        refuse_differences(directory, read_json(path), asked)
    else:
        _refuse_remains(directory)
        write_json(path, asked)


def _named(settings: Any) -> dict[str, Any]:
    """The settings, of files and folders only the name: a run directory may be handed on."""
    values = to_json(settings)
    places = {name: values[name] for name in _PLACES if values.get(name)}
    return {**values, **{name: Path(place).name for name, place in places.items()}}


def clear(directory: Path) -> None:
    """Removes a run directory, and only a run directory.

    That the run is finished is forgotten first and whose it is last, so that a kill on the way
    leaves nothing that could be taken for another run.

    Raises:
        ValueError: It is no run directory, or another process works in it.
    """
    if not directory.exists():
        return
    if not (directory / CONFIG).is_file():
        raise ValueError(f"{directory}: has no {CONFIG}, so it is no run; it is left alone")
    with held(directory):
        (directory / SUMMARY).unlink(missing_ok=True)
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != CONFIG:
                path.unlink()
        shutil.rmtree(directory)


def versions() -> dict[str, str]:
    """The backend, and versions of this package, Keras and the backend, by name."""
    import keras

    from kerasunet import models

    return {"backend": keras.backend.backend(), **models.versions()}


def finished(directory: Path) -> dict[str, Any] | None:
    """The summary of a finished run, `None` of another; it needs no checkpoint any more."""
    path = directory / SUMMARY
    if not path.is_file():
        return None
    (directory / CHECKPOINT).unlink(missing_ok=True)
    return read_json(path)


def finish(directory: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Writes the summary, last of all, by which a run is finished; returns it."""
    write_json(directory / SUMMARY, summary)
    (directory / CHECKPOINT).unlink(missing_ok=True)
    return summary


def refuse_differences(directory: Path, known: dict[str, Any], asked: dict[str, Any]) -> None:
    """Compares what a directory holds with what is asked for, leaving out places of files.

    Digests and versions that an older record does not tell are not compared.

    Raises:
        ValueError: They differ; the message names both sides of each difference.
    """
    old, new = _flat(known), _flat(asked)
    differences = [
        f"{name.removeprefix('settings.')} was {_shown(name, old.get(name))}, "
        f"now {_shown(name, new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if _compared(name, old.get(name)) != _compared(name, new.get(name))
        and not _is_place(name)
        and (name in old or not name.startswith(("digests.", "versions.")))
    ]
    if differences:
        raise ValueError(
            f"{directory}: holds results of other settings, data or versions: "
            f"{'; '.join(differences)}. Go on as it was, use another output folder, or remove "
            "this one (finetune and pretrain do so with --restart)."
        )


def _locked(descriptor: int, directory: Path) -> bool:
    """Waits a little for the lock; false where the file system has none."""
    given_up = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > given_up:
                raise ValueError(
                    f"{directory}: another process is at work in it; wait until it has ended, "
                    "or use another output folder"
                ) from error
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        except OSError:  # A network folder without locks.
            return False
        else:
            return True


def _refuse_remains(directory: Path) -> None:
    for name in (CHECKPOINT, SUMMARY):
        if (directory / name).exists():
            raise ValueError(
                f"{directory}: holds {name} but no {CONFIG}, so nobody knows which settings it "
                "belongs to; use another output folder, or remove this one"
            )


def _is_place(name: str) -> bool:
    section, _, last = name.rpartition(".")
    return section.endswith(("settings", "run")) and last in _PLACES


def _compared(name: str, value: Any) -> Any:
    """Of a version, only the first number counts; before 1.0, the second one too."""
    if not name.startswith("versions.") or not isinstance(value, str):
        return value
    first, second = (value.split(".") + [""])[:2]
    return (first, second) if first == "0" else first


def _shown(name: str, value: Any) -> str:
    is_digest = name.startswith("digests.") and isinstance(value, str)
    return repr(value[:_SHOWN] if is_digest else value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
